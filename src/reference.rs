//! Image names: registry, repository, tag and digest, read and shown as Docker does.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The name of an image in a registry: `registry/repository[:tag][@digest]`, with Docker's defaults filled in
/// (`alpine` is `docker.io/library/alpine`). Ordered by its parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host and optional port; `docker.io` where none was written.
    pub registry: String,
    /// Path in the registry, lower case; never empty.
    pub repository: String,
    /// Absent where none was written; see [`Reference::tag_or_latest`].
    pub tag: Option<String>,
    /// Absent where none was written. Where there is one, it decides and the tag is for people.
    pub digest: Option<Digest>,
}

/// Says why a text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name `{text}`: {reason}")]
pub struct InvalidReference {
    /// The text as written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reference {
    /// Returns the tag, `latest` where neither tag nor digest was written.
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// Returns the same image pinned to `digest`; the tag stays.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// Returns `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the name as people write it: without `docker.io` and `library`, tag and digest as they are.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl fmt::Display for Reference {
    /// Writes the full name, with `:latest` where neither tag nor digest was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag_or_latest() {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Reference, InvalidReference> {
        let invalid = |reason| InvalidReference { text: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| invalid("its digest is not sha256 and 64 hex digits"))?))
            }
            None => (text, None),
        };
        let (registry, path) = split_registry(rest);
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("a tag has letters, digits, `_`, `.`, `-`, and at most 128 of them"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("a repository is lower case"));
        }
        if path.len() > 255 || !path.split('/').all(is_path_component) {
            return Err(invalid(
                "a repository has lower-case words of letters and digits, joined by `/`, `.`, `_`, `-`",
            ));
        }
        if !is_registry(registry) {
            return Err(invalid("a registry is a host name with an optional port"));
        }
        let is_official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if is_official { format!("library/{path}") } else { path.to_owned() };
        Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// Splits at the first `/` if what stands before it can only be a host: it has a dot or a port, or is `localhost`.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host.starts_with('[') => (host, path),
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    is_alphanumeric(*first)
        && is_alphanumeric(*last)
        && bytes.iter().all(|b| is_alphanumeric(*b) || b"._-".contains(b))
        && !component.contains("..")
        && !component.contains("___")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_defaults_are_filled_in() {
        let cases = [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("team/api:1.2", "docker.io/team/api:1.2", "team/api:1.2"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("127.0.0.1:5000/base/busybox:1", "127.0.0.1:5000/base/busybox:1", "127.0.0.1:5000/base/busybox:1"),
            ("index.docker.io/alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ];
        for (text, full, familiar) in cases {
            let reference: Reference = text.parse().expect(text);
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar));
        }
    }

    #[test]
    fn a_digest_stands_without_a_tag() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("alpine@{digest}").parse().expect("valid");
        assert_eq!(reference.to_string(), format!("docker.io/library/alpine@{digest}"));
        assert_eq!(reference.tag_or_latest(), None);
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", "Alpine", "a//b", "a:", "a:-x", "a@sha256:12", "-a", "a..b", "host:port/a", "a/../b", "a b"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
