//! `platform-split=false` and `mode=delete` of `type=local`: several root file systems in one place, and a destination that has
//! nothing but the result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::archive::ArchiveTree;
use super::error::{FileExportError, io_error};
use super::tree::{Entry, Kind, children, look, walk};
use crate::sys::root::Root;

/// Fails if two of `roots`, each with its platform, have a file of one name: in one place the last one would win.
///
/// # Errors
/// `Clash`, `Io`.
pub fn check_clashes(roots: &[(String, &Root)]) -> Result<(), FileExportError> {
    let mut owners: BTreeMap<PathBuf, (&str, bool)> = BTreeMap::new();
    for (platform, root) in roots {
        walk(root, &mut |entry| {
            let is_directory = entry.kind == Kind::Directory;
            let (first, is_shared) = *owners.entry(entry.path.clone()).or_insert((platform, is_directory));
            if first == platform || (is_shared && is_directory) {
                return Ok(());
            }
            let (first, second) = (first.to_owned(), platform.clone());
            Err(FileExportError::Clash { path: entry.path.clone(), first, second })
        })?;
    }
    Ok(())
}

/// Removes from the directory `dest` what none of `trees` has, and what is a directory in one and none in the other. A
/// destination that is not there has nothing to remove. Links are removed, not followed.
///
/// # Errors
/// `Io`; what was removed by then is gone.
pub fn remove_others(dest: &Path, trees: &[ArchiveTree<'_>]) -> Result<(), FileExportError> {
    let top = match Root::open(dest) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(io_error("open", dest))?,
    };
    let mut wanted: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for tree in trees {
        if !tree.directory.is_empty() {
            wanted.insert(tree.directory.into(), true);
        }
        walk(tree.root, &mut |entry| {
            // Devices, pipes and sockets are not copied.
            if matches!(entry.kind, Kind::Directory | Kind::File { .. } | Kind::Symlink(_)) {
                wanted.insert(Path::new(tree.directory).join(&entry.path), entry.kind == Kind::Directory);
            }
            Ok(())
        })?;
    }
    clean(&top, Path::new(""), &wanted)
}

fn clean(top: &Root, directory: &Path, wanted: &BTreeMap<PathBuf, bool>) -> Result<(), FileExportError> {
    for path in children(top, directory)? {
        let entry = look(top, path)?;
        let is_directory = entry.kind == Kind::Directory;
        match wanted.get(&entry.path) {
            Some(wanted) if *wanted != is_directory => remove(top, &entry)?,
            Some(_) if is_directory => clean(top, &entry.path, wanted)?,
            Some(_) => {}
            None => remove(top, &entry)?,
        }
    }
    Ok(())
}

fn remove(top: &Root, entry: &Entry) -> Result<(), FileExportError> {
    let failed = io_error::<Errno>("remove", &entry.path);
    let (parent, name) = top.open_parent(&entry.path).map_err(io_error("remove", &entry.path))?;
    let name = name.unwrap_or_default();
    if entry.kind != Kind::Directory {
        return rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(failed);
    }
    if entry.mode & 0o700 != 0o700 {
        // A read-only directory that an earlier copy made could not be emptied.
        rustix::fs::chmodat(&parent, &name, Mode::RWXU, AtFlags::empty()).map_err(&failed)?;
    }
    for child in children(top, &entry.path)? {
        remove(top, &look(top, child)?)?;
    }
    rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).map_err(failed)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read and write temporary files")]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            std::fs::write(path, file).expect("written");
        }
        let root = Root::open(directory.path()).expect("a root");
        (directory, root)
    }

    #[test]
    fn what_the_result_does_not_have_is_removed_and_links_are_not_followed() {
        let (_result, root) = tree(&["bin/app", "etc", "kept/file"]);
        let (dest, _) = tree(&["x/bin/app", "x/bin/old", "x/etc/was/a/directory", "x/kept", "gone/deep/file"]);
        let (outside, _) = tree(&["file"]);
        std::os::unix::fs::symlink(outside.path(), dest.path().join("x/link")).expect("a link");
        let trees = [ArchiveTree { directory: "x", root: &root }];
        remove_others(dest.path(), &trees).expect("removed");
        let left = |path: &str| dest.path().join(path).symlink_metadata().is_ok();
        let lefts = ["x/bin/app", "x/bin/old", "x/etc", "x/kept", "x/link", "gone"].map(left);
        assert_eq!(lefts, [true, false, false, false, false, false]);
        assert!(outside.path().join("file").exists());
        remove_others(&dest.path().join("not there"), &trees).expect("nothing to do");
    }

    #[test]
    fn platforms_may_share_directories_and_no_file() {
        let (_a, a) = tree(&["bin/a", "lib"]);
        let (_b, b) = tree(&["bin/b", "usr/lib"]);
        let (_c, c) = tree(&["lib/c"]);
        let check = |other| check_clashes(&[("linux/amd64".to_owned(), &a), ("linux/arm64".to_owned(), other)]);
        check(&b).expect("no file twice");
        let error = check(&c).expect_err("a file and a directory").to_string();
        assert_eq!(error, "cannot overwrite `lib` from linux/amd64 with linux/arm64 when split option is disabled");
    }
}
