//! A directory tree that names cannot leave: every path is resolved beneath it by the kernel.
//!
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` treats the tree as `chroot` would: an absolute path or symbolic
//! link starts at the tree's top and `..` stops there. No path is ever checked as a string.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

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

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode, more: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel asks to try again when a rename elsewhere raced the walk (openat2(2), EAGAIN).
                Err(rustix::io::Errno::AGAIN) => continue,
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
    use std::io::Read;

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
