//! A directory about one host: containerd's `hosts.toml`, or certificates as Docker and the containers tools keep them.
//!
//! ```text
//! certs.d/HOST[:PORT]/ or HOST_PORT_/
//!     hosts.toml                       where there is one, it alone counts
//!     *.crt                            certificate authorities
//!     NAME.cert, NAME.key              who we are
//! certs.d/_default/hosts.toml          for hosts without a directory
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Tls, parse_toml, read_text};
use crate::registry::Error;

/// What is said about a host.
#[derive(Clone, Debug, Default)]
pub(super) struct HostDirectory {
    /// Where else its images are, in order.
    pub(super) mirrors: Vec<Endpoint>,
    /// Where the registry itself is; its name is its address where `url` is not given.
    pub(super) own: Endpoint,
}

/// A server and how to talk to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint {
    /// Scheme, host, port and the path of the API; given but for a registry itself.
    pub(super) url: Option<Url>,
    pub(super) tls: Tls,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// It is asked what a tag stands for.
    pub(super) resolves: bool,
    /// It is asked for content by digest.
    pub(super) pulls: bool,
}

impl HostDirectory {
    /// Reads what the first of `directories` with something about `host` has.
    pub(super) fn load(directories: &[PathBuf], host: &str) -> Result<HostDirectory, Error> {
        for directory in directories.iter().flat_map(|root| names(host).map(|name| root.join(name))) {
            if let Some(text) = read_text(&directory.join("hosts.toml"))? {
                return parse(&directory, &text);
            }
            let tls = certificates(&directory)?;
            if tls != Tls::default() {
                return Ok(HostDirectory { own: Endpoint { tls, ..Endpoint::default() }, ..HostDirectory::default() });
            }
        }
        for directory in directories.iter().map(|root| root.join("_default")) {
            if let Some(text) = read_text(&directory.join("hosts.toml"))? {
                return parse(&directory, &text);
            }
        }
        Ok(HostDirectory::default())
    }
}

/// Returns the names that the directory of a host may have.
fn names(host: &str) -> impl Iterator<Item = String> {
    let without_colon = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let without_colon = without_colon.map(|(host, port)| format!("{host}_{port}_"));
    without_colon.into_iter().chain([host.to_owned()])
}

/// Finds certificates by their names' ends.
fn certificates(directory: &Path) -> Result<Tls, Error> {
    let mut tls = Tls::default();
    #[expect(clippy::disallowed_methods, reason = "this row may read files; these are the host's, not the build's")]
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(tls) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.roots.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    let reason = format!("it has no key beside it ({})", key.display());
                    return Err(Error::Settings { path, reason });
                }
                tls.identity.get_or_insert((path, key));
            }
            _ => {}
        }
    }
    Ok(tls)
}

/// Fields of a server in `hosts.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    capabilities: Vec<String>,
    ca: Option<OneOrMore>,
    client: Option<Identity>,
    skip_verify: bool,
    header: BTreeMap<String, OneOrMore>,
    override_path: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> &[String] {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(all) => all,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Identity {
    File(String),
    Files(Vec<String>),
    Pairs(Vec<[String; 2]>),
}

#[derive(Debug, Deserialize)]
struct Servers {
    #[serde(default)]
    server: String,
    #[serde(default)]
    host: BTreeMap<String, toml::Spanned<Fields>>,
}

fn parse(directory: &Path, text: &str) -> Result<HostDirectory, Error> {
    let path = directory.join("hosts.toml");
    let Servers { server, host } = parse_toml(&path, text)?;
    // Mirrors are asked in the order in which they are written.
    let mut hosts: Vec<(usize, String, Fields)> =
        host.into_iter().map(|(name, fields)| (fields.span().start, name, fields.into_inner())).collect();
    hosts.sort_by_key(|(start, ..)| *start);
    let wrong = |reason: String| Error::Settings { path: path.clone(), reason };
    let endpoint = |name: &str, fields: &Fields| fields.endpoint(name, directory).map_err(wrong);
    let mirrors = hosts.iter().map(|(_, name, fields)| endpoint(name, fields)).collect::<Result<_, _>>()?;
    let own: Fields = parse_toml(&path, text)?;
    Ok(HostDirectory { mirrors, own: endpoint(&server, &own)? })
}

impl Fields {
    fn endpoint(&self, name: &str, directory: &Path) -> Result<Endpoint, String> {
        let url = if name.is_empty() { None } else { Some(self.url(name)?) };
        let at = |path: &String| directory.join(path);
        let identity = match &self.client {
            None => None,
            Some(Identity::File(both)) => Some((at(both), at(both))),
            Some(Identity::Files(files)) => files.first().map(|both| (at(both), at(both))),
            Some(Identity::Pairs(pairs)) => pairs.first().map(|[certificate, key]| (at(certificate), at(key))),
        };
        let roots = self.ca.iter().flat_map(|ca| ca.all().iter().map(at)).collect();
        let mut headers = Vec::new();
        for (name, values) in &self.header {
            let key: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header's name"))?;
            for value in values.all() {
                let mut value: HeaderValue =
                    value.parse().map_err(|_| format!("the header {name:?} has no fit value"))?;
                value.set_sensitive(true);
                headers.push((key.clone(), value));
            }
        }
        let known = ["pull", "resolve", "push"];
        if let Some(unknown) = self.capabilities.iter().find(|capability| !known.contains(&capability.as_str())) {
            return Err(format!("{unknown:?} is no capability: pull, resolve and push are"));
        }
        let can = |capability: &str| self.capabilities.is_empty() || self.capabilities.iter().any(|c| c == capability);
        let tls = Tls { is_unverified: self.skip_verify, roots, identity };
        Ok(Endpoint { url, tls, headers, resolves: can("resolve"), pulls: can("pull") })
    }

    /// Returns the root of a server's API: below `/v2` unless the path is said to be it.
    fn url(&self, name: &str) -> Result<Url, String> {
        let text = if name.contains("://") { name.to_owned() } else { format!("https://{name}") };
        // What it is called is not shown: there may be a password in it.
        let wrong = || "a server is no URL of the form http[s]://HOST[:PORT][/PATH]".to_owned();
        let mut url = Url::parse(&text).map_err(|_| wrong())?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || has_user {
            return Err(wrong());
        }
        let path = url.path().trim_end_matches('/');
        let path = if self.override_path || path.ends_with("/v2") { format!("{path}/") } else { format!("{path}/v2/") };
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_asked_in_the_order_in_which_they_are_written() {
        let text = r#"
            server = "https://r.example"
            ca = "own.crt"
            [host."https://z.example/proxy"]
              capabilities = ["pull"]
              ca = ["/a.crt", "b.crt"]
              client = [["c.cert", "c.key"]]
              [host."https://z.example/proxy".header]
                x-team = ["a", "b"]
            [host."http://a.example:5000"]
              skip_verify = true
            [host."m.example/api"]
              override_path = true
              capabilities = ["pull", "resolve"]
              client = "both.pem"
        "#;
        let found = parse(Path::new("/d"), text).expect("it is right");
        let urls: Vec<&str> = found.mirrors.iter().filter_map(|mirror| mirror.url.as_ref()).map(Url::as_str).collect();
        assert_eq!(urls, ["https://z.example/proxy/v2/", "http://a.example:5000/v2/", "https://m.example/api/"]);
        let [first, second, third] = &found.mirrors[..] else { panic!("three") };
        assert_eq!(first.tls.roots, [Path::new("/a.crt"), Path::new("/d/b.crt")]);
        assert_eq!(first.tls.identity, Some(("/d/c.cert".into(), "/d/c.key".into())));
        assert_eq!(first.headers.len(), 2);
        assert!(first.pulls && !first.resolves && second.resolves && second.tls.is_unverified && third.resolves);
        assert_eq!(third.tls.identity, Some(("/d/both.pem".into(), "/d/both.pem".into())));
        assert_eq!(found.own.url.as_ref().map(Url::as_str), Some("https://r.example/v2/"));
        assert_eq!(found.own.tls.roots, [Path::new("/d/own.crt")]);
    }

    #[test]
    fn what_is_wrong_is_told_and_no_password_with_it() {
        let error = |text: &str| parse(Path::new("/d"), text).expect_err("it is wrong").to_string();
        let cases = [
            ("server = \"https://u:s3cret@r.example\"", "a server is no URL of the form http[s]://HOST[:PORT][/PATH]"),
            ("capabilities = [\"fly\"]", "\"fly\" is no capability: pull, resolve and push are"),
            ("[header]\n\"a b\" = \"x\"", "\"a b\" is no header's name"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), format!("/d/hosts.toml is wrong: {expected}"));
        }
    }

    #[test]
    fn a_port_is_written_in_two_ways() {
        assert_eq!(names("r.example:5000").collect::<Vec<_>>(), ["r.example_5000_", "r.example:5000"]);
        assert_eq!(names("r.example").collect::<Vec<_>>(), ["r.example"]);
        assert_eq!(names("[::1]").collect::<Vec<_>>(), ["[::1]"]);
    }
}
