//! From the changes to the bytes of the tar: small files are read ahead on all cores while what is before them is hashed.

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use tar::EntryType;

use super::{Change, ChangeKind, WHITEOUT_PREFIX, xattrs};
use crate::oci::tar::{TarEntry, TarWriter};

/// Larger files are not read ahead: one alone keeps the hash busy.
const MAX_READ_AHEAD: u64 = 1 << 20;

/// What is read ahead at once: bytes and entries. Three batches are in memory at a time.
const BATCH_BYTES: u64 = 8 << 20;
const BATCH_ENTRIES: usize = 512;

/// What an entry needs besides its metadata.
#[derive(Default)]
struct Loaded {
    xattrs: Vec<(String, Vec<u8>)>,
    /// A link's target, or a small file's content.
    content: Option<Vec<u8>>,
}

/// Takes an archive, and is told where its entries begin.
pub(super) trait LayerWriter: Write {
    /// The entry of `path`, relative to the root, is next.
    fn begin(&mut self, path: &Path);
}

/// An archive that goes on somewhere else.
pub(super) struct Forward<'w>(pub(super) &'w mut dyn Write);

impl LayerWriter for Forward<'_> {
    fn begin(&mut self, _path: &Path) {}
}

impl Write for Forward<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes `found`, in its order, as a tar archive.
///
/// # Errors
/// A file cannot be read or changed while it was; or `out` fails.
pub(super) fn write(changes: &Path, found: &[Change], epoch: i64, out: &mut impl LayerWriter) -> io::Result<()> {
    let mut writer = EntryWriter { changes, epoch, out, linked: BTreeMap::new() };
    let batches = batches(found);
    if batches.len() <= 1 {
        for change in found {
            writer.append(change, load(changes, change)?)?;
        }
        return TarWriter::new(writer.out).finish();
    }
    std::thread::scope(|scope| -> io::Result<()> {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for batch in batches {
                let loaded: Vec<_> = found[batch.clone()].par_iter().map(|change| load(changes, change)).collect();
                // Nobody receives any more where writing ended with an error.
                if sender.send((batch, loaded)).is_err() {
                    return;
                }
            }
        });
        for (batch, loaded) in receiver {
            for (change, loaded) in found[batch].iter().zip(loaded) {
                writer.append(change, loaded?)?;
            }
        }
        Ok(())
    })?;
    TarWriter::new(writer.out).finish()
}

/// Cuts the entries into runs that are read ahead together.
fn batches(found: &[Change]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut n_bytes) = (0, 0);
    for (index, change) in found.iter().enumerate() {
        if n_bytes >= BATCH_BYTES || index - start == BATCH_ENTRIES {
            batches.push(start..index);
            (start, n_bytes) = (index, 0);
        }
        n_bytes += change.metadata().filter(|metadata| is_read_ahead(metadata)).map_or(0, MetadataExt::size);
    }
    batches.push(start..found.len());
    batches
}

/// A file of several names is in the archive once, so most of its entries have no content.
fn is_read_ahead(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.nlink() == 1 && metadata.len() <= MAX_READ_AHEAD
}

fn load(changes: &Path, change: &Change) -> io::Result<Loaded> {
    let Some(metadata) = change.metadata() else { return Ok(Loaded::default()) };
    let path = changes.join(&change.path);
    if metadata.is_symlink() {
        let target = std::fs::read_link(&path)?.into_os_string().into_vec();
        return Ok(Loaded { xattrs: Vec::new(), content: Some(target) });
    }
    let content = is_read_ahead(metadata).then(|| read(&path, metadata.len())).transpose()?;
    Ok(Loaded { xattrs: xattrs(&path)?, content })
}

/// Reads a file and at most one byte more than it should have.
fn read(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    File::open(path)?.take(size + 1).read_to_end(&mut content)?;
    Ok(content)
}

struct EntryWriter<'a, W> {
    changes: &'a Path,
    epoch: i64,
    out: &'a mut W,
    /// The first name of each file that has several, by device and inode.
    linked: BTreeMap<(u64, u64), &'a Path>,
}

impl<'a, W: LayerWriter> EntryWriter<'a, W> {
    fn append(&mut self, change: &'a Change, loaded: Loaded) -> io::Result<()> {
        self.out.begin(&change.path);
        let Some(metadata) = change.metadata() else {
            let path = whiteout_path(&change.path);
            let entry = TarEntry::new(path.as_os_str().as_bytes(), EntryType::Regular, 0, 0);
            return TarWriter::new(self.out).append(&entry, &mut io::empty()).map(drop);
        };
        let kind = metadata.file_type();
        let mut path = change.path.as_os_str().as_bytes().to_vec();
        if kind.is_dir() {
            path.push(b'/');
        }
        let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let mut entry = TarEntry {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: u64::try_from(metadata.mtime().min(self.epoch)).unwrap_or(0),
            xattrs: &loaded.xattrs,
            ..TarEntry::new(&path, EntryType::Regular, metadata.mode() & 0o7777, 0)
        };
        if let Some(first) = self.earlier_name(change, metadata) {
            (entry.kind, entry.link, entry.xattrs) = (EntryType::Link, first.as_os_str().as_bytes(), &[]);
            return TarWriter::new(self.out).append(&entry, &mut io::empty()).map(drop);
        }
        let content = loaded.content.as_deref();
        match kind {
            kind if kind.is_file() => {
                entry.size = metadata.len();
                let n_bytes = match content {
                    Some(content) if content.len() as u64 == entry.size => {
                        return TarWriter::new(self.out).append_bytes(&entry, content);
                    }
                    Some(content) => content.len() as u64,
                    None => {
                        TarWriter::new(self.out).append(&entry, &mut File::open(self.changes.join(&change.path))?)?
                    }
                };
                if n_bytes != metadata.len() {
                    return Err(io::Error::other(format!("{} changed while it was read", change.path.display())));
                }
                return Ok(());
            }
            kind if kind.is_symlink() => {
                (entry.kind, entry.link, entry.mode) = (EntryType::Symlink, content.unwrap_or_default(), 0o777);
            }
            kind if kind.is_dir() => entry.kind = EntryType::Directory,
            kind if kind.is_fifo() => entry.kind = EntryType::Fifo,
            kind if kind.is_char_device() => (entry.kind, entry.device) = (EntryType::Char, device),
            kind if kind.is_block_device() => (entry.kind, entry.device) = (EntryType::Block, device),
            _ => return Ok(()),
        }
        TarWriter::new(self.out).append(&entry, &mut io::empty()).map(drop)
    }

    /// Returns the name under which the file is in the archive already.
    fn earlier_name(&mut self, change: &'a Change, metadata: &Metadata) -> Option<&'a Path> {
        if metadata.is_dir() || metadata.nlink() == 1 {
            return None;
        }
        let first = *self.linked.entry((metadata.dev(), metadata.ino())).or_insert(&change.path);
        (first != change.path).then_some(first)
    }
}

impl Change {
    fn metadata(&self) -> Option<&Metadata> {
        match &self.kind {
            ChangeKind::Present(metadata) => Some(metadata),
            ChangeKind::Whiteout => None,
        }
    }
}

fn whiteout_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(OsStr::from_bytes(WHITEOUT_PREFIX));
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
