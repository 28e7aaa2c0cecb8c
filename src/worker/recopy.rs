//! COPY of a large directory: remembers what was written, and writes only the differences the next time.

use super::file::{self, difference};
use super::local::{LocalWorker, WorkerError};
use crate::digest::{DiffId, Digest, FieldHasher};
use crate::graph::{CopyAction, FileAction, FileOp, Op, SourceOp, Vertex, VertexId};
use crate::solver::drive::Step;
use crate::solver::key::{Content, selections};
use crate::sys::root::Root;

/// Differences that are laid over each other before a layer is written whole again: each costs an overlay layer.
const MAX_DEPTH: usize = 8;

/// A copy that may be one of the differences alone.
pub(super) struct Recopy<'o> {
    action: &'o CopyAction,
    from: VertexId,
    directory: difference::Directory,
    /// Names the step without the content of its files.
    name: Digest,
}

impl LocalWorker<'_> {
    /// Returns the one large local directory that a step copies, if it does that and nothing else.
    pub(super) fn recopy<'o>(
        &self,
        vertex: &Vertex,
        op: &'o FileOp,
        step: &Step<'_>,
    ) -> Result<Option<Recopy<'o>>, WorkerError> {
        let Some((action, from)) = self.only_copy(vertex, op, step) else { return Ok(None) };
        let context = self.contexts.open(self.local_source(from))?;
        let Some(directory) = difference::directory(action, &context.tree(), self.contexts.stats())? else {
            return Ok(None);
        };
        let selected = selections(&vertex.op)
            .iter()
            .map(|selection| self.local_digest(from, selection))
            .collect::<Result<Vec<_>, _>>()?;
        let mut hasher = FieldHasher::new("bake.copied.v1");
        hasher.field("context", &self.local_source(from).path).field("source", &action.source);
        for ingredient in &step.key.ingredients {
            if !selected.iter().any(|digest| digest.to_string() == ingredient.value) {
                hasher.field(&ingredient.name, &ingredient.value);
            }
        }
        Ok(Some(Recopy { action, from, directory, name: hasher.finish() }))
    }

    /// Writes only the differences to what the step wrote the last time. `None` where that is not known or too different.
    pub(super) fn copy_difference(
        &self,
        recopy: &Recopy<'_>,
        vertex: &Vertex,
        step: &Step<'_>,
        parent: &[DiffId],
    ) -> Result<Option<DiffId>, WorkerError> {
        let action = recopy.action;
        let Some((over, earlier)) = self.store.copied(&recopy.name) else { return Ok(None) };
        let Some(earlier) = difference::Manifest::from_bytes(&earlier) else { return Ok(None) };
        let stack: Vec<DiffId> = parent.iter().copied().chain([over]).collect();
        if !(1..MAX_DEPTH).contains(&self.store.depth(&stack)) {
            return Ok(None);
        }
        let below = Root::from_fd(self.store.view(parent)?);
        let Some(difference) = recopy.directory.difference(&earlier, action, &below)? else { return Ok(None) };
        let context = self.contexts.open(self.local_source(recopy.from))?;
        let mut snapshot = self.store.prepare_over(parent, Some(over))?;
        snapshot.mark(recopy.directory.first_change(&difference, action, snapshot.root())?);
        let owner = action.owner.as_ref().map(|owner| file::resolve_owner(&below, owner)).transpose()?;
        let how = (owner, self.settings.epoch);
        recopy.directory.apply(&difference, action, &context.tree(), snapshot.root(), how)?;
        self.commit_unchanged(snapshot, vertex, step).map(Some)
    }

    /// Remembers what a step wrote.
    pub(super) fn remember(&self, recopy: &Recopy<'_>, diff_id: DiffId) -> Result<(), WorkerError> {
        Ok(self.store.put_copied(&recopy.name, diff_id, &recopy.directory.manifest().to_bytes())?)
    }

    fn only_copy<'o>(&self, vertex: &Vertex, op: &'o FileOp, step: &Step<'_>) -> Option<(&'o CopyAction, VertexId)> {
        let [FileAction::Copy(action)] = op.actions.as_slice() else { return None };
        let from = vertex.inputs[action.from.0 as usize];
        let is_local = step.inputs[action.from.0 as usize] == Content::Local
            && matches!(self.definition.vertex(from).op, Op::Source(SourceOp::Local(_)));
        is_local.then_some((action, from))
    }
}
