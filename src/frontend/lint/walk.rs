//! The stages of a Dockerfile: their names, bases and platforms, which of them are reached, what their bases hold back.
//!
//! Order and reach follow the peer's converter, since warnings up to the first error are reported, in that order. Stages
//! that no FROM makes (an image that COPY names) stand after the file's own.

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::lint::{
    BuildError, LineRange, Linter, Step, Violation, Written, WrittenStage, description, trigger,
};
use crate::dockerfile::shell::Expander;
use crate::dockerfile::{InstructionKind, MountOptions};
use crate::oci::ImageConfig;
use crate::plan::{BuildContext, ImageSource};
use crate::platform::Platform;
use crate::reference::Reference;

use super::super::Need;
use super::super::stages::{empty_config, named_context};
use super::super::variables::{Variables, predefined};
use super::expand::{expand, meant};
use super::outline::{ArgUse, Capture};
use super::{Lint, Request, Scope, Undecided, options};

/// A stage, and what is known of it while its instructions are walked.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    /// Expanded.
    pub(super) base_name: String,
    /// The stage that it comes from.
    pub(super) base: Option<usize>,
    /// Stages that it copies from or mounts, with the instruction's lines.
    pub(super) deps: Vec<(usize, LineRange)>,
    pub(super) steps: Vec<Step>,
    pub(super) lines: Option<LineRange>,
    pub(super) span: Option<Span>,
    pub(super) platform: Option<Platform>,
    /// A named context stands in for it.
    context: Option<BuildContext>,
    /// No FROM makes it.
    is_unnamed: bool,
    is_resolved: bool,
    has_triggers: bool,
    pub(super) is_dispatched: bool,
    /// The image that its environment hangs on and that is not known.
    pub(super) unknown_image: Option<String>,
    pub(super) image: Image,
    pub(super) variables: Variables,
    /// Variables that ARG declared.
    pub(super) build_args: BTreeSet<String>,
    pub(super) has_workdir: bool,
    pub(super) cmd: Option<LineRange>,
    pub(super) entrypoint: Option<LineRange>,
    pub(super) healthcheck: Option<LineRange>,
    pub(super) capture: Capture,
}

/// What checks ask of an image config.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) env: Variables,
    pub(super) has_shell: bool,
    on_build: Vec<String>,
}

impl Image {
    fn of(config: &ImageConfig) -> Image {
        let mut env = Variables::default();
        for entry in &config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            env.set(name, value);
        }
        Image { env, has_shell: !config.config.shell.is_empty(), on_build: config.config.on_build.clone() }
    }
}

/// The walk over one Dockerfile.
pub(super) struct Walk<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) scope: Scope,
    pub(super) linter: Linter,
    pub(super) escape: char,
    pub(super) globals: Variables,
    /// The file's stages, then those without a FROM.
    pub(super) states: Vec<State>,
    pub(super) undecided: Vec<Undecided>,
    needs: BTreeSet<Need>,
    /// What the global ARGs are.
    declared: Capture,
}

type Outcome<T> = Result<T, BuildError>;

impl<'a> Walk<'a> {
    pub(super) fn new(request: &'a Request<'a>, scope: Scope) -> Walk<'a> {
        Walk {
            request,
            scope,
            linter: Linter::default(),
            escape: '\\',
            globals: Variables::default(),
            states: Vec::new(),
            undecided: Vec::new(),
            needs: BTreeSet::new(),
            declared: Capture::default(),
        }
    }

    /// Walks all that is in scope; returns the stage that is built.
    pub(super) fn run(&mut self) -> Outcome<usize> {
        self.linter.options = options(self.request)?;
        let written = Written::read(self.request.file, self.request.sources, &mut self.linter)?;
        self.escape = written.escape;
        let last_name = written.stages.last().and_then(|stage| stage.name.as_deref());
        self.globals = predefined(self.request.target, last_name);
        self.check_defaults(&written);
        self.declare_globals(&written)?;
        written.stages.into_iter().try_for_each(|stage| self.add_stage(stage))?;
        let target = self.target_stage()?;
        for index in 0..self.states.len() {
            let steps = self.states[index].steps.clone();
            steps.iter().try_for_each(|step| self.add_deps(index, step))?;
        }
        self.check_cycles()?;
        let reached = self.resolve(target)?;
        self.walk_steps(&reached)?;
        Ok(target)
    }

    pub(super) fn finish(self) -> Lint {
        let mut undecided = self.undecided;
        undecided.sort();
        undecided.dedup();
        Lint { warnings: self.linter.warnings, needs: self.needs, undecided, ..Lint::default() }
    }

    /// Reports image names that are wrong where no build argument is given.
    fn check_defaults(&mut self, written: &Written) {
        let how = Expander::new(self.escape);
        let mut defaults = self.globals.clone();
        for (arg, _, _) in &written.global_args {
            let Some(default) = &arg.default else { continue };
            // What fails here fails again, as an error, when the arguments are given.
            let Ok(value) = expand(how, default, &defaults, arg.span).result else { return };
            defaults.set(&arg.name, &value.text);
        }
        let options = self.linter.options.clone();
        for stage in &written.stages {
            let Ok(base) = expand(how, &stage.base, &defaults, stage.span).result else { return };
            if base.text.parse::<Reference>().is_err() {
                self.linter.report(&options, Violation::InvalidDefaultArgInFrom(stage.base.clone()), Some(stage.lines));
            }
        }
    }

    fn declare_globals(&mut self, written: &Written) -> Outcome<()> {
        for (arg, lines, comments) in &written.global_args {
            let (mut value, mut reads) = (self.request.target.args.get(&arg.name).cloned(), BTreeSet::new());
            if let (None, Some(default)) = (&value, &arg.default) {
                let tracked = expand(Expander::new(self.escape), default, &self.globals, arg.span);
                value = Some(tracked.result.map_err(|error| at(error, *lines))?.text);
                reads = tracked.matched;
                // `ARG X=${X}-more` reads what the X before it reads.
                if reads.remove(&arg.name)
                    && let Some(before) = self.declared.args.get(&arg.name)
                {
                    reads.extend(before.reads.iter().cloned());
                }
            }
            if let Some(value) = &value {
                self.globals.set(&arg.name, value);
            }
            let description = description(comments, &arg.name).map(str::to_owned);
            let value = value.unwrap_or_default();
            self.declared.args.insert(arg.name.clone(), ArgUse { value, description, reads, lines: *lines });
        }
        Ok(())
    }

    fn add_stage(&mut self, stage: WrittenStage) -> Outcome<()> {
        let (lines, how) = (stage.lines, Expander::new(self.escape));
        let base = expand(how, &stage.base, &self.globals, stage.span);
        self.check_from_args(&base.unmatched, &stage);
        let base_name = base.result.map_err(|error| at(error, lines))?.text;
        if base_name.is_empty() {
            let error = Diagnostic::error(stage.span, format!("the image name `{}` is empty here", stage.base));
            return Err(at(error, lines));
        }
        let mut used = base.matched;
        let platform = match &stage.platform {
            None => None,
            Some(text) => {
                let tracked = expand(how, text, &self.globals, stage.span);
                self.check_from_args(&tracked.unmatched, &stage);
                let constant = tracked.matched.is_empty() && tracked.unmatched.is_empty();
                let only_target = tracked.unmatched.is_empty()
                    && tracked.matched.len() == 1
                    && tracked.matched.contains("TARGETPLATFORM");
                used.extend(tracked.matched);
                let value = tracked.result.map_err(|error| at(error, lines))?.text;
                self.check_platform(&stage, text, &value, only_target, constant);
                let wrong = || Diagnostic::error(stage.span, format!("`{text}` (`{value}`) is no platform"));
                Some(value.parse::<Platform>().map_err(|_| at(wrong(), lines))?)
            }
        };
        let mut state = State {
            description: stage.description().map(str::to_owned),
            base_name,
            lines: Some(lines),
            span: Some(stage.span),
            platform,
            capture: self.declared.clone(),
            steps: stage.steps,
            name: stage.name,
            ..State::default()
        };
        let platform = state.platform.as_ref().unwrap_or(&self.request.target.platform);
        let context = state.name.as_ref().and_then(|name| named_context(self.request.target, name, platform));
        state.context = context.map(|(_, context)| context);
        let is_replaced = state.context.is_some();
        let index = self.push(state);
        if is_replaced {
            self.states[index].base = None;
        } else {
            self.states[index].capture.used.extend(used);
        }
        Ok(())
    }

    fn push(&mut self, mut state: State) -> usize {
        let named = |earlier: &State| earlier.name.as_ref() == Some(&state.base_name);
        if let Some(base) = self.states.iter().rposition(named) {
            state.base = Some(base);
            state.capture = self.states[base].capture.clone();
        }
        self.states.push(state);
        self.states.len() - 1
    }

    fn check_from_args(&mut self, unmatched: &BTreeSet<String>, stage: &WrittenStage) {
        let options = self.linter.options_for(&stage.comments);
        for name in unmatched.iter().filter(|name| !self.declared.args.contains_key(*name)) {
            let known = self.declared.args.keys().map(String::as_str);
            let near = meant(name, known.chain(self.globals.entries().iter().map(|(name, _)| name.as_str())));
            let violation = Violation::UndefinedArgInFrom { name: name.clone(), near };
            self.linter.report(&options, violation, Some(stage.lines));
        }
    }

    fn check_platform(&mut self, stage: &WrittenStage, text: &str, value: &str, only_target: bool, constant: bool) {
        let options = self.linter.options_for(&stage.comments);
        if only_target && self.globals.get("TARGETPLATFORM") == Some(value) {
            self.linter.report(&options, Violation::RedundantTargetPlatform(text.to_owned()), Some(stage.lines));
        }
        let Ok(platform) = value.parse::<Platform>() else { return };
        let name = stage.name.as_deref().unwrap_or("");
        if constant && !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let violation = Violation::FromPlatformFlagConstDisallowed(value.to_owned());
            self.linter.report(&options, violation, Some(stage.lines));
        }
    }

    fn target_stage(&self) -> Outcome<usize> {
        let Some(wanted) = &self.request.target.stage else { return Ok(self.states.len() - 1) };
        let number = || wanted.parse::<usize>().ok().filter(|index| *index < self.states.len());
        self.stage_named(wanted).or_else(number).ok_or_else(|| {
            let names = self.states.iter().filter_map(|state| state.name.as_deref());
            let near = meant(wanted, names).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("target stage \"{wanted}\" could not be found{near}");
            BuildError { diagnostic: Diagnostic::error_without_place(message), lines: None }
        })
    }

    fn stage_named(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.states.iter().rposition(|state| state.name.as_ref() == Some(&name))
    }

    /// Notes which stages an instruction of stage `index` reads.
    fn add_deps(&mut self, index: usize, step: &Step) -> Outcome<()> {
        let names = match &step.instruction.kind {
            InstructionKind::Copy(copy) => copy.from.iter().map(|from| from.text.clone()).collect(),
            InstructionKind::Run(run) => run.mounts.iter().filter_map(MountOptions::from_of).collect(),
            _ => Vec::new(),
        };
        for name in names {
            let dep = self.dep(&name, step)?;
            self.states[index].deps.push((dep, step.lines));
        }
        Ok(())
    }

    /// Returns the stage that `name` means to an instruction; one without FROM is added for an image.
    fn dep(&mut self, name: &str, step: &Step) -> Outcome<usize> {
        let is_copy = matches!(step.instruction.kind, InstructionKind::Copy(_));
        if is_copy && name.contains('$') {
            let message = format!("`--from={name}`: variables are not expanded here");
            return Err(at(Diagnostic::error(step.instruction.span, message), step.lines));
        }
        if is_copy && let Ok(index) = name.parse::<usize>() {
            if index < self.states.len() {
                return Ok(index);
            }
            let error = Diagnostic::error(step.instruction.span, format!("there is no stage {index}"));
            return Err(at(error, step.lines));
        }
        if let Some(index) = self.stage_named(name) {
            return Ok(index);
        }
        let known = |state: &State| state.is_unnamed && state.base_name == name;
        if let Some(index) = self.states.iter().position(known) {
            return Ok(index);
        }
        let lines = is_copy.then_some(step.lines);
        let span = Some(step.instruction.span);
        Ok(self.push(State { base_name: name.to_owned(), is_unnamed: true, lines, span, ..State::default() }))
    }

    fn check_cycles(&self) -> Outcome<()> {
        for start in 0..self.states.len() {
            let mut seen = BTreeSet::new();
            let mut queue: Vec<(usize, LineRange)> = self.states[start].deps.clone();
            while let Some((index, lines)) = queue.pop() {
                if index == start {
                    let span = self.states[start].span;
                    let name = self.states[start].name.clone().unwrap_or_default();
                    let message = format!("circular dependency detected on stage: {name}");
                    let error = span.map_or_else(
                        || Diagnostic::error_without_place(message.clone()),
                        |span| Diagnostic::error(span, message.clone()),
                    );
                    return Err(at(error, lines));
                }
                if seen.insert(index) {
                    queue.extend(self.states[index].deps.iter().copied());
                }
            }
        }
        Ok(())
    }

    fn reached(&self, target: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut queue = vec![target];
        while let Some(index) = queue.pop() {
            if reached.insert(index) {
                queue.extend(self.states[index].base);
                queue.extend(self.states[index].deps.iter().map(|(dep, _)| *dep));
            }
        }
        reached
    }

    /// Finds the bases; what they hold back may reach more stages. Returns those that are reached.
    fn resolve(&mut self, target: usize) -> Outcome<BTreeSet<usize>> {
        loop {
            let reached = self.reached(target);
            for index in 0..self.states.len() {
                let state = &self.states[index];
                if state.base.is_none() && !state.is_dispatched && !state.is_resolved {
                    let is_reached = self.scope == Scope::All || reached.contains(&index);
                    self.states[index].is_resolved = is_reached;
                    self.resolve_base(index, is_reached)?;
                }
            }
            let n_states = self.states.len();
            let mut has_new_deps = false;
            for index in &reached {
                has_new_deps |= self.add_triggers(*index)?;
            }
            if !has_new_deps && self.states.len() == n_states {
                return Ok(reached);
            }
        }
    }

    fn resolve_base(&mut self, index: usize, is_reached: bool) -> Outcome<()> {
        let target = &self.request.target.platform;
        let is_unnamed = self.states[index].is_unnamed;
        if self.states[index].base_name == "scratch" && self.states[index].context.is_none() {
            let state = &mut self.states[index];
            state.image = Image::of(&empty_config(target));
            state.platform = Some(target.clone());
            state.is_dispatched = is_unnamed;
            return Ok(());
        }
        let name = self.states[index].base_name.clone();
        let platform = self.states[index].platform.clone().unwrap_or_else(|| target.clone());
        let lines = self.states[index].lines;
        let reference = name.parse::<Reference>().map_err(|invalid| {
            let diagnostic = match self.states[index].span {
                Some(span) => Diagnostic::error(span, invalid.to_string()),
                None => Diagnostic::error_without_place(invalid.to_string()),
            };
            BuildError { diagnostic, lines }
        })?;
        self.states[index].is_dispatched |= is_unnamed;
        if is_reached {
            if let Some(context) = self.states[index].context.clone() {
                self.states[index].is_dispatched = true;
                self.use_context(index, &name, &context, &platform);
                return Ok(());
            }
            match named_context(self.request.target, &reference.to_string(), &platform) {
                Some((_, context)) => self.use_context(index, &name, &context, &platform),
                None => self.use_image(index, &name, ImageSource::Registry(reference), &platform),
            }
        }
        self.states[index].platform = Some(platform);
        Ok(())
    }

    fn use_context(&mut self, index: usize, name: &str, context: &BuildContext, platform: &Platform) {
        match context {
            BuildContext::Local(_) => self.states[index].image = Image::of(&empty_config(platform)),
            BuildContext::Image(image) => self.use_image(index, name, image.clone(), platform),
            BuildContext::Target(linked) => match self.request.resolved.target(linked, &self.request.target.platform) {
                Some(lowered) => self.states[index].image = Image::of(&lowered.config),
                None => self.states[index].unknown_image = Some(name.to_owned()),
            },
        }
    }

    fn use_image(&mut self, index: usize, name: &str, image: ImageSource, platform: &Platform) {
        let need = Need { image, platform: platform.clone() };
        let lines = self.states[index].lines;
        let Some(image) = self.request.resolved.images.get(&need) else {
            self.needs.insert(need);
            self.states[index].unknown_image = Some(name.to_owned());
            let rule = Violation::InvalidBaseImagePlatform {
                image: String::new(),
                expected: String::new(),
                actual: String::new(),
            };
            self.undecided.push(Undecided::new(rule.rule(), name, lines));
            return;
        };
        let config = &image.config;
        self.states[index].image = Image::of(config);
        let has_layers = !config.rootfs.diff_ids.is_empty() || config.history.iter().any(|entry| !entry.empty_layer);
        let is_other = platform.os != config.os || platform.architecture != config.architecture;
        if has_layers && is_other {
            let actual = Platform {
                os_version: config.os_version.clone(),
                ..Platform::new(&config.os, &config.architecture, config.variant.as_deref())
            };
            let (image, expected, actual) = (name.to_owned(), platform.to_string(), actual.to_string());
            let options = self.linter.options.clone();
            self.linter.report(&options, Violation::InvalidBaseImagePlatform { image, expected, actual }, lines);
        }
    }

    /// Puts what the base holds back before a stage's own instructions; says whether that reads other stages.
    fn add_triggers(&mut self, index: usize) -> Outcome<bool> {
        let mut texts = std::mem::take(&mut self.states[index].image.on_build);
        if let Some(base) = self.states[index].base
            && !std::mem::replace(&mut self.states[index].has_triggers, true)
        {
            texts.extend(self.states[base].steps.iter().filter_map(|step| match &step.instruction.kind {
                InstructionKind::Onbuild(text) => Some(text.clone()),
                _ => None,
            }));
        }
        let (Some(lines), Some(span)) = (self.states[index].lines, self.states[index].span) else { return Ok(false) };
        let mut steps = Vec::new();
        for text in &texts {
            steps.extend(trigger(text, lines, span).map_err(|error| at(error, lines))?);
        }
        let n_deps = self.states[index].deps.len();
        for step in &steps {
            self.add_deps(index, step)?;
        }
        steps.append(&mut self.states[index].steps);
        self.states[index].steps = steps;
        Ok(self.states[index].deps.len() > n_deps)
    }
}

/// Says at which lines an error is.
pub(super) fn at(diagnostic: Diagnostic, lines: LineRange) -> BuildError {
    BuildError { diagnostic, lines: Some(lines) }
}
