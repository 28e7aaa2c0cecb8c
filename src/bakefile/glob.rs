//! Patterns of paths: `*`, `?` and `[…]` in a name, `**` for any number of directories.
//!
//! As in a shell, a name that begins with a dot is matched by a pattern that does too, and `**` follows no symbolic links.
//! Links that lead nowhere or out of the tree match nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::select::matches;
use crate::sys::beneath::{self, FileKind, Tree};

/// How many names one pattern may go through.
const MAX_NAMES: usize = 1_000_000;
/// How many names all patterns of a run may go through together.
const MAX_ALL: usize = 5_000_000;

/// How many names the patterns of a run went through.
#[derive(Debug, Default)]
pub(super) struct Effort(Cell<usize>);

/// Says whether a path is a pattern.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns the regular files that `pattern` matches below `directory` of `tree`: paths relative to it, sorted.
///
/// # Errors
/// A directory that cannot be listed, or one too many.
pub(super) fn files(
    tree: &dyn Tree,
    directory: &str,
    pattern: &str,
    effort: &Effort,
) -> Result<BTreeSet<String>, String> {
    if pattern.starts_with('/') {
        return Err(beneath::leads_out().to_string());
    }
    let mut walk = Walk { tree, directory, n_names: 0, effort };
    let mut segments: Vec<&str> = pattern.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    if segments.last() == Some(&"**") {
        segments.push("*");
    }
    let mut found = BTreeSet::from([String::new()]);
    for (index, segment) in segments.iter().enumerate() {
        let wanted = if index + 1 == segments.len() { FileKind::File } else { FileKind::Directory };
        let mut next = BTreeSet::new();
        for path in &found {
            match *segment {
                "**" => walk.descend(path, &mut next)?,
                segment if is_pattern(segment) => walk.choose(path, segment, wanted, &mut next)?,
                segment => _ = next.insert(below(path, segment)),
            }
        }
        found = next;
    }
    // A name without a pattern was taken as it is.
    found.retain(|path| !path.is_empty() && walk.leads_to(path, FileKind::File));
    Ok(found)
}

struct Walk<'a> {
    tree: &'a dyn Tree,
    directory: &'a str,
    n_names: usize,
    effort: &'a Effort,
}

impl Walk<'_> {
    /// Adds the names in `path` that match and lead to what is wanted.
    fn choose(
        &mut self,
        path: &str,
        segment: &str,
        wanted: FileKind,
        found: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        for (name, kind) in self.list(path)? {
            if name.starts_with('.') && !segment.starts_with('.') || !matches(segment, &name) {
                continue;
            }
            let path = below(path, &name);
            if kind == wanted || (kind == FileKind::Link && self.leads_to(&path, wanted)) {
                found.insert(path);
            }
        }
        Ok(())
    }

    /// Adds `path` and every directory below it.
    fn descend(&mut self, path: &str, found: &mut BTreeSet<String>) -> Result<(), String> {
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            let names = self.list(&path)?;
            let inner = names.into_iter().filter(|(name, kind)| *kind == FileKind::Directory && !name.starts_with('.'));
            waiting.extend(inner.map(|(name, _)| below(&path, &name)));
            found.insert(path);
        }
        Ok(())
    }

    /// Lists a directory; what is none has no names.
    fn list(&mut self, path: &str) -> Result<Vec<(String, FileKind)>, String> {
        let path = below(self.directory, path);
        let names = match self.tree.list(&path) {
            Ok(names) => names,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        self.n_names += names.len();
        self.effort.0.set(self.effort.0.get() + names.len());
        match self.n_names > MAX_NAMES || self.effort.0.get() > MAX_ALL {
            true => Err(format!("one pattern goes through at most {MAX_NAMES} names, all of them through {MAX_ALL}")),
            false => Ok(names),
        }
    }

    fn leads_to(&self, path: &str, wanted: FileKind) -> bool {
        self.tree.stat(&below(self.directory, path)).is_ok_and(|stat| stat.kind == wanted)
    }
}

/// Returns the path of `name` in `directory`; the empty one is the top.
pub(super) fn below(directory: &str, name: &str) -> String {
    match (directory, name) {
        ("", name) => name.to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, name) => format!("{directory}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::beneath::MemoryTree;

    #[test]
    fn patterns_choose_names_and_directories() {
        let paths = ["a/x.hcl", "a/y.toml", "b/x.hcl", "b/c/d/x.hcl", ".git/x.hcl", "b/.hidden/x.hcl", "x.hcl", "b/.x"];
        let tree = MemoryTree(paths.iter().map(|path| ((*path).into(), Vec::new())).collect());
        let found = |pattern: &str| {
            files(&tree, "", pattern, &Effort::default()).expect("listed").into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found("*/x.hcl"), ["a/x.hcl", "b/x.hcl"]);
        assert_eq!(found("**/*.hcl"), ["a/x.hcl", "b/c/d/x.hcl", "b/x.hcl", "x.hcl"]);
        assert_eq!(found("**/c/**/x.hcl"), ["b/c/d/x.hcl"]);
        assert_eq!(found("?/*.[th]*"), ["a/x.hcl", "a/y.toml", "b/x.hcl"]);
        assert_eq!(found("b/**"), ["b/c/d/x.hcl", "b/x.hcl"]);
        assert_eq!(found("b/.*"), ["b/.x"]);
        assert_eq!(found("none/*"), [""; 0]);
        assert_eq!(found("b/*/*/*"), ["b/c/d/x.hcl"]);
    }

    /// Each directory has further ones.
    struct Endless;

    impl Tree for Endless {
        fn stat(&self, _: &str) -> std::io::Result<beneath::FileStat> {
            Ok(beneath::FileStat { kind: FileKind::Directory, identity: (0, 0) })
        }

        fn read(&self, _: &str, _: usize) -> std::io::Result<Vec<u8>> {
            Err(ErrorKind::IsADirectory.into())
        }

        fn list(&self, _: &str) -> std::io::Result<Vec<(String, FileKind)>> {
            Ok((0..50_000).map(|n| (n.to_string(), FileKind::Directory)).collect())
        }
    }

    #[test]
    fn patterns_end_in_a_tree_without_end() {
        let effort = Effort::default();
        for pattern in ["**/x", "*/*/*"] {
            let why = files(&Endless, "", pattern, &effort).expect_err("it is endless");
            assert!(why.starts_with("one pattern goes through at most 1000000 names"), "{why}");
        }
        effort.0.set(MAX_ALL);
        assert!(files(&Endless, "", "*", &effort).is_err(), "all of them have a limit, too");
    }
}
