//! Reading tar archives that nobody vouches for: ustar, GNU and PAX headers, one entry at a time.
//!
//! The `tar` crate's iterator is not used: it ends a PAX record at the first newline, which values of extended attributes
//! may hold, and reads a header of any size into memory.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// Bytes of one extension header; a real one has a long path and some attributes.
const MAX_EXTENSION_SIZE: u64 = 1 << 20;

/// One entry, PAX and GNU extensions applied. Its content, where it has any, is read from the [`TarReader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadEntry {
    /// As written: may be absolute, hold `..`, be empty.
    pub path: Vec<u8>,
    /// File, directory, link, device or something that no layer has.
    pub kind: EntryType,
    /// All of the mode field.
    pub mode: u32,
    /// Owner, as large as the archive says.
    pub uid: u64,
    /// Group, as large as the archive says.
    pub gid: u64,
    /// Seconds since 1970, rounded down.
    pub mtime: i64,
    /// Bytes of content; zero for what has none.
    pub size: u64,
    /// Target of a link; empty elsewhere.
    pub link: Vec<u8>,
    /// Major and minor number; zero elsewhere.
    pub device: (u32, u32),
    /// Extended attributes in the archive's order: name and value.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What extension headers say of the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// Reads entries one after the other; between two calls of [`TarReader::next_entry`] it reads the entry's content.
pub struct TarReader<R> {
    inner: R,
    /// Bytes of the current entry's content that are not read yet.
    n_content: u64,
    /// Bytes up to the next block after it.
    n_padding: u64,
}

impl<R: Read> TarReader<R> {
    /// Begins at the start of an archive.
    pub fn new(inner: R) -> TarReader<R> {
        TarReader { inner, n_content: 0, n_padding: 0 }
    }

    /// Skips what is left of the current entry and returns the next one; `None` at the archive's end.
    ///
    /// # Errors
    /// The archive is malformed or cut off, or cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<ReadEntry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(&header)?;
                    extensions.apply(&records)?;
                }
                EntryType::XGlobalHeader => _ = self.extension(&header)?,
                EntryType::GNULongName => extensions.path = Some(until_nul(self.extension(&header)?)),
                EntryType::GNULongLink => extensions.link = Some(until_nul(self.extension(&header)?)),
                kind => {
                    let entry = entry(&header, kind, extensions)?;
                    self.begin_content(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn begin_content(&mut self, size: u64) {
        self.n_content = size;
        self.n_padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> io::Result<()> {
        let n_left = self.n_content.checked_add(self.n_padding).ok_or_else(|| malformed("a size that no file has"))?;
        (self.n_content, self.n_padding) = (0, 0);
        let n_skipped = io::copy(&mut (&mut self.inner).take(n_left), &mut io::sink())?;
        if n_skipped == n_left { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads the next header; `None` where the archive ends: at two blocks of zeros, or where nothing follows.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block == [0; BLOCK] {
            self.block(&mut block)?;
            // Some readers go on behind a single one: what is there would be seen by them alone.
            return if block == [0; BLOCK] { Ok(None) } else { Err(malformed("a block of zeros between entries")) };
        }
        let header = Header::from_byte_slice(&block);
        // The checksum counts its own field as blanks (POSIX.1-1988, tar).
        let field = 148..156;
        let sum: u32 =
            block.iter().enumerate().map(|(at, byte)| u32::from(if field.contains(&at) { b' ' } else { *byte })).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(malformed("a header's checksum is wrong"));
        }
        Ok(Some(header.clone()))
    }

    /// Reads a block; `false` where nothing follows.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut n_read = 0;
        while n_read < BLOCK {
            match self.inner.read(&mut block[n_read..]) {
                Ok(0) if n_read == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION_SIZE {
            return Err(malformed("an extension header is larger than 1 MiB"));
        }
        self.begin_content(size);
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads the current entry's content. An archive that ends inside it is an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(usize::try_from(self.n_content).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(0);
        }
        let n_read = self.inner.read(&mut buffer[..n])?;
        if n_read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.n_content -= n_read as u64;
        Ok(n_read)
    }
}

impl Extensions {
    /// Reads `<length> <name>=<value>\n` records (POSIX.1-2001, pax); of two for one name the later counts.
    fn apply(&mut self, mut records: &[u8]) -> io::Result<()> {
        let bad = || malformed("a PAX record is malformed");
        while !records.is_empty() {
            let blank = records.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize = text(&records[..blank]).and_then(|text| text.parse().ok()).ok_or_else(bad)?;
            let record =
                records.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (name, value) = (text(&record[..equals]).ok_or_else(bad)?, &record[equals + 1..]);
            if matches!(name, "path" | "linkpath") && value.contains(&0) {
                return Err(malformed("a name in a PAX record holds a zero byte"));
            }
            let number = || text(value).and_then(|text| text.parse::<u64>().ok()).ok_or_else(bad);
            match name {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => self.size = Some(number()?),
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                "mtime" => self.mtime = Some(seconds(text(value).ok_or_else(bad)?).ok_or_else(bad)?),
                name => {
                    if let Some(name) = name.strip_prefix("SCHILY.xattr.") {
                        self.xattrs.retain(|(known, _)| known != name);
                        self.xattrs.push((name.to_owned(), value.to_vec()));
                    } else if name.starts_with("GNU.sparse.") {
                        return Err(malformed("sparse files are not supported"));
                    }
                }
            }
            records = &records[length..];
        }
        Ok(())
    }
}

fn entry(header: &Header, kind: EntryType, extensions: Extensions) -> io::Result<ReadEntry> {
    let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    // Archives older than the letter for directories end their names in `/`.
    let is_old_directory = kind.is_file() && path.ends_with(b"/");
    let kind = if is_old_directory { EntryType::Directory } else { kind };
    let old = header.as_old();
    let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
        || !(kind.is_dir() || kind.is_hard_link() || kind.is_symlink() || is_device(kind) || kind.is_fifo());
    let size = extensions.size.map_or_else(|| header.entry_size(), Ok)?;
    let device = |number: io::Result<Option<u32>>| number.map(Option::unwrap_or_default);
    Ok(ReadEntry {
        path,
        kind,
        mode: number(&old.mode, || header.mode())?,
        uid: extensions.uid.map_or_else(|| number(&old.uid, || header.uid()), Ok)?,
        gid: extensions.gid.map_or_else(|| number(&old.gid, || header.gid()), Ok)?,
        mtime: extensions.mtime.map_or_else(|| mtime(header), Ok)?,
        size: if has_content { size } else { 0 },
        link: extensions.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
        device: if is_device(kind) { (device(header.device_major())?, device(header.device_minor())?) } else { (0, 0) },
        xattrs: extensions.xattrs,
    })
}

fn is_device(kind: EntryType) -> bool {
    kind.is_character_special() || kind.is_block_special()
}

/// Returns what `read` makes of a number's field; zero where it is empty, as programs leave what does not matter.
fn number<N: Default>(field: &[u8], read: impl FnOnce() -> io::Result<N>) -> io::Result<N> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(N::default()) } else { read() }
}

fn mtime(header: &Header) -> io::Result<i64> {
    number(&header.as_old().mtime, || Ok(i64::try_from(header.mtime()?).unwrap_or(0)))
}

/// Reads a decimal number of seconds, rounded down.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let is_below = text.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(if is_below { seconds - 1 } else { seconds })
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn malformed(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tar::{TarEntry, TarWriter};

    fn archive(entries: &[(TarEntry<'_>, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        for (entry, content) in entries {
            writer.append(entry, &mut { *content }).expect("written");
        }
        writer.finish().expect("written");
        bytes
    }

    #[test]
    fn what_was_written_is_read_back_newlines_in_attributes_and_all() {
        let long = [b'd'; 300];
        let xattrs = [("security.capability".to_owned(), b"\x01\n2 x=y\n".to_vec())];
        let file = TarEntry {
            uid: 3_000_000_000,
            mtime: 7,
            xattrs: &xattrs,
            ..TarEntry::new(&long, EntryType::Regular, 0o4755, 3)
        };
        let link = TarEntry { link: &long, ..TarEntry::new(b"l", EntryType::Symlink, 0o777, 0) };
        let bytes = archive(&[(file, b"abc"), (link, b"")]);
        let mut reader = TarReader::new(&bytes[..]);
        let first = reader.next_entry().expect("whole").expect("an entry");
        assert_eq!((first.path.as_slice(), first.mode, first.uid, first.mtime), (&long[..], 0o4755, 3_000_000_000, 7));
        assert_eq!(first.xattrs, xattrs);
        let mut content = Vec::new();
        reader.read_to_end(&mut content).expect("read");
        assert_eq!(content, b"abc");
        let second = reader.next_entry().expect("whole").expect("an entry");
        assert_eq!((second.path.as_slice(), second.link.as_slice()), (&b"l"[..], &long[..]));
        assert_eq!(reader.next_entry().expect("whole"), None);
    }

    #[test]
    fn an_archive_that_is_cut_off_anywhere_is_an_error_or_ends_between_entries() {
        let xattrs = [("user.a".to_owned(), b"b".to_vec())];
        let file = TarEntry { xattrs: &xattrs, ..TarEntry::new(b"f", EntryType::Regular, 0o644, 600) };
        let bytes = archive(&[(file, &[b'x'; 600])]);
        for n in 1..bytes.len() - 1024 {
            let mut reader = TarReader::new(&bytes[..n]);
            let read = std::iter::from_fn(|| reader.next_entry().transpose()).collect::<io::Result<Vec<_>>>();
            assert!(read.is_err() || n % 512 == 0, "{n}");
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let mut bytes = archive(&[(TarEntry::new(b"f", EntryType::Regular, 0o644, 0), b"")]);
        bytes[0] = b'g';
        assert!(TarReader::new(&bytes[..]).next_entry().is_err(), "a wrong checksum");
        let huge = archive(&[(TarEntry::new(b"x", EntryType::XHeader, 0o644, 2 << 20), &vec![b' '; 2 << 20])]);
        assert!(TarReader::new(&huge[..]).next_entry().is_err(), "a huge extension");
        for record in
            ["", "5", "99 path=x\n", "11 path=xyz", "0 path=x\n", "11 path:xyz\n", "12 path=x\0z\n", "14 linkpath=\0\n"]
        {
            let mut extensions = Extensions::default();
            assert!(record.is_empty() || extensions.apply(record.as_bytes()).is_err(), "{record}");
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(
            (seconds("1.9"), seconds("-1.5"), seconds("-1.0"), seconds("x")),
            (Some(1), Some(-2), Some(-1), None)
        );
    }
}
