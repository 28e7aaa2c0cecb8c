//! `RUN --mount`.

use crate::diagnostic::Diagnostic;
use crate::dockerfile::{MountOptions, MountType, Sharing, Word};
use crate::graph::{CacheSharing, InputIndex, Mount, MountKind, SecretEnv, SecretFile, VertexId};

use super::copy::input;
use super::lower::{At, Lowerer, StageResult};
use super::paths;
use super::stages::Origin;

/// The mounts of one RUN as they are read.
#[derive(Default)]
pub(super) struct Mounts {
    /// Files and directories.
    pub(super) list: Vec<Mount>,
    secrets: Vec<Mount>,
    agents: Vec<Mount>,
    pub(super) secret_env: Vec<SecretEnv>,
}

impl Mounts {
    /// Returns the mounts in LLB's order and the socket of the first agent. What is mounted on a parent directory comes
    /// first; secrets and agents come last.
    pub(super) fn finish(mut self) -> (Vec<Mount>, Option<String>) {
        self.list.sort_by(|a, b| a.target.cmp(&b.target));
        let socket = self.agents.first().map(|agent| agent.target.clone());
        self.list.extend(self.secrets);
        self.list.extend(self.agents);
        (self.list, socket)
    }
}

impl Lowerer<'_, '_> {
    /// Reads one `--mount` into `mounts`; what it reads becomes one of `inputs`.
    pub(super) fn mount(
        &mut self,
        stage: &StageResult,
        at: At<'_>,
        word: &Word,
        inputs: &mut Vec<VertexId>,
        mounts: &mut Mounts,
    ) -> Result<(), Diagnostic> {
        let escape = self.stages.loaded.dockerfile.escape;
        let expand = |value: &str| Ok(stage.variables.expand(value, escape, word.span)?.text);
        let options = MountOptions::parse(word, &expand)?;
        match options.kind {
            MountType::Secret => return secret(word, &options, mounts),
            MountType::Ssh => {
                agent(&options, mounts);
                return Ok(());
            }
            _ => {}
        }
        let target = options.target.as_deref().unwrap_or("");
        let target = match target.starts_with('/') {
            true => paths::destination("/", target),
            false => paths::absolute(&stage.working_dir(), target),
        };
        if target == "/" {
            return Err(Diagnostic::error(word.span, "a mount cannot hide the whole root: `target` is `/`"));
        }
        let from = options.from.as_deref().filter(|from| !from.is_empty());
        let origin = match from {
            Some(from) => self.stages.mount_origin(at.stage_index, from, word.span)?,
            None if options.kind == MountType::Cache => Origin::Scratch,
            None => self.stages.main_context(),
        };
        let selector = paths::absolute("/", options.source.as_deref().unwrap_or(""));
        if from.is_none() && options.kind != MountType::Cache {
            self.context_paths.insert(selector.clone());
        }
        let kind = match options.kind {
            MountType::Tmpfs => MountKind::Tmpfs { size: options.size.filter(|size| *size > 0) },
            MountType::Cache => {
                let from = self.root_of_mount(&origin, word)?.map(|vertex| input(inputs, vertex));
                self.cache(&options, from, selector)
            }
            _ => {
                let vertex = self.root_of_mount(&origin, word)?.unwrap_or_else(|| self.empty());
                MountKind::Bind { input: input(inputs, vertex), selector }
            }
        };
        let is_read_only = options.is_read_only.unwrap_or(options.kind == MountType::Bind);
        mounts.list.push(Mount { target, is_read_only, kind });
        Ok(())
    }

    fn cache(&self, options: &MountOptions, from: Option<InputIndex>, selector: String) -> MountKind {
        let namespace = self.stages.target.args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str);
        let id = options.id.as_deref().filter(|id| !id.is_empty());
        MountKind::Cache {
            id: format!("{namespace}/{}", id.map_or_else(|| default_id(options), str::to_owned)),
            // A path stands for the cache that is mounted there without an id.
            is_named: id.is_some_and(|id| !id.starts_with('/')),
            sharing: match options.sharing.unwrap_or_default() {
                Sharing::Shared => CacheSharing::Shared,
                Sharing::Private => CacheSharing::Private,
                Sharing::Locked => CacheSharing::Locked,
            },
            mode: options.mode.unwrap_or(0o755),
            uid: options.uid.unwrap_or(0),
            gid: options.gid.unwrap_or(0),
            has_owner: selector == "/" && has_owner(options),
            from,
            selector,
        }
    }

    /// As [`root_of`](Self::root_of); an image that only a mount names stands on no line, as in LLB.
    fn root_of_mount(&mut self, origin: &Origin, word: &Word) -> Result<Option<VertexId>, Diagnostic> {
        match origin {
            Origin::Image(need) => Ok(self.unnamed_image(need)),
            origin => self.root_of(origin, word.span),
        }
    }
}

fn has_owner(options: &MountOptions) -> bool {
    options.mode.is_some() || options.uid.is_some() || options.gid.is_some()
}

/// A cache is known by the cleaned path that the Dockerfile says, whatever the working directory.
fn default_id(options: &MountOptions) -> String {
    paths::cleaned(options.target.as_deref().unwrap_or(""))
}

fn secret(word: &Word, options: &MountOptions, mounts: &mut Mounts) -> Result<(), Diagnostic> {
    let given = [&options.source, &options.id].into_iter().flatten().find(|text| !text.is_empty());
    let target = options.target.as_deref().filter(|target| !target.is_empty());
    let id = match (given, target) {
        (Some(id), _) => id.clone(),
        (None, Some(target)) => paths::base(target).to_owned(),
        (None, None) => {
            let error = Diagnostic::error(word.span, "a secret needs `id`, `source` or `target`");
            return Err(error.hint("write `id=NAME`"));
        }
    };
    if let Some(name) = &options.env {
        let is_optional = !options.is_required;
        mounts.secret_env.push(SecretEnv { name: name.clone(), id: id.clone(), is_optional });
    }
    // A secret that goes into a variable is a file too only if it says where.
    let target = match (target, &options.env) {
        (Some(target), _) => target.to_owned(),
        (None, None) => format!("/run/secrets/{}", paths::base(&id)),
        (None, Some(_)) => return Ok(()),
    };
    let file = secret_file(id, options, 0o400);
    mounts.secrets.push(Mount { target, is_read_only: false, kind: MountKind::Secret(file) });
    Ok(())
}

fn agent(options: &MountOptions, mounts: &mut Mounts) {
    let target = options.target.clone().filter(|target| !target.is_empty());
    let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{}", mounts.agents.len()));
    let file = secret_file(options.id.clone().unwrap_or_default(), options, 0o600);
    mounts.agents.push(Mount { target, is_read_only: false, kind: MountKind::Ssh(file) });
}

fn secret_file(id: String, options: &MountOptions, mode: u32) -> SecretFile {
    SecretFile {
        id,
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
        mode: options.mode.unwrap_or(mode),
        is_optional: !options.is_required,
    }
}
