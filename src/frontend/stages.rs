//! Which stages a target reaches, what each comes from, and which images that takes.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span, nearest};
use crate::dockerfile::{
    CopyInstruction, Instruction, InstructionKind, MountOptions, Stage, Word, in_source_order, parse_trigger,
};
use crate::oci::ImageConfig;
use crate::plan::{BuildContext, ImageSource, PlannedTarget};
use crate::platform::Platform;
use crate::reference::Reference;

use super::cycles;
use super::variables::Variables;
use super::{Loaded, LoweredTarget, Need, Resolved, ResolvedImage};

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing.
    Scratch,
    /// An earlier stage of the file.
    Stage(usize),
    /// An image.
    Image(Need),
    /// A local named context, by name.
    Local(String),
    /// The main context, a directory.
    MainContext,
    /// Another target's result, by its name.
    Target(String),
}

/// A stage that is reached, before its steps.
#[derive(Clone, Debug)]
pub(super) struct StagePlan {
    pub(super) origin: Origin,
    /// What its processes run on.
    pub(super) platform: Platform,
    /// The triggers of its base, then its own; empty if a named context stands in for it.
    pub(super) instructions: Vec<Instruction>,
    /// How many of them are triggers.
    pub(super) n_triggers: usize,
}

/// The stages of a Dockerfile as one target sees them.
pub(super) struct Stages<'a> {
    pub(super) target: &'a PlannedTarget,
    pub(super) loaded: &'a Loaded,
    pub(super) resolved: &'a Resolved,
    pub(super) globals: Variables,
    /// Those that are reached, in order; complete only if nothing is needed.
    pub(super) plans: BTreeMap<usize, StagePlan>,
    /// Images that have to be resolved first, each with the place that asks first.
    pub(super) needs: BTreeMap<Need, Span>,
    bases: Vec<String>,
    platforms: Vec<Option<Platform>>,
}

impl<'a> Stages<'a> {
    /// Finds the stages that `target` reaches; `globals` are the variables that FROM sees.
    pub(super) fn find(
        target: &'a PlannedTarget,
        loaded: &'a Loaded,
        resolved: &'a Resolved,
        globals: Variables,
    ) -> Result<Stages<'a>, Diagnostics> {
        let (plans, needs) = (BTreeMap::new(), BTreeMap::new());
        let (bases, platforms) = (Vec::new(), Vec::new());
        let mut stages = Stages { target, loaded, resolved, globals, plans, needs, bases, platforms };
        let mut found = stages.expand_bases();
        if found.has_errors() {
            return Err(found);
        }
        let target_stage = stages.target_stage()?;
        cycles::check(&loaded.dockerfile, &stages.bases)?;
        let mut queue = vec![target_stage];
        while let Some(index) = queue.pop() {
            if stages.plans.contains_key(&index) {
                continue;
            }
            let (plan, origins) = stages.plan(index, &mut found);
            for (origin, span) in origins {
                match origin {
                    Origin::Stage(index) => queue.push(index),
                    Origin::Image(need) => _ = stages.need(need, span),
                    _ => {}
                }
            }
            stages.plans.insert(index, plan);
        }
        if found.has_errors() { Err(in_source_order(found)) } else { Ok(stages) }
    }

    /// Returns the index of the stage that is built.
    pub(super) fn target_stage(&self) -> Result<usize, Diagnostic> {
        let stages = &self.loaded.dockerfile.stages;
        let Some(name) = &self.target.stage else { return Ok(stages.len() - 1) };
        if let Some(index) = self.loaded.dockerfile.stage_named(name, stages.len()) {
            return Ok(index);
        }
        if let Some(index) = name.parse::<usize>().ok().filter(|index| *index < stages.len()) {
            return Ok(index);
        }
        let names = stages.iter().filter_map(|stage| stage.name.as_ref()).map(|word| word.text.as_str());
        let message = format!("target \"{}\": no stage named `{name}` in the Dockerfile", self.target.name);
        let error = Diagnostic::error_without_place(message);
        Err(match nearest(&name.to_lowercase(), names.clone()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if names.clone().next().is_some() => {
                error.note(format!("its stages are: {}", names.collect::<Vec<_>>().join(", ")))
            }
            None => error,
        })
    }

    /// Expands the FROM of every stage, reached or not.
    fn expand_bases(&mut self) -> Diagnostics {
        let mut found = Diagnostics::default();
        for stage in &self.loaded.dockerfile.stages {
            let base = self.expand_base(stage).unwrap_or_else(|error| {
                found.push(error);
                String::new()
            });
            let platform = stage.platform.as_ref().map(|word| self.expand_platform(word)).transpose();
            let platform = platform.unwrap_or_else(|error| {
                found.push(error);
                None
            });
            self.bases.push(base);
            self.platforms.push(platform);
        }
        found
    }

    fn expand_base(&self, stage: &Stage) -> Result<String, Diagnostic> {
        let word = &stage.base;
        let expanded = self.globals.expand(&word.text, self.loaded.dockerfile.escape, word.span)?;
        if expanded.text.trim().is_empty() {
            let error = Diagnostic::error(word.span, format!("the image name `{}` is empty here", word.text));
            let names: Vec<&str> = expanded.unset.iter().map(String::as_str).collect();
            return Err(match names.first() {
                Some(name) => error
                    .note(format!("not set: {}", names.join(", ")))
                    .hint(format!("write `ARG {name}=value` before the first FROM, or set `args` of the target")),
                None => error,
            });
        }
        Ok(expanded.text)
    }

    fn expand_platform(&self, word: &Word) -> Result<Platform, Diagnostic> {
        let text = self.globals.expand(&word.text, self.loaded.dockerfile.escape, word.span)?.text;
        if text.is_empty() {
            return Err(Diagnostic::error(word.span, format!("the platform `{}` is empty here", word.text)));
        }
        text.parse::<Platform>().map_err(|invalid| {
            let error = Diagnostic::error(word.span, invalid.to_string());
            match invalid.suggestion {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        })
    }

    /// Returns a reached stage and all origins that it reads, as far as they can be told, each with the place that names it.
    fn plan(&mut self, index: usize, found: &mut Diagnostics) -> (StagePlan, Vec<(Origin, Span)>) {
        let stage = &self.loaded.dockerfile.stages[index];
        let platform = self.platforms[index].clone().unwrap_or_else(|| self.target.platform.clone());
        let context = stage.name.as_ref().and_then(|name| self.context(&name.text, &platform));
        if let Some((key, context)) = context {
            let origin = origin_of_context(&key, &context, &platform);
            let plan = StagePlan { origin: origin.clone(), platform, instructions: Vec::new(), n_triggers: 0 };
            return (plan, vec![(origin, stage.span)]);
        }
        let (origin, platform) = self.base_origin(index, platform.clone()).unwrap_or_else(|error| {
            found.push(error);
            (Origin::Scratch, platform)
        });
        let mut instructions = self.triggers(&origin, stage.base.span).unwrap_or_else(|error| {
            found.push(error);
            Vec::new()
        });
        let n_triggers = instructions.len();
        instructions.extend(stage.instructions.iter().cloned());
        let mut origins = vec![(origin.clone(), stage.base.span)];
        for instruction in &instructions {
            match self.reads(index, instruction) {
                Ok(read) => origins.extend(read),
                Err(error) => found.push(error),
            }
        }
        (StagePlan { origin, platform, instructions, n_triggers }, origins)
    }

    fn base_origin(&self, index: usize, platform: Platform) -> Result<(Origin, Platform), Diagnostic> {
        let base = &self.bases[index];
        let earlier = self.loaded.dockerfile.stages[..index].iter();
        let named = earlier.enumerate().rev().find(|(_, stage)| stage.name.as_ref().is_some_and(|n| n.text == *base));
        if let Some((parent, _)) = named {
            return Ok((Origin::Stage(parent), self.platform_of(parent)));
        }
        let word = &self.loaded.dockerfile.stages[index].base;
        Ok((self.external(base, &platform, word.span)?, platform))
    }

    /// Returns the platform of a stage: its own, or that of the stage it comes from.
    fn platform_of(&self, index: usize) -> Platform {
        let base = &self.bases[index];
        let earlier = self.loaded.dockerfile.stages[..index].iter();
        let is_base = |stage: &Stage| stage.name.as_ref().is_some_and(|name| name.text == *base);
        match earlier.rev().position(is_base) {
            Some(distance) => self.platform_of(index - 1 - distance),
            None => self.platforms[index].clone().unwrap_or_else(|| self.target.platform.clone()),
        }
    }

    /// Returns what a name that is no stage means: `scratch`, a named context, an image.
    fn external(&self, name: &str, platform: &Platform, span: Span) -> Result<Origin, Diagnostic> {
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        if let Some((key, context)) = self.context(name, platform) {
            return Ok(origin_of_context(&key, &context, platform));
        }
        let reference: Reference = name.parse().map_err(|invalid: crate::reference::InvalidReference| {
            let error = Diagnostic::error(span, format!("no stage, and {invalid}"));
            let names = self.loaded.dockerfile.stages.iter().filter_map(|stage| stage.name.as_ref());
            match nearest(&name.to_lowercase(), names.map(|word| word.text.as_str())) {
                Some(near) => error.hint(format!("did you mean the stage `{near}`?")),
                None => error,
            }
        })?;
        Ok(Origin::Image(Need { image: ImageSource::Registry(reference), platform: platform.clone() }))
    }

    fn context(&self, name: &str, platform: &Platform) -> Option<(String, BuildContext)> {
        named_context(self.target, name, platform)
    }

    /// Returns what the base holds back for the stages that come from it.
    fn triggers(&mut self, origin: &Origin, span: Span) -> Result<Vec<Instruction>, Diagnostic> {
        let texts = match origin {
            Origin::Image(need) => match self.need(need.clone(), span) {
                Some(image) => image.config.config.on_build.clone(),
                None => Vec::new(),
            },
            Origin::Target(name) => self.target_result(name, span)?.config.config.on_build.clone(),
            Origin::Stage(index) => {
                let parent = &self.loaded.dockerfile.stages[*index];
                let platform = self.platform_of(*index);
                // A parent that a named context stands in for has no instructions.
                if parent.name.as_ref().is_some_and(|name| self.context(&name.text, &platform).is_some()) {
                    return Ok(Vec::new());
                }
                let held = parent.instructions.iter().filter_map(|instruction| match &instruction.kind {
                    InstructionKind::Onbuild(text) => Some(text.clone()),
                    _ => None,
                });
                held.collect()
            }
            Origin::Scratch | Origin::Local(_) | Origin::MainContext => Vec::new(),
        };
        let mut instructions = Vec::new();
        for text in texts {
            let (instruction, found) = parse_trigger(&text, span);
            if let Some(error) = found.iter().find(|d| d.severity == crate::diagnostic::Severity::Error) {
                return Err(error.clone().note(format!("in the trigger `ONBUILD {text}` of the base image")));
            }
            instructions.extend(instruction);
        }
        Ok(instructions)
    }

    /// Returns the origins that an instruction of stage `index` reads besides the stage's own files, each with the place that
    /// names it.
    fn reads(&self, index: usize, instruction: &Instruction) -> Result<Vec<(Origin, Span)>, Diagnostic> {
        match &instruction.kind {
            InstructionKind::Copy(CopyInstruction { from: None, .. }) | InstructionKind::Add(_) => {
                Ok(vec![(self.main_context(), instruction.span)])
            }
            InstructionKind::Copy(CopyInstruction { from: Some(from), .. }) => {
                Ok(vec![(self.copy_origin(index, from)?, from.span)])
            }
            InstructionKind::Run(run) => {
                let mut origins = Vec::new();
                for word in &run.mounts {
                    let origin = match MountOptions::from_of(word) {
                        Some(from) => self.mount_origin(index, &from, word.span)?,
                        None => self.main_context(),
                    };
                    origins.push((origin, word.span));
                }
                Ok(origins)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Says whether some instruction, reached or not, makes the peer count a stage that no FROM makes: an image that is
    /// named directly, or any mount.
    pub(super) fn has_unnamed_stages(&self) -> bool {
        let stages = self.loaded.dockerfile.stages.iter().enumerate();
        let mut instructions = stages.flat_map(|(index, stage)| stage.instructions.iter().map(move |i| (index, i)));
        instructions.any(|(index, instruction)| match &instruction.kind {
            InstructionKind::Run(run) => !run.mounts.is_empty(),
            _ => {
                let origins = self.reads(index, instruction).unwrap_or_default();
                origins.iter().any(|(origin, _)| !matches!(origin, Origin::Stage(_) | Origin::MainContext))
            }
        })
    }

    /// Returns where `COPY` without `--from` reads.
    pub(super) fn main_context(&self) -> Origin {
        match &self.target.context {
            BuildContext::Local(_) => Origin::MainContext,
            BuildContext::Image(image) => {
                Origin::Image(Need { image: image.clone(), platform: self.target.platform.clone() })
            }
            BuildContext::Target(name) => Origin::Target(name.clone()),
        }
    }

    /// Returns what `COPY --from` means: a stage by name or index, a named context, an image.
    pub(super) fn copy_origin(&self, index: usize, from: &Word) -> Result<Origin, Diagnostic> {
        let stages = &self.loaded.dockerfile.stages;
        if from.text.contains('$') {
            let error =
                Diagnostic::error(from.span, format!("`--from={}`: variables are not expanded here", from.text));
            return Err(error.hint("name the image with `FROM … AS name` and use its name"));
        }
        if let Ok(wanted) = from.text.parse::<usize>() {
            if wanted < index {
                return Ok(self.stage_origin(wanted));
            }
            let error = Diagnostic::error(from.span, format!("there is no stage {wanted} before this one"));
            return Err(error.note(format!("this is stage {index}; the first is stage 0")));
        }
        self.mount_origin(index, &from.text, from.span).map_err(|error| {
            match nearest(
                &from.text.to_lowercase(),
                stages[..index].iter().filter_map(|stage| stage.name.as_ref()).map(|word| word.text.as_str()),
            ) {
                Some(near) if error.hints.is_empty() => error.hint(format!("did you mean `{near}`?")),
                _ => error,
            }
        })
    }

    /// Returns what reading a stage reads: the named context that stands in for it, where there is one, of which then only
    /// what is read counts.
    fn stage_origin(&self, index: usize) -> Origin {
        let (name, platform) = (self.loaded.dockerfile.stages[index].name.as_ref(), self.platform_of(index));
        match name.and_then(|name| self.context(&name.text, &platform)) {
            Some((key, context)) => origin_of_context(&key, &context, &platform),
            None => Origin::Stage(index),
        }
    }

    /// Returns what a mount's `from` means: a stage by name, a named context, an image.
    pub(super) fn mount_origin(&self, index: usize, from: &str, span: Span) -> Result<Origin, Diagnostic> {
        let dockerfile = &self.loaded.dockerfile;
        if let Some(earlier) = dockerfile.stage_named(from, index) {
            return Ok(self.stage_origin(earlier));
        }
        if let Some(later) = dockerfile.stage_named(from, dockerfile.stages.len()) {
            let error = Diagnostic::error(span, format!("stage `{from}` is not defined before this one"));
            return Err(error.label(dockerfile.stages[later].span, "it is defined here"));
        }
        self.external(from, &self.target.platform, span)
    }

    /// Returns an image if it is resolved; notes that the place `span` needs it otherwise.
    fn need(&mut self, need: Need, span: Span) -> Option<&'a ResolvedImage> {
        let image = self.resolved.images.get(&need);
        if image.is_none() {
            self.needs.entry(need).or_insert(span);
        }
        image
    }

    /// Returns the result of the target that a context names.
    pub(super) fn target_result(&self, name: &str, span: Span) -> Result<&'a LoweredTarget, Diagnostic> {
        self.resolved.target(name, &self.target.platform).ok_or_else(|| {
            let message = format!("target \"{name}\" is no part of this build, but a context of this target names it");
            Diagnostic::error(span, message)
        })
    }
}

/// Returns the named context of `target` that stands in for `name`, with its key: one for the platform first.
pub(super) fn named_context(target: &PlannedTarget, name: &str, platform: &Platform) -> Option<(String, BuildContext)> {
    // These two words always mean what they say.
    if ["scratch", "context"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return None;
    }
    let wanted = normal_name(name);
    let platform = platform.to_string();
    let matching = |for_platform: bool| {
        target.contexts.iter().find(|(key, _)| match key.split_once("::") {
            Some((key, of)) => for_platform && of == platform && normal_name(key) == wanted,
            None => !for_platform && normal_name(key) == wanted,
        })
    };
    matching(true).or_else(|| matching(false)).map(|(key, context)| (key.clone(), context.clone()))
}

fn origin_of_context(key: &str, context: &BuildContext, platform: &Platform) -> Origin {
    match context {
        BuildContext::Local(_) => Origin::Local(key.to_owned()),
        // `docker-image://scratch`: the word, and no image of that name.
        BuildContext::Image(ImageSource::Registry(Reference { registry, repository, tag: None, digest: None }))
            if (registry.as_str(), repository.as_str()) == ("docker.io", "library/scratch") =>
        {
            Origin::Scratch
        }
        BuildContext::Image(image) => Origin::Image(Need { image: image.clone(), platform: platform.clone() }),
        BuildContext::Target(name) => Origin::Target(name.clone()),
    }
}

/// Returns a context's name as lookups compare it: an image's full name where it is one, without `latest`.
fn normal_name(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) => reference.to_string().trim_end_matches(":latest").to_owned(),
        Err(_) => name.to_lowercase(),
    }
}

/// Returns the config of an image without files.
pub(super) fn empty_config(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    config
}
