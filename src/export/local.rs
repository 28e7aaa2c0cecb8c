//! `type=local`: a root file system as a directory.

#![expect(clippy::disallowed_methods, reason = "the destination is made where the user wants it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::{FileExportError, io_error};
use super::tree::{Entry, Kind, walk};
use crate::sys::root::Root;

/// Whom the copied files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// To the user and group that bake runs as, as with the peer. Set-user-id and set-group-id bits are dropped: with
    /// another owner they would grant what the image did not.
    Caller,
    /// To the numbers that they have in the image; needs to be root.
    Image,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Regular files, each name counted.
    pub n_files: u64,
    /// Bytes in them, each file counted once.
    pub size: u64,
    /// Devices, pipes and sockets, which are not copied, sorted.
    pub skipped: Vec<PathBuf>,
}

/// Copies `root` into the directory `dest`, which is made if it is not there. What `dest` has besides stays; a file or link
/// in the way is replaced, each at once. Nothing outside `dest` is touched, whatever links are in it or in `root`.
/// Modification times are no later than `latest_mtime`, in seconds since the epoch.
///
/// # Errors
/// `Directory` where `dest` has a directory in the place of something else; `Io` for all that the system refuses. What was
/// copied by then stays.
pub fn copy_to_directory(
    root: &Root,
    dest: &Path,
    ownership: Ownership,
    latest_mtime: u64,
) -> Result<Copied, FileExportError> {
    std::fs::create_dir_all(dest).map_err(io_error("make", dest))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(dest, flags, Mode::empty()).map_err(io_error::<Errno>("open", dest))?;
    let mut copy = Copy {
        root,
        dest,
        top,
        ownership,
        latest_mtime,
        partial: OsString::from(format!(".bake-{}.part", std::process::id())),
        first_names: BTreeMap::new(),
        directories: Vec::new(),
        copied: Copied::default(),
    };
    walk(root, &mut |entry| copy.entry(entry))?;
    copy.finish_directories()?;
    Ok(copy.copied)
}

struct Copy<'a> {
    root: &'a Root,
    dest: &'a Path,
    top: OwnedFd,
    ownership: Ownership,
    latest_mtime: u64,
    /// Name under which a file is made before it is renamed into its place.
    partial: OsString,
    first_names: BTreeMap<(u64, u64), PathBuf>,
    /// Their attributes come last: a read-only one could not be filled, and filling one changes its time.
    directories: Vec<Attributes>,
    copied: Copied,
}

struct Attributes {
    path: PathBuf,
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    times: Timestamps,
}

impl Copy<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), FileExportError> {
        let (parent, name) = self.parent(&entry.path)?;
        match &entry.kind {
            Kind::Directory => {
                make_directory(&parent, name).map_err(self.failed(&entry.path))?;
                self.directories.push(self.attributes(entry));
                Ok(())
            }
            Kind::Symlink(target) => {
                self.clear(&parent)?;
                rustix::fs::symlinkat(target, &parent, &self.partial).map_err(self.failed(&entry.path))?;
                let attributes = self.attributes(entry);
                set_link_attributes(&parent, Path::new(&self.partial), &attributes)
                    .map_err(self.failed(&entry.path))?;
                self.put(&parent, name, &entry.path)
            }
            Kind::File { size, shared } => {
                self.copied.n_files += 1;
                self.clear(&parent)?;
                if let Some(first) = shared.and_then(|identity| self.first_names.get(&identity)) {
                    self.link(first, &parent, &entry.path)?;
                } else {
                    self.first_names.extend(shared.map(|identity| (identity, entry.path.clone())));
                    self.copied.size += size;
                    self.file(entry, &parent)?;
                }
                self.put(&parent, name, &entry.path)
            }
            Kind::Fifo | Kind::CharacterDevice(..) | Kind::BlockDevice(..) | Kind::Socket => {
                self.copied.skipped.push(entry.path.clone());
                Ok(())
            }
        }
    }

    /// Makes the partial file with all its content and attributes.
    fn file(&self, entry: &Entry, parent: &OwnedFd) -> Result<(), FileExportError> {
        let mut source = entry.open(self.root)?;
        let failed = self.failed(&entry.path);
        let (file, has_name) = self.begin(parent).map_err(&failed)?;
        let mut file = File::from(file);
        let copied = io::copy(&mut source, &mut file).map_err(io_error("copy", &self.dest.join(&entry.path)));
        if copied.is_err() {
            self.clear(parent)?;
        }
        copied?;
        set_attributes(&file, &self.attributes(entry)).map_err(&failed)?;
        if has_name {
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, path.as_str(), parent, &self.partial, AtFlags::SYMLINK_FOLLOW).map_err(&failed)
    }

    /// Begins a file in `parent` and says whether it is the partial one already. Where the file system has files without a
    /// name it is one of those, so that nothing of it is left wherever the process is killed.
    fn begin(&self, parent: &OwnedFd) -> rustix::io::Result<(OwnedFd, bool)> {
        let (flags, mode) = (OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match rustix::fs::openat(parent, ".", flags | OFlags::TMPFILE, mode) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                rustix::fs::openat(parent, &self.partial, flags, mode).map(|file| (file, true))
            }
            made => made.map(|file| (file, false)),
        }
    }

    /// Makes the partial file another name of the file at `first`.
    fn link(&self, first: &Path, parent: &OwnedFd, path: &Path) -> Result<(), FileExportError> {
        let (first_parent, first_name) = self.parent(first)?;
        rustix::fs::linkat(&first_parent, first_name, parent, &self.partial, AtFlags::empty())
            .map_err(self.failed(path))
    }

    /// Renames the partial file into its place.
    fn put(&self, parent: &OwnedFd, name: &Path, path: &Path) -> Result<(), FileExportError> {
        let result = rustix::fs::renameat(parent, &self.partial, parent, name);
        if result.is_err() {
            self.clear(parent)?;
        }
        match result {
            Err(Errno::ISDIR) => Err(FileExportError::Directory(self.dest.join(path))),
            result => result.map_err(self.failed(path)),
        }
    }

    /// Removes a partial file that an interrupted run may have left.
    fn clear(&self, parent: &OwnedFd) -> Result<(), FileExportError> {
        match rustix::fs::unlinkat(parent, &self.partial, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            result => result.map_err(self.failed(Path::new(&self.partial))),
        }
    }

    /// Opens the directory that holds `path` and returns it with the last component.
    fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p Path), FileExportError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().map(Path::new).unwrap_or(Path::new("."));
        Ok((self.directory(parent)?, name))
    }

    /// Opens a directory of the destination; a link on the way is an error.
    fn directory(&self, path: &Path) -> Result<OwnedFd, FileExportError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.top, path, flags, Mode::empty(), resolve) {
                // The kernel asks to try again when a rename elsewhere raced the walk (openat2(2), EAGAIN).
                Err(Errno::AGAIN) => continue,
                result => return result.map_err(io_error::<Errno>("open", &self.dest.join(path))),
            }
        }
    }

    /// Deepest directories first, so that one that may not be entered any more is not needed again.
    fn finish_directories(&mut self) -> Result<(), FileExportError> {
        for attributes in std::mem::take(&mut self.directories).iter().rev() {
            let directory = self.directory(&attributes.path)?;
            set_attributes(&directory, attributes).map_err(self.failed(&attributes.path))?;
        }
        Ok(())
    }

    fn attributes(&self, entry: &Entry) -> Attributes {
        let (mode, owner) = match self.ownership {
            Ownership::Caller if entry.kind == Kind::Directory => (entry.mode & 0o1777, None),
            Ownership::Caller => (entry.mode & 0o777, None),
            Ownership::Image => (entry.mode, Some((Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)))),
        };
        let seconds = i64::try_from(entry.clamped_mtime(self.latest_mtime)).unwrap_or(i64::MAX);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        Attributes { path: entry.path.clone(), mode: Mode::from_raw_mode(mode), owner, times }
    }

    fn failed(&self, path: &Path) -> impl Fn(Errno) -> FileExportError + use<> {
        io_error("write", &self.dest.join(path))
    }
}

/// Makes a directory, in place of a file or link of that name. One that is there can be filled afterwards even if an earlier
/// copy left it read-only.
fn make_directory(parent: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => {}
        result => return result,
    }
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777) | Mode::RWXU;
        // Where this is refused, filling it may be allowed still, by its group.
        _ = rustix::fs::openat(parent, name, flags, Mode::empty())
            .and_then(|directory| rustix::fs::fchmod(directory, mode));
        return Ok(());
    }
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    rustix::fs::mkdirat(parent, name, Mode::RWXU)
}

/// The owner first: changing it drops bits of the mode.
fn set_attributes(file: impl AsFd, attributes: &Attributes) -> rustix::io::Result<()> {
    let file = file.as_fd();
    if let Some((uid, gid)) = attributes.owner {
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(file, attributes.mode)?;
    rustix::fs::futimens(file, &attributes.times)
}

/// A link has no mode of its own.
fn set_link_attributes(parent: &OwnedFd, name: &Path, attributes: &Attributes) -> rustix::io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if let Some((uid, gid)) = attributes.owner {
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
    }
    rustix::fs::utimensat(parent, name, &attributes.times, flags)
}

#[cfg(test)]
pub(in crate::export) mod tests;
