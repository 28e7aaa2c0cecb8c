//! Walks the instructions of the stages that a target reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::dockerfile::{Instruction, InstructionKind};
use crate::graph::{
    CopyAction, Definition, FileAction, FileOp, InputIndex, LocalSource, Op, ProxyEnv, SecretEnv, SourceOp, VertexId,
    VertexMetadata,
};
use crate::oci::ImageConfig;
use crate::plan::{BuildContext, ImageSource, NoCache, PlannedTarget};
use crate::platform::Platform;
use crate::reference::Reference;

use super::epoch::{self, Epoch};
use super::paths;
use super::stages::{Origin, StagePlan, Stages, empty_config};
use super::variables::{Shown, Variables, cross_suffix, globals};
use super::{DEFAULT_EPOCH, Ignore, Loaded, LoweredTarget, Lowering, Need, Resolved};

/// Adds the steps of `target` to `definition`, or says what has to be known first: all that can be told now.
///
/// # Errors
/// The Dockerfile asks for what is not there, or for what cannot be done yet.
pub fn lower(
    target: &PlannedTarget,
    loaded: &Loaded,
    resolved: &Resolved,
    definition: &mut Definition,
) -> Result<Lowering, Diagnostics> {
    let mut globals = globals(target, &loaded.dockerfile)?;
    let (target, time) = match epoch::settle(target, loaded, resolved, &mut globals)? {
        Epoch::Settled { target, time } => (target, time),
        Epoch::Needs(source) => return Ok(Lowering::NeedsTime(source)),
    };
    let target = &*target;
    let stages = Stages::find(target, loaded, resolved, globals)?;
    if !stages.needs.is_empty() {
        return Ok(Lowering::Needs(stages.needs));
    }
    let created = time.map_or_else(|| DEFAULT_EPOCH.to_owned(), |time| time.to_string());
    let mut lowerer = Lowerer {
        stages: &stages,
        definition,
        proxy: proxy(&target.args),
        created,
        results: BTreeMap::new(),
        context_paths: BTreeSet::new(),
        found: Diagnostics::default(),
    };
    for (index, plan) in &stages.plans {
        let result = lowerer.stage(*index, plan);
        lowerer.results.insert(*index, result?);
    }
    let Lowerer { mut results, context_paths, found, .. } = lowerer;
    if found.has_errors() {
        return Err(found);
    }
    let result = results.remove(&stages.target_stage()?).expect("the target's stage is reached");
    let mut config = result.config;
    // Whatever platform the last stage's files are for, the image is for the one that was asked for.
    let platform = target.platform.clone();
    (config.os, config.architecture, config.variant) = (platform.os, platform.architecture, platform.variant);
    config.os_version = platform.os_version.or(config.os_version);
    let labels = target.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    config.config.labels.extend(labels);
    // An image is as old as the last thing that was done to it, whatever its base says of itself.
    if let Some(last) = config.history.last() {
        config.created.clone_from(&last.created);
    }
    if let Some(root) = result.root {
        definition.wanted_by(root, &target.name);
    }
    Ok(Lowering::Done(LoweredTarget {
        root: result.root,
        config,
        context_paths,
        epoch: time.map(|time| time.as_second()),
    }))
}

/// Returns the proxies among the build arguments; of two spellings of a name, the last in byte order counts.
fn proxy(args: &BTreeMap<String, String>) -> Option<ProxyEnv> {
    let mut proxy = ProxyEnv::default();
    for (name, value) in args {
        let field = match name.to_lowercase().as_str() {
            "http_proxy" => &mut proxy.http,
            "https_proxy" => &mut proxy.https,
            "ftp_proxy" => &mut proxy.ftp,
            "no_proxy" => &mut proxy.no,
            "all_proxy" => &mut proxy.all,
            _ => continue,
        };
        field.clone_from(value);
    }
    (proxy != ProxyEnv::default()).then_some(proxy)
}

/// A stage after the instructions so far.
#[derive(Clone)]
pub(super) struct StageResult {
    /// `None` for no files at all.
    pub(super) root: Option<VertexId>,
    pub(super) config: ImageConfig,
    /// ENV and ARG as RUN sees them.
    pub(super) variables: Variables,
    /// All ARGs by name with the value that they were last declared with, in order, those of the parent first.
    pub(super) args: Vec<(String, String)>,
    pub(super) platform: Platform,
    /// CMD stands in this stage.
    pub(super) has_own_cmd: bool,
    steps: StepNames,
}

/// How the steps of a stage are numbered.
#[derive(Clone, Default)]
struct StepNames {
    stage_name: String,
    n_steps: usize,
    n_named: usize,
}

/// PATH where the base sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl StageResult {
    /// Sets the config's environment over the variables.
    fn set_config_env(&mut self) {
        for entry in &self.config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.variables.set(name, value);
        }
    }

    /// Gives the next step the number of the last one.
    pub(super) fn recount(&mut self) {
        self.steps.n_named = self.steps.n_named.saturating_sub(1);
    }

    /// Returns the working directory with slashes, whatever the platform's separator is.
    pub(super) fn working_dir(&self) -> String {
        let directory = self.config.config.working_dir.as_str();
        match directory {
            "" => "/".to_owned(),
            directory if self.is_windows() => directory.replace('\\', "/"),
            directory => directory.to_owned(),
        }
    }

    pub(super) fn is_windows(&self) -> bool {
        self.platform.os == "windows"
    }

    /// Returns a path of an instruction with slashes and without the drive; on other systems than Windows, as it is.
    ///
    /// # Errors
    /// It is on another drive than the system's, or on another machine.
    pub(super) fn slashed(&self, path: String, at: Span) -> Result<String, Diagnostic> {
        if !self.is_windows() {
            return Ok(path);
        }
        let wrong = |why: &str| Diagnostic::error(at, format!("`{path}` {why}"));
        paths::without_drive(&path).map_err(wrong)
    }
}

/// Returns about how many bytes of text a config has.
fn config_size(config: &ImageConfig) -> usize {
    let labels = config.config.labels.iter().map(|(name, value)| name.len() + value.len());
    let history = config.history.iter().map(|entry| entry.created_by.len());
    config.config.env.iter().map(String::len).chain(labels).chain(history).sum()
}

fn image_name(need: &Need) -> String {
    match &need.image {
        ImageSource::Registry(reference) => reference.to_string(),
        ImageSource::Layout { path, .. } => format!("oci-layout://{path}"),
    }
}

/// What is being lowered.
pub(super) struct Lowerer<'a, 's> {
    pub(super) stages: &'s Stages<'a>,
    pub(super) definition: &'s mut Definition,
    /// Time of what this build makes, RFC 3339.
    pub(super) created: String,
    pub(super) results: BTreeMap<usize, StageResult>,
    /// The proxies that every RUN sees.
    pub(super) proxy: Option<ProxyEnv>,
    /// See [`LoweredTarget::context_paths`].
    pub(super) context_paths: BTreeSet<String>,
    found: Diagnostics,
}

/// An instruction in its stage.
#[derive(Clone, Copy)]
pub(super) struct At<'i> {
    pub(super) stage_index: usize,
    pub(super) instruction: &'i Instruction,
    /// It is a trigger of the base.
    pub(super) is_trigger: bool,
}

impl At<'_> {
    pub(super) fn span(&self) -> Span {
        self.instruction.span
    }
}

impl Lowerer<'_, '_> {
    fn stage(&mut self, index: usize, plan: &StagePlan) -> Result<StageResult, Diagnostic> {
        let mut stage = self.base(index, plan)?;
        for (at, instruction) in plan.instructions.iter().enumerate() {
            let is_trigger = at < plan.n_triggers;
            let at = At { stage_index: index, instruction, is_trigger };
            if let Err(error) = self.instruction(&mut stage, at) {
                self.found.push(error);
            }
        }
        Ok(stage)
    }

    /// Returns the stage before its first instruction.
    fn base(&mut self, index: usize, plan: &StagePlan) -> Result<StageResult, Diagnostic> {
        let stage = &self.stages.loaded.dockerfile.stages[index];
        let platform = &plan.platform;
        let mut names = self.step_names(index, plan);
        if let Origin::Stage(parent) = plan.origin {
            let mut result = self.results[&parent].clone();
            result.variables.spend_copy(config_size(&result.config), stage.span)?;
            result.config.config.on_build.clear();
            // The parent's ENV counts again: an ARG of the parent that hid it does not hide it here.
            result.set_config_env();
            (result.steps, result.has_own_cmd) = (names, false);
            return Ok(result);
        }
        let (root, mut config) = match &plan.origin {
            Origin::Image(need) => {
                let image = &self.stages.resolved.images[need];
                let text = image_name(need);
                let name = self.prefix(&mut names, platform, &Variables::default()) + "FROM " + &text;
                let mut config = image.config.clone();
                config.created = None;
                let command = stage.original.trim().to_owned();
                let metadata = VertexMetadata { command, ..self.metadata(index, stage.span, name, platform) };
                (self.image(&plan.origin, metadata), config)
            }
            Origin::Target(name) => {
                let target = self.stages.target_result(name, stage.span)?;
                let mut config = target.config.clone();
                config.created = None;
                (target.root, config)
            }
            Origin::Local(_) => {
                let from = self.files(&plan.origin, stage.span)?;
                let action = CopyAction::new(InputIndex(0), "/", "/");
                let op = Op::File(FileOp { root: None, actions: vec![FileAction::Copy(action)] });
                let name = self.prefix(&mut names, platform, &Variables::default()) + &stage.original;
                let metadata = self.metadata(index, stage.span, name, platform);
                (Some(self.definition.add(op, vec![from], metadata)), empty_config(platform))
            }
            _ => (None, empty_config(platform)),
        };
        config.config.on_build.clear();
        if platform.os != "windows" && !config.config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let (platform, args) = (platform.clone(), Vec::new());
        let variables = self.stages.globals.without_any();
        let mut result = StageResult { root, config, variables, args, platform, has_own_cmd: false, steps: names };
        result.set_config_env();
        result.variables.spend_copy(config_size(&result.config), stage.span)?;
        Ok(result)
    }

    fn instruction(&mut self, stage: &mut StageResult, at: At<'_>) -> Result<(), Diagnostic> {
        match &at.instruction.kind {
            InstructionKind::Run(run) => self.run(stage, at, run),
            InstructionKind::Copy(copy) => self.copy(stage, at, copy),
            InstructionKind::Add(add) => self.add(stage, at, add),
            InstructionKind::Workdir(path) => self.workdir(stage, at, path),
            kind => self.set_metadata(stage, at, kind),
        }
    }

    /// Returns the step that holds the files of `origin`; one without files where there are none.
    pub(super) fn files(&mut self, origin: &Origin, span: Span) -> Result<VertexId, Diagnostic> {
        Ok(self.root_of(origin, span)?.unwrap_or_else(|| self.empty()))
    }

    /// Returns the step that holds the files of `origin`; `None` where there are none.
    pub(super) fn root_of(&mut self, origin: &Origin, span: Span) -> Result<Option<VertexId>, Diagnostic> {
        let target = self.stages.target;
        let root = match origin {
            Origin::Scratch => None,
            Origin::Stage(index) => self.results.get(index).and_then(|stage| stage.root),
            Origin::Image(need) => {
                let name = format!("FROM {}", image_name(need));
                self.image(origin, VertexMetadata { name, span: Some(span), ..VertexMetadata::default() })
            }
            Origin::Target(name) => self.stages.target_result(name, span)?.root,
            Origin::MainContext => {
                let BuildContext::Local(path) = &target.context else {
                    return Err(Diagnostic::error(span, "the build context is no directory"));
                };
                let name = "[internal] load build context".to_owned();
                Some(self.local(path, "context", &self.stages.loaded.ignore, name)?)
            }
            Origin::Local(key) => {
                let Some(BuildContext::Local(path)) = target.contexts.get(key) else {
                    return Err(Diagnostic::error(span, format!("context `{key}` is no directory")));
                };
                let none = Ignore::default();
                let ignore = self.stages.loaded.context_ignores.get(key).unwrap_or(&none);
                Some(self.local(path, key, ignore, format!("[context {key}] load from {path}"))?)
            }
        };
        Ok(root)
    }

    /// Adds a local source. bake's own lockfile is left out of it unless the ignore file takes it back: each build may
    /// write it, and a `COPY .` that read it would never give the same image twice.
    fn local(&mut self, path: &str, key: &str, ignore: &Ignore, name: String) -> Result<VertexId, Diagnostic> {
        if let Some(error) = &ignore.error {
            return Err(error.clone());
        }
        let ignore = iter::once("**/bake.lock".to_owned()).chain(ignore.lines.iter().cloned()).collect();
        let op = Op::Source(SourceOp::Local(LocalSource { path: path.to_owned(), ignore }));
        let metadata = VertexMetadata { name, source_name: key.to_owned(), ..VertexMetadata::default() };
        Ok(self.definition.add(op, Vec::new(), metadata))
    }

    /// Adds an image; `metadata` is what is known of the instruction that names it.
    fn image(&mut self, origin: &Origin, metadata: VertexMetadata) -> Option<VertexId> {
        let Origin::Image(need) = origin else { return None };
        let image = &self.stages.resolved.images[need];
        let diff_ids = image.config.rootfs.diff_ids.clone();
        // An image without layers is scratch.
        if diff_ids.is_empty() {
            return None;
        }
        let source_name = match &need.image {
            ImageSource::Registry(reference) => {
                let tag = reference.tag_or_latest().map(str::to_owned);
                Reference { tag, digest: Some(image.manifest), ..reference.clone() }.to_string()
            }
            ImageSource::Layout { .. } => image_name(need),
        };
        let op = Op::Source(SourceOp::Image { manifest: image.manifest, diff_ids });
        let platform = Some(need.platform.clone());
        let metadata = VertexMetadata { source_name, platform, ignore_cache: false, ..metadata };
        Some(self.definition.add(op, Vec::new(), metadata))
    }

    /// Returns the files of an image that no FROM or COPY names.
    pub(super) fn unnamed_image(&mut self, need: &Need) -> Option<VertexId> {
        let name = format!("FROM {}", image_name(need));
        self.image(&Origin::Image(need.clone()), VertexMetadata { name, ..VertexMetadata::default() })
    }

    /// Returns a step without files, for those that read a stage that has none.
    pub(super) fn empty(&mut self) -> VertexId {
        let action = FileAction::Mkdir { path: "/".to_owned(), mode: 0o755, owner: None };
        let op = Op::File(FileOp { root: None, actions: vec![action] });
        let name = "[internal] no files".to_owned();
        self.definition.add(op, Vec::new(), VertexMetadata { name, ..VertexMetadata::default() })
    }

    /// Returns a step that holds one file, made from a heredoc.
    pub(super) fn inline_file(&mut self, name: &str, mode: u32, data: Vec<u8>, at: At<'_>) -> VertexId {
        let path = paths::absolute("/", name);
        let action = FileAction::Mkfile { path, mode, owner: None, data };
        let op = Op::File(FileOp { root: None, actions: vec![action] });
        let name = "[internal] preparing inline document".to_owned();
        let metadata = VertexMetadata { name, span: Some(at.span()), ..VertexMetadata::default() };
        self.definition.add(op, Vec::new(), metadata)
    }

    /// Adds a step of an instruction; it becomes the stage's root. `suffix` follows the instruction's text in its name.
    pub(super) fn step(&mut self, stage: &mut StageResult, at: At<'_>, op: Op, inputs: Vec<VertexId>, suffix: &str) {
        let shown = if matches!(op, Op::Exec(_)) { Shown::Command } else { Shown::Paths };
        let name = self.step_name(stage, at, shown, suffix, &[]);
        let metadata = self.step_metadata(stage, at, name);
        stage.root = Some(self.definition.add(op, inputs, metadata));
    }

    /// Returns the name of an instruction's step and counts the step. `secrets` are variables whose value is not shown.
    pub(super) fn step_name(
        &self,
        stage: &mut StageResult,
        at: At<'_>,
        shown: Shown,
        suffix: &str,
        secrets: &[SecretEnv],
    ) -> String {
        let text = format!("{}{suffix}", at.instruction.original.trim_end());
        let mut variables = stage.variables.clone();
        secrets.iter().for_each(|secret| variables.set(&secret.name, "****"));
        let text = variables.expand_name(&text, self.stages.loaded.dockerfile.escape, shown);
        let (command, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        let trigger = if at.is_trigger { "ONBUILD " } else { "" };
        let prefix = self.prefix(&mut stage.steps, &stage.platform, &stage.variables);
        format!("{prefix}{trigger}{}{rest}", command.to_uppercase())
    }

    /// Returns what is known of an instruction's step.
    pub(super) fn step_metadata(&self, stage: &StageResult, at: At<'_>, name: String) -> VertexMetadata {
        let metadata = self.metadata(at.stage_index, at.span(), name, &stage.platform);
        VertexMetadata { command: at.instruction.original.trim_end().to_owned(), ..metadata }
    }

    fn metadata(&self, stage_index: usize, span: Span, name: String, platform: &Platform) -> VertexMetadata {
        let stage_name = self.stages.loaded.dockerfile.stages[stage_index].name.as_ref();
        let stage = stage_name.map_or_else(|| format!("stage-{stage_index}"), |name| name.text.clone());
        let ignore_cache = match &self.stages.target.no_cache {
            NoCache::Off => false,
            NoCache::All => true,
            NoCache::Stages(names) => stage_name.is_some_and(|word| names.contains(&word.text)),
        };
        let platform = Some(platform.clone());
        VertexMetadata { name, span: Some(span), stage, platform, ignore_cache, ..VertexMetadata::default() }
    }

    fn step_names(&self, index: usize, plan: &StagePlan) -> StepNames {
        let stages = &self.stages.loaded.dockerfile.stages;
        let stage_name = match &stages[index].name {
            _ if stages.len() == 1 && !self.stages.has_unnamed_stages() => String::new(),
            Some(name) => name.text.clone(),
            None => format!("stage-{index}"),
        };
        let is_step = |instruction: &&Instruction| {
            use InstructionKind::{Add, Copy, Run, Workdir};
            matches!(instruction.kind, Run(_) | Copy(_) | Add(_) | Workdir(_))
        };
        let n_bases = usize::from(!matches!(plan.origin, Origin::Scratch | Origin::Stage(_)));
        StepNames { stage_name, n_steps: n_bases + plan.instructions.iter().filter(is_step).count(), n_named: 0 }
    }

    /// Returns `[linux/arm64 build 2/4] ` and counts the step.
    fn prefix(&self, names: &mut StepNames, platform: &Platform, variables: &Variables) -> String {
        names.n_named += 1;
        let mut words = Vec::new();
        if self.stages.target.is_multi_platform {
            words.push(format!("{platform}{}", cross_suffix(platform, variables)));
        }
        if !names.stage_name.is_empty() {
            words.push(names.stage_name.clone());
        }
        let width = names.n_steps.to_string().len();
        words.push(format!("{:width$}/{}", names.n_named, names.n_steps));
        format!("[{}] ", words.join(" "))
    }
}
