//! `login` and `logout`: logins that the registry has confirmed are put where Docker keeps them, and taken from there.

use std::path::PathBuf;

use reqwest::Method;

use super::auth::{Access, answer_with};
use super::credentials::Credential;
use super::error::{Action, codes_of};
use super::transport::{Call, read_start};
use super::{Client, Error, best_challenge, header_texts, login_file};

/// Where a login is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, where whoever can read it can read the password.
    File(PathBuf),
    /// With the credential helper of this name.
    Helper(String),
}

impl Client {
    /// Asks a registry (`HOST[:PORT]`) whether it takes `user` and `password`, and keeps them if it does: with the helper
    /// that Docker's configuration names, else in `config.json`.
    ///
    /// # Errors
    /// [`Error::LoginRefused`]; the registry cannot be reached; the login cannot be kept.
    pub fn login(&self, registry: &str, user: &str, password: &str) -> Result<Kept, Error> {
        let credentials = &self.auth.credentials;
        let Some(file) = credentials.docker_file() else {
            let reason = "neither DOCKER_CONFIG nor HOME is set".to_owned();
            return Err(Error::Config { path: PathBuf::from("config.json"), reason });
        };
        // Found out before a password is asked for over the network.
        let helper = file.logins()?.helper(registry);
        self.confirm(registry, &Credential::Password { user: user.to_owned(), password: password.to_owned() })?;
        match helper {
            Some(name) => {
                credentials.helper(name, registry).store(user, password)?;
                // An empty entry is how Docker and its friends know that there is a login.
                login_file::put(&file.path, registry, None)?;
                Ok(Kept::Helper(name.to_owned()))
            }
            None => {
                login_file::put(&file.path, registry, Some((user, password)))?;
                Ok(Kept::File(file.path.clone()))
            }
        }
    }

    /// Forgets the login of a registry; returns where it was. Logins in files of other tools stay.
    ///
    /// # Errors
    /// Docker's configuration cannot be read or written, or a helper fails.
    pub fn logout(&self, registry: &str) -> Result<Vec<Kept>, Error> {
        let credentials = &self.auth.credentials;
        let Some(file) = credentials.docker_file() else { return Ok(Vec::new()) };
        let mut places = Vec::new();
        if let Some(name) = file.logins()?.helper(registry)
            && credentials.helper(name, registry).erase()?
        {
            places.push(Kept::Helper(name.to_owned()));
        }
        if login_file::remove(&file.path, registry)? && places.is_empty() {
            places.push(Kept::File(file.path.clone()));
        }
        Ok(places)
    }

    /// Returns the files of other tools that have a login for a registry.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn other_logins(&self, registry: &str) -> Result<Vec<PathBuf>, Error> {
        self.auth.credentials.other_files(registry)
    }

    /// Asks a registry whether it takes a credential; one that asks for none takes all.
    fn confirm(&self, registry: &str, credential: &Credential) -> Result<(), Error> {
        let site = self.hosts.registry(registry, "")?;
        let access = Access { registry, repository: "", action: Action::Pull, mount_from: None, site: Some(&site) };
        let call = Call::new(Method::GET, self.root(&site)?);
        let refused = |status, codes| Error::LoginRefused { registry: registry.to_owned(), status, codes };
        let confirmed = self.transport.retrying(|| {
            let answer = self.transport.send(&call, None, &site)?;
            if answer.response.status().as_u16() != 401 || answer.url.origin() != call.url.origin() {
                return Ok(answer);
            }
            let Some(challenge) = best_challenge(header_texts(answer.response.headers())) else { return Ok(answer) };
            match answer_with(&self.transport, &access, &site, &call.url, &challenge, credential)? {
                Some(header) => {
                    read_start(answer);
                    self.transport.send(&call, Some(&header), &site)
                }
                None => Ok(answer),
            }
        });
        let answer = match confirmed {
            Err(Error::Denied { status, codes, .. }) => return Err(refused(status, codes)),
            other => other?,
        };
        match answer.response.status().as_u16() {
            200..=299 => Ok(()),
            status @ (401 | 403) => Err(refused(status, codes_of(&read_start(answer)))),
            404 => Err(call.protocol_error("what answers is no registry")),
            status => {
                let url = (&answer.url).into();
                Err(Error::Status { method: Method::GET, url, status, codes: codes_of(&read_start(answer)) })
            }
        }
    }
}
