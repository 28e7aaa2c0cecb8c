//! Drives the steps of a build on this machine, or only looks which of them would run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::added::Added;
use super::ahead::OnMade;
use super::build::{Build, path};
use super::caches::{Caching, Sharing};
use super::jobs;
use super::project::{self, Project};
use super::solve::Lowered;
use super::why::{self, Hits, Telling};
use super::{Failure, Kind, Progress};
use crate::graph::Op;
use crate::report::why::TargetReport;
use crate::solver::drive::{Drive, Solved, Worker as _};
use crate::solver::notice::Listener;
use crate::solver::scheduler::OnFailure;
use crate::sys::cancel::CancelToken;
use crate::sys::files::{DiskFiles, Files};
use crate::worker::answers::Answers;
use crate::worker::cgroup::Cgroups;
use crate::worker::contexts::Contexts;
use crate::worker::emulation;
use crate::worker::fetched::Fetched;
use crate::worker::history::History;
use crate::worker::layers::Layers;
use crate::worker::local::{Effects, LocalSettings, LocalWorker, WorkerError};
use crate::worker::network::Networks;
use crate::worker::platforms::Platforms;
use crate::worker::sandbox::Launcher;
use crate::worker::secrets::Secrets;

/// What steps are driven with.
pub(super) struct Solver<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) lowered: &'a Lowered,
    pub(super) layers: &'a Layers<'a>,
    pub(super) contexts: &'a Contexts,
    pub(super) secrets: &'a Secrets,
    pub(super) answers: &'a Answers,
    /// What is exchanged with caches of other machines; `None` where they are left alone.
    pub(super) sharing: Option<&'a Sharing<'a>>,
}

impl Solver<'_> {
    /// Runs what is not in the cache, and tells `on_made` what that made.
    pub(super) fn run(
        &self,
        project: &Project,
        listener: &dyn Listener,
        on_made: &OnMade<'_>,
    ) -> Result<Solved<WorkerError>, Failure> {
        let history = self.history(project);
        let history = Some(&history).filter(|_| self.build.host.progress != Progress::Quiet);
        self.drive(Effects::All, history, listener, on_made)
    }

    /// Keeps what each target that was built is made of, for those who explain a later build.
    pub(super) fn record(&self, project: &Project, solved: &Solved<WorkerError>) {
        let history = self.history(project);
        let lookups = self.answers.so_far();
        for ((target, platform), result) in &self.lowered.targets {
            let Some(root) = result.root.filter(|root| solved.contents.contains_key(root)) else { continue };
            // What cannot be kept costs only an explanation.
            _ = history.record(&self.lowered.definition, (target, platform), root, &lookups);
        }
    }

    /// Runs nothing; what is not in the cache is explained.
    pub(super) fn look(
        &self,
        project: &Project,
        listener: &dyn Listener,
    ) -> Result<(Solved<WorkerError>, Vec<TargetReport>), Failure> {
        let history = self.history(project);
        let solved = self.drive(Effects::None, None, &Hits(listener), &|_, _| {})?;
        if self.build.host.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        let lookups = self.answers.so_far();
        let targets = why::targets(self.lowered, &project.sources, &history, &lookups, &solved.failures);
        Ok((solved, targets))
    }

    fn history(&self, project: &Project) -> History<'_> {
        let project = why::project_directory(self.build.host, &project.lock_path());
        History { store: self.build.store, contexts: self.contexts, project }
    }

    /// With `history`, says of each step that runs what changed.
    fn drive(
        &self,
        effects: Effects,
        history: Option<&History<'_>>,
        listener: &dyn Listener,
        on_made: &OnMade<'_>,
    ) -> Result<Solved<WorkerError>, Failure> {
        let Build { request, host, store, activities, .. } = self.build;
        let definition = &self.lowered.definition;
        let search = emulation::search(&store.emulators_path(), host.var("PATH").unwrap_or(""));
        let platforms = Platforms::new(search, definition);
        let launcher = Launcher::new(&host.program)
            .map_err(|error| Failure::new(Kind::Environment, format!("cannot start steps: {error}")))?;
        let resolv_conf = DiskFiles::new("/etc").read("resolv.conf".as_ref()).unwrap_or_default();
        let resolv_conf = String::from_utf8_lossy(&resolv_conf).into_owned();
        let settings = LocalSettings { epoch: project::epoch(host), launcher, effects };
        let note = |text: &str| activities.start(&format!("note: {text}")).finish("");
        let cgroups = Cgroups::new(&note);
        let networks =
            Networks::new(project::network(host)?, &settings.launcher, path(host).collect(), &resolv_conf, &note);
        let stop = CancelToken::default();
        let fetch = Added::new(store, host, &stop, self.secrets, activities)?;
        let fetched = Fetched::new(&fetch);
        let worker = LocalWorker {
            definition,
            store,
            layers: self.layers,
            contexts: self.contexts,
            platforms: &platforms,
            secrets: self.secrets,
            fetched: &fetched,
            networks: &networks,
            cgroups: &cgroups,
            tops: &self.lowered.tops(self.build.plan),
            settings: &settings,
            answers: self.answers,
        };
        // What is only looked at is looked for here alone.
        let sharing = self.sharing.filter(|_| effects == Effects::All);
        let by_step = sharing.map_or_else(BTreeMap::new, |_| self.build.caches.by_step(self.lowered));
        let imports = &self.build.caches.imports;
        let caching = Caching { worker: &worker, imports, by_step: &by_step, sharing };
        let telling = Telling {
            worker: &caching,
            answers: self.answers,
            history,
            lowered: self.lowered,
            listener,
            on_made,
            begin: host.begin,
            read: Mutex::new(BTreeMap::new()),
        };
        let goes_on = request.keep_going || effects == Effects::None;
        let jobs = request.jobs;
        let drive = Drive {
            definition,
            wanted: &self.lowered.roots(),
            n_slots: jobs.n_slots(),
            expected: &jobs::expected(store, definition, &|vertex| worker.is_emulated(vertex)),
            memory: &|| jobs.memory(),
            on_failure: if goes_on { OnFailure::KeepGoing } else { OnFailure::Stop },
            listener,
            begin: host.begin,
            cancel: &host.cancel,
            stop: &stop,
        };
        let solved = drive.run(&telling);
        for (id, identity) in fetched.identities() {
            if let Op::Source(source) = &definition.vertex(id).op {
                self.answers.note_identity(source, identity);
            }
        }
        jobs::remember(store, definition, &solved.ran);
        Ok(solved)
    }
}
