//! What to log in to a registry with, as the tools that people have keep it.
//!
//! In: a registry's and a repository's name. Out: a credential, or nothing. Docker's `config.json` is asked first, then the
//! files of the containers tools, in the order given; in each file its helper, and then what is in the file itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use super::helper::Helper;
use super::login_file::{self, Logins, Owner};
use super::{Error, Options};

/// What a registry wants to know about a user. `Debug` shows the kind alone.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// User name and password, for Basic and for a token server.
    Password { user: String, password: String },
    /// An OAuth2 refresh token, for a token server.
    IdentityToken(String),
    /// A token for the registry itself.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password { .. } => "Password(…)",
            Credential::IdentityToken(_) => "IdentityToken(…)",
            Credential::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// Looks credentials up. A file is read once, at the first question; a helper is asked once for each registry.
pub(super) struct Credentials {
    files: Vec<LoginFile>,
    /// The PATH of helpers; this process's own where absent.
    pub(super) helper_path: Option<OsString>,
    /// What helpers answered, by their name and the registry.
    answers: Mutex<BTreeMap<(String, String), Option<Credential>>>,
}

pub(super) struct LoginFile {
    pub(super) path: PathBuf,
    owner: Owner,
    logins: OnceLock<Result<Logins, String>>,
}

impl LoginFile {
    fn new(path: PathBuf, owner: Owner) -> LoginFile {
        LoginFile { path, owner, logins: OnceLock::new() }
    }

    pub(super) fn logins(&self) -> Result<&Logins, Error> {
        let logins = self.logins.get_or_init(|| Logins::load(&self.path));
        logins.as_ref().map_err(|reason| self.wrong(reason))
    }

    fn wrong(&self, reason: &str) -> Error {
        Error::Config { path: self.path.clone(), reason: reason.to_owned() }
    }
}

impl Credentials {
    /// Reads what `options` names; without files everyone is anonymous.
    pub(super) fn new(options: &Options) -> Credentials {
        let docker = options.docker_config.iter().map(|d| LoginFile::new(d.join("config.json"), Owner::Docker));
        let containers = options.auth_files.iter().map(|path| LoginFile::new(path.clone(), Owner::Containers));
        let files = docker.chain(containers).collect();
        Credentials { files, helper_path: options.path.clone(), answers: Mutex::default() }
    }

    /// Returns Docker's file, in which logins are kept.
    pub(super) fn docker_file(&self) -> Option<&LoginFile> {
        self.files.iter().find(|file| file.owner == Owner::Docker)
    }

    /// Returns the files of the containers tools that have a login for a registry.
    pub(super) fn other_files(&self, registry: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for file in self.files.iter().filter(|file| file.owner == Owner::Containers) {
            if self.in_file(file, registry, "")?.is_some() {
                found.push(file.path.clone());
            }
        }
        Ok(found)
    }

    /// Returns what to log in to `registry` with for `repository`; `None` for anonymous. Reads the disk and may run a
    /// helper.
    pub(super) fn of(&self, registry: &str, repository: &str) -> Result<Option<Credential>, Error> {
        for file in &self.files {
            if let Some(found) = self.in_file(file, registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Says whether all repositories of a registry have one login. Reads the disk.
    pub(super) fn is_one(&self, registry: &str) -> bool {
        !self.files.iter().any(|file| file.logins().is_ok_and(|logins| logins.has_paths(registry)))
    }

    fn in_file(&self, file: &LoginFile, registry: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let logins = file.logins()?;
        if let Some(found) = logins.helper(registry).map(|name| self.ask(name, registry)).transpose()?.flatten() {
            return Ok(Some(found));
        }
        logins.credential(registry, repository, file.owner).map_err(|reason| file.wrong(reason))
    }

    fn ask(&self, name: &str, registry: &str) -> Result<Option<Credential>, Error> {
        let lock = || self.answers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = (name.to_owned(), registry.to_owned());
        if let Some(known) = lock().get(&key) {
            return Ok(known.clone());
        }
        let answer = self.helper(name, registry).get()?;
        lock().insert(key, answer.clone());
        Ok(answer)
    }

    /// Returns the helper `name` for `registry`.
    pub(super) fn helper<'a>(&'a self, name: &'a str, registry: &'a str) -> Helper<'a> {
        Helper { name, path: self.helper_path.as_deref(), registry, server: login_file::key_of(registry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(config: &str, registry: &str) -> Result<Option<Credential>, Error> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        std::fs::write(directory.path().join("config.json"), config).expect("written");
        let options = Options { docker_config: Some(directory.path().to_owned()), ..Options::default() };
        Credentials::new(&options).of(registry, "team/api")
    }

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn auths_are_found_under_all_spellings_of_a_registry() {
        // user:pass, with and without padding.
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M="},
            "r.example:5000": {"auth": "dTpwYQ"},
            "https://s.example": {"username": "s", "password": "t"},
            "t.example": {"identitytoken": "id"},
            "empty.example": {}
        }}"#;
        assert_eq!(lookup(config, "docker.io").expect("read"), password("hub", "pass"));
        assert_eq!(lookup(config, "r.example:5000").expect("read"), password("u", "pa"));
        assert_eq!(lookup(config, "s.example").expect("read"), password("s", "t"));
        assert_eq!(lookup(config, "t.example").expect("read"), Some(Credential::IdentityToken("id".to_owned())));
        assert_eq!(lookup(config, "empty.example").expect("read"), None);
        // Another port is another server.
        assert_eq!(lookup(config, "r.example").expect("read"), None);
        assert_eq!(lookup(config, "r.example:5001").expect("read"), None);
    }

    #[test]
    fn a_broken_config_is_told_without_its_content() {
        let error = lookup(r#"{"auths": {"r": {"auth": s3cret}}}"#, "r").expect_err("malformed");
        let text = error.to_string();
        assert!(text.ends_with("malformed JSON at line 1 column 26") && !text.contains("s3cret"), "{text}");
        assert_eq!(lookup("{}", "r").expect("read"), None);
    }

    #[test]
    fn a_helper_with_a_path_in_its_name_is_not_run() {
        for name in ["../../x", "a/b", "-x", "a b", "a\nb", ".."] {
            let config = serde_json::json!({"credHelpers": {"r.example": name}}).to_string();
            let error = lookup(&config, "r.example").expect_err(name);
            assert!(error.to_string().contains("its name has other characters"), "{error}");
        }
        let error = lookup(r#"{"credsStore": "there-is-no-such-helper"}"#, "r.example").expect_err("no program");
        assert_eq!(
            error.to_string(),
            "credential helper `docker-credential-there-is-no-such-helper` gave no credentials for r.example: no such \
             program on the PATH"
        );
    }
}
