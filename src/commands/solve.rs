//! From a plan to its results: resolve and lower every target, then drive the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build_warnings::{self, BuildWarning};
use super::project::tell;
use super::rights;
use super::store_failure::store_failure;
use super::{Failure, Host, Kind};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span, nearest};
use crate::frontend::{self, Loaded, LoweredTarget, Lowering, Need, Resolved};
use crate::graph::{Definition, FileAction, Id, Op, SourceOp, Vertex, VertexId};
use crate::oci::Compression;
use crate::plan::{BuildContext, ImageSource, Plan, PlannedTarget, TargetPlan};
use crate::platform::Platform;
use crate::source::image::{ImageResolver, ResolveError, ResolvedPin};
use crate::sys::files::Files;
use crate::sys::threads;
use crate::worker;

/// Names that are resolved at once.
const N_RESOLVERS: usize = 8;

/// Every target for every platform as steps of one graph.
pub struct Lowered {
    /// The graph.
    pub definition: Arc<Definition>,
    /// By target name and platform.
    pub targets: BTreeMap<(String, Platform), LoweredTarget>,
    /// What names of base images stood for.
    pub pins: Vec<ResolvedPin>,
    /// What the build checks say.
    pub warnings: BTreeSet<BuildWarning>,
    /// Targets with provenance, each by itself.
    pub alone: BTreeMap<(String, Platform), Alone>,
}

/// A target as if nothing else were built: steps that it shares with others have the names and places that it gives them,
/// so that what is told of it does not depend on what is built beside it.
pub struct Alone {
    /// Its steps and those of what it links to.
    pub definition: Definition,
    /// Its result in there.
    pub lowered: LoweredTarget,
    /// Its Dockerfile.
    pub dockerfile: FileId,
}

impl Lowered {
    /// Returns the steps whose results are the targets' root file systems.
    pub fn roots(&self) -> Vec<VertexId> {
        let roots: BTreeSet<VertexId> = self.targets.values().filter_map(|target| target.root).collect();
        roots.into_iter().collect()
    }

    /// Returns the step whose result is the root file system of a target for a platform; `None` for an empty one.
    pub fn root(&self, target: &PlannedTarget) -> Option<VertexId> {
        self.targets.get(&(target.name.clone(), target.platform.clone()))?.root
    }

    /// Returns the steps that make the last layer of an image with the ordinary compression, and whose result no other step
    /// reads.
    pub fn tops(&self, plan: &Plan) -> BTreeSet<VertexId> {
        let is_plain =
            |target: &&TargetPlan| target.shapes().iter().any(|shape| shape.compression == Compression::default());
        let images = plan.targets.iter().filter(is_plain).flat_map(|target| &target.platforms);
        let tops = images.filter_map(|image| self.root(image));
        let read: BTreeSet<VertexId> =
            self.definition.ids().flat_map(|id| self.definition.vertex(id).inputs.iter().copied()).collect();
        tops.filter(|top| !read.contains(top)).collect()
    }
}

/// Returns when a source was changed, as the target of that name reads it.
pub type TimeOf<'a> = dyn Fn(&SourceOp, &str) -> Result<Option<i64>, Failure> + 'a;

/// When sources were changed, seconds since 1970: what SOURCE_DATE_EPOCH may name.
pub struct Times<'a> {
    /// By the path that stands for a remote context in the plan.
    pub contexts: &'a BTreeMap<String, i64>,
    /// Asks for a source of a Dockerfile, for the target of that name; `None` where nothing says it.
    pub of_source: &'a TimeOf<'a>,
}

/// Lowers all targets of `plan`. Names that are needed are resolved in rounds, all of a round at once, until nothing more
/// is needed: an ARG or an ONBUILD trigger may name an image that only the round before brought to light.
///
/// # Errors
/// A Dockerfile is wrong, or an image cannot be resolved.
pub fn lower(
    plan: &Plan,
    files: &dyn Files,
    resolver: &ImageResolver<'_>,
    times: &Times<'_>,
    sources: &mut SourceMap,
    host: &Host,
) -> Result<Lowered, Failure> {
    let mut loaded: Vec<(&PlannedTarget, Loaded)> = Vec::new();
    let mut found = Diagnostics::default();
    for target in plan.planned() {
        match frontend::load(target, files, sources) {
            Ok(dockerfile) => {
                if let Some(error) = frontend::foreign_frontend(target, &dockerfile) {
                    found.push(error);
                }
                loaded.push((target, dockerfile));
            }
            Err(diagnostics) => found.extend(diagnostics),
        }
    }
    definition_failure(&found, sources)?;
    loaded.iter().for_each(|(_, one)| found.extend(one.warnings.clone()));
    tell(&found, sources, host);
    let mut resolved = Resolved { context_times: times.contexts.clone(), ..Resolved::default() };
    let mut pins = Vec::new();
    loop {
        match lower_once(&loaded, &mut resolved, sources)? {
            Ok(definition) => {
                let mut found = unsupported_steps(&definition);
                found.extend(rights::missing(&definition, plan));
                definition_failure(&found, sources)?;
                let definition = Arc::new(definition);
                let warnings = build_warnings::find(&loaded, &resolved, sources)?;
                let alone = lower_alone(plan, &loaded, &mut resolved.clone(), sources)?;
                return Ok(Lowered { definition, targets: resolved.targets, pins, warnings, alone });
            }
            Err(needs) => {
                if host.cancel.is_cancelled() {
                    return Err(Failure::new(Kind::Interrupted, "interrupted"));
                }
                for (source, target) in needs.times {
                    let time = (times.of_source)(&source, target)?;
                    resolved.source_times.insert(source, time);
                }
                let answers = threads::map(needs.images.into_iter().collect(), N_RESOLVERS, |need| {
                    let (need, (target, span)) = need;
                    let (image, pin) = resolver
                        .resolve(&need)
                        .map_err(|error| needed(&error, &need, target, &loaded).at(span, sources))?;
                    Ok::<_, Failure>((need, image, pin))
                });
                for (need, image, pin) in answers? {
                    resolved.images.insert(need, image);
                    pins.extend(pin);
                }
            }
        }
    }
}

/// Lowers each target with provenance by itself, with what `resolved` knows.
fn lower_alone(
    plan: &Plan,
    loaded: &[(&PlannedTarget, Loaded)],
    resolved: &mut Resolved,
    sources: &SourceMap,
) -> Result<BTreeMap<(String, Platform), Alone>, Failure> {
    let mut alone = BTreeMap::new();
    let attested = plan.targets.iter().filter(|target| target.attestations.provenance.is_some());
    for target in attested.flat_map(|target| &target.platforms) {
        let wanted = (target.name.clone(), target.platform.clone());
        // The plan has a target after those that it links to.
        let mut needed = BTreeSet::from([target.name.as_str()]);
        for (linking, _) in loaded.iter().rev().filter(|(one, _)| one.platform == target.platform) {
            if needed.contains(linking.name.as_str()) {
                needed.extend(linking.contexts.values().filter_map(|context| match context {
                    BuildContext::Target(name) => Some(name.as_str()),
                    BuildContext::Local(_) | BuildContext::Image(_) => None,
                }));
            }
        }
        resolved.targets.clear();
        let mut definition = Definition::default();
        for (one, dockerfile) in loaded {
            if one.platform != target.platform || !needed.contains(one.name.as_str()) {
                continue;
            }
            let lowering = frontend::lower(one, dockerfile, resolved, &mut definition)
                .map_err(|found| Failure::rendered(Kind::Definition, found.render(sources)))?;
            let Lowering::Done(lowered) = lowering else {
                return Err(Failure::new(Kind::Bug, "what was lowered before needs more the second time"));
            };
            resolved.targets.insert((one.name.clone(), one.platform.clone()), lowered);
        }
        let file = loaded.iter().find(|(one, _)| *one == target).map(|(_, loaded)| loaded.dockerfile.file);
        if let (Some(lowered), Some(dockerfile)) = (resolved.targets.remove(&wanted), file) {
            alone.insert(wanted, Alone { definition, lowered, dockerfile });
        }
    }
    Ok(alone)
}

/// Returns an error for each step that this engine cannot run.
fn unsupported_steps(definition: &Definition) -> Diagnostics {
    let mut found = Diagnostics::default();
    for vertex in definition.ids().map(|id| definition.vertex(id)) {
        owner_without_users(vertex).into_iter().for_each(|error| found.push(error));
        let Some(what) = worker::unsupported(&vertex.op) else { continue };
        let message = format!("{what} is not supported yet");
        found.push(match vertex.metadata.span {
            Some(span) => Diagnostic::error(span, message),
            None => Diagnostic::error_without_place(message).note(format!("in the step `{}`", vertex.metadata.name)),
        });
    }
    found
}

/// Returns an error for a copy into nothing that names its files' owner: there is no `/etc/passwd` to look the name up in.
fn owner_without_users(vertex: &Vertex) -> Option<Diagnostic> {
    let Op::File(file) = &vertex.op else { return None };
    // What one source brought is there for the next.
    let (None, FileAction::Copy(copy)) = (file.root, file.actions.first()?) else { return None };
    let owner = copy.owner.as_ref()?;
    let name = [&owner.user, &owner.group].into_iter().flatten().find_map(|id| match id {
        Id::Name(name) => Some(name),
        Id::Number(_) => None,
    })?;
    let message = format!("`{name}` cannot be looked up: the files are copied into nothing, where no users are");
    let error = match vertex.metadata.span {
        Some(span) => Diagnostic::error(span, message),
        None => Diagnostic::error_without_place(message),
    };
    Some(error.hint("give `--chown` numbers, or leave out `--link` where the stage has the user"))
}

/// What has to be resolved, with the first target that asks for it.
#[derive(Default)]
struct Needs<'a> {
    /// Each with the place that asks for it.
    images: BTreeMap<Need, (&'a str, Span)>,
    /// Sources whose time is a target's SOURCE_DATE_EPOCH.
    times: BTreeMap<SourceOp, &'a str>,
}

/// Lowers every target as far as the images of `resolved` allow: the graph, or what is still needed.
fn lower_once<'a>(
    loaded: &[(&'a PlannedTarget, Loaded)],
    resolved: &mut Resolved,
    sources: &SourceMap,
) -> Result<Result<Definition, Needs<'a>>, Failure> {
    let mut definition = Definition::default();
    resolved.targets.clear();
    let mut needs = Needs::default();
    let mut waiting: BTreeSet<(&str, &Platform)> = BTreeSet::new();
    let mut found = Diagnostics::default();
    // The plan has a target after those that it links to.
    for (target, dockerfile) in loaded {
        let is_waiting = |context: &BuildContext| match context {
            BuildContext::Target(name) => waiting.contains(&(name.as_str(), &target.platform)),
            BuildContext::Local(_) | BuildContext::Image(_) => false,
        };
        if target.contexts.values().any(is_waiting) {
            waiting.insert((&target.name, &target.platform));
            continue;
        }
        match frontend::lower(target, dockerfile, resolved, &mut definition) {
            Ok(Lowering::Needs(more)) => {
                waiting.insert((&target.name, &target.platform));
                for (need, span) in more {
                    needs.images.entry(need).or_insert((&target.name, span));
                }
            }
            Ok(Lowering::NeedsTime(source)) => {
                waiting.insert((&target.name, &target.platform));
                needs.times.entry(source).or_insert(&target.name);
            }
            Ok(Lowering::Done(lowered)) => {
                resolved.targets.insert((target.name.clone(), target.platform.clone()), lowered);
            }
            Err(diagnostics) => found.extend(diagnostics),
        }
    }
    definition_failure(&found, sources)?;
    Ok(if needs.images.is_empty() && needs.times.is_empty() { Ok(definition) } else { Err(needs) })
}

/// Fails if one of `found` is an error.
pub fn definition_failure(found: &Diagnostics, sources: &SourceMap) -> Result<(), Failure> {
    if found.has_errors() {
        return Err(Failure::rendered(Kind::Definition, found.render(sources)));
    }
    Ok(())
}

/// Says also who asked for the image, and whether it may have been meant as a stage.
fn needed(error: &ResolveError, need: &Need, target: &str, loaded: &[(&PlannedTarget, Loaded)]) -> Failure {
    let failure = resolve_failure(error);
    let ImageSource::Registry(reference) = &need.image else { return failure };
    let name = reference.familiar();
    let failure = failure.note(format!("target \"{target}\" builds on or copies from `{name}`"));
    let stages =
        loaded.iter().filter(|(planned, _)| planned.name == target).flat_map(|(_, one)| &one.dockerfile.stages);
    let stages = stages.filter_map(|stage| stage.name.as_ref()).map(|name| name.text.as_str());
    match nearest(name.trim_end_matches(":latest"), stages) {
        Some(stage) => failure.hint(format!("did you mean the stage `{stage}`?")),
        None => failure,
    }
}

/// Says what the user can do about an image that could not be resolved.
pub(super) fn resolve_failure(error: &ResolveError) -> Failure {
    match error {
        ResolveError::Registry(registry) => Failure::new(Kind::Remote, error).hints(registry.hint()),
        ResolveError::PinGone { image, .. } => Failure::new(Kind::Remote, error)
            .hint(format!("take the entry of `{image}` out of bake.lock, so that the name is resolved anew")),
        ResolveError::Store(error) => store_failure(error),
        ResolveError::NoPlatform { available, .. } => {
            Failure::new(Kind::Definition, error).note(format!("it has {}", available.join(", ")))
        }
        ResolveError::Malformed { .. } => Failure::new(Kind::Remote, error),
        ResolveError::Layout { .. } => Failure::new(Kind::Definition, error),
    }
}
