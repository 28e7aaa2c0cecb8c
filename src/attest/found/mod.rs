//! Packages in what installers leave behind: text databases, metadata of single packages, and binaries that say what is in
//! them. Bytes in, packages out; all of it may be hostile, so lengths are checked, lists end, and what is no such file is an
//! error that says why.

pub mod elf;
pub mod golang;
pub mod java;
pub mod metadata;
pub mod rpm;
pub mod rust;
pub mod sqlite;
pub mod system;
pub mod zip;

/// Bytes that are read in pieces.
pub trait Bytes {
    /// Returns how many there are.
    fn size(&self) -> u64;

    /// Returns `length` bytes from `offset` on; `None` where there are not so many, or they cannot be read.
    fn at(&self, offset: u64, length: usize) -> Option<Vec<u8>>;
}

impl Bytes for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn at(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(length)?).map(<[u8]>::to_vec)
    }
}

/// The longest name, version or license that is taken from a file, in bytes; more is none.
const MAX_TEXT: usize = 4096;

/// Returns a text as documents take it: on one line, without control characters.
fn clean(text: &str) -> String {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    if text.len() > MAX_TEXT { String::new() } else { text }
}
