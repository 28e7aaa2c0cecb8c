//! Unpacks a tar archive beneath a root, entry by entry (image-spec v1.1, layer.md, *Applying Changesets*).
//!
//! The archive is hostile. Every name is resolved beneath the root by the kernel, parents included, so that `..`,
//! absolute names and symbolic links cannot leave it; an entry itself is made by name in its open parent and is never
//! followed; mode, owner and times are set on an open descriptor of what was just made.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::oci::LayerCompression;
use crate::oci::untar::{ReadEntry, TarReader};
use crate::sys::root::Root;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It could not be read or written as a whole.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An entry could not be made.
    #[error("cannot unpack `{path}`: {source}")]
    Entry {
        /// Its name.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The owner has no place in this user's range of ids.
    #[error("`{path}` belongs to {uid}:{gid}, which this user cannot give a file to")]
    OwnerNotMapped {
        /// The entry.
        path: PathBuf,
        /// Its owner.
        uid: u64,
        /// Its group.
        gid: u64,
    },
    /// An entry is of a kind that no layer has.
    #[error("`{path}` is of an unsupported kind")]
    Kind {
        /// The entry.
        path: PathBuf,
    },
    /// The media type names no known compression.
    #[error("unknown layer media type `{0}`")]
    MediaType(String),
}

/// What `.wh.` names mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// A name is deleted; a layer.
    Apply,
    /// They are files like others; an archive of ADD.
    Literal,
}

/// How to unpack.
#[derive(Clone, Debug)]
pub struct Unpack {
    /// The directory in the root that names are relative to; it is there.
    pub base: PathBuf,
    /// What `.wh.` names mean.
    pub whiteouts: Whiteouts,
    /// Who owns everything; as the archive says where absent.
    pub owner: Option<(u32, u32)>,
}

/// Returns the uncompressed stream of a layer.
///
/// # Errors
/// The decompressor cannot be made.
pub fn decompress<'a>(compression: LayerCompression, blob: &'a mut (dyn Read + 'a)) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        LayerCompression::None => Box::new(blob),
        LayerCompression::Gzip => {
            Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 17, blob)))
        }
        LayerCompression::Zstd => Box::new(zstd::Decoder::new(blob)?),
    })
}

/// Unpacks `tar` beneath `root`.
///
/// # Errors
/// The archive is malformed, an entry cannot be made, or its owner is outside this user's range.
pub fn unpack(tar: &mut dyn Read, root: &Root, options: &Unpack) -> Result<(), UnpackError> {
    let mut unpacker =
        Unpacker { root, options, times: BTreeMap::new(), made: BTreeSet::new(), implied: BTreeSet::new() };
    let mut archive = TarReader::new(tar);
    while let Some(entry) = archive.next_entry()? {
        unpacker.entry(&entry, &mut archive)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a Root,
    options: &'a Unpack,
    /// Directories' times, set last because making a file in one changes its.
    times: BTreeMap<PathBuf, i64>,
    /// Names that this archive made, for opaque marks: those stay.
    made: BTreeSet<PathBuf>,
    /// Directories that were made because something is in them.
    implied: BTreeSet<PathBuf>,
}

impl Unpacker<'_> {
    /// Makes one entry; `content` is the bytes of a file.
    fn entry(&mut self, entry: &ReadEntry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let kind = entry.kind;
        let path = clean(&entry.path);
        let failed = |source: io::Error| UnpackError::Entry { path: path.clone(), source };
        let full = self.options.base.join(&path);
        let Some(name) = path.file_name() else {
            return if kind.is_dir() { self.describe_top(entry, &full).map_err(failed) } else { Ok(()) };
        };
        let parent = self.parent(&full).map_err(failed)?;
        self.keep_time(full.parent().unwrap_or(Path::new("")), &parent).map_err(failed)?;
        if self.options.whiteouts == Whiteouts::Apply
            && let Some(hidden) = name.as_bytes().strip_prefix(b".wh.")
        {
            return self.whiteout(&parent, &full, hidden).map_err(failed);
        }
        self.made.insert(path.clone());
        let fd = match kind {
            EntryType::Directory => Some(make_directory(&parent, name).map_err(failed)?),
            EntryType::Regular | EntryType::Continuous => {
                Some(make_file(&parent, name, entry.size, content).map_err(failed)?)
            }
            EntryType::Link => {
                self.link(&parent, name, entry).map_err(failed)?;
                return Ok(());
            }
            EntryType::Symlink => {
                make_symlink(&parent, name, entry).map_err(failed)?;
                None
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_node(&parent, name, entry).map_err(failed)?;
                None
            }
            _ => return Err(UnpackError::Kind { path }),
        };
        self.describe(entry, &parent, name, fd.as_ref().map(AsFd::as_fd), &path)?;
        if kind.is_dir() {
            self.times.insert(full, entry.mtime);
        }
        Ok(())
    }

    /// Opens the directory that holds `path`; missing parents are made, root-owned.
    fn parent(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.root.open_at(parent, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(name), grandparent) = (parent.file_name(), self.parent(parent)?) else { return Err(error) };
                self.keep_time(parent.parent().unwrap_or(Path::new("")), &grandparent)?;
                match rustix::fs::mkdirat(&grandparent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => {
                        // Whatever the umask.
                        rustix::fs::chmodat(&grandparent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
                        if let Some((uid, gid)) = self.options.owner {
                            chown(&grandparent, name, uid, gid)?;
                        }
                    }
                    // A symbolic link to nowhere stands there; what is to be below it cannot be.
                    Err(error) => return Err(error.into()),
                }
                self.implied.insert(parent.to_owned());
                self.root.open_at(parent, flags, Mode::empty())
            }
            result => result,
        }
    }

    /// A layer changes the time of a directory only by an entry for it, not by what is made or deleted in it; one that it
    /// makes without an entry is of 1970. Otherwise the snapshot would tell when it was made.
    fn keep_time(&mut self, path: &Path, directory: &OwnedFd) -> io::Result<()> {
        if self.options.whiteouts == Whiteouts::Apply && !self.times.contains_key(path) {
            let time = if self.implied.contains(path) { 0 } else { rustix::fs::fstat(directory)?.st_mtime };
            self.times.insert(path.to_owned(), time);
        }
        Ok(())
    }

    fn whiteout(&self, parent: &OwnedFd, full: &Path, hidden: &[u8]) -> io::Result<()> {
        match hidden {
            b".wh..opq" => {
                let directory = full.parent().unwrap_or(Path::new(""));
                for name in names(parent)? {
                    let relative = directory.strip_prefix(&self.options.base).unwrap_or(directory).join(&name);
                    if !self.made.contains(&relative) {
                        remove(parent, &name)?;
                    }
                }
                Ok(())
            }
            b"" | b"." | b".." => Err(io::Error::new(io::ErrorKind::InvalidData, "a whiteout of no name")),
            name if name.starts_with(b".wh.") => Ok(()),
            name => remove(parent, OsStr::from_bytes(name)),
        }
    }

    fn link(&self, parent: &OwnedFd, name: &OsStr, entry: &ReadEntry) -> io::Result<()> {
        let target = self.options.base.join(clean(&entry.link));
        let target_name = target.file_name().ok_or_else(|| invalid("a hard link to the top"))?;
        let from = self.root.open_at(
            target.parent().unwrap_or(Path::new("")),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        // A link to itself would otherwise delete what it names.
        let same = |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let target_stat = rustix::fs::statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if same(&stat, &target_stat) => return Ok(()),
            Ok(_) => remove(parent, name)?,
            Err(_) => {}
        }
        Ok(rustix::fs::linkat(&from, target_name, parent, name, AtFlags::empty())?)
    }

    /// Sets owner, mode, attributes and times of what was just made as `name` in `parent`; `fd` is it, opened.
    fn describe(
        &self,
        entry: &ReadEntry,
        parent: &OwnedFd,
        name: &OsStr,
        fd: Option<BorrowedFd<'_>>,
        path: &Path,
    ) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Entry { path: path.to_owned(), source };
        let (uid, gid) = self.owner(entry);
        let not_mapped = || UnpackError::OwnerNotMapped { path: path.to_owned(), uid, gid };
        let (Some(uid32), Some(gid32)) = (raw_id(uid), raw_id(gid)) else { return Err(not_mapped()) };
        match chown(parent, name, uid32, gid32) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Err(not_mapped()),
            result => result.map_err(failed)?,
        }
        let kind = entry.kind;
        if !kind.is_symlink() {
            let mode = Mode::from_raw_mode(entry.mode & 0o7777);
            match fd {
                Some(fd) => rustix::fs::fchmod(fd, mode).map_err(|error| failed(error.into()))?,
                // A node was made just now, by this process, in a file system that nobody else sees.
                None => {
                    rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(|error| failed(error.into()))?
                }
            }
        }
        if let Some(fd) = fd {
            set_xattrs(entry, fd).map_err(failed)?;
        }
        if !kind.is_dir() {
            let times = timestamps(entry.mtime);
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    fn owner(&self, entry: &ReadEntry) -> (u64, u64) {
        self.options.owner.map_or((entry.uid, entry.gid), |(uid, gid)| (uid.into(), gid.into()))
    }

    /// An entry for the top itself: `./`.
    fn describe_top(&mut self, entry: &ReadEntry, full: &Path) -> io::Result<()> {
        if self.options.whiteouts == Whiteouts::Literal {
            return Ok(());
        }
        let fd = self.root.open_at(full, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let (uid, gid) = self.owner(entry);
        let raw = |id| raw_id(id).ok_or_else(|| invalid("an owner that is none"));
        rustix::fs::fchown(&fd, Some(Uid::from_raw(raw(uid)?)), Some(Gid::from_raw(raw(gid)?)))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode & 0o7777))?;
        set_xattrs(entry, fd.as_fd())?;
        self.times.insert(full.to_owned(), entry.mtime);
        Ok(())
    }

    fn finish(self) -> Result<(), UnpackError> {
        for (path, mtime) in &self.times {
            let failed = |source: io::Error| UnpackError::Entry { path: path.clone(), source };
            // A later entry may have put something else in its place.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            if let Ok(fd) = self.root.open_at(path, flags, Mode::empty()) {
                rustix::fs::futimens(&fd, &timestamps(*mtime)).map_err(|error| failed(error.into()))?;
            }
        }
        Ok(())
    }
}

/// Makes a name relative: no `..`, no leading `/`, no `.`.
fn clean(path: &[u8]) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => _ = cleaned.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// Returns the id as the kernel has it. The largest number means "unchanged" to it and is nobody's.
fn raw_id(id: u64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| *id != u32::MAX)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A directory over a directory keeps what is in it; over anything else it takes its place.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(_) => {
                remove(parent, name)?;
                rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            }
        },
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn make_file(parent: &OwnedFd, name: &OsStr, size: u64, content: &mut dyn Read) -> io::Result<OwnedFd> {
    remove(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(fd);
    let n_copied = io::copy(content, &mut file)?;
    if n_copied != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.flush()?;
    Ok(file.into())
}

fn make_symlink(parent: &OwnedFd, name: &OsStr, entry: &ReadEntry) -> io::Result<()> {
    remove(parent, name)?;
    Ok(rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), parent, name)?)
}

fn make_node(parent: &OwnedFd, name: &OsStr, entry: &ReadEntry) -> io::Result<()> {
    remove(parent, name)?;
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    let (kind, device) = match entry.kind {
        EntryType::Char => (FileType::CharacterDevice, device),
        EntryType::Block => (FileType::BlockDevice, device),
        _ => (FileType::Fifo, 0),
    };
    // 0:0 is overlayfs's mark of a deleted name.
    if kind == FileType::CharacterDevice && device == 0 {
        return Err(invalid("a device that stands for a deleted file"));
    }
    Ok(rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

fn chown(parent: &OwnedFd, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the entry's extended attributes. Those that this user may not set, or the file system does not know, are left
/// out, as the peer leaves them out; `user.overlay.` ones are never the archive's to set.
fn set_xattrs(entry: &ReadEntry, fd: BorrowedFd<'_>) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        if name.starts_with("user.overlay.") || name.starts_with("trusted.") {
            continue;
        }
        // What was opened for writing alone has no other way to its attributes than its descriptor.
        match rustix::fs::fsetxattr(fd, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn timestamps(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Removes a name and all below it; what is not there is no error.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            for name in names(&directory)? {
                remove(&directory, &name)?;
            }
            Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Err(error) => Err(error.into()),
    }
}
