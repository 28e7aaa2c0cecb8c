//! Archives of ADD and of contexts: known by their content, whatever their name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};

use tar::EntryType;

use super::unpack::{Unpack, UnpackError, Whiteouts};
use crate::oci::untar::TarReader;
use crate::sys::root::Root;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one or several members.
    Gzip,
    /// bzip2, one or several streams.
    Bzip2,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// Bytes of a tar header.
const HEADER: usize = 512;

/// Says how `file` is compressed if it is a tar archive, and leaves it at its start. A compressed file that holds no
/// archive is none.
///
/// # Errors
/// The file cannot be read.
pub fn detect(file: &mut File) -> io::Result<Option<Compression>> {
    let compression = match start_of(&mut *file)?.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    file.rewind()?;
    // What cannot be decompressed is a file like others.
    let start = decompress(compression, &mut *file).and_then(start_of).unwrap_or_default();
    file.rewind()?;
    Ok(is_tar_header(&start).then_some(compression))
}

/// Unpacks an archive into `root`; all belongs to `owner`, else to whom the archive says.
///
/// # Errors
/// The archive is malformed or holds what cannot be made.
pub fn unpack(file: File, compression: Compression, root: &Root, owner: Option<(u32, u32)>) -> Result<(), UnpackError> {
    let options = Unpack { whiteouts: Whiteouts::Literal, owner, limits: None };
    super::unpack::unpack(&mut decompress(compression, file)?, root, &options)
}

/// Returns the time of the newest file of an archive, seconds since 1970; `None` for one without files, and for one that
/// is broken.
pub fn newest(file: File, compression: Compression) -> Option<i64> {
    let mut tar = TarReader::new(decompress(compression, file).ok()?);
    let mut newest = None;
    loop {
        match tar.next_entry().ok()? {
            Some(entry) if matches!(entry.kind, EntryType::Regular | EntryType::Link | EntryType::Continuous) => {
                newest = newest.max(Some(entry.mtime));
            }
            Some(_) => {}
            None => return newest,
        }
    }
}

pub(super) fn decompress<'a>(compression: Compression, file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let file = BufReader::with_capacity(128 << 10, file);
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(file, true)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
    })
}

fn start_of(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    stream.take(HEADER as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether the header's checksum is right: the sum of its bytes with blanks in place of the checksum (POSIX ustar).
fn is_tar_header(header: &[u8]) -> bool {
    if header.len() != HEADER {
        return false;
    }
    let text = String::from_utf8_lossy(&header[148..156]);
    let text = text.trim_matches([' ', '\0']);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let of_field: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
    u32::from_str_radix(text, 8).is_ok_and(|expected| expected == sum - of_field + 8 * u32::from(b' '))
}
