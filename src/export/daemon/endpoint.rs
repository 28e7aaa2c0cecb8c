//! Where Docker is: `DOCKER_HOST`, else the context of `DOCKER_CONTEXT` or of Docker's configuration, else its usual socket.
//!
//! ```text
//! $DOCKER_CONFIG/config.json                                   currentContext
//! $DOCKER_CONFIG/contexts/meta/<sha256 of the name>/meta.json  Endpoints.docker.Host
//! $DOCKER_CONFIG/contexts/tls/<sha256 of the name>/docker/     ca.pem, cert.pem, key.pem
//! ```

#![expect(clippy::disallowed_methods, reason = "Docker's configuration is the user's")]

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::LoadError;
use crate::digest::Digest;

const USUAL: &str = "unix:///var/run/docker.sock";

/// What the user's surroundings say of Docker.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`, or `.docker` in the user's home.
    pub config: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY` is set: the host is spoken to over TLS.
    pub uses_tls: bool,
    /// `DOCKER_CERT_PATH`; the configuration's directory where absent.
    pub certificates: Option<PathBuf>,
}

/// Where a Docker is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// TLS, with what is in this directory.
    pub tls: Option<Tls>,
    /// The user named it; else it is where Docker usually is.
    pub is_named: bool,
}

/// A way to a Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
    /// What `ssh` is asked for: `[USER@]HOST`, and the port.
    Ssh {
        /// User and host.
        host: String,
        /// Where it is not the usual one.
        port: Option<String>,
    },
}

/// How a Docker proves what it is, and bake what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Has `ca.pem`, `cert.pem` and `key.pem`, each if needed.
    pub directory: PathBuf,
    /// The server's certificate is not looked at.
    pub skips_verification: bool,
}

/// Returns where Docker is; `wanted` is a context or, as for the peer, an address.
///
/// # Errors
/// `Context` where there is no such context, `Address` where it is at an address that cannot be used.
pub fn find(settings: &Settings, wanted: Option<&str>) -> Result<Endpoint, LoadError> {
    if let Some(address) = wanted.filter(|wanted| wanted.contains("://")) {
        return plain(settings, address, true);
    }
    let of_host = |host: &String| plain(settings, host, true);
    let named = wanted.or(if settings.host.is_none() { settings.context.as_deref() } else { None });
    let current = || settings.host.is_none().then(|| current_context(settings)).flatten();
    match named.map(str::to_owned).or_else(current).filter(|name| name != "default") {
        Some(name) => of_context(settings, &name),
        None => settings.host.as_ref().map_or_else(|| plain(settings, USUAL, false), of_host),
    }
}

fn plain(settings: &Settings, address: &str, is_named: bool) -> Result<Endpoint, LoadError> {
    let address = Address::parse(address)?;
    let directory = settings.certificates.clone().or_else(|| settings.config.clone());
    let tls = directory.filter(|_| settings.uses_tls && matches!(address, Address::Tcp(_)));
    let tls = tls.map(|directory| Tls { directory, skips_verification: false });
    Ok(Endpoint { address, tls, is_named })
}

fn current_context(settings: &Settings) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        current_context: Option<String>,
    }
    let config: Config = read(&settings.config.as_ref()?.join("config.json"))?;
    config.current_context.filter(|name| !name.is_empty())
}

fn of_context(settings: &Settings, name: &str) -> Result<Endpoint, LoadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Meta {
        endpoints: Endpoints,
    }
    #[derive(Deserialize)]
    struct Endpoints {
        docker: Host,
    }
    #[derive(Deserialize)]
    struct Host {
        #[serde(rename = "Host", default)]
        host: String,
        #[serde(rename = "SkipTLSVerify", default)]
        skips_verification: bool,
    }
    let failed = |reason: &str| LoadError::Context { name: name.to_owned(), reason: reason.to_owned() };
    let contexts = settings.config.as_ref().ok_or_else(|| failed("there is no home for it to be in"))?.join("contexts");
    let id = Digest::of(name.as_bytes()).hex();
    let meta: Option<Meta> = read(&contexts.join("meta").join(&id).join("meta.json"));
    let host = meta.ok_or_else(|| failed("there is none of that name with an endpoint of Docker"))?.endpoints.docker;
    let address = Address::parse(if host.host.is_empty() { USUAL } else { &host.host })?;
    let directory = contexts.join("tls").join(&id).join("docker");
    let has_tls = matches!(address, Address::Tcp(_)) && (directory.is_dir() || host.skips_verification);
    let tls = has_tls.then_some(Tls { directory, skips_verification: host.skips_verification });
    Ok(Endpoint { address, tls, is_named: true })
}

/// Reads what may not be there; what is no such document counts as not there.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

impl Address {
    fn parse(text: &str) -> Result<Address, LoadError> {
        let wrong = |reason: &str| LoadError::Address { address: text.to_owned(), reason: reason.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Address::Unix(rest.into())),
            "unix" => Err(wrong("the path of a socket is absolute")),
            "tcp" | "http" => {
                let host = rest.trim_end_matches('/');
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                match host {
                    "" => Err(wrong("there is no host")),
                    _ if has_port => Ok(Address::Tcp(host.to_owned())),
                    _ => Ok(Address::Tcp(format!("{host}:2375"))),
                }
            }
            "ssh" => {
                let host = rest.split('/').next().unwrap_or_default();
                let after_user = host.rfind('@').map_or(0, |at| at + 1);
                let (host, port) = match host[after_user..].rsplit_once(':') {
                    Some((name, port)) if port.parse::<u16>().is_ok() => {
                        (format!("{}{name}", &host[..after_user]), Some(port.to_owned()))
                    }
                    _ => (host.to_owned(), None),
                };
                // A name like an option would be one.
                if host.is_empty() || host.starts_with('-') {
                    Err(wrong("there is no host"))
                } else {
                    Ok(Address::Ssh { host, port })
                }
            }
            _ => Err(wrong("it begins with `unix://`, `tcp://` or `ssh://`")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
            Address::Ssh { host, port: None } => write!(f, "ssh://{host}"),
            Address::Ssh { host, port: Some(port) } => write!(f, "ssh://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: &Settings, wanted: Option<&str>) -> String {
        match find(settings, wanted) {
            Ok(endpoint) => {
                let named = if endpoint.is_named { "" } else { ", usual" };
                let tls = endpoint.tls.map(|tls| format!(", tls {}", tls.skips_verification)).unwrap_or_default();
                format!("{}{named}{tls}", Endpoint { tls: None, ..endpoint })
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn addresses_are_read_as_dockers_command_does() {
        let cases = [
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("tcp://10.0.0.1:2376", "tcp://10.0.0.1:2376"),
            ("tcp://build", "tcp://build:2375"),
            ("ssh://me@build", "ssh://me@build"),
            ("ssh://me@build:22/x", "ssh://me@build:22"),
            ("ssh://-oProxyCommand=x", "no address of a Docker: `ssh://-oProxyCommand=x`: there is no host"),
            ("fd://", "no address of a Docker: `fd://`: it begins with `unix://`, `tcp://` or `ssh://`"),
        ];
        for (text, expected) in cases {
            let settings = Settings { host: Some(text.to_owned()), ..Settings::default() };
            assert_eq!(shown(&settings, None), expected);
        }
    }

    #[test]
    fn the_host_goes_before_the_context_and_a_wanted_context_before_both() {
        let config = tempfile::tempdir().expect("a directory");
        let context = |name: &str, meta: &str| {
            let directory = config.path().join("contexts/meta").join(Digest::of(name.as_bytes()).hex());
            std::fs::create_dir_all(&directory).expect("made");
            std::fs::write(directory.join("meta.json"), meta).expect("written");
        };
        context(
            "a",
            r#"{"Name":"a","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///a.sock","SkipTLSVerify":false}}}"#,
        );
        context("b", r#"{"Name":"b","Endpoints":{"docker":{"Host":"tcp://b:1","SkipTLSVerify":true}}}"#);
        let mut settings = Settings { config: Some(config.path().to_owned()), ..Settings::default() };
        assert_eq!(shown(&settings, None), "unix:///var/run/docker.sock, usual");
        std::fs::write(config.path().join("config.json"), r#"{"auths":{},"currentContext":"a"}"#).expect("written");
        assert_eq!(shown(&settings, None), "unix:///a.sock");
        settings.context = Some("b".to_owned());
        assert_eq!(shown(&settings, None), "tcp://b:1, tls true");
        settings.host = Some("unix:///h.sock".to_owned());
        assert_eq!(shown(&settings, None), "unix:///h.sock");
        assert_eq!(shown(&settings, Some("a")), "unix:///a.sock");
        assert_eq!(shown(&settings, Some("default")), "unix:///h.sock");
        assert_eq!(shown(&settings, Some("unix:///x")), "unix:///x");
        let none = "Docker context `c`: there is none of that name with an endpoint of Docker";
        assert_eq!(shown(&settings, Some("c")), none);
    }
}
