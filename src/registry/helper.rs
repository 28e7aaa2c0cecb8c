//! Credential helpers: programs that keep logins (protocol of docker-credential-helpers).
//!
//! | verb | standard input | standard output |
//! |---|---|---|
//! | `get` | the server | `{"ServerURL", "Username", "Secret"}` |
//! | `store` | the same object | |
//! | `erase` | the server | |
//!
//! A helper is `docker-credential-NAME` on the PATH; its name is checked and no shell is involved. A failed one says why on
//! standard output. What it prints is never shown, for nobody knows what is in it.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Error;
use super::credentials::Credential;

/// How long a helper may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes of a helper's answer.
const MAX_ANSWER: u64 = 1 << 20;

/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper and the registry that it is asked about.
#[derive(Clone, Copy)]
pub(super) struct Helper<'a> {
    /// As in `credsStore`, without `docker-credential-`.
    pub(super) name: &'a str,
    /// The PATH to look on; this process's own where absent.
    pub(super) path: Option<&'a OsStr>,
    /// For errors.
    pub(super) registry: &'a str,
    /// What the helper knows the registry by.
    pub(super) server: &'a str,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(rename = "ServerURL", default)]
    server: std::borrow::Cow<'a, str>,
    username: std::borrow::Cow<'a, str>,
    secret: std::borrow::Cow<'a, str>,
}

impl Helper<'_> {
    /// Returns what it keeps; `None` if that is nothing.
    pub(super) fn get(&self) -> Result<Option<Credential>, Error> {
        let failed = |reason: &str| self.failed("gave no credentials", reason.to_owned());
        let (is_success, output) =
            self.run("get", self.server.as_bytes()).map_err(|reason| self.failed("gave no credentials", reason))?;
        if !is_success {
            // Helpers report a missing entry by this text alone.
            let is_missing = String::from_utf8_lossy(&output).contains("credentials not found");
            return if is_missing { Ok(None) } else { Err(failed("it failed")) };
        }
        let entry: Entry<'_> = serde_json::from_slice(&output).map_err(|_| failed("it printed no credentials"))?;
        let (user, secret) = (entry.username.into_owned(), entry.secret.into_owned());
        Ok(match user.as_str() {
            "" if secret.is_empty() => None,
            TOKEN_USER => Some(Credential::IdentityToken(secret)),
            _ => Some(Credential::Password { user, password: secret }),
        })
    }

    /// Gives it a login to keep, in the place of the one that it has.
    pub(super) fn store(&self, user: &str, password: &str) -> Result<(), Error> {
        const VERB: &str = "did not keep the login";
        let entry = Entry { server: self.server.into(), username: user.into(), secret: password.into() };
        let input = serde_json::to_vec(&entry).map_err(|error| self.failed(VERB, error.to_string()))?;
        match self.run("store", &input).map_err(|reason| self.failed(VERB, reason))? {
            (true, _) => Ok(()),
            (false, _) => Err(self.failed(VERB, "it failed".to_owned())),
        }
    }

    /// Makes it forget a login; `false` if it has none.
    pub(super) fn erase(&self) -> Result<bool, Error> {
        const VERB: &str = "did not forget the login";
        // What `erase` answers where there is nothing differs from helper to helper.
        if self.get()?.is_none() {
            return Ok(false);
        }
        match self.run("erase", self.server.as_bytes()).map_err(|reason| self.failed(VERB, reason))? {
            (true, _) => Ok(true),
            (false, _) => Err(self.failed(VERB, "it failed".to_owned())),
        }
    }

    fn failed(&self, outcome: &'static str, reason: String) -> Error {
        let helper = format!("docker-credential-{}", self.name.escape_default());
        Error::Helper { helper, registry: self.registry.to_owned(), outcome, reason }
    }

    /// Returns whether the helper succeeded and what it printed; kills it after a while.
    fn run(&self, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), String> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if self.name.is_empty() || self.name.starts_with(['-', '.']) || !self.name.bytes().all(is_name) {
            return Err("its name has other characters than letters, digits, `_`, `-`, `.`".to_owned());
        }
        let mut command = Command::new(format!("docker-credential-{}", self.name));
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(path) = self.path {
            command.env("PATH", path);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "no such program on the PATH".to_owned(),
            _ => error.to_string(),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input closes it early; its answer decides.
            _ = stdin.write_all(input);
        }
        let stdout = child.stdout.take();
        // The thread ends when the pipe closes. It is not joined past the timeout: a grandchild may hold the pipe.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut output = Vec::new();
            _ = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut output));
            _ = sender.send(output);
        });
        let deadline = Instant::now() + TIMEOUT;
        let output = receiver.recv_timeout(TIMEOUT);
        let status = wait_until(&mut child, deadline);
        match (output, status) {
            (Ok(output), Some(is_success)) => Ok((is_success, output)),
            _ => {
                _ = child.kill();
                _ = child.wait();
                Err(format!("no answer within {} s", TIMEOUT.as_secs()))
            }
        }
    }
}

/// Waits for the end of a child that has closed its output; `None` if it is still there at the deadline.
fn wait_until(child: &mut Child, deadline: Instant) -> Option<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => return None,
        }
    }
}
