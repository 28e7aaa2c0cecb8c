//! Which server stands for a registry, and how it is talked to.
//!
//! In: the files that people keep for Docker, containerd and the containers tools. Out: for a name, the [`Site`]s that it is
//! pulled from, in order, and the one that it is pushed to.
//!
//! | | pulled from | pushed to |
//! |---|---|---|
//! | 1 | the `host` blocks of `hosts.toml`, as written | |
//! | 2 | the mirrors of `registries.conf`, as written | |
//! | 3 | the registry, at its `location` | the registry |
//!
//! What the user wrote stays the name of what is pulled: in errors, pins and keys. A login is looked up by the name of a
//! site, which is the registry's own only for the registry itself.

mod certs_d;
mod registries_conf;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use super::transport::{authority, is_loopback};
use super::{Error, Options};
use crate::reference::{DEFAULT_REGISTRY, Reference};
use certs_d::{Endpoint, HostDirectory};
use registries_conf::{Place, RegistriesConf};

/// Most bytes of a file about registries.
const MAX_SIZE: u64 = 4 << 20;

/// How certificates are dealt with, besides what the system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tls {
    /// Any certificate will do.
    pub(super) is_unverified: bool,
    /// Files of certificate authorities.
    pub(super) roots: Vec<PathBuf>,
    /// Files with our certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// Which protocol a server is asked by, the first that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// HTTPS.
    Https,
    /// Plain HTTP, because somebody configured that.
    Http,
    /// HTTPS, else plain HTTP, because somebody configured that.
    HttpsOrHttp,
    /// Plain HTTP, else HTTPS: the server is on this machine.
    HttpOrHttps,
}

/// What a site is to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The registry itself.
    Registry,
    /// It has copies; whatever goes wrong there, others are asked.
    Mirror,
}

/// A server and how it is talked to.
#[derive(Debug)]
pub(super) struct Site {
    /// Whose login is used: the registry's name, or `HOST[:PORT]` of another server.
    pub(super) name: String,
    /// `HOST[:PORT]`.
    pub(super) address: String,
    pub(super) protocol: Protocol,
    /// The path of the API, with a `/` at each end.
    path: String,
    tls: Tls,
    /// Sent to this server alone.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The registry's name, which a mirror is told.
    namespace: Option<String>,
    pub(super) role: Role,
    /// The root of the API, once it is known which protocol is spoken. Not held while asking.
    root: Mutex<Option<Url>>,
    is_down: AtomicBool,
}

impl Site {
    /// Returns the root of the API by a protocol.
    pub(super) fn root_by(&self, scheme: &str) -> Result<Url, Error> {
        let root = Url::parse(&format!("{scheme}://{}{}", self.address, self.path));
        root.map_err(|_| Error::Unreachable {
            registry: self.name.clone(),
            reason: "no host name".to_owned(),
            is_lasting: true,
        })
    }

    pub(super) fn known_root(&self) -> Option<Url> {
        lock(&self.root).clone()
    }

    pub(super) fn set_root(&self, root: &Url) {
        *lock(&self.root) = Some(root.clone());
    }

    /// Says whether a URL is at this server.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        let own = self.root_by(url.scheme());
        own.is_ok_and(|own| own.origin() == url.origin())
    }

    /// Says whether a URL may be asked by plain HTTP because the server is, wherever that is.
    pub(super) fn allows_plain(&self, url: &Url) -> bool {
        let own = matches!(self.protocol, Protocol::Http | Protocol::HttpsOrHttp).then(|| self.root_by("http").ok());
        own.flatten().is_some_and(|own| own.host() == url.host())
    }

    /// Returns how a server's certificate is dealt with. Who we are is told to this server alone.
    pub(super) fn tls(&self, url: &Url) -> Tls {
        let identity = self.tls.identity.clone().filter(|_| self.is_at(url));
        Tls { identity, ..self.tls.clone() }
    }

    /// Adds what a mirror of several registries has to know.
    pub(super) fn add_namespace(&self, url: &mut Url) {
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
    }

    /// Notes that a mirror cannot be reached, so that nobody waits for it again.
    pub(super) fn note_down(&self) {
        self.is_down.store(self.role == Role::Mirror, Ordering::Relaxed);
    }
}

/// A site, and what the repository is called there.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) site: Arc<Site>,
    pub(super) repository: String,
}

/// Knows the sites. Files are read at the first question about what is in them.
pub(super) struct Hosts {
    registries_conf: Vec<PathBuf>,
    registries_conf_directories: Vec<PathBuf>,
    certificate_directories: Vec<PathBuf>,
    conf: OnceLock<RegistriesConf>,
    /// By host.
    directories: Mutex<BTreeMap<String, Arc<HostDirectory>>>,
    /// By what distinguishes them: equal sites share what was found out.
    sites: Mutex<BTreeMap<SiteKey, Arc<Site>>>,
}

/// Role, name, root, settings and namespace.
type SiteKey = (Role, String, String, Protocol, Tls, Option<String>);

impl Hosts {
    pub(super) fn new(options: &Options) -> Hosts {
        Hosts {
            registries_conf: options.registries_conf.clone(),
            registries_conf_directories: options.registries_conf_directories.clone(),
            certificate_directories: options.certificate_directories.clone(),
            conf: OnceLock::new(),
            directories: Mutex::default(),
            sites: Mutex::default(),
        }
    }

    /// Returns the registry itself, as a repository of it is pushed to and asked about. An empty repository stands for none in
    /// particular.
    pub(super) fn registry(&self, registry: &str, repository: &str) -> Result<Arc<Site>, Error> {
        let entry = self.conf()?.entry(registry, repository);
        if let Some(entry) = entry.filter(|entry| entry.blocked) {
            return Err(Error::Blocked { registry: registry.to_owned(), path: entry.path.clone() });
        }
        self.site(registry, entry.is_some_and(|entry| entry.insecure))
    }

    /// Returns where an image is pulled from: mirrors that were not found to be down, and at last the registry.
    pub(super) fn sources(&self, name: &Reference) -> Result<Vec<Source>, Error> {
        let own = self.registry(&name.registry, &name.repository)?;
        let here = |site| Source { site, repository: name.repository.clone() };
        let mut sources = Vec::new();
        for mirror in &self.directory(&name.registry)?.mirrors {
            let is_asked = if name.digest.is_some() { mirror.pulls } else { mirror.resolves };
            if let Some(url) = mirror.url.as_ref().filter(|_| is_asked) {
                let site = self.endpoint(url, mirror, &name.registry, Role::Mirror);
                // A mirror that is the registry is the registry, with its login.
                sources.push(here(if site.address == own.address { Arc::clone(&own) } else { site }));
            }
        }
        let entry = self.conf()?.entry(&name.registry, &name.repository);
        for Place { registry, repository, is_insecure } in entry.iter().flat_map(|entry| entry.mirrors(name)) {
            let site = self.as_mirror(&*self.site(&registry, is_insecure)?);
            sources.push(Source { site, repository });
        }
        sources.retain(|source| !source.site.is_down.load(Ordering::Relaxed));
        sources.push(match entry.and_then(|entry| entry.location(name)) {
            Some(place) if place.registry != name.registry || place.repository != name.repository => {
                Source { site: self.site(&place.registry, place.is_insecure)?, repository: place.repository }
            }
            _ => here(own),
        });
        Ok(sources)
    }

    /// Returns the site of a registry by its name alone.
    fn site(&self, registry: &str, is_insecure: bool) -> Result<Arc<Site>, Error> {
        let directory = self.directory(registry)?;
        let host = if registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { registry };
        let mut own = directory.own.clone();
        own.tls.is_unverified |= is_insecure;
        if let Some(url) = own.url.as_ref().filter(|url| authority(url) != host) {
            // Another server than the name says; its login is its own.
            return Ok(self.endpoint(url, &own, registry, Role::Registry));
        }
        let is_here = Url::parse(&format!("http://{host}/")).is_ok_and(|url| is_loopback(&url));
        let protocol = match &own.url {
            _ if is_here => Protocol::HttpOrHttps,
            Some(url) if url.scheme() == "http" => Protocol::Http,
            _ if is_insecure => Protocol::HttpsOrHttp,
            _ => Protocol::Https,
        };
        let path = own.url.as_ref().map_or("/v2/", |url| url.path()).to_owned();
        Ok(self.shared(Site {
            name: registry.to_owned(),
            address: host.to_owned(),
            protocol,
            path,
            tls: own.tls,
            headers: own.headers,
            namespace: None,
            role: Role::Registry,
            root: Mutex::default(),
            is_down: AtomicBool::new(false),
        }))
    }

    /// Returns the site that a URL of `hosts.toml` names.
    fn endpoint(&self, url: &Url, endpoint: &Endpoint, registry: &str, role: Role) -> Arc<Site> {
        let address = authority(url);
        self.shared(Site {
            name: address.clone(),
            namespace: (address != registry).then(|| registry.to_owned()),
            address,
            protocol: if url.scheme() == "http" { Protocol::Http } else { Protocol::Https },
            path: url.path().to_owned(),
            tls: endpoint.tls.clone(),
            headers: endpoint.headers.clone(),
            role,
            root: Mutex::default(),
            is_down: AtomicBool::new(false),
        })
    }

    /// Returns a registry's site in the role of a mirror.
    fn as_mirror(&self, site: &Site) -> Arc<Site> {
        self.shared(Site {
            name: site.name.clone(),
            address: site.address.clone(),
            protocol: site.protocol,
            path: site.path.clone(),
            tls: site.tls.clone(),
            headers: site.headers.clone(),
            namespace: None,
            role: Role::Mirror,
            root: Mutex::default(),
            is_down: AtomicBool::new(false),
        })
    }

    /// Returns the site that is known already, or this one from now on.
    fn shared(&self, site: Site) -> Arc<Site> {
        let root = format!("{}{}", site.address, site.path);
        let key = (site.role, site.name.clone(), root, site.protocol, site.tls.clone(), site.namespace.clone());
        Arc::clone(lock(&self.sites).entry(key).or_insert_with(|| Arc::new(site)))
    }

    fn conf(&self) -> Result<&RegistriesConf, Error> {
        if let Some(conf) = self.conf.get() {
            return Ok(conf);
        }
        let conf = RegistriesConf::load(&self.registries_conf, &self.registries_conf_directories)?;
        Ok(self.conf.get_or_init(|| conf))
    }

    fn directory(&self, host: &str) -> Result<Arc<HostDirectory>, Error> {
        if let Some(known) = lock(&self.directories).get(host) {
            return Ok(Arc::clone(known));
        }
        let directory = Arc::new(HostDirectory::load(&self.certificate_directories, host)?);
        lock(&self.directories).insert(host.to_owned(), Arc::clone(&directory));
        Ok(directory)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Returns the text of a file; `None` where there is none.
fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let wrong = |error: io::Error| Error::Settings { path: path.to_owned(), reason: error.to_string() };
    #[expect(clippy::disallowed_methods, reason = "this row may read files; these are the host's, not the build's")]
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(wrong(error)),
    };
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(wrong)?;
    Ok(Some(text))
}

/// Reads TOML; an error says where it is wrong.
fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        let reason = format!("line {line}, column {column}: {}", error.message());
        Error::Settings { path: path.to_owned(), reason }
    })
}
