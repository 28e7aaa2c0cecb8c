//! Damage: what is in the store is not what was put there, because a disk rotted, or somebody wrote to it or cut it short.
//!
//! | what | how it is noticed | what becomes of it |
//! |---|---|---|
//! | a blob of the wrong length | whenever its descriptor is at hand | taken away, made or fetched again |
//! | a blob of the wrong bytes | when it is unpacked, written to an output, linked, or refused by a registry | the same |
//! | a document | whenever it is read | the same |
//! | files of a snapshot | when its layer is made of it: the tar has another diff id | taken away, its step runs again |
//! | a record, memo or state file | whenever it is read, by its seal | as if it were not there |
//!
//! What is taken away is [noted](Store::damages), so that whoever failed because of it can begin again: what is not there is
//! made or fetched like anything that never was.

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Store, StoreError};
use crate::digest::{Digest, Hashing};
use crate::oci::{Descriptor, digest_of};
use crate::sys::tree;

/// What this process knows of the store's health. The mutexes protect single look-ups.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Blobs that this process wrote or read whole.
    sound: Mutex<BTreeSet<Digest>>,
    /// What was taken away, for people, in the order in which it was found.
    damages: Mutex<Vec<String>>,
}

/// Those mutexes are never held while something can panic.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    /// Notes a blob whose bytes are those of its digest.
    pub(super) fn is_sound(&self, digest: Digest) {
        held(&self.sound).insert(digest);
    }
}

impl Store {
    /// Returns what was found damaged and taken away so far, for people.
    pub fn damages(&self) -> Vec<String> {
        held(&self.health.damages).clone()
    }

    /// Says whether the blob that `descriptor` names is there with the length that it should have. One of another length is
    /// taken away.
    pub fn has_blob_of(&self, descriptor: &Descriptor) -> bool {
        let Some(digest) = digest_of(descriptor).ok().filter(|digest| self.has_blob(digest)) else { return false };
        let path = self.blob_path(&digest);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() == descriptor.size() => true,
            Ok(_) => {
                self.take_away(&path, format!("blob {digest}"));
                false
            }
            Err(_) => false,
        }
    }

    /// Fails if a blob's bytes are not those of its digest; it is taken away then. Reads it, unless this process has done so
    /// or wrote it.
    ///
    /// # Errors
    /// It is damaged, is not there or cannot be read.
    pub fn check_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        if held(&self.health.sound).contains(digest) {
            return Ok(());
        }
        let path = self.blob_path(digest);
        let mut content = File::open(&path).map(Hashing::new).map_err(|error| StoreError::io("read", &path, error))?;
        std::io::copy(&mut content, &mut std::io::sink()).map_err(|error| StoreError::io("read", &path, error))?;
        if content.finish().1 == *digest {
            self.health.is_sound(*digest);
            return Ok(());
        }
        Err(self.take_away(&path, format!("blob {digest}")))
    }

    /// Takes away what is at `path`, notes that as `what`, and returns the error that says so.
    pub(super) fn take_away(&self, path: &Path, what: String) -> StoreError {
        // What is read by others meanwhile keeps its bytes; nobody finds it under its name any more.
        let temporary = self.temporary();
        if std::fs::rename(path, &temporary).is_ok() {
            // Otherwise it goes with all temporaries.
            _ = tree::remove(&temporary);
            self.item_at(path).into_iter().for_each(|id| self.dismiss(id.key()));
        }
        held(&self.health.damages).push(what.clone());
        StoreError::Damaged { what }
    }
}
