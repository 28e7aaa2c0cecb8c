//! Files as rows 1 to 3 see them: bytes by path.

#![expect(clippy::disallowed_methods, reason = "this is the edge that reads for the rows above")]

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::beneath::{DiskTree, MemoryTree, NoTree, Tree};

/// Reads the user's files. Paths are as the user wrote them, relative to the directory that the command runs in.
pub trait Files {
    /// Returns the bytes of a regular file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file; other kinds as the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Returns the bytes of a regular file of at most `max_size` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` if it has more, and what [`Files::read`] says.
    fn read_at_most(&self, path: &Path, max_size: usize) -> io::Result<Vec<u8>> {
        self.read(path).and_then(|bytes| if bytes.len() > max_size { Err(too_large(max_size)) } else { Ok(bytes) })
    }

    /// Returns the names of the files in the directory that `path` is or would be in, sorted, to say which of them was
    /// meant; none where they cannot be listed.
    fn neighbors(&self, _path: &Path) -> Vec<String> {
        Vec::new()
    }

    /// Opens the tree at a directory, for paths that must not lead out of it.
    ///
    /// # Errors
    /// There is no such directory.
    fn tree(&self, _directory: &Path) -> io::Result<Box<dyn Tree>> {
        Ok(Box::new(NoTree))
    }
}

/// The disk below a directory.
#[derive(Clone, Debug)]
pub struct DiskFiles {
    directory: PathBuf,
}

impl DiskFiles {
    /// Reads relative paths below `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> DiskFiles {
        DiskFiles { directory: directory.into() }
    }
}

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.directory.join(path);
        regular(&path)?;
        std::fs::read(path)
    }

    fn read_at_most(&self, path: &Path, max_size: usize) -> io::Result<Vec<u8>> {
        let path = self.directory.join(path);
        regular(&path)?;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(max_size as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max_size { Err(too_large(max_size)) } else { Ok(bytes) }
    }

    fn neighbors(&self, path: &Path) -> Vec<String> {
        let path = self.directory.join(path);
        let entries = path.parent().and_then(|directory| std::fs::read_dir(directory).ok()).into_iter().flatten();
        let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
        let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn tree(&self, directory: &Path) -> io::Result<Box<dyn Tree>> {
        Ok(Box::new(DiskTree::open(&self.directory.join(directory))?))
    }
}

/// Says that a path leads to a regular file: a FIFO or device would block or never end.
fn regular(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)? {
        metadata if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        metadata if !metadata.is_file() => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        _ => Ok(()),
    }
}

fn too_large(max_size: usize) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", max_size >> 20))
}

/// Files in memory, for tests and for texts that came from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path: PathBuf = path.components().filter(|c| *c != std::path::Component::CurDir).collect();
        self.0.get(&path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn tree(&self, directory: &Path) -> io::Result<Box<dyn Tree>> {
        let directory: PathBuf = directory.components().filter(|c| *c != std::path::Component::CurDir).collect();
        let below =
            |(path, bytes): (&PathBuf, &Vec<u8>)| Some((path.strip_prefix(&directory).ok()?.to_owned(), bytes.clone()));
        Ok(Box::new(MemoryTree(self.0.iter().filter_map(below).collect())))
    }
}
