//! File steps: makes directories, writes files and copies trees into a root file system, and says by a digest what a
//! copy would write.
//!
//! In: a [`FileOp`]'s actions, an open writable [`Root`], and the [`SourceTree`]s that its inputs stand for. Out: the
//! changed root; or the content digest that stands in a cache key for the files a copy selects. Knows nothing of
//! layers, caches or Dockerfiles.
//!
//! | what decides what a copy writes | local context | root file system |
//! |---|:-:|:-:|
//! | names, types, link targets, file bytes | ✓ | ✓ |
//! | mode | 0755 for directories and what its owner may run, else 0644 | all 12 bits |
//! | owner, extended attributes, hard links | – (0:0, none) | ✓ |
//! | modification time | – (the epoch) | copied for files, not in the digest |
//!
//! The directory at the source path itself is not copied, its entries are; so its own metadata is not in the digest.
//! A socket in a local context becomes an empty file, as in BuildKit; a device in one is an error.
//!
//! Invariant: every path is resolved by the kernel beneath an open root; a name, a symbolic link or a race can lead to
//! another file of the same tree, never out of it. No open waits: FIFOs and devices are never opened.

mod copy;
pub mod difference;
mod digest;
mod mode;
mod owner;
mod remove;
mod select;
mod stat_cache;
mod write;

use std::io;
use std::path::Path;

use crate::dockerfile::ignore::{InvalidPattern, Matcher};
use crate::graph::{FileAction, FileOp, InputIndex, SourceNaming};
use crate::store::unpack::UnpackError;
use crate::sys::root::Root;

pub use copy::copy;
pub(crate) use digest::attributes;
pub use digest::{content_digest, content_listing};
pub use owner::resolve_owner;
pub use remove::{Missing, remove};
pub use select::{Entry, Kind, Selected, SelectedFiles, Stamp, select};
pub use stat_cache::StatCache;
pub use write::{mkdir, mkfile, symlink};

/// Where a copy reads.
#[derive(Clone, Copy, Debug)]
pub enum SourceTree<'a> {
    /// A directory of the user's.
    Local {
        /// Its top.
        root: &'a Root,
        /// What of it is not there.
        ignore: &'a Matcher,
    },
    /// The root file system of an image or step.
    Rootfs {
        /// Its top.
        root: &'a Root,
    },
    /// One downloaded file at the top, owned by root.
    Download {
        /// The directory with the file; what that says of its mode, owner and time means nothing.
        root: &'a Root,
        /// The file's mode.
        mode: u32,
        /// The file's modification time, seconds since 1970.
        modified: i64,
    },
}

impl SourceTree<'_> {
    pub(crate) fn root(&self) -> &Root {
        match self {
            SourceTree::Local { root, .. } | SourceTree::Rootfs { root } | SourceTree::Download { root, .. } => root,
        }
    }
}

/// Says why files could not be copied, made or hashed. Paths are absolute in the tree they belong to.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path of a source without wildcards does not exist.
    #[error("no file or directory `{path}` in {place}")]
    NotFound {
        /// As asked for.
        path: String,
        /// What kind of tree was looked in.
        place: &'static str,
    },
    /// It exists in the local context and the ignore file leaves it out.
    #[error("`{path}` is excluded by the ignore file of the build context")]
    Ignored {
        /// As asked for.
        path: String,
    },
    /// A file is to be where a directory is.
    #[error("cannot replace directory `{path}` with a file")]
    DirectoryInTheWay {
        /// In the root that is written.
        path: String,
    },
    /// A directory is to be where something else is.
    #[error("cannot make directory `{path}`: something that is no directory is there")]
    NotADirectory {
        /// In the root that is written.
        path: String,
    },
    /// A local context holds something that has no content.
    #[error("cannot copy `{path}` from the build context: it is a {what}")]
    Special {
        /// In the context.
        path: String,
        /// Its type.
        what: &'static str,
    },
    /// A line of the context's ignore file is malformed.
    #[error("the ignore file of the context `{context}`: {error}")]
    Ignore {
        /// The context, as written.
        context: String,
        /// What is wrong with it.
        error: InvalidPattern,
    },
    /// A pattern of the source or of `--exclude` is malformed.
    #[error("invalid pattern `{pattern}`: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A symbolic mode is malformed.
    #[error("invalid mode `{mode}`")]
    Mode {
        /// As given.
        mode: String,
    },
    /// An archive of ADD is malformed or holds what cannot be made.
    #[error("cannot unpack `{path}`")]
    Unpack {
        /// In the source tree.
        path: String,
        /// Why not.
        source: UnpackError,
    },
    /// Files from the network are read before they were brought in: a bug of the caller.
    #[error("internal error: files were not brought in")]
    NotFetched,
    /// The op names an input that was not given: a bug of the caller.
    #[error("internal error: file step has no input {0:?}")]
    NoInput(InputIndex),
    /// The operating system refused.
    #[error("cannot {verb} `{path}`")]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// Carries out all actions of `op`, in order, on `root`. `source` gives the tree of an input; files and directories made
/// get the time `epoch` (seconds since 1970) unless they bring their own.
///
/// # Errors
/// The first action that fails; what was written before it stays.
pub fn execute<'a>(
    op: &FileOp,
    source: &dyn Fn(InputIndex) -> Option<SourceTree<'a>>,
    root: &Root,
    epoch: i64,
) -> Result<(), FileError> {
    for action in &op.actions {
        match action {
            FileAction::Mkdir { path, mode, owner } => {
                let owner = owner.as_ref().map(|owner| resolve_owner(root, owner)).transpose()?;
                mkdir(root, path, *mode, owner, epoch)?;
            }
            FileAction::Mkfile { path, mode, owner, data } => {
                let owner = owner.as_ref().map(|owner| resolve_owner(root, owner)).transpose()?;
                mkfile(root, path, *mode, owner, data, epoch)?;
            }
            FileAction::Rm { path, allow_not_found, allow_wildcard } => {
                let naming = if *allow_wildcard { SourceNaming::Patterns } else { SourceNaming::Literal };
                let missing = if *allow_not_found { Missing::Allowed } else { Missing::Refused };
                remove(root, path, naming, missing)?;
            }
            FileAction::Symlink { target, path, owner } => {
                let owner = owner.as_ref().map(|owner| resolve_owner(root, owner)).transpose()?;
                symlink(root, target, path, owner, epoch)?;
            }
            FileAction::Copy(action) => {
                let from = source(action.from).ok_or(FileError::NoInput(action.from))?;
                let owner = action.owner.as_ref().map(|owner| resolve_owner(root, owner)).transpose()?;
                copy(action, &from, root, owner, epoch)?;
            }
        }
    }
    Ok(())
}

/// Returns a function that makes a [`FileError::Io`] of what the system said.
pub(crate) fn io_error<E: Into<io::Error>>(verb: &'static str, path: &Path) -> impl FnOnce(E) -> FileError {
    let path = shown(path);
    move |source| FileError::Io { verb, path, source: source.into() }
}

/// Returns a path of a tree as people see it: absolute.
pub(crate) fn shown(path: &Path) -> String {
    format!("/{}", path.to_string_lossy().trim_start_matches('/'))
}
