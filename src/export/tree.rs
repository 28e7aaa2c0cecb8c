//! Walks a root file system without following anything in it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::error::{FileExportError, io_error};
use crate::sys::root::Root;

/// A file, directory or other thing in a tree.
#[derive(Debug)]
pub(super) struct Entry {
    /// Relative to the tree's top; never empty.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whole seconds since the epoch.
    pub(super) mtime: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Device and inode, where the file has several names.
        shared: Option<(u64, u64)>,
    },
    Symlink(PathBuf),
    Fifo,
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Socket,
}

impl Entry {
    /// Opens a regular file of `root`.
    pub(super) fn open(&self, root: &Root) -> Result<File, FileExportError> {
        // Without NONBLOCK a FIFO that took the file's place would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = root.open_at(&self.path, flags, Mode::empty()).map_err(io_error("read", &self.path))?;
        Ok(File::from(file))
    }

    /// Returns the modification time, no later than `latest` and not before the epoch.
    pub(super) fn clamped_mtime(&self, latest: u64) -> u64 {
        u64::try_from(self.mtime).unwrap_or(0).min(latest)
    }
}

/// Visits all of `root` but its top, parents first, siblings by name (bytewise).
pub(super) fn walk(
    root: &Root,
    visit: &mut dyn FnMut(&Entry) -> Result<(), FileExportError>,
) -> Result<(), FileExportError> {
    let mut pending = children(root, Path::new(""))?;
    while let Some(path) = pending.pop() {
        let entry = look(root, path)?;
        visit(&entry)?;
        if entry.kind == Kind::Directory {
            pending.append(&mut children(root, &entry.path)?);
        }
    }
    Ok(())
}

/// Returns the paths in a directory, last one first.
pub(super) fn children(root: &Root, path: &Path) -> Result<Vec<PathBuf>, FileExportError> {
    let failed = io_error::<rustix::io::Errno>("read", path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let directory: OwnedFd = root.open_at(path, flags, Mode::empty()).map_err(io_error("read", path))?;
    let mut names = Vec::new();
    for entry in Dir::new(directory).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(path.join(OsStr::from_bytes(name)));
        }
    }
    names.sort_unstable_by(|a, b| b.as_os_str().cmp(a.as_os_str()));
    Ok(names)
}

/// Returns what is at `path`, itself if it is a link.
pub(super) fn look(root: &Root, path: PathBuf) -> Result<Entry, FileExportError> {
    let failed = io_error::<rustix::io::Errno>("read", &path);
    let (parent, name) = root.open_parent(&path).map_err(io_error("read", &path))?;
    let name = name.unwrap_or_default();
    let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(&failed)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&parent, &name, Vec::new()).map_err(&failed)?;
            Kind::Symlink(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
        }
        kind => kind_of(kind, &stat),
    };
    let mode = stat.st_mode & 0o7777;
    Ok(Entry { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime: stat.st_mtime })
}

fn kind_of(kind: FileType, stat: &Stat) -> Kind {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match kind {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => {
            let shared = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
            Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0), shared }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharacterDevice(device.0, device.1),
        FileType::BlockDevice => Kind::BlockDevice(device.0, device.1),
        _ => Kind::Socket,
    }
}
