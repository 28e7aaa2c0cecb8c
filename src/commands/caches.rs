//! The caches of other machines that a build reads and fills: opened from the plan, asked where the store misses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::solve::Lowered;
use super::{Failure, Host, Kind};
use crate::digest::{DiffId, Digest};
use crate::export::image::PlatformImage;
use crate::graph::{Definition, Op, SourceOp, VertexId};
use crate::plan::{CacheBackend, CacheMode, CachePlace, Plan, TargetPlan};
use crate::registry::Client;
use crate::remotecache::{
    Backend, CachedLayer, Credentials, Entry, GhaCache, GhaSettings, Imports, Index, LocalCache, Outbox, RegistryCache,
    S3Cache, S3Settings, Sink, Unsent, Web, inline_annotation, profile_credentials,
};
use crate::solver::drive::{Step, Worker};
use crate::solver::key::{CacheKey, Content};
use crate::solver::lookups::Found;
use crate::solver::scheduler::{Verdict, reachable};
use crate::store::{CacheRecord, Compression, Store};
use crate::sys::files::{DiskFiles, Files};
use crate::worker::answers::Answers;
use crate::worker::layers::Layers;
use crate::worker::local::{LocalWorker, WorkerError};

/// The caches that a build reads, opened once.
pub(super) struct Caches<'a> {
    /// They.
    pub(super) imports: Imports<'a>,
    /// By target, the indices of those that it reads.
    by_target: BTreeMap<String, Vec<usize>>,
}

impl<'a> Caches<'a> {
    /// Opens the caches that the targets of `plan` read. Asks nobody yet.
    pub(super) fn open(plan: &Plan, client: &'a Client, host: &'a Host) -> Result<Caches<'a>, Failure> {
        let mut places: Vec<&CachePlace> = Vec::new();
        let mut backends = Vec::new();
        let mut by_target: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for target in &plan.targets {
            for place in &target.cache_from {
                let known = places.iter().position(|known| known.backend == place.backend);
                let index = match known {
                    Some(index) => index,
                    None => {
                        let Some(backend) = backend(&place.backend, client, host)? else { continue };
                        places.push(place);
                        backends.push(backend);
                        backends.len() - 1
                    }
                };
                by_target.entry(target.name.clone()).or_default().push(index);
            }
        }
        Ok(Caches { imports: Imports::new(backends), by_target })
    }

    /// Says which could not be used.
    pub(super) fn warn(&self, host: &Host) {
        self.imports.warnings().iter().for_each(|what| host.talk.line(&format!("warning: {what}")));
    }

    /// Returns which caches each step of `lowered` is looked up in.
    pub(super) fn by_step(&self, lowered: &Lowered) -> BTreeMap<VertexId, Vec<usize>> {
        let mut by_step: BTreeMap<VertexId, Vec<usize>> = BTreeMap::new();
        for ((name, _), target) in &lowered.targets {
            let (Some(caches), Some(root)) = (self.by_target.get(name), target.root) else { continue };
            for step in reachable(&lowered.definition, &[root]) {
                let known = by_step.entry(step).or_default();
                known.extend(caches.iter().filter(|index| !known.contains(index)).copied().collect::<Vec<_>>());
            }
        }
        by_step
    }
}

/// Opens a cache; `None` for one that is not by itself, or that this machine is not told of.
fn backend<'a>(
    place: &CacheBackend,
    client: &'a Client,
    host: &'a Host,
) -> Result<Option<Box<dyn Backend + 'a>>, Failure> {
    let env = |name: &str| host.var(name).map(str::to_owned);
    let wrong = |message: String| Failure::new(Kind::Definition, message);
    Ok(match place {
        CacheBackend::Registry(name) => Some(Box::new(RegistryCache::new(client, name.clone()))),
        CacheBackend::Inline => None,
        CacheBackend::Local { path, digest } => {
            Some(Box::new(LocalCache::new(path, host.directory.join(path), *digest)))
        }
        CacheBackend::S3(options) => {
            let settings = S3Settings::new(&options.0, &env, || profile(host)).map_err(wrong)?;
            let clock = Box::new(|| host.now + host.elapsed());
            Some(Box::new(S3Cache::new(settings, Web::new(host.cancel.flag()), clock)))
        }
        CacheBackend::Gha(options) => {
            let settings = GhaSettings::new(&options.0, &env).map_err(wrong)?;
            settings.map(|settings| Box::new(GhaCache::new(settings, Web::new(host.cancel.flag()))) as Box<_>)
        }
    })
}

/// Returns the credentials that the user's own file has for the profile that the environment names.
fn profile(host: &Host) -> Option<Credentials> {
    let of_home = || host.var("HOME").map(|home| format!("{home}/.aws/credentials"));
    let path = host.var("AWS_SHARED_CREDENTIALS_FILE").map(str::to_owned).or_else(of_home)?;
    let text = DiskFiles::new(&host.directory).read(path.as_ref()).ok()?;
    profile_credentials(std::str::from_utf8(&text).ok()?, host.var("AWS_PROFILE").unwrap_or("default"))
}

/// Returns the caches that the targets of `plan` fill, with the steps that each gets.
pub(super) fn sinks<'a>(
    plan: &Plan,
    lowered: &Lowered,
    client: &'a Client,
    host: &'a Host,
) -> Result<Vec<Sink<'a>>, Failure> {
    let mut sinks: Vec<(&CachePlace, Sink<'a>)> = Vec::new();
    for target in &plan.targets {
        for place in &target.cache_to {
            let steps = steps_of(target, place.mode, lowered);
            // Two targets that fill one cache fill it together.
            if let Some((_, sink)) = sinks.iter_mut().find(|(known, _)| known.backend == place.backend) {
                sink.steps.extend(steps);
                sink.ignores_errors &= place.ignores_errors;
                continue;
            }
            let Some(backend) = backend(&place.backend, client, host)? else { continue };
            let compression = place.level.map_or_else(Compression::default, Compression::Gzip);
            sinks.push((place, Sink { backend, steps, compression, ignores_errors: place.ignores_errors }));
        }
    }
    Ok(sinks.into_iter().map(|(_, sink)| sink).collect())
}

fn steps_of(target: &TargetPlan, mode: CacheMode, lowered: &Lowered) -> BTreeSet<VertexId> {
    let planned = target.platforms.iter().chain(&target.linked_platforms);
    let roots =
        planned.filter_map(|planned| lowered.targets.get(&(planned.name.clone(), planned.platform.clone()))?.root);
    let of_root = |root: VertexId| match mode {
        CacheMode::Min => in_result(&lowered.definition, root),
        CacheMode::Max => reachable(&lowered.definition, &[root]),
    };
    let steps = roots.flat_map(of_root);
    steps.filter(|step| !matches!(lowered.definition.vertex(*step).op, Op::Source(_))).collect()
}

/// Returns the steps whose layers are in the root file system that `root` makes.
fn in_result(definition: &Definition, root: VertexId) -> Vec<VertexId> {
    let mut steps = Vec::new();
    let mut queue = vec![root];
    while let Some(step) = queue.pop() {
        steps.push(step);
        queue.extend(below(definition, step));
    }
    steps
}

/// Returns the steps whose layers a step's own root file system has, in the order in which they lie over one another.
fn below(definition: &Definition, step: VertexId) -> Vec<VertexId> {
    let vertex = definition.vertex(step);
    let inputs = match &vertex.op {
        Op::Exec(exec) => exec.root.into_iter().collect(),
        Op::File(file) => file.root.into_iter().collect(),
        Op::Merge(merge) => merge.layers.clone(),
        Op::Source(SourceOp::Image { .. } | SourceOp::Local(_) | SourceOp::Git(_) | SourceOp::Http(_))
        | Op::Diff(_) => Vec::new(),
    };
    inputs.into_iter().map(|input| vertex.inputs[input.0 as usize]).collect()
}

/// What a run exchanges with the caches of other machines.
pub(super) struct Sharing<'a> {
    /// Where results go; `None` where nothing is sent.
    pub(super) outbox: Option<&'a Outbox<'a>>,
    /// What was answered, by key. The mutex protects the list alone.
    pub(super) found: &'a Mutex<Vec<(Digest, CacheRecord)>>,
}

/// A worker that asks the caches of other machines where the store misses, and sends on what steps made.
pub(super) struct Caching<'a> {
    /// Runs steps.
    pub(super) worker: &'a LocalWorker<'a>,
    /// Who answers.
    pub(super) imports: &'a Imports<'a>,
    /// Which of them are asked for a step.
    pub(super) by_step: &'a BTreeMap<VertexId, Vec<usize>>,
    /// What is exchanged; `None` where nothing is.
    pub(super) sharing: Option<&'a Sharing<'a>>,
}

impl Worker for Caching<'_> {
    type Error = WorkerError;

    fn probe(&self, vertex: VertexId, inputs: &[Content]) -> Result<Verdict, WorkerError> {
        let verdict = match self.worker.probe(vertex, inputs)? {
            Verdict::Miss(key) => self.ask(vertex, inputs, key),
            verdict => verdict,
        };
        if let (Some(_), Verdict::Hit(content)) = (self.outbox(), &verdict)
            && let Some(key) = self.answers().key(vertex)
        {
            self.send(vertex, key, inputs, content);
        }
        Ok(verdict)
    }

    fn execute(&self, step: &Step<'_>) -> Result<Content, WorkerError> {
        let content = self.worker.execute(step)?;
        self.send(step.vertex, step.key.digest, step.inputs, &content);
        Ok(content)
    }

    fn is_emulated(&self, vertex: VertexId) -> bool {
        self.worker.is_emulated(vertex)
    }
}

impl Caching<'_> {
    fn outbox(&self) -> Option<&Outbox<'_>> {
        self.sharing?.outbox
    }

    fn answers(&self) -> &Answers {
        self.worker.answers
    }

    /// Asks the caches of other machines for what the store missed. The layers below a step's own are its input's: an entry
    /// cannot put others there.
    fn ask(&self, vertex: VertexId, inputs: &[Content], key: CacheKey) -> Verdict {
        let metadata = &self.worker.definition.vertex(vertex).metadata;
        let caches = self.by_step.get(&vertex).filter(|_| !metadata.ignore_cache);
        let Some(entry) = caches.and_then(|caches| self.imports.find(&key.digest, caches)) else {
            return Verdict::Miss(key);
        };
        let is_merge = matches!(self.worker.definition.vertex(vertex).op, Op::Merge(_));
        let mut stack = self.parent(vertex, inputs);
        match entry.layer {
            Some(layer) if !is_merge => stack.push(layer.diff_id),
            None if is_merge => {}
            Some(_) | None => return Verdict::Miss(key),
        }
        if !self.worker.layers.is_available(&stack) {
            return Verdict::Miss(key);
        }
        let ingredients = key.ingredients.iter().map(|i| (i.name.clone(), i.value.clone())).collect();
        let record = CacheRecord { diff_ids: stack.clone(), ingredients, duration_ms: 0, name: metadata.name.clone() };
        if let Some(sharing) = self.sharing {
            sharing.found.lock().unwrap_or_else(PoisonError::into_inner).push((key.digest, record));
        }
        self.answers().note(vertex, key, Found::Result);
        Verdict::Hit(Content::Rootfs(stack))
    }

    /// Returns the layers that a step's own lies over.
    fn parent(&self, vertex: VertexId, inputs: &[Content]) -> Vec<DiffId> {
        let definition = self.worker.definition;
        let own = &definition.vertex(vertex).inputs;
        let content = |below: VertexId| match own.iter().position(|input| *input == below).map(|index| &inputs[index]) {
            Some(Content::Rootfs(stack)) => stack.clone(),
            Some(Content::Local | Content::Fetched(_)) | None => Vec::new(),
        };
        below(definition, vertex).into_iter().flat_map(content).collect()
    }

    fn send(&self, vertex: VertexId, key: Digest, inputs: &[Content], content: &Content) {
        if let (Some(outbox), Content::Rootfs(stack)) = (self.outbox(), content) {
            let n_below = self.parent(vertex, inputs).len();
            if stack.len() <= n_below + 1 {
                outbox.put(vertex, key, stack, stack.len() > n_below);
            }
        }
    }
}

/// Keeps what other machines' caches answered for those steps whose layers came in, so that the next build asks no more.
pub(super) fn keep(found: &Mutex<Vec<(Digest, CacheRecord)>>, store: &Store, layers: &Layers<'_>) {
    for (key, record) in found.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        if layers.is_available(&record.diff_ids) {
            // What cannot be kept is asked for again.
            _ = store.put_record(&key, &record);
        }
    }
}

/// Puts the entries of the steps whose layers an image has into its manifest, where the target wants that.
pub(super) fn put_inline(target: &TargetPlan, image: &mut PlatformImage, lowered: &Lowered, answers: &Answers) {
    if !target.cache_to.iter().any(|place| place.backend == CacheBackend::Inline) {
        return;
    }
    let root = lowered.targets.get(&(target.name.clone(), image.platform.clone())).and_then(|lowered| lowered.root);
    let Some(root) = root else { return };
    let mut entries = Vec::new();
    // From the top of the stack down; what lies over others comes off the queue first.
    let mut layers = image.layers.iter().zip(&image.stack).rev();
    let mut queue = vec![root];
    while let Some(step) = queue.pop() {
        let op = &lowered.definition.vertex(step).op;
        if let Op::Source(source) = op {
            let SourceOp::Image { diff_ids, .. } = source else { continue };
            diff_ids.iter().for_each(|_| _ = layers.next());
            continue;
        }
        let Some(key) = answers.key(step) else { break };
        let layer = match op {
            Op::Merge(_) => None,
            _ => layers.next().and_then(|(blob, diff_id)| CachedLayer::new(*diff_id, blob)),
        };
        entries.push(Entry { key, layer });
        queue.extend(below(&lowered.definition, step));
    }
    image.annotate(&inline_annotation(&Index::new(entries)));
}

/// Fails if a cache could not be filled; says it where that is to be ignored.
pub(super) fn check(unsent: Vec<Unsent>, host: &Host) -> Result<(), Failure> {
    let (ignored, lasting): (Vec<Unsent>, Vec<Unsent>) = unsent.into_iter().partition(|unsent| unsent.is_ignored);
    for Unsent { name, error, .. } in ignored {
        host.talk.line(&format!("warning: the cache in {name} was not filled: {error}"));
    }
    match lasting.into_iter().next() {
        None => Ok(()),
        Some(Unsent { name, error, .. }) => {
            let failure = Failure::new(Kind::Remote, format!("the cache in {name} could not be filled: {error}"));
            Err(failure
                .note("all else was done: images, outputs and bake.lock are in place")
                .hint("`ignore-error=true` in `cache-to` makes this a warning"))
        }
    }
}
