//! From an overlay's upper directory to a layer: the canonical tar of what changed (image-spec v1.1, layer.md).
//!
//! Entries are in depth-first order, the names of a directory sorted by their bytes; a directory comes before what is in
//! it and only if it is new, differs from the one below, or something in it changed. Deleted names are `.wh.NAME`, an
//! opaque directory holds `.wh..wh..opq`. Times are whole seconds and at most the epoch that is given; owners are
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
const OPAQUE_MARK: &str = ".wh..wh..opq";
const OVERLAY_OPAQUE: &str = "user.overlay.opaque";

/// An entry of the layer to be.
struct Change {
    /// Relative to the root.
    path: PathBuf,
    kind: ChangeKind,
}

enum ChangeKind {
    Present(Box<Metadata>),
    /// `path` is gone.
    Whiteout,
    /// All that was below in `path` is gone.
    Opaque,
}

/// Writes the layer of `changes` over `lowers` (snapshots, topmost first) and leaves the files themselves as the layer has
/// them, so that later steps see what a step over the unpacked layer would see.
///
/// # Errors
/// A file cannot be read.
pub fn write_layer(changes: &Path, lowers: &[PathBuf], epoch: i64, out: &mut dyn Write) -> io::Result<()> {
    let mut found = Vec::new();
    collect(changes, Path::new(""), lowers, &mut found)?;
    let mut writer = TarWriter::new(out);
    let mut linked: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for change in &found {
        append(&mut writer, changes, change, epoch, &mut linked)?;
    }
    settle(changes, epoch)?;
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
fn collect(changes: &Path, relative: &Path, lowers: &[PathBuf], found: &mut Vec<Change>) -> io::Result<()> {
    let mut names: Vec<OsString> =
        std::fs::read_dir(changes.join(relative))?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    for name in names {
        let path = relative.join(&name);
        let full = changes.join(&path);
        let metadata = std::fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            // A name that was made and deleted in one step hides nothing.
            if find(lowers, &name)?.is_some() {
                found.push(Change { path, kind: ChangeKind::Whiteout });
            }
        } else if kind.is_dir() {
            collect_directory(changes, path, metadata, lowers, &name, found)?;
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
    lowers: &[PathBuf],
    name: &std::ffi::OsStr,
    found: &mut Vec<Change>,
) -> io::Result<()> {
    let full = changes.join(&path);
    let below = find(lowers, name)?;
    let is_opaque = xattr(&full, OVERLAY_OPAQUE)?.is_some_and(|value| value == b"y");
    let is_new = match &below {
        Some((lower, below)) => !below.is_dir() || !is_same_directory(&metadata, &full, below, lower)?,
        None => true,
    };
    let hides = is_opaque && below.is_some_and(|(_, below)| below.is_dir());
    let next = if is_opaque { Vec::new() } else { visible_directories(lowers, name)? };
    let at = found.len();
    collect(changes, &path, &next, found)?;
    if is_new || hides || found.len() > at {
        let mut entries = vec![Change { path: path.clone(), kind: ChangeKind::Present(Box::new(metadata)) }];
        if hides {
            entries.push(Change { path, kind: ChangeKind::Opaque });
        }
        found.splice(at..at, entries);
    }
    Ok(())
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
    let metadata = match &change.kind {
        ChangeKind::Present(metadata) => metadata,
        ChangeKind::Whiteout | ChangeKind::Opaque => {
            let path = match change.kind {
                ChangeKind::Opaque => change.path.join(OPAQUE_MARK),
                _ => whiteout_path(&change.path),
            };
            // Of 1970: a snapshot does not keep when a name was deleted, and its layer can be made again.
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
        mtime: entry_time(metadata, epoch).cast_unsigned(),
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

/// Leaves everything below `directory`, itself included, as its entry says: times in whole seconds, at most `epoch`, and no
/// sockets.
fn settle(directory: &Path, epoch: i64) -> io::Result<()> {
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
    set_time(directory, entry_time(&own, epoch), 0)
}

fn clamp_time(path: &Path, metadata: &Metadata, epoch: i64) -> io::Result<()> {
    let seconds = entry_time(metadata, epoch);
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

/// Seconds since 1970; what is earlier has no place in a header.
fn entry_time(metadata: &Metadata, epoch: i64) -> i64 {
    metadata.mtime().min(epoch).max(0)
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
