//! From an overlay's upper directory to a layer: the canonical tar of what changed (image-spec v1.1, layer.md).
//!
//! Entries are in depth-first order, the names of a directory sorted by their bytes; a directory comes before what is in
//! it and only if it is new, differs from the one below, or something in it changed. Deleted names are `.wh.NAME`, also
//! those that an opaque directory hides: how a directory was emptied does not reach the bytes, and the layer unpacked
//! elsewhere makes the same bytes again. Times are whole seconds and at most the epoch that is given; owners are
//! numbers; overlayfs's own attributes are left out. Nothing else of the machine is in it, so equal changes are equal
//! bytes.
//!
//! The directory is quiet: the step that wrote to it has ended.

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

mod entries;
mod marks;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::digest::DiffId;

use entries::{Forward, LayerWriter};
use marks::MarkingHasher;
pub use marks::Marks;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OVERLAY_OPAQUE: &str = "user.overlay.opaque";

/// An entry of the layer to be.
struct Change {
    /// Relative to the root.
    path: PathBuf,
    kind: ChangeKind,
}

/// Whether a directory shows what is below it.
#[derive(Clone, Copy, PartialEq)]
enum Below {
    Merged,
    Hidden,
}

enum ChangeKind {
    Present(Box<Metadata>),
    /// `path` is gone.
    Whiteout,
}

/// Writes the layer of `changes` over `lowers` (snapshots, topmost first); whiteouts have the time 0.
///
/// # Errors
/// A file cannot be read.
pub fn write_layer(changes: &Path, lowers: &[PathBuf], epoch: i64, out: &mut dyn Write) -> io::Result<()> {
    write_from(Path::new(""), changes, lowers, epoch, &mut Forward(out))
}

/// Hashes the layer of `changes` over `lowers`, as [`write_layer`] writes it; the layer begins as the one that `marks` are
/// of, up to the last of them. Files have one name each.
///
/// # Errors
/// A file cannot be read.
pub fn hash_layer(changes: &Path, lowers: &[PathBuf], epoch: i64, marks: Marks) -> io::Result<(DiffId, Marks)> {
    let mut hasher = MarkingHasher::new(marks);
    let first = hasher.next().to_owned();
    write_from(&first, changes, lowers, epoch, &mut hasher)?;
    Ok(hasher.finish())
}

/// Writes the entries from `first` on; all where it is empty.
fn write_from(
    first: &Path,
    changes: &Path,
    lowers: &[PathBuf],
    epoch: i64,
    out: &mut impl LayerWriter,
) -> io::Result<()> {
    let mut found = Vec::new();
    collect(&Walk { changes, first }, Path::new(""), lowers, Below::Merged, &mut found)?;
    // Directories around the first entry come before it.
    found.retain(|change| change.path.as_path() >= first);
    if first.as_os_str().is_empty() && is_top_changed(changes, lowers)? {
        let metadata = Box::new(std::fs::symlink_metadata(changes)?);
        found.insert(0, Change { path: PathBuf::from("."), kind: ChangeKind::Present(metadata) });
    }
    entries::write(changes, &found, epoch, out)
}

/// Gives `to` the mode, owner, extended attributes and modification time of `from`.
///
/// # Errors
/// They cannot be read or given.
pub fn copy_metadata(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(from)?;
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let current = std::fs::symlink_metadata(to)?;
    if (current.uid(), current.gid()) != (metadata.uid(), metadata.gid()) {
        rustix::fs::chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmodat(CWD, to, Mode::from_raw_mode(metadata.mode() & 0o7777), AtFlags::empty())?;
    for (name, value) in xattrs(from)? {
        rustix::fs::lsetxattr(to, name.as_str(), &value, rustix::fs::XattrFlags::empty())?;
    }
    set_time(to, metadata.mtime(), metadata.mtime_nsec())
}

/// Where changes are looked for.
struct Walk<'a> {
    changes: &'a Path,
    /// What comes before it in the layer is not looked at.
    first: &'a Path,
}

impl Walk<'_> {
    /// Says whether neither `path` nor what is in it is wanted. Paths are ordered as the layer is: by their names' bytes.
    fn is_before(&self, path: &Path) -> bool {
        path < self.first && !self.first.starts_with(path)
    }
}

/// Adds what changed below the directory `relative`; `lowers` are the directories of that name below it, topmost first,
/// as far as they show through.
fn collect(
    walk: &Walk<'_>,
    relative: &Path,
    lowers: &[PathBuf],
    below: Below,
    found: &mut Vec<Change>,
) -> io::Result<()> {
    let mut names =
        names_of(&walk.changes.join(relative))?.into_iter().map(|name| (name, true)).collect::<BTreeMap<_, _>>();
    if below == Below::Hidden {
        for lower in lowers {
            for name in names_of(lower)? {
                names.entry(name).or_insert(false);
            }
        }
    }
    for (name, is_in_changes) in names {
        let path = relative.join(&name);
        if walk.is_before(&path) {
            continue;
        }
        if !is_in_changes {
            if find(lowers, &name)?.is_some() {
                found.push(Change { path, kind: ChangeKind::Whiteout });
            }
            continue;
        }
        if name.as_bytes().starts_with(WHITEOUT_PREFIX) {
            let reason = format!("a layer has no room for a file named `{}`", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, reason));
        }
        let full = walk.changes.join(&path);
        let metadata = std::fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            // A name that was made and deleted in one step hides nothing.
            if find(lowers, &name)?.is_some() {
                found.push(Change { path, kind: ChangeKind::Whiteout });
            }
        } else if kind.is_dir() {
            collect_directory(walk, path, metadata, (lowers, below), found)?;
        } else if !kind.is_socket() {
            found.push(Change { path, kind: ChangeKind::Present(Box::new(metadata)) });
        }
    }
    Ok(())
}

fn collect_directory(
    walk: &Walk<'_>,
    path: PathBuf,
    metadata: Metadata,
    (lowers, around): (&[PathBuf], Below),
    found: &mut Vec<Change>,
) -> io::Result<()> {
    let full = walk.changes.join(&path);
    let name = path.file_name().unwrap_or_default();
    let below = find(lowers, name)?;
    let is_opaque = xattr(&full, OVERLAY_OPAQUE)?.is_some_and(|value| value == b"y");
    let is_new = match &below {
        Some((lower, below)) => !below.is_dir() || !is_same_directory(&metadata, &full, below, lower)?,
        None => true,
    };
    let around = if is_opaque { Below::Hidden } else { around };
    let next = visible_directories(lowers, name)?;
    // Its place comes before what is in it; whether it is needed shows only afterwards.
    let at = found.len();
    found.push(Change { path: path.clone(), kind: ChangeKind::Present(Box::new(metadata)) });
    collect(walk, &path, &next, around, found)?;
    if !is_new && found.len() == at + 1 {
        found.pop();
    }
    Ok(())
}

/// Says whether the layer has an entry for the root directory itself: it differs from the one below, or from the one of
/// an image that says nothing of it.
///
/// # Errors
/// It cannot be read.
pub fn is_top_changed(changes: &Path, lowers: &[PathBuf]) -> io::Result<bool> {
    let top = std::fs::symlink_metadata(changes)?;
    match lowers.first() {
        Some(lower) => Ok(!is_same_directory(&top, changes, &std::fs::symlink_metadata(lower)?, lower)?),
        None => Ok((top.mode() & 0o7777, top.uid(), top.gid()) != (0o755, 0, 0) || !xattrs(changes)?.is_empty()),
    }
}

fn names_of(directory: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Returns what shows of `name` in the directories `lowers`, topmost first; `None` where nothing does.
fn find(lowers: &[PathBuf], name: &std::ffi::OsStr) -> io::Result<Option<(PathBuf, Metadata)>> {
    for lower in lowers {
        let path = lower.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if is_whiteout(&metadata) => return Ok(None),
            Ok(metadata) => return Ok(Some((path, metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns the directories named `name` in `lowers` that merge into one, topmost first.
fn visible_directories(lowers: &[PathBuf], name: &std::ffi::OsStr) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for lower in lowers {
        let path = lower.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let is_opaque = xattr(&path, OVERLAY_OPAQUE)?.is_some_and(|value| value == b"y");
                directories.push(path);
                if is_opaque {
                    break;
                }
            }
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(directories)
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_same_directory(upper: &Metadata, upper_path: &Path, lower: &Metadata, lower_path: &Path) -> io::Result<bool> {
    Ok((upper.mode(), upper.uid(), upper.gid()) == (lower.mode(), lower.uid(), lower.gid())
        && xattrs(upper_path)? == xattrs(lower_path)?)
}

/// Leaves everything below `directory`, itself included, as the layer says, so that later steps see what a step over the
/// unpacked layer would see: times in whole seconds, none before 1970, none after `epoch`; and no sockets.
///
/// # Errors
/// A time cannot be set, or a socket not removed.
pub fn settle(directory: &Path, epoch: i64) -> io::Result<()> {
    let own = std::fs::symlink_metadata(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = std::fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            settle(&path, epoch)?;
        } else if metadata.file_type().is_socket() {
            std::fs::remove_file(&path)?;
        } else if !is_whiteout(&metadata) {
            clamp_time(&path, &metadata, epoch)?;
        }
    }
    // A socket that was removed changed it.
    set_time(directory, own.mtime().min(epoch).max(0), 0)
}

/// Takes from the directories at the top of `changes` the mark that they hide what is below. The kernel gives it to what is
/// made where nothing is, which makes no difference there, but would over another stack.
///
/// # Errors
/// A mark cannot be taken away.
pub fn merge_top_directories(changes: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(changes)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match rustix::fs::lremovexattr(entry.path(), OVERLAY_OPAQUE) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Adds to `found` the paths below the upper directory `changes` that hide what a stack below it has at them: deleted
/// names, and directories that show nothing of what is below.
///
/// # Errors
/// A directory cannot be read.
pub fn hiding(changes: &Path, relative: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(changes.join(relative))? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, relative.join(entry.file_name()));
        if kind.is_dir() {
            if xattr(&entry.path(), OVERLAY_OPAQUE)?.is_some_and(|value| value == b"y") {
                found.push(path.clone());
            }
            hiding(changes, &path, found)?;
        } else if kind.is_char_device() && is_whiteout(&entry.metadata()?) {
            found.push(path);
        }
    }
    Ok(())
}

fn clamp_time(path: &Path, metadata: &Metadata, epoch: i64) -> io::Result<()> {
    let seconds = metadata.mtime().min(epoch).max(0);
    if (metadata.mtime(), metadata.mtime_nsec()) == (seconds, 0) {
        return Ok(());
    }
    set_time(path, seconds, 0)
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn xattr(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match sized(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Calls what fills a buffer and says how much of it, with a small one first: hardly a file has long attributes.
fn sized(fill: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match fill(&mut small) {
        Err(Errno::RANGE) => {}
        result => return result.map(|n| small[..n].to_vec()),
    }
    let mut large = vec![0; 1 << 16];
    let n = fill(&mut large)?;
    large.truncate(n);
    Ok(large)
}

/// Returns the extended attributes that belong to the file: overlayfs's own and those of the host's security modules are
/// left out. Sorted by name.
fn xattrs(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let names = match sized(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => result?,
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        let is_files =
            name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
        if is_files && let Some(value) = xattr(path, name)? {
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok(found)
}
