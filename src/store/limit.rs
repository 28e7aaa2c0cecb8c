//! How large the store may become.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::read_small;

/// Bytes, in the unit that a number's suffix names: all are powers of 1024, as for Docker's `--max-used-space`.
const UNITS: [(&str, u64); 5] = [("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40), ("p", 1 << 50)];

/// What the store may take where nobody says: BuildKit's own defaults, so that whoever comes from there finds the disk as
/// full as before.
const DEFAULT_SHARE: u64 = 80;
const DEFAULT_SIZE: u64 = 100_000_000_000;

/// A cap on the store's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLimit {
    /// Bytes.
    Size(u64),
    /// Percent of the file system that it is in.
    Share(u64),
    /// No cap.
    None,
}

impl StoreLimit {
    /// Returns the cap in bytes for a store at `path`. What nobody gave is the file `limit` in the store, else 80 % of the
    /// file system and at most 100 GB.
    pub(super) fn bytes(given: Option<StoreLimit>, path: &Path) -> u64 {
        let written = || read_small(&path.join("limit"))?.trim().parse().ok();
        match given.or_else(written) {
            Some(StoreLimit::Size(size)) => size,
            Some(StoreLimit::Share(percent)) => share(path, percent),
            Some(StoreLimit::None) => u64::MAX,
            None => share(path, DEFAULT_SHARE).min(DEFAULT_SIZE),
        }
    }
}

/// A file system that does not say how large it is has room for everything.
fn share(path: &Path, percent: u64) -> u64 {
    let Ok(room) = rustix::fs::statvfs(path) else { return u64::MAX };
    (room.f_blocks.saturating_mul(room.f_frsize) / 100).saturating_mul(percent)
}

impl FromStr for StoreLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreLimit, String> {
        if text == "none" {
            return Ok(StoreLimit::None);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent));
            return percent.map(StoreLimit::Share).ok_or_else(|| format!("`{text}` is no share from 1% to 100%"));
        }
        parse_size(text).map(StoreLimit::Size)
    }
}

/// Reads a number of bytes: `500000`, `1.5GB`, `20GiB`, `512m`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size, such as 512MB, 20GB or 1.5TB");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    // Three digits of a fraction are more than anybody needs of a size.
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let thousandths: u64 = digits.parse().map_err(|_| wrong())?;
    let size = u128::from(factor) * (u128::from(whole) * 1000 + u128::from(thousandths)) / 1000;
    u64::try_from(size).map_err(|_| wrong())
}

/// Shows a size for people: `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, factor)| self.0 >= *factor);
        let Some((name, factor)) = unit else { return write!(f, "{} B", self.0) };
        let tenths = (u128::from(self.0) * 10 + u128::from(*factor) / 2) / u128::from(*factor);
        write!(f, "{}.{} {}iB", tenths / 10, tenths % 10, name.to_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let cases = [("0", 0), ("512", 512), ("1k", 1024), ("20GB", 20 << 30), ("20GiB", 20 << 30), ("1.5 m", 3 << 19)];
        for (text, size) in cases {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "GB", "-1", "1x", "1.x", "99999999999p", "1,5g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!("50%".parse(), Ok(StoreLimit::Share(50)));
        assert_eq!("none".parse(), Ok(StoreLimit::None));
        assert!("0%".parse::<StoreLimit>().is_err() && "101%".parse::<StoreLimit>().is_err());
    }

    #[test]
    fn sizes_are_shown_with_one_digit() {
        let shown = [0, 1023, 1024, 1 << 20, (3 << 30) / 2].map(|size| Size(size).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB"]);
    }

    #[test]
    fn the_limit_is_what_is_given_else_what_the_store_says_else_a_part_of_the_disk() {
        let store = tempfile::tempdir().expect("a temporary directory");
        let default = StoreLimit::bytes(None, store.path());
        assert!(default > 0 && default <= DEFAULT_SIZE);
        std::fs::write(store.path().join("limit"), "5k\n").expect("written");
        assert_eq!(StoreLimit::bytes(None, store.path()), 5 << 10);
        assert_eq!(StoreLimit::bytes(Some(StoreLimit::Size(7)), store.path()), 7);
        assert_eq!(StoreLimit::bytes(Some(StoreLimit::None), store.path()), u64::MAX);
    }
}
