//! What the cache was asked in a run, and what it said.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::CacheKey;
use crate::digest::Digest;
use crate::graph::{SourceOp, VertexId};

/// The answers of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// By step; shared, so that the answers so far can be taken while more come.
    pub steps: BTreeMap<VertexId, Arc<Lookup>>,
    /// What came over the network, by source.
    pub fetched: BTreeMap<VertexId, Digest>,
    /// What each source on the network was, as others name it: a commit, or `algorithm:hex`.
    pub identities: BTreeMap<SourceOp, String>,
}

/// One answer.
#[derive(Debug)]
pub struct Lookup {
    /// What was looked up.
    pub key: CacheKey,
    /// What the store had.
    pub found: Found,
}

/// What the store had of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its result.
    Result,
    /// Nothing.
    Nothing,
    /// A record of a result whose layers are gone.
    Lost,
    /// It was not asked (`--no-cache`).
    NotAsked,
}

impl Lookups {
    /// Returns the digest of the key that a step was looked up under.
    pub fn key(&self, vertex: VertexId) -> Option<Digest> {
        self.steps.get(&vertex).map(|lookup| lookup.key.digest)
    }
}
