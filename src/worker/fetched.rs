//! Files from the network (ADD of URLs and repositories), as steps read them.
//!
//! How they are brought in is not known here ([`Fetch`]); each source is brought in once a run, before what reads it is
//! looked up in the cache, because what is there now decides that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

use super::file::{self, FileError, SourceTree};
use crate::digest::{Digest, FieldHasher};
use crate::graph::{Selector, SourceOp, VertexId};
use crate::sys::root::Root;

/// Brings files in over the network.
pub trait Fetch: Sync {
    /// Brings in what `source` names, a git repository or a URL, with what `targets` give to those who read them.
    ///
    /// # Errors
    /// They cannot be had, or are not what was expected.
    fn fetch(&self, source: &SourceOp, targets: &BTreeSet<&str>) -> Result<FetchedFiles, FetchError>;
}

/// What was brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFiles {
    /// Where it is; nobody changes it.
    pub directory: PathBuf,
    /// Says what it is: equal digests, equal names and bytes.
    pub content: Digest,
    /// What it is as others name it: a commit, or `algorithm:hex` of a file.
    pub identity: String,
    /// Modification time, seconds since 1970.
    pub modified: i64,
    /// What is in the directory.
    pub shape: Shape,
}

/// What there is in a directory of fetched files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A tree with modes and times of its own.
    Tree,
    /// One file, which has this mode.
    File(u32),
}

/// Why files could not be brought in. Nothing in it is secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// What happened.
    pub message: String,
    /// What the user can do.
    pub hints: Vec<String>,
    /// Where it went wrong.
    pub blame: Blame,
}

/// Where it went wrong that files could not be brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// In what the user's files say.
    Definition,
    /// On this host.
    Host,
    /// At the server, or on the way to it.
    Remote,
}

/// All files from the network of a run.
pub struct Fetched<'a> {
    fetch: &'a dyn Fetch,
    /// What was brought in so far; the mutex protects single look-ups.
    files: Mutex<BTreeMap<VertexId, FetchedFiles>>,
}

impl<'a> Fetched<'a> {
    /// Brings files in by `fetch`.
    pub fn new(fetch: &'a dyn Fetch) -> Fetched<'a> {
        Fetched { fetch, files: Mutex::default() }
    }

    /// Brings in what the vertex `id` names and returns a digest of all that a copy can take from it, times included as
    /// far as a layer holds them: up to `epoch`, seconds since 1970. Waits for the network.
    ///
    /// # Errors
    /// See [`Fetch::fetch`].
    pub fn bring(
        &self,
        id: VertexId,
        source: &SourceOp,
        targets: &BTreeSet<&str>,
        epoch: i64,
    ) -> Result<Digest, FetchError> {
        let files = self.fetch.fetch(source, targets)?;
        let mut hasher = FieldHasher::new("bake.fetched.v1");
        hasher.field("content", files.content.as_bytes());
        hasher.field("modified", files.modified.min(epoch).to_le_bytes());
        if let Shape::File(mode) = files.shape {
            hasher.field("mode", mode.to_le_bytes());
        }
        self.files.lock().expect("no work is done under this lock").insert(id, files);
        Ok(hasher.finish())
    }

    /// Returns what was brought in so far, as others name it, by the vertex that names it.
    pub fn identities(&self) -> Vec<(VertexId, String)> {
        let files = self.files.lock().expect("no work is done under this lock");
        files.iter().map(|(id, files)| (*id, files.identity.clone())).collect()
    }

    /// Opens what was brought in for the vertex `id`.
    ///
    /// # Errors
    /// Its directory is gone, or it was never brought in.
    pub fn open(&self, id: VertexId) -> Result<OpenFetched, FileError> {
        let files = self.files.lock().expect("no work is done under this lock").get(&id).cloned();
        let files = files.ok_or(FileError::NotFetched)?;
        let root = Root::open(&files.directory).map_err(file::io_error("open", &files.directory))?;
        Ok(OpenFetched { root, files })
    }
}

/// Files from the network, open.
pub struct OpenFetched {
    root: Root,
    files: FetchedFiles,
}

impl OpenFetched {
    /// Returns the files that a copy may read.
    pub fn tree(&self) -> SourceTree<'_> {
        match self.files.shape {
            Shape::Tree => SourceTree::Rootfs { root: &self.root },
            Shape::File(mode) => SourceTree::Download { root: &self.root, mode, modified: self.files.modified },
        }
    }

    /// Returns the digest of what a copy of `files` would write, times included as far as a layer holds them.
    ///
    /// # Errors
    /// As [`file::select`].
    pub fn content_digest(&self, files: &Selector, epoch: i64) -> Result<Digest, FileError> {
        let mut hasher = FieldHasher::new("bake.fetched.files.v1");
        hasher.field("files", file::content_digest(&self.tree(), files, None)?.as_bytes());
        hasher.field("modified", self.files.modified.min(epoch).to_le_bytes());
        Ok(hasher.finish())
    }
}
