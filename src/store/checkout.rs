//! Checkouts: directories of files that came from elsewhere, complete under their key; and what git keeps to make them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::item::{ItemId, ItemKey, ItemKind};
use super::ledger::measure;
use super::lock_wait::{LockMode, wait_for};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::sys::cancel::CancelToken;
use crate::sys::tree;

/// What git knows of one remote repository. The directory is this process's alone until this is dropped.
#[derive(Debug)]
pub struct GitCache {
    path: PathBuf,
    _lock: File,
}

impl GitCache {
    /// Returns the bare repository; it need not be there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets all.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self) -> Result<(), StoreError> {
        tree::remove(&self.path).map_err(|error| StoreError::io("remove", &self.path, error))
    }

    /// Removes lock files, which only a killed process can have left.
    pub fn remove_stale_locks(&self) {
        let directories = ["", "refs/bake", "objects/info"].map(|name| self.path.join(name));
        let entries = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok());
        for path in entries.flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "lock") {
                _ = std::fs::remove_file(path);
            }
        }
    }
}

/// A checkout under way; dropped without [`CheckoutBuilder::commit`] it leaves nothing.
#[derive(Debug)]
pub struct CheckoutBuilder<'a> {
    store: &'a Store,
    path: PathBuf,
}

impl CheckoutBuilder<'_> {
    /// Returns the directory in which it is made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a directory with nothing in it under `key` and returns where it is then.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn commit_empty(self, key: &Digest) -> Result<PathBuf, StoreError> {
        let tree = self.path.join("empty");
        std::fs::create_dir(&tree).map_err(|error| StoreError::io("create", &tree, error))?;
        self.commit(&tree, key)
    }

    /// Puts `tree`, a directory below [`CheckoutBuilder::path`], under `key` and returns where it is then.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn commit(self, tree: &Path, key: &Digest) -> Result<PathBuf, StoreError> {
        let path = self.store.checkout_path(key);
        let size = measure(tree).map_err(|error| StoreError::io("read", tree, error))?;
        self.store.admit(ItemKey::new(ItemKind::Checkout, *key), size)?;
        match std::fs::rename(tree, &path) {
            // Another process made the same.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            renamed => renamed.map_err(|error| StoreError::io("rename to", &path, error))?,
        }
        Ok(path)
    }
}

impl Drop for CheckoutBuilder<'_> {
    fn drop(&mut self) {
        _ = tree::remove(&self.path);
    }
}

impl Store {
    /// Returns the directory of the checkout with that key, if it is there.
    pub fn checkout(&self, key: &Digest) -> Option<PathBuf> {
        let path = self.checkout_path(key);
        (self.lease(ItemKey::new(ItemKind::Checkout, *key)) && path.is_dir()).then_some(path)
    }

    /// Begins a checkout.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn checkout_builder(&self) -> Result<CheckoutBuilder<'_>, StoreError> {
        let path = self.temporary();
        std::fs::create_dir(&path).map_err(|error| StoreError::io("create", &path, error))?;
        Ok(CheckoutBuilder { store: self, path })
    }

    /// Takes what git knows of the remote with that key; waits while another process has it.
    ///
    /// # Errors
    /// The store cannot be written, or `cancel` is set while this waits.
    pub fn git_cache(&self, key: &Digest, cancel: &CancelToken) -> Result<GitCache, StoreError> {
        let path = self.path.join("git").join(key.hex());
        let lock_path = path.with_extension("lock");
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.and_then(|lock| wait_for(&lock, LockMode::Alone, cancel).map(|()| lock));
        let lock = lock.map_err(|error| StoreError::io("lock", &lock_path, error))?;
        self.note_growth(ItemId::new(ItemKind::Git, key), &lock);
        Ok(GitCache { path, _lock: lock })
    }

    fn checkout_path(&self, key: &Digest) -> PathBuf {
        self.path.join("checkouts").join(key.hex())
    }
}
