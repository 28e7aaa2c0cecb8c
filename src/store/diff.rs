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

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use tar::EntryType;

use crate::oci::tar::{TarEntry, TarWriter};

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
    let mut found = Vec::new();
    collect(changes, Path::new(""), lowers, Below::Merged, &mut found)?;
    if is_top_changed(changes, lowers)? {
        let metadata = Box::new(std::fs::symlink_metadata(changes)?);
        found.insert(0, Change { path: PathBuf::from("."), kind: ChangeKind::Present(metadata) });
    }
    let mut writer = TarWriter::new(out);
    let mut linked: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for change in &found {
        append(&mut writer, changes, change, epoch, &mut linked)?;
    }
    writer.finish()
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

/// Adds what changed below the directory `relative`; `lowers` are the directories of that name below it, topmost first,
/// as far as they show through.
fn collect(
    changes: &Path,
    relative: &Path,
    lowers: &[PathBuf],
    below: Below,
    found: &mut Vec<Change>,
) -> io::Result<()> {
    let mut names = names_of(&changes.join(relative))?.into_iter().map(|name| (name, true)).collect::<BTreeMap<_, _>>();
    if below == Below::Hidden {
        for lower in lowers {
            for name in names_of(lower)? {
                names.entry(name).or_insert(false);
            }
        }
    }
    for (name, is_in_changes) in names {
        let path = relative.join(&name);
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
        let full = changes.join(&path);
        let metadata = std::fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            // A name that was made and deleted in one step hides nothing.
            if find(lowers, &name)?.is_some() {
                found.push(Change { path, kind: ChangeKind::Whiteout });
            }
        } else if kind.is_dir() {
            collect_directory(changes, path, metadata, (lowers, below), found)?;
        } else if !kind.is_socket() {
            found.push(Change { path, kind: ChangeKind::Present(Box::new(metadata)) });
        }
    }
    Ok(())
}

fn collect_directory(
    changes: &Path,
    path: PathBuf,
    metadata: Metadata,
    (lowers, around): (&[PathBuf], Below),
    found: &mut Vec<Change>,
) -> io::Result<()> {
    let full = changes.join(&path);
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
    collect(changes, &path, &next, around, found)?;
    if !is_new && found.len() == at + 1 {
        found.pop();
    }
    Ok(())
}

/// Says whether the root directory differs from the one below, or from the one of an image that says nothing of it.
/// Says whether the layer has an entry for the root directory itself.
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

fn append(
    writer: &mut TarWriter<'_>,
    changes: &Path,
    change: &Change,
    epoch: i64,
    linked: &mut BTreeMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    let mtime = |metadata: &Metadata| u64::try_from(metadata.mtime().min(epoch)).unwrap_or(0);
    let metadata = match &change.kind {
        ChangeKind::Present(metadata) => metadata,
        ChangeKind::Whiteout => {
            let path = whiteout_path(&change.path);
            let entry = TarEntry::new(path.as_os_str().as_bytes(), EntryType::Regular, 0, 0);
            return writer.append(&entry, &mut io::empty()).map(drop);
        }
    };
    let full = changes.join(&change.path);
    let kind = metadata.file_type();
    let mut path = change.path.as_os_str().as_bytes().to_vec();
    if kind.is_dir() {
        path.push(b'/');
    }
    let xattrs = if kind.is_symlink() { Vec::new() } else { xattrs(&full)? };
    let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let mut entry = TarEntry {
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: mtime(metadata),
        xattrs: &xattrs,
        ..TarEntry::new(&path, EntryType::Regular, metadata.mode() & 0o7777, 0)
    };
    let first = (!kind.is_dir() && metadata.nlink() > 1)
        .then(|| linked.insert((metadata.dev(), metadata.ino()), change.path.clone()))
        .flatten();
    if let Some(first) = first {
        linked.insert((metadata.dev(), metadata.ino()), first.clone());
        (entry.kind, entry.link, entry.xattrs) = (EntryType::Link, first.as_os_str().as_bytes(), &[]);
        return writer.append(&entry, &mut io::empty()).map(drop);
    }
    let target;
    match kind {
        kind if kind.is_file() => {
            entry.size = metadata.len();
            let n_bytes = writer.append(&entry, &mut File::open(&full)?)?;
            if n_bytes != metadata.len() {
                return Err(io::Error::other(format!("{} changed while it was read", change.path.display())));
            }
            return Ok(());
        }
        kind if kind.is_symlink() => {
            target = std::fs::read_link(&full)?;
            (entry.kind, entry.link, entry.mode) = (EntryType::Symlink, target.as_os_str().as_bytes(), 0o777);
        }
        kind if kind.is_dir() => entry.kind = EntryType::Directory,
        kind if kind.is_fifo() => entry.kind = EntryType::Fifo,
        kind if kind.is_char_device() => (entry.kind, entry.device) = (EntryType::Char, device),
        kind if kind.is_block_device() => (entry.kind, entry.device) = (EntryType::Block, device),
        _ => return Ok(()),
    }
    writer.append(&entry, &mut io::empty()).map(drop)
}

fn whiteout_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(std::ffi::OsStr::from_bytes(WHITEOUT_PREFIX));
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
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
    let mut value = vec![0; 1 << 16];
    match rustix::fs::lgetxattr(path, name, &mut value) {
        Ok(n) => {
            value.truncate(n);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the extended attributes that belong to the file: overlayfs's own and those of the host's security modules are
/// left out. Sorted by name.
fn xattrs(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 1 << 16];
    let n = match rustix::fs::llistxattr(path, &mut names) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(n) => n,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..n].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        let is_files =
            name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
        if is_files && let Some(value) = xattr(path, name)? {
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok(found)
}
