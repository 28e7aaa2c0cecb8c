//! `bake build`: plan, lower, solve, export, lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::added::Added;
use super::build_warnings::{self, BuildWarning};
use super::call::{self, Call};
use super::project::{self, Project, ProjectRequest};
use super::release::{self, Released};
use super::remotes::{self, Checkouts};
use super::solve::{self, Lowered};
use super::step_failure::{self, Surroundings};
use super::{Failure, Host, Kind, Progress, entitlements, lockfile, metadata, stdin};
use crate::digest::{DiffId, Digest};
use crate::export::image::{self, TargetImage, TargetResult};
use crate::graph::VertexId;
use crate::lock::Lockfile;
use crate::plan::{Output, Plan, STDIN_CONTEXT};
use crate::platform::Platform;
use crate::registry::{Client, Options};
use crate::remote::Home;
use crate::report::{Color, Fanout, Live, Plain, Summary, Tail, TerminalSize};
use crate::solver::activity::Activities;
use crate::solver::drive::{Drive, Solved};
use crate::solver::inputs::Inputs;
use crate::solver::key::Content;
use crate::solver::notice::Listener;
use crate::solver::scheduler::OnFailure;
use crate::source::image::{ImageResolver, ResolvedNames};
use crate::store::Store;
use crate::sys::cancel::CancelToken;
use crate::sys::files::{DiskFiles, Files};
use crate::sys::threads;
use crate::worker::cgroup::Cgroups;
use crate::worker::contexts::Contexts;
use crate::worker::fetched::Fetched;
use crate::worker::layers::Layers;
use crate::worker::local::{LocalSettings, LocalWorker, WorkerError};
use crate::worker::network::Networks;
use crate::worker::platforms::Platforms;
use crate::worker::sandbox::{self, IdMapping, Launcher, SandboxError};
use crate::worker::secrets::Secrets;

/// What `bake build` is asked.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Which bakefile, which targets.
    pub project: ProjectRequest,
    /// Steps that run at once; the number of processors where absent.
    pub n_jobs: Option<usize>,
    /// A failure cancels only what depends on it; nothing is published.
    pub keep_going: bool,
    /// A file that gets the results as JSON.
    pub metadata_file: Option<PathBuf>,
    /// `--allow`: what the targets may reach outside the directory that the command runs in.
    pub allow: Vec<String>,
    /// Flags that mean something to the peer alone, with what becomes of them here.
    pub ignored: Vec<String>,
}

/// Lines of a failed step's output that end the report.
const N_TAIL_LINES: usize = 20;

/// Images that are assembled at once; the compression inside uses all processors.
const N_ASSEMBLERS: usize = 4;

/// Builds; returns a line for each target that was asked for: its name and the digest of its image. Nothing where an
/// output went to standard output, which is that output's alone.
///
/// # Errors
/// The user's files are wrong, a step fails, the host can't, a registry fails. The lockfile and all tags are then as they
/// were.
pub fn build(request: &BuildRequest, host: &Host) -> Result<String, Failure> {
    // Before any thread is started: a process with threads cannot enter a user namespace.
    let entered =
        request.project.needs_network().then(sandbox::enter).transpose().map_err(|error| environment(&error))?;
    let mut project = project::load(&request.project, host)?;
    if let Some(call) = Call::of(&request.project, &project)? {
        return call::run(call, &mut project, request.project.store.as_deref(), host);
    }
    for ignored in &request.ignored {
        host.talk.line(&format!("warning: {ignored}"));
    }
    let place = (project.is_remote(), project.home());
    let targets: Vec<_> = project.targets().map(|(_, target)| target).collect();
    entitlements::check(&targets, &request.allow, place, &project.sources, host)?;
    let mut plan = project.plan(host)?;
    let mapping = entered.map_or_else(sandbox::enter, Ok).map_err(|error| environment(&error))?;
    let store = Store::open(&project::store_path(request.project.store.as_deref(), host)?)
        .map_err(|error| Failure::new(Kind::Environment, error))?;
    let (tail, summary) = (Arc::new(Tail::new(N_TAIL_LINES)), Arc::new(Summary::default()));
    let listener = listener(host, &tail, &summary)?;
    let clock = || host.elapsed();
    let activities = Activities::new(&listener, &clock);
    let client = Client::new(client_options(host));
    let (store, client, activities) = (&store, &client, &activities);
    let home = project.home().and_then(Home::host);
    let mut checkouts = remotes::bring_in(&mut plan, home.as_deref(), store, host, activities)?;
    let context = stdin::bring_in(&mut plan, store, &mut std::io::stdin().lock())?;
    checkouts.directories.extend(context.map(|directory| (STDIN_CONTEXT.to_owned(), directory)));
    let build =
        Build { request, host, plan: &plan, checkouts: &checkouts, store, mapping: &mapping, client, activities };
    let result = build.run(&mut project, &listener, &tail);
    // The live view is taken down before anything else is said.
    drop(listener);
    // Whatever an interrupt made fail, it was the user who asked.
    let built = result.map_err(|failure| match failure.kind {
        Kind::Interrupted => failure,
        _ if host.cancel.is_cancelled() => Failure::new(Kind::Interrupted, "interrupted"),
        _ => failure,
    })?;
    if host.progress != Progress::Quiet {
        host.talk.line(&built.released.text(&summary.text(built.results.len(), host.elapsed())));
        if !built.warnings.is_empty() {
            host.talk.line(&build_warnings::text(&built.warnings));
        }
    }
    metadata::write(request.metadata_file.as_deref(), &built.results, &plan, host)?;
    if plan.targets.iter().flat_map(|target| &target.outputs).any(Output::is_stdout) {
        return Ok(String::new());
    }
    let images = built.results.iter().filter_map(|result| result.image.as_ref());
    Ok(images.map(|image| format!("{} {}\n", image.name, image.root().digest())).collect())
}

/// What a successful build made.
struct Built {
    /// In the plan's order.
    results: Vec<TargetResult>,
    released: Released,
    warnings: BTreeSet<BuildWarning>,
}

struct Build<'a> {
    request: &'a BuildRequest,
    host: &'a Host,
    plan: &'a Plan,
    checkouts: &'a Checkouts,
    store: &'a Store,
    mapping: &'a IdMapping,
    client: &'a Client,
    activities: &'a Activities<'a>,
}

impl Build<'_> {
    fn run(&self, project: &mut Project, listener: &dyn Listener, tail: &Tail) -> Result<Built, Failure> {
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
        let lowered = solve::lower(self.plan, &files, &resolver, &mut project.sources, self.host)?;
        let layers = Layers::new(self.store, self.client, self.activities);
        let placed = self.checkouts.directories.clone();
        let contexts = Contexts::new(self.host.directory.clone(), placed, self.store, self.host.now);
        let solved = self.solve(&lowered, &layers, &contexts, listener)?;
        contexts.save(self.store);
        self.check(&lowered, solved.failures, project, tail)?;
        let results = self.assemble(&lowered, &solved.contents)?;
        let inputs = self.inputs(&lowered, &contexts, &solved.contents, project.epoch)?;
        let release = release::Release {
            host: self.host,
            plan: self.plan,
            store: self.store,
            client: self.client,
            layers: &layers,
            activities: self.activities,
            epoch: project.epoch,
        };
        let released = release.send(&results)?;
        let update = lockfile::Update { plan: self.plan, results: &results, inputs: &inputs, pins: &lowered.pins };
        if !project.is_remote() {
            lockfile::write(project, &lock, &update)?;
        }
        Ok(Built { results, released, warnings: lowered.warnings })
    }

    fn solve(
        &self,
        lowered: &Lowered,
        layers: &Layers<'_>,
        contexts: &Contexts,
        listener: &dyn Listener,
    ) -> Result<Solved<WorkerError>, Failure> {
        let host = self.host;
        let platforms = Platforms::new(search_path(host), &lowered.definition);
        let launcher = Launcher::new(&host.program)
            .map_err(|error| Failure::new(Kind::Environment, format!("cannot start steps: {error}")))?;
        let resolv_conf = DiskFiles::new("/etc").read("resolv.conf".as_ref()).unwrap_or_default();
        let resolv_conf = String::from_utf8_lossy(&resolv_conf).into_owned();
        let settings = LocalSettings { epoch: project::epoch(host)?, launcher };
        let note = |text: &str| self.activities.start(&format!("note: {text}")).finish("");
        let cgroups = Cgroups::new(&note);
        let networks =
            Networks::new(project::network(host)?, &settings.launcher, path(host).collect(), &resolv_conf, &note);
        let given = self.plan.targets.iter().map(|target| (target.name.clone(), target.given.clone())).collect();
        let secrets = Secrets::new(given, &host.env, &host.directory);
        let stop = CancelToken::default();
        let fetch = Added::new(self.store, host, &stop, &secrets, self.activities)?;
        let fetched = Fetched::new(&fetch);
        let worker = LocalWorker {
            definition: &lowered.definition,
            store: self.store,
            layers,
            contexts,
            platforms: &platforms,
            secrets: &secrets,
            fetched: &fetched,
            networks: &networks,
            cgroups: &cgroups,
            settings: &settings,
        };
        let drive = Drive {
            definition: &lowered.definition,
            wanted: &lowered.roots(),
            n_slots: self.request.n_jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, Into::into)),
            on_failure: if self.request.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop },
            listener,
            begin: host.begin,
            cancel: &host.cancel,
            stop: &stop,
        };
        Ok(drive.run(&worker))
    }

    /// Fails if a step failed or the user asked to stop.
    fn check(
        &self,
        lowered: &Lowered,
        failures: Vec<crate::solver::drive::StepFailure<WorkerError>>,
        project: &Project,
        tail: &Tail,
    ) -> Result<(), Failure> {
        if self.host.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Interrupted, "interrupted; nothing was published"));
        }
        if failures.is_empty() {
            return Ok(());
        }
        let surroundings = Surroundings { store: self.store.path(), mapping: self.mapping };
        Err(step_failure::describe(&failures, &lowered.definition, &project.sources, tail, &surroundings))
    }

    fn assemble(
        &self,
        lowered: &Lowered,
        contents: &BTreeMap<VertexId, Content>,
    ) -> Result<Vec<TargetResult>, Failure> {
        let stack = |name: &str, platform: &Platform| -> Vec<DiffId> {
            let root = lowered.targets[&(name.to_owned(), platform.clone())].root;
            match root.and_then(|root| contents.get(&root)) {
                Some(Content::Rootfs(stack)) => stack.clone(),
                Some(Content::Local | Content::Fetched(_)) | None => Vec::new(),
            }
        };
        let images = threads::map(self.plan.targets.iter().collect(), N_ASSEMBLERS, |target| {
            let stacks: Vec<(Platform, Vec<DiffId>)> =
                target.platforms.iter().map(|p| (p.platform.clone(), stack(&p.name, &p.platform))).collect();
            let images = stacks.iter().map(|(platform, stack)| {
                let target = &lowered.targets[&(target.name.clone(), platform.clone())];
                let base = target.root.and_then(|root| lowered.definition.base_image(root));
                let base = base.map_or_else(|| Ok(Vec::new()), |manifest| image::layers(self.store, &manifest))?;
                image::assemble(self.store, platform, &target.config, &base, stack)
            });
            let images = target.has_image().then(|| images.collect::<Result<_, _>>()).transpose()?;
            let image = images.map(|images| TargetImage::new(target.name.clone(), images));
            Ok(TargetResult { stacks, image })
        });
        images.map_err(|error| release::export_failure(&error))
    }

    fn inputs(
        &self,
        lowered: &Lowered,
        contexts: &Contexts,
        contents: &BTreeMap<VertexId, Content>,
        epoch: i64,
    ) -> Result<BTreeMap<(String, Platform), Digest>, Failure> {
        let local_digest = |source: &_, selection: &_| contexts.digest(source, selection);
        let mut inputs = Inputs::new(&lowered.definition, epoch, &local_digest, contents);
        let digest = |(key, target): (&(String, Platform), &crate::frontend::LoweredTarget)| {
            Ok((key.clone(), inputs.digest(target.root, &target.config)?))
        };
        let digests: Result<_, crate::worker::file::FileError> = lowered.targets.iter().map(digest).collect();
        digests.map_err(|error| Failure::new(Kind::Build, error))
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

fn environment(error: &SandboxError) -> Failure {
    let failure = Failure::caused(Kind::Environment, error);
    match error {
        SandboxError::NoNamespaces { hint, .. } => failure.hint(hint.clone()),
        _ => failure,
    }
}

/// Returns how to talk to registries: Docker's own configuration.
pub fn client_options(host: &Host) -> Options {
    let home = || host.var("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Options {
        docker_config: host.var("DOCKER_CONFIG").map(PathBuf::from).or_else(home),
        path: host.var("PATH").map(Into::into),
        cancelled: host.cancel.flag(),
        ..Options::default()
    }
}

/// Returns the directories in which emulators are looked for.
fn search_path(host: &Host) -> Vec<PathBuf> {
    path(host).chain(["/usr/bin", "/usr/local/bin", "/usr/libexec"].map(PathBuf::from)).collect()
}

/// Returns the absolute directories of PATH.
fn path(host: &Host) -> impl Iterator<Item = PathBuf> {
    host.var("PATH").unwrap_or("").split(':').filter(|part| part.starts_with('/')).map(PathBuf::from)
}
