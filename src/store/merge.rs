//! Layers that were made on nothing, laid over other stacks (a linked copy's).
//!
//! Such a layer deletes nothing, so its blob means the same over any stack. Its snapshot there has no files of its own: `fs`
//! is empty and `over` names the snapshot on nothing. Only where that one's directories would hide more than the layer
//! does, the layer is unpacked anew.
//!
//! | in the layer's directories | over a stack that has the path | over one that has not |
//! |---|---|---|
//! | a file, a link; a directory where the stack has none | takes its place | is added |
//! | a directory where the stack has one | both show, with the layer's mode and owner | is added |
//! | a name that a later copy took away again | unpacked anew | stays away |
//! | a directory that a later copy replaced | unpacked anew | is added |

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::snapshot::ActiveSnapshot;
use super::{Store, StoreError, diff};
use crate::digest::{DiffId, Digest, FieldHasher, Hashing, chain_id};
use crate::oci::MediaType;

/// An uncompressed layer.
pub(super) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

impl Store {
    /// Says whether `layer` was made on nothing and its snapshot there is here. A layer from elsewhere whose snapshot is
    /// its stack's lowest may have deleted what was not there; so that is known of layers that were made here, and found
    /// out of others once.
    pub fn is_free(&self, layer: DiffId) -> bool {
        let alone = [layer];
        if !self.has_snapshot_of(&alone) {
            return false;
        }
        if let Some(known) = self.memo(&free_key(layer)) {
            return known == "yes";
        }
        let is_free = self.tar_on_nothing(layer).is_ok_and(|digest| digest == layer.0);
        // A failure costs only time the next time.
        _ = self.put_memo(&free_key(layer), if is_free { "yes" } else { "no" });
        is_free
    }

    /// Notes that `layer` was made on nothing.
    pub(super) fn note_free(&self, layer: DiffId) -> Result<(), StoreError> {
        self.put_memo(&free_key(layer), "yes")
    }

    /// Makes the snapshot of a layer that [is free](Store::is_free) over `parent`, whose snapshots are there.
    ///
    /// # Errors
    /// A snapshot is missing, or the store cannot be written.
    pub fn lay(&self, parent: &[DiffId], layer: DiffId) -> Result<(), StoreError> {
        let parts = self.lowers(&[layer])?;
        if self.hides(&parts, parent)? {
            return self.unpack_anew(parent, layer, &parts);
        }
        let top = self.merged(&parts)?;
        let failed = |error| StoreError::io("read", &top.path, error);
        let snapshot = ActiveSnapshot::empty(self, parent, chain_id(&[layer]))?;
        match diff::is_top_changed(&top.path, &[]).map_err(failed)? {
            true => diff::copy_metadata(&top.path, &snapshot.changes()).map_err(failed)?,
            false => self.copy_top_metadata(&self.lowers(parent)?, &snapshot.changes())?,
        }
        snapshot.keep(layer)
    }

    /// Makes the snapshots that `stack` lacks of layers that [are free](Store::is_free): where one is damaged, its layer
    /// counts as available all the same.
    pub(super) fn lay_missing(&self, stack: &[DiffId]) -> Result<(), StoreError> {
        for top in self.missing_snapshots(stack) {
            if top > 0 && self.is_free(stack[top]) {
                self.lay(&stack[..top], stack[top])?;
            }
        }
        Ok(())
    }

    /// Returns the stack over which the snapshot of the top of `stack` says what the layer is.
    pub(super) fn origin<'s>(&self, stack: &'s [DiffId]) -> &'s [DiffId] {
        match stack {
            [_, .., top] if self.is_free(*top) => std::slice::from_ref(stack.last().unwrap_or(top)),
            _ => stack,
        }
    }

    fn unpack_anew(&self, parent: &[DiffId], layer: DiffId, parts: &[PathBuf]) -> Result<(), StoreError> {
        let changes = self.merged(parts)?;
        let (mut reader, mut writer) = io::pipe().map_err(|error| StoreError::io("read", &changes.path, error))?;
        std::thread::scope(|scope| {
            // The digest shows whether all was written.
            scope.spawn(|| {
                _ = diff::write_layer(&changes.path, &[], i64::MAX, &mut writer);
                drop(writer);
            });
            let unpacked = self.unpack_layer(parent, layer, &MediaType::from(TAR), &mut reader);
            drop(reader);
            unpacked
        })
    }

    fn tar_on_nothing(&self, layer: DiffId) -> Result<Digest, StoreError> {
        let changes = self.changes(&[layer])?;
        let mut tar = Hashing::new(io::sink());
        diff::write_layer(&changes.path, &[], i64::MAX, &mut tar)
            .map_err(|error| StoreError::io("read", &changes.path, error))?;
        Ok(tar.finish().1)
    }

    /// Says whether the directories `parts` would hide something of `stack` that their layer does not.
    fn hides(&self, parts: &[PathBuf], stack: &[DiffId]) -> Result<bool, StoreError> {
        let mut found = Vec::new();
        for part in parts {
            diff::hiding(part, Path::new(""), &mut found).map_err(|error| StoreError::io("read", part, error))?;
        }
        if found.is_empty() {
            return Ok(false);
        }
        let view = self.view(stack)?;
        for path in found {
            if exists(view.as_fd(), &path).map_err(|error| StoreError::io("read", &path, error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn free_key(layer: DiffId) -> Digest {
    let mut hasher = FieldHasher::new("bake.layer.free.v1");
    hasher.field("layer", layer.to_string());
    hasher.finish()
}

/// Says whether a path is in a tree; what a symbolic link leads to is not at that path.
fn exists(tree: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
    let path = if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(tree, path, flags, Mode::empty(), resolve) {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN) => {}
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}
