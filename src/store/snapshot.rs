//! Snapshots: one layer's overlay upper directory each, by the chain id of the stack that it is the top of.
//!
//! A snapshot may hold only how it differs from another one over the same parent: `over` then names that one, and the
//! layer is what both show together. So a layer of 20,000 files of which one changed costs one file, and one that was made
//! on nothing costs none over another stack (see `merge`).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::diff::{self, Marks};
use super::item::{ItemKey, ItemKind};
use super::ledger::measure;
use super::unpack::{self, Unpack, Whiteouts};
use super::{Compression, Store, StoreError, read_small};
use crate::digest::{ChainId, DiffId, Hashing, chain_id, chain_ids};
use crate::oci::{LayerCompression, MediaType};
use crate::sys::overlay::{self, Upper};
use crate::sys::root::Root;
use crate::sys::tree;

impl Store {
    /// Says whether the snapshot of the top of `stack` is there; true for the empty stack.
    pub fn has_snapshot_of(&self, stack: &[DiffId]) -> bool {
        chain_id(stack).is_none_or(|chain| self.parts(chain).is_some())
    }

    /// Returns which layers of `stack` have no snapshot, as positions in it.
    pub fn missing_snapshots(&self, stack: &[DiffId]) -> Vec<usize> {
        let chains = chain_ids(stack).enumerate();
        chains.filter(|(_, chain)| self.parts(*chain).is_none()).map(|(top, _)| top).collect()
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
        self.prepare_over(parent, None)
    }

    /// Mounts a root file system to be changed: what the layer `over`, if given, made of `parent`. The changes become one
    /// layer with those of `over`; nothing may be removed that `parent` has.
    ///
    /// # Errors
    /// A snapshot is missing, or the kernel cannot mount it.
    pub fn prepare_over(&self, parent: &[DiffId], over: Option<DiffId>) -> Result<ActiveSnapshot<'_>, StoreError> {
        let shown: Vec<DiffId> = parent.iter().copied().chain(over).collect();
        let mut snapshot = ActiveSnapshot::empty(self, parent, over.and_then(|_| chain_id(&shown)))?;
        let (changes, work) = (snapshot.changes(), snapshot.make_work_directory()?);
        let lowers = self.lowers(&shown)?;
        self.copy_top_metadata(&lowers, &changes)?;
        let empty = self.path.join("empty");
        let mut lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        if lowers.is_empty() {
            lowers.push(&empty);
        }
        let upper = Upper { changes: &changes, work: &work };
        let mount = overlay::mount(&lowers, Some(upper)).map_err(|error| StoreError::io("mount", &changes, error));
        snapshot.root = Some(Root::from_fd(mount?));
        Ok(snapshot)
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
        self.unpack(parent, diff_id, media_type, blob)?.keep(diff_id)
    }

    /// Unpacks a layer's blob over `parent`, and keeps nothing.
    pub(super) fn unpack(
        &self,
        parent: &[DiffId],
        diff_id: DiffId,
        media_type: &MediaType,
        blob: &mut (dyn Read + '_),
    ) -> Result<ActiveSnapshot<'_>, StoreError> {
        let failed = |source| StoreError::Unpack { diff_id, source };
        let compression = LayerCompression::of_media_type(media_type.as_ref())
            .ok_or_else(|| failed(unpack::UnpackError::MediaType(media_type.to_string())))?;
        let mut tar = Hashing::new(unpack::decompress(compression, blob).map_err(|error| failed(error.into()))?);
        let snapshot = self.prepare(parent)?;
        let options = Unpack { whiteouts: Whiteouts::Apply, owner: None, limits: None };
        unpack::unpack(&mut tar, snapshot.root(), &options).map_err(failed)?;
        // Bytes after the end of the archive belong to the layer's digest.
        std::io::copy(&mut tar, &mut std::io::sink()).map_err(|error| failed(error.into()))?;
        let (_, actual, _) = tar.finish();
        if actual != diff_id.0 {
            return Err(StoreError::DigestMismatch { expected: diff_id.0, actual });
        }
        Ok(snapshot)
    }

    /// Says of how many differences over each other the snapshot of the top of `stack` is made; 1 for a whole one, 0 where
    /// it is missing.
    pub fn depth(&self, stack: &[DiffId]) -> usize {
        chain_id(stack).and_then(|chain| self.parts(chain)).map_or(0, |parts| parts.len())
    }

    /// Returns the directories that show a stack's root file system, topmost first. One that is there twice, because the
    /// same layer is, counts where it is topmost: overlayfs refuses the second, and what it has shows nowhere.
    pub(super) fn lowers(&self, stack: &[DiffId]) -> Result<Vec<PathBuf>, StoreError> {
        let (mut paths, mut known) = (Vec::new(), BTreeSet::new());
        let chains: Vec<_> = chain_ids(stack).zip(stack).collect();
        for (chain, diff_id) in chains.into_iter().rev() {
            let parts = self.parts(chain).ok_or(StoreError::NoSnapshot(*diff_id))?;
            paths.extend(parts.into_iter().filter(|part| known.insert(part.clone())));
        }
        Ok(paths)
    }

    /// Returns what the top layer of `stack` changed, as one directory.
    ///
    /// # Errors
    /// Its snapshot is missing, or the kernel cannot mount it.
    pub(super) fn changes(&self, stack: &[DiffId]) -> Result<Changes, StoreError> {
        let top = stack.last().expect("a layer is on top");
        let parts = chain_id(stack).and_then(|chain| self.parts(chain)).ok_or(StoreError::NoSnapshot(*top))?;
        self.merged(&parts)
    }

    /// Shows several upper directories of one layer, topmost first, as one.
    pub(super) fn merged(&self, parts: &[PathBuf]) -> Result<Changes, StoreError> {
        if let [whole] = parts {
            return Ok(Changes { path: whole.clone(), _mount: None });
        }
        let paths: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
        let mount = overlay::mount(&paths, None).map_err(|error| StoreError::io("mount", &self.path, error))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
        Ok(Changes { path, _mount: Some(mount) })
    }

    /// Returns the directories of a snapshot, topmost first; `None` where one is missing.
    fn parts(&self, chain: ChainId) -> Option<Vec<PathBuf>> {
        let mut parts = Vec::new();
        let mut next = Some(chain);
        while let Some(chain) = next {
            let path = self.chain_path(chain);
            let fs = path.join("fs");
            // What a damaged store says must not go round in circles.
            if !self.lease(ItemKey::new(ItemKind::Snapshot, chain.0)) || !fs.exists() || parts.contains(&fs) {
                return None;
            }
            parts.push(fs);
            next = read_small(&path.join("over"))
                .map(|hex| format!("sha256:{hex}").parse().map(ChainId))
                .transpose()
                .ok()?;
        }
        Some(parts)
    }

    /// Returns the marks of a snapshot's layer; none where they are damaged or were not taken.
    fn marks(&self, chain: ChainId) -> Marks {
        std::fs::read(self.chain_path(chain).join("marks"))
            .map_or_else(|_| Marks::default(), |bytes| Marks::from_bytes(&bytes))
    }

    /// Takes away the snapshot of the top of `stack`, with those that it says the differences to.
    pub(super) fn take_away_snapshot(&self, stack: &[DiffId]) -> StoreError {
        let top = stack.last().expect("a layer is on top");
        let parts = chain_id(stack).and_then(|chain| self.parts(chain)).unwrap_or_default();
        // The one below first: without it the others are as good as gone.
        for path in parts.iter().skip(1).rev().filter_map(|part| part.parent()) {
            self.take_away(path, format!("a snapshot below that of layer {top}"));
        }
        let path = parts.first().and_then(|part| part.parent()).unwrap_or(Path::new(""));
        self.take_away(path, format!("the snapshot of layer {top}"))
    }

    fn chain_path(&self, chain: ChainId) -> PathBuf {
        self.path.join("snapshots").join(chain.0.hex())
    }

    /// The upper directory itself shows as the root directory, so it starts with what the one below it has.
    pub(super) fn copy_top_metadata(&self, lowers: &[PathBuf], changes: &Path) -> Result<(), StoreError> {
        let empty = self.path.join("empty");
        let top = lowers.first().unwrap_or(&empty);
        diff::copy_metadata(top, changes).map_err(|error| StoreError::io("read", top, error))
    }
}

/// What a layer changed, to be read: an overlay's upper directory, or several as one.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) path: PathBuf,
    /// Keeps the path valid.
    _mount: Option<OwnedFd>,
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    let file = std::fs::File::open(path).map_err(|error| StoreError::io("open", path, error))?;
    Ok(file.into())
}

/// A root file system that is being changed; dropped without [`ActiveSnapshot::commit`] it leaves nothing, once the store is closed.
#[derive(Debug)]
pub struct ActiveSnapshot<'a> {
    store: &'a Store,
    parent: Vec<DiffId>,
    /// The snapshot that this one says the differences to.
    over: Option<ChainId>,
    /// Has the upper directory `fs`.
    directory: PathBuf,
    /// Overlayfs's own.
    work: Option<PathBuf>,
    /// Whether the layer's hash is marked, so that another one which begins the same need not be hashed whole.
    marking: Option<Marking>,
    root: Option<Root>,
}

impl<'a> ActiveSnapshot<'a> {
    /// Makes the directories of a snapshot, which nothing shows yet.
    pub(super) fn empty(
        store: &'a Store,
        parent: &[DiffId],
        over: Option<ChainId>,
    ) -> Result<ActiveSnapshot<'a>, StoreError> {
        let directory = store.temporary();
        let snapshot =
            ActiveSnapshot { store, parent: parent.to_vec(), over, directory, work: None, marking: None, root: None };
        for path in [&snapshot.directory, &snapshot.changes()] {
            std::fs::create_dir(path).map_err(|error| StoreError::io("create", path, error))?;
        }
        Ok(snapshot)
    }

    /// Makes the directory that overlayfs wants beside the upper one. It is no part of what is kept, so that removing it
    /// keeps nobody waiting.
    fn make_work_directory(&mut self) -> Result<PathBuf, StoreError> {
        let work = self.work.insert(self.store.temporary());
        std::fs::create_dir(&*work).map_err(|error| StoreError::io("create", work, error))?;
        Ok(work.clone())
    }

    /// Returns the upper directory.
    pub(super) fn changes(&self) -> PathBuf {
        self.directory.join("fs")
    }

    /// Returns the root file system, to be changed beneath its root.
    pub fn root(&self) -> &Root {
        self.root.as_ref().expect("open until committed")
    }

    /// Returns the detached mount, to become a process's root.
    pub fn mount_fd(&self) -> BorrowedFd<'_> {
        self.root().as_fd()
    }

    /// Has the layer's hash marked. Entries before `first_change` in the layer's order (relative to the root) are those of the
    /// layer that this one says the differences to; none are where it is absent. No file has several names.
    pub fn mark(&mut self, first_change: Option<PathBuf>) {
        self.marking = Some(Marking { first_change });
    }

    /// Makes a layer of the changes, keeps it, and returns its diff id. Modification times are at most `epoch` (seconds
    /// since 1970). With a `compression` the layer's blob is made in the same pass.
    ///
    /// # Errors
    /// The changes cannot be read, or the store cannot be written.
    pub fn commit(mut self, epoch: i64, compression: Option<Compression>) -> Result<DiffId, StoreError> {
        self.root = None;
        let changes = self.changes();
        let lowers = self.store.lowers(&self.parent)?;
        // What is below was settled when it was committed.
        diff::settle(&changes, epoch).map_err(|error| StoreError::io("write", &changes, error))?;
        let (is_on_nothing, store) = (self.parent.is_empty(), self.store);
        if is_on_nothing && self.over.is_none() {
            diff::merge_top_directories(&changes).map_err(|error| StoreError::io("write", &changes, error))?;
        }
        let (diff_id, compressed) = {
            let below = self.over.map(|over| self.store.parts(over).ok_or(StoreError::NoSnapshot(DiffId(over.0))));
            let parts: Vec<PathBuf> =
                [changes.clone()].into_iter().chain(below.transpose()?.unwrap_or_default()).collect();
            let merged = self.store.merged(&parts)?;
            let write = |tar: &mut dyn Write| diff::write_layer(&merged.path, &lowers, epoch, tar);
            match compression {
                Some(compression) => {
                    let layer = store.compress(compression, &write)?;
                    (layer.diff_id, Some(layer))
                }
                None => (self.hash(&merged.path, &lowers, epoch)?, None),
            }
        };
        // A layer that says nothing of the root directory leaves its time, too.
        if !diff::is_top_changed(&changes, &lowers).map_err(|error| StoreError::io("read", &changes, error))? {
            self.store.copy_top_metadata(&lowers, &changes)?;
        }
        self.keep(diff_id)?;
        if is_on_nothing {
            store.note_free(diff_id)?;
        }
        if let Some(compressed) = compressed {
            compressed.keep()?;
        }
        Ok(diff_id)
    }

    /// Returns the diff id of the layer that shows at `changes`, and notes the marks on the way to it.
    fn hash(&self, changes: &Path, lowers: &[PathBuf], epoch: i64) -> Result<DiffId, StoreError> {
        let known = match (&self.marking, self.over) {
            (Some(Marking { first_change: Some(path) }), Some(over)) => self.store.marks(over).until(path),
            _ => Marks::default(),
        };
        let hashed = diff::hash_layer(changes, lowers, epoch, known);
        let (diff_id, marks) = hashed.map_err(|error| StoreError::io("read", changes, error))?;
        if self.marking.is_some() {
            let path = self.directory.join("marks");
            std::fs::write(&path, marks.to_bytes()).map_err(|error| StoreError::io("write", &path, error))?;
        }
        Ok(diff_id)
    }

    pub(super) fn keep(mut self, diff_id: DiffId) -> Result<(), StoreError> {
        self.root = None;
        let stack: Vec<DiffId> = self.parent.iter().copied().chain([diff_id]).collect();
        let chain = chain_id(&stack).expect("not empty");
        let path = self.store.chain_path(chain);
        if let Some(over) = self.over {
            let note = self.directory.join("over");
            std::fs::write(&note, over.0.hex()).map_err(|error| StoreError::io("write", &note, error))?;
        }
        let size = measure(&self.directory).map_err(|error| StoreError::io("read", &self.directory, error))?;
        self.store.admit(ItemKey::new(ItemKind::Snapshot, chain.0), size)?;
        match std::fs::rename(&self.directory, &path) {
            Ok(()) => Ok(()),
            // Somebody made the same one meanwhile.
            Err(_) if self.store.parts(chain).is_some() => Ok(()),
            // What is there lacks what it stands on.
            Err(_) if path.exists() => {
                let put = tree::remove(&path).and_then(|()| std::fs::rename(&self.directory, &path));
                put.map_err(|error| StoreError::io("replace", &path, error))
            }
            Err(error) => Err(StoreError::io("rename to", &path, error)),
        }
    }
}

/// How a layer's hash is marked.
#[derive(Debug)]
struct Marking {
    /// Before it the layer is as the one below it was.
    first_change: Option<PathBuf>,
}

impl Drop for ActiveSnapshot<'_> {
    fn drop(&mut self) {
        self.root = None;
        let left = self.directory.exists().then(|| std::mem::take(&mut self.directory));
        self.work.take().into_iter().chain(left).for_each(|path| self.store.discard.take(path));
    }
}
