//! `type=tar`: root file systems as one tar archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::beside::AddedFile;
use super::error::{FileExportError, io_error};
use super::tree::{Entry, Kind, walk};
use crate::oci::tar::{TarEntry, TarWriter};
use crate::sys::root::Root;

/// A root file system and the directory of the archive that it is put in; empty for the archive's top, where several may
/// meet: see [`check_clashes`](super::mirror::check_clashes).
#[derive(Clone, Copy, Debug)]
pub struct ArchiveTree<'a> {
    /// One name: `linux_arm64`, where there are several platforms.
    pub directory: &'a str,
    /// The files.
    pub root: &'a Root,
}

/// Writes `trees` to `out`, which should be buffered. The archive depends on the trees alone: entries are sorted, owners
/// are numbers, modification times are no later than `latest_mtime` (seconds since the epoch), names of one file are links
/// to its first. Sockets are left out, as they are from layers. Reads every file.
///
/// # Errors
/// `Io` where a file cannot be read or the archive not be written; what was written by then is no archive.
pub fn write_tar(trees: &[ArchiveTree<'_>], latest_mtime: u64, out: &mut dyn Write) -> Result<(), FileExportError> {
    write_tar_with(trees, &[], latest_mtime, out)
}

/// Writes `trees` as [`write_tar`] does, and `files` after them.
///
/// # Errors
/// As there.
pub fn write_tar_with(
    trees: &[ArchiveTree<'_>],
    files: &[AddedFile],
    latest_mtime: u64,
    out: &mut dyn Write,
) -> Result<(), FileExportError> {
    let mut writer = TarWriter::new(out);
    let mut directories = BTreeSet::new();
    for tree in trees {
        let directory = Path::new(tree.directory);
        if !tree.directory.is_empty() {
            let path = format!("{}/", tree.directory);
            let entry = TarEntry::new(path.as_bytes(), EntryType::Directory, 0o755, 0);
            writer.append(&entry, &mut io::empty()).map_err(io_error("write", directory))?;
        }
        let mut first_names = BTreeMap::new();
        walk(tree.root, &mut |entry| {
            let is_again =
                entry.kind == Kind::Directory && !directories.insert(Path::new(tree.directory).join(&entry.path));
            if is_again { Ok(()) } else { append(&mut writer, *tree, entry, latest_mtime, &mut first_names) }
        })?;
    }
    for file in files {
        let mut header = TarEntry::new(file.path.as_bytes(), EntryType::Regular, 0o600, file.bytes.len() as u64);
        header.mtime = latest_mtime;
        writer.append(&header, &mut &file.bytes[..]).map_err(io_error("write", Path::new(&file.path)))?;
    }
    writer.finish().map_err(io_error("write", Path::new("tar")))
}

fn append(
    writer: &mut TarWriter<'_>,
    tree: ArchiveTree<'_>,
    entry: &Entry,
    latest_mtime: u64,
    first_names: &mut BTreeMap<(u64, u64), PathBuf>,
) -> Result<(), FileExportError> {
    let path = Path::new(tree.directory).join(&entry.path);
    let mut name = path.as_os_str().as_bytes().to_vec();
    if entry.kind == Kind::Directory {
        name.push(b'/');
    }
    let (kind, size, device) = match entry.kind {
        Kind::Directory => (EntryType::Directory, 0, (0, 0)),
        Kind::File { size, .. } => (EntryType::Regular, size, (0, 0)),
        Kind::Symlink(_) => (EntryType::Symlink, 0, (0, 0)),
        Kind::Fifo => (EntryType::Fifo, 0, (0, 0)),
        Kind::CharacterDevice(major, minor) => (EntryType::Char, 0, (major, minor)),
        Kind::BlockDevice(major, minor) => (EntryType::Block, 0, (major, minor)),
        Kind::Socket => return Ok(()),
    };
    let mut header = TarEntry::new(&name, kind, entry.mode, size);
    (header.uid, header.gid, header.device) = (entry.uid, entry.gid, device);
    header.mtime = entry.clamped_mtime(latest_mtime);
    let failed = io_error::<io::Error>("archive", &entry.path);
    let identity = match entry.kind {
        Kind::File { shared, .. } => shared,
        _ => None,
    };
    let first = identity.and_then(|identity| first_names.get(&identity).cloned());
    match (&entry.kind, &first) {
        (Kind::Symlink(target), _) => header.link = target.as_os_str().as_bytes(),
        (Kind::File { .. }, Some(first)) => {
            (header.kind, header.size, header.link) = (EntryType::Link, 0, first.as_os_str().as_bytes());
        }
        (Kind::File { .. }, None) => {
            first_names.extend(identity.map(|identity| (identity, path.clone())));
            return append_file(writer, header, entry, entry.open(tree.root)?);
        }
        _ => {}
    }
    writer.append(&header, &mut io::empty()).map(drop).map_err(failed)
}

fn append_file(
    writer: &mut TarWriter<'_>,
    header: TarEntry<'_>,
    entry: &Entry,
    mut file: File,
) -> Result<(), FileExportError> {
    let failed = io_error::<io::Error>("archive", &entry.path);
    let capability: Vec<(String, Vec<u8>)> =
        capability(&file).map(|value| ("security.capability".to_owned(), value)).into_iter().collect();
    let header = TarEntry { xattrs: &capability, ..header };
    let size = writer.append(&header, &mut file).map_err(&failed)?;
    if size != header.size {
        return Err(failed(io::Error::other("the file changed while it was read")));
    }
    Ok(())
}

/// File capabilities; `None` where there are none or the file system has no extended attributes.
fn capability(file: &File) -> Option<Vec<u8>> {
    // The kernel's largest form (revision 3) has 24 bytes.
    let mut value = [0; 64];
    let size = rustix::fs::fgetxattr(file, "security.capability", &mut value).ok()?;
    Some(value[..size].to_vec())
}

#[cfg(test)]
mod tests;
