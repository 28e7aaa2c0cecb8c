//! Cache mounts: directories that outlive a step, by id.

use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::graph::CacheSharing;

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
                    Err(TryLockError::Error(error)) => return Err(failed(error)),
                },
            }
            let directory = self.cache_directory(&path, mode, owner)?;
            return Ok(CacheMountLease { directory, _lock: lock });
        }
        unreachable!("fewer steps run at once")
    }

    fn cache_directory(&self, path: &std::path::Path, mode: u32, owner: (u32, u32)) -> Result<File, StoreError> {
        if !path.exists() {
            let temporary = self.temporary();
            let make = || -> std::io::Result<()> {
                std::fs::create_dir(&temporary)?;
                rustix::fs::chmodat(CWD, &temporary, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
                if owner != (0, 0) {
                    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                    rustix::fs::chownat(CWD, &temporary, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                // Two that share may make it at once; the first one stays.
                match std::fs::rename(&temporary, path) {
                    Err(_) if path.exists() => std::fs::remove_dir(&temporary),
                    result => result,
                }
            };
            make().map_err(|error| StoreError::io("create", path, error))?;
        }
        File::open(path).map_err(|error| StoreError::io("open", path, error))
    }
}
