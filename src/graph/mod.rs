//! The step graph of a whole run: content-addressed vertices, each with its op and its inputs.
//!
//! In: ops with the vertices they read. Out: a [`Definition`] in which equal steps exist once over all targets and
//! platforms. Knows nothing of Dockerfiles, caches or files.
//!
//! Invariants: a vertex can only be added when its inputs are there, because its digest contains theirs; so there are no
//! cycles and every input's id is smaller than its reader's. What decides a result's bytes is in the [`VertexDigest`];
//! names, lines and targets ([`VertexMetadata`]) are not. The digest is the same on every machine.

mod op;
mod remote;
mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::Span;
use crate::digest::{Digest, FieldHasher};
use crate::platform::Platform;

pub use crate::bakefile::{Resources, Swap, Ulimit};
pub use crate::dockerfile::NetworkMode;
pub use op::{
    CacheSharing, CopyAction, DiffOp, ExecOp, FileAction, FileOp, Id, InputIndex, LocalSource, MergeOp, ModeChange,
    Mount, MountKind, Op, Owner, ProxyEnv, SecretEnv, SecretFile, SecurityMode, SourceNaming, SourceOp,
};
pub use remote::{GitSource, HttpSource};
pub use selector::Selector;

/// A vertex of one [`Definition`]; ordered so that inputs come before their readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

/// Identity of a step within a run: digest of its op and its inputs' digests. The same on every machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexDigest(pub Digest);

impl fmt::Debug for VertexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it reads; the op refers to them by [`InputIndex`].
    pub inputs: Vec<VertexId>,
    /// Its identity.
    pub digest: VertexDigest,
    /// How people know it; from the first target that asked for it.
    pub metadata: VertexMetadata,
}

/// How people know a step. Decides no byte and is no part of any digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VertexMetadata {
    /// As progress shows it: `[linux/arm64 build 2/4] RUN make`.
    pub name: String,
    /// The instruction in the Dockerfile.
    pub span: Option<Span>,
    /// Further instructions that ask for the same step, in the order in which they were met.
    pub also: Vec<Span>,
    /// The instruction's text, for those who look for it in the graph; empty where there is none.
    pub command: String,
    /// The stage that the instruction stands in: its name, or `stage-N`; empty where there is none.
    pub stage: String,
    /// Names of those variables of a process that ARG declared.
    pub arguments: Vec<String>,
    /// The name that a source was asked for by, where its op does not say it.
    pub source_name: String,
    /// The platform it is for, where it is for one.
    pub platform: Option<Platform>,
    /// The cache is not asked for it (`--no-cache`).
    pub ignore_cache: bool,
    /// What its processes may use together. They decide whether it gets done and not what comes of it.
    pub resources: Resources,
}

/// The steps of a run.
#[derive(Debug, Default)]
pub struct Definition {
    graph: DiGraph<Vertex, ()>,
    by_digest: BTreeMap<VertexDigest, VertexId>,
    targets: BTreeMap<VertexId, BTreeSet<String>>,
}

impl Definition {
    /// Adds a step and returns it; where an equal one is there, returns that one and drops `metadata` (a step is asked of
    /// the cache only if nobody who wants it said not to; it may use what the most generous of them allows).
    ///
    /// Each of `inputs` was returned by this definition.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexId>, metadata: VertexMetadata) -> VertexId {
        let digest = self.digest_of(&op, &inputs);
        if let Some(id) = self.by_digest.get(&digest) {
            let vertex = &mut self.graph[node(*id)];
            let known = &mut vertex.metadata;
            known.ignore_cache |= metadata.ignore_cache;
            known.resources = known.resources.relaxed(&metadata.resources);
            if let Some(span) = metadata.span
                && known.span != Some(span)
                && !known.also.contains(&span)
            {
                known.also.push(span);
            }
            return *id;
        }
        let index = self.graph.add_node(Vertex { op, inputs: inputs.clone(), digest, metadata });
        for input in inputs {
            self.graph.update_edge(node(input), index, ());
        }
        let id = VertexId(u32::try_from(index.index()).expect("petgraph counts nodes in 32 bits"));
        self.by_digest.insert(digest, id);
        id
    }

    /// Notes that `target` wants `vertex` and, through it, all it reads.
    pub fn wanted_by(&mut self, vertex: VertexId, target: &str) {
        let mut queue = vec![vertex];
        while let Some(id) = queue.pop() {
            if self.targets.entry(id).or_default().insert(target.to_owned()) {
                queue.extend(self.vertex(id).inputs.iter().copied());
            }
        }
    }

    /// Returns the targets that want `vertex`, sorted.
    pub fn targets_of(&self, vertex: VertexId) -> impl Iterator<Item = &str> {
        self.targets.get(&vertex).into_iter().flatten().map(String::as_str)
    }

    /// Returns a step.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.graph[node(id)]
    }

    /// Returns the manifest of the image that `id`'s root file system was built on; `None` for scratch.
    pub fn base_image(&self, id: VertexId) -> Option<Digest> {
        let vertex = self.vertex(id);
        let root = match &vertex.op {
            Op::Source(SourceOp::Image { manifest, .. }) => return Some(*manifest),
            Op::Source(SourceOp::Local(_) | SourceOp::Git(_) | SourceOp::Http(_)) => None,
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.root,
            Op::Merge(merge) => merge.layers.first().copied(),
            Op::Diff(diff) => diff.upper,
        };
        self.base_image(*vertex.inputs.get(root?.0 as usize)?)
    }

    /// Returns the steps that read `id`, each once, in ascending order.
    pub fn readers(&self, id: VertexId) -> Vec<VertexId> {
        let mut readers: Vec<VertexId> = self
            .graph
            .neighbors_directed(node(id), Direction::Outgoing)
            .map(|index| VertexId(index.index() as u32))
            .collect();
        readers.sort_unstable();
        readers
    }

    /// Returns all steps, inputs before their readers.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = VertexId> + use<> {
        (0..self.len() as u32).map(VertexId)
    }

    /// Returns how many steps there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Says whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn digest_of(&self, op: &Op, inputs: &[VertexId]) -> VertexDigest {
        let op = serde_json::to_vec(op).expect("an op has only text keys");
        let mut hasher = FieldHasher::new("bake.vertex.v1");
        hasher.field("op", op);
        hasher.list("inputs", inputs.iter().map(|id| *self.vertex(*id).digest.0.as_bytes()));
        VertexDigest(hasher.finish())
    }
}

fn node(id: VertexId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str) -> Op {
        Op::Source(SourceOp::Local(LocalSource { path: path.to_owned(), ignore: Vec::new() }))
    }

    fn mkdir(path: &str) -> Op {
        let action = FileAction::Mkdir { path: path.to_owned(), mode: 0o755, owner: None };
        Op::File(FileOp { root: None, actions: vec![action] })
    }

    #[test]
    fn equal_steps_exist_once_and_keep_their_first_name() {
        let mut definition = Definition::default();
        let named = |name: &str| VertexMetadata { name: name.to_owned(), ..VertexMetadata::default() };
        let a = definition.add(local("."), Vec::new(), named("first"));
        let b = definition.add(local("."), Vec::new(), named("second"));
        assert_eq!(a, b);
        assert_eq!(definition.vertex(a).metadata.name, "first");
        let mut sources = crate::diagnostic::SourceMap::default();
        let file = sources.add("Dockerfile", "RUN a\nRUN a\n");
        for span in [Span::new(file, 0, 5), Span::new(file, 6, 11), Span::new(file, 6, 11)] {
            definition.add(local("at"), Vec::new(), VertexMetadata { span: Some(span), ..VertexMetadata::default() });
        }
        let shared = definition.add(local("at"), Vec::new(), VertexMetadata::default());
        assert_eq!(definition.vertex(shared).metadata.also, [Span::new(file, 6, 11)]);
        assert_ne!(a, definition.add(local("web"), Vec::new(), named("third")));
        assert_eq!(definition.len(), 3);
    }

    #[test]
    fn a_step_differs_when_its_input_differs() {
        let mut definition = Definition::default();
        let a = definition.add(local("a"), Vec::new(), VertexMetadata::default());
        let b = definition.add(local("b"), Vec::new(), VertexMetadata::default());
        let over_a = definition.add(mkdir("/x"), vec![a], VertexMetadata::default());
        let over_b = definition.add(mkdir("/x"), vec![b], VertexMetadata::default());
        assert_ne!(over_a, over_b);
        assert_eq!(definition.readers(a), [over_a]);
        definition.wanted_by(over_a, "web");
        assert_eq!(definition.targets_of(a).collect::<Vec<_>>(), ["web"]);
        assert_eq!(definition.targets_of(b).count(), 0);
    }

    #[test]
    fn the_base_image_is_found_beneath_all_steps() {
        let mut definition = Definition::default();
        let manifest = Digest::of(b"manifest");
        let image = Op::Source(SourceOp::Image { manifest, diff_ids: Vec::new() });
        let image = definition.add(image, Vec::new(), VertexMetadata::default());
        let mkdir = |path: &str| FileAction::Mkdir { path: path.to_owned(), mode: 0o755, owner: None };
        let over = |path| Op::File(FileOp { root: Some(InputIndex(0)), actions: vec![mkdir(path)] });
        let first = definition.add(over("/a"), vec![image], VertexMetadata::default());
        let second = definition.add(over("/b"), vec![first], VertexMetadata::default());
        let scratch = Op::File(FileOp { root: None, actions: vec![mkdir("/c")] });
        let scratch = definition.add(scratch, vec![image], VertexMetadata::default());
        assert_eq!((definition.base_image(second), definition.base_image(scratch)), (Some(manifest), None));
    }

    #[test]
    fn vertex_digests_are_pinned() {
        let mut definition = Definition::default();
        let id = definition.add(mkdir("/app"), Vec::new(), VertexMetadata::default());
        expect_test::expect!["sha256:e3cc606e349c069b101943afdabe066c2b91251fa01216549bd72e59736d496a"]
            .assert_eq(&definition.vertex(id).digest.0.to_string());
    }
}
