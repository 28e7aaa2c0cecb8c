//! Packages of rpm: headers in the table `Packages` of `rpmdb.sqlite` (rpm's *Package format*, *Header structure*).
//!
//! The older databases, Berkeley DB and ndb, are not read; a note says so.

use super::sqlite::{self, Value};
use super::{Bytes, clean};
use crate::attest::package::{Ecosystem, Package};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE: u32 = 1044;

/// Bytes of an entry of a header's index.
const ENTRY: usize = 16;

/// Reads a database.
///
/// # Errors
/// It is none, or broken: says why.
pub fn packages(file: &dyn Bytes, location: &str) -> Result<Vec<Package>, &'static str> {
    let rows = sqlite::rows(file, "Packages")?.ok_or("has no packages")?;
    let mut found = Vec::new();
    for row in rows {
        let Some(Value::Blob(blob)) = row.last() else { return Err("has a package without a header") };
        found.extend(package(blob, location).ok_or("has a package with a broken header")?);
    }
    Ok(found)
}

/// Reads a header; an empty list for what is no package: keys are kept as if they were.
fn package(blob: &[u8], location: &str) -> Option<Vec<Package>> {
    let header = Header::new(blob)?;
    let name = header.text(NAME)?;
    if name == "gpg-pubkey" {
        return Some(Vec::new());
    }
    let version = format!("{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    let mut package = Package::new(Ecosystem::Rpm, &name, &version, location);
    package.qualify("arch", &header.text(ARCH).unwrap_or_default());
    package.qualify("epoch", &header.number(EPOCH).map(|epoch| epoch.to_string()).unwrap_or_default());
    package.qualify("upstream", &header.text(SOURCE).unwrap_or_default());
    package.licenses.extend(header.text(LICENSE).filter(|license| !license.is_empty()));
    package.supplier = header.text(VENDOR).unwrap_or_default();
    Some(vec![package])
}

/// An index of entries (tag, kind, offset, count), and the data that they point into.
struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(blob: &'a [u8]) -> Option<Header<'a>> {
        let n_entries = usize::try_from(be32(blob, 0)?).ok()?;
        let n_bytes = usize::try_from(be32(blob, 4)?).ok()?;
        let (index, data) = blob.get(8..)?.split_at_checked(n_entries.checked_mul(ENTRY)?)?;
        Some(Header { index, data: data.get(..n_bytes)? })
    }

    fn entry(&self, tag: u32) -> Option<(u32, &'a [u8])> {
        let entry = self.index.chunks_exact(ENTRY).find(|entry| be32(entry, 0) == Some(tag))?;
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        Some((be32(entry, 4)?, self.data.get(offset..)?))
    }

    /// Returns a text, the first of several.
    fn text(&self, tag: u32) -> Option<String> {
        let (kind, data) = self.entry(tag)?;
        let end = data.iter().position(|byte| *byte == 0)?;
        matches!(kind, 6 | 8 | 9).then(|| clean(&String::from_utf8_lossy(&data[..end])))
    }

    fn number(&self, tag: u32) -> Option<u32> {
        let (kind, data) = self.entry(tag)?;
        if kind == 4 { be32(data, 0) } else { None }
    }
}

fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with SQLite itself: pages of 512 bytes, 40 packages with names `pkg0` to `pkg39`, and a key; headers of 0.4 to 0.8 KB,
    /// so that the table has inner pages and rows have pages of their own.
    const DATABASE: &[u8] = include_bytes!("../../../tests/fixtures/attest/rpmdb.sqlite");

    #[test]
    fn every_package_of_a_database_is_read() {
        let found = packages(&DATABASE, "rpmdb.sqlite").expect("read");
        let names: Vec<String> = found.iter().map(|package| package.name.clone()).collect();
        assert_eq!(names, (0..40).map(|n| format!("pkg{n}")).collect::<Vec<_>>());
        let expected = "pkg:rpm/pkg7@1.7-2.fc40?arch=x86_64&epoch=1&upstream=pkg-1.7-2.fc40.src.rpm";
        assert_eq!(found[7].purl(&Default::default()), expected);
        assert_eq!(found[7].licenses, ["MIT AND GPL-2.0-or-later"]);
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_more_than_an_error() {
        for end in (0..DATABASE.len()).step_by(97) {
            _ = packages(&&DATABASE[..end], "x");
        }
        for at in (0..DATABASE.len()).step_by(31) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = DATABASE.to_vec();
                changed[at] = value;
                _ = packages(&&changed[..], "x");
            }
        }
    }
}
