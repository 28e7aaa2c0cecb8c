//! Which attributes the parts of a Compose file have that matter to a build, and of which kind each is.
//!
//! Compose specification, *build.md*; what the peer's schema refuses is refused here.

use super::yaml::{Node, Yaml};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};

/// What an attribute holds.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
    TextOrTexts,
    /// A list of `KEY=VALUE` or a mapping of scalars.
    Pairs,
    TextOrBool,
    TextOrInt,
    Hosts,
    Limits,
    Secrets,
    EnvFiles,
    External,
    Any,
}

const BUILD: &[(&str, Shape)] = &[
    ("additional_contexts", Shape::Pairs),
    ("args", Shape::Pairs),
    ("cache_from", Shape::Texts),
    ("cache_to", Shape::Texts),
    ("context", Shape::Text),
    ("dockerfile", Shape::Text),
    ("dockerfile_inline", Shape::Text),
    ("entitlements", Shape::Texts),
    ("extra_hosts", Shape::Hosts),
    ("isolation", Shape::Text),
    ("labels", Shape::Pairs),
    ("network", Shape::Text),
    ("no_cache", Shape::TextOrBool),
    ("no_cache_filter", Shape::TextOrTexts),
    ("platforms", Shape::Texts),
    ("privileged", Shape::TextOrBool),
    ("provenance", Shape::TextOrBool),
    ("pull", Shape::TextOrBool),
    ("sbom", Shape::TextOrBool),
    ("secrets", Shape::Secrets),
    ("shm_size", Shape::TextOrInt),
    ("ssh", Shape::Pairs),
    ("tags", Shape::Texts),
    ("target", Shape::Text),
    ("ulimits", Shape::Limits),
];
const BUILD_SECRET: &[(&str, Shape)] = &[
    ("gid", Shape::Text),
    ("mode", Shape::TextOrInt),
    ("source", Shape::Text),
    ("target", Shape::Text),
    ("uid", Shape::Text),
];
const SECRET: &[(&str, Shape)] = &[
    ("driver", Shape::Text),
    ("driver_opts", Shape::Any),
    ("environment", Shape::Text),
    ("external", Shape::External),
    ("file", Shape::Text),
    ("labels", Shape::Pairs),
    ("name", Shape::Text),
    ("template_driver", Shape::Text),
];
const ENV_FILE: &[(&str, Shape)] = &[("format", Shape::Text), ("path", Shape::Text), ("required", Shape::TextOrBool)];
const LIMIT: &[(&str, Shape)] = &[("hard", Shape::TextOrInt), ("soft", Shape::TextOrInt)];

/// Checks services and secrets of a merged model.
pub(super) fn check(model: &Node, findings: &mut Diagnostics) {
    for (name, service) in model.get("services").map(Node::entries).unwrap_or_default() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(is_part) {
            let finding = Diagnostic::error(service.key, format!("`{name}` is no name for a service"));
            findings.push(finding.note("a name is of letters, digits, `.`, `_` and `-`"));
        }
        for (attribute, shape) in [("image", Shape::Text), ("environment", Shape::Pairs), ("env_file", Shape::EnvFiles)]
        {
            service.get(attribute).into_iter().for_each(|node| check_shape(attribute, shape, node, findings));
        }
        if let Some(build) = service.get("build") {
            check_map("a build", BUILD, build, findings);
        }
    }
    match model.get("secrets") {
        Some(Node { value: Yaml::Map(secrets), .. }) => {
            for secret in secrets.values() {
                check_map("a secret", SECRET, secret, findings);
            }
        }
        Some(node) => refuse("secrets", "a mapping", node, findings),
        None => {}
    }
}

fn check_map(what: &str, known: &[(&str, Shape)], node: &Node, findings: &mut Diagnostics) {
    if node.as_map().is_none() {
        findings.push(Diagnostic::error(node.span, format!("{what} is a mapping, not {}", node.kind())));
    }
    for (key, value) in node.entries() {
        match known.iter().find(|(name, _)| name == key) {
            Some((name, shape)) => check_shape(name, *shape, value, findings),
            None if key.starts_with("x-") => {}
            None => {
                let finding = Diagnostic::error(value.key, format!("{what} has no `{key}`"));
                findings.push(match nearest(key, known.iter().map(|(name, _)| *name)) {
                    Some(near) => finding.hint(format!("did you mean `{near}`?")),
                    None => finding,
                });
            }
        }
    }
}

fn refuse(name: &str, wanted: &str, node: &Node, findings: &mut Diagnostics) {
    findings.push(Diagnostic::error(node.span, format!("`{name}` is {wanted}, not {}", node.kind())));
}

fn check_texts(name: &str, items: &[Node], findings: &mut Diagnostics) {
    for item in items.iter().filter(|item| item.as_text().is_none()) {
        let finding =
            Diagnostic::error(item.span, format!("`{name}` is a list of strings, but this is {}", item.kind()));
        findings.push(finding.hint("put it in quotes"));
    }
}

fn check_shape(name: &str, shape: Shape, node: &Node, findings: &mut Diagnostics) {
    match (shape, &node.value) {
        (Shape::Any, _)
        | (Shape::Text | Shape::TextOrBool | Shape::TextOrInt | Shape::TextOrTexts | Shape::External, Yaml::Text(_))
        | (Shape::TextOrBool | Shape::External, Yaml::Bool(_))
        | (Shape::TextOrInt, Yaml::Int(_))
        | (Shape::External, Yaml::Map(_)) => {}
        (Shape::Texts | Shape::TextOrTexts | Shape::Pairs | Shape::Hosts, Yaml::List(items)) => {
            check_texts(name, items, findings);
        }
        (Shape::Pairs, Yaml::Map(map)) => {
            for value in map.values().filter(|value| matches!(value.value, Yaml::List(_) | Yaml::Map(_))) {
                refuse(name, "a mapping of plain values", value, findings);
            }
        }
        (Shape::Hosts, Yaml::Map(map)) => {
            for value in map.values() {
                match &value.value {
                    Yaml::Text(_) => {}
                    Yaml::List(items) => check_texts(name, items, findings),
                    _ => refuse(name, "a mapping of addresses", value, findings),
                }
            }
        }
        (Shape::Limits, Yaml::Map(map)) => {
            for limit in map.values().filter(|limit| !matches!(limit.value, Yaml::Int(_) | Yaml::Text(_))) {
                check_map("a limit", LIMIT, limit, findings);
                for half in
                    ["soft", "hard"].into_iter().filter(|half| limit.as_map().is_some_and(|m| !m.contains_key(*half)))
                {
                    findings.push(Diagnostic::error(limit.span, format!("this limit has no `{half}`")));
                }
            }
        }
        (Shape::Secrets, Yaml::List(items)) => {
            for item in items {
                check_map("a build's secret", BUILD_SECRET, item, findings);
            }
        }
        (Shape::EnvFiles, Yaml::List(items)) => {
            for item in items {
                check_map("an env file", ENV_FILE, item, findings);
                if item.as_map().is_some_and(|map| !map.contains_key("path")) {
                    findings.push(Diagnostic::error(item.span, "this env file has no `path`"));
                }
            }
        }
        (shape, _) => refuse(name, wanted(shape), node, findings),
    }
}

fn wanted(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "a string",
        Shape::Texts | Shape::Secrets | Shape::EnvFiles => "a list",
        Shape::TextOrTexts => "a string or a list of strings",
        Shape::Pairs | Shape::Hosts => "a list or a mapping",
        Shape::TextOrBool => "true or false",
        Shape::TextOrInt => "a string or a whole number",
        Shape::Limits => "a mapping",
        Shape::External => "true or false",
        Shape::Any => "anything",
    }
}
