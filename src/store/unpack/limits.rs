//! What an archive may become at most: a small one can say of itself that it is larger than any disk.

use std::io;

use super::UnpackError;
use crate::sys::root::Root;

/// Bytes of a file system that an archive leaves free, where it would not take less than half of what is free.
const RESERVE: u64 = 1 << 30;

/// Entries that an archive may have where the file system does not count its files.
const MAX_ENTRIES: u64 = 10_000_000;

/// Bytes that the smallest file takes of a disk.
const BLOCK: u64 = 4096;

/// What an archive may become at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files.
    pub size: u64,
    /// Entries.
    pub n_entries: u64,
}

impl Limits {
    /// Returns limits that leave room in the file system that `root` is in.
    ///
    /// # Errors
    /// The file system does not say how large it is.
    pub fn of_room(root: &Root) -> io::Result<Limits> {
        let room = rustix::fs::fstatvfs(root)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        // Some file systems have as many files as they have room for, and say 0.
        let n_free = if room.f_files == 0 { MAX_ENTRIES } else { room.f_favail };
        let size = free.saturating_sub(RESERVE).max(free / 2);
        Ok(Limits { size, n_entries: n_free.min(MAX_ENTRIES).min(size / BLOCK) })
    }
}

/// What the operating system would say in the end.
fn no_space() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

/// What is left of the [`Limits`].
pub(super) struct Budget {
    limits: Limits,
    size: u64,
    n_entries: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Budget {
        Budget { limits, size: 0, n_entries: 0 }
    }

    /// Counts an entry of `size` bytes before it is written.
    pub(super) fn spend(&mut self, size: u64) -> Result<(), UnpackError> {
        self.size = self.size.saturating_add(size);
        self.n_entries += 1;
        let Limits { size, n_entries } = self.limits;
        match () {
            () if self.size > size => Err(UnpackError::TooLarge { limit: size, source: no_space() }),
            () if self.n_entries > n_entries => Err(UnpackError::TooMany { limit: n_entries, source: no_space() }),
            () => Ok(()),
        }
    }
}
