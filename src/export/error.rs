//! What can go wrong while results are written to files.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::InvalidDigest;

/// Says what was attempted on what.
#[derive(Debug, thiserror::Error)]
pub enum FileExportError {
    /// The operating system refused.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// What was attempted: `write`, `read`, …
        verb: &'static str,
        /// On what: beneath the destination, or in the image where something was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The destination has a directory where the result has something else. It is the user's: it is not removed.
    #[error("`{}` is a directory in the destination and not one in the result", .0.display())]
    Directory(PathBuf),
    /// Two platforms have the same file, and one place for it.
    #[error("cannot overwrite `{}` from {first} with {second} when split option is disabled", path.display())]
    Clash {
        /// The file.
        path: PathBuf,
        /// The platform that has it first.
        first: String,
        /// The other one.
        second: String,
    },
    /// An attestation has the name of a file of the result; `attestation-prefix` gives it another.
    #[error("the result has a file `{0}` of its own: give the attestations other names with `attestation-prefix`")]
    Taken(String),
    /// The destination is a directory with other things in it.
    #[error("`{}` is not empty and no OCI image layout", .0.display())]
    NoLayout(PathBuf),
    /// The destination's index cannot be added to.
    #[error("`{}` is no image index", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A blob is not as its descriptor says; the store is damaged.
    #[error("blob {digest} has {actual} bytes where {expected} were expected")]
    BlobSize {
        /// The blob.
        digest: String,
        /// As the descriptor has it.
        expected: u64,
        /// As it was read; at least.
        actual: u64,
    },
    /// A blob's digest is none that bake writes.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

/// Returns the conversion of an error of doing `verb` to `path`.
pub(super) fn io_error<E: Into<io::Error>>(verb: &'static str, path: &Path) -> impl Fn(E) -> FileExportError + use<E> {
    let path = path.to_owned();
    move |source| FileExportError::Io { verb, path: path.clone(), source: source.into() }
}
