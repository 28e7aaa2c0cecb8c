//! `bake why`: which steps a build would run, and what of them is other than in the last build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ahead::OnMade;
use super::build::{self, BuildRequest};
use super::caches::Caching;
use super::failure::with_causes;
use super::solve::Lowered;
use super::{Failure, Host, Kind};
use crate::diagnostic::SourceMap;
use crate::graph::{Definition, VertexId};
use crate::platform::Platform;
use crate::report::why::{self, Shown, StepReport, StepState, TargetReport};
use crate::solver::drive::{Step, StepFailure, Worker};
use crate::solver::explain::State;
use crate::solver::key::Content;
use crate::solver::lookups::Lookups;
use crate::solver::notice::{Listener, Notice, Outcome};
use crate::solver::scheduler::{Verdict, reachable};
use crate::solver::trace::Trace;
use crate::worker::answers::Answers;
use crate::worker::history::History;
use crate::worker::local::WorkerError;

/// What `bake why` is asked.
#[derive(Clone, Debug, Default)]
pub struct WhyRequest {
    /// Which build would be made.
    pub build: BuildRequest,
    /// Which steps are shown to people.
    pub shown: Shown,
    /// The answer is a JSON document.
    pub is_json: bool,
}

/// Returns which steps a build would run, and why. Runs nothing, brings no layer in and writes no result.
///
/// # Errors
/// What a build finds before its first step; or a step would have to run and that is to fail.
pub fn why(request: &WhyRequest, host: &Host) -> Result<String, Failure> {
    let targets = build::explain(&request.build, host)?;
    let data = match request.is_json {
        true => format!("{:#}\n", why::document(&targets)),
        false => why::text(&targets, request.shown),
    };
    match (request.build.fail_on_miss, missed(&targets)) {
        (true, Err(failure)) => Err(failure.data(data)),
        _ => Ok(data),
    }
}

/// Returns the misses of all targets, for people.
pub(super) fn text(targets: &[TargetReport]) -> String {
    why::text(targets, Shown::Misses)
}

/// Fails if a step would have to run.
pub(super) fn missed(targets: &[TargetReport]) -> Result<(), Failure> {
    let steps = targets.iter().flat_map(|target| &target.steps);
    let names: BTreeSet<&str> = steps.filter(|step| step.is_missed()).map(|step| step.name.as_str()).collect();
    let what = match names.len() {
        0 => return Ok(()),
        1 => "a step is".to_owned(),
        n => format!("{n} steps are"),
    };
    Err(Failure::new(Kind::Build, format!("{what} not in the cache, and --fail-on-miss was given"))
        .hint("build without --fail-on-miss to run what is missing"))
}

/// Where the history of a project's targets is known by: the directory of its first bakefile.
pub(super) fn project_directory(host: &Host, lock_path: &str) -> PathBuf {
    match Path::new(lock_path).parent() {
        Some(parent) => host.directory.join(parent),
        None => host.directory.clone(),
    }
}

/// Returns what there is to say of each target for each platform.
pub(super) fn targets(
    lowered: &Lowered,
    sources: &SourceMap,
    history: &History<'_>,
    lookups: &Lookups,
    failures: &[StepFailure<WorkerError>],
) -> Vec<TargetReport> {
    let failures: BTreeMap<VertexId, String> = failures
        .iter()
        .filter(|failure| !matches!(failure.error, WorkerError::WouldRun))
        .map(|failure| (failure.vertex, with_causes(&failure.error)))
        .collect();
    let report = |((target, platform), result): (&(String, Platform), &crate::frontend::LoweredTarget)| {
        let last = history.last(target, platform);
        let explained = result.root.map_or_else(Vec::new, |root| {
            history.explain(&lowered.definition, root, last.as_ref(), lookups, &failures)
        });
        let steps = explained.into_iter().map(|step| {
            let state = match step.state {
                State::Hit => StepState::Hit,
                State::Miss => StepState::Miss,
                State::Unknown(why) => StepState::Unknown(why),
                State::Behind(steps) => {
                    StepState::Behind(steps.iter().map(|id| name(&lowered.definition, *id)).collect())
                }
            };
            let span = lowered.definition.vertex(step.vertex).metadata.span;
            let place = span.map(|span| sources.place(span)).map(|place| (place.file.to_string(), place.line));
            StepReport { name: name(&lowered.definition, step.vertex), place, state, changes: step.changes }
        });
        let steps = steps.collect();
        TargetReport { target: target.clone(), platform: platform.to_string(), is_known: last.is_some(), steps }
    };
    lowered.targets.iter().map(report).collect()
}

fn name(definition: &Definition, id: VertexId) -> String {
    definition.vertex(id).metadata.name.clone()
}

/// Passes on what a drive without effects tells of hits: of what would run, nobody needs to hear that it failed.
pub(super) struct Hits<'a>(pub &'a dyn Listener);

impl Listener for Hits<'_> {
    fn on_notice(&self, at: Duration, notice: Notice<'_>) {
        match notice {
            Notice::Planned { .. } | Notice::Finished { outcome: Outcome::Hit, .. } => self.0.on_notice(at, notice),
            Notice::Finished { vertex, .. } => {
                self.0.on_notice(at, Notice::Finished { vertex, outcome: Outcome::Cancelled });
            }
            _ => {}
        }
    }
}

/// A worker that says of each step that it runs what of it is other than in the last build.
pub(super) struct Telling<'a> {
    /// Does the work.
    pub worker: &'a Caching<'a>,
    /// What the cache answered so far.
    pub answers: &'a Answers,
    /// The last builds; `None` where nobody asks.
    pub history: Option<&'a History<'a>>,
    /// All targets.
    pub lowered: &'a Lowered,
    /// Is told.
    pub listener: &'a dyn Listener,
    /// Is told what each step made.
    pub on_made: &'a OnMade<'a>,
    /// When the command began.
    pub begin: Instant,
    /// The last builds that were read; the mutex protects the list, and a small file is read under it.
    pub read: Mutex<BTreeMap<(String, Platform), Option<Trace>>>,
}

impl Worker for Telling<'_> {
    type Error = WorkerError;

    fn probe(&self, vertex: VertexId, inputs: &[Content]) -> Result<Verdict, WorkerError> {
        self.worker.probe(vertex, inputs)
    }

    fn execute(&self, step: &Step<'_>) -> Result<Content, WorkerError> {
        let vertex = step.vertex;
        if let Some(reason) = self.reason(vertex) {
            self.listener.on_notice(self.begin.elapsed(), Notice::Missed { vertex, reason: &reason });
        }
        let made = self.worker.execute(step)?;
        (self.on_made)(vertex, &made);
        Ok(made)
    }

    fn is_emulated(&self, vertex: VertexId) -> bool {
        self.worker.is_emulated(vertex)
    }
}

impl Telling<'_> {
    /// Returns why a step runs; `None` where nothing is known of an earlier build of the first target that wants it.
    fn reason(&self, vertex: VertexId) -> Option<String> {
        let (history, definition) = (self.history?, &self.lowered.definition);
        let wants = |(_, root): &(&(String, Platform), VertexId)| reachable(definition, &[*root]).contains(&vertex);
        let mut roots = self.lowered.targets.iter().filter_map(|(name, target)| Some((name, target.root?)));
        let (name, root) = roots.find(wants)?;
        let last = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(name.clone()).or_insert_with(|| history.last(&name.0, &name.1)).clone()?
        };
        why::reason(&history.changes(definition, root, &last, &self.answers.so_far(), vertex))
    }
}
