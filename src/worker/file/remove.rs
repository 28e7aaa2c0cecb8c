//! Removing what is in a root.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::select::{Kind, open_directory, sorted_names, stat_at, wildcard_matches};
use super::write::split;
use super::{FileError, SourceTree, io_error, shown};
use crate::dockerfile::ignore;
use crate::graph::SourceNaming;
use crate::sys::root::Root;

/// What becomes of a path that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Allowed,
    /// An error.
    Refused,
}

/// Removes `path` and all beneath it, or all that it matches. A link at the path itself is removed, not followed.
///
/// # Errors
/// `NotFound` where `missing` says so and no wildcard is in `path`; `DirectoryInTheWay` for the top.
pub fn remove(root: &Root, path: &str, naming: SourceNaming, missing: Missing) -> Result<(), FileError> {
    let cleaned = ignore::clean(&format!("/{path}"));
    let source = cleaned.trim_start_matches('/');
    if naming == SourceNaming::Patterns && ignore::has_wildcard(source) {
        return wildcard_matches(&SourceTree::Rootfs { root }, source)?
            .iter()
            .try_for_each(|path| remove_one(root, path, Missing::Allowed));
    }
    remove_one(root, Path::new(source), missing)
}

fn remove_one(root: &Root, path: &Path, missing: Missing) -> Result<(), FileError> {
    let not_found = || match missing {
        Missing::Allowed => Ok(()),
        Missing::Refused => Err(FileError::NotFound { path: shown(path), place: "the root file system" }),
    };
    let (parent, name) = split(path)?;
    let parent: PathBuf = root.follow(parent).map_err(io_error("resolve", path))?;
    let directory = match root.open_parent(&parent.join(name)) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return not_found();
        }
        result => result.map_err(io_error("open", path))?.0,
    };
    match remove_tree(&directory, name) {
        Err(Errno::NOENT) => not_found(),
        result => result.map_err(io_error("remove", path)),
    }
}

/// Removes what has the name `name` in `directory` unless that is a directory that one of `kind` can be merged with.
pub(super) fn clear(directory: &OwnedFd, name: &OsStr, kind: Kind) -> Result<(), Errno> {
    match stat_at(directory, Some(Path::new(name))) {
        Ok(stat) if kind == Kind::Directory && FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir() => Ok(()),
        Ok(_) => remove_tree(directory, name),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_tree(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        result => return result,
    }
    let directory = open_directory(parent, Some(name))?;
    for name in sorted_names(&directory)? {
        remove_tree(&directory, &name)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes what it removes")]
mod tests {
    use super::*;
    use crate::graph::{CopyAction, FileAction, FileOp, Id, InputIndex, Owner};
    use crate::worker::file::execute;

    /// Carries out `actions` on a root with some files; returns what is left, sorted, or the error.
    fn left(actions: Vec<FileAction>) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("d/sub")).expect("created");
        for name in ["a.o", "b.o", "d/x", "d/sub/y", "keep"] {
            std::fs::write(path(name), name).expect("written");
        }
        std::os::unix::fs::symlink("/keep", path("link")).expect("linked");
        let root = Root::open(directory.path()).expect("opened");
        let op = FileOp { root: None, actions };
        let source = |_| Some(SourceTree::Rootfs { root: &root });
        execute(&op, &source, &root, 0).map_err(|error| error.to_string())?;
        let names = std::fs::read_dir(directory.path()).expect("listed");
        let mut names: Vec<String> =
            names.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn rm(path: &str, allow_not_found: bool, allow_wildcard: bool) -> FileAction {
        FileAction::Rm { path: path.to_owned(), allow_not_found, allow_wildcard }
    }

    #[test]
    fn paths_and_what_matches_are_removed_and_links_are_not_followed() {
        let left = |path: &str| left(vec![rm(path, false, true)]);
        assert_eq!(left("/d").expect("removed"), ["a.o", "b.o", "keep", "link"]);
        assert_eq!(left("/*.o").expect("removed"), ["d", "keep", "link"]);
        assert_eq!(left("/link").expect("removed"), ["a.o", "b.o", "d", "keep"]);
        assert_eq!(left("/../../keep").expect("removed"), ["a.o", "b.o", "d", "link"]);
        assert_eq!(left("/none").expect_err("not there"), "no file or directory `/none` in the root file system");
        assert_eq!(left("/").expect_err("the top"), "cannot replace directory `/` with a file");
    }

    #[test]
    fn a_link_is_made_and_a_copy_may_take_the_place_of_anything() {
        let id = |id: u32| Some(Id::Number(id));
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = Some(Owner { user: id(me.0), group: id(me.1) });
        let new = FileAction::Symlink { target: "../../x".to_owned(), path: "/new".to_owned(), owner: owner.clone() };
        assert_eq!(left(vec![new.clone()]).expect("made").len(), 6);
        // As the peer: the second is made where the first one leads.
        assert_eq!(left(vec![new.clone(), new]).expect("made").len(), 7);
        // The directory `d` gives way to the file `a.o`.
        let source = SourceNaming::Literal;
        let copy = CopyAction { naming: source, owner, ..CopyAction::new(InputIndex(0), "/d/sub", "/to") };
        let over = |replace_existing| {
            let link =
                FileAction::Symlink { target: "/d".to_owned(), path: "/to/y".to_owned(), owner: copy.owner.clone() };
            let again = CopyAction { source: "/d".to_owned(), replace_existing, ..copy.clone() };
            let sub = CopyAction { dest: "/to/x".to_owned(), ..copy.clone() };
            left(vec![FileAction::Copy(sub), FileAction::Copy(again), rm("/to/y", true, false), link])
        };
        assert_eq!(over(false).expect_err("a directory is there"), "cannot replace directory `/to/x` with a file");
        assert_eq!(over(true).expect("replaced").len(), 6);
    }

    #[test]
    fn a_missing_path_may_be_allowed_and_a_wildcard_may_be_a_name() {
        assert_eq!(left(vec![rm("/no/such", true, false)]).expect("nothing").len(), 5);
        assert!(left(vec![rm("/*.o", false, false)]).is_err());
    }
}
