//! Snapshots: one layer's overlay upper directory each, by the chain id of the stack that it is the top of.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::diff;
use super::unpack::{self, Unpack, Whiteouts};
use super::{Store, StoreError};
use crate::digest::{ChainId, DiffId, Hashing, chain_id, chain_ids};
use crate::oci::{LayerCompression, MediaType};
use crate::sys::overlay::{self, Upper};
use crate::sys::root::Root;
use crate::sys::tree;

impl Store {
    /// Says whether the snapshot of the top of `stack` is there; true for the empty stack.
    pub fn has_snapshot_of(&self, stack: &[DiffId]) -> bool {
        self.snapshot_path(stack).is_none_or(|path| path.exists())
    }

    /// Returns which layers of `stack` have no snapshot, as positions in it.
    pub fn missing_snapshots(&self, stack: &[DiffId]) -> Vec<usize> {
        let chains = chain_ids(stack).enumerate();
        chains.filter(|(_, chain)| !self.chain_path(*chain).exists()).map(|(top, _)| top).collect()
    }

    /// Mounts a root file system to be read (`stack`: oldest layer first; its snapshots are there).
    ///
    /// # Errors
    /// A snapshot is missing, or the kernel cannot mount it.
    pub fn view(&self, stack: &[DiffId]) -> Result<OwnedFd, StoreError> {
        let lowers = self.lowers(stack)?;
        let mut lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let empty = self.path.join("empty");
        // An overlay without an upper directory has at least two lower ones.
        match lowers.len() {
            0 => return open_directory(&empty),
            1 => lowers.push(&empty),
            _ => {}
        }
        overlay::mount(&lowers, None).map_err(|error| StoreError::io("mount", &self.path, error))
    }

    /// Mounts a root file system to be changed.
    ///
    /// # Errors
    /// A snapshot is missing, or the kernel cannot mount it.
    pub fn prepare(&self, parent: &[DiffId]) -> Result<ActiveSnapshot<'_>, StoreError> {
        let directory = self.temporary();
        let (changes, work) = (directory.join("fs"), directory.join("work"));
        for path in [&directory, &changes, &work] {
            std::fs::create_dir(path).map_err(|error| StoreError::io("create", path, error))?;
        }
        let lowers = self.lowers(parent)?;
        self.copy_top_metadata(&lowers, &changes)?;
        let empty = self.path.join("empty");
        let mut lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        if lowers.is_empty() {
            lowers.push(&empty);
        }
        let upper = Upper { changes: &changes, work: &work };
        let mount = overlay::mount(&lowers, Some(upper)).map_err(|error| StoreError::io("mount", &changes, error));
        let mount = mount.inspect_err(|_| _ = tree::remove(&directory))?;
        Ok(ActiveSnapshot { store: self, parent: parent.to_vec(), directory, root: Some(Root::from_fd(mount)) })
    }

    /// Unpacks a layer's blob over `parent` and keeps the snapshot.
    ///
    /// # Errors
    /// The bytes are no layer, are not those of `diff_id`, or try to leave the root file system.
    pub fn unpack_layer(
        &self,
        parent: &[DiffId],
        diff_id: DiffId,
        media_type: &MediaType,
        blob: &mut (dyn Read + '_),
    ) -> Result<(), StoreError> {
        let failed = |source| StoreError::Unpack { diff_id, source };
        let compression = LayerCompression::of_media_type(media_type.as_ref())
            .ok_or_else(|| failed(unpack::UnpackError::MediaType(media_type.to_string())))?;
        let mut tar = Hashing::new(unpack::decompress(compression, blob).map_err(|error| failed(error.into()))?);
        let snapshot = self.prepare(parent)?;
        let options = Unpack { base: PathBuf::from("/"), whiteouts: Whiteouts::Apply, owner: None };
        unpack::unpack(&mut tar, snapshot.root(), &options).map_err(failed)?;
        // Bytes after the end of the archive belong to the layer's digest.
        std::io::copy(&mut tar, &mut std::io::sink()).map_err(|error| failed(error.into()))?;
        let (_, actual, _) = tar.finish();
        if actual != diff_id.0 {
            return Err(StoreError::DigestMismatch { expected: diff_id.0, actual });
        }
        snapshot.keep(diff_id)
    }

    /// Returns the snapshots of a stack, topmost first.
    pub(super) fn lowers(&self, stack: &[DiffId]) -> Result<Vec<PathBuf>, StoreError> {
        let path = |(chain, diff_id): (ChainId, &DiffId)| {
            let path = self.chain_path(chain);
            if path.exists() { Ok(path) } else { Err(StoreError::NoSnapshot(*diff_id)) }
        };
        let mut paths = chain_ids(stack).zip(stack).map(path).collect::<Result<Vec<_>, _>>()?;
        paths.reverse();
        Ok(paths)
    }

    fn snapshot_path(&self, stack: &[DiffId]) -> Option<PathBuf> {
        chain_id(stack).map(|chain| self.chain_path(chain))
    }

    fn chain_path(&self, chain: ChainId) -> PathBuf {
        self.path.join("snapshots").join(chain.0.hex())
    }

    /// The upper directory itself shows as the root directory, so it starts with what the one below it has.
    fn copy_top_metadata(&self, lowers: &[PathBuf], changes: &Path) -> Result<(), StoreError> {
        let empty = self.path.join("empty");
        let top = lowers.first().unwrap_or(&empty);
        diff::copy_metadata(top, changes).map_err(|error| StoreError::io("read", top, error))
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    let file = std::fs::File::open(path).map_err(|error| StoreError::io("open", path, error))?;
    Ok(file.into())
}

/// A root file system that is being changed; dropped without [`ActiveSnapshot::commit`] it leaves nothing.
#[derive(Debug)]
pub struct ActiveSnapshot<'a> {
    store: &'a Store,
    parent: Vec<DiffId>,
    directory: PathBuf,
    root: Option<Root>,
}

impl ActiveSnapshot<'_> {
    /// Returns the root file system, to be changed beneath its root.
    pub fn root(&self) -> &Root {
        self.root.as_ref().expect("open until committed")
    }

    /// Returns the detached mount, to become a process's root.
    pub fn mount_fd(&self) -> BorrowedFd<'_> {
        self.root().as_fd()
    }

    /// Makes a layer of the changes, keeps it, and returns its diff id. Modification times are at most `epoch` (seconds
    /// since 1970).
    ///
    /// # Errors
    /// The changes cannot be read, or the store cannot be written.
    pub fn commit(mut self, epoch: i64) -> Result<DiffId, StoreError> {
        self.root = None;
        let changes = self.directory.join("fs");
        let lowers = self.store.lowers(&self.parent)?;
        let mut tar = Hashing::new(std::io::sink());
        diff::write_layer(&changes, &lowers, epoch, &mut tar)
            .map_err(|error| StoreError::io("read", &changes, error))?;
        diff::clamp_times(&changes, epoch).map_err(|error| StoreError::io("write", &changes, error))?;
        let (_, digest, _) = tar.finish();
        self.keep(DiffId(digest))?;
        Ok(DiffId(digest))
    }

    fn keep(mut self, diff_id: DiffId) -> Result<(), StoreError> {
        self.root = None;
        let stack: Vec<DiffId> = self.parent.iter().copied().chain([diff_id]).collect();
        let path = self.store.snapshot_path(&stack).expect("not empty");
        match std::fs::rename(self.directory.join("fs"), &path) {
            Ok(()) => Ok(()),
            // Somebody made the same one meanwhile.
            Err(_) if path.exists() => Ok(()),
            Err(error) => Err(StoreError::io("rename to", &path, error)),
        }
    }
}

impl Drop for ActiveSnapshot<'_> {
    fn drop(&mut self) {
        self.root = None;
        _ = tree::remove(&self.directory);
    }
}
