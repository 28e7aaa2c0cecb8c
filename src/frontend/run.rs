//! RUN.

use crate::diagnostic::Diagnostic;
use crate::dockerfile::{CommandLine, Heredoc, RunInstruction};
use crate::graph::{ExecOp, InputIndex, Mount, MountKind, NetworkMode, Op, SecurityMode, VertexId, VertexMetadata};

use super::copy::input;
use super::history::{self, Layer};
use super::lower::{At, Lowerer, StageResult};
use super::metadata::with_shell;
use super::mounts::Mounts;
use super::paths;
use super::variables::Shown;

/// Where the file of a heredoc that starts with `#!` is mounted.
const PIPES: &str = "/dev/pipes/";

/// Where `shm_open` has its files.
const SHARED_MEMORY: &str = "/dev/shm";

impl Lowerer<'_, '_> {
    /// Lowers RUN.
    pub(super) fn run(&mut self, stage: &mut StageResult, at: At<'_>, run: &RunInstruction) -> Result<(), Diagnostic> {
        // Devices are no part of the stable language: the peer's own builds do not know the flag either.
        if let Some(device) = run.devices.first() {
            return Err(Diagnostic::error(device.span, "`RUN --device`: steps get no devices here"));
        }
        let mut inputs: Vec<VertexId> = stage.root.into_iter().collect();
        let root = stage.root.map(|_| InputIndex(0));
        let mut mounts = Mounts::default();
        let (command, suffix) = self.command(stage, at, run, &mut inputs, &mut mounts.list);
        let args = with_shell(&stage.config, &command);
        if args.is_empty() {
            return Err(Diagnostic::error(at.span(), "RUN needs a command"));
        }
        for word in &run.mounts {
            self.mount(stage, at, word, &mut inputs, &mut mounts)?;
        }
        self.shared_memory(&mut mounts.list);
        let text = self.run_text(stage, &args);
        let n_args: usize = args.iter().map(String::len).sum();
        stage.variables.spend_copy(text.len() - n_args.min(text.len()), at.span())?;
        let name = self.step_name(stage, at, Shown::Command, &suffix, &mounts.secret_env);
        let is_argument = |name: &&String| {
            let set = |entry: &String| entry.split_once('=').is_some_and(|(set, _)| set == name.as_str());
            !stage.config.config.env.iter().any(set)
        };
        let arguments = stage.args.iter().map(|(name, _)| name).filter(is_argument).cloned().collect();
        let resources = self.stages.target.resources.clone();
        let metadata = VertexMetadata { arguments, resources, ..self.step_metadata(stage, at, name) };
        let secret_env = std::mem::take(&mut mounts.secret_env);
        let (mounts, agent) = mounts.finish();
        let mut env = stage.variables.clone();
        if let Some(socket) = agent.filter(|_| env.get("SSH_AUTH_SOCK").is_none()) {
            env.set("SSH_AUTH_SOCK", &socket);
        }
        let hostname = self.stages.target.args.get("BUILDKIT_SANDBOX_HOSTNAME");
        let op = ExecOp {
            root,
            args,
            env: env.entries().to_vec(),
            cwd: stage.working_dir(),
            user: stage.config.config.user.clone(),
            platform: stage.platform.clone(),
            mounts,
            network: match run.network.as_ref().map(|word| word.text.as_str()) {
                Some("none") => NetworkMode::None,
                Some("host") => NetworkMode::Host,
                Some(_) => NetworkMode::Default,
                None => self.stages.target.network,
            },
            hostname: hostname.map_or("buildkitsandbox", String::as_str).to_owned(),
            security: match run.security.as_ref().map(|word| word.text.as_str()) {
                Some("insecure") => SecurityMode::Insecure,
                _ => SecurityMode::Sandbox,
            },
            secret_env,
            extra_hosts: self.stages.target.extra_hosts.clone(),
            proxy: self.proxy.clone(),
            ulimits: self.stages.target.ulimits.clone(),
            valid_exit_codes: Vec::new(),
        };
        stage.root = Some(self.definition.add(Op::Exec(Box::new(op)), inputs, metadata));
        history::add(&mut stage.config, &self.created, format!("RUN {text} # buildkit"), Layer::Made);
        Ok(())
    }

    /// Adds the target's `/dev/shm`, where the instruction mounts nothing there itself.
    fn shared_memory(&self, mounts: &mut Vec<Mount>) {
        let Some(size) = self.stages.target.shm_size else { return };
        if mounts.iter().all(|mount| mount.target != SHARED_MEMORY) {
            let kind = MountKind::Tmpfs { size: Some(size) };
            mounts.push(Mount { target: SHARED_MEMORY.to_owned(), is_read_only: false, kind });
        }
    }

    /// Returns what is run, with the heredocs in their place, and what the step's name says about them.
    fn command(
        &mut self,
        stage: &StageResult,
        at: At<'_>,
        run: &RunInstruction,
        inputs: &mut Vec<VertexId>,
        mounts: &mut Vec<Mount>,
    ) -> (CommandLine, String) {
        let (CommandLine::Shell(text), Some(heredoc)) = (&run.command, run.heredocs.first()) else {
            return (run.command.clone(), String::new());
        };
        if Heredoc::parse(text).is_none() {
            let bodies = run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.text, heredoc.name));
            return (CommandLine::Shell(format!("{text}{}", bodies.collect::<String>())), String::new());
        }
        let suffix = format!(" ({})", summary(&heredoc.text));
        let content = heredoc.content();
        if stage.config.os == "windows" || !heredoc.text.starts_with("#!") {
            return (CommandLine::Shell(content), suffix);
        }
        let file = self.inline_file(&heredoc.name, 0o755, content.into_bytes(), at);
        let kind = MountKind::Bind { input: input(inputs, file), selector: "/".to_owned() };
        mounts.push(Mount { target: PIPES.to_owned(), is_read_only: true, kind });
        (CommandLine::Shell(paths::absolute(PIPES, &heredoc.name)), suffix)
    }

    /// Returns the command as history has it: `|N name=value… arguments`.
    fn run_text(&self, stage: &StageResult, args: &[String]) -> String {
        let mut words: Vec<String> = stage
            .args
            .iter()
            .map(|(name, value)| format!("{name}={}", stage.variables.get(name).unwrap_or(value)))
            .collect();
        if !words.is_empty() {
            words.insert(0, format!("|{}", words.len()));
        }
        words.extend(args.iter().cloned());
        words.join(" ")
    }
}

/// Returns the first line of a script that says something, for people.
fn summary(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or("").trim();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
