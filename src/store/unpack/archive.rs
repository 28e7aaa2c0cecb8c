//! Reads tar archives: ustar, GNU's long names, PAX records (POSIX.1-2001, pax, *Interchange Formats*).
//!
//! Where readers of tar differ, this one is of Go's opinion, since engines that run images have that one: links, devices
//! and directories have no content whatever their size says, global PAX headers change nothing, and GNU's long names win
//! over PAX's. The `tar` crate's reader is not used: it ends a PAX record at a line break, which binary attributes contain,
//! and it reads headers of any size into memory.

use std::io::{self, Read};

use tar::EntryType;

use super::invalid;

const BLOCK: usize = 512;

/// Bytes that a long name or the PAX records of one entry may have; they are held in memory.
const MAX_EXTENSION_SIZE: u64 = 1 << 20;

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// An entry, without its content.
pub(super) struct Entry {
    pub path: Vec<u8>,
    pub kind: EntryType,
    /// Permission bits.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of content.
    pub size: u64,
    /// Target of a link; empty elsewhere.
    pub link: Vec<u8>,
    /// Major and minor number.
    pub device: (u64, u64),
    /// Extended attributes, in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Holes are left out of the content.
    pub is_sparse: bool,
}

/// An archive; read, it gives the content of the entry that [`Archive::next`] returned last.
pub(super) struct Archive<'a> {
    input: &'a mut dyn Read,
    /// Bytes of the entry's content that were not read.
    content: u64,
    /// Bytes between the content's end and the next header.
    padding: u64,
}

impl<'a> Archive<'a> {
    pub fn new(input: &'a mut dyn Read) -> Archive<'a> {
        Archive { input, content: 0, padding: 0 }
    }

    /// Returns the next entry; `None` at the archive's end.
    ///
    /// # Errors
    /// The stream is no archive, or ends within one.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.content + self.padding)?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(&header[124..136])?;
            self.begin(size);
            match EntryType::new(header[156]) {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader => extensions.records = pax_records(&self.extension(size)?)?,
                EntryType::GNULongName => extensions.path = Some(text(&self.extension(size)?).to_vec()),
                EntryType::GNULongLink => extensions.link = Some(text(&self.extension(size)?).to_vec()),
                kind => {
                    let entry = extensions.entry(&header, kind, size)?;
                    self.begin(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn begin(&mut self, size: u64) {
        (self.content, self.padding) = (size, size.wrapping_neg() % BLOCK as u64);
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        let n_skipped = io::copy(&mut self.input.take(size), &mut io::sink())?;
        if n_skipped == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Returns the next header; `None` where the stream ends or two blocks of zeros say that the archive does.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block == [0; BLOCK] {
            self.block(&mut block)?;
            return if block == [0; BLOCK] { Ok(None) } else { Err(invalid("a block of zeros between entries")) };
        }
        let field = 148..156;
        let sum_of = |byte: &dyn Fn(u8) -> i64| -> i64 {
            block.iter().enumerate().map(|(at, b)| if field.contains(&at) { 32 } else { byte(*b) }).sum()
        };
        // Some old programs took bytes for signed numbers.
        let sums = [sum_of(&|byte| byte.into()), sum_of(&|byte| byte.cast_signed().into())];
        let expected = number(&block[field.clone()])?;
        if sums.iter().any(|sum| u64::try_from(*sum) == Ok(expected)) {
            Ok(Some(block))
        } else {
            Err(invalid("not a tar archive, or a damaged one"))
        }
    }

    /// Reads a block; `false` where the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut n_read = 0;
        while n_read < BLOCK {
            match self.input.read(&mut block[n_read..]) {
                Ok(0) if n_read == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION_SIZE {
            return Err(invalid("a name or attributes of more than 1 MiB"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            // Some decompressors take a read of nothing for the end.
            return Ok(0);
        }
        let n = self.input.read(&mut buffer[..room])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= n as u64;
        Ok(n)
    }
}

/// What stands before an entry's header and belongs to it.
#[derive(Default)]
struct Extensions {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn entry(&mut self, header: &[u8; BLOCK], kind: EntryType, size: u64) -> io::Result<Entry> {
        let path = self.path.take().or_else(|| self.record(b"path")).unwrap_or_else(|| header_path(header));
        let link = self.link.take().or_else(|| self.record(b"linkpath"));
        let link = link.unwrap_or_else(|| text(&header[157..257]).to_vec());
        // Archives older than the letter for directories end their names in `/`.
        let is_directory = kind.is_file() && path.ends_with(b"/");
        let kind = if is_directory { EntryType::Directory } else { kind };
        let is_named = |record: &(Vec<u8>, Vec<u8>), prefix: &[u8]| record.0.starts_with(prefix);
        let xattrs = self.records.iter().filter(|record| is_named(record, XATTR_PREFIX));
        Ok(Entry {
            kind,
            mode: (number(&header[100..108])? & 0o7777) as u32,
            uid: self.decimal(b"uid", &header[108..116])?,
            gid: self.decimal(b"gid", &header[116..124])?,
            mtime: self.mtime(&header[136..148])?,
            size: if has_content(kind) { self.size(size)? } else { 0 },
            device: if is_device(kind) { (number(&header[329..337])?, number(&header[337..345])?) } else { (0, 0) },
            xattrs: xattrs.map(|(name, value)| (name[XATTR_PREFIX.len()..].to_vec(), value.clone())).collect(),
            is_sparse: self.records.iter().any(|record| is_named(record, b"GNU.sparse.")),
            path,
            link,
        })
    }

    /// Returns a record's value; of several the last, and nothing where that is empty.
    fn record(&self, name: &[u8]) -> Option<Vec<u8>> {
        let record = self.records.iter().rfind(|record| record.0 == name)?;
        Some(record.1.clone()).filter(|value| !value.is_empty())
    }

    fn decimal(&self, name: &[u8], field: &[u8]) -> io::Result<u64> {
        match self.record(name) {
            Some(value) => parse(&value).ok_or_else(|| invalid("a PAX number that is none")),
            None => number(field),
        }
    }

    fn size(&self, size: u64) -> io::Result<u64> {
        let size = self.record(b"size").map_or(Some(size), |value| parse(&value));
        // Whoever adds to it need not look for an overflow.
        size.filter(|size| i64::try_from(*size).is_ok()).ok_or_else(|| invalid("a size that is none"))
    }

    /// Whole seconds; a fraction is left out. A header's time before 1970 or of no sense is 1970.
    fn mtime(&self, field: &[u8]) -> io::Result<i64> {
        let Some(value) = self.record(b"mtime") else {
            return Ok(number(field).map_or(0, |seconds| seconds.cast_signed()));
        };
        let seconds = value.split(|byte| *byte == b'.').next().unwrap_or_default();
        parse(seconds).ok_or_else(|| invalid("a PAX time that is none"))
    }
}

fn has_content(kind: EntryType) -> bool {
    let without = [EntryType::Link, EntryType::Symlink, EntryType::Directory, EntryType::Fifo];
    !without.contains(&kind) && !is_device(kind)
}

fn is_device(kind: EntryType) -> bool {
    matches!(kind, EntryType::Char | EntryType::Block)
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The name field, and before it ustar's prefix; GNU has other things in the prefix's place.
fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let (prefix, name) = (text(&header[345..500]), text(&header[..100]));
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

/// A field's text: all before the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a number field: octal digits between blanks and zero bytes, empty for zero; or, as GNU has it, a set high bit and
/// the number in binary. What is negative or needs more than 63 bits is none.
fn number(field: &[u8]) -> io::Result<u64> {
    let wrong = || invalid("a number field that is none");
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        if field[0] & 0x40 != 0 {
            return Err(wrong());
        }
        let digits = std::iter::once(field[0] & 0x7f).chain(field[1..].iter().copied());
        return digits
            .map(u64::from)
            .try_fold(0_u64, |number, byte| {
                number.checked_mul(256).map(|number| number | byte).filter(|number| *number >> 63 == 0)
            })
            .ok_or_else(wrong);
    }
    let digits = text(field.trim_ascii_start()).trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    u64::from_str_radix(digits, 8).ok().filter(|number| number >> 63 == 0).ok_or_else(wrong)
}

/// Reads PAX records: `<length> <name>=<value>\n`, where the length counts the whole record and the value any bytes.
fn pax_records(mut bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let malformed = || invalid("a malformed PAX record");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let n_digits = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length: usize = parse(&bytes[..n_digits]).ok_or_else(malformed)?;
        let record = bytes.get(n_digits + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(malformed)?;
        let at = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        records.push((record[..at].to_vec(), record[at + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let cases: [(&[u8], Option<u64>); 9] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX.cast_unsigned())),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000-44\0", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field).ok(), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn records_are_as_long_as_they_say() {
        let read = |text: &[u8]| {
            let records = pax_records(text).ok()?;
            Some(records.iter().map(|(name, value)| [name.as_slice(), b"|", value].concat()).collect::<Vec<_>>())
        };
        let smuggled = b"27 SCHILY.xattr.user.a=x\n1\n9 path=b\n";
        assert_eq!(read(smuggled).expect("two"), [&b"SCHILY.xattr.user.a|x\n1"[..], b"path|b"]);
        assert_eq!(read(b"").expect("none"), [b""; 0]);
        for bad in [
            &b"9 path=b"[..],
            b"11 path=b\n",
            b"8 path=b\n",
            b"0 a=\n",
            b"x a=b\n",
            b"5 ab\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert_eq!(read(bad), None, "{}", bad.escape_ascii());
        }
    }
}
