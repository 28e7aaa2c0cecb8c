//! OCI distribution client: resolve, pull, push.
//!
//! In: a [`Reference`] and what to do with it. Out: verified bytes, or an [`Error`] in words for people. Follows
//! distribution-spec v1.1. What is here does not know of images, layers or builds: manifests and blobs are bytes.
//!
//! | to | goes |
//! |---|---|
//! | `docker.io` | `https://registry-1.docker.io` |
//! | `localhost`, `127.0.0.0/8`, `::1` | plain HTTP, HTTPS where the server speaks that |
//! | what is configured as insecure | HTTPS with any certificate, plain HTTP where the server speaks that |
//! | everything else | HTTPS |
//!
//! Mirrors, certificates and plain HTTP are what the files of Docker, containerd and the containers tools say (see
//! `hosts`); proxies are those that [`Options`] name.
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
mod hosts;
mod login;
mod login_file;
mod ping;
mod proxies;
mod pull;
mod push;
mod transport;
mod upload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Url};

use crate::digest::Digest;
use crate::reference::Reference;

pub use error::{Action, Code, Error, Login, ShownUrl};
pub use login::Kept;
pub use ping::Ping;
pub use proxies::Proxies;
pub use push::Pushed;
pub use upload::{BlobUpload, UploadPoint};

use auth::{Access, Auth};
use challenge::best_challenge;
use error::codes_of;
use hosts::{Hosts, Protocol, Role, Site, Source};
use transport::{Answer, Call, Transport, read_start};

/// How a [`Client`] behaves. The environment is the caller's to read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory with Docker's `config.json` (`DOCKER_CONFIG`, else `~/.docker`); without one everyone is
    /// anonymous.
    pub docker_config: Option<PathBuf>,
    /// Files of the containers tools with logins (`auth.json`), asked in this order where Docker's has none.
    pub auth_files: Vec<PathBuf>,
    /// `registries.conf` of the containers tools: the first of these that is there.
    pub registries_conf: Vec<PathBuf>,
    /// Directories with more of it, `*.conf`; later ones replace what earlier ones say of the same prefix.
    pub registries_conf_directories: Vec<PathBuf>,
    /// Directories with `HOST/hosts.toml` or `HOST/*.crt`; the first that has something about a host counts.
    pub certificate_directories: Vec<PathBuf>,
    /// Proxies for what is not on this machine.
    pub proxies: Proxies,
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
            registries_conf: Vec::new(),
            registries_conf_directories: Vec::new(),
            certificate_directories: Vec::new(),
            proxies: Proxies::default(),
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
    hosts: Hosts,
}

impl Client {
    /// Returns a client.
    pub fn new(options: Options) -> Client {
        Client { transport: Transport::new(&options), auth: Auth::new(&options), hosts: Hosts::new(&options) }
    }

    /// Sends a call to the registry, logs in where it asks for that, and repeats what is worth it. The answer may have
    /// any status. A URL of another origin than the registry's gets no credentials.
    fn send(&self, access: &Access<'_>, call: &Call<'_>) -> Result<Answer, Error> {
        let is_mirror = access.site.is_some_and(|site| site.role == Role::Mirror);
        if is_mirror {
            // Where others have the same, they are asked before this one is asked again.
            return self.send_logged_in(access, call);
        }
        self.transport.retrying(|| self.send_logged_in(access, call))
    }

    fn send_logged_in(&self, access: &Access<'_>, call: &Call<'_>) -> Result<Answer, Error> {
        let own;
        let site = match access.site {
            Some(site) => site,
            None => {
                own = self.hosts.registry(access.registry, access.repository)?;
                &*own
            }
        };
        let origin = self.root(site)?.origin();
        if call.url.origin() != origin {
            return self.transport.send(call, None, site);
        }
        let remembered = self.auth.remembered(access);
        let answer = self.transport.send(call, remembered.as_ref(), site)?;
        // A challenge counts only from the registry itself, not from where it redirected to.
        if answer.response.status().as_u16() != 401 || answer.url.origin() != origin {
            return Ok(answer);
        }
        let Some(challenge) = best_challenge(header_texts(answer.response.headers())) else { return Ok(answer) };
        match self.auth.answer(&self.transport, access, site, &call.url, &challenge)? {
            Some(header) => {
                read_start(answer);
                self.transport.send(call, Some(&header), site)
            }
            None => Ok(answer),
        }
    }

    /// Asks the places that `name` is pulled from one after the other, until one has it. What a mirror lacks or does wrong
    /// is no failure; what the registry says is.
    fn ask_sources<T>(&self, name: &Reference, mut ask: impl FnMut(&Source) -> Result<T, Error>) -> Result<T, Error> {
        let sources = self.hosts.sources(name)?;
        let last = sources.len().saturating_sub(1);
        for source in &sources[..last] {
            match ask(source) {
                Err(error) if error.is_the_servers() => {
                    if matches!(error, Error::Unreachable { .. }) {
                        source.site.note_down();
                    }
                }
                other => return other,
            }
        }
        ask(&sources[last])
    }

    /// Returns the root URL of a site's API. Asks once which protocol is spoken where that is open.
    fn root(&self, site: &Site) -> Result<Url, Error> {
        if let Some(root) = site.known_root() {
            return Ok(root);
        }
        let root = match site.protocol {
            Protocol::Https => site.root_by("https")?,
            Protocol::Http => site.root_by("http")?,
            Protocol::HttpOrHttps => self.plain_or_not(site)?,
            Protocol::HttpsOrHttp => {
                let (https, http) = (site.root_by("https")?, site.root_by("http")?);
                match self.answer_of(&https, site) {
                    Ok(_) => https,
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(error) => self.answer_of(&http, site).map(|_| http).map_err(|_| error)?,
                }
            }
        };
        site.set_root(&root);
        Ok(root)
    }

    /// Returns the plain HTTP root unless the server there wants TLS.
    fn plain_or_not(&self, site: &Site) -> Result<Url, Error> {
        let (http, https) = (site.root_by("http")?, site.root_by("https")?);
        match self.answer_of(&http, site) {
            Ok(answer) if answer.response.status().as_u16() == 400 => {
                // Go's and nginx's servers tell a plain HTTP client so.
                let text = String::from_utf8_lossy(&read_start(answer)).to_lowercase();
                Ok(if text.contains("https") { https } else { http })
            }
            Ok(_) => Ok(http),
            Err(error @ Error::Interrupted { .. }) => self.answer_of(&https, site).map(|_| https).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    fn answer_of(&self, root: &Url, site: &Site) -> Result<Answer, Error> {
        self.transport.send_once(&Call::new(Method::GET, root.clone()), None, site)
    }

    /// Returns the URL `/v2/REPOSITORY/segments…` at the registry itself.
    fn url(&self, reference: &Reference, segments: &[&str]) -> Result<Url, Error> {
        let site = self.hosts.registry(&reference.registry, &reference.repository)?;
        Ok(with_path(&self.root(&site)?, &reference.repository, segments))
    }

    /// Returns the same URL where a repository is pulled from.
    fn url_at(&self, source: &Source, segments: &[&str]) -> Result<Url, Error> {
        let mut url = with_path(&self.root(&source.site)?, &source.repository, segments);
        source.site.add_namespace(&mut url);
        Ok(url)
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

/// Returns the URL `repository/segments…` below the root of an API, each segment escaped.
fn with_path(root: &Url, repository: &str, segments: &[&str]) -> Url {
    let mut url = root.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
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
