//! Git repositories: a ref resolved to its commit, and the commit's files as a directory of the store.
//!
//! The `git` program does the work, as in BuildKit (`source/git`), and is trusted with nothing of this host: no
//! configuration, hooks, templates, credential helpers or prompts, and no transport but HTTP, SSH and git's own, in
//! submodules too. Repository, ref and secrets reach it by its environment, so that no argument can be taken for an
//! option and nobody who lists processes reads a token.
//!
//! 1. `ls-remote` says what the ref is; a whole commit needs no asking.
//! 2. That one object is fetched, without history, into a bare repository that the store keeps for the remote.
//! 3. A repository of the checkout's own fetches from there, checks out, and brings submodules in.
//! 4. What is asked for of it is renamed into the store's checkouts, from where all later builds have it.

#![expect(clippy::disallowed_methods, reason = "this row makes the store's checkouts")]

mod command;
mod error;
mod files;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use command::{GitHost, GitSecret};
pub use error::GitError;

use self::command::Git;
use crate::digest::{Digest, FieldHasher};
use crate::remote::{GitUrl, is_commit};
use crate::store::{GitCache, Store};
use crate::sys::cancel::CancelToken;

/// A tree of a git repository on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCheckout {
    /// Its files; in the store, never changed.
    pub directory: PathBuf,
    /// The commit that they are of: the input's identity.
    pub commit: String,
    /// Says what the files are, wherever they came from: equal digests, equal files. A kept `.git` may differ in how its
    /// objects are packed, and in the index of a submodule.
    pub content: Digest,
}

impl GitCheckout {
    /// Returns the time of the commit, seconds since 1970: that of all the files.
    ///
    /// # Errors
    /// The directory is gone.
    pub fn modified(&self) -> std::io::Result<i64> {
        std::fs::metadata(&self.directory).map(|metadata| metadata.mtime())
    }
}

/// Brings trees of git repositories in.
pub struct GitSource<'a> {
    /// Keeps them.
    pub store: &'a Store,
    /// What git may know of this host.
    pub host: &'a GitHost,
    /// Asked while git runs.
    pub cancel: &'a CancelToken,
}

/// What a ref stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The whole name of the branch or tag; `None` for a commit.
    name: Option<String>,
    /// What the ref points to: a commit, or an annotated tag.
    object: String,
    /// The commit; `object`, or what that tag points to. Whether an object that was given by its name is a tag, only the
    /// fetch shows.
    pub commit: String,
}

impl GitSource<'_> {
    /// Returns the commit that `url` names.
    ///
    /// # Errors
    /// git is missing, or the repository or its ref is not there or is not what `checksum` says.
    pub fn resolve(&self, url: &GitUrl, secret: Option<&GitSecret>) -> Result<ResolvedRef, GitError> {
        let given = |object: &str| ResolvedRef { name: None, object: object.to_owned(), commit: object.to_owned() };
        let resolved = if is_commit(&url.git_ref) {
            given(&url.git_ref)
        } else if url.fetch_by_commit {
            // An unqualified name is a branch's then; no server is asked.
            let name = match url.git_ref.as_str() {
                "" => None,
                name if name.starts_with("refs/") => Some(name.to_owned()),
                name => Some(format!("refs/heads/{name}")),
            };
            ResolvedRef { name, ..given(&url.checksum) }
        } else {
            self.ask(url, &Git::new(self, url, secret))?
        };
        let is_expected = |object: &str| object.starts_with(&url.checksum);
        if !is_expected(&resolved.object) && !is_expected(&resolved.commit) {
            return Err(GitError::Checksum { url: url.clone(), actual: resolved.commit });
        }
        Ok(resolved)
    }

    /// Returns the files of a resolved `url`; those that are in the store already are asked of nobody.
    ///
    /// # Errors
    /// As [`GitSource::resolve`]; or the commit or its directory is not there.
    pub fn checkout(
        &self,
        url: &GitUrl,
        resolved: &ResolvedRef,
        keep_git_dir: bool,
        secret: Option<&GitSecret>,
    ) -> Result<GitCheckout, GitError> {
        let keep_git_dir = url.keep_git_dir.unwrap_or(keep_git_dir) && url.subdir.is_empty();
        let key = checkout_key(&url.remote, url, resolved, keep_git_dir);
        let content = checkout_key(if keep_git_dir { &url.remote } else { "" }, url, resolved, keep_git_dir);
        let commit = || match self.store.memo(&key) {
            Some(commit) if is_commit(&commit) => commit,
            _ => resolved.commit.clone(),
        };
        if let Some(directory) = self.store.checkout(&key) {
            return Ok(GitCheckout { directory, commit: commit(), content });
        }
        let git = Git::new(self, url, secret);
        let mut key_of_cache = FieldHasher::new("bake.git.v1");
        key_of_cache.field("remote", &url.remote);
        key_of_cache.field("format", object_format(&resolved.object));
        let cache = self.store.git_cache(&key_of_cache.finish(), self.cancel)?;
        // Another process may have made it while this one waited.
        if let Some(directory) = self.store.checkout(&key) {
            return Ok(GitCheckout { directory, commit: commit(), content });
        }
        let made = || {
            let name = self.fetch(&git, &cache, resolved)?;
            self.make(&git, &cache, &name, url, resolved, keep_git_dir, &key)
        };
        let (directory, commit) = made().or_else(|error| match error {
            // What git keeps may have been damaged, by the stop of this machine or by the disk.
            GitError::Failed { .. }
                if cache.path().exists() && git.at(cache.path()).run(&["fsck", "--full"]).is_err() =>
            {
                cache.remove()?;
                made()
            }
            error => Err(error),
        })?;
        self.store.put_memo(&key, &commit)?;
        Ok(GitCheckout { directory, commit, content })
    }

    /// Asks the repository what the ref is. Where a branch and a tag have the name, the branch is meant, as for
    /// `git checkout`.
    fn ask(&self, url: &GitUrl, git: &Git<'_>) -> Result<ResolvedRef, GitError> {
        let git_ref = match url.git_ref.as_str() {
            "" => {
                let answer = git.run(&["ls-remote", "--symref", "--", "origin", "HEAD"])?;
                let head = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.split('\t').next());
                let head = head.filter(|head| head.starts_with("refs/heads/"));
                head.ok_or_else(|| GitError::NoDefaultBranch { url: url.clone() })?.to_owned()
            }
            git_ref => git_ref.to_owned(),
        };
        let answer = git.run(&["ls-remote", "--", "origin", &git_ref, &format!("{git_ref}^{{}}")])?;
        let named = |name: &str| {
            answer
                .lines()
                .find_map(|line| line.split_once('\t').filter(|(_, of)| *of == name).map(|(object, _)| object))
        };
        let full = |prefix: &str| format!("{prefix}{}", git_ref.strip_prefix(prefix).unwrap_or(&git_ref));
        let (exact, branch, tag) = (full("refs/"), full("refs/heads/"), full("refs/tags/"));
        let found = [exact, branch, tag].into_iter().find_map(|name| Some((named(&name)?, name)));
        let Some((object, name)) = found else {
            return Err(GitError::NoRef { url: url.clone(), git_ref });
        };
        let commit = named(&format!("{name}^{{}}")).unwrap_or(object);
        if !is_commit(object) || !is_commit(commit) {
            return Err(GitError::NoRef { url: url.clone(), git_ref });
        }
        Ok(ResolvedRef { object: object.to_owned(), commit: commit.to_owned(), name: Some(name) })
    }

    /// Fetches the object into the remote's bare repository, if it is not there; returns the ref that holds it there.
    fn fetch(&self, git: &Git<'_>, cache: &GitCache, resolved: &ResolvedRef) -> Result<String, GitError> {
        let holder = format!("refs/bake/{}", resolved.object);
        if !cache.path().exists() {
            let fresh = self.store.checkout_builder()?;
            let format = format!("--object-format={}", object_format(&resolved.object));
            git.at(&fresh.path().join("bare")).run(&["init", "--quiet", "--bare", "--template=", &format])?;
            std::fs::rename(fresh.path().join("bare"), cache.path())
                .map_err(|error| GitError::io("write", cache.path(), error))?;
        }
        let git = git.at(cache.path());
        if git.run(&["rev-parse", "--verify", "--quiet", &format!("{holder}^{{commit}}")]).is_ok() {
            return Ok(holder);
        }
        cache.remove_stale_locks();
        let object = &resolved.object;
        let fetched = git.fetch(&["--depth=1", "--no-tags"], &format!("+{object}:{holder}"));
        match (fetched, &resolved.name) {
            (Ok(()), _) => return Ok(holder),
            (Err(error), _) if !error.is_refused_object() => return Err(error),
            // A server that gives no object by its name gives the ref, which may have moved meanwhile.
            (Err(_), Some(name)) => {
                git.fetch(&["--depth=1", "--no-tags"], &format!("+{name}:refs/bake/newest"))?;
                if git.run(&["rev-parse", "--verify", "refs/bake/newest"])?.trim() == object {
                    git.run(&["update-ref", &holder, object])?;
                    return Ok(holder);
                }
            }
            (Err(_), None) => {}
        }
        // Some branch or tag may have the commit in its history.
        let is_shallow = cache.path().join("shallow").exists();
        let depth: &[&str] = if is_shallow { &["--unshallow", "--tags"] } else { &["--tags"] };
        git.fetch(depth, "+refs/heads/*:refs/remotes/origin/*")?;
        git.run(&["rev-parse", "--verify", "--quiet", &format!("{object}^{{commit}}")])
            .map_err(|_| GitError::NoCommit { url: git.url().clone(), commit: object.clone() })?;
        git.run(&["update-ref", &holder, object])?;
        Ok(holder)
    }

    /// Makes the checkout from what was fetched.
    #[expect(clippy::too_many_arguments, reason = "each is another fact of one checkout")]
    fn make(
        &self,
        git: &Git<'_>,
        cache: &GitCache,
        holder: &str,
        url: &GitUrl,
        resolved: &ResolvedRef,
        keep_git_dir: bool,
        key: &Digest,
    ) -> Result<(PathBuf, String), GitError> {
        let builder = self.store.checkout_builder()?;
        let tree = builder.path().join("tree");
        std::fs::create_dir(&tree).map_err(|error| GitError::io("create", &tree, error))?;
        let git_dir = if keep_git_dir { tree.join(".git") } else { builder.path().join("git") };
        let own = git.at(&git_dir).with_tree(&tree);
        let format = format!("--object-format={}", object_format(&resolved.object));
        // `--bare` would be kept in the configuration; the directory is named by the environment.
        own.run(&["init", "--quiet", "--template=", &format])?;
        let target = resolved.name.clone().unwrap_or_else(|| "refs/bake/checkout".to_owned());
        own.fetch_from(cache.path(), &format!("+{holder}:{target}"))?;
        let commit = own.run(&["rev-parse", "--verify", &format!("{target}^{{commit}}")])?.trim().to_owned();
        if !commit.starts_with(&url.checksum) && !resolved.object.starts_with(&url.checksum) {
            return Err(GitError::Checksum { url: url.clone(), actual: commit });
        }
        own.run(&["-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", &commit])?;
        if url.submodules && tree.join(".gitmodules").exists() {
            own.run(&["config", "remote.origin.url", &url.remote])?;
            own.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = own.run(&["show", "--no-patch", "--format=%ct", &commit])?;
        let time = time.trim().parse().unwrap_or(0);
        if keep_git_dir {
            own.run(&["config", "remote.origin.url", &url.shown_remote()])?;
            _ = std::fs::remove_file(git_dir.join("FETCH_HEAD"));
            // An index that knows nothing of this machine's inodes and clock.
            own.run(&["read-tree", &commit])?;
            files::redact(&git_dir, url).map_err(|error| GitError::io("write", &git_dir, error))?;
        }
        let wanted =
            super::subdirectory(&tree, &url.subdir).map_err(|reason| GitError::Subdir { url: url.clone(), reason })?;
        files::settle(&wanted, time, keep_git_dir).map_err(|error| GitError::io("write", &wanted, error))?;
        Ok((builder.commit(&wanted, key)?, commit))
    }
}

/// Returns the key of a checkout of `remote`: everything that decides its files.
fn checkout_key(remote: &str, url: &GitUrl, resolved: &ResolvedRef, keep_git_dir: bool) -> Digest {
    let mut hasher = FieldHasher::new("bake.git.checkout.v2");
    hasher.field("remote", remote);
    // A tag's `.git` has the tag in it; without that, all names of a commit are one.
    let object = if keep_git_dir { &resolved.object } else { &resolved.commit };
    hasher.field("object", object);
    let name = resolved.name.as_deref().filter(|_| keep_git_dir);
    hasher.field("keep", if keep_git_dir { name.unwrap_or("commit") } else { "" });
    hasher.field("subdir", &url.subdir);
    hasher.field("submodules", if url.submodules { "1" } else { "0" });
    hasher.finish()
}

/// Returns git's name of the hash that an object is named by.
fn object_format(object: &str) -> &'static str {
    if object.len() == 64 { "sha256" } else { "sha1" }
}

impl GitError {
    fn io(verb: &'static str, path: &Path, source: std::io::Error) -> GitError {
        GitError::Io { verb, path: path.to_owned(), source }
    }
}
