//! Making directories and files in a root, owned and dated.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::select::{open_directory, stat_at};
use super::{FileError, io_error, shown};
use crate::sys::root::Root;

/// Makes the directory `path` and its parents; what is there stays as it is. A link at `path` is followed inside the root.
///
/// # Errors
/// `NotADirectory` where something else is in the way.
pub fn mkdir(root: &Root, path: &str, mode: u32, owner: Option<(u32, u32)>, epoch: i64) -> Result<(), FileError> {
    let mut writer = Writer::new(root, epoch);
    let path = root.follow(Path::new(path)).map_err(io_error("resolve", Path::new(path)))?;
    writer.make_directories(&path, mode, owner.unwrap_or((0, 0)))?;
    writer.finish()
}

/// Writes the file `path` with content `data`; parents are made with 0755 and the same owner. A file that is there is
/// replaced.
///
/// # Errors
/// `DirectoryInTheWay`, `NotADirectory`.
pub fn mkfile(
    root: &Root,
    path: &str,
    mode: u32,
    owner: Option<(u32, u32)>,
    data: &[u8],
    epoch: i64,
) -> Result<(), FileError> {
    let mut writer = Writer::new(root, epoch);
    let owner = owner.unwrap_or((0, 0));
    let path = root.follow(Path::new(path)).map_err(io_error("resolve", Path::new(path)))?;
    let (parent, name) = split(&path)?;
    writer.make_directories(parent, 0o755, owner)?;
    let directory = writer.directory(parent)?;
    let mut file = create_file(&directory, name, &path)?;
    file.write_all(data).map_err(io_error("write", &path))?;
    set_owner_and_mode(&file, owner, mode).map_err(io_error("set owner and mode of", &path))?;
    set_times(&file, (epoch, 0)).map_err(io_error("set the time of", &path))?;
    writer.finish()
}

/// Makes the symbolic link `path` to `target`; its directory is there.
///
/// # Errors
/// Something has that name.
pub fn symlink(root: &Root, target: &str, path: &str, owner: Option<(u32, u32)>, epoch: i64) -> Result<(), FileError> {
    let (uid, gid) = owner.unwrap_or((0, 0));
    let path = root.follow(Path::new(path)).map_err(io_error("resolve", Path::new(path)))?;
    let (parent, name) = split(&path)?;
    let directory = Writer::new(root, epoch).directory(parent)?;
    rustix::fs::symlinkat(target, &directory, name).map_err(io_error("make link", &path))?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&directory, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
        .map_err(io_error("set the owner of", &path))?;
    rustix::fs::utimensat(&directory, name, &timestamps((epoch, 0)), flags).map_err(io_error("set the time of", &path))
}

/// Writes into one root; remembers the directories it made, whose times are set when nothing more is put into them.
pub(crate) struct Writer<'a> {
    pub(crate) root: &'a Root,
    pub(crate) epoch: i64,
    made: Vec<PathBuf>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(root: &'a Root, epoch: i64) -> Writer<'a> {
        Writer { root, epoch, made: Vec::new() }
    }

    /// Opens the directory at `path`, which is free of links.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        self.root.open_at(path, flags, Mode::empty()).map_err(io_error("open", path))
    }

    /// Makes what is missing of the directory `path`, which is free of links.
    pub(crate) fn make_directories(&mut self, path: &Path, mode: u32, owner: (u32, u32)) -> Result<(), FileError> {
        let mut directory = self.directory(Path::new(""))?;
        let mut at = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            at.push(name);
            let (made, is_new) = self.make_directory(&directory, name, &at)?;
            if is_new {
                set_owner_and_mode(&made, owner, mode).map_err(io_error("set owner and mode of", &at))?;
            }
            directory = made;
        }
        Ok(())
    }

    /// Makes or opens the directory `name` in `parent`; `path` is where that is. A link is in the way like a file.
    pub(crate) fn make_directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<(OwnedFd, bool), FileError> {
        let is_new = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(io_error("make directory", path)(error)),
        };
        let fd = match open_directory(parent, Some(name)) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(FileError::NotADirectory { path: shown(path) }),
            result => result.map_err(io_error("open", path))?,
        };
        if is_new {
            self.made.push(path.to_owned());
        }
        Ok((fd, is_new))
    }

    /// Dates the directories that were made.
    pub(crate) fn finish(self) -> Result<(), FileError> {
        for path in &self.made {
            let fd = self.directory(path)?;
            set_times(&fd, (self.epoch, 0)).map_err(io_error("set the time of", path))?;
        }
        Ok(())
    }
}

/// Creates an empty file `name`, in place of what is there unless that is a directory.
pub(crate) fn create_file(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<File, FileError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600));
    let fd = replacing(directory, name, path, create).map_err(|error| error.unwrap_or_io("create", path))?;
    Ok(File::from(fd))
}

/// Why [`replacing`] could not.
pub(crate) enum Blocked {
    File(FileError),
    System(Errno),
}

impl Blocked {
    pub(crate) fn unwrap_or_io(self, verb: &'static str, path: &Path) -> FileError {
        match self {
            Blocked::File(error) => error,
            Blocked::System(error) => io_error(verb, path)(error),
        }
    }
}

/// Creates something by `create`; if its name is taken, removes what has it, unless that is a directory.
pub(crate) fn replacing<T>(
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    create: impl Fn() -> Result<T, Errno>,
) -> Result<T, Blocked> {
    match create() {
        Err(Errno::EXIST) => {}
        result => return result.map_err(Blocked::System),
    }
    let stat = stat_at(directory, Some(Path::new(name))).map_err(Blocked::System)?;
    if rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir() {
        return Err(Blocked::File(FileError::DirectoryInTheWay { path: shown(path) }));
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(Blocked::System)?;
    create().map_err(Blocked::System)
}

/// Sets owner, then mode: a change of owner clears the setuid bits.
pub(crate) fn set_owner_and_mode(file: impl AsFd, owner: (u32, u32), mode: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
}

/// Sets both times of an open file: seconds since 1970 and nanoseconds.
pub(crate) fn set_times(file: impl AsFd, time: (i64, u32)) -> Result<(), Errno> {
    rustix::fs::futimens(file, &timestamps(time))
}

pub(crate) fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Splits a path, free of links, into directory and name.
pub(crate) fn split(path: &Path) -> Result<(&Path, &OsStr), FileError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(FileError::DirectoryInTheWay { path: shown(path) }),
    }
}
