//! A cache in a directory, laid out as an OCI image layout is, with the entries beside the blobs:
//!
//! ```text
//! DIR/oci-layout
//! DIR/index.json                 no images
//! DIR/bake/KEY                   an entry, by the key's hex digits
//! DIR/blobs/sha256/DIGEST        layers, and the list of entries of each build that filled the cache
//! ```
//!
//! Every file appears by a rename and is never written again, so builds may fill one directory at once.

#![expect(clippy::disallowed_methods, reason = "a cache in a directory is read and written here")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::entry::{MAX_ENTRY_SIZE, MAX_INDEX_SIZE};
use super::{Backend, CacheError, Entry, Index, Open};
use crate::digest::Digest;
use crate::oci::{Descriptor, digest_of};

/// A cache in a directory.
pub struct LocalCache {
    /// As the user wrote it.
    shown: String,
    directory: PathBuf,
    /// Only what the list of this digest has is there.
    list: Option<Digest>,
    listed: OnceLock<Option<Index>>,
    added: Mutex<Vec<Entry>>,
}

impl LocalCache {
    /// The cache in `directory`, called `shown`; with `list`, only the entries of the list of that digest.
    pub fn new(shown: &str, directory: PathBuf, list: Option<Digest>) -> LocalCache {
        let (listed, added) = (OnceLock::new(), Mutex::default());
        LocalCache { shown: shown.to_owned(), directory, list, listed, added }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn entry_path(&self, key: &Digest) -> PathBuf {
        self.directory.join("bake").join(key.hex())
    }

    /// Writes a file whole or not at all; one that is there stays.
    fn put(&self, path: &Path, write: &dyn Fn(&mut File) -> io::Result<()>) -> Result<(), CacheError> {
        if path.exists() {
            return Ok(());
        }
        let failed = |source| CacheError::Io { what: format!("write {}", path.display()), source };
        let parent = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(parent).map_err(failed)?;
        let mut file = tempfile::Builder::new().prefix(".tmp").tempfile_in(parent).map_err(failed)?;
        write(file.as_file_mut()).map_err(failed)?;
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Reads a small file; `None` where it is not there.
    fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, CacheError> {
        let failed = |source| CacheError::Io { what: format!("read {}", path.display()), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(CacheError::Malformed(format!("{} is too large", path.display())));
        }
        Ok(Some(bytes))
    }

    fn listed(&self, list: &Digest) -> Option<&Index> {
        let read = || {
            let bytes = Self::read(&self.blob(list), MAX_INDEX_SIZE).ok()??;
            Index::parse(&bytes).filter(|_| Digest::of(&bytes) == *list)
        };
        self.listed.get_or_init(read).as_ref()
    }
}

impl Backend for LocalCache {
    fn name(&self) -> String {
        self.shown.clone()
    }

    fn entry(&self, key: &Digest) -> Result<Option<Entry>, CacheError> {
        if let Some(list) = &self.list {
            let index = self.listed(list);
            let index = index.ok_or_else(|| CacheError::Malformed(format!("it has no list of entries {list}")))?;
            return Ok(index.get(key).cloned());
        }
        let path = self.entry_path(key);
        let Some(bytes) = Self::read(&path, MAX_ENTRY_SIZE)? else { return Ok(None) };
        let entry = Entry::parse(&bytes, key);
        entry.map(Some).ok_or_else(|| CacheError::Malformed(format!("{} is no entry", path.display())))
    }

    fn fetch(&self, layer: &Descriptor, out: &mut dyn Write) -> Result<(), CacheError> {
        let digest = digest_of(layer).map_err(|error| CacheError::Malformed(error.to_string()))?;
        let path = self.blob(&digest);
        let failed = |source| CacheError::Io { what: format!("read {}", path.display()), source };
        let file = File::open(&path).map_err(failed)?;
        io::copy(&mut file.take(layer.size()), out).map_err(failed)?;
        Ok(())
    }

    fn put_layer(&self, layer: &Descriptor, open: &Open<'_>) -> Result<(), CacheError> {
        let digest = digest_of(layer).map_err(|error| CacheError::Malformed(error.to_string()))?;
        let path = self.blob(&digest);
        // What was cut short, by whatever, is made whole.
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() != layer.size()) {
            _ = fs::remove_file(&path);
        }
        self.put(&path, &|file| io::copy(&mut open()?, file).map(drop))
    }

    fn put_entry(&self, entry: &Entry) -> Result<(), CacheError> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        let path = self.entry_path(&entry.key);
        let bytes = entry.to_bytes();
        // A damaged one is replaced.
        if Self::read(&path, MAX_ENTRY_SIZE)
            .is_ok_and(|old| old.is_some_and(|old| Entry::parse(&old, &entry.key).is_none()))
        {
            _ = fs::remove_file(&path);
        }
        self.put(&path, &|file| file.write_all(&bytes))
    }

    fn finish(&self) -> Result<(), CacheError> {
        let mut added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        // The order in which steps ended is no part of the list.
        added.sort_by_key(|entry| entry.key);
        let list = Index::new(added).to_bytes();
        self.put(&self.blob(&Digest::of(&list)), &|file| file.write_all(&list))?;
        let empty = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        self.put(&self.directory.join("index.json"), &|file| file.write_all(empty))?;
        self.put(&self.directory.join("oci-layout"), &|file| file.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#))
    }
}
