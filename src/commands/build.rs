//! `bake build`: plan, lower, solve, export, lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::added::Added;
use super::ahead::Ahead;
use super::attestations::Attesting;
use super::build_warnings::{self, BuildWarning};
use super::caches::{self, Caches, Sharing};
use super::call::{self, Call};
use super::engine::Solver;
use super::jobs::Jobs;
use super::keep_going::Outcomes;
use super::load::{self, ImageStores};
use super::locked::{Locked, LockedImages};
use super::project::{self, Project, ProjectRequest};
use super::publish::{self, Fates};
pub use super::registry_options::client_options;
use super::release::{Release, Released};
use super::remotes::{self, Checkouts};
use super::solve::{self, Lowered, Times};
use super::step_failure::{self, Surroundings};
use super::store_failure::store_failure;
use super::verify::{Comparison, Outcome};
use super::{
    Failure, Host, Kind, Progress, doctor, emulated_steps, entitlements, image_id, lockfile, metadata, outputs, sign,
    stdin, why,
};
use crate::export::image::TargetResult;
use crate::export::push::Publisher;
use crate::frontend::LoweredTarget;
use crate::graph::{SourceOp, VertexId};
use crate::lock::Lockfile;
use crate::plan::{Output, Plan, STDIN_CONTEXT};
use crate::registry::Client;
use crate::remote::Home;
use crate::remotecache::{Exports, Outbox};
use crate::report::why::TargetReport;
use crate::report::{Color, Fanout, Live, Plain, Summary, Tail, TerminalSize};
use crate::solver::activity::Activities;
use crate::solver::drive::Solved;
use crate::solver::inputs::Inputs;
use crate::solver::key::Content;
use crate::solver::notice::Listener;
use crate::source::image::{ImageResolver, ResolvedNames};
use crate::store::{Store, StoreLimit};
use crate::sys::files::DiskFiles;
use crate::worker::answers::Answers;
use crate::worker::contexts::Contexts;
use crate::worker::layers::Layers;
use crate::worker::local::WorkerError;
use crate::worker::sandbox::{self, IdMapping, SandboxError};
use crate::worker::secrets::Secrets;

/// What `bake build` is asked.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Which bakefile, which targets.
    pub project: ProjectRequest,
    /// How many steps run at once.
    pub jobs: Jobs,
    /// A failure cancels only what depends on it; nothing is published.
    pub keep_going: bool,
    /// With it: targets that were built, and can be sent, are published although others were not.
    pub publish_partial: bool,
    /// Goes on with a release of the same targets that did not end.
    pub resume: bool,
    /// A step that would run under emulation is an error, found before anything runs.
    pub no_emulation: bool,
    /// Nothing is run: a step that is not in the cache fails the build.
    pub fail_on_miss: bool,
    /// What would change the lockfile fails the build, before anything leaves it.
    pub locked: bool,
    /// A file that gets the results as JSON.
    pub metadata_file: Option<PathBuf>,
    /// A file that gets the id of the only image.
    pub iid_file: Option<PathBuf>,
    /// `--allow`: what the targets may reach outside the directory that the command runs in.
    pub allow: Vec<String>,
    /// `--sign`: with which key what is pushed is signed.
    pub sign: Option<String>,
    /// How large the store may become.
    pub store_limit: Option<StoreLimit>,
    /// Flags that mean something to the peer alone, with what becomes of them here.
    pub ignored: Vec<String>,
}

/// How often a build begins at most: each new attempt was preceded by the finding of some more damage in the store.
const MAX_ATTEMPTS: usize = 8;

/// Lines of a failed step's output that end the report.
const N_TAIL_LINES: usize = 20;

/// Builds; returns a line for each target that was asked for: its name and the digest of its image. Nothing where an
/// output went to standard output, which is that output's alone.
///
/// # Errors
/// The user's files are wrong, a step fails, the host can't, a registry fails. The lockfile and all tags are then as they
/// were.
pub fn build(request: &BuildRequest, host: &Host) -> Result<String, Failure> {
    let mut podman = load::stand_by(&request.project, host);
    let (mut project, entered) = open(request, host)?;
    if let Some(call) = Call::of(&request.project, &project)? {
        return call::run(call, &mut project, request.project.store.as_deref(), host);
    }
    for ignored in &request.ignored {
        host.talk.line(&format!("warning: {ignored}"));
    }
    let (tail, summary) = (Arc::new(Tail::new(N_TAIL_LINES)), Arc::new(Summary::default()));
    let listener = listener(host, &tail, &summary)?;
    let work = |build: &Build<'_>, project: &mut Project, listener: &dyn Listener| {
        build.run_until_sound(project, listener, &tail)
    };
    let opened = (project, entered);
    let find_stores = |plan: &Plan, is_inside| {
        outputs::check(plan, host)?;
        outputs::warn(&request.project, plan, host);
        image_id::begin(request.iid_file.as_deref(), plan, host)?;
        ImageStores::find(plan, is_inside, podman.take(), host)
    };
    let (built, plan) = prepared_with(request, opened, listener, host, find_stores, work)?;
    if host.progress != Progress::Quiet {
        host.talk.line(&built.released.text(&summary.text(built.results.len(), built.n_locked, host.elapsed())));
        if !built.warnings.is_empty() {
            host.talk.line(&build_warnings::text(&built.warnings));
        }
    }
    metadata::write(request.metadata_file.as_deref(), &built.results, &plan, host)?;
    image_id::write(request.iid_file.as_deref(), &built.results, &plan, host)?;
    if plan.targets.iter().flat_map(|target| &target.outputs).any(Output::is_stdout) {
        return Ok(String::new());
    }
    let images = built.results.iter().filter_map(|result| result.image.as_ref());
    Ok(images.map(|image| format!("{} {}\n", image.name, image.root().digest())).collect())
}

/// Reads the bakefile, in the build's user namespace already where that takes the network.
pub(super) fn open(request: &BuildRequest, host: &Host) -> Result<(Project, Option<IdMapping>), Failure> {
    // Before any thread is started: a process with threads cannot enter a user namespace.
    let entered =
        request.project.needs_network().then(sandbox::enter).transpose().map_err(|error| environment(&error))?;
    Ok((project::load(&request.project, host)?, entered))
}

/// Does `work` with all that a build needs but somewhere for its results, and returns the plan with what came of it. `listener` is
/// gone afterwards.
pub(super) fn prepared<T>(
    request: &BuildRequest,
    opened: (Project, Option<IdMapping>),
    listener: Fanout,
    host: &Host,
    work: impl FnOnce(&Build<'_>, &mut Project, &dyn Listener) -> Result<T, Failure>,
) -> Result<(T, Plan), Failure> {
    prepared_with(request, opened, listener, host, |_, _| Ok(ImageStores::default()), work)
}

/// The same with image stores: `find_stores` is called before the namespaces are entered, or told that they are already.
fn prepared_with<T>(
    request: &BuildRequest,
    (mut project, entered): (Project, Option<IdMapping>),
    listener: Fanout,
    host: &Host,
    find_stores: impl FnOnce(&Plan, bool) -> Result<ImageStores, Failure>,
    work: impl FnOnce(&Build<'_>, &mut Project, &dyn Listener) -> Result<T, Failure>,
) -> Result<(T, Plan), Failure> {
    let place = (project.is_remote(), project.home());
    let targets: Vec<_> = project.targets().map(|(_, target)| target).collect();
    entitlements::check(&targets, &request.allow, place, &project.sources, host)?;
    let mut plan = project.plan(host)?;
    let image_stores = &find_stores(&plan, entered.is_some())?;
    let mapping = entered.map_or_else(sandbox::enter, Ok).map_err(|error| environment(&error))?;
    let store = project::open_store(request.project.store.as_deref(), request.store_limit, host)?;
    let clock = || host.elapsed();
    let activities = Activities::new(&listener, &clock);
    let client = Client::new(client_options(host));
    let (store, client, activities) = (&store, &client, &activities);
    let home = project.home().and_then(Home::host);
    let mut checkouts = remotes::bring_in(&mut plan, home.as_deref(), store, host, activities)?;
    let context = stdin::bring_in(&mut plan, store, &mut std::io::stdin().lock())?;
    checkouts.directories.extend(context.map(|directory| (STDIN_CONTEXT.to_owned(), directory)));
    let caches = &Caches::open(&plan, client, host)?;
    let (checkouts, mapping) = (&checkouts, &mapping);
    let build =
        Build { request, host, plan: &plan, checkouts, store, image_stores, mapping, client, caches, activities };
    let done = work(&build, &mut project, &listener);
    // The live view is taken down before anything else is said.
    drop(listener);
    for what in store.damages() {
        host.talk.line(&format!(
            "warning: {what} in the store was damaged; it was taken away, and is made anew when needed"
        ));
    }
    caches.warn(host);
    // Whatever an interrupt made fail, it was the user who asked.
    let done = done.map_err(|failure| match failure.kind {
        Kind::Interrupted => failure,
        _ if host.cancel.is_cancelled() => Failure::new(Kind::Interrupted, "interrupted"),
        _ => failure,
    })?;
    Ok((done, plan))
}

/// Returns what there is to say of each step that `request` would build. Runs nothing.
///
/// # Errors
/// What a build finds before its first step.
pub(super) fn explain(request: &BuildRequest, host: &Host) -> Result<Vec<TargetReport>, Failure> {
    let opened = open(request, host)?;
    let (targets, _) = prepared(request, opened, Fanout::default(), host, |build, project, listener| {
        let secrets = build.secrets();
        let (_, lowered) = build.lower(project, &secrets)?;
        let layers = Layers::new(build.store, build.client, build.activities);
        let contexts = build.contexts();
        let answers = Answers::default();
        let (lowered, secrets) = (&lowered, &secrets);
        let (layers, contexts, answers) = (&layers, &contexts, &answers);
        let solver = Solver { build, lowered, layers, contexts, secrets, answers, sharing: None };
        Ok(solver.look(project, listener)?.1)
    })?;
    Ok(targets)
}

/// Builds, builds once more in an empty store, and returns what `compare` makes of both.
///
/// # Errors
/// As a build; what `compare` says.
pub(super) fn verify<T>(request: &BuildRequest, host: &Host, compare: Comparison<T>) -> Result<T, Failure> {
    let opened = open(request, host)?;
    let (tail, summary) = (Arc::new(Tail::new(N_TAIL_LINES)), Arc::new(Summary::default()));
    let listener = listener(host, &tail, &summary)?;
    let (compared, _) = prepared(request, opened, listener, host, |build, project, listener| {
        let (lowered, contents) = build.contents_of(project, listener, &tail)?;
        let nested = build.store.nested().map_err(|error| store_failure(&error))?;
        let again = Build { store: &nested, ..*build };
        let (_, contents_again) = again.contents_of(project, listener, &tail)?;
        let first = Outcome { store: build.store, contents };
        let second = Outcome { store: &nested, contents: contents_again };
        compare(build, &lowered, &project.sources, &first, &second)
    })?;
    Ok(compared)
}

/// What a successful build made.
struct Built {
    /// In the plan's order.
    results: Vec<TargetResult>,
    /// Of these, how many are those that the lockfile says are there.
    n_locked: usize,
    released: Released,
    warnings: BTreeSet<BuildWarning>,
}

pub(super) struct Build<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) host: &'a Host,
    pub(super) plan: &'a Plan,
    pub(super) checkouts: &'a Checkouts,
    pub(super) store: &'a Store,
    image_stores: &'a ImageStores,
    mapping: &'a IdMapping,
    pub(super) client: &'a Client,
    /// Those of other machines.
    pub(super) caches: &'a Caches<'a>,
    pub(super) activities: &'a Activities<'a>,
}

impl Build<'_> {
    /// Returns the build of another plan, at another place, with the same store.
    pub(super) fn beside<'b>(&'b self, host: &'b Host, plan: &'b Plan, checkouts: &'b Checkouts) -> Build<'b> {
        Build { host, plan, checkouts, ..*self }
    }

    /// Runs. What fails because something in the store is damaged begins again without that, unless part of its output is
    /// with somebody already.
    fn run_until_sound(&self, project: &mut Project, listener: &dyn Listener, tail: &Tail) -> Result<Built, Failure> {
        let mut n_damages = self.store.damages().len();
        for _ in 1..MAX_ATTEMPTS {
            let result = self.run(project, listener, tail);
            let n_now = self.store.damages().len();
            let is_sound = n_now == n_damages && !self.caches.imports.broke();
            let is_piped = self.plan.targets.iter().flat_map(|target| &target.outputs).any(Output::is_stdout);
            if result.is_ok() || is_sound || is_piped || self.host.cancel.is_cancelled() {
                return result;
            }
            n_damages = n_now;
        }
        self.run(project, listener, tail)
    }

    fn run(&self, project: &mut Project, listener: &dyn Listener, tail: &Tail) -> Result<Built, Failure> {
        let secrets = self.secrets();
        let (lock, lowered) = self.lower(project, &secrets)?;
        if self.request.no_emulation {
            emulated_steps::refuse(&lowered, &project.sources)?;
        }
        let sinks = caches::sinks(self.plan, &lowered, self.client, self.host)?;
        let exports = Exports::new(self.store, self.activities, sinks);
        let (built, unsent) =
            exports.beside(|outbox| self.run_lowered(project, (lock, lowered), &secrets, (listener, tail), outbox));
        let built = built?;
        caches::check(unsent, self.host)?;
        Ok(built)
    }

    /// Runs; `outbox` gets what steps make.
    fn run_lowered(
        &self,
        project: &mut Project,
        (lock, lowered): (Lockfile, Lowered),
        secrets: &Secrets,
        (listener, tail): (&dyn Listener, &Tail),
        outbox: Option<&Outbox<'_>>,
    ) -> Result<Built, Failure> {
        // A key that cannot be used is known before anything runs.
        let sign = self.request.sign.as_deref();
        let key = sign.map(|spec| sign::key(spec, self.plan, self.host)).transpose()?;
        let layers = Layers::new(self.store, self.client, self.activities).and(&self.caches.imports);
        let contexts = self.contexts();
        let (answers, found) = (Answers::default(), Mutex::default());
        let locked = self.locked(&lowered, &lock, &layers, &contexts, project.epoch)?;
        let journal = publish::journal(self, project);
        let Build { host, client, store, activities, .. } = *self;
        let publisher = Publisher::new(client, store, &layers, activities, &journal, host.now.as_secs(), key.as_ref());
        let solver = Solver {
            build: self,
            lowered: &lowered.without(&locked),
            layers: &layers,
            contexts: &contexts,
            secrets,
            answers: &answers,
            sharing: Some(&Sharing { outbox, found: &found }),
        };
        let solved = match self.request.fail_on_miss {
            true => {
                let (solved, targets) = solver.look(project, listener)?;
                why::missed(&targets).inspect_err(|_| self.host.talk.line(why::text(&targets).trim_end()))?;
                solved
            }
            false => Ahead::new(self, &lowered, &publisher).beside(|on_made| solver.run(project, listener, on_made))?,
        };
        contexts.save(self.store);
        solver.record(project, &solved);
        // Failed steps are told before anything that their inputs lack.
        let inputs = match solved.failures.is_empty() || self.request.publish_partial {
            true => self.inputs(&lowered, &contexts, &solved.contents, project.epoch)?,
            false => BTreeMap::new(),
        };
        let attesting = Attesting {
            lowered: &lowered,
            sources: &project.sources,
            inputs: &inputs,
            answers: &answers,
            identities: &answers.so_far().identities,
            context_identities: &self.checkouts.identities,
            store: self.store,
            layers: &layers,
            activities: self.activities,
        };
        let (plan, publisher, epoch) = (self.plan, &publisher, project.epoch);
        let image_stores = self.image_stores;
        let release = Release { host, plan, store, publisher, image_stores, layers: &layers, activities, epoch };
        self.check((&lowered, &locked), &solved, project, tail, Some((&release, &attesting)))?;
        let results = self.assemble(&lowered, &solved.contents, &locked, &attesting)?;
        caches::keep(&found, self.store, &Layers::new(self.store, self.client, self.activities));
        let update = lockfile::Update { plan: self.plan, results: &results, inputs: &inputs, pins: &lowered.pins };
        if self.request.locked {
            lockfile::check(project, &lock, &update)?;
        }
        let released = match self.request.publish_partial {
            true => release.send_what_can_be(&results)?,
            false => release.send(&results)?,
        };
        if !project.is_remote() {
            lockfile::write(project, &lock, &update)?;
        }
        Ok(Built { results, n_locked: locked.len(), released, warnings: lowered.warnings })
    }

    /// Builds everything and returns what each step made.
    fn contents_of(
        &self,
        project: &mut Project,
        listener: &dyn Listener,
        tail: &Tail,
    ) -> Result<(Lowered, BTreeMap<VertexId, Content>), Failure> {
        let secrets = self.secrets();
        let (_, lowered) = self.lower(project, &secrets)?;
        let layers = Layers::new(self.store, self.client, self.activities);
        let (contexts, answers) = (self.contexts(), Answers::default());
        let (lowered_ref, secrets) = (&lowered, &secrets);
        let solver = Solver {
            build: self,
            lowered: lowered_ref,
            layers: &layers,
            contexts: &contexts,
            secrets,
            answers: &answers,
            sharing: None,
        };
        let solved = solver.run(project, listener, &|_, _| {})?;
        self.check((&lowered, &LockedImages::new()), &solved, project, tail, None)?;
        Ok((lowered, solved.contents))
    }

    /// Returns the images that the lockfile says are there.
    fn locked(
        &self,
        lowered: &Lowered,
        lock: &Lockfile,
        layers: &Layers<'_>,
        contexts: &Contexts,
        epoch: i64,
    ) -> Result<LockedImages, Failure> {
        let local_digest = |source: &_, selection: &_| contexts.digest(source, selection);
        // What came over the network is not known yet: a target that reads such has other inputs than the lockfile, and is
        // built.
        let contents = BTreeMap::new();
        let mut inputs = Inputs::new(&lowered.definition, epoch, &local_digest, &contents);
        let mut digest = |target: &LoweredTarget| {
            inputs.digest(target.root, &target.config).map_err(|error| Failure::new(Kind::Build, error))
        };
        Locked { build: self, lowered, lock, layers }.images(&mut digest)
    }

    pub(super) fn secrets(&self) -> Secrets {
        let given = self.plan.targets.iter().map(|target| (target.name.clone(), target.given.clone())).collect();
        Secrets::new(given, &self.host.env, &self.host.directory)
    }

    /// Returns when a source of a Dockerfile was changed, with what `target` gives to those who read it.
    fn changed(&self, source: &SourceOp, target: &str, secrets: &Secrets) -> Result<Option<i64>, Failure> {
        let added = Added::new(self.store, self.host, &self.host.cancel, secrets, self.activities)?;
        added.changed(source, target).map_err(|error| {
            let failure = Failure::new(step_failure::kind_of(error.blame), &error).hints(error.hints.clone());
            failure.note(format!("target \"{target}\" has its SOURCE_DATE_EPOCH from there"))
        })
    }

    /// Lowers all targets with the lockfile's pins, and returns both.
    pub(super) fn lower(&self, project: &mut Project, secrets: &Secrets) -> Result<(Lockfile, Lowered), Failure> {
        let files = DiskFiles::new(&self.host.directory);
        let lock = match project.is_remote() {
            // The lockfile here is that of another bakefile.
            true => Lockfile::default(),
            false => lockfile::read(&project.lock_path(), &files, &mut project.sources)?,
        };
        let files = self.checkouts.files(self.host)?;
        let pins = lock.pins().map(|(reference, pin)| (reference.to_string(), pin.digest)).collect();
        let resolver = ImageResolver {
            store: self.store,
            client: self.client,
            pins: &pins,
            directory: self.host.directory.clone(),
            activities: self.activities,
            resolved: ResolvedNames::default(),
        };
        let times = Times {
            contexts: &self.checkouts.times,
            of_source: &|source, target| self.changed(source, target, secrets),
        };
        let lowered = solve::lower(self.plan, &files, &resolver, &times, &mut project.sources, self.host)?;
        Ok((lock, lowered))
    }

    pub(super) fn contexts(&self) -> Contexts {
        let placed = self.checkouts.directories.clone();
        Contexts::new(self.host.directory.clone(), placed, self.store, self.host.now)
    }

    /// Fails if a step failed or the user asked to stop.
    fn check(
        &self,
        (lowered, locked): (&Lowered, &LockedImages),
        solved: &Solved<WorkerError>,
        project: &Project,
        tail: &Tail,
        release: Option<(&Release<'_>, &Attesting<'_>)>,
    ) -> Result<(), Failure> {
        if self.host.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Interrupted, "interrupted; nothing was published"));
        }
        let failures = &solved.failures;
        if failures.is_empty() {
            return Ok(());
        }
        let surroundings = Surroundings { store: self.store.path(), mapping: self.mapping };
        let failure = step_failure::describe(failures, &lowered.definition, &project.sources, tail, &surroundings);
        if !self.request.keep_going {
            return Err(failure);
        }
        let (plan, contents) = (self.plan, &solved.contents);
        let outcomes = Outcomes { plan, lowered, locked, sources: &project.sources, contents, failures };
        let fates = match release.filter(|_| self.request.publish_partial) {
            Some((release, attesting)) => self.publish_built(&outcomes, release, attesting)?,
            None => Fates::default(),
        };
        // Some of it was built: whatever stopped the rest, it is a build with failed steps.
        Err(Failure { kind: Kind::Build, ..failure.paragraph(&outcomes.table(&fates)) })
    }
}

fn listener(host: &Host, tail: &Arc<Tail>, summary: &Arc<Summary>) -> Result<Fanout, Failure> {
    let mut listeners: Vec<Arc<dyn Listener>> = vec![tail.clone(), summary.clone()];
    let out = Box::new(host.talk.clone());
    match host.progress {
        Progress::Live => {
            let color = if host.is_colored { Color::On } else { Color::Off };
            let begin = host.begin;
            let live = Live::start(out, color, Box::new(terminal_size), Box::new(move || begin.elapsed()))
                .map_err(|error| Failure::new(Kind::Environment, format!("cannot draw on the terminal: {error}")))?;
            listeners.push(Arc::new(live));
        }
        Progress::Plain => listeners.push(Arc::new(Plain::new(out))),
        Progress::Quiet => {}
    }
    Ok(Fanout(listeners))
}

fn terminal_size() -> TerminalSize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map_or_else(
        |_| TerminalSize { columns: 80, rows: 24 },
        |size| TerminalSize { columns: size.ws_col, rows: size.ws_row },
    )
}

/// Says why the name spaces of a build could not be entered.
pub(super) fn environment(error: &SandboxError) -> Failure {
    let failure = Failure::caused(Kind::Environment, error);
    match error {
        SandboxError::NoNamespaces { hint, .. } => failure.hint(hint.clone()).hint(doctor::NEXT_STEP),
        _ => failure,
    }
}

/// Returns the absolute directories of PATH.
pub(super) fn path(host: &Host) -> impl Iterator<Item = PathBuf> {
    host.var("PATH").unwrap_or("").split(':').filter(|part| part.starts_with('/')).map(PathBuf::from)
}
