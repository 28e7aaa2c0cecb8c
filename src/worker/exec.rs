//! Runs an exec op: prepares its root file system and mounts, and hands them to the [`sandbox`].

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::agent::Forwarder;
use super::cache_mount::{self, HeldCache};
use super::local::{LocalWorker, WorkerError};
use super::network::Leased;
use super::sandbox::{self, Exit, MountSource, Spec};
use super::secrets::SecretError;
use crate::digest::DiffId;
use crate::graph::{
    CopyAction, ExecOp, InputIndex, MountKind, ProxyEnv, SecretFile, SecurityMode, SourceNaming, Vertex, VertexId,
};
use crate::plan::{Given, HOST_GATEWAY};
use crate::solver::drive::Step;
use crate::solver::key::Content;
use crate::store::ActiveSnapshot;
use crate::sys::root::Root;

/// Something that is mounted, kept open while the step runs. No `Debug`: it may hold a secret.
enum Held<'s> {
    /// Files of an input: the path in it, and the tree, which writes go to and are dropped with.
    Bind {
        path: OwnedFd,
        _tree: ActiveSnapshot<'s>,
    },
    Cache(HeldCache),
    Tmpfs {
        size: Option<u64>,
    },
    /// A secret's value, and how its file is to be.
    Secret(Vec<u8>, SecretFile),
    Agent(Forwarder),
}

/// Runs the process and returns the stack after it.
pub(super) fn run(
    worker: &LocalWorker<'_>,
    vertex: &Vertex,
    op: &ExecOp,
    step: &Step<'_>,
) -> Result<Vec<DiffId>, WorkerError> {
    worker.platforms.require(&op.platform)?;
    let parent = worker.stack(op.root, step.inputs);
    worker.layers.materialise(parent)?;
    let snapshot = worker.store.prepare(parent)?;
    let held = hold_all(worker, vertex, op, step)?;
    let mut env = environment(op);
    add_secrets(worker, op, step, &mut env)?;
    worker.check_unchanged(vertex, step.inputs)?;
    let mounts = op.mounts.iter().zip(&held).filter_map(|(mount, held)| {
        let held = held.as_ref()?;
        let is_read_only = mount.is_read_only || matches!(held, Held::Secret(..));
        Some(sandbox::Mount { target: target(&op.cwd, &mount.target), is_read_only, source: source(held) })
    });
    let is_privileged = op.security == SecurityMode::Insecure;
    let network = worker.networks.lease(op.network, is_privileged)?;
    let resources = &vertex.metadata.resources;
    let limits = worker.cgroups.for_step(resources)?;
    let spec = Spec {
        args: op.args.clone(),
        env,
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        hostname: op.hostname.clone(),
        network: network.network(),
        is_privileged,
        root: snapshot.mount_fd(),
        mounts: mounts.collect(),
        hosts: hosts(op, &network),
        resolv_conf: network.resolv_conf(),
        // What the bakefile says of a limit counts more than what stands in for a cgroup.
        ulimits: limits.ulimits.iter().chain(&op.ulimits).cloned().collect(),
        cgroups: limits.procs(),
        processors: limits.processors.clone(),
    };
    let exit = sandbox::run(&worker.settings.launcher, &spec, step.on_output, step.cancel)?;
    match (exit, resources.memory.filter(|_| limits.n_killed() > 0)) {
        (Exit::Code(code), _) if is_success(op, code) => {}
        (exit, Some(memory)) => return Err(WorkerError::OutOfMemory { code: exit.code(), memory }),
        (Exit::Code(code), None) => return Err(WorkerError::ExitCode(code)),
        (Exit::Signal(signal), None) => return Err(WorkerError::Signal(signal)),
    }
    drop(spec);
    drop((held, network, limits));
    let diff_id = snapshot.commit(worker.settings.epoch, worker.compression(step.vertex))?;
    Ok(parent.iter().copied().chain([diff_id]).collect())
}

/// Says whether a process that ended with `code` did what it was to do.
fn is_success(op: &ExecOp, code: i32) -> bool {
    match op.valid_exit_codes.as_slice() {
        [] => code == 0,
        codes => codes.contains(&code),
    }
}

/// Returns what `/etc/hosts` says inside a step, as BuildKit's steps see it.
fn hosts(op: &ExecOp, network: &Leased<'_>) -> String {
    let hostname = if op.hostname.is_empty() { "buildkitsandbox" } else { &op.hostname };
    let own = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    op.extra_hosts.iter().fold(own, |text, (name, address)| match address.as_str() {
        HOST_GATEWAY => format!("{text}{}\t{name}\n", network.host_address()),
        address => format!("{text}{address}\t{name}\n"),
    })
}

fn source<'h>(held: &'h Held<'_>) -> MountSource<'h> {
    match held {
        Held::Bind { path, .. } => MountSource::Tree(path.as_fd()),
        Held::Cache(cache) => MountSource::Tree(cache.path()),
        Held::Tmpfs { size } => MountSource::Tmpfs { size: *size },
        Held::Agent(forwarder) => MountSource::Tree(forwarder.socket()),
        Held::Secret(content, SecretFile { uid, gid, mode, .. }) => {
            MountSource::File { content: content.clone(), mode: mode & 0o777, uid: *uid, gid: *gid }
        }
    }
}

/// A secret's or agent's target may be relative to the working directory.
fn target(cwd: &str, target: &str) -> String {
    let absolute = Path::new("/").join(cwd).join(target);
    absolute.to_string_lossy().into_owned()
}

/// Sets the variables that hold secrets, over those of the same name.
fn add_secrets(
    worker: &LocalWorker<'_>,
    op: &ExecOp,
    step: &Step<'_>,
    env: &mut Vec<(String, String)>,
) -> Result<(), WorkerError> {
    for secret in &op.secret_env {
        let value = secret_value(worker, step, &secret.id, secret.is_optional)?.unwrap_or_default();
        let not_text = |_| SecretError::NotText { id: secret.id.clone(), name: secret.name.clone() };
        let value = String::from_utf8(value).map_err(not_text)?;
        env.retain(|(name, _)| *name != secret.name);
        env.push((secret.name.clone(), value));
    }
    Ok(())
}

/// Returns a secret's value; `None` where it is not given and need not be.
fn secret_value(
    worker: &LocalWorker<'_>,
    step: &Step<'_>,
    id: &str,
    is_optional: bool,
) -> Result<Option<Vec<u8>>, SecretError> {
    match worker.secrets.value(&targets(worker, step), id)? {
        None if !is_optional => Err(SecretError::NotGiven { id: id.to_owned() }),
        value => Ok(value),
    }
}

/// Returns a way to an agent; `None` where it is not given and need not be.
fn forwarder(worker: &LocalWorker<'_>, step: &Step<'_>, file: &SecretFile) -> Result<Option<Forwarder>, WorkerError> {
    let id = Given::agent_id(&file.id);
    let Some(agent) = worker.secrets.agent(&targets(worker, step), id)? else {
        return match file.is_optional {
            true => Ok(None),
            false => Err(SecretError::AgentNotGiven { id: id.to_owned() }.into()),
        };
    };
    let failed = |source| SecretError::Agent { id: id.to_owned(), path: agent.display().to_string(), source };
    Ok(Some(Forwarder::start(&agent, file, worker.store.private_directory()?).map_err(failed)?))
}

fn targets<'a>(worker: &LocalWorker<'a>, step: &Step<'_>) -> BTreeSet<&'a str> {
    worker.definition.targets_of(step.vertex).collect()
}

/// Returns the step's environment with the build's proxies, in both cases, where it does not set them itself.
fn environment(op: &ExecOp) -> Vec<(String, String)> {
    let mut env = op.env.clone();
    let Some(ProxyEnv { http, https, ftp, no, all }) = &op.proxy else { return env };
    for (name, value) in
        [("HTTP_PROXY", http), ("HTTPS_PROXY", https), ("FTP_PROXY", ftp), ("NO_PROXY", no), ("ALL_PROXY", all)]
    {
        for name in [name.to_owned(), name.to_lowercase()] {
            if !value.is_empty() && !op.env.iter().any(|(known, _)| *known == name) {
                env.push((name, value.clone()));
            }
        }
    }
    env
}

/// Holds what is mounted, in the order of the mounts. Caches are taken by their ids, so that two steps that want the same
/// locked ones do not wait for each other for ever.
fn hold_all<'s>(
    worker: &LocalWorker<'s>,
    vertex: &Vertex,
    op: &ExecOp,
    step: &Step<'_>,
) -> Result<Vec<Option<Held<'s>>>, WorkerError> {
    let id = |index: &usize| match &op.mounts[*index].kind {
        MountKind::Cache { id, .. } => Some(id.as_str()),
        _ => None,
    };
    let mut order: Vec<usize> = (0..op.mounts.len()).collect();
    order.sort_by_key(id);
    let mut leases = cache_mount::Leases::new();
    let mut held: Vec<Option<Held<'s>>> = op.mounts.iter().map(|_| None).collect();
    for index in order {
        held[index] = hold(worker, (vertex, op), &op.mounts[index].kind, step, &mut leases)?;
    }
    Ok(held)
}

fn hold<'s>(
    worker: &LocalWorker<'s>,
    (vertex, op): (&Vertex, &ExecOp),
    kind: &MountKind,
    step: &Step<'_>,
    leases: &mut cache_mount::Leases,
) -> Result<Option<Held<'s>>, WorkerError> {
    Ok(Some(match kind {
        MountKind::Tmpfs { size } => Held::Tmpfs { size: *size },
        MountKind::Secret(file) => {
            let value = secret_value(worker, step, &file.id, file.is_optional)?;
            return Ok(value.map(|value| Held::Secret(value, file.clone())));
        }
        MountKind::Ssh(file) => return Ok(forwarder(worker, step, file)?.map(Held::Agent)),
        MountKind::Cache { id, is_named, sharing, mode, uid, gid, selector, .. } => {
            let (mode, owner, from) = (*mode, (*uid, *gid), kind.first_content());
            let platform = (!is_named).then_some(&op.platform);
            let wanted = cache_mount::Wanted { id, platform, sharing: *sharing, mode, owner, from, selector };
            Held::Cache(cache_mount::hold(worker, vertex, step, &wanted, leases)?)
        }
        MountKind::Bind { input, selector } => {
            let index = input.0 as usize;
            match &step.inputs[index] {
                Content::Rootfs(stack) => {
                    worker.layers.materialise(stack)?;
                    let snapshot = worker.store.prepare(stack)?;
                    let path = open_path(snapshot.root(), Path::new(selector))?;
                    Held::Bind { path, _tree: snapshot }
                }
                content => hold_files(worker, vertex.inputs[index], content, selector)?,
            }
        }
    }))
}

/// A step sees of a local context what a COPY would see: without what is ignored, with normal modes.
fn hold_files<'s>(
    worker: &LocalWorker<'s>,
    input: VertexId,
    content: &Content,
    selector: &str,
) -> Result<Held<'s>, WorkerError> {
    const PLACE: &str = "/bound";
    let files = worker.open_input(input, content)?;
    let snapshot = worker.store.prepare(&[])?;
    let action = CopyAction { naming: SourceNaming::Literal, ..CopyAction::new(InputIndex(0), selector, PLACE) };
    super::file::copy(&action, &files.tree(), snapshot.root(), None, worker.settings.epoch)?;
    let path = open_path(snapshot.root(), Path::new(PLACE))?;
    Ok(Held::Bind { path, _tree: snapshot })
}

pub(super) fn open_path(root: &Root, path: &Path) -> Result<OwnedFd, WorkerError> {
    let opened = root.open_at(path, OFlags::PATH, Mode::empty());
    opened.map_err(|source| WorkerError::Io { what: format!("mount `{}`", path.display()), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NetworkMode;

    #[test]
    fn proxies_are_seen_in_both_cases_and_never_over_the_steps_own() {
        let proxy = ProxyEnv { http: "http://p".to_owned(), no: "local".to_owned(), ..ProxyEnv::default() };
        let op = ExecOp {
            root: None,
            args: vec!["x".to_owned()],
            env: vec![("A".to_owned(), "1".to_owned()), ("http_proxy".to_owned(), "own".to_owned())],
            cwd: "/".to_owned(),
            user: String::new(),
            platform: "linux/amd64".parse().expect("a platform"),
            mounts: Vec::new(),
            network: NetworkMode::Default,
            hostname: String::new(),
            security: SecurityMode::Sandbox,
            secret_env: Vec::new(),
            extra_hosts: Vec::new(),
            proxy: Some(proxy),
            ulimits: Vec::new(),
            valid_exit_codes: Vec::new(),
        };
        let env: Vec<String> = environment(&op).iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = ["A=1", "http_proxy=own", "HTTP_PROXY=http://p", "NO_PROXY=local", "no_proxy=local"];
        assert_eq!(env, expected);
    }
}
