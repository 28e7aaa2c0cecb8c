//! Why a git repository could not be read.

use std::path::PathBuf;
use std::time::Duration;

use crate::remote::GitUrl;
use crate::store::StoreError;

/// Why a git repository could not be read. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` on this host.
    #[error("cannot read {url}: there is no program `git` on this host")]
    NotInstalled {
        /// What was asked for.
        url: GitUrl,
    },
    /// The server wants to know who asks, or does not want this one.
    #[error("{remote} refused to show its repository: {reason}")]
    Denied {
        /// The repository.
        remote: String,
        /// The host that a secret would be for.
        host: String,
        /// What git said.
        reason: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{} has no ref `{git_ref}`", url.shown_remote())]
    NoRef {
        /// What was asked for.
        url: GitUrl,
        /// The ref.
        git_ref: String,
    },
    /// The repository has no default branch; it may be empty.
    #[error("{} has no default branch", url.shown_remote())]
    NoDefaultBranch {
        /// What was asked for.
        url: GitUrl,
    },
    /// The repository has no such commit.
    #[error("{} has no commit {commit}", url.shown_remote())]
    NoCommit {
        /// What was asked for.
        url: GitUrl,
        /// The commit.
        commit: String,
    },
    /// The commit is not the expected one.
    #[error("{url} is commit {actual}, but {} was expected", url.checksum)]
    Checksum {
        /// What was asked for.
        url: GitUrl,
        /// What it is.
        actual: String,
    },
    /// The directory is not there, or is none.
    #[error("{} has no directory `{}`: {reason}", url.shown_remote(), url.subdir)]
    Subdir {
        /// What was asked for.
        url: GitUrl,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("git took longer than {limit:?} to read {remote}")]
    TimedOut {
        /// The repository.
        remote: String,
        /// The limit.
        limit: Duration,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// git failed for another reason.
    #[error("git cannot read {remote}: {reason}")]
    Failed {
        /// The repository.
        remote: String,
        /// What git said.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GitError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            GitError::NotInstalled { .. } => "install git, and see that PATH has it".to_owned(),
            GitError::Denied { host, .. } => format!(
                "give the target a secret `GIT_AUTH_TOKEN.{host}`, or set BUILDX_BAKE_GIT_AUTH_TOKEN for the bakefile's own \
                 repository"
            ),
            GitError::TimedOut { .. } => "set BAKE_GIT_TIMEOUT to more seconds".to_owned(),
            GitError::NoDefaultBranch { .. } => "name a branch or tag: `#main`".to_owned(),
            GitError::Checksum { .. } => "correct `checksum`, or find out why the repository changed".to_owned(),
            _ => return None,
        })
    }

    /// Says whether the server gives no objects by name, which it may (git-config(1), `uploadpack.allowAnySHA1InWant`).
    pub(super) fn is_refused_object(&self) -> bool {
        let GitError::Failed { reason, .. } = self else { return false };
        ["not our ref", "unadvertised object", "couldn't find remote ref", "no such remote ref", "Unable to find"]
            .iter()
            .any(|words| reason.contains(words))
    }
}
