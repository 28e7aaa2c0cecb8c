//! The peer's answers for real files: checks, outlines, targets, and the warnings of builds.

#![allow(clippy::print_stdout, reason = "tests count")]

use bake::diagnostic::SourceMap;
use bake::dockerfile::lint::{LineRange, Warning};
use bake::frontend::Resolved;
use bake::frontend::lint::{self, Lint, Location, Outline, Request};
use bake::plan::PlannedTarget;
use serde_json::{Value, json};

use crate::frontend::peer::fake_registry;
use crate::frontend::{platform, target};
use crate::support::conformance::{self, Dockerfiles};

/// How many answers are the peer's: all of them.
const AGREEING: [(&str, usize); 4] = [("lint", 317), ("outline", 935), ("targets", 317), ("warnings", 1591)];

/// Answers `request` until the checks need no more images.
fn resolved(
    text: &str,
    target: &PlannedTarget,
    registry: &Value,
    run: &dyn Fn(&Request<'_>) -> Lint,
) -> (Lint, Resolved, SourceMap) {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let mut resolved = Resolved::default();
    loop {
        let lint = run(&Request { target, file, sources: &sources, ignore: &[], resolved: &resolved });
        if lint.needs.is_empty() {
            return (lint, resolved, sources);
        }
        for need in lint.needs {
            let image = fake_registry(registry, &need);
            assert!(resolved.images.insert(need, image).is_none(), "nothing is asked twice");
        }
    }
}

fn lines(lines: Option<LineRange>) -> Value {
    lines.map_or(json!([]), |lines| (lines.first..=lines.last).map(|line| json!([line, line])).collect())
}

/// Puts warnings in the shape of the golden data, which is sorted.
fn golden_warnings(warnings: &[Warning], has_url: bool) -> Value {
    let mut list: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            let mut entry =
                json!({ "rule": warning.rule().name, "detail": warning.detail(), "lines": lines(warning.lines) });
            if let Some(url) = warning.rule().url().filter(|_| has_url) {
                entry["url"] = json!(url);
            }
            entry
        })
        .collect();
    list.sort_by_key(sort_key);
    Value::Array(list)
}

fn sort_key(entry: &Value) -> (u64, String, String) {
    let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
    (entry["lines"][0][0].as_u64().unwrap_or(0), text("rule"), text("detail"))
}

fn sorted(golden: &Value) -> Value {
    let mut list = golden.as_array().cloned().unwrap_or_default();
    list.sort_by_key(sort_key);
    Value::Array(list)
}

fn location(location: Option<&Location>) -> Value {
    let ranges = location.into_iter().flat_map(|location| &location.ranges);
    ranges.map(|range| json!([range.start.line, range.end.line])).collect()
}

/// Puts an outline in the shape of the golden data: lists sorted by name.
fn golden_outline(outline: &Outline) -> Value {
    let mut map = serde_json::Map::new();
    let mut texts = |key: &str, text: &str| {
        if !text.is_empty() {
            map.insert(key.to_owned(), json!(text));
        }
    };
    texts("name", &outline.name);
    texts("description", &outline.description);
    let mut args: Vec<Value> = Vec::new();
    for arg in &outline.args {
        let mut entry = json!({ "name": arg.name, "lines": location(arg.location.as_ref()) });
        for (key, text) in [("value", &arg.value), ("description", &arg.description)] {
            if !text.is_empty() {
                entry[key] = json!(text);
            }
        }
        args.push(entry);
    }
    let mounts = |mounts: &[lint::OutlineMount]| -> Vec<Value> {
        let entries = mounts.iter().map(|mount| {
            let mut entry = json!({ "name": mount.name, "lines": location(mount.location.as_ref()) });
            if mount.required {
                entry["required"] = json!(true);
            }
            entry
        });
        entries.collect()
    };
    for (key, mut list) in [("args", args), ("secrets", mounts(&outline.secrets)), ("ssh", mounts(&outline.ssh))] {
        list.sort_by_key(|entry| entry["name"].as_str().unwrap_or("").to_owned());
        if !list.is_empty() {
            map.insert(key.to_owned(), Value::Array(list));
        }
    }
    Value::Object(map)
}

/// Takes the choices out of a golden outline that we make: an ARG of several stages may be any of them.
fn chosen(golden: &Value, ours: &Value) -> Value {
    let mut golden = golden.clone();
    for entry in golden["args"].as_array_mut().into_iter().flatten() {
        let Some(any) = entry.get("any_of").and_then(Value::as_array) else { continue };
        let ours = ours["args"].as_array().into_iter().flatten().find(|own| own["name"] == entry["name"]);
        let choice = any.iter().find(|choice| {
            let named = |mut choice: Value| {
                choice["name"] = entry["name"].clone();
                choice
            };
            Some(&named((*choice).clone())) == ours
        });
        if choice.is_some() {
            *entry = ours.cloned().unwrap_or_default();
        }
    }
    if golden["args"].is_null() {
        golden.as_object_mut().map(|map| map.shift_remove("args"));
    }
    golden
}

struct Count {
    kind: &'static str,
    n_all: usize,
    failures: Vec<String>,
}

impl Count {
    fn new(kind: &'static str) -> Count {
        Count { kind, n_all: 0, failures: Vec::new() }
    }

    fn compare(&mut self, name: &str, ours: &Value, theirs: &Value) {
        self.n_all += 1;
        if ours != theirs {
            self.failures.push(format!("{} {name}\n  ours   {ours}\n  theirs {theirs}", self.kind));
        }
    }
}

#[test]
fn real_files_have_the_peers_warnings_outlines_and_targets() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let registry = corpus.registry();
    let mut counts = ["lint", "outline", "targets", "warnings"].map(Count::new);
    for case in corpus.cases() {
        compare_file(&corpus, &case, &registry, &mut counts);
    }
    for (count, (kind, n_least)) in counts.iter().zip(AGREEING) {
        let n_same = count.n_all - count.failures.len();
        println!("{} {n_same} of {}", count.kind, count.n_all);
        count.failures.iter().for_each(|failure| println!("{failure}"));
        assert_eq!(count.kind, kind);
        assert!(n_same >= n_least, "{kind}: {n_same} agree, {n_least} did");
    }
}

fn compare_file(corpus: &Dockerfiles, case: &conformance::Case, registry: &Value, counts: &mut [Count; 4]) {
    let [lints, outlines, targets, warnings] = counts;
    let plan = target(&case.text);
    let golden = &case.golden["lint"];
    let (lint, _, _) = resolved(&case.text, &plan, registry, &lint::lint);
    let error = lint.error.as_ref().map(|error| lines(error.lines));
    let ours = json!({ "warnings": golden_warnings(&lint.warnings, true), "fails": error.is_some() });
    let theirs = json!({ "warnings": sorted(&golden["warnings"]), "fails": golden.get("build_error").is_some() });
    lints.compare(&case.name, &ours, &theirs);

    compare_outline(&case.name, &case.text, &plan, registry, &case.golden["outline"], outlines);
    targets.compare(&case.name, &golden_targets(&case.text), &without_message(&case.golden["targets"]));
    for (of, golden) in case.golden["compile"].as_object().into_iter().flatten() {
        let plan = PlannedTarget { platform: platform(of), ..plan.clone() };
        let (lint, _, _) = resolved(&case.text, &plan, registry, &lint::build_warnings);
        warnings.compare(
            &format!("{} {of}", case.name),
            &golden_warnings(&lint.warnings, false),
            &sorted(&golden["warnings"]),
        );
    }
    let Some(stages) = corpus.stages(&case.name) else { return };
    for (stage, golden) in stages["stages"].as_object().into_iter().flatten() {
        let name = format!("{} stage {stage}", case.name);
        let plan = PlannedTarget { stage: Some(stage.clone()), ..plan.clone() };
        let (lint, _, _) = resolved(&case.text, &plan, registry, &lint::build_warnings);
        warnings.compare(&name, &golden_warnings(&lint.warnings, false), &sorted(&golden["warnings"]));
        compare_outline(&name, &case.text, &plan, registry, &golden["outline"], outlines);
    }
}

fn compare_outline(
    name: &str,
    text: &str,
    plan: &PlannedTarget,
    registry: &Value,
    golden: &Value,
    outlines: &mut Count,
) {
    let (_, known, sources) = resolved(text, plan, registry, &lint::build_warnings);
    let file = sources.files().next().expect("the Dockerfile");
    let request = Request { target: plan, file, sources: &sources, ignore: &[], resolved: &known };
    let ours = lint::outline(&request).map_or(json!({ "error": null }), |outline| golden_outline(&outline));
    let theirs = if golden.get("error").is_some() { without_message(golden) } else { chosen(golden, &ours) };
    outlines.compare(name, &ours, &theirs);
}

/// Errors count as errors: their texts are our own.
fn without_message(golden: &Value) -> Value {
    if golden.get("error").is_some() { json!({ "error": null }) } else { golden.clone() }
}

fn golden_targets(text: &str) -> Value {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let Ok(list) = lint::targets(file, &sources) else { return json!({ "error": null }) };
    let entry = |target: &lint::TargetEntry| {
        let mut entry = serde_json::to_value(target).expect("JSON");
        let map = entry.as_object_mut().expect("an object");
        map.shift_remove("location");
        map.insert("lines".to_owned(), location(target.location.as_ref()));
        entry
    };
    json!({ "targets": list.targets.iter().map(entry).collect::<Vec<_>>() })
}
