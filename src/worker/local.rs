//! Runs steps on this machine: file operations in this process, processes in the [`sandbox`](super::sandbox).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::answers::Answers;
use super::cgroup::{Cgroups, LimitError};
use super::contexts::{Contexts, OpenContext};
use super::exec;
use super::fetched::{FetchError, Fetched, OpenFetched};
use super::file::{self, FileError, SourceTree};
use super::layers::{LayerError, Layers};
use super::network::Networks;
use super::platforms::Platforms;
use super::remembered::{selection_name, stack_name};
use super::sandbox::{Launcher, SandboxError};
use super::secrets::{SecretError, Secrets};
use super::unsupported::unsupported;
use crate::digest::{DiffId, Digest};
use crate::graph::{Definition, FileOp, InputIndex, Op, SourceOp, Vertex, VertexId};
use crate::platform::Platform;
use crate::solver::drive::{Step, Worker};
use crate::solver::key::{Content, Selection, cache_key, selections};
use crate::solver::lookups::Found;
use crate::solver::scheduler::Verdict;
use crate::store::{ActiveSnapshot, CacheRecord, Compression, Store, StoreError};
use crate::sys::root::Root;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process ended with another code than zero.
    #[error("exit code {0}")]
    ExitCode(i32),
    /// The process ended with another code than zero, after the kernel killed some of its step for want of memory.
    #[error("exit code {code}: its processes had used up the {memory} bytes of `memory` in `resources`")]
    OutOfMemory {
        /// 128 + 9 where it was the first process of the step.
        code: i32,
        /// The limit.
        memory: u64,
    },
    /// A limit of the step cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The process was killed.
    #[error("killed by signal {0}")]
    Signal(i32),
    /// There is no way to run the platform's binaries here.
    #[error("binaries for {platform} cannot run here: {reason}")]
    NoEmulator {
        /// Which.
        platform: Platform,
        /// Why.
        reason: String,
        /// What mends it.
        hint: String,
    },
    /// The graph says what this engine cannot do; found before anything runs, so nobody should meet it.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    /// A secret or an agent that the step is to have is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Files could not be brought in over the network.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// An input's layer could not be brought in.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The step would have to run, and nothing is to be run now.
    #[error("it would have to run")]
    WouldRun,
    /// What decides the step's key is in layers that were not brought in, and nothing is to be brought in now.
    #[error("the layers that it reads are not in the store")]
    NotHere,
    /// A file of the context changed between hashing and copying.
    #[error("files of the context `{path}` changed while they were copied")]
    ContextChanged {
        /// The context.
        path: String,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted on what.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// What a [`LocalWorker`] is told once.
pub struct LocalSettings {
    /// Latest modification time that a layer may hold, seconds since 1970.
    pub epoch: i64,
    /// Starts steps.
    pub launcher: Launcher,
    /// What probing and running steps may do.
    pub effects: Effects,
}

/// What a [`LocalWorker`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Run steps, bring layers in, write to the store.
    All,
    /// Nothing of that: only what is in the store is looked at, and every miss fails with [`WorkerError::WouldRun`].
    None,
}

/// An input of a file step, open to be read.
pub(super) enum OpenInput {
    Local(Arc<OpenContext>),
    Rootfs(Root),
    Fetched(OpenFetched),
}

impl OpenInput {
    pub(super) fn tree(&self) -> SourceTree<'_> {
        match self {
            OpenInput::Local(context) => context.tree(),
            OpenInput::Rootfs(root) => SourceTree::Rootfs { root },
            OpenInput::Fetched(files) => files.tree(),
        }
    }
}

/// Probes and runs steps on this machine.
pub struct LocalWorker<'a> {
    /// The steps.
    pub definition: &'a Definition,
    /// Keeps results.
    pub store: &'a Store,
    /// Brings inputs' layers in.
    pub layers: &'a Layers<'a>,
    /// The user's directories.
    pub contexts: &'a Contexts,
    /// Which platforms' binaries run here, and how.
    pub platforms: &'a Platforms,
    /// What steps may mount that is no part of any result.
    pub secrets: &'a Secrets,
    /// Files from the network.
    pub fetched: &'a Fetched<'a>,
    /// Steps whose layer goes into an image, and which no step reads: their layer is compressed as it is made.
    pub tops: &'a BTreeSet<VertexId>,
    /// The networks that steps are in.
    pub networks: &'a Networks<'a>,
    /// What limits steps.
    pub cgroups: &'a Cgroups<'a>,
    /// What does not change in a run.
    pub settings: &'a LocalSettings,
    /// Notes what the cache answers.
    pub answers: &'a Answers,
}

impl Worker for LocalWorker<'_> {
    type Error = WorkerError;

    fn probe(&self, vertex: VertexId, inputs: &[Content]) -> Result<Verdict, WorkerError> {
        let id = vertex;
        let vertex = self.definition.vertex(id);
        match &vertex.op {
            Op::Source(SourceOp::Image { diff_ids, .. }) => return Ok(Verdict::Hit(Content::Rootfs(diff_ids.clone()))),
            Op::Source(SourceOp::Local(_)) => return Ok(Verdict::Hit(Content::Local)),
            Op::Source(source @ (SourceOp::Git(_) | SourceOp::Http(_))) => {
                let targets = self.definition.targets_of(id).collect();
                let content = self.fetched.bring(id, source, &targets, self.settings.epoch)?;
                self.answers.note_fetched(id, content);
                return Ok(Verdict::Hit(Content::Fetched(content)));
            }
            Op::Diff(_) => {
                return Err(WorkerError::Unsupported(unsupported(&vertex.op).unwrap_or("this step")));
            }
            Op::Exec(_) | Op::File(_) | Op::Merge(_) => {}
        }
        let selected = self.selected(vertex, inputs)?;
        let key = cache_key(&vertex.op, inputs, &selected, self.settings.epoch);
        let record = match vertex.metadata.ignore_cache {
            true => Err(Found::NotAsked),
            false => self.store.record(&key.digest).ok_or(Found::Nothing),
        };
        match record.and_then(|record| {
            let is_available = self.layers.is_available(&record.diff_ids);
            is_available.then_some(record.diff_ids).ok_or(Found::Lost)
        }) {
            Ok(diff_ids) => {
                self.answers.note(id, key, Found::Result);
                Ok(Verdict::Hit(Content::Rootfs(diff_ids)))
            }
            Err(found) => {
                self.answers.note(id, key.clone(), found);
                Ok(Verdict::Miss(key))
            }
        }
    }

    fn execute(&self, step: &Step<'_>) -> Result<Content, WorkerError> {
        if self.settings.effects == Effects::None {
            return Err(WorkerError::WouldRun);
        }
        let vertex = self.definition.vertex(step.vertex);
        let began = Instant::now();
        let diff_ids = match &vertex.op {
            Op::Exec(exec) => exec::run(self, vertex, exec, step)?,
            Op::File(file) => self.change_files(vertex, file, step)?,
            // The layers lie over one another as they are; whoever needs their files has the snapshots made.
            Op::Merge(merge) => {
                merge.layers.iter().flat_map(|layer| self.stack(Some(*layer), step.inputs)).copied().collect()
            }
            Op::Source(_) | Op::Diff(_) => unreachable!("the probe never misses these"),
        };
        let ingredients = step.key.ingredients.iter().map(|i| (i.name.clone(), i.value.clone())).collect();
        let name = vertex.metadata.name.clone();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.store.put_record(
            &step.key.digest,
            &CacheRecord { diff_ids: diff_ids.clone(), ingredients, duration_ms, name },
        )?;
        Ok(Content::Rootfs(diff_ids))
    }

    fn is_emulated(&self, vertex: VertexId) -> bool {
        match &self.definition.vertex(vertex).op {
            // Whoever runs nothing needs no emulator.
            Op::Exec(exec) => self.settings.effects == Effects::All && self.platforms.is_emulated(&exec.platform),
            Op::Source(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => false,
        }
    }
}

impl LocalWorker<'_> {
    /// Says how the layer of a step is compressed as it is made. Where other steps wait for the layer, it is compressed
    /// only when they have it, as an image is assembled.
    pub(super) fn compression(&self, vertex: VertexId) -> Option<Compression> {
        self.tops.contains(&vertex).then(Compression::default)
    }

    /// Returns the stack that a step changes; empty for scratch.
    pub(super) fn stack<'c>(&self, root: Option<InputIndex>, inputs: &'c [Content]) -> &'c [DiffId] {
        match root.map(|index| &inputs[index.0 as usize]) {
            Some(Content::Rootfs(stack)) => stack,
            Some(Content::Local | Content::Fetched(_)) | None => &[],
        }
    }

    fn selected(&self, vertex: &Vertex, inputs: &[Content]) -> Result<Vec<Digest>, WorkerError> {
        let selections = selections(&vertex.op);
        let digests = selections.iter().map(|selection| match &vertex.op {
            Op::Exec(_) => self.mount_digest(vertex, inputs, selection),
            _ => self.selection_digest(vertex, inputs, selection),
        });
        digests.collect()
    }

    /// Returns the digest of the files that are selected of an input.
    pub(super) fn selection_digest(
        &self,
        vertex: &Vertex,
        inputs: &[Content],
        selection: &Selection,
    ) -> Result<Digest, WorkerError> {
        let input = selection.input.0 as usize;
        match &inputs[input] {
            Content::Local => self.local_digest(vertex.inputs[input], selection),
            Content::Rootfs(stack) => self.rootfs_digest(stack, selection),
            Content::Fetched(content) => self.fetched_digest(vertex.inputs[input], content, selection),
        }
    }

    pub(super) fn local_digest(&self, input: VertexId, selection: &Selection) -> Result<Digest, WorkerError> {
        let Op::Source(SourceOp::Local(source)) = &self.definition.vertex(input).op else {
            unreachable!("only a local source has local content");
        };
        Ok(self.contexts.digest(source, selection)?)
    }

    /// Layers never change, so the digest of a selection of a stack is kept for good.
    fn rootfs_digest(&self, stack: &[DiffId], selection: &Selection) -> Result<Digest, WorkerError> {
        self.remembered(&selection_name(&stack_name(stack), &selection.files), || {
            self.materialise(stack)?;
            let root = Root::from_fd(self.store.view(stack)?);
            Ok(file::content_digest(&SourceTree::Rootfs { root: &root }, &selection.files, None)?)
        })
    }

    fn fetched_digest(&self, input: VertexId, content: &Digest, selection: &Selection) -> Result<Digest, WorkerError> {
        self.remembered(&selection_name(&content.to_string(), &selection.files), || {
            Ok(self.fetched.open(input)?.content_digest(&selection.files, self.settings.epoch)?)
        })
    }

    fn change_files(&self, vertex: &Vertex, op: &FileOp, step: &Step<'_>) -> Result<Vec<DiffId>, WorkerError> {
        let parent = self.stack(op.root, step.inputs);
        self.layers.materialise(parent)?;
        let recopy = self.recopy(vertex, op, step)?;
        let difference = recopy.as_ref().map(|recopy| self.copy_difference(recopy, vertex, step, parent));
        let diff_id = match difference.transpose()?.flatten() {
            Some(diff_id) => diff_id,
            None => self.change_all_files(vertex, op, step, parent, recopy.is_some())?,
        };
        if let Some(recopy) = &recopy {
            self.remember(recopy, diff_id)?;
        }
        Ok(parent.iter().copied().chain([diff_id]).collect())
    }

    fn change_all_files(
        &self,
        vertex: &Vertex,
        op: &FileOp,
        step: &Step<'_>,
        parent: &[DiffId],
        is_remembered: bool,
    ) -> Result<DiffId, WorkerError> {
        let mut snapshot = self.store.prepare(parent)?;
        if is_remembered {
            snapshot.mark(None);
        }
        let inputs = vertex.inputs.iter().zip(step.inputs).map(|(id, content)| self.open_input(*id, content));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let source = |index: InputIndex| inputs.get(index.0 as usize).map(OpenInput::tree);
        file::execute(op, &source, snapshot.root(), self.settings.epoch)?;
        self.commit_unchanged(snapshot, vertex, step)
    }

    /// Makes a layer of what was copied, and says so only if the files are still what their step's key says.
    pub(super) fn commit_unchanged(
        &self,
        snapshot: ActiveSnapshot<'_>,
        vertex: &Vertex,
        step: &Step<'_>,
    ) -> Result<DiffId, WorkerError> {
        let inputs = step.inputs;
        if !inputs.contains(&Content::Local) {
            return Ok(snapshot.commit(self.settings.epoch, self.compression(step.vertex))?);
        }
        // The snapshot is that of its own layer in either case, so the one does not wait for the other.
        let (committed, checked) = std::thread::scope(|scope| {
            let check = scope.spawn(|| self.check_unchanged(vertex, inputs));
            let committed = snapshot.commit(self.settings.epoch, self.compression(step.vertex));
            (committed, check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        checked?;
        Ok(committed?)
    }

    pub(super) fn open_input(&self, id: VertexId, content: &Content) -> Result<OpenInput, WorkerError> {
        match content {
            Content::Local => Ok(OpenInput::Local(self.contexts.open(self.local_source(id))?)),
            Content::Fetched(_) => Ok(OpenInput::Fetched(self.fetched.open(id)?)),
            Content::Rootfs(stack) => {
                self.layers.materialise(stack)?;
                Ok(OpenInput::Rootfs(Root::from_fd(self.store.view(stack)?)))
            }
        }
    }

    /// A file that changed after it was hashed would be stored under a key that is not its own. Called once what the step
    /// reads of local contexts is copied. What is looked at is kept, so that a later change of it can be explained.
    pub(super) fn check_unchanged(&self, vertex: &Vertex, inputs: &[Content]) -> Result<(), WorkerError> {
        for selection in selections(&vertex.op) {
            let input = selection.input.0 as usize;
            if inputs[input] == Content::Local {
                let source = self.local_source(vertex.inputs[input]);
                let Some((digest, listing)) = self.contexts.look_again(source, &selection)? else {
                    return Err(WorkerError::ContextChanged { path: source.path.clone() });
                };
                let name = self.contexts.listing_name(source, &selection);
                // What cannot be kept costs only an explanation.
                _ = self.store.put_listing(&name, &digest, &listing.to_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn local_source(&self, input: VertexId) -> &crate::graph::LocalSource {
        match &self.definition.vertex(input).op {
            Op::Source(SourceOp::Local(source)) => source,
            _ => unreachable!("only a local source has local content"),
        }
    }
}
