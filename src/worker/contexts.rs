//! The user's directories: opened once, hashed once a run, with a stat cache that outlives the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::file::{self, FileError, SourceTree, StatCache};
use super::remembered::selection_name;
use crate::digest::Digest;
use crate::dockerfile::ignore::Matcher;
use crate::graph::LocalSource;
use crate::solver::key::Selection;
use crate::solver::listing::Listing;
use crate::store::Store;
use crate::sys::root::Root;

/// The name of the stat cache in the store's state directory.
const STATS: &str = "stat-cache";

/// An open context.
#[derive(Debug)]
pub struct OpenContext {
    root: Root,
    ignore: Matcher,
}

impl OpenContext {
    /// Returns the files that a copy may read.
    pub fn tree(&self) -> SourceTree<'_> {
        SourceTree::Local { root: &self.root, ignore: &self.ignore }
    }
}

/// All contexts of a run.
pub struct Contexts {
    directory: PathBuf,
    /// Directories that are elsewhere, by the path that sources name them by.
    placed: BTreeMap<String, PathBuf>,
    stats: StatCache,
    /// Protects the map; a context is opened under it, which is short.
    open: Mutex<BTreeMap<LocalSource, Arc<OpenContext>>>,
    /// One lock for each selection, held while it is hashed, so that none is hashed twice.
    digests: Mutex<BTreeMap<(LocalSource, Selection), DigestCell>>,
}

type DigestCell = Arc<Mutex<Option<Digest>>>;

impl Contexts {
    /// Opens contexts below `directory`, those of `placed` where that says; reads the stat cache of an earlier run from `store`. `now` is the
    /// time since 1970, before any file is looked at.
    pub fn new(directory: PathBuf, placed: BTreeMap<String, PathBuf>, store: &Store, now: Duration) -> Contexts {
        let known = store.read_state(STATS).unwrap_or_default();
        let stats = StatCache::load(&known, now);
        Contexts { directory, placed, stats, open: Mutex::default(), digests: Mutex::default() }
    }

    /// Opens a context, or returns the one that is open.
    ///
    /// # Errors
    /// The directory is not there, or its ignore file has a pattern that is none.
    pub fn open(&self, source: &LocalSource) -> Result<Arc<OpenContext>, FileError> {
        let mut open = self.open.lock().expect("opening does not panic");
        if let Some(context) = open.get(source) {
            return Ok(Arc::clone(context));
        }
        let path = self.placed.get(&source.path).cloned().unwrap_or_else(|| self.directory.join(&source.path));
        let root = Root::open(&path).map_err(|error| FileError::Io {
            verb: "open the context",
            path: source.path.clone(),
            source: error,
        })?;
        let ignore =
            Matcher::new(&source.ignore).map_err(|error| FileError::Ignore { context: source.path.clone(), error })?;
        let context = Arc::new(OpenContext { root, ignore });
        open.insert(source.clone(), Arc::clone(&context));
        Ok(context)
    }

    /// Returns what is known of files.
    pub fn stats(&self) -> &StatCache {
        &self.stats
    }

    /// Returns the content digest of what is selected; hashed at the first call, remembered for the run.
    ///
    /// # Errors
    /// The selected path is not there or cannot be read.
    pub fn digest(&self, source: &LocalSource, selection: &Selection) -> Result<Digest, FileError> {
        let cell = {
            // The input's place in a vertex is no part of what is selected.
            let selection = Selection { input: crate::graph::InputIndex(0), ..selection.clone() };
            let mut digests = self.digests.lock().expect("no work is done under this lock");
            Arc::clone(digests.entry((source.clone(), selection)).or_default())
        };
        let mut digest = cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match *digest {
            Some(digest) => Ok(digest),
            None => Ok(*digest.insert(self.hash(source, selection)?)),
        }
    }

    /// Hashes again and returns the files of the selection, if they are still what [`Contexts::digest`] said, with that.
    ///
    /// # Errors
    /// As [`Contexts::digest`].
    pub fn look_again(
        &self,
        source: &LocalSource,
        selection: &Selection,
    ) -> Result<Option<(Digest, Listing)>, FileError> {
        let before = self.digest(source, selection)?;
        Ok(Some(self.listing(source, selection)?).filter(|(now, _)| *now == before))
    }

    /// Returns the files of a selection as they are now, and their digest.
    ///
    /// # Errors
    /// As [`Contexts::digest`].
    pub fn listing(&self, source: &LocalSource, selection: &Selection) -> Result<(Digest, Listing), FileError> {
        let context = self.open(source)?;
        file::content_listing(&context.tree(), &selection.files, Some(&self.stats))
    }

    /// Names a selection whatever its files and its ignore file say, so that an edit of either can be explained.
    pub fn listing_name(&self, source: &LocalSource, selection: &Selection) -> Digest {
        selection_name(&self.directory.join(&source.path).to_string_lossy(), &selection.files)
    }

    /// Keeps the stat cache for the next run. A failure costs only time then.
    pub fn save(&self, store: &Store) {
        _ = store.write_state(STATS, &self.stats.to_bytes());
    }

    fn hash(&self, source: &LocalSource, selection: &Selection) -> Result<Digest, FileError> {
        let context = self.open(source)?;
        file::content_digest(&context.tree(), &selection.files, Some(&self.stats))
    }
}
