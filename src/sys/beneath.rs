//! The files that the user's own files name: paths and symbolic links that lead out of the tree are refused.
//!
//! `openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)`: where [`super::root::Root`] keeps a path inside, which suits trees
//! that others filled, this says that it leads out, so that a mistake is seen. No path is ever checked as a string.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; in lists alone.
    Link,
    /// A device, FIFO or socket.
    Other,
}

/// What is at the end of a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Never a link.
    pub kind: FileKind,
    /// Equal for two paths that lead to one file.
    pub identity: (u64, u64),
}

/// A tree of files. Paths are relative to its top and use `/`; the empty one is the top.
pub trait Tree {
    /// Says what is at the end of a path.
    ///
    /// # Errors
    /// `NotFound`, `CrossesDevices` if the path leads out of the tree, or as the operating system says.
    fn stat(&self, path: &str) -> io::Result<FileStat>;

    /// Reads a regular file of at most `max` bytes.
    ///
    /// # Errors
    /// As for [`Tree::stat`]; `IsADirectory`; it is no regular file, or larger.
    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>>;

    /// Lists a directory by name; names that are no UTF-8 are left out.
    ///
    /// # Errors
    /// As for [`Tree::stat`]; `NotADirectory`.
    fn list(&self, path: &str) -> io::Result<Vec<(String, FileKind)>>;
}

/// A directory of this machine.
#[derive(Debug)]
pub struct DiskTree(OwnedFd);

impl DiskTree {
    /// Opens the tree at `path`, which is trusted.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> io::Result<DiskTree> {
        // Only names below it are opened, so that a right to list it is not needed.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(DiskTree(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Takes an open directory.
    pub fn from_fd(fd: OwnedFd) -> DiskTree {
        DiskTree(fd)
    }

    fn resolve(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel asks to try again when a rename elsewhere raced the walk (openat2(2), EAGAIN).
                Err(Errno::AGAIN) => continue,
                Err(Errno::XDEV) => return Err(leads_out()),
                result => return Ok(result?),
            }
        }
    }
}

/// Returns the error for a path that leads out of its tree.
pub fn leads_out() -> io::Error {
    io::Error::new(io::ErrorKind::CrossesDevices, "it leads out of the project's directory")
}

fn only_file(kind: FileKind) -> io::Result<()> {
    match kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

fn too_large(max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", max >> 20))
}

fn kind_of(stat: &rustix::fs::Stat) -> FileKind {
    kind(FileType::from_raw_mode(stat.st_mode))
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    }
}

impl Tree for DiskTree {
    fn stat(&self, path: &str) -> io::Result<FileStat> {
        let stat = rustix::fs::fstat(self.resolve(path, OFlags::PATH)?)?;
        Ok(FileStat { kind: kind_of(&stat), identity: (stat.st_dev, stat.st_ino) })
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        // Opening a device can act: what is there is looked at before, and after, for it may be another thing by then.
        only_file(self.stat(path)?.kind)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags)?;
        only_file(kind_of(&rustix::fs::fstat(&file)?))?;
        let file = std::fs::File::from(file);
        let mut bytes = Vec::new();
        file.take(max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max { Err(too_large(max)) } else { Ok(bytes) }
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, FileKind)>> {
        let directory = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it in the directory.
                FileType::Unknown => match self.stat(&format!("{path}/{name}")) {
                    Ok(stat) => stat.kind,
                    Err(_) => FileKind::Link,
                },
                known => kind(known),
            };
            names.push((name, kind));
        }
        names.sort();
        Ok(names)
    }
}

/// Where there are no files: everything fails.
#[derive(Clone, Copy, Debug)]
pub struct NoTree;

impl NoTree {
    fn refuse<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the bakefile that names it came without files beside it"))
    }
}

impl Tree for NoTree {
    fn stat(&self, _: &str) -> io::Result<FileStat> {
        NoTree::refuse()
    }

    fn read(&self, _: &str, _: usize) -> io::Result<Vec<u8>> {
        NoTree::refuse()
    }

    fn list(&self, _: &str) -> io::Result<Vec<(String, FileKind)>> {
        NoTree::refuse()
    }
}

/// Files in memory, by their paths from the top; for tests.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree(pub BTreeMap<PathBuf, Vec<u8>>);

impl MemoryTree {
    /// Files and directories below `directory`, with the rest of their paths.
    fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a Path, FileKind)> {
        let files = self.0.keys().filter_map(move |path| path.strip_prefix(directory).ok());
        files.filter(|rest| rest.components().next().is_some()).map(|rest| match rest.components().count() {
            1 => (rest, FileKind::File),
            _ => (rest, FileKind::Directory),
        })
    }
}

impl Tree for MemoryTree {
    fn stat(&self, path: &str) -> io::Result<FileStat> {
        if path.starts_with('/') || path.starts_with("..") {
            return Err(leads_out());
        }
        match self.0.keys().position(|known| known == Path::new(path)) {
            Some(index) => Ok(FileStat { kind: FileKind::File, identity: (0, index as u64) }),
            None if path.is_empty() || self.below(path).next().is_some() => {
                Ok(FileStat { kind: FileKind::Directory, identity: (1, path.len() as u64) })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        match (self.stat(path)?.kind, self.0.get(Path::new(path))) {
            (FileKind::File, Some(bytes)) if bytes.len() <= max => Ok(bytes.clone()),
            (FileKind::File, Some(_)) => Err(too_large(max)),
            (kind, _) => Err(only_file(kind).err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, FileKind)>> {
        match self.stat(path)?.kind {
            FileKind::Directory => {}
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
        let first = |rest: &Path| rest.components().next().map(|name| name.as_os_str().to_string_lossy().into_owned());
        let names: BTreeMap<String, FileKind> =
            self.below(path).filter_map(|(rest, kind)| Some((first(rest)?, kind))).collect();
        Ok(names.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_is_refused_and_special_files_are_not_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let top = directory.path().join("top");
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        {
            std::fs::create_dir_all(top.join("sub")).expect("created");
            std::fs::write(directory.path().join("secret"), "outside").expect("written");
            std::fs::write(top.join("inside"), "inside").expect("written");
        }
        let links = [("../secret", "up"), ("/etc/passwd", "absolute"), ("../inside", "sub/in"), ("gone", "dangling")];
        for (target, name) in links {
            std::os::unix::fs::symlink(target, top.join(name)).expect("linked");
        }
        rustix::fs::mknodat(rustix::fs::CWD, top.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("made");
        let tree = DiskTree::open(&top).expect("opened");
        let why = |path: &str| tree.read(path, 100).expect_err(path).to_string();
        for path in ["up", "absolute", "../secret", "/etc/passwd", "sub/../../secret"] {
            assert_eq!(why(path), "it leads out of the project's directory", "{path}");
        }
        assert_eq!(why("fifo"), "it is no regular file");
        assert_eq!(why("sub"), "it is a directory");
        assert_eq!(tree.read("inside", 5).expect_err("large").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(tree.read("sub/in", 6).expect("a link that stays inside"), b"inside");
        assert_eq!(tree.stat("sub/in").expect("there"), tree.stat("inside").expect("there"));
        assert_eq!(tree.stat("dangling").expect_err("it leads nowhere").kind(), io::ErrorKind::NotFound);
        let names = tree.list("").expect("listed");
        let expected = [
            ("absolute", FileKind::Link),
            ("dangling", FileKind::Link),
            ("fifo", FileKind::Other),
            ("inside", FileKind::File),
            ("sub", FileKind::Directory),
            ("up", FileKind::Link),
        ];
        assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
