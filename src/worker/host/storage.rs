//! The store's place: its disk, and whether overlayfs works on it.

use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, Surroundings};
use crate::store::{Store, StoreError};
use crate::sys::tree;

/// Free bytes below which a build of usual images will not end well.
const FEW_BYTES: u64 = 2 << 30;

/// `f_type` of an overlay (statfs(2)).
const OVERLAYFS: u64 = 0x794c_7630;

/// A store to try things in: the user's own, or, where there is none yet, one that is made beside its place for as long as
/// this is there.
pub(super) struct Place {
    pub(super) store: Store,
    /// Removed at the end.
    _temporary: Option<Temporary>,
}

struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = tree::remove(&self.0);
    }
}

impl Place {
    pub(super) fn open(path: &Path) -> Result<Place, StoreError> {
        if path.exists() {
            return Ok(Place { store: Store::open(path)?, _temporary: None });
        }
        let beside = path.ancestors().skip(1).find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let made = tempfile::Builder::new().prefix(".bake-doctor-").tempdir_in(beside);
        let made = made.map_err(|error| StoreError::io("make a directory in", beside, error))?.keep();
        let temporary = Temporary(made.clone());
        Ok(Place { store: Store::open(&made.join("store"))?, _temporary: Some(temporary) })
    }

    /// Says how much space is left; `shown` is where the store is to be.
    pub(super) fn disk(&self, shown: &Path) -> Finding {
        let shown = shown.display();
        let Ok(space) = rustix::fs::statvfs(self.store.path()) else {
            return Finding::limited("store", format!("{shown}: its file system does not say how much is free"));
        };
        let (free, total) = (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize);
        let text = format!("{shown}: {} of {} are free", gigabytes(free), gigabytes(total));
        let mend = "free space on that disk, or name a store on another one with --store DIR or BAKE_STORE";
        // File systems without a table of inodes say 0.
        if space.f_files > 0 && space.f_favail < 10_000 {
            let text =
                format!("{text}, but no more than {} files can be made: larger images will fail", space.f_favail);
            return Finding::limited("store", text).mend(mend);
        }
        if free < FEW_BYTES {
            return Finding::limited("store", format!("{text}: larger images will fail")).mend(mend);
        }
        Finding::ok("store", text)
    }

    /// Prepares a step's root file system and drops it.
    pub(super) fn overlay(&self, surroundings: &Surroundings) -> Finding {
        const PROBE: &str = "overlayfs";
        let error = match self.store.prepare(&[]) {
            Ok(_) => return Finding::ok(PROBE, "a root file system could be mounted from the store").vital(),
            Err(error) => error,
        };
        let kind = rustix::fs::statfs(self.store.path()).map(|stat| stat.f_type as u64).unwrap_or(0);
        let mend = if surroundings.is_old() {
            "boot Linux 6.8 or later"
        } else if kind == OVERLAYFS {
            "the store is on an overlay itself: name one on a disk or a volume with --store DIR or BAKE_STORE"
        } else {
            "name a store on ext4, XFS, Btrfs or tmpfs with --store DIR or BAKE_STORE; as root: modprobe overlay"
        };
        Finding::missing(PROBE, format!("{error}: no step runs")).vital().mend(mend)
    }
}

/// Says that there is no place for a store.
pub(super) fn unusable(path: &Path, error: &StoreError) -> Finding {
    let is_denied = matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    let mend = match is_denied {
        true => format!("give yourself {}, or name another store with --store DIR or BAKE_STORE", path.display()),
        false => "name another store with --store DIR or BAKE_STORE".to_owned(),
    };
    Finding::missing("store", format!("{error}: no build runs")).vital().mend(mend)
}

/// Shows bytes as disks are sold.
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
