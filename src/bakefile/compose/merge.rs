//! How a later file's nodes meet an earlier one's, by their path; and how short forms become long ones.

use std::collections::{BTreeMap, BTreeSet};

use super::short;
use super::yaml::{Action, Map, Node, Yaml};
use crate::diagnostic::{Diagnostic, Span};

type Found<T> = Result<T, Box<Diagnostic>>;

fn wrong<T>(span: Span, message: impl Into<String>) -> Found<T> {
    Err(Box::new(Diagnostic::error(span, message)))
}

/// What happens where both sides have a node.
enum Rule {
    /// Mappings by key, lists one after the other, the later scalar.
    Plain,
    /// `KEY=VALUE` lists, whatever the form; the later one of a key counts.
    Pairs,
    /// Lists of anything, one after the other, each item once.
    Union,
    /// One text or a list of them.
    Texts,
    /// A build may be its context alone.
    Build,
    /// A list is a mapping without values.
    Names,
    /// The later one.
    Replace,
}

fn rule(path: &[&str]) -> Rule {
    match path {
        ["services", _, "build"] => Rule::Build,
        ["services", _, "build", "args" | "additional_contexts" | "labels"]
        | ["services", _, "annotations" | "environment" | "labels" | "sysctls"]
        | ["services", _, "deploy", "labels"] => Rule::Pairs,
        ["services", _, "build", "extra_hosts"] | ["services", _, "extra_hosts"] => Rule::Union,
        ["services", _, "env_file" | "label_file" | "dns" | "dns_opt" | "dns_search" | "tmpfs"] => Rule::Texts,
        ["services", _, "command" | "entrypoint" | "logging"] | ["services", _, "healthcheck", "test"] => Rule::Replace,
        ["services", _, "depends_on" | "networks" | "models"] => Rule::Names,
        ["networks" | "volumes", _, "labels"] => Rule::Pairs,
        ["networks", _, "ipam", "config"] | ["services", _, "ulimits", _] => Rule::Replace,
        _ => Rule::Plain,
    }
}

/// Merges `over` onto `base`; `path` is where both stand.
///
/// # Errors
/// A mapping or list meets something else.
pub(super) fn merge(base: Node, over: Node, path: &[&str]) -> Found<Node> {
    if over.action == Action::Replace {
        return Ok(over);
    }
    let span = over.span;
    let with = |value: Yaml| Node { value, ..over.clone() };
    match rule(path) {
        Rule::Replace => Ok(over),
        Rule::Pairs => {
            let mut items = pairs(base);
            items.extend(pairs(over.clone()));
            Ok(with(Yaml::List(keep_last_by_key(items))))
        }
        Rule::Union => {
            let mut items = pairs(base);
            let known: BTreeSet<_> = items.iter().map(Node::scalar).collect();
            items.extend(pairs(over.clone()).into_iter().filter(|item| !known.contains(&item.scalar())));
            Ok(with(Yaml::List(items)))
        }
        Rule::Texts => {
            let mut items = list(base);
            items.extend(list(over.clone()));
            Ok(with(Yaml::List(items)))
        }
        Rule::Build if over.is_null() => Ok(base),
        Rule::Build => merge_maps(build(base)?, build(over)?, path),
        Rule::Names => match (names(base), names(over.clone())) {
            (Some(base), Some(map)) => merge_maps(with(Yaml::Map(base)), with(Yaml::Map(map)), path),
            _ => wrong(span, format!("this cannot be merged with what is there at {}", path.join("."))),
        },
        Rule::Plain if over.is_null() => Ok(base),
        Rule::Plain => match (&base.value, &over.value) {
            (Yaml::Map(_), Yaml::Map(_)) => merge_maps(base, over, path),
            (Yaml::List(items), Yaml::List(more)) => {
                let mut items = items.clone();
                items.extend(more.iter().cloned());
                Ok(with(Yaml::List(if is_unique(path) { keep_last_by_key(items) } else { items })))
            }
            (Yaml::Map(_) | Yaml::List(_), _) => {
                let message = format!("{} cannot replace {} at {}", over.kind(), base.kind(), path.join("."));
                Err(Box::new(Diagnostic::error(span, message).label(base.span, "it is here")))
            }
            _ => Ok(over),
        },
    }
}

fn merge_maps(base: Node, over: Node, path: &[&str]) -> Found<Node> {
    let (Yaml::Map(mut map), Yaml::Map(entries)) = (base.value, over.value) else {
        return wrong(over.span, "a mapping is needed");
    };
    for (key, node) in entries {
        if node.action == Action::Reset {
            map.remove(&key);
            continue;
        }
        let merged = match map.remove(&key) {
            Some(earlier) => merge(earlier, node, &[path, &[key.as_str()]].concat())?,
            None => node,
        };
        map.insert(key, merged);
    }
    Ok(Node { value: Yaml::Map(map), span: over.span, key: over.key, action: Action::Merge })
}

/// Removes what is marked `!reset`, which has done its work, or has none to do.
pub(super) fn drop_resets(node: &mut Node) {
    node.action = Action::Merge;
    match &mut node.value {
        Yaml::Map(map) => {
            map.retain(|_, node| node.action != Action::Reset);
            map.values_mut().for_each(drop_resets);
        }
        Yaml::List(items) => items.iter_mut().for_each(drop_resets),
        _ => {}
    }
}

fn is_unique(path: &[&str]) -> bool {
    matches!(path, ["services", _, "build", "tags"] | ["services", _, "profiles" | "cap_add" | "cap_drop"])
}

/// Returns `KEY=VALUE` texts: a mapping's sorted, a list as it is.
fn pairs(node: Node) -> Vec<Node> {
    match node.value {
        Yaml::Map(map) => {
            let mut items = Vec::new();
            for (key, value) in map {
                match &value.value {
                    Yaml::List(values) => {
                        items.extend(values.iter().filter_map(|one| {
                            Some(Node::new(Yaml::Text(format!("{key}={}", one.scalar()?)), one.span))
                        }))
                    }
                    _ => {
                        let text = value.scalar().map_or_else(|| key.clone(), |text| format!("{key}={text}"));
                        items.push(Node::new(Yaml::Text(text), value.span));
                    }
                }
            }
            items
        }
        _ => list(node),
    }
}

fn list(node: Node) -> Vec<Node> {
    match node.value {
        Yaml::List(items) => items,
        Yaml::Text(_) => vec![node],
        _ => Vec::new(),
    }
}

/// A later item takes the place of the earlier one with its key.
fn keep_last_by_key(items: Vec<Node>) -> Vec<Node> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::new();
    for item in items {
        let key = item.scalar().map(|text| text.split('=').next().unwrap_or("").to_owned());
        match key.as_ref().and_then(|key| places.get(key)) {
            Some(at) => kept[*at] = item,
            None => {
                places.extend(key.map(|key| (key, kept.len())));
                kept.push(item);
            }
        }
    }
    kept
}

fn names(node: Node) -> Option<Map> {
    match node.value {
        Yaml::Map(map) => Some(map),
        Yaml::List(items) => {
            let name = |item: Node| Some((item.as_text()?.to_owned(), Node::new(Yaml::Null, item.span)));
            items.into_iter().map(name).collect()
        }
        Yaml::Null => Some(Map::new()),
        _ => None,
    }
}

/// Returns a build as a mapping.
///
/// # Errors
/// It is neither a string nor a mapping.
pub(super) fn build(node: Node) -> Found<Node> {
    match node.value {
        Yaml::Map(_) => Ok(node),
        Yaml::Text(_) => {
            let (span, key, action) = (node.span, node.key, node.action);
            let map = Map::from([("context".to_owned(), node)]);
            Ok(Node { value: Yaml::Map(map), span, key, action })
        }
        _ => wrong(node.span, format!("`build` is a string or a mapping, not {}", node.kind())),
    }
}

/// Turns the short forms of what matters to a build into the long ones.
///
/// # Errors
/// Something is in neither form.
pub(super) fn canonical(model: &mut Node) -> Found<()> {
    let Some(services) = model.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut) else {
        return Ok(());
    };
    for service in services.values_mut() {
        let Some(map) = service.as_map_mut() else { continue };
        if let Some(build) = map.remove("build") {
            map.insert("build".into(), canonical_build(build)?);
        }
        if let Some(files) = map.get_mut("env_file") {
            canonical_env_files(files)?;
        }
        if let Some(environment) = map.get_mut("environment")
            && let Yaml::List(items) = &mut environment.value
        {
            *items = keep_last_by_key(std::mem::take(items));
        }
        for volume in map.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            short::check_volume(volume)?;
        }
        for port in map.get("ports").and_then(Node::as_list).unwrap_or_default() {
            short::check_port(port)?;
        }
    }
    Ok(())
}

fn canonical_env_files(files: &mut Node) -> Found<()> {
    let one = |node: Node| match node.value {
        Yaml::Text(_) => {
            let span = node.span;
            Node::new(Yaml::Map(Map::from([("path".to_owned(), node)])), span)
        }
        _ => node,
    };
    let items = match &files.value {
        Yaml::Text(_) => vec![one(files.clone())],
        Yaml::List(items) => items.iter().cloned().map(one).collect(),
        _ => return wrong(files.span, format!("`env_file` is a string or a list, not {}", files.kind())),
    };
    files.value = Yaml::List(items);
    Ok(())
}

fn canonical_build(node: Node) -> Found<Node> {
    let mut node = build(node)?;
    let Some(map) = node.as_map_mut() else { return Ok(node) };
    for name in ["provenance", "sbom"] {
        if let Some(node) = map.get_mut(name)
            && let Some(text) = node.scalar()
        {
            node.value = Yaml::Text(text);
        }
    }
    if let Some(ssh) = map.get_mut("ssh") {
        ssh.value = Yaml::Map(canonical_ssh(ssh)?);
    }
    if let Some(contexts) = map.get_mut("additional_contexts") {
        contexts.value = Yaml::Map(canonical_contexts(contexts)?);
    }
    if let Some(secrets) = map.get_mut("secrets")
        && let Yaml::List(items) = &mut secrets.value
    {
        for item in items {
            if let Yaml::Text(_) = item.value {
                item.value = Yaml::Map(Map::from([("source".to_owned(), item.clone())]));
            }
        }
    }
    for name in ["args", "labels", "tags"] {
        if let Some(Yaml::List(items)) = map.get_mut(name).map(|node| &mut node.value) {
            *items = keep_last_by_key(std::mem::take(items));
        }
    }
    for limit in map.get("ulimits").and_then(Node::as_map).into_iter().flat_map(Map::values) {
        if !matches!(limit.value, Yaml::Int(_) | Yaml::Map(_)) {
            return wrong(limit.span, format!("a limit is a whole number or soft and hard, not {}", limit.kind()));
        }
    }
    Ok(node)
}

fn canonical_ssh(node: &Node) -> Found<Map> {
    match &node.value {
        Yaml::Map(map) => Ok(map.clone()),
        Yaml::List(items) => {
            let mut map = Map::new();
            for item in items {
                let Some(text) = item.as_text() else {
                    return wrong(item.span, format!("an ssh entry is a string, not {}", item.kind()));
                };
                let (id, value) = match text.split_once('=') {
                    Some((id, path)) => (id, Yaml::Text(path.to_owned())),
                    None if text == "default" => (text, Yaml::Null),
                    None => {
                        return wrong(item.span, format!("the ssh entry `{text}` is neither `default` nor ID=PATH"));
                    }
                };
                map.insert(id.to_owned(), Node::new(value, item.span));
            }
            Ok(map)
        }
        _ => wrong(node.span, format!("`ssh` is a list or a mapping, not {}", node.kind())),
    }
}

fn canonical_contexts(node: &Node) -> Found<Map> {
    match &node.value {
        Yaml::Map(map) => Ok(map.clone()),
        Yaml::List(items) => {
            let pair = |item: &Node| {
                let (key, value) = item
                    .as_text()
                    .and_then(|text| text.split_once('='))
                    .ok_or_else(|| Box::new(Diagnostic::error(item.span, "an additional context is NAME=CONTEXT")))?;
                Ok((key.to_owned(), Node::new(Yaml::Text(value.to_owned()), item.span)))
            };
            items.iter().map(pair).collect()
        }
        _ => wrong(node.span, format!("`additional_contexts` is a list or a mapping, not {}", node.kind())),
    }
}
