//! Hashing a layer's archive from where it begins to differ from an earlier one.
//!
//! While an archive is hashed, the hash's state is noted now and then between two entries. A layer that has the same
//! entries up to some path has the same bytes up to there, so its hash goes on from the last mark before that path.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::entries::LayerWriter;
use crate::digest::{DiffId, Digest, HashState, Hasher};

/// Bytes of the archive from one mark to the next, at least.
const DISTANCE: u64 = 8 << 20;

const MAGIC: &[u8] = b"bake-marks-1\n";

/// The hash of an archive up to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    /// The first entry that is not in the hash; relative to the root.
    next: PathBuf,
    state: HashState,
}

/// Marks of one archive, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// Leaves out the marks behind `path`, the first entry that may differ.
    pub fn until(mut self, path: &Path) -> Marks {
        self.0.retain(|mark| mark.next.as_path() <= path);
        self
    }

    /// Returns the first entry that the last mark's hash lacks; empty where all are to be hashed.
    pub(super) fn next(&self) -> &Path {
        self.0.last().map_or(Path::new(""), |mark| &mark.next)
    }

    /// Returns the bytes to keep: their own digest first, so that a damaged file is none.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for mark in &self.0 {
            let path = mark.next.as_os_str().as_bytes();
            bytes.extend(u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(path);
            bytes.extend(mark.state.0);
        }
        [Digest::of(&bytes).as_bytes().as_slice(), &bytes].concat()
    }

    /// Reads what [`Marks::to_bytes`] wrote; no marks for any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Marks {
        Marks::parse(bytes).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Marks> {
        let (digest, content) = bytes.split_at_checked(32)?;
        let mut rest = content.strip_prefix(MAGIC).filter(|_| Digest::of(content).as_bytes() == digest)?;
        let mut take = |n: usize| {
            let (taken, after) = rest.split_at_checked(n)?;
            rest = after;
            Some((taken, after.is_empty()))
        };
        let mut marks = Vec::new();
        loop {
            let Some((length, _)) = take(4) else { return Some(Marks(marks)) };
            let (path, _) = take(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
            let (state, _) = take(size_of::<HashState>())?;
            let next = PathBuf::from(OsString::from_vec(path.to_vec()));
            marks.push(Mark { next, state: HashState(state.try_into().ok()?) });
        }
    }
}

/// Hashes an archive and marks it on the way.
pub(super) struct MarkingHasher {
    hasher: Hasher,
    marks: Marks,
    n_bytes: u64,
}

impl MarkingHasher {
    /// Goes on from the last of `marks`.
    pub(super) fn new(mut marks: Marks) -> MarkingHasher {
        let hasher = marks.0.last().and_then(|mark| Hasher::resume(&mark.state));
        if hasher.is_none() {
            marks.0.clear();
        }
        MarkingHasher { hasher: hasher.unwrap_or_default(), marks, n_bytes: 0 }
    }

    /// Returns the first entry that is to be written.
    pub(super) fn next(&self) -> &Path {
        self.marks.next()
    }

    pub(super) fn finish(self) -> (DiffId, Marks) {
        (DiffId(self.hasher.finish()), self.marks)
    }
}

impl LayerWriter for MarkingHasher {
    fn begin(&mut self, path: &Path) {
        if self.n_bytes >= DISTANCE {
            self.n_bytes = 0;
            self.marks.0.push(Mark { next: path.to_owned(), state: self.hasher.state() });
        }
    }
}

impl Write for MarkingHasher {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.hasher.update(buffer);
        self.n_bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_from_a_mark() {
        let part = vec![7; 5 << 20];
        let write = |hasher: &mut MarkingHasher, names: &[&str]| {
            for name in names {
                hasher.begin(Path::new(name));
                hasher.write_all(&part).unwrap();
                hasher.write_all(name.as_bytes()).unwrap();
            }
        };
        let mut whole = MarkingHasher::new(Marks::default());
        write(&mut whole, &["a", "b", "c/d", "c/e", "f"]);
        let (diff_id, marks) = whole.finish();
        assert_eq!(marks.next(), Path::new("f"));
        let marks = Marks::from_bytes(&marks.to_bytes()).until(Path::new("c/e"));
        assert_eq!(marks.next(), Path::new("c/d"));
        let mut rest = MarkingHasher::new(marks);
        write(&mut rest, &["c/d", "c/e", "f"]);
        assert_eq!(rest.finish().0, diff_id);
    }

    #[test]
    fn damaged_marks_are_none() {
        let mut hasher = MarkingHasher::new(Marks::default());
        hasher.write_all(&vec![1; 9 << 20]).unwrap();
        hasher.begin(Path::new("next"));
        let bytes = hasher.finish().1.to_bytes();
        assert_eq!(Marks::from_bytes(&bytes).next(), Path::new("next"));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert_eq!(Marks::from_bytes(&changed), Marks::default(), "{at}");
            assert_eq!(Marks::from_bytes(&bytes[..at]), Marks::default(), "{at}");
        }
    }
}
