//! OCI distribution client: resolve, pull, push.
//!
//! In: a [`Reference`] and what to do with it. Out: verified bytes, or an [`Error`] in words for people. Follows
//! distribution-spec v1.1. What is here does not know of images, layers or builds: manifests and blobs are bytes.
//!
//! | to | goes |
//! |---|---|
//! | `docker.io` | `https://registry-1.docker.io` |
//! | `localhost`, `127.0.0.0/8`, `::1` | plain HTTP, HTTPS where the server speaks that |
//! | everything else | HTTPS; there is no way to turn that off |
//!
//! HTTPS goes through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`), as the HTTP library reads it.
//!
//! Invariants, each with a test in `tests/it/registry.rs`:
//! 1. What a digest names is verified before the caller has success in hand.
//! 2. Credentials go to the registry they are configured for and to its token server, never to where a redirect or an
//!    upload's `Location` leads.
//! 3. No answer of a server can make this code hold more than a few MiB, or write more than a descriptor says.
//! 4. What can be repeated is repeated: at 429, 5xx and broken connections, with growing pauses or as `Retry-After`
//!    says.

mod auth;
mod challenge;
mod credentials;
mod error;
mod helper;
mod login;
mod login_file;
mod ping;
mod pull;
mod push;
mod transport;
mod upload;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Url};

use crate::digest::Digest;
use crate::reference::{DEFAULT_REGISTRY, Reference};

pub use error::{Action, Code, Error, Login, ShownUrl};
pub use login::Kept;
pub use ping::Ping;
pub use push::Pushed;
pub use upload::{BlobUpload, UploadPoint};

use auth::{Access, Auth};
use challenge::best_challenge;
use error::codes_of;
use transport::{Answer, Call, Transport, is_loopback, read_start};

/// How a [`Client`] behaves. The environment is the caller's to read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory with Docker's `config.json` (`DOCKER_CONFIG`, else `~/.docker`); without one everyone is
    /// anonymous.
    pub docker_config: Option<PathBuf>,
    /// Files of the containers tools with logins (`auth.json`), asked in this order where Docker's has none.
    pub auth_files: Vec<PathBuf>,
    /// The PATH on which credential helpers are looked for; this process's own where absent.
    pub path: Option<OsString>,
    /// What to call ourselves.
    pub user_agent: String,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For an answer to begin, and then for each piece of it.
    pub read_timeout: Duration,
    /// How often a request is sent, the first time included.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each further one.
    pub first_pause: Duration,
    /// Certificate authorities to trust besides the system's, PEM.
    pub extra_roots: Vec<u8>,
    /// Set by whoever stops the build; looked at before each request, in each pause and with each piece of a body.
    pub cancelled: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            docker_config: None,
            auth_files: Vec::new(),
            path: None,
            user_agent: concat!("bake/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            attempts: 5,
            first_pause: Duration::from_millis(250),
            extra_roots: Vec::new(),
            cancelled: Arc::default(),
        }
    }
}

/// Talks to any number of registries, from any number of threads. Making one costs nothing: connections, certificates
/// and credentials are loaded when the first request needs them.
pub struct Client {
    transport: Transport,
    auth: Auth,
    /// Where each loopback registry is, once asked. The mutex protects the map and is not held while asking.
    bases: Mutex<BTreeMap<String, Url>>,
}

impl Client {
    /// Returns a client.
    pub fn new(options: Options) -> Client {
        let auth = Auth::new(&options);
        Client { transport: Transport::new(&options), auth, bases: Mutex::default() }
    }

    /// Sends a call to the registry, logs in where it asks for that, and repeats what is worth it. The answer may have
    /// any status. A URL of another origin than the registry's gets no credentials.
    fn send(&self, access: &Access<'_>, call: &Call<'_>) -> Result<Answer, Error> {
        self.transport.retrying(|| self.send_logged_in(access, call))
    }

    fn send_logged_in(&self, access: &Access<'_>, call: &Call<'_>) -> Result<Answer, Error> {
        let origin = self.base(access.registry)?.origin();
        if call.url.origin() != origin {
            return self.transport.send(call, None);
        }
        let remembered = self.auth.remembered(access);
        let answer = self.transport.send(call, remembered.as_ref())?;
        // A challenge counts only from the registry itself, not from where it redirected to.
        if answer.response.status().as_u16() != 401 || answer.url.origin() != origin {
            return Ok(answer);
        }
        let Some(challenge) = best_challenge(header_texts(answer.response.headers())) else { return Ok(answer) };
        match self.auth.answer(&self.transport, access, &call.url, &challenge)? {
            Some(header) => {
                read_start(answer);
                self.transport.send(call, Some(&header))
            }
            None => Ok(answer),
        }
    }

    /// Returns the registry's root URL. Asks a loopback registry once which protocol it speaks.
    fn base(&self, registry: &str) -> Result<Url, Error> {
        let host = if registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { registry };
        let unusable = |_| Error::Unreachable {
            registry: registry.to_owned(),
            reason: "no host name".to_owned(),
            is_lasting: true,
        };
        let https = Url::parse(&format!("https://{host}/")).map_err(unusable)?;
        if !is_loopback(&https) {
            return Ok(https);
        }
        let bases = || self.bases.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(base) = bases().get(registry) {
            return Ok(base.clone());
        }
        let http = Url::parse(&format!("http://{host}/")).map_err(unusable)?;
        let base = self.probe(http, https)?;
        bases().insert(registry.to_owned(), base.clone());
        Ok(base)
    }

    /// Returns `http` unless the server there wants TLS.
    fn probe(&self, http: Url, https: Url) -> Result<Url, Error> {
        let answers = |url: &Url| self.transport.send_once(&Call::new(Method::GET, with_path(url, "", &[])), None);
        match answers(&http) {
            Ok(answer) if answer.response.status().as_u16() == 400 => {
                // Go's and nginx's servers tell a plain HTTP client so.
                let text = String::from_utf8_lossy(&read_start(answer)).to_lowercase();
                Ok(if text.contains("https") { https } else { http })
            }
            Ok(_) => Ok(http),
            Err(error @ Error::Interrupted { .. }) => answers(&https).map(|_| https).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// Returns the URL `/v2/REPOSITORY/segments…` at the registry.
    fn url(&self, reference: &Reference, segments: &[&str]) -> Result<Url, Error> {
        Ok(with_path(&self.base(&reference.registry)?, &reference.repository, segments))
    }

    /// Returns the error that an answer without success stands for; `what` was asked for.
    fn refusal(&self, access: &Access<'_>, call: &Call<'_>, answer: Answer, what: &str) -> Error {
        let status = answer.response.status().as_u16();
        let (url, is_own) = ((&answer.url).into(), answer.url.origin() == call.url.origin());
        let codes = codes_of(&read_start(answer));
        let registry = access.registry.to_owned();
        match status {
            401 | 403 if is_own => Error::Denied {
                login: self.auth.login(access.registry, access.repository),
                registry,
                repository: access.repository.to_owned(),
                action: access.action,
                status,
                scope: access.actions(),
                codes,
            },
            404 => Error::NotFound { registry, what: what.to_owned(), codes },
            _ => Error::Status { method: call.method.clone(), url, status, codes },
        }
    }
}

/// Returns `base` with the path `/v2/repository/segments…`, each segment escaped.
fn with_path(base: &Url, repository: &str, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().push("v2");
        path.extend(repository.split('/').filter(|word| !word.is_empty())).extend(segments);
        if repository.is_empty() || segments.last() == Some(&"uploads") {
            path.push("");
        }
    }
    url
}

fn header_texts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok())
}

/// Names a manifest in errors: `"team/api:1"`.
fn manifest_name(reference: &Reference) -> String {
    let Reference { repository, digest, .. } = reference;
    match (digest, reference.tag_or_latest()) {
        (Some(digest), _) => format!("\"{repository}@{digest}\""),
        (None, tag) => format!("\"{repository}:{}\"", tag.unwrap_or("latest")),
    }
}

/// Names a blob in errors.
fn blob_name(reference: &Reference, digest: Digest) -> String {
    format!("blob {digest} of \"{}\"", reference.repository)
}

/// Returns the last path segment of a manifest's URL: its digest, else its tag.
fn manifest_key(reference: &Reference) -> String {
    match reference.digest {
        Some(digest) => digest.to_string(),
        None => reference.tag_or_latest().unwrap_or("latest").to_owned(),
    }
}
