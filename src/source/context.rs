//! A file that is a build context: an archive's files, or the one file.

#![expect(clippy::disallowed_methods, reason = "this row makes the store's checkouts")]

use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, FieldHasher};
use crate::remote::SINGLE_FILE;
use crate::store::{Store, StoreError, archive, unpack};
use crate::sys::root::Root;

/// Why a file cannot be a context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It is an archive that cannot be unpacked.
    #[error("{0}")]
    Archive(String),
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A file of the store as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFiles {
    /// What was in the archive, or the one file [`SINGLE_FILE`]; in the store, never changed.
    pub directory: PathBuf,
    /// It was an archive.
    pub is_archive: bool,
}

/// Makes files of the blob `digest`, once.
///
/// # Errors
/// It is an archive that cannot be unpacked, or the store cannot be written.
pub fn context_files(store: &Store, digest: Digest) -> Result<ContextFiles, ContextError> {
    let unreadable = |error: io::Error| ContextError::Archive(error.to_string());
    let mut blob = store.open_blob(&digest).map_err(unreadable)?;
    let compression = archive::detect(&mut blob).map_err(unreadable)?;
    let mut key = FieldHasher::new("bake.http.context.v1");
    key.field("digest", digest.as_bytes());
    let key = key.finish();
    let is_archive = compression.is_some();
    if let Some(directory) = store.checkout(&key) {
        return Ok(ContextFiles { directory, is_archive });
    }
    store.check_blob(&digest)?;
    let builder = store.checkout_builder()?;
    let tree = builder.path().join("tree");
    std::fs::create_dir(&tree).map_err(unreadable)?;
    match compression {
        Some(compression) => {
            let root = Root::open(&tree).map_err(unreadable)?;
            let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            archive::unpack(blob, compression, &root, Some(owner))
                .map_err(|error: unpack::UnpackError| ContextError::Archive(error.to_string()))?;
        }
        None => {
            blob.rewind().and_then(|()| write_file(&mut blob, &tree.join(SINGLE_FILE))).map_err(unreadable)?;
        }
    }
    Ok(ContextFiles { directory: builder.commit(&tree, &key)?, is_archive })
}

/// Returns the time of the newest file in the archive that the blob `digest` is, seconds since 1970; `None` for what is no
/// archive. The archive is read once.
///
/// # Errors
/// The blob cannot be read, or the store cannot be written.
pub fn newest_file(store: &Store, digest: Digest) -> Result<Option<i64>, ContextError> {
    let unreadable = |error: io::Error| ContextError::Archive(error.to_string());
    let mut key = FieldHasher::new("bake.archive.newest.v1");
    key.field("digest", digest.as_bytes());
    let key = key.finish();
    if let Some(known) = store.memo(&key) {
        return Ok(known.parse().ok());
    }
    let mut blob = store.open_blob(&digest).map_err(unreadable)?;
    let compression = archive::detect(&mut blob).map_err(unreadable)?;
    let newest = compression.and_then(|compression| archive::newest(blob, compression));
    store.put_memo(&key, &newest.map_or_else(|| "none".to_owned(), |time| time.to_string()))?;
    Ok(newest)
}

fn write_file(from: &mut impl io::Read, path: &Path) -> io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    io::copy(from, &mut file).map(drop)
}
