//! The ledger: how large every item is, so that the store's size is known without a walk.
//!
//! ```text
//! ledger:  "bake-ledger-1\n\0\0" (kind u8 · digest 32 · size u64, little-endian)*
//! ```
//! An item's last entry counts; size 0 says that it is gone. An entry is written before its item appears and after it is
//! gone, so a process that is killed leaves too large a sum and never too small a one; the next collection, and `du`, put
//! that right. Entries are added under the file's own lock, in which the limit is checked as well: two processes cannot
//! both take the last room. Cache mounts and git's repositories grow in place; they are measured when a process is done
//! with them.
//!
//! A size is that of the blocks on disk, directories included, as `du` counts.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::item::ItemKey;
use super::lease::lock;

const HEADER: &[u8; 16] = b"bake-ledger-1\n\0\0";

/// Bytes of an entry.
const ENTRY: usize = ItemKey::SIZE + 8;

/// The ledger of a store; read when something is first written.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    book: Mutex<Option<Book>>,
}

/// What was read of it so far.
#[derive(Debug)]
struct Book {
    file: File,
    offset: u64,
    sizes: HashMap<ItemKey, u64>,
    total: u64,
}

/// What became of an item that wanted room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is counted.
    Yes,
    /// It is not: the items of the store have this size together.
    Full(u64),
}

impl Ledger {
    pub(super) fn new(store: &Path) -> Ledger {
        Ledger { path: store.join("ledger"), book: Mutex::default() }
    }

    /// Says whether there is one; a store of an earlier bake has none.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Counts an item if all are then at most `limit` together. The caller is inside the gate.
    pub(super) fn enter(&self, key: ItemKey, size: u64, limit: u64) -> io::Result<Entered> {
        self.locked(|book| {
            let known = book.sizes.get(&key).copied().unwrap_or(0);
            if known == size {
                return Ok(Entered::Yes);
            }
            if size > known && book.total - known + size > limit {
                return Ok(Entered::Full(book.total));
            }
            book.write(&[(key, size)]).map(|()| Entered::Yes)
        })
    }

    /// Writes sizes as they are, whatever the limit.
    pub(super) fn correct(&self, sizes: &[(ItemKey, u64)]) -> io::Result<()> {
        self.locked(|book| {
            let known = |key: &ItemKey| book.sizes.get(key).copied().unwrap_or(0);
            let wrong: Vec<_> = sizes.iter().copied().filter(|(key, size)| known(key) != *size).collect();
            book.write(&wrong)
        })
    }

    /// Returns the size of all items together.
    pub(super) fn total(&self) -> io::Result<u64> {
        self.locked(|book| Ok(book.total))
    }

    /// Returns what is known of the items' sizes.
    pub(super) fn sizes(&self) -> io::Result<HashMap<ItemKey, u64>> {
        self.locked(|book| Ok(book.sizes.clone()))
    }

    /// Puts a new ledger in the place of what is there. The caller has the gate alone.
    pub(super) fn replace(&self, temporary: &Path, sizes: impl Iterator<Item = (ItemKey, u64)>) -> io::Result<()> {
        let mut bytes = HEADER.to_vec();
        for (key, size) in sizes {
            bytes.extend(entry(key, size));
        }
        std::fs::write(temporary, bytes)?;
        std::fs::rename(temporary, &self.path)?;
        *lock(&self.book) = None;
        Ok(())
    }

    /// Does `work` with all that is written by now, while nobody else writes.
    fn locked<T>(&self, work: impl FnOnce(&mut Book) -> io::Result<T>) -> io::Result<T> {
        let mut cell = lock(&self.book);
        loop {
            let book = match cell.as_mut() {
                Some(book) => book,
                None => cell.insert(Book::open(&self.path)?),
            };
            book.file.lock()?;
            // Another process may have put a new one in its place.
            if book.file.metadata()?.nlink() == 0 {
                *cell = None;
                continue;
            }
            let done = book.read().and_then(|()| work(book));
            book.file.unlock()?;
            return done;
        }
    }
}

impl Book {
    fn open(path: &Path) -> io::Result<Book> {
        let file = File::options().create(true).read(true).append(true).open(path)?;
        Ok(Book { file, offset: 0, sizes: HashMap::new(), total: 0 })
    }

    /// Reads what was added since the last time.
    fn read(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if self.offset == 0 {
            if size == 0 {
                self.file.write_all(HEADER)?;
            }
            self.offset = HEADER.len() as u64;
        }
        let mut bytes = vec![0; usize::try_from(size.saturating_sub(self.offset)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        for entry in bytes.chunks_exact(ENTRY) {
            let (key, size) = entry.split_at(ItemKey::SIZE);
            // What a power loss left of an entry is none.
            if let Some(key) = ItemKey::from_bytes(key) {
                self.set(key, u64::from_le_bytes(size.try_into().unwrap_or_default()));
            }
        }
        // A piece of an entry, of a process that was killed or a disk that was full, shifts none that follow.
        let torn = bytes.len() % ENTRY;
        if torn > 0 {
            self.file.write_all(&vec![0; ENTRY - torn])?;
        }
        self.offset += (bytes.len().next_multiple_of(ENTRY)) as u64;
        Ok(())
    }

    fn write(&mut self, sizes: &[(ItemKey, u64)]) -> io::Result<()> {
        let bytes: Vec<u8> = sizes.iter().flat_map(|(key, size)| entry(*key, *size)).collect();
        self.file.write_all(&bytes)?;
        self.offset += bytes.len() as u64;
        sizes.iter().for_each(|(key, size)| self.set(*key, *size));
        Ok(())
    }

    fn set(&mut self, key: ItemKey, size: u64) {
        let before = match size {
            0 => self.sizes.remove(&key),
            size => self.sizes.insert(key, size),
        };
        self.total = (self.total + size).saturating_sub(before.unwrap_or(0));
    }
}

fn entry(key: ItemKey, size: u64) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..ItemKey::SIZE].copy_from_slice(&key.to_bytes());
    bytes[ItemKey::SIZE..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// Bytes of a block in `stat`'s count, on every file system.
const BLOCK: u64 = 512;

/// Returns the bytes that `path` and all below it take of the disk. A file with several names counts where all of them
/// are below `path`: others count it themselves.
pub(super) fn measure(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let own = stat.st_blocks.unsigned_abs() * BLOCK;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(own);
    }
    let mut linked: HashMap<u64, Linked> = HashMap::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOATIME;
    let directory = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        // Only the owner may ask for it.
        Err(rustix::io::Errno::PERM) => rustix::fs::openat(CWD, path, flags - OFlags::NOATIME, Mode::empty())?,
        opened => opened?,
    };
    let below = measure_below(&directory, &mut linked)?;
    Ok(own + below + linked.values().filter(|file| file.n_seen >= file.n_links).map(|file| file.size).sum::<u64>())
}

/// A file of several names.
struct Linked {
    n_links: u64,
    n_seen: u64,
    size: u64,
}

fn measure_below(directory: &impl std::os::fd::AsFd, linked: &mut HashMap<u64, Linked>) -> io::Result<u64> {
    let mut sum = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A cache mount may be in use.
            Err(rustix::io::Errno::NOENT) => continue,
            stat => stat?,
        };
        let size = stat.st_blocks.unsigned_abs() * BLOCK;
        #[allow(clippy::useless_conversion, reason = "it has 32 bits on other architectures")]
        let n_links = u64::from(stat.st_nlink);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                sum += size;
                match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    Ok(below) => sum += measure_below(&below, linked)?,
                    Err(rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            _ if n_links > 1 => {
                linked.entry(stat.st_ino).or_insert(Linked { n_links, n_seen: 0, size }).n_seen += 1;
            }
            _ => sum += size,
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::super::item::ItemKind;
    use super::*;
    use crate::digest::Digest;

    fn key(name: &str) -> ItemKey {
        ItemKey::new(ItemKind::Blob, Digest::of(name.as_bytes()))
    }

    #[test]
    fn two_that_write_see_each_others_entries_and_share_the_limit() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (one, two) = (Ledger::new(directory.path()), Ledger::new(directory.path()));
        assert_eq!(one.enter(key("a"), 60, 100).expect("written"), Entered::Yes);
        assert_eq!(two.enter(key("b"), 60, 100).expect("written"), Entered::Full(60));
        assert_eq!(two.enter(key("b"), 40, 100).expect("written"), Entered::Yes);
        assert_eq!(one.total().expect("read"), 100);
        // What is there already takes no more room, and what is gone gives its room back.
        assert_eq!(one.enter(key("b"), 40, 10).expect("written"), Entered::Yes);
        two.correct(&[(key("a"), 0)]).expect("written");
        assert_eq!(one.total().expect("read"), 40);
        let temporary = directory.path().join("new");
        two.replace(&temporary, [(key("c"), 7)].into_iter()).expect("replaced");
        assert_eq!(one.total().expect("read"), 7);
        assert_eq!(one.sizes().expect("read"), HashMap::from([(key("c"), 7)]));
    }

    #[test]
    fn a_torn_entry_spoils_no_other() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ledger = Ledger::new(directory.path());
        ledger.enter(key("a"), 5, 100).expect("written");
        let mut file = File::options().append(true).open(directory.path().join("ledger")).expect("there");
        file.write_all(&entry(key("b"), 9)[..20]).expect("written");
        assert_eq!(ledger.enter(key("c"), 6, 100).expect("written"), Entered::Yes);
        assert_eq!(Ledger::new(directory.path()).total().expect("read"), 11);
    }

    #[test]
    fn a_file_of_several_names_counts_once_and_where_all_of_them_are() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (top, other) = (directory.path().join("top"), directory.path().join("other"));
        std::fs::create_dir(&top).expect("made");
        std::fs::write(top.join("a"), vec![1; 10_000]).expect("written");
        let alone = measure(&top).expect("measured");
        assert!(alone >= 10_000);
        std::fs::hard_link(top.join("a"), top.join("b")).expect("linked");
        assert_eq!(measure(&top).expect("measured"), alone);
        std::fs::hard_link(top.join("a"), &other).expect("linked");
        assert!(measure(&top).expect("measured") <= alone - 10_000);
    }
}
