//! What a step selected of a directory of the user's, file by file: kept when the step runs, so that a later command can
//! say which file changed although only the new one is there.
//!
//! The bytes (version 1; anything else is taken as unknown), integers little-endian:
//! ```text
//! "bake-listing-1\n"
//! line*, sorted by path
//!   bytes shared with the path before u16 · length of the rest u16 · the rest · mode u16 · type u8 ·
//!   for a file (1) its digest, 32 bytes · for a symbolic link (2) length u16 and target
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::Digest;

const MAGIC: &[u8] = b"bake-listing-1\n";

/// Files by their path below the top of the directory, as a step has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<Vec<u8>, Line>);

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Permission bits, as git keeps them.
    pub mode: u16,
    /// What it is.
    pub what: What,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A file with these bytes.
    File(Digest),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A pipe.
    Special,
}

/// Paths with how they differ, sorted.
pub type FileChanges = Vec<(String, FileChange)>;

/// How one path differs between two listings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum FileChange {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// Other bytes.
    Changed {
        /// Digest of the file's bytes then.
        old: Digest,
        /// And now.
        new: Digest,
    },
    /// Other permission bits.
    Mode {
        /// In octal.
        old: String,
        /// In octal.
        new: String,
    },
    /// A link that leads elsewhere.
    Target {
        /// Its text then.
        old: String,
        /// And now.
        new: String,
    },
    /// A file where a directory was, say.
    Type {
        /// What it was.
        old: &'static str,
        /// What it is.
        new: &'static str,
    },
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            What::Directory => "directory",
            What::File(_) => "file",
            What::Symlink(_) => "symbolic link",
            What::Special => "pipe",
        }
    }

    fn code(&self) -> u8 {
        match self {
            What::Directory => 0,
            What::File(_) => 1,
            What::Symlink(_) => 2,
            What::Special => 3,
        }
    }
}

impl Listing {
    /// Adds what is at `path`.
    pub fn insert(&mut self, path: &[u8], line: Line) {
        self.0.insert(path.to_vec(), line);
    }

    /// Returns how each path that is not the same in both differs from `old`, sorted by path. A path whose bytes and mode
    /// changed is there twice.
    pub fn changes_since(&self, old: &Listing) -> FileChanges {
        let mut changes = Vec::new();
        let mut add = |path: &[u8], change| changes.push((String::from_utf8_lossy(path).into_owned(), change));
        for (path, line) in &self.0 {
            let Some(before) = old.0.get(path) else {
                add(path, FileChange::Added);
                continue;
            };
            match (&before.what, &line.what) {
                (What::File(old), What::File(new)) if old != new => {
                    add(path, FileChange::Changed { old: *old, new: *new });
                }
                (What::Symlink(old), What::Symlink(new)) if old != new => {
                    let text = |target: &[u8]| String::from_utf8_lossy(target).into_owned();
                    add(path, FileChange::Target { old: text(old), new: text(new) });
                }
                (old, new) if old.code() != new.code() => {
                    add(path, FileChange::Type { old: old.name(), new: new.name() });
                    continue;
                }
                _ => {}
            }
            if before.mode != line.mode {
                let text = |mode: u16| format!("{mode:04o}");
                add(path, FileChange::Mode { old: text(before.mode), new: text(line.mode) });
            }
        }
        for path in old.0.keys().filter(|path| !self.0.contains_key(*path)) {
            add(path, FileChange::Removed);
        }
        changes.sort_by(|one, other| one.0.cmp(&other.0));
        changes
    }

    /// Returns the bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut before: &[u8] = &[];
        for (path, line) in &self.0 {
            let n_shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
            push_length(&mut bytes, n_shared);
            push_length(&mut bytes, path.len() - n_shared);
            bytes.extend(&path[n_shared..]);
            bytes.extend(line.mode.to_le_bytes());
            bytes.push(line.what.code());
            match &line.what {
                What::File(digest) => bytes.extend(digest.as_bytes()),
                What::Symlink(target) => {
                    push_length(&mut bytes, target.len());
                    bytes.extend(target);
                }
                What::Directory | What::Special => {}
            }
            before = path;
        }
        bytes
    }

    /// Reads what [`Listing::to_bytes`] wrote; `None` for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Listing> {
        let mut rest = Bytes(bytes.strip_prefix(MAGIC)?);
        let mut lines = BTreeMap::new();
        let mut path: Vec<u8> = Vec::new();
        while !rest.0.is_empty() {
            let n_shared = usize::from(rest.number()?);
            path.truncate(n_shared);
            if path.len() < n_shared {
                return None;
            }
            let length = rest.number()?;
            path.extend(rest.take(length.into())?);
            let mode = rest.number()?;
            let what = match rest.take(1)? {
                [0] => What::Directory,
                [1] => What::File(Digest::from_bytes(rest.take(32)?.try_into().ok()?)),
                [2] => {
                    let length = rest.number()?;
                    What::Symlink(rest.take(length.into())?.to_vec())
                }
                [3] => What::Special,
                _ => return None,
            };
            lines.insert(path.clone(), Line { mode, what });
        }
        Some(Listing(lines))
    }
}

/// Linux's paths and link targets are shorter than 4096 bytes.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[(&str, u16, What)]) -> Listing {
        let mut listing = Listing::default();
        for (path, mode, what) in lines {
            listing.insert(path.as_bytes(), Line { mode: *mode, what: what.clone() });
        }
        listing
    }

    fn file(text: &str) -> What {
        What::File(Digest::of(text.as_bytes()))
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let link = What::Symlink(b"../x".to_vec());
        let written = listing(&[
            ("src", 0o755, What::Directory),
            ("src/main.c", 0o644, file("main")),
            ("src/main.h", 0o644, file("header")),
            ("src/p", 0o644, What::Special),
            ("zlink", 0o777, link),
        ]);
        let bytes = written.to_bytes();
        assert_eq!(Listing::from_bytes(&bytes), Some(written));
        assert_eq!(Listing::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Listing::from_bytes(b"bake-listing-2\n"), None);
        assert_eq!(Listing::from_bytes(b"bake-listing-1\n\x01\0\0\0\0\0\0"), None);
    }

    #[test]
    fn each_kind_of_change_has_its_name() {
        let old = listing(&[
            ("a", 0o644, file("1")),
            ("b", 0o644, file("1")),
            ("c", 0o644, file("1")),
            ("d", 0o644, file("1")),
            ("e", 0o777, What::Symlink(b"a".to_vec())),
            ("same", 0o644, file("1")),
        ]);
        let new = listing(&[
            ("a", 0o644, file("2")),
            ("b", 0o755, file("1")),
            ("c", 0o755, What::Directory),
            ("c/new", 0o644, file("1")),
            ("e", 0o777, What::Symlink(b"b".to_vec())),
            ("same", 0o644, file("1")),
        ]);
        let digest = |text: &str| Digest::of(text.as_bytes());
        let text = str::to_owned;
        let expected = [
            ("a", FileChange::Changed { old: digest("1"), new: digest("2") }),
            ("b", FileChange::Mode { old: text("0644"), new: text("0755") }),
            ("c", FileChange::Type { old: "file", new: "directory" }),
            ("c/new", FileChange::Added),
            ("d", FileChange::Removed),
            ("e", FileChange::Target { old: text("a"), new: text("b") }),
        ];
        assert_eq!(new.changes_since(&old), expected.map(|(path, change)| (path.to_owned(), change)));
        assert_eq!(new.changes_since(&new), []);
    }
}
