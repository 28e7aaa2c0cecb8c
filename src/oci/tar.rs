//! Tar archives that depend on their entries alone.
//!
//! POSIX ustar headers, numeric owners, and a PAX record only where a header has no room. The `tar` crate's builder is not
//! used: when it is dropped after an error it ends the archive, which then looks whole.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;

/// Bytes of content that are read at once.
const MAX_BUFFER: usize = 256 << 10;

/// The largest number that a header's seven octal digits hold, and that eleven hold.
const SEVEN_DIGITS: u64 = 0o777_7777;
const ELEVEN_DIGITS: u64 = 0o777_7777_7777;

/// Bytes that a header has for a path or a link's target.
const NAME_SIZE: usize = 100;

/// One entry, without its content.
#[derive(Clone, Debug)]
pub struct TarEntry<'a> {
    /// Relative, without `./`; a directory's ends in `/`.
    pub path: &'a [u8],
    /// File, directory, link or device.
    pub kind: EntryType,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
    /// Bytes of content.
    pub size: u64,
    /// Target of a link; empty elsewhere.
    pub link: &'a [u8],
    /// Major and minor number; zero elsewhere.
    pub device: (u32, u32),
    /// Extended attributes: name and value as the kernel gives them, sorted by name.
    pub xattrs: &'a [(String, Vec<u8>)],
}

impl<'a> TarEntry<'a> {
    /// A root-owned entry of the epoch.
    pub fn new(path: &'a [u8], kind: EntryType, mode: u32, size: u64) -> TarEntry<'a> {
        TarEntry { path, kind, mode, uid: 0, gid: 0, mtime: 0, size, link: b"", device: (0, 0), xattrs: &[] }
    }
}

/// Writes entries in the order in which they come.
pub struct TarWriter<'w> {
    out: &'w mut dyn Write,
}

impl<'w> TarWriter<'w> {
    /// Begins an archive.
    pub fn new(out: &'w mut dyn Write) -> TarWriter<'w> {
        TarWriter { out }
    }

    /// Writes an entry and its content, and returns how many bytes `content` had, at most one more than `entry.size`. If
    /// that is not `entry.size`, the archive is spoilt.
    pub fn append(&mut self, entry: &TarEntry<'_>, content: &mut dyn Read) -> io::Result<u64> {
        self.begin(entry)?;
        let n_copied = self.copy((&mut *content).take(entry.size), entry.size)?;
        self.pad(n_copied)?;
        let n_more = if n_copied == entry.size { content.read(&mut [0])? } else { 0 };
        Ok(n_copied + n_more as u64)
    }

    /// Writes an entry whose content is in memory; its size is `entry.size`.
    pub fn append_bytes(&mut self, entry: &TarEntry<'_>, content: &[u8]) -> io::Result<()> {
        self.begin(entry)?;
        self.out.write_all(content)?;
        self.pad(content.len() as u64)
    }

    /// Writes what is before an entry's content.
    fn begin(&mut self, entry: &TarEntry<'_>) -> io::Result<()> {
        let records = pax_records(entry);
        if !records.is_empty() {
            let extension = TarEntry::new(b"PaxHeaders/0", EntryType::XHeader, 0o644, records.len() as u64);
            self.out.write_all(header(&extension).as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(header(entry).as_bytes())
    }

    fn copy(&mut self, mut content: impl Read, size: u64) -> io::Result<u64> {
        let mut buffer = vec![0; usize::try_from(size).map_or(MAX_BUFFER, |size| size.min(MAX_BUFFER))];
        let mut n_copied = 0;
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(n_copied),
                Ok(n) => {
                    self.out.write_all(&buffer[..n])?;
                    n_copied += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the archive.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let n_missing = size.next_multiple_of(BLOCK) - size;
        self.out.write_all(&[0; BLOCK as usize][..n_missing as usize])
    }
}

fn header(entry: &TarEntry<'_>) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(fitting(u64::from(entry.uid), SEVEN_DIGITS));
    header.set_gid(fitting(u64::from(entry.gid), SEVEN_DIGITS));
    header.set_mtime(fitting(entry.mtime, ELEVEN_DIGITS));
    header.set_size(fitting(entry.size, ELEVEN_DIGITS));
    let old = header.as_old_mut();
    fill(&mut old.name, entry.path);
    fill(&mut old.linkname, entry.link);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(entry.device.0);
        ustar.set_device_minor(entry.device.1);
    }
    header.set_cksum();
    header
}

/// Zero for what a PAX record says.
fn fitting(value: u64, max: u64) -> u64 {
    if value <= max { value } else { 0 }
}

/// Copies as much as there is room for; a PAX record has the whole.
fn fill(field: &mut [u8; NAME_SIZE], name: &[u8]) {
    let n = name.len().min(NAME_SIZE);
    field[..n].copy_from_slice(&name[..n]);
}

fn pax_records(entry: &TarEntry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let numbers = [
        ("gid", u64::from(entry.gid), SEVEN_DIGITS),
        ("mtime", entry.mtime, ELEVEN_DIGITS),
        ("size", entry.size, ELEVEN_DIGITS),
        ("uid", u64::from(entry.uid), SEVEN_DIGITS),
    ];
    for (name, value) in entry.xattrs {
        push_record(&mut records, &format!("SCHILY.xattr.{name}"), value);
    }
    for (name, value, max) in numbers {
        if value > max {
            push_record(&mut records, name, value.to_string().as_bytes());
        }
    }
    for (name, value) in [("linkpath", entry.link), ("path", entry.path)] {
        if value.len() > NAME_SIZE {
            push_record(&mut records, name, value);
        }
    }
    records
}

/// `<length> <name>=<value>\n`, where the length counts its own digits (POSIX.1-2001, pax, *pax Extended Header*).
fn push_record(records: &mut Vec<u8>, name: &str, value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    records.extend_from_slice(format!("{length} {name}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for n in 0..2000 {
            let mut records = Vec::new();
            push_record(&mut records, "path", &vec![b'x'; n]);
            let length = String::from_utf8_lossy(&records).split(' ').next().and_then(|l| l.parse().ok());
            assert_eq!(length, Some(records.len()));
        }
    }

    #[test]
    fn what_a_header_has_no_room_for_is_read_back() {
        let (long, target) = ([b'd'; 300], [b't'; 101]);
        let mut entry = TarEntry::new(&long, EntryType::Symlink, 0o777, 0);
        (entry.link, entry.uid, entry.gid, entry.mtime) = (&target, 3_000_000_000, SEVEN_DIGITS as u32 + 1, 7);
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        writer.append(&entry, &mut io::empty()).expect("written");
        writer.finish().expect("written");
        let mut archive = tar::Archive::new(&bytes[..]);
        let read = archive.entries().expect("entries").next().expect("one").expect("whole");
        assert_eq!(read.path_bytes(), &long[..]);
        assert_eq!(read.link_name_bytes().expect("a link"), &target[..]);
        let header = read.header();
        assert_eq!(
            (header.uid().ok(), header.gid().ok(), header.mtime().ok()),
            (Some(3_000_000_000), Some(0o1000_0000), Some(7))
        );
    }

    #[test]
    fn content_of_another_size_is_noticed() {
        let append = |size, content: &[u8]| {
            let entry = TarEntry::new(b"f", EntryType::Regular, 0o644, size);
            TarWriter::new(&mut io::sink()).append(&entry, &mut { content }).expect("written")
        };
        assert_eq!((append(3, b"abc"), append(3, b"ab"), append(3, b"abcde")), (3, 2, 4));
    }
}
