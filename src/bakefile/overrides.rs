//! `--set PATTERN.KEY[.NAME][+]=VALUE`.

use std::collections::BTreeMap;

use super::Options;
use super::attributes::{self, RESOURCES, add_spec};
use super::model::{Spanned, Target};
use super::select::matches;
use super::spec::{OutputSpec, SecretSpec, Written, parse_bool};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap, Span, nearest};

/// One `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The flag that says it.
    pub flag: &'static str,
    /// What the user wrote after the flag.
    pub text: String,
    /// A target's name or a pattern with `*`, `?`, `[…]`.
    pub pattern: String,
    /// What is set: `tags`, `args`, …
    pub key: String,
    /// What of it: the argument's name, …
    pub name: Option<String>,
    /// The new value; without one, an argument comes from the environment.
    pub value: Option<String>,
    /// `+=`: the list grows.
    pub is_append: bool,
}

/// An override and the place that its text has in the source map.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    item: Override,
    span: Span,
}

impl Placed {
    /// The place of the value, where the text holds it as it is.
    fn value_span(&self) -> Span {
        let value = self.item.value.as_deref().filter(|value| self.item.text.ends_with(value));
        Span { start: self.span.end - value.map_or(0, |value| value.len() as u32).min(self.span.end), ..self.span }
    }
}

/// Keys that are set without a name after them.
const KEYS: [&str; 23] = [
    "annotations",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "dockerfile",
    "entitlements",
    "load",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platform",
    "policy",
    "pull",
    "push",
    "secrets",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];
/// Keys that need a name after them.
const NAMED_KEYS: [&str; 6] = ["args", "contexts", "extra-hosts", "labels", "resources", "secret"];

/// Reads the text `text` of `flag`: a `--set`, or a flag that stands for one.
///
/// # Errors
/// The text is not `TARGET.KEY=VALUE`, or there is no such key. The text is in `sources` then.
pub fn parse_override(flag: &'static str, text: &str, sources: &mut SourceMap) -> Result<Override, Diagnostic> {
    let mut wrong = |range: std::ops::Range<usize>, message: String| {
        let file = sources.add(flag, text);
        Diagnostic::error(Span::new(file, range.start, range.end), message)
    };
    let (left, value) = match text.split_once('=') {
        Some((left, value)) => (left, Some(value.to_owned())),
        None => (text, None),
    };
    let (left, is_append) = match left.strip_suffix('+').filter(|_| value.is_some()) {
        Some(left) => (left, true),
        None => (left, false),
    };
    let mut parts = left.splitn(3, '.');
    let (Some(pattern), Some(key)) = (parts.next(), parts.next()) else {
        return Err(wrong(0..left.len(), "a target and a key are needed".into())
            .hint("write TARGET.KEY=VALUE, as in `api.platform=linux/arm64`"));
    };
    let name = parts.next().map(str::to_owned);
    let at_key = pattern.len() + 1..pattern.len() + 1 + key.len();
    let is_named = NAMED_KEYS.contains(&key);
    if !is_named && !KEYS.contains(&key) {
        let error = wrong(at_key, format!("no key `{key}`"));
        return Err(match key {
            "platforms" => error.hint("the key is `platform`"),
            _ => match nearest(key, KEYS.iter().chain(&NAMED_KEYS).copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.note(format!("the keys are {}", [&KEYS[..], &NAMED_KEYS[..]].concat().join(", "))),
            },
        });
    }
    if is_named && name.is_none() {
        return Err(wrong(at_key, format!("`{key}` needs a name")).hint(format!("write TARGET.{key}.NAME=VALUE")));
    }
    if !is_named && name.is_some() {
        return Err(wrong(at_key.end + 1..left.len(), format!("`{key}` takes no name")));
    }
    if value.is_none() && key != "args" {
        return Err(wrong(text.len()..text.len(), "a value is missing".into()).hint("write TARGET.KEY=VALUE"));
    }
    let (pattern, key) = (pattern.to_owned(), key.to_owned());
    Ok(Override { flag, text: text.to_owned(), pattern, key, name, value, is_append })
}

/// Says whether an override can make a target need another one.
pub(super) fn link(overrides: &[Override]) -> bool {
    overrides.iter().any(|item| item.key == "contexts")
}

/// Finds the targets that each override means.
pub(super) fn place(
    options: &Options<'_>,
    targets: &[Target],
    sources: &mut SourceMap,
    findings: &mut Diagnostics,
) -> BTreeMap<String, Vec<Placed>> {
    let mut placed: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
    for item in options.overrides {
        let file = sources.add(item.flag, &item.text);
        let span = Span::new(file, 0, item.text.len());
        let mut item = item.clone();
        if item.value.is_none() {
            // An argument without a value comes from the environment, or not at all.
            item.value = item.name.as_deref().and_then(options.env);
        }
        let exact = targets.iter().any(|target| target.name == item.pattern);
        let names: Vec<&str> = targets
            .iter()
            .map(|target| target.name.as_str())
            .filter(|name| if exact { *name == item.pattern } else { matches(&item.pattern, name) })
            .collect();
        if names.is_empty() {
            let finding = Diagnostic::error(
                Span::new(file, 0, item.pattern.len()),
                format!("no target matches \"{}\"", item.pattern),
            );
            findings.push(finding.suggest(&item.pattern, targets.iter().map(|target| target.name.as_str())));
        }
        for name in names {
            placed.entry(name.to_owned()).or_default().push(Placed { item: item.clone(), span });
        }
    }
    placed
}

/// Applies overrides to a target: `output` first, because `push` and `load` look at it.
pub(super) fn apply(target: &mut Target, overrides: &[Placed]) -> Result<(), Diagnostic> {
    let mut by_key: BTreeMap<(&str, Option<&str>), Vec<&Placed>> = BTreeMap::new();
    for placed in overrides {
        by_key.entry((&placed.item.key, placed.item.name.as_deref())).or_default().push(placed);
    }
    let (late, early): (Vec<_>, Vec<_>) = by_key.into_iter().partition(|((key, _), _)| matches!(*key, "push" | "load"));
    for ((key, name), all) in early.into_iter().chain(late) {
        let Some(last) = all.last() else { continue };
        let Some(value) = last.item.value.clone() else { continue };
        let wrong = |why: String| Diagnostic::error(last.value_span(), why);
        let value = Spanned::new(value, last.span);
        match (key, name) {
            ("args", Some(name)) => set_nullable(&mut target.args, name, value),
            ("labels", Some(name)) => set_nullable(&mut target.labels, name, value),
            ("extra-hosts", Some(name)) => set_nullable(&mut target.extra_hosts, name, value),
            ("contexts", Some(name)) => _ = target.contexts.insert(name.to_owned(), value),
            ("resources", Some(name)) if RESOURCES.contains(&name) => {
                _ = target.resources.insert(name.to_owned(), value);
            }
            ("resources", Some(name)) => {
                let finding = Diagnostic::error(last.span, format!("no resource `{name}`"));
                return Err(finding.suggest(name, RESOURCES));
            }
            ("secret", Some(id)) => edit_secret(target, id, &value).map_err(wrong)?,
            ("pull" | "no-cache" | "push" | "load", _) => {
                let flag = parse_bool(&value.value)
                    .ok_or_else(|| wrong(format!("`{key}` is true or false, not \"{}\"", value.value)))?;
                set_flag(target, key, flag, last.span);
            }
            ("context" | "dockerfile" | "target" | "call" | "shm-size" | "network", _) => set_text(target, key, value),
            _ => set_list(target, key, &all)?,
        }
    }
    Ok(())
}

/// A context or Dockerfile from standard input is the command's to name: a bakefile builds the same whoever runs it.
pub(super) fn refuse_stdin(target: &Target, overrides: &[Placed]) -> Result<(), Diagnostic> {
    for (what, key, value) in
        [("context", "context", &target.context), ("Dockerfile", "dockerfile", &target.dockerfile)]
    {
        let is_given = overrides.iter().any(|placed| placed.item.key == key && placed.item.name.is_none());
        if let Some(value) = value.as_ref().filter(|value| value.value == "-" && !is_given) {
            let error = Diagnostic::error(value.span, format!("a {what} from stdin cannot be used in a bakefile"));
            return Err(error.hint(format!("say it on the command line: --set {}.{key}=-", target.name)));
        }
    }
    Ok(())
}

fn set_nullable(map: &mut BTreeMap<String, Spanned<Option<String>>>, name: &str, value: Spanned<String>) {
    map.insert(name.to_owned(), Spanned::new(Some(value.value), value.span));
}

fn set_text(target: &mut Target, key: &str, value: Spanned<String>) {
    let slot = match key {
        "context" => &mut target.context,
        "dockerfile" => &mut target.dockerfile,
        "target" => &mut target.target,
        "call" => &mut target.call,
        "shm-size" => &mut target.shm_size,
        _ => &mut target.network,
    };
    *slot = Some(value);
}

fn set_flag(target: &mut Target, key: &str, flag: bool, span: Span) {
    match key {
        "pull" => target.pull = Some(flag),
        "no-cache" => target.no_cache = Some(flag),
        "push" => set_push(&mut target.output, flag, span),
        _ => set_load(&mut target.output, flag, span),
    }
    if matches!(key, "push" | "load") {
        target.is_set.insert("output");
    }
}

fn output(kind: &str, push: Option<bool>, span: Span) -> OutputSpec {
    let fields = push.map(|push| ("push".to_owned(), push.to_string())).into_iter().collect();
    OutputSpec { kind: kind.to_owned(), fields, span }
}

/// `push`: an image output is pushed; where there is none but `docker`, one is added.
fn set_push(outputs: &mut Vec<OutputSpec>, flag: bool, span: Span) {
    if !flag {
        outputs.retain(|output| output.kind != "registry");
    }
    for output in outputs.iter_mut().filter(|output| output.kind == "image") {
        output.fields.insert("push".to_owned(), flag.to_string());
    }
    if flag && outputs.iter().all(|output| output.kind == "docker") {
        outputs.push(output("image", Some(true), span));
    }
}

/// `load`: a `docker` output is added, unless there is one already or the result goes to files.
fn set_load(outputs: &mut Vec<OutputSpec>, flag: bool, span: Span) {
    let is_loaded = |output: &OutputSpec| output.kind == "docker" && !output.fields.contains_key("dest");
    let goes_to_files = |output: &OutputSpec| !matches!(output.kind.as_str(), "image" | "registry" | "oci" | "docker");
    if flag && !outputs.iter().any(|output| is_loaded(output) || goes_to_files(output)) {
        outputs.push(output("docker", None, span));
    }
}

/// Changes a secret that the target declares.
fn edit_secret(target: &mut Target, id: &str, value: &Spanned<String>) -> Result<(), String> {
    let secret = target.secret.iter_mut().find(|secret| secret.id == id);
    let secret = secret.ok_or_else(|| format!("the target declares no secret \"{id}\""))?;
    let new = SecretSpec::parse(&Written::Text(value.value.clone()), value.span)?;
    secret.src = new.src.or(secret.src.take().filter(|_| new.env.is_none()));
    secret.env = new.env.or(secret.env.take().filter(|_| secret.src.is_none()));
    Ok(())
}

/// Sets a list: all values given for the key, in place of the list or, for `+=`, after it.
fn set_list(target: &mut Target, key: &str, all: &[&Placed]) -> Result<(), Diagnostic> {
    let always_appends = matches!(key, "annotations" | "attest" | "entitlements");
    if let Some((attribute, _)) = attributes::find(if key == "platform" { "platforms" } else { key }) {
        target.is_set.insert(attribute);
    }
    let is_append = always_appends || all.last().is_some_and(|placed| placed.item.is_append);
    let text_list = match key {
        "annotations" => Some(&mut target.annotations),
        "entitlements" => Some(&mut target.entitlements),
        "no-cache-filter" => Some(&mut target.no_cache_filter),
        "platform" => Some(&mut target.platforms),
        "tags" => Some(&mut target.tags),
        "ulimits" => Some(&mut target.ulimits),
        _ => None,
    };
    let values = all.iter().filter_map(|placed| Some(Spanned::new(placed.item.value.clone()?, placed.span)));
    let values = values.filter(|value| !value.value.is_empty());
    if let Some(list) = text_list {
        if !is_append {
            list.clear();
        }
        list.extend(values);
        return Ok(());
    }
    let attribute = if key == "secrets" { "secret" } else { key };
    if !is_append {
        clear_specs(target, attribute);
    }
    for value in values {
        add_spec(target, attribute, &Written::Text(value.value), value.span)
            .map_err(|why| Diagnostic::error(value.span, why))?;
    }
    Ok(())
}

fn clear_specs(target: &mut Target, attribute: &str) {
    match attribute {
        "cache-from" => target.cache_from.clear(),
        "cache-to" => target.cache_to.clear(),
        "output" => target.output.clear(),
        "policy" => target.policy.clear(),
        "secret" => target.secret.clear(),
        _ => target.ssh.clear(),
    }
}
