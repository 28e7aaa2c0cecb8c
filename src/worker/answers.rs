//! Notes what the cache answers in a run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::graph::{SourceOp, VertexId};
use crate::solver::key::CacheKey;
use crate::solver::lookups::{Found, Lookup, Lookups};

/// The answers so far; filled by all threads that probe. The mutex protects the lists, and nothing waits under it.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Lookups>);

impl Answers {
    /// Returns the answers so far.
    pub fn so_far(&self) -> Lookups {
        self.lists().clone()
    }

    /// Notes what a source on the network was.
    pub fn note_identity(&self, source: &SourceOp, identity: String) {
        self.lists().identities.insert(source.clone(), identity);
    }

    fn lists(&self) -> MutexGuard<'_, Lookups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key that a step was looked up under.
    pub fn key(&self, vertex: VertexId) -> Option<Digest> {
        self.lists().key(vertex)
    }

    /// Notes what was found of a step.
    pub fn note(&self, vertex: VertexId, key: CacheKey, found: Found) {
        self.lists().steps.insert(vertex, Arc::new(Lookup { key, found }));
    }

    pub(super) fn note_fetched(&self, vertex: VertexId, content: Digest) {
        self.lists().fetched.insert(vertex, content);
    }
}
