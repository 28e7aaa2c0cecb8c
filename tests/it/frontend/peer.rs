//! The peer's answers for real files: configs, history, steps and step names.

#![allow(clippy::print_stdout, reason = "tests count")]

use std::collections::BTreeSet;

use bake::digest::Digest;
use bake::frontend::{Need, ResolvedImage};
use bake::graph::{Definition, FileAction, InputIndex, Mount, MountKind, Op, SourceOp, VertexId};
use bake::oci::ImageConfig;
use bake::plan::{ImageSource, PlannedTarget};
use serde_json::{Value, json};

use super::{lowered, our_action, platform, target};
use crate::support::conformance;

/// The peer's registry: see the corpus' README.
pub fn fake_registry(data: &Value, need: &Need) -> ResolvedImage {
    let ImageSource::Registry(reference) = &need.image else { panic!("only registries are asked") };
    let full = reference.to_string();
    let name = full.split('@').next().expect("a name").to_owned();
    let matches = |entry: &&Value| match entry.get("contains").and_then(Value::as_array) {
        Some(words) => words.iter().any(|word| name.contains(word.as_str().expect("text"))),
        None => {
            entry["when"] == "platform os is windows" && need.platform.os == "windows" || entry["when"] == "otherwise"
        }
    };
    let configs = data["configs"].as_array().expect("configs");
    let config = configs.iter().find(matches).or(configs.last()).expect("a config matches");
    let mut image = data["image"].clone();
    image["config"] = config["config"].clone();
    if name.contains("onbuild") {
        for (key, value) in data["onbuild"].as_object().into_iter().flatten() {
            image["config"][key] = value.clone();
        }
    }
    image["history"][0]["created_by"] = json!(format!("BASE rootfs {name}"));
    let mut config: ImageConfig = serde_json::from_value(image).expect("a config");
    (config.os, config.architecture) = (need.platform.os.clone(), need.platform.architecture.clone());
    config.variant = need.platform.variant.clone();
    for (prefix, fixed) in data["fixed_platforms"].as_object().expect("platforms") {
        if name.starts_with(prefix.as_str()) {
            config.architecture = fixed[0].as_str().expect("text").to_owned();
            config.variant = fixed[1].as_str().filter(|v| !v.is_empty()).map(str::to_owned);
        }
    }
    ResolvedImage { manifest: Digest::of(full.as_bytes()), config }
}

/// Puts a config in the shape of the golden data: without times.
fn golden_image(config: &ImageConfig) -> Value {
    let mut image: Value = serde_json::from_slice(&config.to_bytes()).expect("JSON");
    let map = image.as_object_mut().expect("an object");
    map.shift_remove("created");
    // The peer writes `null` for an empty list, which is not valid; we write the list.
    if map["history"] == json!([]) {
        map["history"] = Value::Null;
    }
    if map["rootfs"]["diff_ids"] == json!([]) {
        map["rootfs"]["diff_ids"] = Value::Null;
    }
    for entry in map["history"].as_array_mut().into_iter().flatten() {
        entry.as_object_mut().expect("an entry").shift_remove("created");
    }
    image
}

/// Returns the first value that differs, with its path.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let null = Value::Null;
                difference(&format!("{path}.{key}"), a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        _ if ours == theirs => None,
        _ => Some(format!("{path}\n  ours   {ours}\n  theirs {theirs}")),
    }
}

/// All that decides what processes and file steps do, in execution order, in one shape for both sides.
fn our_steps(definition: &Definition, root: Option<VertexId>) -> Vec<Value> {
    fn visit(definition: &Definition, id: VertexId, seen: &mut Vec<VertexId>) {
        if seen.contains(&id) {
            return;
        }
        for input in &definition.vertex(id).inputs {
            visit(definition, *input, seen);
        }
        seen.push(id);
    }
    let mut order = Vec::new();
    root.into_iter().for_each(|root| visit(definition, root, &mut order));
    order.into_iter().filter_map(|id| our_step(definition, id)).collect()
}

/// Says what kind of step an input is, in the golden data's words.
fn our_kind(definition: &Definition, reader: VertexId, input: Option<InputIndex>) -> &'static str {
    let Some(input) = input else { return "scratch" };
    let vertex = definition.vertex(definition.vertex(reader).inputs[input.0 as usize]);
    match &vertex.op {
        _ if vertex.metadata.name == "[internal] no files" => "scratch",
        Op::Source(SourceOp::Image { .. }) => "source:docker-image",
        Op::Source(SourceOp::Local(_)) => "source:local",
        Op::Exec(_) => "exec",
        Op::File(_) => "file",
    }
}

fn our_step(definition: &Definition, id: VertexId) -> Option<Value> {
    let kind = |input: Option<InputIndex>| our_kind(definition, id, input);
    match &definition.vertex(id).op {
        Op::Source(_) => None,
        Op::Exec(exec) => {
            let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mounts: Vec<Value> = exec.mounts.iter().map(|mount| our_mount(mount, &kind)).collect();
            Some(json!({ "args": exec.args, "env": env, "cwd": exec.cwd, "user": exec.user, "mounts": mounts,
                "platform": exec.platform.to_string(), "root": kind(exec.root) }))
        }
        Op::File(file) => {
            let from = |action: &FileAction| match action {
                FileAction::Copy(copy) => Some(kind(Some(copy.from))),
                _ => None,
            };
            let actions = file.actions.iter().map(|action| json!([our_action(action), from(action)]));
            Some(actions.collect())
        }
    }
}

fn our_mount(mount: &Mount, kind_of: &dyn Fn(Option<InputIndex>) -> &'static str) -> Value {
    let (kind, detail) = match &mount.kind {
        MountKind::Bind { input, selector } => ("bind", format!("{selector} of {}", kind_of(Some(*input)))),
        MountKind::Cache { id, sharing, .. } => ("cache", format!("{id} {sharing:?}").to_uppercase()),
        MountKind::Tmpfs { size } => ("tmpfs", size.unwrap_or(0).to_string()),
    };
    json!([kind, mount.target.trim_end_matches('/'), mount.is_read_only, detail])
}

fn their_steps(llb: &Value) -> Vec<Value> {
    llb["ops"].as_array().expect("ops").iter().filter_map(their_step).collect()
}

fn their_step(op: &Value) -> Option<Value> {
    match op["type"].as_str().expect("a type") {
        "exec" => {
            let mounts: Vec<Value> = op["mounts"].as_array().expect("mounts")[1..].iter().map(their_mount).collect();
            let user = op.get("user").cloned().unwrap_or(json!(""));
            Some(json!({ "args": op["args"], "env": op["env"], "cwd": op["cwd"], "user": user, "mounts": mounts,
                "platform": platform(op["platform"].as_str().expect("a platform")).to_string(),
                "root": op["mounts"][0]["from_kind"] }))
        }
        "file" => {
            let actions = op["actions"].as_array().expect("actions").iter();
            Some(actions.map(|action| json!([their_action(action), action.get("from_kind")])).collect())
        }
        _ => None,
    }
}

fn their_mount(mount: &Value) -> Value {
    let kind = mount["type"].as_str().expect("a type");
    let detail = match kind {
        "cache" => {
            let id = mount["cache_id"].as_str().expect("an id");
            format!("{id} {}", mount["sharing"].as_str().expect("sharing")).to_uppercase()
        }
        "tmpfs" => mount["tmpfs_size"].to_string(),
        _ => {
            let selector = mount.get("selector").and_then(Value::as_str).unwrap_or("/");
            format!("{selector} of {}", mount["from_kind"].as_str().expect("a kind"))
        }
    };
    let dest = mount["dest"].as_str().expect("a path").trim_end_matches('/');
    json!([kind, dest, mount["readonly"], detail])
}

fn their_owner(owner: &Value) -> Value {
    let id = |id: &Value| match id {
        Value::Object(id) => id.get("name").or(id.get("id")).cloned().unwrap_or_default(),
        other => other.clone(),
    };
    if owner.is_null() { Value::Null } else { json!([id(&owner["user"]), id(&owner["group"])]) }
}

fn their_action(action: &Value) -> Value {
    match action["action"].as_str().expect("an action") {
        "mkdir" => json!(["mkdir", action["path"], their_owner(&action["owner"])]),
        "mkfile" => json!(["mkfile", action["path"], action["mode"], action["data"]]),
        "copy" => {
            let has = |flag: &str| action["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == flag));
            let mode = action.get("mode_str").filter(|mode| !mode.is_null()).unwrap_or(&action["mode"]);
            json!([
                "copy",
                action["src"],
                action["dest"],
                their_owner(&action["owner"]),
                has("unpack"),
                action["exclude"],
                mode
            ])
        }
        other => json!([other]),
    }
}

/// The names of the steps that instructions make, sorted.
fn our_names(definition: &Definition) -> Vec<Value> {
    let mut names: Vec<String> = definition
        .ids()
        .map(|id| definition.vertex(id))
        .filter(|vertex| !matches!(vertex.op, Op::Source(_)) && !vertex.metadata.name.starts_with("[internal]"))
        .map(|vertex| vertex.metadata.name.clone())
        .collect();
    names.sort();
    names.into_iter().map(Value::String).collect()
}

fn their_names(llb: &Value) -> Vec<Value> {
    let steps = llb["ops"].as_array().expect("ops").iter().filter(|op| op["type"] == "exec" || op["type"] == "file");
    let mut names: Vec<String> = steps
        .map(|op| op["progress_name"].as_str().unwrap_or_default().to_owned())
        .filter(|name| !name.starts_with("[internal]"))
        .collect();
    names.sort();
    names.into_iter().map(Value::String).collect()
}

#[derive(Default)]
struct Tally {
    n_names_equal: usize,
    name_failures: Vec<String>,
    n_equal: usize,
    n_steps_equal: usize,
    n_refused: usize,
    n_linked: usize,
    n_errors: usize,
    failures: Vec<String>,
    step_failures: Vec<String>,
}

/// Returns all lines that an error of the peer points at.
fn error_lines(error: &Value) -> Vec<u64> {
    let locations =
        error["lines"].as_array().into_iter().flatten().flat_map(|places| places.as_array().into_iter().flatten());
    let ends = |range: &Value| Some((range[0].as_u64()?, range[1].as_u64()?));
    locations.filter_map(ends).flat_map(|(first, last)| first..=last).collect()
}

impl Tally {
    fn check(&mut self, name: &str, target: &PlannedTarget, registry: &Value, golden: &Value) {
        let mut definition = Definition::default();
        let result = lowered(target, &|need| fake_registry(registry, need), &mut definition);
        match (result, golden.get("error")) {
            (Err(ours), Some(theirs)) => {
                self.n_errors += 1;
                let others = golden["error_alternatives"].as_array().into_iter().flatten();
                let lines: Vec<u64> = std::iter::once(theirs).chain(others).flat_map(error_lines).collect();
                let is_shown = |line: &u64| ours.contains(&format!("Dockerfile:{line}:"));
                if ours.contains("Dockerfile:") && !lines.is_empty() && !lines.iter().any(is_shown) {
                    self.failures.push(format!("{name}: {ours}\n  the peer says {theirs}"));
                }
            }
            (Err(error), None) if error.contains("not supported yet") => self.n_refused += 1,
            (Err(error), None) => self.failures.push(format!("{name}: {error}")),
            (Ok(_), Some(error)) => self.failures.push(format!("{name}: no error; the peer says {}", error["message"])),
            (Ok(result), None) => {
                let ours = golden_image(&result.config);
                match difference("", &ours, &golden["image"]) {
                    None => self.n_equal += 1,
                    Some(text) => self.failures.push(format!("{name}{text}")),
                }
                // A linked copy has the shape of a merge there, which we do not have.
                let is_linked = golden["llb"]["ops"].as_array().expect("ops").iter().any(|op| op["type"] == "merge");
                if is_linked {
                    self.n_linked += 1;
                    return;
                }
                let (names, wanted) = (our_names(&definition), their_names(&golden["llb"]));
                match difference("", &Value::Array(names), &Value::Array(wanted)) {
                    None => self.n_names_equal += 1,
                    Some(text) => self.name_failures.push(format!("{name}{text}")),
                }
                let (mut ours, mut theirs) = (our_steps(&definition, result.root), their_steps(&golden["llb"]));
                // The peer makes the directory that a cache mount with an owner starts from in a step of its own.
                theirs.retain(|step| step.pointer("/0/0/1") != Some(&json!("/cache")));
                // We make a step without files where a stage that has none is read; the peer has a word for that.
                ours.retain(|step| *step != json!([[["mkdir", "/", null], null]]));
                match difference("", &Value::Array(ours), &Value::Array(theirs)) {
                    None => self.n_steps_equal += 1,
                    Some(text) => self.step_failures.push(format!("{name}{text}")),
                }
            }
        }
    }
}

#[test]
fn real_files_make_the_peers_configs_and_steps() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let registry = corpus.registry();
    let mut tally = Tally::default();
    for case in corpus.cases() {
        let platforms = case.golden["compile"].as_object().expect("platforms").iter();
        for (name, golden) in platforms.filter(|(name, _)| !name.starts_with("windows")) {
            let mut target = target(&case.text);
            target.platform = platform(name);
            tally.check(&format!("{} {name}", case.name), &target, &registry, golden);
            if name == "linux/amd64" {
                let stages = corpus.stages(&case.name);
                for (stage, golden) in stages.iter().flat_map(|s| s["stages"].as_object().into_iter().flatten()) {
                    let target = PlannedTarget { stage: Some(stage.clone()), ..target.clone() };
                    tally.check(&format!("{} {name} {stage}", case.name), &target, &registry, golden);
                }
            }
        }
    }
    let Tally { n_equal, n_steps_equal, n_names_equal, n_refused, n_linked, n_errors, .. } = tally;
    let Tally { failures, step_failures, name_failures, .. } = tally;
    println!("configs: {n_equal} equal, {} differ", failures.len());
    println!("steps: {n_steps_equal} equal, {} differ, {n_linked} hold linked copies", step_failures.len());
    println!("step names: {n_names_equal} equal, {} differ", name_failures.len());
    println!("errors: {n_errors} where the peer has one, {n_refused} for what is not supported yet");
    // Names decide nothing. Those that differ: the peer upper-cases up to the first blank, tabs included, and shows a
    // step that two stages share under the later one's name.
    for difference in name_failures {
        println!("{difference}");
    }
    let all = [failures, step_failures].concat();
    assert!(all.is_empty(), "{}", all.join("\n"));
}
