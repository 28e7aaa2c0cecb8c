//! Leases: what running processes use, which nobody collects.
//!
//! Each process writes the keys of what it uses into its own lock file, `tmp/PID-N.lock`, before it looks whether the item
//! is there; the list counts as long as the process holds the lock, so it dies with it. Whoever writes a key holds the
//! gate, `collect.lock`, shared; who collects holds it alone. So a key that was written before a collection is seen by it,
//! and what a later one asks for is either still there or gone already.
//!
//! ```text
//! tmp/PID-N.lock:  "bake-leases-1\n" (kind u8 · digest 32)*
//! ```
//! A list without the first line is that of a bake that writes none: nothing is collected while that one runs.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::item::ItemKey;
use super::{Store, StoreError};

pub(super) const HEADER: &[u8] = b"bake-leases-1\n";

/// Seconds. A use is written down as an item's time where the last one is older: often enough to tell what was used long ago, and
/// seldom enough to cost a build that does nothing nothing.
const FRESH: i64 = 600;

/// The lock that those who write leases share and those who collect have alone.
#[derive(Debug)]
pub(super) struct Gate {
    file: File,
    /// How many threads of this process are inside; the lock is the process's.
    n_inside: Mutex<usize>,
}

impl Gate {
    pub(super) fn open(store: &Path) -> io::Result<Gate> {
        let file = File::options().create(true).append(true).open(store.join("collect.lock"))?;
        Ok(Gate { file, n_inside: Mutex::new(0) })
    }

    /// Does short work while nobody collects.
    pub(super) fn inside<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut n_inside = lock(&self.n_inside);
        if *n_inside == 0 {
            self.file.lock_shared()?;
        }
        *n_inside += 1;
        drop(n_inside);
        let done = work();
        let mut n_inside = lock(&self.n_inside);
        *n_inside -= 1;
        if *n_inside == 0 {
            self.file.unlock()?;
        }
        done
    }

    /// Waits until nobody is inside, and keeps everybody out until the file is dropped.
    pub(super) fn alone(store: &Path) -> io::Result<File> {
        let file = File::options().create(true).append(true).open(store.join("collect.lock"))?;
        file.lock()?;
        Ok(file)
    }
}

/// Whether an item that is leased is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    There,
    /// It is about to be put in place, or was asked for.
    NotYet,
}

/// The leases of this process.
#[derive(Debug)]
pub(super) struct Leases {
    /// This process's lock file.
    list: File,
    /// When it was made, seconds since 1970: what is now, for the little that depends on it.
    begin: i64,
    /// What is in it, and whether the item was seen to be there since: then it stays.
    held: Mutex<HashMap<ItemKey, Seen>>,
}

impl Leases {
    /// Begins the list in the lock file `list`.
    pub(super) fn begin(mut list: File) -> io::Result<Leases> {
        list.write_all(HEADER)?;
        let begin = seconds(list.metadata()?.modified()?);
        Ok(Leases { list, begin, held: Mutex::default() })
    }

    fn has_seen(&self, key: ItemKey) -> bool {
        lock(&self.held).get(&key) == Some(&Seen::There)
    }

    /// Writes the key down. The caller is inside the gate.
    pub(super) fn add(&self, key: ItemKey) -> io::Result<()> {
        if lock(&self.held).contains_key(&key) {
            return Ok(());
        }
        // One write each: threads do not tear each other's apart.
        (&self.list).write_all(&key.to_bytes())?;
        lock(&self.held).entry(key).or_insert(Seen::NotYet);
        Ok(())
    }

    /// The item was removed by this process itself.
    pub(super) fn forget(&self, key: ItemKey) {
        if let Some(seen) = lock(&self.held).get_mut(&key) {
            *seen = Seen::NotYet;
        }
    }
}

/// What all running processes use.
#[derive(Debug, Default)]
pub(super) struct LiveLeases {
    pub(super) keys: HashSet<ItemKey>,
    /// A running process does not say what it uses.
    pub(super) has_silent: bool,
}

impl LiveLeases {
    /// Reads the lists of all processes that run. The caller has the gate alone.
    pub(super) fn read(store: &Path) -> io::Result<LiveLeases> {
        LiveLeases::read_but(store, None)
    }

    /// As [`LiveLeases::read`], without the list `own`.
    pub(super) fn read_but(store: &Path, own: Option<&Path>) -> io::Result<LiveLeases> {
        let mut live = LiveLeases::default();
        for entry in std::fs::read_dir(store.join("tmp"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "lock") || own == Some(path.as_path()) {
                continue;
            }
            let Ok(mut list) = File::open(&path) else { continue };
            if !matches!(list.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
                continue;
            }
            let mut bytes = Vec::new();
            list.read_to_end(&mut bytes)?;
            match bytes.strip_prefix(HEADER) {
                Some(keys) => live.keys.extend(keys.chunks(ItemKey::SIZE).filter_map(ItemKey::from_bytes)),
                None => live.has_silent = true,
            }
        }
        Ok(live)
    }
}

impl Store {
    /// Says whether the item is there, and keeps it there for as long as this process runs.
    pub(super) fn lease(&self, key: ItemKey) -> bool {
        if self.leases.has_seen(key) {
            return true;
        }
        let path = self.item_path(key);
        // The list is not made longer by what is not there.
        let is_there = |path: &Path| rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok();
        if is_there(&path).is_none() || self.hold(key).is_err() {
            return false;
        }
        match is_there(&path) {
            Some(stat) => {
                lock(&self.leases.held).insert(key, Seen::There);
                self.note_use(key, &path, stat.st_atime);
                true
            }
            None => false,
        }
    }

    /// Leases an item that need not be there yet.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn hold(&self, key: ItemKey) -> Result<(), StoreError> {
        let held = self.gate.inside(|| self.leases.add(key));
        held.map_err(|error| StoreError::io("lease", &self.item_path(key), error))
    }

    /// Notes that an item was used, unless that is known; best effort. The times of the directories of the store are the
    /// image's or everybody's who lists them, so a tree has a file of its own for it.
    pub(super) fn note_use(&self, key: ItemKey, path: &Path, last: i64) {
        let is_fresh = |last: i64| last > self.leases.begin - FRESH;
        let mark = self.use_mark(key);
        let (path, made) = match key.kind.is_tree() {
            false if is_fresh(last) => return,
            false => (path, false),
            true => match rustix::fs::statat(CWD, &mark, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_fresh(stat.st_mtime) => return,
                Ok(_) => (mark.as_path(), false),
                Err(_) => (mark.as_path(), File::create(&mark).is_ok()),
            },
        };
        if !made {
            let mut times = just_now();
            // When a file was made must stay: see `boot`.
            if !key.kind.is_tree() {
                times.last_modification.tv_nsec = UTIME_OMIT;
            }
            _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
    }

    /// Returns the file whose modification time is when a tree was used last.
    pub(super) fn use_mark(&self, key: ItemKey) -> std::path::PathBuf {
        self.path.join("uses").join(format!("{}-{}", key.kind.name(), key.digest.hex()))
    }

    /// Notes the use of a text that is read whole, and so needs no lease.
    pub(super) fn note_read(&self, key: ItemKey) {
        let path = self.item_path(key);
        if let Ok(stat) = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
            self.note_use(key, &path, stat.st_atime);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns what the kernel takes for the current time.
pub(super) fn just_now() -> Timestamps {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Timestamps { last_access: now, last_modification: now }
}

/// Returns seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
