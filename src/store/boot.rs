//! Power loss: nothing is synced while bake builds, because that costs more than most steps.
//!
//! What a killed process wrote is safe, since the kernel has it. When the machine itself stops, files that were renamed
//! into place may be there without their bytes. The kernel writes everything back within half a minute, so on the first
//! opening after a start of the machine all that was made in the last two minutes before the store was last written to is
//! dropped. Those who shut down in order lose a few cached steps, and nobody trusts half a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{StoreError, read_small};
use crate::sys::tree;

/// Seconds; the kernel's own limit is 30 by default (`vm.dirty_expire_centisecs`), and a writer runs every 5.
const GRACE: i64 = 120;

/// Directories whose entries appear by rename.
const GUARDED: [&str; 11] = [
    "blobs/sha256",
    "layers",
    "members",
    "snapshots",
    "records",
    "copies",
    "memos",
    "history",
    "listings",
    "checkouts",
    "state",
];

/// Drops what may not have reached the disk, if this is the first opening since the machine started.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn drop_unsynced(path: &Path) -> Result<(), StoreError> {
    let Some(boot) = read_small(Path::new("/proc/sys/kernel/random/boot_id")) else { return Ok(()) };
    let mark = path.join("boot");
    if read_small(&mark).as_ref() == Some(&boot) {
        return Ok(());
    }
    // Whoever else opens the store now waits, and then sees the mark.
    let lock_path = path.join("boot.lock");
    let lock = File::options().create(true).append(true).open(&lock_path);
    let failed = |error| StoreError::io("check", path, error);
    let lock = lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(failed)?;
    if read_small(&mark).as_ref() != Some(&boot) {
        let entries = entries(path).map_err(failed)?;
        let newest = entries.iter().map(|(_, changed)| *changed).max().unwrap_or(0);
        for (entry, _) in entries.iter().filter(|(_, changed)| is_suspect(*changed, newest)) {
            tree::remove(entry).map_err(|error| StoreError::io("remove", entry, error))?;
        }
        let fresh = path.join("boot.new");
        std::fs::write(&fresh, &boot).and_then(|()| std::fs::rename(&fresh, &mark)).map_err(failed)?;
    }
    drop(lock);
    Ok(())
}

/// Times are seconds since 1970.
fn is_suspect(changed: i64, newest: i64) -> bool {
    changed > newest - GRACE
}

/// Returns everything that appeared by rename, with the time at which it did.
fn entries(path: &Path) -> io::Result<Vec<(PathBuf, i64)>> {
    let mut entries = Vec::new();
    for directory in GUARDED {
        for entry in std::fs::read_dir(path.join(directory))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // A tree's own modification time is the image's; the time of its change is when it was put in place. That of a
            // file moves when it is used as well, which says nothing of its bytes; they were written just before it was
            // put in place.
            let made = if metadata.is_dir() { metadata.ctime() } else { metadata.mtime() };
            entries.push((entry.path(), made));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_two_minutes_are_in_doubt() {
        assert!(is_suspect(1000, 1000) && is_suspect(881, 1000));
        assert!(!is_suspect(880, 1000));
    }
}
