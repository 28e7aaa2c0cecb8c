//! Copying a directory again: when most of it is as it was, only the differences are written.
//!
//! In: what an earlier copy of the same step wrote (a [`Manifest`]) and what the copy is to write now. Out: a
//! [`Difference`], applied to a root that shows the earlier result. Only for one directory of a local context; whatever
//! could make the result another one than that of a copy from the start is no difference, but `None`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::AtFlags;

use super::copy::Copier;
use super::digest::content_of;
use super::select::{Kind, Selected, stat_at};
use super::{FileError, SourceTree, StatCache, io_error, select};
use crate::digest::{Digest, FieldHasher};
use crate::graph::CopyAction;
use crate::sys::root::Root;

/// Fewer entries are copied from the start.
const MIN_ENTRIES: usize = 128;

/// Of so many entries one may differ.
const MAX_SHARE: usize = 4;

/// What a copy of a directory writes: the path of each entry below the destination, and a digest of all that decides it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: BTreeMap<PathBuf, Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    is_directory: bool,
    digest: Digest,
}

/// A directory of a local context that a copy selects.
#[derive(Debug)]
pub struct Directory {
    item: Selected,
    manifest: Manifest,
}

/// What a copy writes other than an earlier one; paths are below the destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Sorted; what is in a directory comes after it.
    removed: Vec<PathBuf>,
    /// New or other than before.
    written: BTreeSet<PathBuf>,
}

/// Looks at the directory that `action` copies; `None` for anything else, and for a small one.
///
/// # Errors
/// As [`select`]; a file cannot be read.
pub fn directory(
    action: &CopyAction,
    from: &SourceTree<'_>,
    stats: &StatCache,
) -> Result<Option<Directory>, FileError> {
    let is_plain = !action.unpack && action.include.is_empty() && !action.replace_existing;
    if !is_plain || !matches!(from, SourceTree::Local { .. }) {
        return Ok(None);
    }
    let mut items = select(from, &action.selector())?.items;
    let Some(item) = items.pop().filter(|item| item.is_directory() && item.entries.len() > MIN_ENTRIES) else {
        return Ok(None);
    };
    if !items.is_empty() {
        return Ok(None);
    }
    let line = |entry| {
        let content = content_of(from, &item, entry, Some(stats))?;
        let mut hasher = FieldHasher::new("bake.entry.v2");
        hasher.field("passed", [u8::from(entry.is_passed)]);
        hasher.field("kind", [entry.kind as u8]).field("mode", entry.mode.to_le_bytes()).field("data", &content.data);
        let line = Line { is_directory: entry.kind == Kind::Directory, digest: hasher.finish() };
        Ok((entry.path.clone(), line))
    };
    let entries = item.entries[1..].par_iter().map(line).collect::<Result<_, FileError>>()?;
    Ok(Some(Directory { manifest: Manifest { entries }, item }))
}

impl Directory {
    /// Returns what the copy writes.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns how this differs from what `earlier` wrote to the same place; `None` where it differs too much, or in what
    /// cannot be said as a difference. `parent` is the root that both copies change.
    ///
    /// # Errors
    /// `parent` cannot be read.
    pub fn difference(
        &self,
        earlier: &Manifest,
        action: &CopyAction,
        parent: &Root,
    ) -> Result<Option<Difference>, FileError> {
        let mut difference = Difference::default();
        for (path, line) in &self.manifest.entries {
            match earlier.entries.get(path) {
                Some(old) if old == line => {}
                Some(old) if old.is_directory || line.is_directory => return Ok(None),
                _ => _ = difference.written.insert(path.clone()),
            }
        }
        let is_gone = |path: &&PathBuf| !self.manifest.entries.contains_key(*path);
        difference.removed.extend(earlier.entries.keys().filter(is_gone).cloned());
        if difference.len() > self.manifest.entries.len() / MAX_SHARE {
            return Ok(None);
        }
        let dest = parent.follow(Path::new(&action.dest)).map_err(io_error("resolve", Path::new(&action.dest)))?;
        for path in &difference.removed {
            // What the parent has there would show again, and its directory would have the time that it has there.
            let directory = path.parent().unwrap_or(Path::new(""));
            let is_touched = self.has_entries_in(directory) || !exists(parent, &dest.join(directory))?;
            if exists(parent, &dest.join(path))? || !is_touched {
                return Ok(None);
            }
        }
        Ok(Some(difference))
    }

    fn has_entries_in(&self, directory: &Path) -> bool {
        let after =
            self.manifest.entries.range::<Path, _>((std::ops::Bound::Excluded(directory), std::ops::Bound::Unbounded));
        after.map(|(path, _)| path).take_while(|path| path.starts_with(directory)).next().is_some()
    }

    /// Returns the first entry of the layer that differs, relative to the root.
    ///
    /// # Errors
    /// The destination cannot be resolved.
    pub fn first_change(
        &self,
        difference: &Difference,
        action: &CopyAction,
        root: &Root,
    ) -> Result<Option<PathBuf>, FileError> {
        let dest = root.follow(Path::new(&action.dest)).map_err(io_error("resolve", Path::new(&action.dest)))?;
        let dest = dest.strip_prefix("/").unwrap_or(&dest);
        Ok(difference.first().map(|path| dest.join(path)))
    }

    /// Makes `root`, which shows what the earlier copy wrote, what this copy makes of the parent. `owner` and `epoch` are
    /// as [`copy`](super::copy::copy) has them.
    ///
    /// # Errors
    /// As [`copy`](super::copy::copy).
    pub fn apply(
        &self,
        difference: &Difference,
        action: &CopyAction,
        from: &SourceTree<'_>,
        root: &Root,
        (owner, epoch): (Option<(u32, u32)>, i64),
    ) -> Result<(), FileError> {
        let dest = root.follow(Path::new(&action.dest)).map_err(io_error("resolve", Path::new(&action.dest)))?;
        for path in difference.removed.iter().rev() {
            remove(root, &dest.join(path))?;
        }
        let mut copier = Copier::new(action, from, root, owner, epoch)?;
        for entry in self.item.entries[1..].iter().filter(|entry| difference.written.contains(&entry.path)) {
            copier.entry(&self.item, entry, &dest.join(&entry.path))?;
        }
        copier.finish()
    }
}

impl Difference {
    /// Returns the first entry of a layer that differs, below the destination.
    pub fn first(&self) -> Option<&Path> {
        self.removed.first().into_iter().chain(self.written.first()).min().map(PathBuf::as_path)
    }

    /// Returns how many entries differ.
    pub fn len(&self) -> usize {
        self.removed.len() + self.written.len()
    }

    /// Says whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Manifest {
    /// Returns the bytes to keep: for each entry, sorted by path, its path's length (u32, little-endian), the path, 1 for a
    /// directory or 0, and the digest's 32 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, line) in &self.entries {
            let path = path.as_os_str().as_bytes();
            bytes.extend(u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(path);
            bytes.push(line.is_directory.into());
            bytes.extend(line.digest.as_bytes());
        }
        bytes
    }

    /// Reads what [`Manifest::to_bytes`] wrote; `None` for other bytes.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Manifest> {
        let mut take = |n: usize| {
            let (taken, rest) = bytes.split_at_checked(n)?;
            bytes = rest;
            Some((taken, rest.is_empty()))
        };
        let mut manifest = Manifest::default();
        loop {
            let (length, _) = take(4)?;
            let (path, _) = take(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
            let (is_directory, _) = take(1)?;
            let (digest, is_end) = take(32)?;
            let line = Line { is_directory: is_directory == [1], digest: Digest::from_bytes(digest.try_into().ok()?) };
            let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
            manifest.entries.insert(path, line);
            if is_end {
                return Some(manifest);
            }
        }
    }
}

fn exists(root: &Root, path: &Path) -> Result<bool, FileError> {
    let found = root.open_parent(path).and_then(|(directory, name)| Ok(stat_at(directory, name.as_deref())?));
    match found {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(io_error("look at", path)(error)),
    }
}

fn remove(root: &Root, path: &Path) -> Result<(), FileError> {
    let (directory, name) = root.open_parent(path).map_err(io_error("open", path))?;
    let name = name.unwrap_or_default();
    match rustix::fs::unlinkat(&directory, &name, AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR) => rustix::fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR),
        result => result,
    }
    .map_err(io_error("remove", path))
}
