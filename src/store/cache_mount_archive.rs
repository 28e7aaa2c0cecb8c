//! Cache mounts that go to another machine and come from one.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use super::archive::{self, Compression};
use super::cache_mount::note_id;
use super::item::{ItemId, ItemKey, ItemKind};
use super::ledger::measure;
use super::lock_wait::{LockMode, wait_for};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::oci::untar::TarReader;
use crate::sys::cancel::CancelToken;
use crate::sys::root::Root;
use crate::sys::tree;

/// A cache mount that is there, in nobody else's hands.
#[derive(Debug)]
pub struct HeldCacheMount {
    path: PathBuf,
    _lock: File,
}

impl HeldCacheMount {
    /// Opens its files.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn root(&self) -> Result<Root, StoreError> {
        Root::open(&self.path).map_err(|error| StoreError::io("open", &self.path, error))
    }

    /// Returns mode, owner and group of the directory itself.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn top(&self) -> Result<(u32, u32, u32), StoreError> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| StoreError::io("read", &self.path, error))?;
        Ok((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()))
    }
}

impl Store {
    /// Takes the cache mount `id`, so that nobody changes it; waits until nobody uses it. `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read, or `cancel` is set while this waits.
    pub fn held_cache_mount(&self, id: &str, cancel: &CancelToken) -> Result<Option<HeldCacheMount>, StoreError> {
        let path = self.mount_path(id);
        if !path.exists() {
            return Ok(None);
        }
        let lock = self.lock_mount(id, cancel)?;
        Ok(path.exists().then_some(HeldCacheMount { path, _lock: lock }))
    }

    /// Makes the files of `tar` the cache mount `id`, in place of what it held; waits until nobody uses it. The archive is
    /// hostile: it is unpacked as those of ADD are. Its entry for the top, if it comes first, gives the directory's mode
    /// and owner.
    ///
    /// # Errors
    /// The archive is none or is malformed, there is no room for it, or `cancel` is set. What was there stays then.
    pub fn import_cache_mount(&self, id: &str, mut tar: File, cancel: &CancelToken) -> Result<(), StoreError> {
        let (path, place) = (self.mount_path(id), self.temporary());
        let failed = |error| StoreError::io("make", &path, error);
        let compression = archive::detect(&mut tar).map_err(failed)?;
        let compression = compression.ok_or_else(|| failed(std::io::Error::other("the input is no tar archive")))?;
        let top = first_top(&tar, compression);
        std::fs::create_dir(&place).map_err(failed)?;
        let fill = || -> Result<u64, StoreError> {
            let root = Root::open(&place).map_err(failed)?;
            archive::unpack(tar, compression, &root, None)
                .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
            if let Some((mode, uid, gid)) = top {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::fs::chownat(CWD, &place, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .and_then(|()| rustix::fs::chmodat(CWD, &place, Mode::from_raw_mode(mode), AtFlags::empty()))
                    .map_err(|error| failed(error.into()))?;
            }
            measure(&place).map_err(failed)
        };
        let size = fill().inspect_err(|_| _ = tree::remove(&place))?;
        let put = || -> Result<(), StoreError> {
            let lock = self.lock_mount(id, cancel)?;
            self.admit(ItemKey::new(ItemKind::CacheMount, Digest::of(id.as_bytes())), size)?;
            let grave = self.temporary();
            if path.exists() {
                std::fs::rename(&path, &grave).map_err(failed)?;
            }
            std::fs::rename(&place, &path).map_err(failed)?;
            self.note_growth(self.mount_item(id), &lock);
            tree::remove(&grave).map_err(failed)
        };
        put().inspect_err(|_| _ = tree::remove(&place))
    }

    fn mount_item(&self, id: &str) -> ItemId {
        ItemId::new(ItemKind::CacheMount, &Digest::of(id.as_bytes()))
    }

    fn mount_path(&self, id: &str) -> PathBuf {
        self.mount_item(id).path(&self.path)
    }

    fn lock_mount(&self, id: &str, cancel: &CancelToken) -> Result<File, StoreError> {
        let path = self.own_lock(&self.mount_item(id)).expect("a cache mount has a lock");
        let failed = |error| StoreError::io("lock", &path, error);
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        wait_for(&lock, LockMode::Alone, cancel).and_then(|()| note_id(&lock, id)).map_err(failed)?;
        Ok(lock)
    }
}

/// Returns mode, owner and group of an archive's first entry, if that is the top itself.
fn first_top(tar: &File, compression: Compression) -> Option<(u32, u32, u32)> {
    let mut copy = tar.try_clone().ok()?;
    let mut archive = TarReader::new(archive::decompress(compression, &mut copy).ok()?);
    let entry = archive.next_entry();
    drop(archive);
    std::io::Seek::rewind(&mut copy).ok()?;
    let entry = entry.ok()??;
    let is_top = entry.kind.is_dir() && matches!(entry.path.as_slice(), b"." | b"./");
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    is_top.then_some((entry.mode & 0o7777, id(entry.uid)?, id(entry.gid)?))
}
