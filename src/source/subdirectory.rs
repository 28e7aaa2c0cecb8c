//! A directory of a tree that came from elsewhere.

use std::io;
use std::path::{Path, PathBuf};

/// Returns the directory `subdir` of `tree`, whose components are directories and no links to such.
///
/// # Errors
/// Why it is none.
pub fn subdirectory(tree: &Path, subdir: &str) -> Result<PathBuf, String> {
    let mut path = tree.to_owned();
    for name in subdir.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." {
            return Err("it leads out".to_owned());
        }
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
