//! The instructions of a stage, one by one, with the variables that they see and set.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::dockerfile::lint::{BuildError, CheckOptions, Step, Violation};
use crate::dockerfile::shell::Expander;
use crate::dockerfile::{
    ArgDeclaration, CommandLine, InstructionKind, MountOptions, MountType, Pair, RunInstruction, Transfer, Word, ignore,
};

use super::super::metadata::{check_signal, port_range};
use super::expand::{expand, meant};
use super::outline::{ArgUse, MountUse};
use super::walk::{State, Walk, at};
use super::{Scope, Undecided};
use crate::dockerfile::lint::description;

/// The variables of `ARG` that no step sees.
const NOT_FOR_STEPS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The path of Linux' images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One instruction while it is walked.
struct At<'s> {
    stage: usize,
    step: &'s Step,
    options: CheckOptions,
}

impl Walk<'_> {
    /// Walks the instructions of every stage in scope, in order.
    pub(super) fn walk_steps(&mut self, reached: &BTreeSet<usize>) -> Result<(), BuildError> {
        for index in 0..self.states.len() {
            let is_wanted = reached.contains(&index) && !self.states[index].is_dispatched;
            if self.scope != Scope::All && !is_wanted {
                continue;
            }
            self.begin_stage(index);
            let steps = std::mem::take(&mut self.states[index].steps);
            for step in &steps {
                let comments = &step.instruction.comments;
                let options = self.linter.options_for(if step.is_trigger { &[] } else { comments });
                self.step(&At { stage: index, step, options }).map_err(|error| at(error, step.lines))?;
            }
            self.states[index].steps = steps;
        }
        Ok(())
    }

    fn begin_stage(&mut self, index: usize) {
        let target = &self.request.target.platform;
        if let Some(base) = self.states[index].base {
            let base = self.states[base].clone();
            let state = &mut self.states[index];
            (state.variables, state.platform, state.image) = (base.variables, base.platform, base.image);
            (state.has_workdir, state.unknown_image) = (base.has_workdir, base.unknown_image);
            state.build_args.extend(base.build_args);
        }
        let state = &mut self.states[index];
        state.is_dispatched = true;
        let platform = state.platform.get_or_insert_with(|| target.clone());
        if state.image.env.get("PATH").is_none() && platform.os != "windows" {
            state.image.env.set("PATH", DEFAULT_PATH);
        }
        for (name, value) in state.image.env.entries() {
            state.variables.set(name, value);
        }
    }

    fn step(&mut self, at: &At<'_>) -> Result<(), Diagnostic> {
        match &at.step.instruction.kind {
            InstructionKind::Arg(declarations) => self.arg(at, declarations)?,
            InstructionKind::Env(pairs) => {
                for (key, value) in self.pairs(at, pairs)? {
                    self.check_legacy(at);
                    self.check_secret(at, "ENV", &key);
                    let state = &mut self.states[at.stage];
                    state.variables.set(&key, &value);
                    set_in_place(state, &key, &value);
                }
            }
            InstructionKind::Label(pairs) => {
                for _ in self.pairs(at, pairs)? {
                    self.check_legacy(at);
                }
            }
            InstructionKind::Run(run) => self.run_mounts(at, run)?,
            InstructionKind::Copy(copy) => {
                let words = [copy.transfer.chown.as_ref(), copy.transfer.chmod.as_ref()];
                let sources = self.transfer(at, &words, &copy.transfer)?;
                match &copy.from {
                    None => self.check_ignored(at, "Copy", &sources),
                    Some(from) => self.check_defined(at, &from.text)?,
                }
            }
            InstructionKind::Add(add) => {
                let words = [add.transfer.chown.as_ref(), add.transfer.chmod.as_ref(), add.checksum.as_ref()];
                let sources = self.transfer(at, &words, &add.transfer)?;
                self.check_ignored(at, "Add", &sources);
            }
            InstructionKind::Cmd(command) => {
                let state = &mut self.states[at.stage];
                let before = state.cmd.replace(at.step.lines);
                self.check_once(at, before);
                self.check_form(at, command);
            }
            InstructionKind::Entrypoint(command) => {
                let state = &mut self.states[at.stage];
                let before = state.entrypoint.replace(at.step.lines);
                self.check_once(at, before);
                self.check_form(at, command);
            }
            InstructionKind::Healthcheck(_) => {
                let before = self.states[at.stage].healthcheck.replace(at.step.lines);
                self.check_once(at, before);
            }
            InstructionKind::Expose(words) => self.expose(at, words)?,
            InstructionKind::Shell(_) => self.states[at.stage].image.has_shell = true,
            InstructionKind::Stopsignal(word) => check_signal(&self.word(at, word)?, word.span)?,
            InstructionKind::User(word) => _ = self.word(at, word)?,
            InstructionKind::Volume(words) => {
                for word in words {
                    if self.word(at, word)?.is_empty() {
                        return Err(Diagnostic::error(word.span, "a VOLUME may not be blank"));
                    }
                }
            }
            InstructionKind::Workdir(word) => self.workdir(at, word)?,
            InstructionKind::Maintainer(_) | InstructionKind::Onbuild(_) => {}
        }
        Ok(())
    }

    fn report(&mut self, at: &At<'_>, violation: Violation) {
        self.linter.report(&at.options, violation, Some(at.step.lines));
    }

    /// Reports what hangs on the base image's config; only as undecided where that is not known.
    fn report_if_known(&mut self, at: &At<'_>, violation: Violation) {
        match &self.states[at.stage].unknown_image {
            None => self.report(at, violation),
            Some(image) if at.options.runs(violation.rule()) => {
                self.undecided.push(Undecided::new(violation.rule(), image, Some(at.step.lines)));
            }
            Some(_) => {}
        }
    }

    /// Expands a word with the stage's variables and reports those that are not set.
    fn expanded(&mut self, at: &At<'_>, how: Expander, text: &str) -> Result<String, Diagnostic> {
        let tracked = expand(how, text, &self.states[at.stage].variables, at.step.instruction.span);
        self.check_unset(at, &tracked.unmatched);
        tracked.result.map(|expanded| expanded.text)
    }

    fn word(&mut self, at: &At<'_>, word: &Word) -> Result<String, Diagnostic> {
        self.expanded(at, Expander::new(self.escape), &word.text)
    }

    fn check_unset(&mut self, at: &At<'_>, unmatched: &BTreeSet<String>) {
        for name in unmatched {
            let state = &self.states[at.stage];
            if state.build_args.contains(name) || NOT_FOR_STEPS.contains(&name.as_str()) {
                continue;
            }
            let near = meant(name, state.variables.entries().iter().map(|(name, _)| name.as_str()));
            self.report_if_known(at, Violation::UndefinedVar { name: name.clone(), near });
        }
    }

    fn arg(&mut self, at: &At<'_>, declarations: &[ArgDeclaration]) -> Result<(), Diagnostic> {
        for arg in declarations {
            self.check_secret(at, "ARG", &arg.name);
            let given = self.request.target.args.get(&arg.name).cloned();
            let inherited = match (&given, &arg.default) {
                (None, None) => self.globals.get(&arg.name).map(str::to_owned),
                _ => None,
            };
            let is_inherited = inherited.is_some();
            let value = match (given, &arg.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expanded(at, Expander::new(self.escape), default)?),
                (None, None) => inherited,
            };
            let state = &mut self.states[at.stage];
            if let Some(value) = value.as_ref().filter(|_| !NOT_FOR_STEPS.contains(&arg.name.as_str())) {
                state.variables.set(&arg.name, value);
            }
            if !is_inherited {
                let description = description(&at.step.instruction.comments, &arg.name).map(str::to_owned);
                let (value, reads, lines) = (value.unwrap_or_default(), BTreeSet::new(), at.step.lines);
                state.capture.args.insert(arg.name.clone(), ArgUse { value, description, reads, lines });
            }
            state.capture.used.insert(arg.name.clone());
            state.build_args.insert(arg.name.clone());
        }
        Ok(())
    }

    /// Expands all pairs before any of them takes effect.
    fn pairs(&mut self, at: &At<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>, Diagnostic> {
        pairs.iter().map(|pair| Ok((self.word(at, &pair.key)?, self.word(at, &pair.value)?))).collect()
    }

    /// Expands what COPY or ADD names; returns the sources.
    fn transfer(
        &mut self,
        at: &At<'_>,
        flags: &[Option<&Word>],
        transfer: &Transfer,
    ) -> Result<Vec<String>, Diagnostic> {
        for word in flags.iter().flatten() {
            self.word(at, word)?;
        }
        let sources = transfer.sources.iter().map(|source| self.word(at, source)).collect::<Result<_, _>>()?;
        self.word(at, &transfer.dest)?;
        for heredoc in transfer.heredocs.iter().filter(|heredoc| heredoc.expands) {
            let how = Expander { ignore_quotes: true, ..Expander::new('\\') };
            self.expanded(at, how, &heredoc.text)?;
        }
        Ok(sources)
    }

    fn run_mounts(&mut self, at: &At<'_>, run: &RunInstruction) -> Result<(), Diagnostic> {
        for word in &run.mounts {
            let unmatched = std::cell::RefCell::new(Vec::new());
            let variables = &self.states[at.stage].variables;
            let options = MountOptions::parse(word, &|value| {
                let tracked = expand(Expander::new(self.escape), value, variables, word.span);
                unmatched.borrow_mut().push(tracked.unmatched);
                tracked.result.map(|expanded| expanded.text)
            });
            for unmatched in unmatched.into_inner() {
                self.check_unset(at, &unmatched);
            }
            self.mount(at, word, &options?)?;
        }
        Ok(())
    }

    fn mount(&mut self, at: &At<'_>, word: &Word, mount: &MountOptions) -> Result<(), Diagnostic> {
        if let Some(from) = &mount.from {
            self.check_defined(at, from)?;
        }
        let own = MountUse { is_required: mount.is_required, lines: at.step.lines };
        let capture = &mut self.states[at.stage].capture;
        match mount.kind {
            MountType::Secret => {
                let base = |target: &String| target.rsplit('/').next().unwrap_or(target).to_owned();
                let id = mount.source.clone().or_else(|| mount.id.clone()).or_else(|| mount.target.as_ref().map(base));
                let Some(id) = id else {
                    return Err(Diagnostic::error(word.span, "a mount of type `secret` needs `id` or `target`"));
                };
                capture.secrets.entry(id).or_insert(own);
            }
            MountType::Ssh => {
                let id = mount.id.clone().filter(|id| !id.is_empty());
                _ = capture.ssh.entry(id.unwrap_or_else(|| "default".to_owned())).or_insert(own);
            }
            MountType::Bind | MountType::Cache | MountType::Tmpfs => {}
        }
        Ok(())
    }

    /// Fails if a stage that an instruction reads stands after it.
    fn check_defined(&self, at: &At<'_>, from: &str) -> Result<(), Diagnostic> {
        let name = from.to_lowercase();
        let by_name = self.states.iter().rposition(|state| state.name.as_ref() == Some(&name));
        let is_copy = matches!(at.step.instruction.kind, InstructionKind::Copy(_));
        let number = from.parse::<usize>().ok().filter(|_| is_copy);
        let index = number.or(by_name).filter(|index| *index < self.states.len());
        match index {
            Some(index) if !self.states[index].is_dispatched => {
                let message = format!("stage `{from}` is not defined before this one");
                Err(Diagnostic::error(at.step.instruction.span, message))
            }
            _ => Ok(()),
        }
    }

    fn workdir(&mut self, at: &At<'_>, word: &Word) -> Result<(), Diagnostic> {
        let path = self.word(at, word)?;
        let state = &mut self.states[at.stage];
        let is_windows = state.platform.as_ref().is_some_and(|platform| platform.os == "windows");
        let is_first = !std::mem::replace(&mut state.has_workdir, true);
        if is_first && !is_absolute(&path, is_windows) {
            self.report(at, Violation::WorkdirRelativePath(path));
        }
        Ok(())
    }

    fn expose(&mut self, at: &At<'_>, words: &[Word]) -> Result<(), Diagnostic> {
        for word in words {
            // The peer does not report variables here.
            let variables = &self.states[at.stage].variables;
            let ports = expand(Expander::new(self.escape), &word.text, variables, word.span).result?.words;
            for port in ports {
                let wrong = |reason: &str| Diagnostic::error(word.span, format!("`{port}` is no port: {reason}"));
                let container = port.rsplit(':').next().unwrap_or(&port);
                let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
                port_range(container).map_err(wrong)?;
                if protocol != protocol.to_lowercase() {
                    self.report(at, Violation::ExposeProtoCasing(port.clone()));
                }
                let before = &port[..port.len() - container.len()];
                if before.chars().any(|c| c != ':') {
                    self.report(at, Violation::ExposeInvalidFormat(port.clone()));
                }
                port_range(&port).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn check_once(&mut self, at: &At<'_>, before: Option<crate::dockerfile::lint::LineRange>) {
        if before.is_some() {
            // It is the one before that has no effect.
            let violation = Violation::MultipleInstructionsDisallowed(at.step.keyword.clone());
            self.linter.report(&at.options, violation, before);
        }
    }

    fn check_form(&mut self, at: &At<'_>, command: &CommandLine) {
        if matches!(command, CommandLine::Shell(_)) && !self.states[at.stage].image.has_shell {
            self.report_if_known(at, Violation::JsonArgsRecommended(at.step.keyword.clone()));
        }
    }

    fn check_legacy(&mut self, at: &At<'_>) {
        if at.step.is_legacy {
            self.report(at, Violation::LegacyKeyValueFormat(at.step.keyword.clone()));
        }
    }

    fn check_secret(&mut self, at: &At<'_>, instruction: &'static str, key: &str) {
        const SECRET: [&str; 10] =
            ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
        const HARMLESS: [&str; 3] = ["public", "file", "version"];
        let lower = key.to_lowercase();
        let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
        if has(&SECRET) && !has(&HARMLESS) {
            self.report(at, Violation::SecretsUsedInArgOrEnv { instruction, key: key.to_owned() });
        }
    }

    /// Reports sources that the ignore file leaves out. One with `!` is not looked at: what it lets in again cannot be told
    /// from names alone.
    fn check_ignored(&mut self, at: &At<'_>, command: &'static str, sources: &[String]) {
        let patterns: Vec<&str> = self.request.ignore.iter().map(|line| line.trim()).collect();
        if patterns.iter().any(|pattern| pattern.starts_with('!')) {
            return;
        }
        let Ok(matcher) = ignore::Matcher::new(self.request.ignore) else { return };
        let is_all = patterns.iter().any(|pattern| ["*", "**", "**/*"].contains(&pattern.trim_start_matches('/')));
        for source in sources {
            let is_remote = ["http://", "https://", "git://", "ssh://", "git@"];
            if is_remote.iter().any(|prefix| source.starts_with(prefix)) {
                continue;
            }
            let file = ignore::clean(source);
            let is_root = file == "." || file == "/";
            if (is_root && is_all) || (!is_root && matcher.is_excluded(&file)) {
                self.report(at, Violation::CopyIgnoredFile { command, file });
            }
        }
    }
}

/// Sets a variable of an image's environment: one that is there keeps its place.
fn set_in_place(state: &mut State, key: &str, value: &str) {
    let mut env = crate::frontend::variables::Variables::default();
    let mut is_there = false;
    for (name, old) in state.image.env.entries() {
        is_there |= name == key;
        env.set(name, if name == key { value } else { old });
    }
    if !is_there {
        env.set(key, value);
    }
    state.image.env = env;
}

/// Says whether a path does not hang on the directory before it; on Windows after its drive letter, with either slash.
fn is_absolute(path: &str, is_windows: bool) -> bool {
    if !is_windows {
        return path.starts_with('/');
    }
    let path = match path.as_bytes() {
        [drive, b':', ..] if drive.eq_ignore_ascii_case(&b'c') => &path[2..],
        _ => path,
    };
    path.starts_with(['/', '\\'])
}
