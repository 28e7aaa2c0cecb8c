//! Places on the network that a build reads files from: git repositories and single files over HTTP.
//!
//! The grammar is BuildKit's (`frontend/dockerfile/dfgitutil`, `util/gitutil`): `https://host/repo.git#REF:SUBDIR`,
//! `?ref=…&subdir=…`, `ssh://`, `git://`, `user@host:path`, and `github.com/owner/repo`. Only text is looked at here.

mod git;
mod home;

use std::fmt;

pub use git::{GitUrl, Mtime, is_commit};
pub use home::Home;

/// A git repository, or a file over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// A tree of a git repository.
    Git(GitUrl),
    /// A file: an archive, or a text.
    Http(HttpUrl),
}

/// The URL of a file, `http://` or `https://`. It may hold secrets: shown, it is without user and query.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl(pub String);

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find(['?', '#']).unwrap_or(self.0.len());
        f.write_str(&without_credentials(&self.0[..end]))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Git(url) => url.fmt(f),
            Remote::Http(url) => url.fmt(f),
        }
    }
}

impl Remote {
    /// Reads `text`; `None` if it names nothing on the network, and so is a path.
    ///
    /// # Errors
    /// It is a git URL whose query or host is wrong.
    pub fn parse(text: &str) -> Option<Result<Remote, String>> {
        if let Some(git) = GitUrl::parse(text) {
            return Some(git.map(Remote::Git));
        }
        is_http(text).then(|| Ok(Remote::Http(HttpUrl(text.to_owned()))))
    }

    /// Returns the scheme's host with its port, in lower case, as secrets are named for it.
    pub fn host(&self) -> &str {
        match self {
            Remote::Git(url) => url.host(),
            Remote::Http(url) => host_of(&url.0),
        }
    }
}

/// The name of the only file of a context that is a single downloaded file, as the peer calls it.
pub const SINGLE_FILE: &str = "context";

/// Says whether `text` names a place on the network, right or wrong.
pub fn is_remote(text: &str) -> bool {
    Remote::parse(text).is_some()
}

/// Says whether `text` begins as an HTTP URL does.
pub fn is_http(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Returns `url` as it names the directory `subdir` below what it names, in the notation that it is in; anything but a git
/// URL stays as it is (buildx v0.36, `remoteURLWithSubdir`).
pub fn with_subdir(url: &str, subdir: &str) -> String {
    let subdir = subdir.trim_start_matches("./").trim_end_matches('/');
    let Some(Ok(git)) = GitUrl::parse(url).filter(|_| !matches!(subdir, "" | ".")) else { return url.to_owned() };
    let subdir = match git.subdir.as_str() {
        "" => subdir.to_owned(),
        outer => crate::remote::git::clean(&format!("{outer}/{subdir}")),
    };
    if let Some((base, query)) = url.split_once('?').filter(|_| !url.contains('#')) {
        let replaced = |pair: &str| match pair.split_once('=') {
            Some(("subdir", _)) => format!("subdir={}", subdir.replace('%', "%25").replace('&', "%26")),
            _ => pair.to_owned(),
        };
        if query.split('&').any(|pair| pair.starts_with("subdir=")) {
            return format!("{base}?{}", query.split('&').map(replaced).collect::<Vec<_>>().join("&"));
        }
    }
    let (base, fragment) = url.split_once('#').unwrap_or((url, ""));
    let git_ref = fragment.split(':').next().unwrap_or("");
    format!("{base}#{git_ref}:{subdir}")
}

/// Returns a URL's host and port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns a URL with what may be secret of its user part replaced.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) if scheme == "ssh" && !user.contains(':') => format!("{scheme}://{user}@{host}{path}"),
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
    }
}

/// Returns a text in which the users and passwords of URLs are replaced.
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'`<>".contains(c)).unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        shown.push_str(before);
        match authority.rsplit_once('@') {
            Some((user, _)) if before.ends_with("ssh://") && !user.contains(':') => shown.push_str(authority),
            Some((_, host)) => shown.extend(["***@", host]),
            None => shown.push_str(authority),
        }
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_without_the_passwords_of_its_urls() {
        let cases = [
            ("curl https://me:pw@h/x && wget 'http://t@h'", "curl https://***@h/x && wget 'http://***@h'"),
            ("git clone ssh://git@h/x me@h:y", "git clone ssh://git@h/x me@h:y"),
            ("ssh://git:pw@h/x https://h/a@b", "ssh://***@h/x https://h/a@b"),
            ("a://b", "a://b"),
        ];
        for (text, shown) in cases {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let shown = |text: &str| Remote::parse(text).expect("remote").expect("right").to_string();
        assert_eq!(shown("https://me:secret@h/x.tar?sig=secret#f"), "https://***@h/x.tar");
        assert_eq!(shown("https://secret@h/x.git#main:dir"), "https://***@h/x.git#main:dir");
        assert_eq!(shown("ssh://git@h/x.git"), "ssh://git@h/x.git");
    }

    #[test]
    fn a_subdirectory_is_added_in_the_url_s_own_notation() {
        let cases = [
            ("https://h/r.git", "a/b", "https://h/r.git#:a/b"),
            ("https://h/r.git#main", "a", "https://h/r.git#main:a"),
            ("https://h/r.git#main:x", "a", "https://h/r.git#main:x/a"),
            ("https://h/r.git?ref=v1&subdir=x", "a", "https://h/r.git?ref=v1&subdir=x/a"),
            ("https://h/r.git#main:x", "../y", "https://h/r.git#main:y"),
            ("https://h/r.git#main", ".", "https://h/r.git#main"),
            ("https://h/ctx.tar.gz", "a", "https://h/ctx.tar.gz"),
        ];
        for (url, subdir, expected) in cases {
            assert_eq!(with_subdir(url, subdir), expected, "{url} {subdir}");
        }
    }
}
