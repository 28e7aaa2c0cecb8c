//! Where a path leads, as far as it is there.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links that are followed.
const MAX_LINKS: usize = 255;

/// Follows `path`, absolute, through every symbolic link; returns what is there of it, without links, and the rest, which
/// is not (buildx v0.36, `EvaluateToExistingPath`). What is missing counts as directories that will be made, so that no `..`
/// is in the rest.
///
/// # Errors
/// What is no directory has something below it, or links lead in a circle.
pub fn existing(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let mut left: Vec<PathBuf> = parts(path);
    let (mut there, mut rest, mut n_links) = (PathBuf::from("/"), PathBuf::new(), 0);
    while let Some(name) = left.pop() {
        if name == Path::new("..") {
            _ = rest.pop() || there.pop();
            continue;
        }
        if !rest.as_os_str().is_empty() {
            rest.push(name);
            continue;
        }
        let next = there.join(&name);
        let kind = match rustix::fs::lstat(&next) {
            Ok(stat) => rustix::fs::FileType::from_raw_mode(stat.st_mode),
            Err(rustix::io::Errno::NOENT) => {
                rest.push(name);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if kind.is_symlink() {
            n_links += 1;
            if n_links > MAX_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = rustix::fs::readlink(&next, Vec::new())?;
            let target = PathBuf::from(String::from_utf8_lossy(target.as_bytes()).into_owned());
            if target.is_absolute() {
                there = PathBuf::from("/");
            }
            left.extend(parts(&target));
            continue;
        }
        if !kind.is_dir() && !left.is_empty() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        there = next;
    }
    Ok((there, rest))
}

/// Returns the names of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut names: Vec<PathBuf> = names.map(|part| PathBuf::from(part.as_os_str())).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_is_the_rest() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let top = existing(directory.path()).expect("there").0;
        std::os::unix::fs::symlink("/usr/..", top.join("root")).expect("linked");
        std::os::unix::fs::symlink("round", top.join("round")).expect("linked");
        assert_eq!(existing(&top.join("root/usr")).expect("there"), ("/usr".into(), PathBuf::new()));
        assert_eq!(existing(&top.join("a/../b/c")).expect("there"), (top.clone(), "b/c".into()));
        assert_eq!(existing(&top.join("a/b/../../root/usr/x")).expect("there"), ("/usr".into(), "x".into()));
        let above = top.parent().expect("below the root").to_owned();
        assert_eq!(existing(&top.join("a/../../b")).expect("there").0, above);
        assert!(existing(&top.join("round/x")).is_err());
    }
}
