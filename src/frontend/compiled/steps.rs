//! The graph beneath a target's result in LLB's words. Steps come in the order in which they are first needed: a step
//! after its inputs, inputs in the order in which the step names them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{line_pairs, put};
use crate::diagnostic::SourceMap;
use crate::frontend::LoweredTarget;
use crate::graph::{
    Definition, ExecOp, FileOp, InputIndex, Mount, MountKind, NetworkMode, Op, SecurityMode, SourceOp, Vertex, VertexId,
};

mod files;

/// A step as LLB counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// One of the graph's.
    Vertex(VertexId),
    /// The directory that a cache mount starts from, which LLB makes in a step of its own: mode, uid, gid, and the root
    /// that it is made in.
    CacheDirectory(u32, u32, u32, Option<VertexId>),
}

/// Returns `{"ops": […], "result": {"op", "output"} or "scratch"}`.
pub(super) fn steps(definition: &Definition, lowered: &LoweredTarget, sources: &SourceMap) -> Value {
    let mut printer = Printer { definition, lowered, sources, numbers: BTreeMap::new(), ops: Vec::new() };
    let Some(root) = lowered.root.and_then(|root| printer.step(root)) else {
        return json!({ "ops": [], "result": "scratch" });
    };
    // Not recursive: a chain of steps is as long as its Dockerfile.
    let mut stack = vec![(root, false)];
    while let Some((step, is_ready)) = stack.pop() {
        if printer.numbers.contains_key(&step) {
            continue;
        }
        if is_ready {
            printer.emit(step);
        } else {
            stack.push((step, true));
            stack.extend(printer.inputs(step).into_iter().rev().map(|input| (input, false)));
        }
    }
    let result = printer.numbers[&root];
    json!({ "ops": printer.ops, "result": { "op": result, "output": 0 } })
}

struct Printer<'a> {
    definition: &'a Definition,
    lowered: &'a LoweredTarget,
    sources: &'a SourceMap,
    numbers: BTreeMap<Step, usize>,
    ops: Vec<Value>,
}

impl Printer<'_> {
    /// Returns the step of a vertex; `None` where it has no files.
    fn step(&self, id: VertexId) -> Option<Step> {
        (!self.definition.vertex(id).op.is_scratch()).then_some(Step::Vertex(id))
    }

    fn input(&self, vertex: &Vertex, index: InputIndex) -> Option<Step> {
        vertex.inputs.get(index.0 as usize).and_then(|id| self.step(*id))
    }

    /// Returns what a mount reads.
    fn mounted(&self, vertex: &Vertex, mount: &Mount) -> Option<Step> {
        match &mount.kind {
            MountKind::Bind { input, .. } => self.input(vertex, *input),
            MountKind::Cache { mode, uid, gid, has_owner: true, from, .. } => {
                let from = from.and_then(|from| vertex.inputs.get(from.0 as usize).copied());
                Some(Step::CacheDirectory(*mode, *uid, *gid, from))
            }
            MountKind::Cache { from, .. } => from.and_then(|from| self.input(vertex, from)),
            MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Ssh(_) => None,
        }
    }

    /// Returns what a step reads, each once, in LLB's order.
    fn inputs(&self, step: Step) -> Vec<Step> {
        let id = match step {
            Step::Vertex(id) => id,
            Step::CacheDirectory(.., from) => return from.and_then(|id| self.step(id)).into_iter().collect(),
        };
        let vertex = self.definition.vertex(id);
        let all: Vec<Option<Step>> = match &vertex.op {
            Op::Exec(exec) => {
                let root = exec.root.and_then(|root| self.input(vertex, root));
                let mounted = exec.mounts.iter().map(|mount| self.mounted(vertex, mount));
                std::iter::once(root).chain(mounted).collect()
            }
            _ => vertex.inputs.iter().map(|id| self.step(*id)).collect(),
        };
        let mut once = Vec::new();
        for step in all.into_iter().flatten() {
            if !once.contains(&step) {
                once.push(step);
            }
        }
        once
    }

    fn emit(&mut self, step: Step) {
        let inputs = self.inputs(step);
        let listed =
            inputs.iter().map(|input| json!({ "kind": self.kind(*input), "op": self.numbers[input], "output": 0 }));
        let listed: Value = listed.collect();
        let mut value = match step {
            Step::CacheDirectory(mode, uid, gid, _) => files::cache_directory(mode, uid, gid, &inputs),
            Step::Vertex(id) => self.vertex(id, &inputs),
        };
        value["inputs"] = listed;
        value["op"] = json!(self.ops.len());
        self.numbers.insert(step, self.ops.len());
        self.ops.push(value);
    }

    fn vertex(&self, id: VertexId, inputs: &[Step]) -> Value {
        let vertex = self.definition.vertex(id);
        let metadata = &vertex.metadata;
        let place = |step: Option<Step>| match step.and_then(|step| inputs.iter().position(|input| *input == step)) {
            Some(index) => format!("input:{index}"),
            None => "scratch".to_owned(),
        };
        let mut value = match &vertex.op {
            Op::Source(source) => self.source(vertex, source),
            Op::Exec(exec) => self.exec(vertex, exec, &place),
            Op::File(file) => self.file(vertex, file, &place),
            Op::Merge(merge) => {
                let layers = merge.layers.iter().map(|layer| json!(place(self.input(vertex, *layer))));
                json!({ "type": "merge", "merge": layers.collect::<Value>() })
            }
            Op::Diff(diff) => {
                let side = |side: Option<InputIndex>| place(side.and_then(|index| self.input(vertex, index)));
                json!({ "type": "diff", "lower": side(diff.lower), "upper": side(diff.upper) })
            }
        };
        value["lines"] = self.lines(vertex);
        value["progress_name"] = json!(progress_name(vertex));
        if metadata.ignore_cache {
            value["ignore_cache"] = json!(true);
        }
        value
    }

    /// Returns the lines of all instructions that ask for the step. What BuildKit adds itself stands on none.
    fn lines(&self, vertex: &Vertex) -> Value {
        let is_remote = matches!(vertex.op, Op::Source(SourceOp::Git(_) | SourceOp::Http(_)));
        if is_remote || vertex.metadata.name.starts_with("[internal]") {
            return json!([]);
        }
        let spans = vertex.metadata.span.iter().chain(&vertex.metadata.also);
        spans.flat_map(|span| line_pairs(*span, self.sources)).map(|pair| json!(pair)).collect()
    }

    /// Says what kind of step an input is.
    fn kind(&self, step: Step) -> String {
        let Step::Vertex(id) = step else { return "file".to_owned() };
        let vertex = self.definition.vertex(id);
        match &vertex.op {
            Op::Source(source) => {
                let identifier = identifier(vertex, source);
                format!("source:{}", identifier.split("://").next().unwrap_or(""))
            }
            Op::Exec(_) => "exec".to_owned(),
            Op::File(_) => "file".to_owned(),
            Op::Merge(_) => "merge".to_owned(),
            Op::Diff(_) => "diff".to_owned(),
        }
    }

    fn source(&self, vertex: &Vertex, source: &SourceOp) -> Value {
        let attributes = match source {
            SourceOp::Image { .. } => BTreeMap::new(),
            SourceOp::Local(_) => self.local_attributes(vertex),
            SourceOp::Git(git) => git.attributes(),
            SourceOp::Http(http) => http.attributes(),
        };
        let mut value = json!({ "type": "source", "identifier": identifier(vertex, source), "attrs": attributes });
        match (source, &vertex.metadata.platform) {
            (SourceOp::Image { .. }, Some(platform)) => {
                value["platform"] = json!(platform.to_string());
                value["command"] = json!(vertex.metadata.command);
            }
            (SourceOp::Http(_), _) => value["command"] = json!(""),
            _ => {}
        }
        value
    }

    fn local_attributes(&self, vertex: &Vertex) -> BTreeMap<&'static str, String> {
        let name = &vertex.metadata.source_name;
        let mut attributes = BTreeMap::from([("local.sharedkeyhint", name.clone())]);
        let paths = &self.lowered.context_paths;
        if name == "context" && !paths.is_empty() && !paths.contains("/") {
            let relative: BTreeSet<&str> = paths.iter().map(|path| path.trim_start_matches('/')).collect();
            attributes.insert("local.followpaths", json!(relative).to_string());
        }
        attributes
    }

    fn exec(&self, vertex: &Vertex, exec: &ExecOp, place: &dyn Fn(Option<Step>) -> String) -> Value {
        let root = exec.root.and_then(|root| self.input(vertex, root));
        let mut mounts =
            vec![json!({ "type": "bind", "dest": "/", "from": place(root), "from_kind": self.kind_or_scratch(root),
            "output": 0, "readonly": false })];
        mounts.extend(exec.mounts.iter().map(|mount| self.mount(vertex, mount, place)));
        let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut value = json!({
            "type": "exec",
            "args": exec.args,
            "command": vertex.metadata.command,
            "cwd": exec.cwd,
            "env": env,
            "mounts": mounts,
            "network": match exec.network {
                NetworkMode::Default => "UNSET",
                NetworkMode::Host => "HOST",
                NetworkMode::None => "NONE",
            },
            "platform": exec.platform.to_string(),
            "remove_mount_stubs_recursive": true,
            "security": match exec.security {
                SecurityMode::Sandbox => "SANDBOX",
                SecurityMode::Insecure => "INSECURE",
            },
            "user": exec.user,
        });
        if exec.hostname != "buildkitsandbox" {
            value["hostname"] = json!(exec.hostname);
        }
        let secrets = exec.secret_env.iter();
        let secrets =
            secrets.map(|secret| json!({ "id": secret.id, "name": secret.name, "optional": secret.is_optional }));
        put(&mut value, "secret_env", secrets.collect());
        let hosts = exec.extra_hosts.iter().map(|(host, ip)| json!({ "host": host, "ip": ip }));
        put(&mut value, "extra_hosts", hosts.collect());
        put(&mut value, "valid_exit_codes", json!(exec.valid_exit_codes));
        if let Some(proxy) = &exec.proxy {
            value["proxy"] = json!({ "http_proxy": proxy.http, "https_proxy": proxy.https, "ftp_proxy": proxy.ftp,
                "no_proxy": proxy.no, "all_proxy": proxy.all });
        }
        value
    }

    fn kind_or_scratch(&self, step: Option<Step>) -> String {
        step.map_or("scratch".to_owned(), |step| self.kind(step))
    }

    fn mount(&self, vertex: &Vertex, mount: &Mount, place: &dyn Fn(Option<Step>) -> String) -> Value {
        let from = self.mounted(vertex, mount);
        let mut value = json!({ "dest": mount.target, "from": place(from), "from_kind": self.kind_or_scratch(from),
            "output": -1, "readonly": mount.is_read_only });
        match &mount.kind {
            MountKind::Bind { selector, .. } => {
                value["type"] = json!("bind");
                put(&mut value, "selector", json!(if selector == "/" { "" } else { selector }));
            }
            MountKind::Cache { id, sharing, has_owner, selector, .. } => {
                value["type"] = json!("cache");
                value["cache_id"] = json!(id);
                value["sharing"] = json!(format!("{sharing:?}").to_uppercase());
                let selector = if *has_owner { files::CACHE_DIRECTORY } else { selector };
                put(&mut value, "selector", json!(if selector == "/" { "" } else { selector }));
            }
            MountKind::Tmpfs { size } => {
                value["type"] = json!("tmpfs");
                value["tmpfs_size"] = json!(size.unwrap_or(0));
            }
            MountKind::Secret(file) | MountKind::Ssh(file) => {
                let name = if matches!(mount.kind, MountKind::Ssh(_)) { "ssh" } else { "secret" };
                value["type"] = json!(name);
                value["output"] = json!(0);
                value[name] = json!({ "id": file.id, "uid": file.uid, "gid": file.gid,
                    "mode": format!("{:04o}", file.mode), "optional": file.is_optional });
            }
        }
        value
    }

    fn file(&self, vertex: &Vertex, file: &FileOp, place: &dyn Fn(Option<Step>) -> String) -> Value {
        let root = place(file.root.and_then(|root| self.input(vertex, root)));
        let from = |index: InputIndex| {
            let step = self.input(vertex, index);
            (place(step), self.kind_or_scratch(step))
        };
        json!({ "type": "file", "actions": files::actions(file, &root, self.lowered.epoch, &from) })
    }
}

fn identifier(vertex: &Vertex, source: &SourceOp) -> String {
    let name = &vertex.metadata.source_name;
    match source {
        SourceOp::Image { .. } if name.contains("://") => name.clone(),
        SourceOp::Image { .. } => format!("docker-image://{name}"),
        SourceOp::Local(_) => format!("local://{name}"),
        SourceOp::Git(git) => git.identifier(),
        SourceOp::Http(http) => http.url.clone(),
    }
}

/// Returns a step's name; that of an image with the digest that it was resolved to.
fn progress_name(vertex: &Vertex) -> String {
    let name = &vertex.metadata.name;
    let is_image = matches!(vertex.op, Op::Source(SourceOp::Image { .. }));
    match name.rfind("FROM ").filter(|_| is_image) {
        Some(at) => format!("{}FROM {}", &name[..at], vertex.metadata.source_name),
        None => name.clone(),
    }
}
