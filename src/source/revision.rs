//! A revision of the repository that the command runs in, as files: what `git checkout` would leave.
//!
//! The user's own git with the user's own configuration does it, so filters and line ends are those of the working tree.
//! Neither the index nor anything else of the repository is changed.

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::digest::FieldHasher;
use crate::store::{Store, StoreError};

/// Why a revision cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// There is no git, or it cannot be started.
    #[error("cannot start git: {0}")]
    NoGit(std::io::Error),
    /// The directory is in no repository.
    #[error("{directory} is in no git repository: {reason}")]
    NoRepository {
        /// As given.
        directory: String,
        /// What git said.
        reason: String,
    },
    /// There is no such revision.
    #[error("there is no revision `{0}` in this repository")]
    NoRevision(String),
    /// The files cannot be written.
    #[error("git cannot check the revision out: {0}")]
    Failed(String),
    /// The store cannot keep them.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A revision's files.
#[derive(Debug)]
pub struct Revision {
    /// The commit.
    pub commit: String,
    /// What the directory that was asked for is in it; may not exist.
    pub directory: PathBuf,
}

/// Checks `revision` of the repository that `directory` is in out into `store`; what the store has is used. `env` is the
/// environment of git. Submodules are not part of it.
///
/// # Errors
/// See [`RevisionError`].
pub fn checkout(
    store: &Store,
    directory: &Path,
    revision: &str,
    env: &BTreeMap<String, String>,
) -> Result<Revision, RevisionError> {
    let git = Git { directory, env };
    let prefix = git.run(&["rev-parse", "--show-prefix"], &[]).map_err(|error| match error {
        RevisionError::Failed(reason) => {
            RevisionError::NoRepository { directory: directory.display().to_string(), reason }
        }
        error => error,
    })?;
    let name = format!("{revision}^{{commit}}");
    let commit = git.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name], &[]);
    let commit = commit.map_err(|error| match error {
        RevisionError::Failed(_) => RevisionError::NoRevision(revision.to_owned()),
        error => error,
    })?;
    let top = git.run(&["rev-parse", "--show-toplevel"], &[])?;
    let mut hasher = FieldHasher::new("bake.revision.v1");
    hasher.field("top", &top).field("commit", &commit);
    let key = hasher.finish();
    let tree = match store.checkout(&key) {
        Some(tree) => tree,
        None => {
            let builder = store.checkout_builder()?;
            let (index, tree) = (builder.path().join("index"), builder.path().join("tree"));
            let index = [("GIT_INDEX_FILE", index.as_path())];
            std::fs::create_dir(&tree).map_err(|error| RevisionError::Failed(error.to_string()))?;
            git.run(&["read-tree", &commit], &index)?;
            // A path that does not end in a slash would be the beginning of names.
            let prefix = format!("--prefix={}/", tree.display());
            git.at_top(Path::new(&top)).run(&["checkout-index", "--all", "--force", &prefix], &index)?;
            builder.commit(&tree, &key)?
        }
    };
    Ok(Revision { commit, directory: tree.join(prefix) })
}

/// Runs git for the user.
struct Git<'a> {
    directory: &'a Path,
    env: &'a BTreeMap<String, String>,
}

impl<'a> Git<'a> {
    fn at_top(&self, top: &'a Path) -> Git<'a> {
        Git { directory: top, env: self.env }
    }

    /// Returns what git writes, without the end of the last line.
    fn run(&self, arguments: &[&str], more: &[(&str, &Path)]) -> Result<String, RevisionError> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.directory).env_clear().envs(self.env);
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").envs(more.iter().copied()).stdin(Stdio::null());
        let output = command.output().map_err(RevisionError::NoGit)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
            return Err(RevisionError::Failed(last.trim_start_matches("fatal: ").to_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
    }
}
