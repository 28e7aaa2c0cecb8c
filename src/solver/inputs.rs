//! The digest of everything that decides a target's result for a platform: its pinned plan with local files by content.
//!
//! It can be computed without running a step and without a cache: from the definition alone, once images are resolved
//! and what is selected of the user's directories is hashed. Two checkouts with equal files and pins have equal digests.

use std::collections::BTreeMap;

use super::key::{Content, Selection, selections};
use super::scheduler::reachable;
use crate::digest::{Digest, FieldHasher};
use crate::graph::{Definition, LocalSource, Op, SourceOp, VertexId};
use crate::oci::ImageConfig;

/// Computes inputs digests over one definition; what several targets share is computed once.
pub struct Inputs<'a, E> {
    definition: &'a Definition,
    epoch: i64,
    local_digest: &'a dyn Fn(&LocalSource, &Selection) -> Result<Digest, E>,
    contents: &'a BTreeMap<VertexId, Content>,
    known: BTreeMap<VertexId, Digest>,
}

impl<'a, E> Inputs<'a, E> {
    /// Asks `local_digest` for the content of what is selected of a local directory; `contents` has what came over the
    /// network. `epoch` is the latest time that a layer may hold, seconds since 1970.
    pub fn new(
        definition: &'a Definition,
        epoch: i64,
        local_digest: &'a dyn Fn(&LocalSource, &Selection) -> Result<Digest, E>,
        contents: &'a BTreeMap<VertexId, Content>,
    ) -> Inputs<'a, E> {
        Inputs { definition, epoch, local_digest, contents, known: BTreeMap::new() }
    }

    /// Returns the digest for a target whose root file system is `root` and whose config, layers apart, is `config`.
    ///
    /// # Errors
    /// What `local_digest` says.
    pub fn digest(&mut self, root: Option<VertexId>, config: &ImageConfig) -> Result<Digest, E> {
        for id in reachable(self.definition, root.as_slice()) {
            if !self.known.contains_key(&id) {
                let digest = self.vertex(id)?;
                self.known.insert(id, digest);
            }
        }
        let root = root.map(|root| self.known[&root]);
        let mut hasher = FieldHasher::new("bake.inputs.v1");
        hasher.list("root", root.as_slice().iter().map(Digest::as_bytes));
        hasher.field("config", config.to_bytes());
        hasher.field("epoch", self.epoch.to_string());
        Ok(hasher.finish())
    }

    /// Returns the steps that `root` needs, inputs before their readers, with their digests. [`Inputs::digest`] was asked for
    /// it before.
    pub fn reached(&self, root: Option<VertexId>) -> Vec<(VertexId, Digest)> {
        let steps = reachable(self.definition, root.as_slice());
        steps.into_iter().filter_map(|id| Some((id, self.known(id)?))).collect()
    }

    /// Returns the digest of everything that decides a step's result, if it was computed.
    pub fn known(&self, id: VertexId) -> Option<Digest> {
        self.known.get(&id).copied()
    }

    /// Computes a vertex's digest; its inputs' are known.
    fn vertex(&self, id: VertexId) -> Result<Digest, E> {
        let vertex = self.definition.vertex(id);
        let mut hasher = FieldHasher::new("bake.inputs.vertex.v1");
        // A local directory's path is in its readers' digests through what they select of it. What a URL or a ref stands
        // for moves.
        let op = match (&vertex.op, self.contents.get(&id)) {
            (Op::Source(SourceOp::Local(_)), _) => Vec::new(),
            (_, Some(Content::Fetched(content))) => content.as_bytes().to_vec(),
            (op, _) => serde_json::to_vec(op).expect("an op has only text keys"),
        };
        hasher.field("op", op);
        hasher.list("inputs", vertex.inputs.iter().map(|input| self.known[input].as_bytes()));
        for selection in selections(&vertex.op) {
            let input = vertex.inputs[selection.input.0 as usize];
            if let Op::Source(SourceOp::Local(source)) = &self.definition.vertex(input).op {
                hasher.field("files", (self.local_digest)(source, &selection)?.as_bytes());
            }
        }
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CopyAction, FileAction, FileOp, InputIndex, VertexMetadata};

    /// Returns the digest of a target that copies `files` of a directory at `path`.
    fn digest(path: &str, files: &[u8], epoch: i64) -> Digest {
        let mut definition = Definition::default();
        let local = Op::Source(SourceOp::Local(LocalSource { path: path.to_owned(), ignore: Vec::new() }));
        let local = definition.add(local, Vec::new(), VertexMetadata::default());
        let (owner, mode, exclude, unpack) = (None, None, Vec::new(), false);
        let (source, dest) = ("/".to_owned(), "/app/".to_owned());
        let copy = CopyAction { owner, mode, exclude, unpack, ..CopyAction::new(InputIndex(0), source, dest) };
        let copy = Op::File(FileOp { root: None, actions: vec![FileAction::Copy(copy)] });
        let root = definition.add(copy, vec![local], VertexMetadata::default());
        let local_digest = |_: &LocalSource, _: &Selection| Ok::<_, ()>(Digest::of(files));
        let contents = BTreeMap::new();
        let mut inputs = Inputs::new(&definition, epoch, &local_digest, &contents);
        inputs.digest(Some(root), &ImageConfig::default()).expect("cannot fail")
    }

    #[test]
    fn files_and_epoch_decide_and_where_the_directory_is_does_not() {
        assert_eq!(digest("a", b"x", 0), digest("b", b"x", 0));
        assert_ne!(digest("a", b"x", 0), digest("a", b"y", 0));
        assert_ne!(digest("a", b"x", 0), digest("a", b"x", 1));
    }
}
