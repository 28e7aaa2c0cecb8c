//! COPY and ADD of files: existing destinations, owners, modes, links.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, XattrFlags};

use super::digest::{attributes, open, read_link};
use super::mode::Change;
use super::remove::clear;
use super::select::{Entry, Kind, Selected, select, stat_at};
use super::write::{Writer, create_file, replacing, set_owner_and_mode, set_times, split, timestamps};
use super::{FileError, SourceTree, io_error, shown};
use crate::graph::{CopyAction, SourceNaming};
use crate::store::archive;
use crate::sys::root::Root;

/// Files of one directory that one thread writes in a row.
const MAX_FILES: usize = 64;

/// Carries out `action`: copies what it selects of `from` into `root`. `owner` is what `action.owner` stands for in the
/// root. Times are `epoch` (seconds since 1970), but for files of a root file system, which keep theirs.
///
/// - A directory's *contents* go into the destination, which is made with 0755 if it is not there and else keeps its
///   mode; directories below it get the source's mode also if they are there.
/// - A file goes to the destination's name, or into it if that is a directory or ends in `/`.
/// - Links on the way to the destination, and at it, are followed inside the root.
/// - Directories that are only on the way to what is selected are made as the source's; of those that are there, only the
///   mode changes, and that to the source's whatever `action.mode` says, as in the peer.
/// - The top of a literal source is copied where the destination is new: its mode is the source's too.
///
/// # Errors
/// As [`select`]; `DirectoryInTheWay`, `NotADirectory` if the destination does not fit.
pub fn copy(
    action: &CopyAction,
    from: &SourceTree<'_>,
    root: &Root,
    owner: Option<(u32, u32)>,
    epoch: i64,
) -> Result<(), FileError> {
    let selection = select(from, &action.selector())?;
    let mut copier = Copier::new(action, from, root, owner, epoch)?;
    for item in &selection.items {
        if !(action.unpack && copier.unpack(item, &action.dest)?) {
            copier.item(item, &action.dest)?;
        }
    }
    copier.finish()
}

pub(super) struct Copier<'a> {
    from: &'a SourceTree<'a>,
    writer: Writer<'a>,
    owner: Option<(u32, u32)>,
    change: Change,
    naming: SourceNaming,
    /// What is in the place of an entry goes.
    replaces: bool,
    /// Where in the root the first name of a file with several was written, by device and inode.
    first_names: BTreeMap<(u64, u64), PathBuf>,
    /// The directory that was last written into, open.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        action: &CopyAction,
        from: &'a SourceTree<'a>,
        root: &'a Root,
        owner: Option<(u32, u32)>,
        epoch: i64,
    ) -> Result<Copier<'a>, FileError> {
        let change = Change::parse(action.mode.as_ref())?;
        let writer = Writer::new(root, epoch);
        let (naming, replaces) = (action.naming, action.replace_existing);
        Ok(Copier { from, writer, owner, change, naming, replaces, first_names: BTreeMap::new(), parent: None })
    }

    /// Dates the directories that were made.
    pub(super) fn finish(self) -> Result<(), FileError> {
        self.writer.finish()
    }

    fn item(&mut self, item: &Selected, dest: &str) -> Result<(), FileError> {
        let is_directory_wanted = dest.ends_with('/') || dest.ends_with("/.");
        let root = self.writer.root;
        let dest = root.follow(Path::new(dest)).map_err(io_error("resolve", Path::new(dest)))?;
        if item.is_directory() {
            let is_new = !self.is_directory(&dest)?;
            self.make_directories(&dest)?;
            if is_new && self.naming == SourceNaming::Literal {
                self.describe_top(&item.entries[0], &dest)?;
            }
            // Directories come before what is in them; plain files then need only theirs, so all cores write them.
            let is_plain = |entry: &Entry| entry.kind == Kind::File && entry.n_links == 1 && !self.replaces;
            let (files, others): (Vec<&Entry>, Vec<&Entry>) =
                item.entries[1..].iter().partition(|entry| is_plain(entry));
            others.into_iter().try_for_each(|entry| self.entry(item, entry, &dest.join(&entry.path)))?;
            return self.files(item, &files, &dest);
        }
        if is_directory_wanted {
            self.make_directories(&dest)?;
        }
        let target = if self.is_directory(&dest)? { dest.join(&item.name) } else { dest };
        self.make_directories(split(&target)?.0)?;
        self.entry(item, &item.entries[0], &target)
    }

    /// Unpacks the file that was selected if it is a tar archive; says whether it is. The destination is made a
    /// directory, which to the archive is the root, as for BuildKit: no link in it leads out of that. A given mode does not
    /// reach what is in the archive.
    fn unpack(&mut self, item: &Selected, dest: &str) -> Result<bool, FileError> {
        if item.entries[0].kind != Kind::File {
            return Ok(false);
        }
        let mut file = open(self.from, &item.path, Kind::File)?;
        let Some(compression) = archive::detect(&mut file).map_err(io_error("read", &item.path))? else {
            return Ok(false);
        };
        let root = self.writer.root;
        let base = root.follow(Path::new(dest)).map_err(io_error("resolve", Path::new(dest)))?;
        self.writer.make_directories(&base, 0o755, self.owner.unwrap_or((0, 0)))?;
        let top = Root::from_fd(self.writer.directory(&base)?);
        archive::unpack(file, compression, &top, self.owner)
            .map_err(|source| FileError::Unpack { path: shown(&item.path), source })?;
        Ok(true)
    }

    fn describe_top(&self, entry: &Entry, dest: &Path) -> Result<(), FileError> {
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        let mode = self.change.apply(entry.mode, entry.kind);
        set_owner_and_mode(self.writer.directory(dest)?, owner, mode).map_err(io_error("set owner and mode of", dest))
    }

    fn make_directories(&mut self, path: &Path) -> Result<(), FileError> {
        self.writer.make_directories(path, self.change.of_parents(), self.owner.unwrap_or((0, 0)))
    }

    fn is_directory(&self, path: &Path) -> Result<bool, FileError> {
        let Ok((directory, name)) = self.writer.root.open_parent(path) else { return Ok(false) };
        match stat_at(directory, name.as_deref()) {
            Ok(stat) => Ok(FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir()),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(io_error("look at", path)(error)),
        }
    }

    /// Writes plain files below `dest`, whose directories are there.
    fn files(&self, item: &Selected, files: &[&Entry], dest: &Path) -> Result<(), FileError> {
        let parent = |entry: &&Entry, next: &&Entry| entry.path.parent() == next.path.parent();
        let directories: Vec<&[&Entry]> = files.chunk_by(parent).flat_map(|files| files.chunks(MAX_FILES)).collect();
        directories.into_par_iter().try_for_each(|files| {
            let Some(first) = files.first() else { return Ok(()) };
            let first = dest.join(&first.path);
            let directory = self.writer.directory(split(&first)?.0)?;
            files.iter().try_for_each(|entry| {
                let target = dest.join(&entry.path);
                self.plain_file(&directory, split(&target)?.1, &item.path_of(entry), entry, &target)
            })
        })
    }

    /// Writes one entry to `target`, whose directory is there.
    pub(super) fn entry(&mut self, item: &Selected, entry: &Entry, target: &Path) -> Result<(), FileError> {
        let (parent, name) = split(target)?;
        let directory = match self.parent.take() {
            Some((path, fd)) if path == parent => fd,
            _ => self.writer.directory(parent)?,
        };
        let source = item.path_of(entry);
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        if self.replaces {
            clear(&directory, name, entry.kind).map_err(io_error("replace", target))?;
        }
        match entry.kind {
            Kind::Directory => self.directory(&directory, name, &source, entry, target)?,
            Kind::File => self.file(&directory, name, &source, entry, target)?,
            Kind::Symlink => {
                let link = read_link(self.from, &source)?;
                let create = || rustix::fs::symlinkat(OsStr::from_bytes(&link), &directory, name);
                replacing(&directory, name, target, create).map_err(|e| e.unwrap_or_io("make link", target))?;
                self.finish_special(&directory, name, owner, target)?;
            }
            Kind::Socket if matches!(self.from, SourceTree::Local { .. }) => {
                self.empty_file(&directory, name, entry, target)?;
            }
            Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => {
                self.special(&directory, name, entry, target)?;
                self.finish_special(&directory, name, owner, target)?;
            }
        }
        self.parent = Some((parent.to_owned(), directory));
        Ok(())
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        source: &Path,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), FileError> {
        let (fd, is_new) = self.writer.make_directory(parent, name, target)?;
        if entry.is_passed && !is_new {
            return rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode))
                .map_err(io_error("set the mode of", target));
        }
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        let mode = self.change.apply(entry.mode, entry.kind);
        set_owner_and_mode(&fd, owner, mode).map_err(io_error("set owner and mode of", target))?;
        if matches!(self.from, SourceTree::Rootfs { .. }) {
            let from = open(self.from, source, entry.kind)?;
            copy_attributes(&from, &fd, source)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        source: &Path,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), FileError> {
        let inode = (entry.stamp.dev, entry.stamp.ino);
        if entry.n_links > 1 {
            if let Some(first) = self.first_names.get(&inode) {
                return self.link(directory, name, first, target);
            }
            self.first_names.insert(inode, target.to_owned());
        }
        self.plain_file(directory, name, source, entry, target)
    }

    fn plain_file(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        source: &Path,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), FileError> {
        let mut from = open(self.from, source, entry.kind)?;
        let mut file = create_file(directory, name, target)?;
        // Between two files this is copy_file_range(2), which shares the blocks where the file system can.
        std::io::copy(&mut from, &mut file).map_err(io_error("copy to", target))?;
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        let mode = self.change.apply(entry.mode, entry.kind);
        set_owner_and_mode(&file, owner, mode).map_err(io_error("set owner and mode of", target))?;
        let time = match self.from {
            SourceTree::Local { .. } => (self.writer.epoch, 0),
            SourceTree::Download { modified, .. } => (*modified, 0),
            SourceTree::Rootfs { .. } => {
                copy_attributes(&from, &file, source)?;
                entry.stamp.mtime
            }
        };
        set_times(&file, time).map_err(io_error("set the time of", target))
    }

    /// Writes what stands for a socket of a context.
    fn empty_file(&self, directory: &OwnedFd, name: &OsStr, entry: &Entry, target: &Path) -> Result<(), FileError> {
        let file = create_file(directory, name, target)?;
        let mode = self.change.apply(entry.mode, Kind::File);
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        set_owner_and_mode(&file, owner, mode).map_err(io_error("set owner and mode of", target))?;
        set_times(&file, (self.writer.epoch, 0)).map_err(io_error("set the time of", target))
    }

    fn link(&self, directory: &OwnedFd, name: &OsStr, first: &Path, target: &Path) -> Result<(), FileError> {
        if first == target {
            return Ok(());
        }
        let (first_directory, first_name) = self.writer.root.open_parent(first).map_err(io_error("open", first))?;
        let first_name = first_name.unwrap_or_default();
        let create = || rustix::fs::linkat(&first_directory, &first_name, directory, name, AtFlags::empty());
        replacing(directory, name, target, create).map_err(|e| e.unwrap_or_io("link", target))
    }

    fn special(&self, directory: &OwnedFd, name: &OsStr, entry: &Entry, target: &Path) -> Result<(), FileError> {
        let kind = match entry.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharacterDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        let mode = Mode::from_raw_mode(self.change.apply(entry.mode, entry.kind));
        let device = rustix::fs::makedev(entry.rdev.0, entry.rdev.1);
        let create = || rustix::fs::mknodat(directory, name, kind, mode, device);
        replacing(directory, name, target, create).map_err(|e| e.unwrap_or_io("make", target))?;
        // The umask took bits away.
        rustix::fs::chmodat(directory, name, mode, AtFlags::empty()).map_err(io_error("set the mode of", target))
    }

    /// Sets owner and time of something that is not opened.
    fn finish_special(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        owner: (u32, u32),
        target: &Path,
    ) -> Result<(), FileError> {
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io_error("set the owner of", target))?;
        let times = timestamps((self.writer.epoch, 0));
        rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io_error("set the time of", target))
    }
}

/// Copies attributes; one that the file system or the kernel refuses is left out, as the peer does.
fn copy_attributes(from: &std::fs::File, to: impl std::os::fd::AsFd, source: &Path) -> Result<(), FileError> {
    for (name, value) in attributes(from).map_err(io_error("read the attributes of", source))? {
        _ = rustix::fs::fsetxattr(&to, name.as_slice(), &value, XattrFlags::empty());
    }
    Ok(())
}
