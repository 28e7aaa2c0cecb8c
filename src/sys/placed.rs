//! Files some of which are not where their paths say.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::beneath::{DiskTree, Tree};
use super::files::{DiskFiles, Files};
use super::root::Root;

/// The files of a tree that others filled: no name and no symbolic link leads out of it.
#[derive(Debug)]
pub struct TreeFiles(pub Root);

impl Files for TreeFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn tree(&self, directory: &Path) -> io::Result<Box<dyn Tree>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Box::new(DiskTree::from_fd(self.0.open_at(directory, flags, Mode::empty())?)))
    }
}

/// The disk, and trees under names that are no paths: `NAME/path` is `path` in the tree of that name.
#[derive(Debug)]
pub struct PlacedFiles {
    disk: DiskFiles,
    trees: Vec<(String, TreeFiles)>,
}

impl PlacedFiles {
    /// Reads from `disk` what is in none of `trees`.
    pub fn new(disk: DiskFiles, trees: impl IntoIterator<Item = (String, Root)>) -> PlacedFiles {
        PlacedFiles { disk, trees: trees.into_iter().map(|(name, root)| (name, TreeFiles(root))).collect() }
    }
}

impl PlacedFiles {
    /// Returns the tree that `path` is in, and the path in it.
    fn place<'a>(&self, path: &'a Path) -> Option<(&TreeFiles, &'a Path)> {
        let text = path.to_str().unwrap_or("");
        let in_tree = self.trees.iter().filter_map(|(name, tree)| {
            let inner = text.strip_prefix(name.as_str())?;
            let inner = if inner.is_empty() { inner } else { inner.strip_prefix('/')? };
            Some((name.len(), inner, tree))
        });
        in_tree.max_by_key(|(length, ..)| *length).map(|(_, inner, tree)| (tree, Path::new(inner)))
    }
}

impl Files for PlacedFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.place(path) {
            Some((tree, inner)) => tree.read(inner),
            None => self.disk.read(path),
        }
    }

    fn tree(&self, directory: &Path) -> io::Result<Box<dyn Tree>> {
        match self.place(directory) {
            Some((tree, inner)) => tree.tree(inner),
            None => self.disk.tree(directory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_a_tree_stays_in_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tree = directory.path().join("tree");
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        {
            std::fs::create_dir(&tree).expect("created");
            std::fs::write(directory.path().join("secret"), "outside").expect("written");
            std::fs::write(tree.join("Dockerfile"), "FROM scratch").expect("written");
        }
        std::os::unix::fs::symlink("../secret", tree.join("link")).expect("linked");
        let trees = [("https://h/r.git#main".to_owned(), Root::open(&tree).expect("opened"))];
        let files = PlacedFiles::new(DiskFiles::new(directory.path()), trees);
        let read = |path: &str| files.read(Path::new(path)).map(|bytes| String::from_utf8(bytes).expect("text"));
        assert_eq!(read("https://h/r.git#main/Dockerfile").expect("there"), "FROM scratch");
        assert_eq!(read("secret").expect("there"), "outside");
        let error = read("https://h/r.git#main/link").expect_err("it is not in the tree");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(read("https://h/r.git#main/../secret").is_err());
    }
}
