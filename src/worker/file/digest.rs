//! The digest of what a copy would write: the ingredient that a source gives to a cache key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};

use super::select::{Entry, Kind, Selected, Stamp, select, stat_at};
use super::{FileError, SourceTree, StatCache, io_error};
use crate::digest::{Digest, FieldHasher, Hasher};
use crate::graph::Selector;
use crate::solver::listing::{Line, Listing, What};

/// Returns the digest of what a copy of `files` would write (see the table in [`super`]): equal digests, equal copies.
/// Modification times are left out: checkouts do not keep them.
///
/// Looks at every selected file and reads, on all cores, those that `stats` does not know; remembers them there.
///
/// # Errors
/// As [`select`]; `Io` if a file cannot be read.
pub fn content_digest(tree: &SourceTree<'_>, files: &Selector, stats: Option<&StatCache>) -> Result<Digest, FileError> {
    look(tree, files, stats, &mut |_, _, _| {})
}

/// Returns what [`content_digest`] does, and the files that it is the digest of by their paths in the tree.
///
/// # Errors
/// As [`content_digest`].
pub fn content_listing(
    tree: &SourceTree<'_>,
    files: &Selector,
    stats: Option<&StatCache>,
) -> Result<(Digest, Listing), FileError> {
    let mut listing = Listing::default();
    let digest = look(tree, files, stats, &mut |item, entry, data| {
        let what = match entry.kind {
            Kind::Directory => What::Directory,
            Kind::File => {
                <[u8; 32]>::try_from(data).map_or(What::Special, |digest| What::File(Digest::from_bytes(digest)))
            }
            Kind::Symlink => What::Symlink(data.to_vec()),
            Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => What::Special,
        };
        let mode = (entry.mode & 0o7777) as u16;
        listing.insert(item.path_of(entry).as_os_str().as_bytes(), Line { mode, what });
    })?;
    Ok((digest, listing))
}

/// Looks at every selected entry and tells `on_entry` of each that counts, with its [`Content::data`].
fn look(
    tree: &SourceTree<'_>,
    files: &Selector,
    stats: Option<&StatCache>,
    on_entry: &mut dyn FnMut(&Selected, &Entry, &[u8]),
) -> Result<Digest, FileError> {
    let selection = select(tree, files)?;
    let mut hasher = FieldHasher::new("bake.files.v1");
    let mut first_names = BTreeMap::new();
    for (item_index, item) in selection.items.iter().enumerate() {
        // Only the contents of a directory are copied, so its name decides nothing.
        let name = if item.is_directory() { &[] } else { item.name.as_bytes() };
        hasher.field("item", name);
        let contents: Vec<_> = item.entries.par_iter().map(|entry| content_of(tree, item, entry, stats)).collect();
        for (entry_index, (entry, content)) in item.entries.iter().zip(contents).enumerate() {
            hasher.field("path", entry.path.as_os_str().as_bytes());
            let is_top = entry.kind == Kind::Directory && entry.path.as_os_str().is_empty();
            if is_top {
                continue;
            }
            let Content { data, attributes } = content?;
            on_entry(item, entry, &data);
            if entry.is_passed {
                hasher.field("passed", []);
            }
            hasher.field("kind", [entry.kind as u8]).field("mode", entry.mode.to_le_bytes());
            hasher.field("uid", entry.uid.to_le_bytes()).field("gid", entry.gid.to_le_bytes());
            hasher.field("data", &data).list("attributes", attributes.iter());
            if entry.kind != Kind::Directory && entry.n_links > 1 {
                let here = (item_index, entry_index);
                let first = *first_names.entry((entry.stamp.dev, entry.stamp.ino)).or_insert(here);
                if first != here {
                    hasher.field("link", format!("{first:?}"));
                }
            }
        }
    }
    Ok(hasher.finish())
}

/// What an entry is besides its name, type, mode and owner.
pub(super) struct Content {
    /// File digest, link target or device numbers.
    pub(super) data: Vec<u8>,
    /// Names and values, alternating, sorted by name.
    attributes: Vec<Vec<u8>>,
}

pub(super) fn content_of(
    tree: &SourceTree<'_>,
    item: &Selected,
    entry: &Entry,
    stats: Option<&StatCache>,
) -> Result<Content, FileError> {
    let path = item.path_of(entry);
    let attributes = match (tree, entry.kind) {
        (SourceTree::Rootfs { .. }, Kind::File | Kind::Directory) => {
            let file = open(tree, &path, entry.kind)?;
            attributes(&file).map_err(io_error("read the attributes of", &path))?
        }
        _ => Vec::new(),
    };
    let data = match entry.kind {
        Kind::File => match stats.and_then(|stats| stats.get(&entry.stamp)) {
            Some(digest) => digest.as_bytes().to_vec(),
            None => file_digest(tree, &path, entry, stats)?.as_bytes().to_vec(),
        },
        Kind::Symlink => read_link(tree, &path)?,
        Kind::CharacterDevice | Kind::BlockDevice => format!("{:?}", entry.rdev).into_bytes(),
        Kind::Directory | Kind::Fifo | Kind::Socket => Vec::new(),
    };
    Ok(Content { data, attributes: attributes.into_iter().flat_map(|(name, value)| [name, value]).collect() })
}

fn file_digest(
    tree: &SourceTree<'_>,
    path: &Path,
    entry: &Entry,
    stats: Option<&StatCache>,
) -> Result<Digest, FileError> {
    let mut file = open(tree, path, Kind::File)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read", path)(error)),
        }
    }
    let digest = hasher.finish();
    if let Some(stats) = stats {
        let after = stat_at(&file, None).map_err(io_error("look at", path))?;
        // A file that was written to meanwhile is not what the walk saw.
        if Stamp::of(&after) == entry.stamp {
            stats.insert(entry.stamp, digest);
        }
    }
    Ok(digest)
}

/// Opens a file or directory of a source without ever waiting.
///
/// # Errors
/// `Io` also if something else is there by now.
pub(crate) fn open(tree: &SourceTree<'_>, path: &Path, kind: Kind) -> Result<File, FileError> {
    let flags = match kind {
        Kind::Directory => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY,
        _ => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK,
    };
    let fd = tree.root().open_at(path, flags, Mode::empty()).map_err(io_error("open", path))?;
    let file = File::from(fd);
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    if kind == Kind::File && !metadata.is_file() {
        return Err(io_error("read", path)(io::Error::new(io::ErrorKind::InvalidData, "no longer a regular file")));
    }
    Ok(file)
}

pub(crate) fn read_link(tree: &SourceTree<'_>, path: &Path) -> Result<Vec<u8>, FileError> {
    let (directory, name) = tree.root().open_parent(path).map_err(io_error("open", path))?;
    let target = rustix::fs::readlinkat(directory, name.unwrap_or_default(), Vec::new());
    Ok(target.map_err(io_error("read link", path))?.into_bytes())
}

/// Name and value of an extended attribute.
type Attribute = (Vec<u8>, Vec<u8>);

/// Returns the extended attributes that belong to a file's content, sorted by name: those of users, capabilities, access
/// lists. What overlayfs and security modules of this host keep in attributes does not.
pub(crate) fn attributes(file: &File) -> Result<Vec<Attribute>, rustix::io::Errno> {
    let mut names = vec![0; 64 << 10];
    let n = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        result => result?,
    };
    let mut attributes = Vec::new();
    for name in names[..n].split(|byte| *byte == 0).filter(|name| is_content(name)) {
        let mut value = vec![0; 64 << 10];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(n) => {
                value.truncate(n);
                attributes.push((name.to_vec(), value));
            }
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    attributes.sort();
    Ok(attributes)
}

fn is_content(name: &[u8]) -> bool {
    let is_of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    is_of_user || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}
