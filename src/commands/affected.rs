//! `bake affected`: which targets are other ones than at a revision, from the graphs of both and not from paths.
//!
//! The bakefile, the Dockerfiles, the lockfile and the contexts of the revision are read as they were, lowered with the
//! flags and the environment of now, and compared with those of the working tree: what decides a result is compared, so a
//! file that nothing selects, a comment, or a line of an ignore file that changes nothing affects nobody. What cannot be
//! known to be the same counts as affected.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::build::{self, Build, BuildRequest};
use super::solve::Lowered;
use super::{Failure, Host, Kind, project, remotes};
use crate::digest::Digest;
use crate::frontend::LoweredTarget;
use crate::graph::{Op, SourceOp, VertexId};
use crate::platform::Platform;
use crate::remote::is_commit;
use crate::report::Fanout;
use crate::report::why::{file_phrase, line};
use crate::solver::affected::{Difference, StepInputs, differences};
use crate::solver::inputs::Inputs;
use crate::solver::key::selections;
use crate::source::revision::{self, RevisionError};
use crate::worker::contexts::Contexts;

/// Files that are named for one step; the others are counted.
const N_FILES: usize = 20;

/// What `bake affected` is asked.
#[derive(Clone, Debug, Default)]
pub struct AffectedRequest {
    /// Which build would be made.
    pub build: BuildRequest,
    /// The revision that the working tree is compared with, as git knows it.
    pub since: String,
    /// People are told why.
    pub has_reasons: bool,
    /// The answer is a JSON document, which always says why.
    pub is_json: bool,
}

/// A target for a platform that is another one than it was, and why; never without a reason.
struct Affected {
    target: String,
    platform: Platform,
    reasons: Vec<String>,
}

/// Returns the targets, for each platform, that are other ones than at a revision: a line each, or a document.
///
/// # Errors
/// The bakefile of now is wrong; there is no repository or no such revision.
pub fn affected(request: &AffectedRequest, host: &Host) -> Result<String, Failure> {
    let opened = build::open(&request.build, host)?;
    let ((affected, commit, n_all), _) =
        build::prepared(&request.build, opened, Fanout::default(), host, |build, project, _| {
            let secrets = build.secrets();
            let (_, lowered) = build.lower(project, &secrets)?;
            let new = Side::new(build, lowered, project.epoch)?;
            let then = revision::checkout(build.store, &host.directory, &request.since, &host.env);
            let then = then.map_err(|error| revision_failure(&error))?;
            let old_host = Host { directory: then.directory, ..host.clone() };
            let affected = match then_side(build, &old_host, &new) {
                Ok(affected) => affected,
                // Nothing is known of how it was.
                Err(failure) => everything(&new, &format!("{} cannot be read: {failure}", request.since)),
            };
            new.contexts.save(build.store);
            Ok((affected, then.commit, new.targets.len()))
        })?;
    Ok(match request.is_json {
        true => format!("{:#}\n", document(&affected, &commit, n_all)),
        false => text(&affected, request.has_reasons),
    })
}

/// Compares with how it was in the directory of `host`.
fn then_side(build: &Build<'_>, host: &Host, new: &Side) -> Result<Vec<Affected>, Failure> {
    let mut project = project::load(&build.request.project, host)?;
    let mut plan = project.plan(host)?;
    let checkouts = remotes::bring_in(&mut plan, None, build.store, host, build.activities)?;
    let build = build.beside(host, &plan, &checkouts);
    let secrets = build.secrets();
    let (_, lowered) = build.lower(&mut project, &secrets)?;
    let old = Side::new(&build, lowered, project.epoch)?;
    let compared = new.targets.iter().map(|(key, now)| {
        let reasons = match old.targets.get(key) {
            None => vec!["it is new".to_owned()],
            Some(before) => reasons((&old, before), (new, now))?,
        };
        let (target, platform) = key.clone();
        Ok(Affected { target, platform, reasons })
    });
    let compared: Vec<Affected> = compared.collect::<Result<_, Failure>>()?;
    Ok(compared.into_iter().filter(|affected| !affected.reasons.is_empty()).collect())
}

fn everything(new: &Side, reason: &str) -> Vec<Affected> {
    let keys = new.targets.keys().cloned();
    keys.map(|(target, platform)| Affected { target, platform, reasons: vec![reason.to_owned()] }).collect()
}

/// The targets of a revision, or of the working tree.
struct Side {
    lowered: Lowered,
    contexts: Contexts,
    targets: BTreeMap<(String, Platform), TargetInputs>,
}

/// What decides a target for a platform.
struct TargetInputs {
    /// All of it.
    digest: Digest,
    /// Inputs before their readers.
    steps: Vec<StepInputs>,
}

impl Side {
    fn new(build: &Build<'_>, lowered: Lowered, epoch: i64) -> Result<Side, Failure> {
        let contexts = build.contexts();
        let local_digest = |source: &_, selection: &_| contexts.digest(source, selection);
        let contents = BTreeMap::new();
        let mut inputs = Inputs::new(&lowered.definition, epoch, &local_digest, &contents);
        let target = |(key, target): (&(String, Platform), &LoweredTarget)| {
            let digest = build.shaped(&key.0, inputs.digest(target.root, &target.config)?);
            let steps = inputs.reached(target.root).into_iter().map(|(id, digest)| {
                let vertex = lowered.definition.vertex(id);
                let mut files = Vec::new();
                for selection in selections(&vertex.op) {
                    let input = vertex.inputs[selection.input.0 as usize];
                    if let Op::Source(SourceOp::Local(source)) = &lowered.definition.vertex(input).op {
                        files.push(contexts.digest(source, &selection)?);
                    }
                }
                let read = vertex.inputs.iter().filter_map(|input| inputs.known(*input)).collect();
                let (name, moves) = (vertex.metadata.name.clone(), moves(&vertex.op));
                Ok(StepInputs { vertex: id, name, digest, inputs: read, files, moves })
            });
            Ok((key.clone(), TargetInputs { digest, steps: steps.collect::<Result<_, _>>()? }))
        };
        // What is only read by others is none that anybody asked for.
        let asked = build.plan.targets.iter().filter(|target| !target.is_linked).flat_map(|target| &target.platforms);
        let asked = asked.map(|planned| (planned.name.clone(), planned.platform.clone()));
        let asked: Vec<_> = asked.filter_map(|key| lowered.targets.get_key_value(&key)).collect();
        let targets: Result<_, crate::worker::file::FileError> = asked.into_iter().map(target).collect();
        let targets = targets.map_err(|error| Failure::new(Kind::Build, error))?;
        Ok(Side { lowered, contexts, targets })
    }

    fn name(&self, id: VertexId) -> String {
        let name = &self.lowered.definition.vertex(id).metadata.name;
        line(name.lines().next().unwrap_or_default())
    }
}

/// Says whether a source may stand for something else at any time.
fn moves(op: &Op) -> bool {
    match op {
        Op::Source(SourceOp::Http(http)) => http.checksum.is_none(),
        Op::Source(SourceOp::Git(git)) => !is_commit(&git.reference) && git.checksum.is_none(),
        Op::Source(SourceOp::Image { .. } | SourceOp::Local(_)) => false,
        Op::Exec(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => false,
    }
}

/// Returns why a target is another one; empty if it is not.
fn reasons((old, before): (&Side, &TargetInputs), (new, now): (&Side, &TargetInputs)) -> Result<Vec<String>, Failure> {
    let found = differences(&before.steps, &now.steps);
    if found.is_empty() {
        let is_same = before.digest == now.digest;
        return Ok(if is_same { Vec::new() } else { vec![without_step(&before.steps, &now.steps)] });
    }
    let mut reasons = Vec::new();
    for difference in found {
        reasons.extend(match difference {
            Difference::New(id) => vec![format!("{} is new", new.name(id))],
            Difference::Moves(id) => vec![format!("{} may stand for something else now", new.name(id))],
            Difference::Changed { old: then, new: id } => vec![changed(old, then, new, id)],
            Difference::Files { old: then, new: id } => files((old, then), (new, id))?,
        });
    }
    Ok(reasons)
}

/// Says what is other where no step is.
fn without_step(before: &[StepInputs], now: &[StepInputs]) -> String {
    let of = |steps: &[StepInputs]| steps.iter().map(|step| step.digest).collect::<std::collections::BTreeSet<_>>();
    match of(before) == of(now) {
        true => "the image's config changed: its command, environment, labels or history".to_owned(),
        false => "steps were taken out".to_owned(),
    }
}

fn changed(old: &Side, then: VertexId, new: &Side, id: VertexId) -> String {
    let image = |side: &Side, id| match &side.lowered.definition.vertex(id).op {
        Op::Source(SourceOp::Image { manifest, .. }) => Some(manifest.short()),
        _ => None,
    };
    match (image(old, then), image(new, id)) {
        (Some(old), Some(now)) => format!("{} is another image: {old} → {now}", new.name(id)),
        _ => format!("{} changed", new.name(id)),
    }
}

/// Names the files that a step selects and that are other ones.
fn files((old, then): (&Side, VertexId), (new, id): (&Side, VertexId)) -> Result<Vec<String>, Failure> {
    let listings = |side: &Side, id: VertexId| {
        let vertex = side.lowered.definition.vertex(id);
        let mut listings = Vec::new();
        for selection in selections(&vertex.op) {
            let input = vertex.inputs[selection.input.0 as usize];
            if let Op::Source(SourceOp::Local(source)) = &side.lowered.definition.vertex(input).op {
                listings.push((source.path.clone(), side.contexts.listing(source, &selection)?.1));
            }
        }
        Ok(listings)
    };
    let listings =
        |side, id| listings(side, id).map_err(|error: crate::worker::file::FileError| Failure::new(Kind::Build, error));
    let (before, now) = (listings(old, then)?, listings(new, id)?);
    let mut reasons = Vec::new();
    for ((_, before), (context, now)) in before.iter().zip(&now) {
        let place = if context == "." { String::new() } else { format!("{context}/") };
        let changes = now.changes_since(before);
        reasons.extend(
            changes.iter().take(N_FILES).map(|(path, change)| line(&format!("{place}{}", file_phrase(path, change)))),
        );
        if changes.len() > N_FILES {
            reasons.push(format!("and {} more files of {context}", changes.len() - N_FILES));
        }
    }
    if reasons.is_empty() {
        reasons.push(format!("{} selects other files", new.name(id)));
    }
    Ok(reasons)
}

fn text(affected: &[Affected], has_reasons: bool) -> String {
    let mut text = String::new();
    for Affected { target, platform, reasons } in affected {
        _ = writeln!(text, "{target} {platform}");
        if has_reasons {
            reasons.iter().for_each(|reason| _ = writeln!(text, "  {reason}"));
        }
    }
    text
}

fn document(affected: &[Affected], commit: &str, n_all: usize) -> Value {
    let one =
        |one: &Affected| json!({"target": one.target, "platform": one.platform.to_string(), "reasons": one.reasons});
    let targets: std::collections::BTreeSet<&str> = affected.iter().map(|one| one.target.as_str()).collect();
    json!({
        "since": commit,
        "targets": targets,
        "affected": affected.iter().map(one).collect::<Vec<_>>(),
        "unaffected": n_all - affected.len(),
    })
}

fn revision_failure(error: &RevisionError) -> Failure {
    match error {
        RevisionError::NoGit(_) => Failure::new(Kind::Environment, error).hint("install git"),
        RevisionError::NoRepository { .. } => Failure::new(Kind::Usage, error),
        RevisionError::NoRevision(_) => Failure::new(Kind::Usage, error).hint(
            "name a branch, tag or commit that is here; a shallow clone may lack it: `git fetch origin REVISION`",
        ),
        RevisionError::Failed(_) => Failure::new(Kind::Environment, error),
        RevisionError::Store(error) => super::store_failure::store_failure(error),
    }
}
