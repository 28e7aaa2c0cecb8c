//! A directory tree that names cannot leave: every path is resolved beneath it by the kernel.
//!
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` treats the tree as `chroot` would: an absolute path or symbolic
//! link starts at the tree's top and `..` stops there. No path is ever checked as a string.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// The largest file that is read whole from a place that others filled.
const MAX_SIZE: u64 = 64 << 20;

/// An open directory beneath which paths are resolved.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens the directory at `path`, which is trusted.
    pub fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Takes an open directory.
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root(fd)
    }

    /// Opens `path` in the tree, following symbolic links inside the tree. `CLOEXEC` is added.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.resolve(path, flags, mode, ResolveFlags::empty())
    }

    /// Opens the directory that holds `path`'s last component and returns it with that component; the component itself
    /// is not resolved. `None` for the name where the path is the tree's top.
    pub fn open_parent(&self, path: &Path) -> io::Result<(OwnedFd, Option<PathBuf>)> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY;
        match path.components().next_back() {
            Some(Component::Normal(name)) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                Ok((self.open_at(parent, directory, Mode::empty())?, Some(PathBuf::from(name))))
            }
            None | Some(Component::RootDir | Component::CurDir) => {
                Ok((self.open_at(Path::new("."), directory, Mode::empty())?, None))
            }
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "path ends in `..`")),
        }
    }

    /// Follows the links of `path` and returns the path without any, relative to the top; what does not exist is taken as
    /// it stands. Unlike the kernel, so that what is missing can be made.
    ///
    /// # Errors
    /// `FilesystemLoop` for links without end; else as the operating system says.
    pub fn follow(&self, path: &Path) -> io::Result<PathBuf> {
        let mut followed = PathBuf::new();
        let mut pending: VecDeque<OsString> = path.components().map(|c| c.as_os_str().to_owned()).collect();
        let mut n_links = 0;
        while let Some(name) = pending.pop_front() {
            match Path::new(&name).components().next() {
                None | Some(Component::CurDir | Component::Prefix(_)) => {}
                Some(Component::RootDir) => followed.clear(),
                Some(Component::ParentDir) => _ = followed.pop(),
                Some(Component::Normal(name)) => {
                    followed.push(name);
                    let Some(target) = self.link_target(&followed)? else { continue };
                    n_links += 1;
                    if n_links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    followed.pop();
                    for component in target.components().rev() {
                        pending.push_front(component.as_os_str().to_owned());
                    }
                }
            }
        }
        Ok(followed)
    }

    /// Returns where the link at `path` points; `None` for anything else, or nothing, there.
    fn link_target(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let (directory, name) = match self.open_parent(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            result => result?,
        };
        match rustix::fs::readlinkat(&directory, name.unwrap_or_default(), Vec::new()) {
            // The kernel's own links lead to what a process has open, whatever their text says.
            Ok(_) if rustix::fs::fstatfs(&directory)?.f_type == rustix::fs::PROC_SUPER_MAGIC => Err(Errno::LOOP.into()),
            Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))),
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the bytes of the regular file at `path`.
    ///
    /// # Errors
    /// `FileTooLarge` for more than 64 MiB, `InvalidInput` for what is no regular file; else as the operating system says.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A FIFO must not block before it is known to be one.
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > MAX_SIZE {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode, more: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel asks to try again when a rename elsewhere raced the walk (openat2(2), EAGAIN).
                Err(Errno::AGAIN) => continue,
                result => return Ok(result?),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens the current directory's tree, for callers that have no other.
pub fn current_directory() -> io::Result<Root> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Root(rustix::fs::openat(CWD, ".", flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_stay_inside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let top = directory.path().join("top");
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        {
            std::fs::create_dir(&top).expect("created");
            std::fs::write(directory.path().join("secret"), "outside").expect("written");
            std::fs::write(top.join("secret"), "inside").expect("written");
        }
        std::os::unix::fs::symlink("../secret", top.join("up")).expect("linked");
        std::os::unix::fs::symlink("/secret", top.join("absolute")).expect("linked");
        let root = Root::open(&top).expect("opened");
        for path in ["up", "absolute", "../../secret", "/secret"] {
            let fd = root.open_at(Path::new(path), OFlags::RDONLY, Mode::empty()).expect(path);
            let mut text = String::new();
            std::fs::File::from(fd).read_to_string(&mut text).expect("read");
            assert_eq!(text, "inside", "{path}");
        }
    }
}
