//! The files of a checkout before they are put in place.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// Returns the directory `subdir` of `tree`, whose components are directories and no links to such.
pub(super) fn directory(tree: &Path, subdir: &str) -> Result<PathBuf, String> {
    let mut path = tree.to_owned();
    for name in subdir.split('/').filter(|name| !name.is_empty()) {
        path.push(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => return Err(format!("`{name}` is a symbolic link")),
            Ok(_) => return Err(format!("`{name}` is no directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(format!("there is no `{name}`")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(path)
}

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
