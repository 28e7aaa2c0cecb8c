//! URLs of git repositories.

use std::fmt;

use super::{host_of, without_credentials};
use crate::text::{parse_bool, percent_decoded};

/// A tree of a git repository: which repository, which commit, which directory of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitUrl {
    /// The repository as git is given it: a URL, or `user@host:path`. It may hold secrets.
    pub remote: String,
    /// Branch, tag, `refs/…` or commit; empty for the repository's default branch.
    pub git_ref: String,
    /// Directory of the tree, relative, without `..`; empty for all of it.
    pub subdir: String,
    /// The commit (or annotated tag) that it must be, or how that begins; empty for whatever it is.
    pub checksum: String,
    /// Whether `.git` is part of the files; where the URL says it.
    pub keep_git_dir: Option<bool>,
    /// Submodules are part of the files.
    pub submodules: bool,
    /// The commit is `checksum`, whatever `git_ref` stands for; the server is not asked.
    pub fetch_by_commit: bool,
    /// Modification times.
    pub mtime: Mtime,
}

/// Which modification time the files of a checkout have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mtime {
    /// What they had when they were checked out for the peer; here the commit's, so that two checkouts are equal.
    #[default]
    Checkout,
    /// The commit's.
    Commit,
}

/// Says whether `text` is a whole commit name: 40 or 64 lower hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl GitUrl {
    /// Reads `text`; `None` if it is no git URL: HTTP URLs are such if their path ends in `.git`.
    pub(super) fn parse(text: &str) -> Option<Result<GitUrl, String>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        let full = match text.starts_with("github.com/") {
            true => format!("https://{text}"),
            false => text.to_owned(),
        };
        let parts = match full.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                let scheme = scheme.to_ascii_lowercase();
                let parts = Parts::of(&format!("{scheme}://"), rest);
                let needs_ending = matches!(scheme.as_str(), "http" | "https") && !text.starts_with("github.com/");
                let path = percent_decoded(parts.remote.split_once("://")?.1);
                match scheme.as_str() {
                    "http" | "https" | "ssh" | "git" if !needs_ending || path.ends_with(".git") => parts,
                    _ => return None,
                }
            }
            _ => Parts::of_scp(&full)?,
        };
        Some(parts.into_url())
    }

    /// Returns the repository as it may be shown.
    pub fn shown_remote(&self) -> String {
        without_credentials(&self.remote)
    }

    /// Returns `http`, `https`, `ssh` or `git`.
    pub fn scheme(&self) -> &str {
        self.remote.split_once("://").map_or("ssh", |(scheme, _)| scheme)
    }

    /// Returns the host and its port.
    pub fn host(&self) -> &str {
        match self.remote.contains("://") {
            true => host_of(&self.remote),
            false => {
                let (_, rest) = self.remote.split_once('@').unwrap_or(("", &self.remote));
                rest.split(':').next().unwrap_or("")
            }
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown_remote())?;
        let git_ref = if self.fetch_by_commit || self.git_ref.is_empty() { &self.checksum } else { &self.git_ref };
        match (git_ref.as_str(), self.subdir.as_str()) {
            ("", "") => Ok(()),
            (git_ref, "") => write!(f, "#{git_ref}"),
            (git_ref, subdir) => write!(f, "#{git_ref}:{subdir}"),
        }
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitUrl({self})")
    }
}

/// A URL cut into what git is given and what it is not.
struct Parts {
    remote: String,
    query: String,
    fragment: String,
}

impl Parts {
    fn of(scheme: &str, rest: &str) -> Parts {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        Parts { remote: format!("{scheme}{rest}"), query: query.to_owned(), fragment: percent_decoded(fragment) }
    }

    /// `user@host:path?query#fragment`
    fn of_scp(text: &str) -> Option<Parts> {
        let (user, rest) = text.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let is_word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(c))
        };
        if !is_word(user, "_") || !is_word(host, ".") {
            return None;
        }
        let mut parts = Parts::of("", text);
        parts.fragment = text.split_once('#').map_or(String::new(), |(_, fragment)| fragment.to_owned());
        Some(parts)
    }

    fn into_url(self) -> Result<GitUrl, String> {
        let (git_ref, subdir) = self.fragment.split_once(':').unwrap_or((&self.fragment, ""));
        let mut url = GitUrl {
            remote: self.remote,
            git_ref: git_ref.to_owned(),
            subdir: clean(subdir),
            checksum: String::new(),
            keep_git_dir: None,
            submodules: true,
            fetch_by_commit: false,
            mtime: Mtime::Checkout,
        };
        url.read_query(&self.query)?;
        url.checked()
    }
}

impl GitUrl {
    /// Returns the URL if there is nothing in it that git or ssh could take for something else.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self) -> Result<GitUrl, String> {
        let url = self;
        let is_option = |text: &str| text.starts_with('-');
        if url.host().is_empty() || is_option(url.host()) || is_option(&url.remote) {
            return Err("it has no host".to_owned());
        }
        if is_option(&url.git_ref) {
            return Err(format!("`{}` is no ref", url.git_ref));
        }
        // What git would take for several words or lines.
        if url.remote.chars().chain(url.git_ref.chars()).any(|c| c.is_control() || c == ' ') {
            return Err("it has blanks or control characters in it".to_owned());
        }
        if !url.checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("`{}` is no commit: hexadecimal digits are expected", url.checksum));
        }
        if url.fetch_by_commit && !is_commit(&url.checksum) && !is_commit(&url.git_ref) {
            return Err("`fetch-by-commit` needs a whole commit in `checksum`".to_owned());
        }
        Ok(url)
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let (mut seen, mut tag, mut branch) = (Vec::new(), String::new(), String::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (percent_decoded(&key.replace('+', " ")), percent_decoded(&value.replace('+', " ")));
            if seen.contains(&key) {
                return Err(format!("`{key}` is in its query twice"));
            }
            let flag = || match value.as_str() {
                "" => Ok(true),
                text => parse_bool(text).ok_or_else(|| format!("`{key}` in its query is true or false, not `{text}`")),
            };
            let is_flag = matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_flag {
                return Err(format!("`{key}` in its query has no value"));
            }
            match key.as_str() {
                "ref" => set(&mut self.git_ref, value, "refs")?,
                "subdir" if !self.subdir.is_empty() && self.subdir != clean(&value) => {
                    return Err(format!("it names two directories: `{}` and `{value}`", self.subdir));
                }
                "subdir" => self.subdir = clean(&value),
                "tag" => tag = full_ref("refs/tags/", value),
                "branch" => branch = full_ref("refs/heads/", value),
                "checksum" | "commit" => self.checksum = value.to_ascii_lowercase(),
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.submodules = flag()?,
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                "mtime" if value == "commit" => self.mtime = Mtime::Commit,
                "mtime" if value == "checkout" => self.mtime = Mtime::Checkout,
                "mtime" => return Err(format!("`mtime` in its query is `checkout` or `commit`, not `{value}`")),
                _ => return Err(format!("`{key}` in its query means nothing")),
            }
            seen.push(key);
        }
        if !tag.is_empty() && !branch.is_empty() {
            return Err("it names both a branch and a tag".to_owned());
        }
        for named in [tag, branch].into_iter().filter(|named| !named.is_empty()) {
            set(&mut self.git_ref, named, "refs")?;
        }
        Ok(())
    }
}

fn set(field: &mut String, value: String, what: &str) -> Result<(), String> {
    if !field.is_empty() && *field != value {
        return Err(format!("it names two {what}: `{field}` and `{value}`"));
    }
    *field = value;
    Ok(())
}

fn full_ref(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// Returns `path` relative to a root that it cannot leave (Go's `path.Join("/", path)` without its slash).
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads a bool as Go's strconv.ParseBool does.
#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> GitUrl {
        GitUrl::parse(text).expect("git").expect("right")
    }

    /// Cases of BuildKit's `dfgitutil/git_ref_test.go`, in this bake's words.
    #[test]
    fn each_notation_names_repository_ref_and_directory() {
        let cases = [
            ("https://example.com/a/b.git", "https://example.com/a/b.git", "", ""),
            ("HTTPS://example.com/b.git#main:dir/x", "https://example.com/b.git", "main", "dir/x"),
            ("https://example.com/b.git#:dir", "https://example.com/b.git", "", "dir"),
            ("https://example.com/b.git#a/b:../../c", "https://example.com/b.git", "a/b", "c"),
            ("http://example.com:8080/b.git", "http://example.com:8080/b.git", "", ""),
            ("git://example.com/b", "git://example.com/b", "", ""),
            ("ssh://git@example.com:22/b", "ssh://git@example.com:22/b", "", ""),
            ("git@example.com:a/b.git#v1", "git@example.com:a/b.git", "v1", ""),
            ("git@example.com:a/b.git?tag=v1", "git@example.com:a/b.git", "refs/tags/v1", ""),
            ("github.com/a/b#main", "https://github.com/a/b", "main", ""),
            ("https://h/b.git?branch=main&subdir=/x/", "https://h/b.git", "refs/heads/main", "x"),
            ("https://h/b.git?ref=v1#v1:x", "https://h/b.git", "v1", "x"),
        ];
        for (text, remote, git_ref, subdir) in cases {
            let url = parsed(text);
            assert_eq!((url.remote.as_str(), url.git_ref.as_str(), url.subdir.as_str()), (remote, git_ref, subdir));
        }
    }

    #[test]
    fn what_is_no_git_url_is_none() {
        let cases =
            [".", "./x.git", "../x.git", "https://h/b.tar.gz", "file:///srv/b.git", "ext::sh -c id", "/srv/b.git"];
        for text in cases.into_iter().chain(["bad:user@h:b.git", "git@h/b.git", "docker-image://b.git"]) {
            assert!(GitUrl::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn options_and_contradictions_are_refused() {
        let cases = [
            "https://h/b.git#--upload-pack=id",
            "https://h/b.git?ref=-x",
            "ssh://-oProxyCommand=id/b",
            "git@-oProxyCommand:b.git",
            "https:///b.git",
            "https://h/b.git?ref=a#b",
            "https://h/b.git?tag=a&branch=b",
            "https://h/b.git?ref=a&ref=b",
            "https://h/b.git?ref=",
            "https://h/b.git?what=x",
            "https://h/b.git?submodules=maybe",
            "https://h/b.git?checksum=xyz",
            "https://h/b.git?fetch-by-commit&checksum=abc",
            "https://h/b.git#a%0Ab",
        ];
        for text in cases {
            assert!(GitUrl::parse(text).expect("git").is_err(), "{text}");
        }
    }

    #[test]
    fn switches_are_read() {
        let url = parsed("https://h/b.git?keep-git-dir&submodules=0&commit=ABC&mtime=commit");
        assert_eq!((url.keep_git_dir, url.submodules, url.mtime), (Some(true), false, Mtime::Commit));
        assert_eq!(url.checksum, "abc");
    }
}
