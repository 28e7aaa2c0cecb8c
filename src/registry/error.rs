//! What can go wrong with a registry, in words for people.
//!
//! No text here holds a query string, a user name, a password or a token: URLs are shown without them, and what a
//! server says is cut and freed of control characters.

use std::error::Error as _;
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::digest::Digest;
use crate::oci::InvalidDocument;

/// A URL as errors show it: without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownUrl(String);

impl From<&Url> for ShownUrl {
    fn from(url: &Url) -> ShownUrl {
        ShownUrl(format!("{}://{}{}", url.scheme(), authority(url), url.path()))
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One error as the registry worded it (distribution-spec v1.1, *Error Codes*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// `MANIFEST_UNKNOWN`, `DENIED`, …
    pub code: String,
    /// The registry's text for it; may be empty.
    pub message: String,
}

/// What was being done; the verb of "refused to …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading.
    Pull,
    /// Writing.
    Push,
}

/// Why a registry request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or no answer on it.
    #[error("registry {registry} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port; of the server that did not answer, if it is another than the registry's.
        registry: String,
        /// `connection refused`, …
        reason: String,
        /// It is not worth another attempt: nothing listens on this machine, the name does not exist, the certificate
        /// is not trusted.
        is_lasting: bool,
    },
    /// 401 or 403.
    #[error("{registry} refused to {} \"{repository}\": {} (scope {scope})", verb(*action), status_text(*status, codes))]
    Denied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was wanted.
        action: Action,
        /// 401 or 403.
        status: u16,
        /// `pull` or `pull,push`.
        scope: &'static str,
        /// What the registry said.
        codes: Vec<Code>,
        /// Whether credentials were sent.
        login: Login,
    },
    /// The manifest, blob or repository does not exist, or is hidden from this user.
    #[error("{what} was not found in {registry}{}", detail(codes))]
    NotFound {
        /// The registry.
        registry: String,
        /// `"team/api:1"` or `blob sha256:… of "team/api"`.
        what: String,
        /// What the registry said.
        codes: Vec<Code>,
    },
    /// Another status than the request can deal with.
    #[error("{method} {url} answered {}", status_text(*status, codes))]
    Status {
        /// GET, PUT, …
        method: Method,
        /// Shown without its query.
        url: ShownUrl,
        /// The status.
        status: u16,
        /// What the registry said.
        codes: Vec<Code>,
    },
    /// The answer does not follow the protocol, or would lead where it must not.
    #[error("{method} {url}: {reason}")]
    Protocol {
        /// GET, PUT, …
        method: Method,
        /// Shown without its query.
        url: ShownUrl,
        /// What is wrong.
        reason: String,
    },
    /// The connection broke in the middle, more often than is retried.
    #[error("{method} {url} broke off: {reason}")]
    Interrupted {
        /// GET, PUT, …
        method: Method,
        /// Shown without its query.
        url: ShownUrl,
        /// What the connection said.
        reason: String,
    },
    /// The bytes are not those that their digest names.
    #[error("{what} in {registry} is corrupt: its bytes have digest {actual}, not {expected}")]
    DigestMismatch {
        /// The registry.
        registry: String,
        /// `"team/api:1"` or `blob sha256:… of "team/api"`.
        what: String,
        /// The name that it goes by.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The content is longer or shorter than its descriptor says, or longer than is read.
    #[error("{what} in {registry} has {actual} bytes, expected {expected}")]
    Size {
        /// The registry.
        registry: String,
        /// `"team/api:1"` or `blob sha256:… of "team/api"`.
        what: String,
        /// `1234`, `at most 4194304`.
        expected: String,
        /// `12`, `more than 4194304`.
        actual: String,
    },
    /// A manifest or index that is refused.
    #[error("{what} in {registry} is refused: {source}")]
    Document {
        /// The registry.
        registry: String,
        /// `"team/api:1"`.
        what: String,
        /// Why.
        source: InvalidDocument,
    },
    /// Docker's configuration cannot be read.
    #[error("cannot read credentials from {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why; never its content.
        reason: String,
    },
    /// A file about registries, or a certificate, cannot be used.
    #[error("{} is wrong: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why, with line and column where there are such; never a header or a key.
        reason: String,
    },
    /// The user has forbidden to talk to it.
    #[error("registry {registry} is blocked by {}", path.display())]
    Blocked {
        /// The registry.
        registry: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// A login cannot be written.
    #[error("cannot keep the login in {}: {source}", path.display())]
    KeepLogin {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A registry does not take a user name and password.
    #[error("{registry} refused the login: {}", status_text(*status, codes))]
    LoginRefused {
        /// The registry.
        registry: String,
        /// 401 or 403.
        status: u16,
        /// What the registry said.
        codes: Vec<Code>,
    },
    /// A credential helper failed.
    #[error("credential helper `{helper}` {outcome} for {registry}: {reason}")]
    Helper {
        /// `docker-credential-…`.
        helper: String,
        /// The registry.
        registry: String,
        /// `gave no credentials`, …
        outcome: &'static str,
        /// Why; never its output.
        reason: String,
    },
    /// Our own side could not be read or written.
    #[error("cannot {verb} {what}: {source}")]
    Local {
        /// `read` or `write`.
        verb: &'static str,
        /// `blob sha256:…`.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The user stopped the build.
    #[error("stopped")]
    Cancelled,
}

/// Whether a request that was denied carried credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// None are configured for the registry.
    Anonymous,
    /// They were sent, and are wrong or do not suffice.
    Sent,
}

impl Error {
    /// Returns what the user can do about it: one action, imperative.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Denied { registry, login: Login::Anonymous, .. } => Some(format!("run \"bake login {registry}\"")),
            Error::Denied { registry, repository, status: 401, .. } => Some(format!(
                "run \"bake login {registry}\" again if the password changed, or ask for access to \"{repository}\""
            )),
            Error::Denied { repository, action, scope, .. } => {
                Some(format!("ask for access to {} \"{repository}\" (scope {scope})", verb(*action)))
            }
            Error::NotFound { .. } => Some("check the name, and log in if the repository is private".to_owned()),
            Error::Unreachable { reason, .. } if reason.contains("certificate") => Some(
                "put the registry's certificate authority into ~/.config/containers/certs.d/HOST/ca.crt, or into this \
                     host's trust store"
                    .to_owned(),
            ),
            Error::Unreachable { .. } => Some("check the registry's name and port, and the network".to_owned()),
            Error::Helper { helper, .. } => Some(format!(
                "install {helper}, or take it out of \"credsStore\" and \"credHelpers\" in Docker's config.json"
            )),
            Error::LoginRefused { .. } => {
                Some("check user name and password; some registries want a token in place of the password".to_owned())
            }
            Error::Status { status: 429, .. } => Some("log in for a higher limit, or try again later".to_owned()),
            _ => None,
        }
    }

    /// Says whether a server is to blame, so that another that has the same may be asked.
    pub(super) fn is_the_servers(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Interrupted { .. } | Error::Protocol { .. } => true,
            Error::Denied { .. } | Error::NotFound { .. } | Error::Status { .. } => true,
            Error::DigestMismatch { .. } | Error::Size { .. } | Error::Document { .. } => true,
            Error::Settings { .. } | Error::Blocked { .. } | Error::Config { .. } | Error::Helper { .. } => false,
            Error::KeepLogin { .. } | Error::LoginRefused { .. } | Error::Local { .. } | Error::Cancelled => false,
        }
    }

    /// Says whether the same request may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unreachable { is_lasting, .. } => !is_lasting,
            Error::Interrupted { .. } => true,
            Error::Status { status, .. } => is_transient_status(*status),
            _ => false,
        }
    }
}

/// Statuses that a registry gives when it is the wrong moment.
pub(super) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Reads the error document of an answer, as far as there is one.
pub(super) fn codes_of(body: &[u8]) -> Vec<Code> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let items = body.map(|body| body.errors).unwrap_or_default();
    let code = |item: Item| Code { code: shown(&item.code), message: shown(&item.message) };
    items.into_iter().take(5).map(code).collect()
}

/// Returns a server's text as it may be shown: no control characters, at most 200 characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The reason that a name without an address gets.
pub(super) const NO_SUCH_HOST: &str = "no such host";

/// Returns the reason out of an error of the HTTP library in a few words, without any URL.
pub(super) fn reason_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut last = None;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(reason) = io_reason(io)
        {
            return reason;
        }
        last = Some(error.to_string());
        cause = error.source();
    }
    // The library's own text would hold the URL; its innermost cause does not.
    match last {
        Some(reason) if reason.contains("Temporary failure in name resolution") => "no answer to the name".to_owned(),
        Some(reason) if reason.contains("failed to lookup address") => NO_SUCH_HOST.to_owned(),
        Some(reason) => shown(&reason),
        None if error.is_connect() => "no connection".to_owned(),
        None => "the connection failed".to_owned(),
    }
}

/// Returns a short reason for the kinds that are worth their own words.
fn io_reason(error: &io::Error) -> Option<String> {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => "connection closed",
        io::ErrorKind::UnexpectedEof => "connection closed early",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        _ => return None,
    };
    Some(reason.to_owned())
}

/// Returns `host[:port]` of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "push",
    }
}

fn status_text(status: u16, codes: &[Code]) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.map(|reason| format!(" {}", reason.to_lowercase())).unwrap_or_default();
    format!("{status}{reason}{}", detail(codes))
}

fn detail(codes: &[Code]) -> String {
    let mut text = String::new();
    for Code { code, message } in codes {
        let separator = if text.is_empty() { ": " } else { "; " };
        _ = match (code.is_empty(), message.is_empty()) {
            (true, _) => write!(text, "{separator}{message}"),
            (false, true) => write!(text, "{separator}{code}"),
            (false, false) => write!(text, "{separator}{message} [{code}]"),
        };
    }
    text
}
