//! Cache mounts: directories that outlive a step, by id.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, RenameFlags, Uid, renameat_with};

use super::item::{ItemId, ItemKind};
use super::lease::{just_now, lock as locked};
use super::ledger::measure;
use super::lock_wait::{LockMode, wait_for};
use super::{Store, StoreError, read_small};
use crate::digest::Digest;
use crate::graph::CacheSharing;
use crate::sys::cancel::CancelToken;
use crate::sys::root::Root;
use crate::sys::tree;

/// Which cache mount, and how.
#[derive(Clone, Copy, Debug)]
pub struct CacheMountRequest<'a> {
    /// The same id is the same directory.
    pub id: &'a str,
    /// What happens while somebody else has it.
    pub sharing: CacheSharing,
    /// Ends the waiting for it.
    pub cancel: &'a CancelToken,
}

/// A cache directory in use; its lock is held until this is dropped.
#[derive(Debug)]
pub struct CacheMountLease {
    directory: File,
    _lock: File,
}

impl CacheMountLease {
    /// Returns the directory, to be bound into a step.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Store {
    /// Takes the cache directory `id`; makes it with that mode, owner and group if it is not there. With
    /// [`CacheSharing::Locked`] it waits until nobody else uses it; with [`CacheSharing::Private`] it takes another one
    /// then.
    ///
    /// # Errors
    /// The store cannot be written, or the request is cancelled while this waits.
    pub fn cache_mount(
        &self,
        request: &CacheMountRequest<'_>,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<CacheMountLease, StoreError> {
        self.take_mount(request, |place| {
            let make = || -> std::io::Result<()> {
                std::fs::create_dir(place)?;
                rustix::fs::chmodat(CWD, place, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
                if owner != (0, 0) {
                    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                    rustix::fs::chownat(CWD, place, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Ok(())
            };
            make().map_err(|error| StoreError::io("create", place, error))
        })
    }

    /// As [`cache_mount`](Store::cache_mount); `fill` puts the first content into a directory that is made.
    ///
    /// # Errors
    /// The store cannot be written, the request is cancelled while this waits, or `fill` fails.
    pub fn cache_mount_from<E: From<StoreError>>(
        &self,
        request: &CacheMountRequest<'_>,
        fill: impl Fn(&Root) -> Result<(), E>,
    ) -> Result<CacheMountLease, E> {
        self.take_mount(request, |place| {
            let made = std::fs::create_dir(place).and_then(|()| Root::open(place));
            fill(&made.map_err(|error| StoreError::io("create", place, error))?)
        })
    }

    fn take_mount<E: From<StoreError>>(
        &self,
        request: &CacheMountRequest<'_>,
        make: impl Fn(&Path) -> Result<(), E>,
    ) -> Result<CacheMountLease, E> {
        let hex = Digest::of(request.id.as_bytes()).hex();
        for n in 0..u32::MAX {
            let name = if n == 0 { hex.clone() } else { format!("{hex}.{n}") };
            let path = self.path.join("mounts").join(&name);
            let lock_path = path.with_extension(format!("{n}.lock"));
            let failed = |error| StoreError::io("lock", &lock_path, error);
            let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed)?;
            match request.sharing {
                CacheSharing::Shared => wait_for(&lock, LockMode::Shared, request.cancel).map_err(failed)?,
                CacheSharing::Locked => wait_for(&lock, LockMode::Alone, request.cancel).map_err(failed)?,
                CacheSharing::Private => match lock.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => continue,
                    Err(TryLockError::Error(error)) => return Err(failed(error).into()),
                },
            }
            if !path.exists() {
                let temporary = self.temporary();
                make(&temporary)?;
                put(&temporary, &path).map_err(|error| StoreError::io("create", &path, error))?;
            }
            note_id(&lock, request.id).map_err(failed)?;
            self.note_growth(ItemId { kind: ItemKind::CacheMount, name }, &lock);
            let directory = File::open(&path).map_err(|error| StoreError::io("open", &path, error))?;
            return Ok(CacheMountLease { directory, _lock: lock });
        }
        unreachable!("fewer steps run at once")
    }

    /// Returns the id of the cache mount that is `name` in the store.
    pub(super) fn mount_id(&self, name: &str) -> Option<String> {
        let lock = self.own_lock(&ItemId { kind: ItemKind::CacheMount, name: name.to_owned() })?;
        read_small(&lock).filter(|id| !id.is_empty())
    }

    /// Notes that something grows in its place, and that it was used now; `lock` is its own.
    pub(super) fn note_growth(&self, id: ItemId, lock: &File) {
        // Best effort: it is only older than it should be then.
        _ = rustix::fs::futimens(lock, &just_now());
        self.grows(id);
    }

    /// Notes that something grows in its place, to be measured at the end.
    pub(super) fn grows(&self, id: ItemId) {
        locked(&self.grown).insert(id);
    }

    /// Measures what grew, and collects if it grew beyond the limit.
    pub(super) fn count_grown(&self) -> Result<(), StoreError> {
        let grown = std::mem::take(&mut *locked(&self.grown));
        if grown.is_empty() {
            return Ok(());
        }
        let size = |id: &ItemId| measure(&id.path(&self.path)).unwrap_or(0);
        let sizes: Vec<_> = grown.iter().map(|id| (id.key(), size(id))).collect();
        let corrected = self.gate.inside(|| self.ledger.correct(&sizes));
        corrected.map_err(|error| StoreError::io("count", &self.path, error))?;
        self.reserve(0)
    }
}

/// Writes the id into the lock file, for people who look at the store.
pub(super) fn note_id(mut lock: &File, id: &str) -> std::io::Result<()> {
    if lock.metadata()?.len() == 0 {
        lock.write_all(id.as_bytes())?;
    }
    Ok(())
}

/// Puts a directory in place. Two that share may make it at once; the first one stays, though it is empty still.
fn put(temporary: &Path, path: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => tree::remove(temporary),
        // A file system that cannot say so in one call.
        Err(rustix::io::Errno::INVAL) => match std::fs::rename(temporary, path) {
            Err(_) if path.exists() => tree::remove(temporary),
            result => result,
        },
        result => Ok(result?),
    }
}
