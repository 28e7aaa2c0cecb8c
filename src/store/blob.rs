//! Blobs: complete and verified under their digest, or not there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::item::{ItemKey, ItemKind};
use super::{Store, StoreError, inventory};
use crate::digest::{Digest, Hasher};

/// A document is read whole; a larger blob never is.
const MAX_DOCUMENT_SIZE: u64 = 16 << 20;

impl Store {
    /// Says whether the blob is there; it then stays for as long as this process runs.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.lease(blob_key(digest))
    }

    /// Opens a blob. Its bytes were verified when they were stored; [`Store::check_blob`] does it again.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.blob_path(digest))
    }

    /// Returns a document's bytes, verified anew.
    ///
    /// # Errors
    /// It is not there, or is larger than a document may be; or its bytes rotted, in which case it is taken away.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let failed = |error| StoreError::io("read", &path, error);
        self.lease(blob_key(digest));
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest).map_err(failed)?.take(MAX_DOCUMENT_SIZE + 1);
        file.read_to_end(&mut bytes).map_err(failed)?;
        // It is not rotten and stays; only it is no document.
        if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        if Digest::of(&bytes) != *digest {
            return Err(self.take_away(&path, format!("blob {digest}")));
        }
        Ok(bytes)
    }

    /// Stores a document and returns its digest.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|error| StoreError::io("write", &writer.path, error))?;
        Ok(writer.commit(None)?.0)
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn blob_writer(&self) -> Result<BlobWriter<'_>, StoreError> {
        let path = self.temporary();
        let file = File::create_new(&path).map_err(|error| StoreError::io("create", &path, error))?;
        Ok(BlobWriter { store: self, path, file, hasher: Hasher::default(), size: 0, is_done: false })
    }

    /// Gives a blob one more name, `path`, which must not be there: nobody may write to it. Costs no room where the file
    /// system has hard links.
    ///
    /// # Errors
    /// The blob is not there or damaged, or `path` cannot be written.
    pub fn link_blob(&self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        self.check_blob(digest)?;
        let blob = self.blob_path(digest);
        let linked = std::fs::hard_link(&blob, path).or_else(|_| std::fs::copy(&blob, path).map(drop));
        linked.map_err(|error| StoreError::io("link to", path, error))
    }

    /// Keeps the index of a blob's members; it counts with the blob, and goes with it.
    pub(super) fn put_members(&self, blob: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.blob_path(blob);
        let metadata = std::fs::metadata(&path).map_err(|error| StoreError::io("read", &path, error))?;
        // Whole pages, as most file systems give them.
        let size = inventory::blocks(&metadata) + (bytes.len() as u64).next_multiple_of(4096);
        match self.admit(blob_key(blob), size) {
            Ok(()) => self.write_file(&self.path.join("members").join(blob.hex()), bytes),
            // It saves time alone.
            Err(StoreError::Full { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }
}

pub(super) fn blob_key(digest: &Digest) -> ItemKey {
    ItemKey::new(ItemKind::Blob, *digest)
}

/// A blob under way; dropped without [`BlobWriter::commit`] it leaves nothing.
pub struct BlobWriter<'a> {
    store: &'a Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    is_done: bool,
}

impl BlobWriter<'_> {
    /// Puts the blob under its digest and returns that with its size in bytes.
    ///
    /// # Errors
    /// The digest is not the `expected` one; nothing is stored then. Or the store cannot be written.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<(Digest, u64), StoreError> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(StoreError::DigestMismatch { expected, actual });
        }
        let path = self.store.blob_path(&actual);
        let metadata = self.file.metadata().map_err(|error| StoreError::io("read", &self.path, error))?;
        self.store.admit(blob_key(&actual), inventory::blocks(&metadata))?;
        std::fs::rename(&self.path, &path).map_err(|error| StoreError::io("rename to", &path, error))?;
        self.is_done = true;
        self.store.health.is_sound(actual);
        Ok((actual, self.size))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            _ = std::fs::remove_file(&self.path);
        }
    }
}
