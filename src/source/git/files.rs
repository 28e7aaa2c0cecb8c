//! The files of a checkout before they are put in place.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// Gives all below `directory` the modification time `time`, seconds since 1970, and removes what ties submodules to
/// their repositories unless those are kept.
pub(super) fn settle(directory: &Path, time: i64, keeps_git: bool) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if !keeps_git && entry.file_name() == ".git" && kind.is_file() {
            std::fs::remove_file(entry.path())?;
            continue;
        }
        if kind.is_dir() {
            settle(&entry.path(), time, keeps_git)?;
        } else {
            set_time(&entry.path(), time)?;
        }
    }
    set_time(directory, time)
}

fn set_time(path: &Path, time: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
