//! Credentials as `docker login` keeps them: `config.json` and credential helpers.
//!
//! In: Docker's configuration directory and a registry's name. Out: what to log in with, or nothing. A helper is a
//! program `docker-credential-NAME` on the PATH; its name is checked, no shell is involved, and what it prints is never
//! shown.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Error;
use crate::reference::DEFAULT_REGISTRY;

/// How long a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes that a configuration or a helper's answer may have.
const MAX_SIZE: u64 = 1 << 20;

/// The name under which Docker keeps the credentials of `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

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

/// Docker's `config.json`, the fields about logins.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Looks credentials up. The file is read once, at the first question.
pub(super) struct Credentials {
    path: Option<PathBuf>,
    /// The PATH of helpers; this process's own where absent.
    helper_path: Option<OsString>,
    config: OnceLock<Result<Config, String>>,
}

impl Credentials {
    /// Reads `config.json` in `directory`; without a directory everyone is anonymous. Looks for helpers on
    /// `helper_path`.
    pub(super) fn new(directory: Option<&Path>, helper_path: Option<&OsStr>) -> Credentials {
        let path = directory.map(|d| d.join("config.json"));
        Credentials { path, helper_path: helper_path.map(OsStr::to_owned), config: OnceLock::new() }
    }

    /// Returns what to log in to `registry` with; `None` for anonymous. Reads the disk and may run a helper.
    pub(super) fn of(&self, registry: &str) -> Result<Option<Credential>, Error> {
        let Some(path) = &self.path else { return Ok(None) };
        let config = self.config.get_or_init(|| load_config(path));
        let config = config.as_ref().map_err(|reason| Error::Config { path: path.clone(), reason: reason.clone() })?;
        let helper = config.cred_helpers.iter().find(|(key, _)| is_key_of(key, registry)).map(|(_, helper)| helper);
        let store = Some(&config.creds_store).filter(|store| !store.is_empty());
        if let Some(helper) = helper.or(store) {
            let found = ask_helper(helper, registry, self.helper_path.as_deref())?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let auth = config.auths.iter().find(|(key, _)| is_key_of(key, registry)).map(|(_, auth)| auth);
        let credential = auth.map_or(Ok(None), credential_of);
        credential.map_err(|reason| Error::Config { path: path.clone(), reason: reason.to_owned() })
    }
}

/// Reads the configuration; one that is not there is an empty one.
fn load_config(path: &Path) -> Result<Config, String> {
    #[expect(clippy::disallowed_methods, reason = "this row may read files; this one is the user's, not the build's")]
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    // The text of a JSON error may quote a value; its place does not.
    serde_json::from_slice(&bytes).map_err(|e| format!("malformed JSON at line {} column {}", e.line(), e.column()))
}

/// Says whether a key of `auths` or `credHelpers` means `registry`: keys may have a scheme and a path.
fn is_key_of(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or_default();
    match registry {
        DEFAULT_REGISTRY => matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io"),
        _ => host.eq_ignore_ascii_case(registry),
    }
}

fn credential_of(auth: &Auth) -> Result<Option<Credential>, &'static str> {
    if !auth.registrytoken.is_empty() {
        return Ok(Some(Credential::RegistryToken(auth.registrytoken.clone())));
    }
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Credential::IdentityToken(auth.identitytoken.clone())));
    }
    if auth.auth.is_empty() {
        let (user, password) = (auth.username.clone(), auth.password.clone());
        return Ok(Some(Credential::Password { user, password }).filter(|_| !auth.username.is_empty()));
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(&auth.auth).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("an `auth` field is no base64 text")?;
    // Docker pads passwords with NUL.
    let (user, password) = text.split_once(':').ok_or("an `auth` field has no `user:password` in it")?;
    Ok(Some(Credential::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

/// Runs `docker-credential-NAME get` (protocol of docker-credential-helpers: the server on stdin, JSON on stdout).
fn ask_helper(name: &str, registry: &str, path: Option<&OsStr>) -> Result<Option<Credential>, Error> {
    let failed = |reason: String| Error::Helper {
        helper: format!("docker-credential-{}", name.escape_default()),
        registry: registry.to_owned(),
        reason,
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.bytes().all(is_name) {
        return Err(failed("its name has other characters than letters, digits, `_`, `-`, `.`".to_owned()));
    }
    let server = if registry == DEFAULT_REGISTRY { DOCKER_HUB_KEY } else { registry };
    let (is_success, output) = run_helper(name, server, path, HELPER_TIMEOUT).map_err(failed)?;
    if !is_success {
        // Helpers report a missing entry by this text alone, on stdout.
        let is_missing = String::from_utf8_lossy(&output).contains("credentials not found");
        return if is_missing { Ok(None) } else { Err(failed("it failed".to_owned())) };
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| failed("it printed no credentials".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credential::IdentityToken(answer.secret),
        _ => Credential::Password { user: answer.username, password: answer.secret },
    }))
}

/// Returns whether the helper succeeded and what it printed; kills it after `timeout`.
fn run_helper(name: &str, server: &str, path: Option<&OsStr>, timeout: Duration) -> Result<(bool, Vec<u8>), String> {
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "no such program on the PATH".to_owned(),
        _ => error.to_string(),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input closes it early; its answer decides.
        _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take();
    // The thread ends when the pipe closes. It is not joined past the timeout: a grandchild may hold the pipe.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        _ = stdout.map(|stdout| stdout.take(MAX_SIZE).read_to_end(&mut output));
        _ = sender.send(output);
    });
    let deadline = Instant::now() + timeout;
    let output = receiver.recv_timeout(timeout);
    let status = wait_until(&mut child, deadline);
    match (output, status) {
        (Ok(output), Some(is_success)) => Ok((is_success, output)),
        _ => {
            _ = child.kill();
            _ = child.wait();
            Err(format!("no answer within {} s", timeout.as_secs()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(config: &str, registry: &str) -> Result<Option<Credential>, Error> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        std::fs::write(directory.path().join("config.json"), config).expect("written");
        Credentials::new(Some(directory.path()), None).of(registry)
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
