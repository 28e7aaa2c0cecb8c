//! RUN.

use crate::diagnostic::Diagnostic;
use crate::dockerfile::{CommandLine, Heredoc, MountOptions, MountType, RunInstruction, Sharing, Word};
use crate::graph::{CacheSharing, ExecOp, InputIndex, Mount, MountKind, NetworkMode, Op, VertexId};

use super::copy::{input, not_supported};
use super::history::{self, Layer};
use super::lower::{At, Lowerer, StageResult};
use super::metadata::with_shell;
use super::paths;

/// Where the file of a heredoc that starts with `#!` is mounted.
const PIPES: &str = "/dev/pipes/";

impl Lowerer<'_, '_> {
    // FIXME(proxy): the predefined proxy arguments reach a step only if the Dockerfile declares them; passing them without
    // a trace in the step's digest needs a place in `ExecOp` that is no part of it.
    pub(super) fn run(&mut self, stage: &mut StageResult, at: At<'_>, run: &RunInstruction) -> Result<(), Diagnostic> {
        if let Some(security) = run.security.as_ref().filter(|word| word.text == "insecure") {
            return Err(not_supported(security.span, "`RUN --security=insecure`"));
        }
        if let Some(device) = run.devices.first() {
            return Err(not_supported(device.span, "`RUN --device`"));
        }
        let mut inputs: Vec<VertexId> = stage.root.into_iter().collect();
        let root = stage.root.map(|_| InputIndex(0));
        let mut mounts = Vec::new();
        let (command, suffix) = self.command(stage, at, run, &mut inputs, &mut mounts);
        let args = with_shell(&stage.config, &command);
        if args.is_empty() {
            return Err(Diagnostic::error(at.span(), "RUN needs a command"));
        }
        for word in &run.mounts {
            mounts.push(self.mount(stage, at, word, &mut inputs)?);
        }
        // As in LLB: what is mounted on a parent directory comes first.
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        let text = self.run_text(stage, &args);
        let hostname = self.stages.target.args.get("BUILDKIT_SANDBOX_HOSTNAME");
        let op = ExecOp {
            root,
            args,
            env: stage.variables.entries().to_vec(),
            cwd: stage.working_dir().to_owned(),
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
        };
        self.step(stage, at, Op::Exec(Box::new(op)), inputs, &suffix);
        history::add(&mut stage.config, &self.created, format!("RUN {text} # buildkit"), Layer::Made);
        Ok(())
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

    fn mount(
        &mut self,
        stage: &StageResult,
        at: At<'_>,
        word: &Word,
        inputs: &mut Vec<VertexId>,
    ) -> Result<Mount, Diagnostic> {
        let escape = self.stages.loaded.dockerfile.escape;
        let expand = |value: &str| Ok(stage.variables.expand(value, escape, word.span)?.text);
        let options = MountOptions::parse(word, &expand)?;
        let target = paths::absolute(stage.working_dir(), options.target.as_deref().unwrap_or(""));
        match options.kind {
            MountType::Secret => return Err(not_supported(word.span, "`RUN --mount=type=secret`")),
            MountType::Ssh => return Err(not_supported(word.span, "`RUN --mount=type=ssh`")),
            _ => {}
        }
        if target == "/" {
            return Err(Diagnostic::error(word.span, "a mount cannot hide the whole root: `target` is `/`"));
        }
        let kind = match options.kind {
            MountType::Cache => self.cache(word, &options, &target)?,
            MountType::Tmpfs => MountKind::Tmpfs { size: options.size.filter(|size| *size > 0) },
            _ => {
                let origin = match options.from.as_deref().filter(|from| !from.is_empty()) {
                    Some(from) => self.stages.mount_origin(at.stage_index, from, word.span)?,
                    None => self.stages.main_context(),
                };
                let vertex = self.files(&origin, word.span)?;
                let selector = paths::absolute("/", options.source.as_deref().unwrap_or(""));
                MountKind::Bind { input: input(inputs, vertex), selector }
            }
        };
        let is_read_only = options.is_read_only.unwrap_or(options.kind == MountType::Bind);
        Ok(Mount { target, is_read_only, kind })
    }

    fn cache(&self, word: &Word, options: &MountOptions, target: &str) -> Result<MountKind, Diagnostic> {
        if options.from.is_some() {
            return Err(not_supported(word.span, "a cache mount that starts `from` files"));
        }
        if options.source.as_deref().is_some_and(|source| paths::absolute("/", source) != "/") {
            return Err(not_supported(word.span, "a cache mount of a `source` directory"));
        }
        let namespace = self.stages.target.args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str);
        let id = options.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(target);
        Ok(MountKind::Cache {
            id: format!("{namespace}/{id}"),
            sharing: match options.sharing.unwrap_or_default() {
                Sharing::Shared => CacheSharing::Shared,
                Sharing::Private => CacheSharing::Private,
                Sharing::Locked => CacheSharing::Locked,
            },
            mode: options.mode.unwrap_or(0o755),
            uid: options.uid.unwrap_or(0),
            gid: options.gid.unwrap_or(0),
        })
    }
}

/// Returns the first line of a script that says something, for people.
fn summary(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or("").trim();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
