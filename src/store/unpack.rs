//! Unpacks a tar archive beneath a root, entry by entry (image-spec v1.1, layer.md, *Applying Changesets*).
//!
//! The archive is hostile. Every name is resolved beneath the root by the kernel, parents included, so that `..`,
//! absolute names and symbolic links cannot leave it; an entry itself is made by name in its open parent and is never
//! followed; mode, owner and times are set on an open descriptor of what was just made.
//!
//! Nothing of this machine shows in the result: not the umask, and not the clock in the times of directories that the
//! archive only puts something into.

mod limits;
mod whiteout;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

pub use self::limits::Limits;

use self::limits::Budget;
use self::whiteout::remove;
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
    /// It would fill the disk.
    #[error("the archive unpacks to more than the {limit} bytes that may be taken of the disk")]
    TooLarge {
        /// Bytes.
        limit: u64,
        /// That there is no space.
        source: io::Error,
    },
    /// It would use up all files of the file system.
    #[error("the archive has more than {limit} entries")]
    TooMany {
        /// Entries.
        limit: u64,
        /// That there is no space.
        source: io::Error,
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
    /// What `.wh.` names mean.
    pub whiteouts: Whiteouts,
    /// Who owns everything; as the archive says where absent.
    pub owner: Option<(u32, u32)>,
    /// What it may become; what leaves room in the file system where absent.
    pub limits: Option<Limits>,
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

/// Unpacks `tar` beneath `root`. Where an archive has a name twice, the later entry wins.
///
/// # Errors
/// The archive is malformed or too large, an entry cannot be made, or its owner is outside this user's range.
pub fn unpack(tar: &mut dyn Read, root: &Root, options: &Unpack) -> Result<(), UnpackError> {
    let mut unpacker =
        Unpacker { root, options, times: BTreeMap::new(), touched: BTreeMap::new(), made: BTreeSet::new() };
    let mut budget = Budget::new(options.limits.map_or_else(|| Limits::of_room(root), Ok)?);
    let mut archive = TarReader::new(tar);
    while let Some(entry) = archive.next_entry()? {
        budget.spend(entry.size)?;
        unpacker.entry(&entry, &mut archive)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a Root,
    options: &'a Unpack,
    /// Times of directories that the archive has entries for, set last because making a file in one changes its.
    times: BTreeMap<PathBuf, i64>,
    /// Times of the other directories that a layer puts something into, as they were.
    touched: BTreeMap<PathBuf, Timespec>,
    /// Names that this archive made, relative to the top; its whiteouts do not mean those.
    made: BTreeSet<PathBuf>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &ReadEntry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let path = clean(&entry.path);
        let kind = entry.kind;
        let failed = |source: io::Error| UnpackError::Entry { path: path.clone(), source };
        let Some(name) = path.file_name() else {
            return if kind.is_dir() { self.describe_top(entry) } else { Ok(()) };
        };
        let parent = self.parent(&path).map_err(failed)?;
        if self.options.whiteouts == Whiteouts::Apply
            && let Some(hidden) = name.as_bytes().strip_prefix(b".wh.")
        {
            return self.whiteout(&parent, &path, hidden).map_err(failed);
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
            self.times.insert(path, entry.mtime);
        }
        Ok(())
    }

    /// Opens the directory that holds `path`; missing ones are made, root-owned, with mode 0755. A layer makes them also
    /// where a link leads to nothing, as containerd does; an archive of ADD does not.
    fn parent(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = match self.root.open_at(parent, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let place = match self.options.whiteouts {
                    Whiteouts::Apply => self.root.follow(parent)?,
                    Whiteouts::Literal => parent.to_owned(),
                };
                let (Some(name), grandparent) = (place.file_name(), self.parent(&place)?) else { return Err(error) };
                match rustix::fs::mkdirat(&grandparent, name, Mode::RWXU) {
                    Err(Errno::EXIST) => return Err(invalid("its directory is a symbolic link to nothing")),
                    result => result?,
                }
                let fd = rustix::fs::openat(&grandparent, name, flags | NO_FOLLOW, Mode::empty())?;
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
                rustix::fs::futimens(&fd, &timestamps(0))?;
                fd
            }
            result => result?,
        };
        if self.options.whiteouts == Whiteouts::Apply && !self.touched.contains_key(parent) {
            let stat = rustix::fs::fstat(&fd)?;
            let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
            self.touched.insert(parent.to_owned(), time);
        }
        Ok(fd)
    }

    fn link(&self, parent: &OwnedFd, name: &OsStr, entry: &ReadEntry) -> io::Result<()> {
        let target = clean(&entry.link);
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
        let (uid, gid) = self.options.owner.map_or((entry.uid, entry.gid), |(uid, gid)| (uid.into(), gid.into()));
        let not_mapped = || UnpackError::OwnerNotMapped { path: path.to_owned(), uid, gid };
        // The last number is no id: chown(2) takes it for "leave as it is".
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let (Some(uid32), Some(gid32)) = (id(uid), id(gid)) else { return Err(not_mapped()) };
        match chown(parent, name, uid32, gid32) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Err(not_mapped()),
            result => result.map_err(failed)?,
        }
        if !entry.kind.is_symlink() {
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
        if !entry.kind.is_dir() {
            let times = timestamps(entry.mtime);
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }

    /// An entry for the top itself: `./`. An archive of ADD does not decide what its destination is like.
    fn describe_top(&mut self, entry: &ReadEntry) -> Result<(), UnpackError> {
        if self.options.whiteouts == Whiteouts::Literal {
            return Ok(());
        }
        let top = Path::new(".");
        let failed = |source: io::Error| UnpackError::Entry { path: top.to_owned(), source };
        let fd = self.root.open_at(top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        self.describe(entry, &fd, top.as_os_str(), Some(fd.as_fd()), top)?;
        self.times.insert(PathBuf::new(), entry.mtime);
        Ok(())
    }

    fn finish(self) -> Result<(), UnpackError> {
        let as_they_were = self.touched.iter().map(|(path, time)| (path, *time, OFlags::empty()));
        // A later entry may have put something else in a directory's place.
        let as_listed = self.times.iter().map(|(path, time)| (path, whole_seconds(*time), OFlags::NOFOLLOW));
        for (path, time, flags) in as_they_were.chain(as_listed) {
            let failed = |source: io::Error| UnpackError::Entry { path: path.clone(), source };
            if let Ok(fd) = self.root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | flags, Mode::empty()) {
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&fd, &times).map_err(|error| failed(error.into()))?;
            }
        }
        Ok(())
    }
}

const NO_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

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

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A directory over a directory keeps what is in it; over anything else it takes its place.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | NO_FOLLOW;
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
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | NO_FOLLOW;
    let mut file = std::fs::File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
    let n_copied = io::copy(content, &mut file)?;
    if n_copied != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
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

fn whole_seconds(seconds: i64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: 0 }
}

fn timestamps(seconds: i64) -> Timestamps {
    let time = whole_seconds(seconds);
    Timestamps { last_access: time, last_modification: time }
}
