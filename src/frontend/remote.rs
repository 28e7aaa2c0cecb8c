//! What an ADD source names besides local files: git repositories and URLs, told apart as BuildKit does.

use crate::graph::GitSource;
use crate::text::{parse_bool, percent_decoded};

use super::paths;

/// A source of ADD that is not in the build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// A repository, with what its URL says about `.git`.
    Git { source: GitSource, keep_git_dir: Option<bool> },
    /// A file.
    Http { url: String, filename: String },
}

/// Reads a source word; `None` for a path of the context.
///
/// # Errors
/// It names a repository and its query or fragment is wrong.
pub(super) fn parse(text: &str) -> Result<Option<Remote>, String> {
    if let Some(git) = git(text)? {
        return Ok(Some(git));
    }
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(None);
    }
    let path = text.split_once("://").map_or("", |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or("");
    // Decoded first: a name has no `/` in it.
    let path = percent_decoded(path.split_once('/').map_or("", |(_, path)| path));
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let filename = if name.is_empty() || name == "." { "__unnamed__".to_owned() } else { name };
    Ok(Some(Remote::Http { url: text.to_owned(), filename }))
}

/// The parts of a repository's URL.
struct Url<'a> {
    /// What git is called with.
    remote: &'a str,
    host: &'a str,
    path: String,
    query: &'a str,
    fragment: &'a str,
    is_ssh: bool,
}

fn git(text: &str) -> Result<Option<Remote>, String> {
    let Some(url) = split(text) else { return Ok(None) };
    let mut source = GitSource {
        remote: url.remote.to_owned(),
        repository: format!("{}{}", url.host, paths::absolute("/", &url.path)),
        is_ssh: url.is_ssh,
        ..GitSource::default()
    };
    if !url.fragment.is_empty() {
        let (reference, subdirectory) = url.fragment.split_once(':').unwrap_or((url.fragment, ""));
        source.reference = reference.to_owned();
        source.subdirectory = cleaned(subdirectory);
    }
    let keep_git_dir = query(&mut source, url.query)?;
    Ok(Some(Remote::Git { source, keep_git_dir }))
}

fn cleaned(subdirectory: &str) -> String {
    paths::absolute("/", subdirectory).trim_start_matches('/').to_owned()
}

/// Cuts a repository's URL: one with a scheme, where http needs a path that ends in `.git`, or `user@host:path`.
fn split(text: &str) -> Option<Url<'_>> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = before.split_once('?').unwrap_or((before, ""));
    if let Some((scheme, rest)) = remote.split_once("://") {
        let scheme = scheme.to_lowercase();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let path = percent_decoded(path);
        let is_git = match scheme.as_str() {
            "git" | "ssh" => true,
            "http" | "https" => path.ends_with(".git"),
            _ => false,
        };
        return is_git.then_some(Url { remote, host, path, query, fragment, is_ssh: scheme == "ssh" });
    }
    let (user, rest) = remote.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let is_name = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let is_git = is_name(user, "-_") && is_name(host, "-.");
    is_git.then(|| Url { remote, host, path: path.to_owned(), query, fragment, is_ssh: true })
}

/// Reads the query into `source`; returns what it says about `.git`.
fn query(source: &mut GitSource, query: &str) -> Result<Option<bool>, String> {
    let (mut tag, mut branch, mut keep_git_dir) = (String::new(), String::new(), None);
    let mut seen: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (percent_decoded(key), percent_decoded(value));
        if seen.contains(&key) {
            return Err(format!("`{key}` is given twice in the query"));
        }
        let is_flag = ["submodules", "keep-git-dir", "fetch-by-commit"].contains(&key.as_str());
        if value.is_empty() && !is_flag {
            return Err(format!("`{key}` has no value in the query"));
        }
        match key.as_str() {
            "ref" => agree(&mut source.reference, value, "ref")?,
            "subdir" => agree(&mut source.subdirectory, value, "subdir")?,
            "tag" => tag = with_prefix("refs/tags/", &value),
            "branch" => branch = with_prefix("refs/heads/", &value),
            "checksum" | "commit" => source.checksum = Some(value),
            "keep-git-dir" => keep_git_dir = Some(boolean(&key, &value)?),
            "submodules" => source.skip_submodules = !boolean(&key, &value)?,
            "fetch-by-commit" => source.fetch_by_commit = boolean(&key, &value)?,
            // ADD of the peer reads it and does nothing with it.
            "mtime" if ["checkout", "commit"].contains(&value.as_str()) => {}
            "mtime" => return Err(format!("`mtime` is `checkout` or `commit`, not `{value}`")),
            _ => return Err(format!("unknown key `{key}` in the query")),
        }
        seen.push(key);
    }
    if !tag.is_empty() && !branch.is_empty() {
        return Err("the query has a tag and a branch".to_owned());
    }
    for name in [tag, branch] {
        if !name.is_empty() {
            agree(&mut source.reference, name, "ref")?;
        }
    }
    Ok(keep_git_dir)
}

fn agree(known: &mut String, value: String, what: &str) -> Result<(), String> {
    if !known.is_empty() && *known != value {
        return Err(format!("{what} is both `{known}` and `{value}`"));
    }
    *known = value;
    Ok(())
}

fn with_prefix(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    if value.is_empty() {
        return Ok(true);
    }
    parse_bool(value).ok_or_else(|| format!("`{key}` is true or false, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(text: &str) -> String {
        match parse(text) {
            Ok(Some(Remote::Git { source, keep_git_dir })) => {
                let checksum = source.checksum.as_deref().unwrap_or("-");
                format!("{} {} {checksum} {keep_git_dir:?}", source.identifier(), source.remote)
            }
            Ok(Some(Remote::Http { url, filename })) => format!("{url} {filename}"),
            Ok(None) => "local".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn repositories_urls_and_paths_are_told_apart() {
        for (text, expected) in [
            ("./a", "local"),
            ("github.com/a/b", "local"),
            ("ftp://x/y.git", "local"),
            ("https://e.com/a%20b.tgz?x=1", "https://e.com/a%20b.tgz?x=1 a b.tgz"),
            ("https://e.com", "https://e.com __unnamed__"),
            ("https://e.com/a/..%2f..%2fetc%2fpasswd", "https://e.com/a/..%2f..%2fetc%2fpasswd passwd"),
            ("https://e.com/a.git", "git://e.com/a.git https://e.com/a.git - None"),
            ("https://e.com/a.git#v1:d", "git://e.com/a.git#v1:d https://e.com/a.git - None"),
            ("git@e.com:a/b.git#:../d", "git://e.com/a/b.git#:d git@e.com:a/b.git - None"),
            ("https://u@e.com/a.git?tag=1&commit=ab", "git://e.com/a.git#refs/tags/1 https://u@e.com/a.git ab None"),
            ("git://e.com/a?keep-git-dir", "git://e.com/a git://e.com/a - Some(true)"),
            ("git://e.com/a?ref=x#y", "ref is both `y` and `x`"),
            ("git://e.com/a?what=x", "unknown key `what` in the query"),
            ("git://e.com/a?tag=x&branch=y", "the query has a tag and a branch"),
        ] {
            assert_eq!(identifier(text), expected, "{text}");
        }
    }
}
