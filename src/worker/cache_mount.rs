//! Cache mounts: directories of the store, empty at first or with the files that their mount names.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::exec::open_path;
use super::file::{FileError, SourceTree};
use super::local::{LocalWorker, WorkerError};
use crate::graph::{CacheSharing, CopyAction, InputIndex, Selector, SourceNaming, Vertex};
use crate::solver::drive::Step;
use crate::solver::key::{Content, Selection};
use crate::store::CacheMountLease;
use crate::sys::root::Root;

/// Where the first content is in a directory of the store: it may be a file.
const CONTENT: &str = "/content";

/// Which cache, as the graph has it.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a str,
    pub(super) sharing: CacheSharing,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// What it holds when it is first made.
    pub(super) from: Option<InputIndex>,
    pub(super) selector: &'a str,
}

/// A cache in use.
pub(super) struct HeldCache {
    path: OwnedFd,
    _lease: CacheMountLease,
}

impl HeldCache {
    /// Returns what is mounted.
    pub(super) fn path(&self) -> BorrowedFd<'_> {
        self.path.as_fd()
    }
}

/// Takes a cache. One that starts `from` files is another for other files, as for BuildKit.
pub(super) fn hold(
    worker: &LocalWorker<'_>,
    vertex: &Vertex,
    step: &Step<'_>,
    wanted: &Wanted<'_>,
) -> Result<HeldCache, WorkerError> {
    let Some(from) = wanted.from else {
        let lease = worker.store.cache_mount(wanted.id, wanted.sharing, wanted.mode, wanted.owner)?;
        return held(lease, wanted.selector);
    };
    let selection = Selection { input: from, files: Selector::path(wanted.selector) };
    let files = worker.mount_digest(vertex, step.inputs, &selection)?;
    let id = format!("{}:{files}", wanted.id);
    let fill = |place: &Root| fill(worker, vertex, step, &selection, place);
    let lease = worker.store.cache_mount_from(&id, wanted.sharing, fill)?;
    held(lease, CONTENT)
}

fn held(lease: CacheMountLease, path: &str) -> Result<HeldCache, WorkerError> {
    let directory = lease.directory().try_clone_to_owned();
    let directory = directory.map_err(|source| WorkerError::Io { what: "open a cache mount".to_owned(), source })?;
    let path = open_path(&Root::from_fd(directory), Path::new(path)).map_err(|error| match error {
        // Also where a link leads: it counts within the cache alone.
        WorkerError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            FileError::NotFound { path: path.to_owned(), place: "the cache mount" }.into()
        }
        error => error,
    })?;
    Ok(HeldCache { path, _lease: lease })
}

fn fill(
    worker: &LocalWorker<'_>,
    vertex: &Vertex,
    step: &Step<'_>,
    selection: &Selection,
    place: &Root,
) -> Result<(), WorkerError> {
    let index = selection.input.0 as usize;
    let path = &selection.files.source;
    let action = CopyAction { naming: SourceNaming::Literal, ..CopyAction::new(InputIndex(0), path, CONTENT) };
    let epoch = worker.settings.epoch;
    match &step.inputs[index] {
        content @ (Content::Local | Content::Fetched(_)) => {
            let files = worker.open_input(vertex.inputs[index], content)?;
            Ok(super::file::copy(&action, &files.tree(), place, None, epoch)?)
        }
        Content::Rootfs(stack) => {
            worker.layers.materialise(stack)?;
            let root = Root::from_fd(worker.store.view(stack)?);
            super::file::copy(&action, &SourceTree::Rootfs { root: &root }, place, None, epoch)?;
            copy_mode(&root, path, place)
        }
    }
}

/// A copy makes the directory that it copies into; here it is the directory that is copied.
fn copy_mode(from: &Root, path: &str, place: &Root) -> Result<(), WorkerError> {
    let stat = rustix::fs::fstat(open_path(from, Path::new(path))?);
    let change = stat.and_then(|stat| {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let directory = place.open_at(Path::new(CONTENT), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let directory =
            directory.map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))?;
        rustix::fs::fchown(&directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777))
    });
    change.map_err(|error| WorkerError::Io { what: format!("start a cache mount from `{path}`"), source: error.into() })
}
