//! Files as rows 1 to 3 see them: bytes by path.

#![expect(clippy::disallowed_methods, reason = "this is the edge that reads for the rows above")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Reads the user's files. Paths are as the user wrote them, relative to the directory that the command runs in.
pub trait Files {
    /// Returns the bytes of a regular file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file; other kinds as the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
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
        // A FIFO or device would block or never end.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        std::fs::read(path)
    }
}

/// Files in memory, for tests and for texts that came from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path: PathBuf = path.components().filter(|c| *c != std::path::Component::CurDir).collect();
        self.0.get(&path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
