//! Places to mount on that the root file system lacks: made for a step, taken away after it.
//!
//! Everything goes through directories that were opened beneath the root. After the step a stub is removed only if the
//! same inode is still there under the same name of the same directory, and empty. A link that the step put in its
//! place is not followed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::sys::root::Root;

/// What a stub has to be for a mount to fit on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StubKind {
    Directory,
    File,
}

/// Something that was not there before.
pub struct Stub {
    parent: OwnedFd,
    name: PathBuf,
    kind: StubKind,
    device: u64,
    inode: u64,
}

impl Stub {
    /// Changes the owner.
    pub fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&self.parent, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Opens `path` in the root as a place to mount on (`O_PATH`), making it and its parents (0755) if it is not there. What
/// was made is added to `made`, parents first. A link to nothing is followed inside the root, as runc does.
pub fn open_or_make(root: &Root, path: &str, kind: StubKind, made: &mut Vec<Stub>) -> io::Result<OwnedFd> {
    match root.open_at(Path::new(path), OFlags::PATH, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let followed = root.follow(Path::new(path))?;
    let n_names = followed.components().count();
    let mut prefix = PathBuf::from("/");
    let mut parent = root.open_at(&prefix, OFlags::PATH, Mode::empty())?;
    for (index, name) in followed.iter().enumerate() {
        prefix.push(name);
        let is_last = index + 1 == n_names;
        let here = if is_last { kind } else { StubKind::Directory };
        parent = match root.open_at(&prefix, OFlags::PATH, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match make(&parent, Path::new(name), here) {
                    Ok(stub) => made.push(stub),
                    // In a cache that is shared, another step may have made it since.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
                root.open_at(&prefix, OFlags::PATH, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(parent)
}

/// Removes what [`open_or_make`] made, if it is still as it was.
pub fn remove(stubs: Vec<Stub>) {
    for stub in stubs.into_iter().rev() {
        let Ok(now) = rustix::fs::statat(&stub.parent, &stub.name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_same = now.st_dev == stub.device && now.st_ino == stub.inode;
        let is_empty_file = FileType::from_raw_mode(now.st_mode) == FileType::RegularFile && now.st_size == 0;
        // A directory that is not empty stays: the kernel refuses.
        _ = match stub.kind {
            StubKind::Directory if is_same => rustix::fs::unlinkat(&stub.parent, &stub.name, AtFlags::REMOVEDIR),
            StubKind::File if is_same && is_empty_file => {
                rustix::fs::unlinkat(&stub.parent, &stub.name, AtFlags::empty())
            }
            _ => Ok(()),
        };
    }
}

fn make(parent: &OwnedFd, name: &Path, kind: StubKind) -> io::Result<Stub> {
    match kind {
        StubKind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
        StubKind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
        }
    }
    let made = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let parent = reopen(parent)?;
    Ok(Stub { parent, name: name.to_owned(), kind, device: made.st_dev, inode: made.st_ino })
}

fn reopen(directory: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(directory, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = Root::open(directory.path()).expect("opened");
        (directory, root)
    }

    #[test]
    fn stubs_and_their_parents_go() {
        let (directory, root) = root();
        let mut made = Vec::new();
        open_or_make(&root, "/a/b/c", StubKind::Directory, &mut made).expect("made");
        open_or_make(&root, "/a/f", StubKind::File, &mut made).expect("made");
        assert!(directory.path().join("a/b/c").is_dir() && directory.path().join("a/f").is_file());
        remove(made);
        assert!(!directory.path().join("a").exists());
    }

    #[test]
    fn what_was_there_or_is_in_use_stays() {
        let (directory, root) = root();
        rustix::fs::mkdir(directory.path().join("old"), Mode::RWXU).expect("made");
        let mut made = Vec::new();
        open_or_make(&root, "/old/new", StubKind::Directory, &mut made).expect("made");
        rustix::fs::mkdir(directory.path().join("old/new/used"), Mode::RWXU).expect("made");
        remove(made);
        assert!(directory.path().join("old/new/used").is_dir());
    }

    #[test]
    fn a_link_in_a_stubs_place_is_not_followed() {
        let (directory, root) = root();
        let outside = tempfile::tempdir().expect("a temporary directory");
        rustix::fs::mkdir(outside.path().join("b"), Mode::RWXU).expect("made");
        let mut made = Vec::new();
        open_or_make(&root, "/a/b", StubKind::Directory, &mut made).expect("made");
        rustix::fs::rename(directory.path().join("a"), directory.path().join("moved")).expect("moved");
        std::os::unix::fs::symlink(outside.path(), directory.path().join("a")).expect("linked");
        remove(made);
        assert!(outside.path().join("b").is_dir());
        assert!(directory.path().join("a").is_symlink());
    }
}
