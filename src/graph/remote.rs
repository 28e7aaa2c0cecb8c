//! Sources that come over the network: git repositories and single files. Their attributes have LLB's names.

use std::collections::BTreeMap;

use serde::Serialize;

/// A git repository's files at a ref.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GitSource {
    /// What git fetches from (`git.fullurl`), without ref, query or fragment.
    pub remote: String,
    /// `host/path` of the remote, whatever its protocol: the same repository over ssh and https has the same.
    pub repository: String,
    /// Branch, tag, `refs/…` or commit; empty for the remote's default branch.
    pub reference: String,
    /// Directory in the repository, relative and cleaned; empty for all of it.
    pub subdirectory: String,
    /// `.git` is kept (`git.keepgitdir`).
    pub keep_git_dir: bool,
    /// The commit, or the beginning of it, that the ref has to be (`git.checksum`).
    pub checksum: Option<String>,
    /// Submodules are not fetched (`git.skipsubmodules`).
    pub skip_submodules: bool,
    /// The commit of `checksum` is fetched as such, whatever the ref is (`git.fetchbycommit`).
    pub fetch_by_commit: bool,
    /// It is fetched over ssh, with the default agent (`git.mountsshsock`).
    pub is_ssh: bool,
}

impl GitSource {
    /// Returns LLB's name of the source: `git://host/path#ref:subdirectory`.
    pub fn identifier(&self) -> String {
        let mut text = format!("git://{}", self.repository);
        if !self.reference.is_empty() || !self.subdirectory.is_empty() {
            text = format!("{text}#{}", self.reference);
        }
        if !self.subdirectory.is_empty() {
            text = format!("{text}:{}", self.subdirectory);
        }
        text
    }

    /// Returns LLB's attributes by name.
    pub fn attributes(&self) -> BTreeMap<&'static str, String> {
        let mut attributes = BTreeMap::from([
            ("git.authheadersecret", "GIT_AUTH_HEADER".to_owned()),
            ("git.authtokensecret", "GIT_AUTH_TOKEN".to_owned()),
            ("git.fullurl", self.remote.clone()),
        ]);
        let flags = [
            (self.keep_git_dir, "git.keepgitdir"),
            (self.skip_submodules, "git.skipsubmodules"),
            (self.fetch_by_commit, "git.fetchbycommit"),
        ];
        attributes.extend(flags.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| (name, "true".to_owned())));
        attributes.extend(self.checksum.clone().map(|checksum| ("git.checksum", checksum)));
        if self.is_ssh {
            attributes.insert("git.mountsshsock", "default".to_owned());
        }
        attributes
    }
}

/// One file from an `http` or `https` URL. Its result is a root with that file in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HttpSource {
    /// The URL, as written.
    pub url: String,
    /// The file's name in the result (`http.filename`).
    pub filename: String,
    /// `algorithm:hex` that the bytes have to have (`http.checksum`).
    pub checksum: Option<String>,
    /// Permission bits of the file (`http.perm`); 0600 where absent.
    pub mode: Option<u32>,
}

impl HttpSource {
    /// Returns LLB's attributes by name.
    pub fn attributes(&self) -> BTreeMap<&'static str, String> {
        let mut attributes = BTreeMap::from([("http.filename", self.filename.clone())]);
        attributes.extend(self.checksum.clone().map(|checksum| ("http.checksum", checksum)));
        attributes.extend(self.mode.map(|mode| ("http.perm", format!("0{mode:o}"))));
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_source_has_llbs_name_and_attributes() {
        let mut git = GitSource {
            remote: "https://example.com/a/b.git".to_owned(),
            repository: "example.com/a/b.git".to_owned(),
            ..GitSource::default()
        };
        assert_eq!(git.identifier(), "git://example.com/a/b.git");
        git.subdirectory = "docs".to_owned();
        assert_eq!(git.identifier(), "git://example.com/a/b.git#:docs");
        (git.reference, git.keep_git_dir) = ("v1".to_owned(), true);
        assert_eq!(git.identifier(), "git://example.com/a/b.git#v1:docs");
        let names: Vec<&str> = git.attributes().into_keys().collect();
        assert_eq!(names, ["git.authheadersecret", "git.authtokensecret", "git.fullurl", "git.keepgitdir"]);
    }
}
