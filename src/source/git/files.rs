//! The files of a checkout before they are put in place.
//!
//! Two checkouts of a commit have equal files. With `.git` they need not: how git packs objects depends on its version and on
//! what the remote sent, and a submodule's index has inodes and times in it. The peer's differ there too, and in the index.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};

use crate::remote::GitUrl;

/// Takes the user and password of a remote's URL out of the configurations that git keeps below `git_dir`, where it wrote
/// it for submodules whose URL is relative.
pub(super) fn redact(git_dir: &Path, url: &GitUrl) -> io::Result<()> {
    let user = |remote: &str| remote.split_once("://").and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0.to_owned()));
    let (Some(secret), Some(shown)) = (user(&url.remote), user(&url.shown_remote())) else { return Ok(()) };
    if secret == shown {
        return Ok(());
    }
    for entry in std::fs::read_dir(git_dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != "objects" {
            redact(&entry.path(), url)?;
        } else if kind.is_file() && entry.file_name() == "config" {
            let text = std::fs::read_to_string(entry.path())?;
            std::fs::write(entry.path(), text.replace(&format!("{secret}@"), &format!("{shown}@")))?;
        }
    }
    Ok(())
}

/// Gives all below `directory` the modification time `time`, seconds since 1970, and removes what ties submodules to
/// their repositories unless those are kept.
pub(super) fn settle(directory: &Path, time: i64, keeps_git: bool) -> io::Result<()> {
    // Those that git made are so already; the top one is this process's.
    rustix::fs::chmod(directory, Mode::from_raw_mode(0o755))?;
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
