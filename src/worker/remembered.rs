//! Digests of files that never change: found once, kept in the store for good.

use super::local::{Effects, LocalWorker, WorkerError};
use crate::digest::{DiffId, Digest, FieldHasher, chain_id};
use crate::graph::Selector;

impl LocalWorker<'_> {
    /// Returns the digest that is kept under `memo`, else the one that `find` finds, and keeps that.
    pub(super) fn remembered(
        &self,
        memo: &Digest,
        find: impl FnOnce() -> Result<Digest, WorkerError>,
    ) -> Result<Digest, WorkerError> {
        if let Some(Ok(digest)) = self.store.memo(memo).map(|text| text.parse()) {
            return Ok(digest);
        }
        let digest = find()?;
        if self.settings.effects == Effects::All {
            self.store.put_memo(memo, &digest.to_string())?;
        }
        Ok(digest)
    }

    /// Makes sure that the files of `stack` can be read; without effects, only says whether they can.
    pub(super) fn materialise(&self, stack: &[DiffId]) -> Result<(), WorkerError> {
        match self.settings.effects {
            Effects::All => Ok(self.layers.materialise(stack)?),
            Effects::None if self.store.missing_snapshots(stack).is_empty() => Ok(()),
            Effects::None => Err(WorkerError::NotHere),
        }
    }
}

/// Names a stack of layers in a memo.
pub(super) fn stack_name(stack: &[DiffId]) -> String {
    chain_id(stack).map_or(String::new(), |chain| chain.to_string())
}

/// Returns what names a selection of a tree.
pub(super) fn selection_name(tree: &str, files: &Selector) -> Digest {
    let mut hasher = FieldHasher::new("bake.selection.v2");
    hasher.field("tree", tree).field("source", &files.source).field("naming", format!("{:?}", files.naming));
    for (name, patterns) in [("exclude", &files.exclude), ("include", &files.include), ("required", &files.required)] {
        hasher.list(name, patterns.iter());
    }
    hasher.finish()
}
