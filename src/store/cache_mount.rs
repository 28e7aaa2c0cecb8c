//! Cache mounts: directories that outlive a step, by id.

use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, RenameFlags, Uid, renameat_with};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::graph::CacheSharing;
use crate::sys::root::Root;
use crate::sys::tree;

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
    /// The store cannot be written.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: CacheSharing,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<CacheMountLease, StoreError> {
        self.lease(id, sharing, |place| {
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
    /// The store cannot be written, or `fill` fails.
    pub fn cache_mount_from<E: From<StoreError>>(
        &self,
        id: &str,
        sharing: CacheSharing,
        fill: impl Fn(&Root) -> Result<(), E>,
    ) -> Result<CacheMountLease, E> {
        self.lease(id, sharing, |place| {
            let made = std::fs::create_dir(place).and_then(|()| Root::open(place));
            fill(&made.map_err(|error| StoreError::io("create", place, error))?)
        })
    }

    fn lease<E: From<StoreError>>(
        &self,
        id: &str,
        sharing: CacheSharing,
        make: impl Fn(&Path) -> Result<(), E>,
    ) -> Result<CacheMountLease, E> {
        let hex = Digest::of(id.as_bytes()).hex();
        for n in 0..u32::MAX {
            let name = if n == 0 { hex.clone() } else { format!("{hex}.{n}") };
            let path = self.path.join("mounts").join(&name);
            let lock_path = path.with_extension(format!("{n}.lock"));
            let failed = |error| StoreError::io("lock", &lock_path, error);
            let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed)?;
            match sharing {
                CacheSharing::Shared => lock.lock_shared().map_err(failed)?,
                CacheSharing::Locked => lock.lock().map_err(failed)?,
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
            let directory = File::open(&path).map_err(|error| StoreError::io("open", &path, error))?;
            return Ok(CacheMountLease { directory, _lock: lock });
        }
        unreachable!("fewer steps run at once")
    }
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
