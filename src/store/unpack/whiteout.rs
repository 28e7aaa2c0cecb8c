//! What a layer deletes.
//!
//! A whiteout means what the layers below have; what the same archive made stays, whichever of the two comes first in it
//! (image-spec v1.1, layer.md, *Whiteouts*).

use std::ffi::OsStr;
use std::io;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::{Unpacker, invalid};

impl Unpacker<'_> {
    /// Applies the whiteout at `path` (relative to the top), whose name after `.wh.` is `hidden`.
    pub(super) fn whiteout(&self, parent: &OwnedFd, path: &Path, hidden: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new(""));
        match hidden {
            b".wh..opq" => self.clear(parent, directory),
            b"" | b"." | b".." => Err(invalid("a whiteout of no name")),
            // Bookkeeping of another engine, not a file.
            name if name.starts_with(b".wh.") => Ok(()),
            name => self.hide(parent, directory, OsStr::from_bytes(name)),
        }
    }

    fn clear(&self, fd: &OwnedFd, directory: &Path) -> io::Result<()> {
        names(fd)?.iter().try_for_each(|name| self.hide(fd, directory, name))
    }

    fn hide(&self, parent: &OwnedFd, directory: &Path, name: &OsStr) -> io::Result<()> {
        let path = directory.join(name);
        if !self.has_made(&path) {
            return remove(parent, name);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => self.clear(&fd, &path),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says whether the archive made `path` or something below it.
    fn has_made(&self, path: &Path) -> bool {
        let mut from_here = self.made.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from_here.next().is_some_and(|made| made.starts_with(path))
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Removes a name and all below it; what is not there is no error.
pub(super) fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            for name in names(&directory)? {
                remove(&directory, &name)?;
            }
            Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Err(error) => Err(error.into()),
    }
}
