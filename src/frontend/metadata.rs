//! Instructions that change the image config and make no step, and WORKDIR, which makes one directory.

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{ArgDeclaration, CommandLine, HealthcheckInstruction, InstructionKind, Pair, Word};
use crate::graph::{FileAction, FileOp, InputIndex, Op};
use crate::oci::{Healthcheck, ImageConfig};

use super::copy::owner;
use super::history::{self, Layer};
use super::lower::{At, Lowerer, StageResult};
use super::paths;

impl Lowerer<'_, '_> {
    pub(super) fn set_metadata(
        &mut self,
        stage: &mut StageResult,
        at: At<'_>,
        kind: &InstructionKind,
    ) -> Result<(), Diagnostic> {
        let text = match kind {
            InstructionKind::Arg(declarations) => self.arg(stage, declarations)?,
            InstructionKind::Env(pairs) => self.env(stage, pairs)?,
            InstructionKind::Label(pairs) => self.label(stage, pairs)?,
            InstructionKind::Cmd(command) => {
                let arguments = with_shell(&stage.config, command);
                let text = format!("CMD {}", history::quoted_list(&arguments));
                stage.config.config.cmd = (!arguments.is_empty()).then_some(arguments);
                stage.config.config.args_escaped = true;
                stage.has_own_cmd = true;
                text
            }
            InstructionKind::Entrypoint(command) => entrypoint(stage, command),
            InstructionKind::Expose(words) => self.expose(stage, words)?,
            InstructionKind::Volume(words) => self.volume(stage, words)?,
            InstructionKind::User(word) => {
                let user = self.expanded(stage, word)?;
                let text = format!("USER {user}");
                stage.config.config.user = user;
                text
            }
            InstructionKind::Stopsignal(word) => {
                let signal = self.expanded(stage, word)?;
                check_signal(&signal, word.span)?;
                let text = format!("STOPSIGNAL {signal}");
                stage.config.config.stop_signal = signal;
                text
            }
            InstructionKind::Shell(shell) => {
                stage.config.config.shell.clone_from(shell);
                format!("SHELL [{}]", shell.join(" "))
            }
            InstructionKind::Healthcheck(check) => {
                let check = healthcheck(check);
                let text = format!("HEALTHCHECK {}", history::healthcheck(&check));
                stage.config.config.healthcheck = Some(check);
                text
            }
            InstructionKind::Maintainer(author) => {
                stage.config.author.clone_from(author);
                format!("MAINTAINER {author}")
            }
            InstructionKind::Onbuild(trigger) => {
                stage.config.config.on_build.push(trigger.clone());
                return Ok(());
            }
            InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_) => return Err(Diagnostic::error(at.span(), "this instruction makes a step")),
        };
        history::add(&mut stage.config, &self.created, text, Layer::None);
        Ok(())
    }

    /// Expands a word with the stage's variables.
    pub(super) fn expanded(&self, stage: &StageResult, word: &Word) -> Result<String, Diagnostic> {
        self.expanded_text(stage, &word.text, word.span)
    }

    fn expanded_text(&self, stage: &StageResult, text: &str, span: Span) -> Result<String, Diagnostic> {
        Ok(stage.variables.expand(text, self.stages.loaded.dockerfile.escape, span)?.text)
    }

    fn arg(&self, stage: &mut StageResult, declarations: &[ArgDeclaration]) -> Result<String, Diagnostic> {
        let mut words = Vec::new();
        for arg in declarations {
            let given = self.stages.target.args.get(&arg.name).cloned();
            let value = match (given, &arg.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => Some(self.expanded_text(stage, default, arg.span)?),
                (None, None) => self.stages.globals.get(&arg.name).map(str::to_owned),
            };
            words.push(match &value {
                Some(value) => format!("{}={value}", arg.name),
                None => arg.name.clone(),
            });
            // Those say how the result is scanned and are not for the steps.
            let is_for_steps = !["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"].contains(&arg.name.as_str());
            if let Some(value) = value.as_ref().filter(|_| is_for_steps) {
                stage.variables.set(&arg.name, value);
            }
            let value = value.unwrap_or_default();
            match stage.args.iter_mut().find(|(name, _)| *name == arg.name) {
                Some((_, known)) => *known = value,
                None => stage.args.push((arg.name.clone(), value)),
            }
        }
        Ok(format!("ARG {}", words.join(" ")))
    }

    /// Expands all pairs before any of them takes effect.
    fn expand_pairs(&self, stage: &StageResult, pairs: &[Pair]) -> Result<Vec<(String, String)>, Diagnostic> {
        let expand = |pair: &Pair| Ok((self.expanded(stage, &pair.key)?, self.expanded(stage, &pair.value)?));
        pairs.iter().map(expand).collect()
    }

    fn env(&self, stage: &mut StageResult, pairs: &[Pair]) -> Result<String, Diagnostic> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.expand_pairs(stage, pairs)? {
            let entry = format!("{name}={value}");
            text = format!("{text} {entry}");
            stage.variables.set(&name, &value);
            let env = &mut stage.config.config.env;
            match env.iter_mut().find(|known| known.split('=').next() == Some(name.as_str())) {
                Some(known) => *known = entry,
                None => env.push(entry),
            }
        }
        Ok(text)
    }

    fn label(&self, stage: &mut StageResult, pairs: &[Pair]) -> Result<String, Diagnostic> {
        let mut text = "LABEL".to_owned();
        for (key, value) in self.expand_pairs(stage, pairs)? {
            text = format!("{text} {key}={value}");
            stage.config.config.labels.insert(key, value);
        }
        Ok(text)
    }

    fn expose(&self, stage: &mut StageResult, words: &[Word]) -> Result<String, Diagnostic> {
        let mut ports = Vec::new();
        for word in words {
            let expanded = stage.variables.expand(&word.text, self.stages.loaded.dockerfile.escape, word.span)?;
            for port in expanded.words {
                ports.extend(port_range(&port).map_err(|reason| {
                    let error = Diagnostic::error(word.span, format!("`{port}` is no port: {reason}"));
                    error.hint("write it as `80`, `80/udp` or `8000-8010`")
                })?);
            }
        }
        let text = format!("EXPOSE [{}]", ports.join(" "));
        stage.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Default::default())));
        Ok(text)
    }

    fn volume(&self, stage: &mut StageResult, words: &[Word]) -> Result<String, Diagnostic> {
        let mut volumes = Vec::new();
        for word in words {
            let volume = self.expanded(stage, word)?;
            if volume.trim().is_empty() {
                return Err(Diagnostic::error(word.span, "a VOLUME may not be blank"));
            }
            volumes.push(volume);
        }
        let text = format!("VOLUME [{}]", volumes.join(" "));
        stage.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Default::default())));
        Ok(text)
    }

    pub(super) fn workdir(&mut self, stage: &mut StageResult, at: At<'_>, path: &Word) -> Result<(), Diagnostic> {
        let mut path = stage.slashed(self.expanded(stage, path)?, path.span)?;
        // An absolute path goes into the config as it is written; a trailing slash stays in both forms.
        if !path.starts_with('/') {
            path = paths::destination(&stage.working_dir(), &path);
        }
        stage.config.config.working_dir = if stage.is_windows() { path.replace('/', "\\") } else { path.clone() };
        let mut layer = Layer::None;
        if path != "/" {
            let user = stage.config.config.user.clone();
            let owner = if user.is_empty() { None } else { Some(owner(&user)) };
            let action = FileAction::Mkdir { path: paths::absolute("/", &path), mode: 0o755, owner };
            let inputs: Vec<_> = stage.root.into_iter().collect();
            let op = Op::File(FileOp { root: stage.root.map(|_| InputIndex(0)), actions: vec![action] });
            self.step(stage, at, op, inputs, "");
            layer = Layer::Made;
        }
        history::add(&mut stage.config, &self.created, format!("WORKDIR {path}"), layer);
        Ok(())
    }
}

/// Returns the arguments that run `command`: shell form goes to the image's shell.
pub(super) fn with_shell(config: &ImageConfig, command: &CommandLine) -> Vec<String> {
    match command {
        CommandLine::Exec(arguments) => arguments.clone(),
        CommandLine::Shell(text) => {
            let mut shell = config.config.shell.clone();
            if shell.is_empty() {
                let default = if config.os == "windows" { ["cmd", "/S", "/C"].as_slice() } else { &["/bin/sh", "-c"] };
                shell = default.iter().map(|&word| word.to_owned()).collect();
            }
            shell.push(text.clone());
            shell
        }
    }
}

fn entrypoint(stage: &mut StageResult, command: &CommandLine) -> String {
    let arguments = match command {
        CommandLine::Shell(text) if text.is_empty() => Vec::new(),
        command => with_shell(&stage.config, command),
    };
    let text = format!("ENTRYPOINT {}", history::quoted_list(&arguments));
    stage.config.config.entrypoint = (!arguments.is_empty()).then_some(arguments);
    // A command of the base was meant for the base's entry point.
    if !stage.has_own_cmd {
        stage.config.config.cmd = None;
    }
    text
}

fn healthcheck(check: &HealthcheckInstruction) -> Healthcheck {
    Healthcheck {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

/// Reads `[[ip:]host:]port[-port][/protocol]`; returns one `port/protocol` for each container port.
pub(super) fn port_range(text: &str) -> Result<Vec<String>, &'static str> {
    let (range, protocol) = match text.split_once('/') {
        Some((range, protocol)) => (range, protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    let protocol = if protocol.is_empty() { "tcp" } else { protocol.as_str() };
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err("the protocol is not tcp, udp or sctp");
    }
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| "a port is a number up to 65535");
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err("the range ends before it starts");
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

pub(super) fn check_signal(signal: &str, span: Span) -> Result<(), Diagnostic> {
    const NAMES: [&str; 35] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN",
        "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    ];
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
    let is_realtime = offset("RTMIN+").is_some_and(|n| n <= 15) || offset("RTMAX-").is_some_and(|n| n <= 14);
    let is_number = signal.parse::<u32>().is_ok_and(|number| number != 0);
    if is_number || is_realtime || NAMES.contains(&name) || name == "XFSZ" {
        return Ok(());
    }
    Err(Diagnostic::error(span, format!("unknown signal `{signal}`")).hint("use a name such as `SIGTERM`, or a number"))
}
