//! What a copy selects of a tree: the entries beneath each source path, in a fixed order.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::{FileError, SourceTree, io_error, shown};
use crate::dockerfile::ignore::{self, Glob, InvalidPattern, Matcher, Verdict};
use crate::graph::{Selector, SourceNaming};

/// What a source word stands for: one item, or one for each match of a wildcard, sorted by path; none is possible.
#[derive(Debug, Default)]
pub struct SelectedFiles {
    /// In order of their paths as matched.
    pub items: Vec<Selected>,
}

/// One source path.
#[derive(Debug)]
pub struct Selected {
    /// The last component as asked for (of the link, where the path is a symbolic link); empty for the tree's top.
    pub name: OsString,
    /// Where it is in the tree, relative to its top, free of symbolic links.
    pub path: PathBuf,
    /// What is at the path, then all beneath it that is not left out; a directory comes before its entries, which are
    /// sorted by name. Never empty.
    pub entries: Vec<Entry>,
}

impl Selected {
    /// Whether the path is a directory.
    pub fn is_directory(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.kind == Kind::Directory)
    }

    /// Returns where `entry` is in the tree.
    pub fn path_of(&self, entry: &Entry) -> PathBuf {
        if entry.path.as_os_str().is_empty() { self.path.clone() } else { self.path.join(&entry.path) }
    }
}

/// A file, directory or other thing that a copy writes.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to the selected path; empty for that itself.
    pub path: PathBuf,
    /// Its type.
    pub kind: Kind,
    /// Permission bits as the copy has them.
    pub mode: u32,
    /// Owner as the copy has it.
    pub uid: u32,
    /// Group as the copy has it.
    pub gid: u32,
    /// Device numbers of a device.
    pub rdev: (u32, u32),
    /// Number of names that the file has.
    pub n_links: u32,
    /// It is a directory that is not selected itself, but on the way to what is: where it is there already, only its mode
    /// becomes that of the source.
    pub is_passed: bool,
    /// Which file it is and whether it changed.
    pub stamp: Stamp,
}

/// The type of an [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// What the file system says of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Change time: seconds and nanoseconds.
    pub ctime: (i64, u32),
}

impl Stamp {
    pub(crate) fn of(stat: &Statx) -> Stamp {
        Stamp {
            dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

/// Selects what `files` names in `tree`. A symbolic link at the source path itself is followed inside the tree; those
/// beneath are entries. `exclude` and `include` patterns hold beneath a directory, not for a file that the source itself
/// names or matches, as with the peer. Walks all that is selected; reads no file.
///
/// # Errors
/// `NotFound` or `Ignored` for a path without wildcards, or a required one, that is not there; `Special` for what cannot be
/// copied; `Pattern` for a malformed one.
pub fn select(tree: &SourceTree<'_>, files: &Selector) -> Result<SelectedFiles, FileError> {
    let patterns = |patterns: &[String], flag: &str| {
        let invalid = |InvalidPattern { pattern, reason, .. }| {
            let pattern = format!("{flag}{pattern}");
            FileError::Pattern { pattern, reason }
        };
        Matcher::from_patterns(patterns).map_err(invalid)
    };
    let (exclude, include) = (patterns(&files.exclude, "--exclude=")?, patterns(&files.include, "")?);
    for path in &files.required {
        find(tree, Path::new(path.trim_start_matches('/')))?;
    }
    let cleaned = ignore::clean(&format!("/{}", files.source));
    let source = cleaned.trim_start_matches('/');
    if files.naming == SourceNaming::Literal || !ignore::has_wildcard(source) {
        let item = select_path(tree, Path::new(source), &exclude, &include)?;
        // A required path of the user's own files that leads through a link is met by no walk.
        let is_met = !exclude.is_empty() || item.entries.len() > 1;
        match (files.required.first(), tree) {
            (Some(required), SourceTree::Local { .. }) if !is_met => {
                return Err(not_found(tree, Path::new(required)));
            }
            _ => return Ok(SelectedFiles { items: vec![item] }),
        }
    }
    let mut items = Vec::new();
    for path in wildcard_matches(tree, source)? {
        match select_path(tree, &path, &exclude, &include) {
            Ok(item) => items.push(item),
            Err(FileError::Ignored { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SelectedFiles { items })
}

/// Something of a tree that was asked for by its path.
struct Found {
    /// Free of links.
    path: PathBuf,
    /// Where it is.
    directory: OwnedFd,
    stat: Statx,
    /// What the ignore file says of it; nothing for a root file system.
    ignored: Verdict,
}

/// Looks up one path; a link at it is followed.
fn find(tree: &SourceTree<'_>, asked: &Path) -> Result<Found, FileError> {
    let root = tree.root();
    let path = root.follow(asked).map_err(io_error("resolve", asked))?;
    let (directory, name) = match root.open_parent(&path) {
        Err(error) if is_missing(&error) => return Err(not_found(tree, asked)),
        result => result.map_err(io_error("open", &path))?,
    };
    let stat = match stat_at(&directory, name.as_deref()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(not_found(tree, asked)),
        result => result.map_err(io_error("look at", &path))?,
    };
    let mut ignored = Verdict::default();
    if let SourceTree::Local { ignore, .. } = tree {
        let link = ignore.verdict(&asked.to_string_lossy());
        ignored = ignore.verdict(&path.to_string_lossy());
        let is_walkable = is_directory(&stat) && ignore.may_reinclude_below(&path.to_string_lossy());
        if link.is_excluded && asked != path || ignored.is_excluded && !is_walkable {
            return Err(FileError::Ignored { path: shown(asked) });
        }
    }
    Ok(Found { path, directory, stat, ignored })
}

/// Selects one path.
fn select_path(
    tree: &SourceTree<'_>,
    asked: &Path,
    exclude: &Matcher,
    include: &Matcher,
) -> Result<Selected, FileError> {
    let Found { path, directory, stat, ignored } = find(tree, asked)?;
    let name = asked.file_name().unwrap_or_default().to_owned();
    let mut walk = Walk { tree, path: &path, filters: Vec::new(), include, entries: Vec::new() };
    let mut verdicts = Verdicts::default();
    if let SourceTree::Local { ignore, .. } = tree {
        walk.filters.push(Filter { matcher: ignore, prefix: path.clone() });
        verdicts.excluded.push(ignored);
    }
    walk.filters.push(Filter { matcher: exclude, prefix: PathBuf::new() });
    verdicts.excluded.push(Verdict::default());
    let entry = walk.entry(PathBuf::new(), &stat)?;
    walk.entries.push(entry);
    if is_directory(&stat) {
        let fd = open_directory(&directory, walk.path.file_name()).map_err(io_error("open", &path))?;
        walk.descend(&fd, Path::new(""), &verdicts)?;
        if walk.entries.len() == 1 && verdicts.excluded.iter().any(|verdict| verdict.is_excluded) {
            return Err(FileError::Ignored { path: shown(asked) });
        }
    }
    let entries = walk.entries;
    Ok(Selected { name, path, entries })
}

struct Walk<'a> {
    tree: &'a SourceTree<'a>,
    path: &'a Path,
    filters: Vec<Filter<'a>>,
    /// Without patterns it includes everything.
    include: &'a Matcher,
    entries: Vec<Entry>,
}

/// What the patterns say of a directory, which those on its entries start from.
#[derive(Default)]
struct Verdicts {
    /// One for each filter.
    excluded: Vec<Verdict>,
    included: Verdict,
}

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Selected,
    /// Not selected; something beneath it may be.
    Passed,
    Skipped,
}

/// Patterns, and what stands before the walk's paths when they are matched.
struct Filter<'a> {
    matcher: &'a Matcher,
    prefix: PathBuf,
}

impl Walk<'_> {
    /// Adds all beneath the open directory at `path`, which got `verdicts`.
    fn descend(&mut self, directory: &OwnedFd, path: &Path, verdicts: &Verdicts) -> Result<(), FileError> {
        for name in sorted_names(directory).map_err(io_error("list", &self.path.join(path)))? {
            let child = path.join(&name);
            let stat = match stat_at(directory, Some(Path::new(&name))) {
                // Gone since the directory was listed.
                Err(Errno::NOENT) => continue,
                result => result.map_err(io_error("look at", &self.path.join(&child)))?,
            };
            let (below, choice) = self.judge(&child, verdicts);
            if choice == Choice::Skipped || choice == Choice::Passed && !is_directory(&stat) {
                continue;
            }
            let entry = self.entry(child.clone(), &stat)?;
            let at = self.entries.len();
            self.entries.push(Entry { is_passed: choice == Choice::Passed, ..entry });
            if is_directory(&stat) {
                match open_directory(directory, Some(&name)) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => _ = self.entries.pop(),
                    result => {
                        let fd = result.map_err(io_error("open", &self.path.join(&child)))?;
                        self.descend(&fd, &child, &below)?;
                    }
                }
                // Such a directory is there only for what is selected beneath it.
                if choice == Choice::Passed && self.entries.len() == at + 1 {
                    self.entries.pop();
                }
            }
        }
        Ok(())
    }

    /// Returns what the patterns say of `path`, in a directory that got `parents`.
    fn judge(&self, path: &Path, parents: &Verdicts) -> (Verdicts, Choice) {
        let (mut below, mut is_selected, mut is_reachable) = (Verdicts::default(), true, true);
        for (filter, parent) in self.filters.iter().zip(&parents.excluded) {
            if filter.matcher.is_empty() {
                below.excluded.push(Verdict::default());
                continue;
            }
            let path = filter.prefix.join(path);
            let path = path.to_string_lossy();
            let verdict = filter.matcher.verdict_below(parent, &path);
            if verdict.is_excluded {
                is_selected = false;
                is_reachable &= filter.matcher.may_reinclude_below(&path);
            }
            below.excluded.push(verdict);
        }
        if !self.include.is_empty() {
            let path = path.to_string_lossy();
            below.included = self.include.verdict_below(&parents.included, &path);
            // The verb is that of an ignore file; here what a pattern matches is what stays.
            if !below.included.is_excluded {
                is_selected = false;
                is_reachable &= self.include.may_exclude_below(&path);
            }
        }
        let choice = match (is_selected, is_reachable) {
            (true, _) => Choice::Selected,
            (false, true) => Choice::Passed,
            (false, false) => Choice::Skipped,
        };
        (below, choice)
    }

    /// Returns the entry as the copy has it.
    fn entry(&self, path: PathBuf, stat: &Statx) -> Result<Entry, FileError> {
        let kind = kind_of(stat);
        let is_local = !matches!(self.tree, SourceTree::Rootfs { .. });
        let (mode, uid, gid) = match (is_local, kind) {
            (_, Kind::File) if let SourceTree::Download { mode, .. } = self.tree => (*mode, 0, 0),
            (true, Kind::CharacterDevice | Kind::BlockDevice) => {
                return Err(FileError::Special { path: shown(&self.path.join(path)), what: "device" });
            }
            (true, Kind::Directory) => (0o755, 0, 0),
            (true, Kind::Symlink) => (0o777, 0, 0),
            // As git keeps modes: another umask must not be another image.
            (true, _) => (if stat.stx_mode & 0o100 == 0 { 0o644 } else { 0o755 }, 0, 0),
            (false, _) => (u32::from(stat.stx_mode) & 0o7777, stat.stx_uid, stat.stx_gid),
        };
        let n_links = if is_local { 1 } else { stat.stx_nlink };
        let rdev = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let (is_passed, stamp) = (false, Stamp::of(stat));
        Ok(Entry { path, kind, mode, uid, gid, rdev, n_links, is_passed, stamp })
    }
}

/// Returns the paths that match a wildcard, sorted. Directories before the first component with a wildcard may be
/// reached through links; from there on only real directories are entered, as a walk of the tree would.
pub(super) fn wildcard_matches(tree: &SourceTree<'_>, source: &str) -> Result<Vec<PathBuf>, FileError> {
    let parts: Vec<&str> = source.split('/').collect();
    let n_plain = parts.iter().take_while(|part| !ignore::has_wildcard(part)).count();
    let mut globs = Vec::new();
    for part in &parts[n_plain..] {
        let invalid = |reason| FileError::Pattern { pattern: source.to_owned(), reason };
        globs.push(Glob::compile(part).map_err(invalid)?);
    }
    let base: PathBuf = parts[..n_plain].iter().collect();
    let base = tree.root().follow(&base).map_err(io_error("resolve", &base))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = match tree.root().open_at(&base, flags, Mode::empty()) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        result => result.map_err(io_error("open", &base))?,
    };
    let mut found = Vec::new();
    match_below(tree, &directory, &base, &globs, &mut found)?;
    Ok(found)
}

fn match_below(
    tree: &SourceTree<'_>,
    directory: &OwnedFd,
    path: &Path,
    globs: &[Glob],
    found: &mut Vec<PathBuf>,
) -> Result<(), FileError> {
    let Some((glob, deeper)) = globs.split_first() else { return Ok(()) };
    for name in sorted_names(directory).map_err(io_error("list", path))? {
        if !glob.matches(&name.to_string_lossy()) {
            continue;
        }
        let child = path.join(&name);
        if let SourceTree::Local { ignore, .. } = tree {
            let text = child.to_string_lossy();
            if ignore.is_excluded(&text) && !ignore.may_reinclude_below(&text) {
                continue;
            }
        }
        if deeper.is_empty() {
            found.push(child);
        } else if let Ok(fd) = open_directory(directory, Some(&name)) {
            match_below(tree, &fd, &child, deeper, found)?;
        }
    }
    Ok(())
}

fn not_found(tree: &SourceTree<'_>, asked: &Path) -> FileError {
    let place = match tree {
        SourceTree::Local { .. } => "the build context",
        SourceTree::Rootfs { .. } => "the root file system",
        SourceTree::Download { .. } => "what was downloaded",
    };
    FileError::NotFound { path: shown(asked), place }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn is_directory(stat: &Statx) -> bool {
    kind_of(stat) == Kind::Directory
}

fn kind_of(stat: &Statx) -> Kind {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => Kind::File,
    }
}

/// Looks at `name` in a directory without following a link; at the directory itself for `None`.
pub(crate) fn stat_at(directory: impl AsFd, name: Option<&Path>) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name.unwrap_or(Path::new("")), flags, StatxFlags::BASIC_STATS)
}

/// Opens the directory `name` in a directory, no link; the directory itself for `None`.
pub(crate) fn open_directory(directory: impl AsFd, name: Option<&OsStr>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name.unwrap_or(OsStr::new(".")), flags, Mode::empty())
}

pub(super) fn sorted_names(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
