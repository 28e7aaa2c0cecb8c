//! Sections of ELF files, found by their name.

use super::Bytes;

/// The most sections that a file is taken to have.
const MAX_SECTIONS: u64 = 4096;

/// Bytes of the table of section names; more is none.
const MAX_NAMES: u64 = 1 << 20;

/// A file's integers, in its own width and order.
struct Reader<'a> {
    file: &'a dyn Bytes,
    is_64: bool,
    is_big: bool,
}

impl Reader<'_> {
    fn number(&self, bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(offset..offset.checked_add(length)?)?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    }
}

/// Returns the bytes of the section called `name`; `None` where `file` is no ELF file, or has no such section, or one of
/// more than `max` bytes.
pub fn section(file: &dyn Bytes, name: &str, max: u64) -> Option<Vec<u8>> {
    let header = file.at(0, 64)?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let reader = Reader { file, is_64: header[4] == 2, is_big: header[5] == 2 };
    let (table, entry_size, n_sections, names_index) = if reader.is_64 {
        (reader.number(&header, 40, 8)?, 58, 60, 62)
    } else {
        (reader.number(&header, 32, 4)?, 46, 48, 50)
    };
    let entry_size = reader.number(&header, entry_size, 2)?;
    let n_sections = reader.number(&header, n_sections, 2)?;
    let names_index = reader.number(&header, names_index, 2)?;
    let least = if reader.is_64 { 64 } else { 40 };
    if entry_size < least || n_sections > MAX_SECTIONS || names_index >= n_sections {
        return None;
    }
    let table = reader.file.at(table, usize::try_from(entry_size * n_sections).ok()?)?;
    let entry = |index: u64| {
        let start = usize::try_from(index * entry_size).ok()?;
        let bytes = &table[start..start + usize::try_from(least).ok()?];
        let (offset, size) = match reader.is_64 {
            true => (reader.number(bytes, 24, 8)?, reader.number(bytes, 32, 8)?),
            false => (reader.number(bytes, 16, 4)?, reader.number(bytes, 20, 4)?),
        };
        Some((reader.number(bytes, 0, 4)?, offset, size))
    };
    let (_, offset, size) = entry(names_index)?;
    let names = file.at(offset, usize::try_from(size).ok().filter(|_| size <= MAX_NAMES)?)?;
    let wanted = [name.as_bytes(), b"\0"].concat();
    let (_, offset, size) = (0..n_sections).filter_map(entry).find(|(at, ..)| {
        usize::try_from(*at).ok().and_then(|at| names.get(at..)).is_some_and(|names| names.starts_with(&wanted))
    })?;
    file.at(offset, usize::try_from(size).ok().filter(|_| size <= max)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a 64-bit file with one section besides that of the names.
    pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
        let names = [b"\0", name.as_bytes(), b"\0"].concat();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let (at_names, at_content) = (64, 64 + names.len());
        let table = at_content + content.len();
        file.extend_from_slice(&names);
        file.extend_from_slice(content);
        for (at, offset, size) in [(0_u32, at_names, names.len()), (1, at_content, content.len())] {
            let mut entry = vec![0; 64];
            entry[..4].copy_from_slice(&at.to_le_bytes());
            entry[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            entry[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&entry);
        }
        file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 2, 0, 0, 0]);
        file
    }

    #[test]
    fn a_section_is_found_by_its_name_and_bounded() {
        let file = file(".dep-v0", b"content");
        assert_eq!(section(&&file[..], ".dep-v0", 100).as_deref(), Some(&b"content"[..]));
        assert_eq!(section(&&file[..], ".dep", 100), None);
        assert_eq!(section(&&file[..], ".dep-v0", 3), None);
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_more_than_none() {
        let file = file(".dep-v0", b"content");
        for end in 0..file.len() {
            section(&&file[..end], ".dep-v0", 100);
        }
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = file.clone();
                changed[at] = value;
                section(&&changed[..], ".dep-v0", 100);
            }
        }
    }
}
