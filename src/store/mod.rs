//! The store: everything that bake keeps on this machine. Safe to delete at any time when no bake runs.
//!
//! ```text
//! DIR/                       0700, owned by the user who builds
//! ├── version                "2\n"; a store of another version is refused
//! ├── limit                  how large the store may become, if somebody wrote it (see `limit`)
//! ├── ledger                 the size of every item (see `ledger`)
//! ├── collect.lock           shared by who leases an item, alone who collects garbage (see `lease`, `collect`)
//! ├── boot, boot.lock        the start of the machine that the store was last opened in (see `boot`)
//! ├── blobs/sha256/HEX       blobs by digest: documents, compressed layers
//! ├── layers/HEX             by diff id: which blobs hold the layer, and which repositories have them
//! ├── snapshots/HEX/fs/      by chain id: the layer on top of that stack, as overlayfs has it
//! ├── snapshots/HEX/over     the chain id of the snapshot that this one only says the differences to
//! ├── snapshots/HEX/marks    states of the hash of a copied layer, so that the next one that begins the same goes on from there
//! ├── records/HEX            by cache key: the stack that a step made
//! ├── members/HEX            by a compressed layer's digest: the pieces that it is made of (see `compress::index`)
//! ├── copies/HEX             by the name of a COPY of a large directory: the layer that it made last, and of what
//! ├── memos/HEX              texts that were costly to find, such as the packages in a root file system
//! ├── history/HEX            by project, target and platform: which steps the last build was made of
//! ├── listings/HEX/HEX       by what is selected of a directory, then by its digest: the files, with digest and mode
//! ├── mounts/HEX[.N]/        cache mounts by their id, which HEX.N.lock says
//! ├── checkouts/HEX/         files of a git commit or an archive, or one downloaded file, by what was asked for
//! ├── git/HEX, HEX.lock      by remote: a bare repository that fetches add to
//! ├── emulators/qemu-NAME    emulators of `bake emulator install`, for this user's builds alone
//! ├── state/NAME             what a later run starts from: the stat cache, what steps took, what is known of a URL, what registries have
//! ├── state/release-HEX      by project: how far a release that did not end came (see `journal`)
//! ├── uses/KIND-HEX          when a snapshot or a checkout was used last: the time of an empty file
//! ├── empty/                 an empty directory, the lowest layer of every stack
//! └── tmp/PID-N/             a running process's temporaries; tmp/PID-N.lock, which it locks, lists its leases
//! ```
//!
//! Everything but a cache mount and git's own appears under its name by one rename, complete, so a process that is killed leaves only
//! its temporaries, which the next one to open the store removes. Records, memos, `layers`, `copies`, `history`, `listings` and
//! `state` are sealed
//! (see `seal`); what is damaged all the same is noticed and made anew (see `damage`). Several processes may use it at once: two that make
//! the same thing make the same bytes, and whoever renames second finds it there.
//!
//! | store | this bake | an earlier bake of version 2 |
//! |---|---|---|
//! | version 2 without `ledger`, `uses` | counts it once, when it first writes | – |
//! | version 2 | – | works, and counts nothing: `du` and the next collection put that right; while it runs, nothing is collected |
//! | version 1, or 3 and later | refuses it and says what to do | the same |

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

pub mod archive;
mod blob;
mod boot;
mod cache_mount;
mod cache_mount_archive;
mod checkout;
mod collect;
mod compress;
mod damage;
pub mod diff;
mod discard;
mod emulators;
mod history;
mod inventory;
mod item;
mod journal;
mod layer;
mod lease;
mod ledger;
mod limit;
mod lock_wait;
mod merge;
mod record;
mod seal;
mod snapshot;
pub mod unpack;
mod verify;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::UNIX_EPOCH;

use crate::digest::{DiffId, Digest};
use crate::sys::interrupt::Leftover;
use crate::sys::tree;

use discard::Discard;
use item::ItemKey;
use lease::{Gate, Leases};
use ledger::Ledger;

pub use crate::oci::Compression;
pub use blob::BlobWriter;
pub use cache_mount::{CacheMountLease, CacheMountRequest};
pub use cache_mount_archive::HeldCacheMount;
pub use checkout::{CheckoutBuilder, GitCache};
pub use collect::{Collected, Decision, Verdict, Wish, decide};
pub use inventory::{Inventory, Item, Sizes};
pub use item::{ItemId, ItemKind};
pub use journal::Journal;
pub use layer::{LayerBlob, LayerRecord};
pub use limit::{Size, StoreLimit, parse_size};
pub use record::CacheRecord;
pub use snapshot::ActiveSnapshot;
pub use unpack::UnpackError;
pub use verify::{Damage, Verified};

/// The layout of the directory that this bake reads and writes.
const VERSION: &str = "2\n";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("the store cannot {verb} {path}: {source}")]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes are not what their digest says.
    #[error("expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Something in the store was not what it had been. It was taken away, so that the next attempt makes it anew.
    #[error("{what} in the store was damaged")]
    Damaged {
        /// What it was.
        what: String,
    },
    /// A layer's snapshot is not there.
    #[error("the store has no snapshot for layer {0}")]
    NoSnapshot(DiffId),
    /// A layer could not be unpacked.
    #[error("layer {diff_id}: {source}")]
    Unpack {
        /// Which.
        diff_id: DiffId,
        /// Why.
        source: UnpackError,
    },
    /// There is no room for more.
    #[error(
        "the store is full: {} of its limit of {} are in use, and {} more are wanted; give it more with --store-limit",
        Size(*.n_used), Size(*.limit), Size(*.n_wanted)
    )]
    Full {
        /// Bytes that it may have.
        limit: u64,
        /// Bytes that it has, when all is collected that nobody uses.
        n_used: u64,
        /// Bytes of what was to be put into it.
        n_wanted: u64,
    },
    /// The directory is not one that bake may use.
    #[error("{path} cannot be the store: {reason}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { verb, path: path.to_owned(), source }
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// This process's own directory for temporaries.
    temporaries: PathBuf,
    next: AtomicU64,
    health: damage::Health,
    /// Holds the lock that says that the temporaries are in use.
    leases: Leases,
    gate: Gate,
    ledger: Ledger,
    given_limit: Option<StoreLimit>,
    /// Found when something is first written.
    limit: OnceLock<u64>,
    overhead: OnceLock<u64>,
    is_counted: OnceLock<()>,
    /// What this process let grow in its place: cache mounts, git's repositories, listings. Protects the set alone.
    grown: Mutex<BTreeSet<ItemId>>,
    discard: Discard,
    /// Removes the temporaries where this process does not come to its end.
    _leftovers: [Leftover; 2],
}

impl Store {
    /// Opens the store at `path`, absolute; makes it if it is not there, and removes what killed processes left.
    ///
    /// # Errors
    /// Another user owns the directory, another version made it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let unusable = |reason: &str| StoreError::Unusable { path: path.to_owned(), reason: reason.to_owned() };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|error| StoreError::io("create", path, error))?;
        let metadata = std::fs::metadata(path).map_err(|error| StoreError::io("read", path, error))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unusable("it belongs to another user"));
        }
        // What is no store must not lose its mode or gain files: the path may be a typing mistake.
        let is_new = match std::fs::read_to_string(path.join("version")) {
            Ok(version) if version == VERSION => false,
            Ok(version) => return Err(unusable(&other_version(&version))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(StoreError::io("read", &path.join("version"), error)),
        };
        if is_new && has_others_files(path).map_err(|error| StoreError::io("read", path, error))? {
            return Err(unusable("it holds other files"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(path, private).map_err(|error| StoreError::io("protect", path, error))?;
        }
        if is_new {
            make_layout(path)?;
        }
        // A store of an earlier bake has no such directories.
        for name in ["checkouts", "git", "history", "listings", "uses"].map(|name| path.join(name)) {
            std::fs::create_dir_all(&name).map_err(|error| StoreError::io("create", &name, error))?;
        }
        boot::drop_unsynced(path)?;
        let gate = Gate::open(path).map_err(|error| StoreError::io("open", &path.join("collect.lock"), error))?;
        // A list that is locked and empty would be that of a bake that writes none.
        let mut failed = None;
        let begun = gate.inside(|| match own_temporaries(path) {
            Ok((temporaries, list)) => Ok((temporaries, Leases::begin(list)?)),
            Err(error) => Err(io::Error::other({
                failed = Some(error);
                "no temporaries"
            })),
        });
        let (temporaries, leases) =
            begun.map_err(|error| failed.unwrap_or_else(|| StoreError::io("lock", path, error)))?;
        sweep(&path.join("tmp"));
        let leftovers = [Leftover::note(&temporaries), Leftover::note(&temporaries.with_extension("lock"))];
        Ok(Store {
            path: path.to_owned(),
            temporaries,
            next: AtomicU64::new(0),
            health: damage::Health::default(),
            leases,
            gate,
            ledger: Ledger::new(path),
            given_limit: None,
            limit: OnceLock::new(),
            overhead: OnceLock::new(),
            is_counted: OnceLock::new(),
            grown: Mutex::default(),
            discard: Discard::default(),
            _leftovers: leftovers,
        })
    }

    /// Gives the store a limit other than its own.
    #[must_use]
    pub fn with_limit(mut self, limit: Option<StoreLimit>) -> Store {
        self.given_limit = limit;
        self
    }

    /// Returns the store's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what [`Store::write_state`] wrote.
    pub fn read_state(&self, name: &str) -> Option<Vec<u8>> {
        read_sealed(&self.path.join("state").join(name))
    }

    /// Keeps `bytes` under a fixed name for a later run.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_file(&self.path.join("state").join(name), bytes)
    }

    /// Returns a fresh directory that only this user may enter, gone with the value or with this process.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn private_directory(&self) -> Result<tempfile::TempDir, StoreError> {
        let made = tempfile::Builder::new().prefix("private").tempdir_in(&self.temporaries);
        made.map_err(|error| StoreError::io("create a directory in", &self.temporaries, error))
    }

    /// Returns an empty store of its own among the temporaries of this one; it is gone when this one is closed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn nested(&self) -> Result<Store, StoreError> {
        Store::open(&self.temporary())
    }

    /// Returns a fresh path for a temporary, below this process's own directory.
    fn temporary(&self) -> PathBuf {
        self.temporaries.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Puts a small item in place at once, [sealed](seal).
    fn write_item(&self, key: ItemKey, bytes: &[u8]) -> Result<(), StoreError> {
        let (temporary, path) = (self.temporary(), self.item_path(key));
        let failed = |error| StoreError::io("write", &path, error);
        let write = || -> io::Result<u64> {
            let mut file = File::create_new(&temporary)?;
            file.write_all(&seal::seal(bytes))?;
            Ok(inventory::blocks(&file.metadata()?))
        };
        let admitted = write().map_err(failed).and_then(|size| self.admit(key, size));
        match (admitted, key.kind) {
            (Ok(()), _) => std::fs::rename(&temporary, &path).map_err(failed),
            // What saves time or explains is left out where there is no room for it.
            (Err(StoreError::Full { .. }), ItemKind::Memo | ItemKind::Copy | ItemKind::History) => {
                _ = std::fs::remove_file(&temporary);
                Ok(())
            }
            (Err(error), _) => {
                _ = std::fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// Puts a small file in place at once, [sealed](seal).
    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.temporary();
        let write = || -> io::Result<()> {
            File::create_new(&temporary)?.write_all(&seal::seal(bytes))?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|error| StoreError::io("write", path, error))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What is not counted now is counted by the next collection.
        _ = self.count_grown();
        self.discard.finish();
        _ = tree::remove(&self.temporaries);
        _ = std::fs::remove_file(self.temporaries.with_extension("lock"));
    }
}

const LAYOUT: [&str; 16] = [
    "blobs/sha256",
    "layers",
    "members",
    "snapshots",
    "records",
    "copies",
    "memos",
    "history",
    "listings",
    "mounts",
    "checkouts",
    "git",
    "uses",
    "state",
    "empty",
    "tmp",
];

/// Says why a store of another version cannot be used, and what to do.
fn other_version(version: &str) -> String {
    let (theirs, ours) = (version.trim(), VERSION.trim());
    let is_newer = matches!((theirs.parse::<u64>(), ours.parse::<u64>()), (Ok(theirs), Ok(ours)) if theirs > ours);
    let mend = match is_newer {
        true => "use the newer bake that made it, or name another directory with --store or BAKE_STORE",
        false => "remove it, for it holds nothing that cannot be made again, or name another directory with --store",
    };
    format!("its version is {theirs}, this bake's is {ours}; {mend}")
}

/// Says whether the directory, which has no version, holds what no half-made store holds.
fn has_others_files(path: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let is_ours = |known: &&str| known.split('/').next().is_some_and(|known| name == known);
        // Another process may finish making the store while this one looks.
        let is_mark = name == "version" || name.to_string_lossy().starts_with("boot");
        if !is_mark && !LAYOUT.iter().any(is_ours) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn make_layout(path: &Path) -> Result<(), StoreError> {
    for name in LAYOUT {
        let path = path.join(name);
        std::fs::create_dir_all(&path).map_err(|error| StoreError::io("create", &path, error))?;
    }
    // The root directory of an image that says nothing of it: the same on every machine.
    let empty = path.join("empty");
    let failed = |error| StoreError::io("protect", &empty, error);
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    File::open(&empty).and_then(|empty| empty.set_modified(UNIX_EPOCH)).map_err(failed)?;
    // Complete or not there: another process that opens the store at the same time reads it.
    let version = path.join("version");
    let write = || -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(path.join("tmp"))?;
        temporary.write_all(VERSION.as_bytes())?;
        temporary.persist(&version)?;
        Ok(())
    };
    write().map_err(|error| StoreError::io("write", &version, error))
}

/// Makes this process's directory for temporaries and locks it. Between making the lock file and locking it, another
/// process may take it for a dead one's and remove it; then this one takes the next.
fn own_temporaries(path: &Path) -> Result<(PathBuf, File), StoreError> {
    for n in 0..u64::MAX {
        let directory = path.join("tmp").join(format!("{}-{n}", std::process::id()));
        let lock_path = directory.with_extension("lock");
        let lock = match File::create_new(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(StoreError::io("create", &lock_path, error)),
        };
        lock.lock().map_err(|error| StoreError::io("lock", &lock_path, error))?;
        if is_unlinked(&lock) {
            continue;
        }
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok((directory, lock)),
            // What could not be removed is left of an earlier process of this id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(StoreError::io("create", &directory, error)),
        }
    }
    unreachable!("a directory has fewer entries")
}

/// Removes the temporaries of processes that are gone: those whose lock nobody holds. Best effort: what cannot be removed
/// now is removed later.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        // Once it is unlinked, the name may be a living process's that has the same id.
        if lock.try_lock().is_ok() && !is_unlinked(&lock) && tree::remove(&path.with_extension("")).is_ok() {
            _ = std::fs::remove_file(&path);
        }
    }
}

fn is_unlinked(lock: &File) -> bool {
    lock.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Reads what [`Store::write_file`] wrote; `None` where it is not there or damaged.
fn read_sealed(path: &Path) -> Option<Vec<u8>> {
    seal::unseal(std::fs::read(path).ok()?)
}

/// Reads a small file whole; `None` where it is not there or cannot be read.
fn read_small(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}
