//! Cache mounts: directories of the store, empty at first or with the files that their mount names.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::exec::open_path;
use super::file::{FileError, SourceTree};
use super::local::{LocalWorker, WorkerError};
use crate::graph::{CacheSharing, CopyAction, InputIndex, Selector, SourceNaming, Vertex};
use crate::platform::Platform;
use crate::solver::drive::Step;
use crate::solver::key::{Content, Selection};
use crate::store::{CacheMountLease, CacheMountRequest};
use crate::sys::root::Root;

/// Where the first content is in a directory of the store: it may be a file.
const CONTENT: &str = "/content";

/// Which cache, as the graph has it.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a str,
    /// Whose binaries use it, where the user gave it no name of its own.
    pub(super) platform: Option<&'a Platform>,
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
    _lease: Arc<CacheMountLease>,
}

/// The caches of a step by id: one that is mounted twice is taken once, or a locked one would wait for itself.
pub(super) type Leases = BTreeMap<String, Arc<CacheMountLease>>;

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
    leases: &mut Leases,
) -> Result<HeldCache, WorkerError> {
    // What one platform's compiler caches is of no use to another's, or worse. Who names a cache means that very one.
    let id = match wanted.platform {
        Some(platform) => format!("{}@{platform}", wanted.id),
        None => wanted.id.to_owned(),
    };
    let request = CacheMountRequest { id: &id, sharing: wanted.sharing, cancel: step.cancel };
    let Some(from) = wanted.from else {
        let take = || worker.store.cache_mount(&request, wanted.mode, wanted.owner).map_err(WorkerError::from);
        return held(once(leases, &id, take)?, wanted.selector);
    };
    let selection = Selection { input: from, files: Selector::path(wanted.selector) };
    let files = worker.mount_digest(vertex, step.inputs, &selection)?;
    let id = format!("{id}:{files}");
    let fill = |place: &Root| fill(worker, vertex, step, &selection, place);
    let take = || worker.store.cache_mount_from(&CacheMountRequest { id: &id, ..request }, fill);
    held(once(leases, &id, take)?, CONTENT)
}

/// Returns the lease that the step has, or takes it.
fn once(
    leases: &mut Leases,
    id: &str,
    take: impl FnOnce() -> Result<CacheMountLease, WorkerError>,
) -> Result<Arc<CacheMountLease>, WorkerError> {
    if let Some(lease) = leases.get(id) {
        return Ok(Arc::clone(lease));
    }
    let lease = Arc::new(take()?);
    leases.insert(id.to_owned(), Arc::clone(&lease));
    Ok(lease)
}

fn held(lease: Arc<CacheMountLease>, path: &str) -> Result<HeldCache, WorkerError> {
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
