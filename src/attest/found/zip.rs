//! The table of a zip archive, and single entries of it (APPNOTE.TXT 6.3).

use std::io::Read as _;

use flate2::read::DeflateDecoder;

use super::Bytes;

/// Entries that are looked at; more are left out.
const MAX_ENTRIES: usize = 200_000;

/// Bytes of the table; more is none.
const MAX_TABLE: u64 = 64 << 20;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub name: String,
    method: u16,
    compressed: u64,
    header: u64,
}

/// Returns the entries of `file`, in the order of its table; `None` where it is no archive. Archives of more than 4 GiB
/// (zip64) are none here.
pub fn entries(file: &dyn Bytes) -> Option<Vec<Entry>> {
    const END: usize = 22;
    let length = file.size().min(65_535 + END as u64);
    let tail = file.at(file.size() - length, usize::try_from(length).ok()?)?;
    let at = (0..=tail.len().checked_sub(END)?).rev().find(|at| tail[*at..].starts_with(b"PK\x05\x06"))?;
    let (size, start) = (le(&tail, at + 12, 4)?, le(&tail, at + 16, 4)?);
    let table = file.at(start, usize::try_from(size).ok().filter(|_| size <= MAX_TABLE)?)?;
    let (mut entries, mut at) = (Vec::new(), 0);
    while table.get(at..)?.starts_with(b"PK\x01\x02") && entries.len() < MAX_ENTRIES {
        let length = |offset: usize| le(&table, at + offset, 2).and_then(|length| usize::try_from(length).ok());
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        entries.push(Entry {
            name: String::from_utf8_lossy(table.get(at + 46..at + 46 + name)?).into_owned(),
            method: u16::try_from(le(&table, at + 10, 2)?).ok()?,
            compressed: le(&table, at + 20, 4)?,
            header: le(&table, at + 42, 4)?,
        });
        at += 46 + name + extra + comment;
    }
    Some(entries)
}

/// Returns what is in `entry`; `None` where that is more than `max` bytes, or cannot be read.
pub fn read(file: &dyn Bytes, entry: &Entry, max: u64) -> Option<Vec<u8>> {
    let header = file.at(entry.header, 30).filter(|header| header.starts_with(b"PK\x03\x04"))?;
    let start = entry.header + 30 + le(&header, 26, 2)? + le(&header, 28, 2)?;
    let length = usize::try_from(entry.compressed).ok().filter(|_| entry.compressed <= max)?;
    let bytes = file.at(start, length)?;
    let mut content = Vec::new();
    match entry.method {
        0 => content = bytes,
        8 => _ = DeflateDecoder::new(&bytes[..]).take(max + 1).read_to_end(&mut content).ok()?,
        _ => return None,
    }
    (content.len() as u64 <= max).then_some(content)
}

fn le(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
