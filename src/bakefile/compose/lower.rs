//! A merged Compose model as targets, with the peer's reading of every attribute.

use std::collections::BTreeMap;

use super::super::model::{Spanned, Target};
use super::super::spec::{AttestSpec, CacheSpec, OutputSpec, SecretSpec, SshSpec, Written, parse_bool};
use super::environment::{Environment, parse_variables};
use super::load::{Found, build_of, read_text, wrong};
use super::size::{bytes_of, shown_bytes};
use super::xbake;
use super::yaml::{Map, Node, Yaml};
use crate::bakefile::limits::LIMITS;
use crate::diagnostic::{Diagnostic, Span};
use crate::sys::files::Files;

/// A scalar, or none, with its place, by key.
type Variables = BTreeMap<String, Spanned<Option<String>>>;

/// Lowers services of one model.
pub(super) struct Lowering<'a> {
    pub(super) environment: &'a Environment<'a>,
    pub(super) files: &'a dyn Files,
    pub(super) secrets: &'a Map,
}

/// Returns the name of the target that a service becomes.
pub(super) fn target_name(service: &str) -> String {
    service.replace('.', "_")
}

impl Lowering<'_> {
    /// Returns the target of a service; `None` if it is not built.
    pub(super) fn target(&self, name: &str, service: &Node) -> Found<Option<Target>> {
        let variables = self.variables(service)?;
        let Some(build) = build_of(service)? else { return Ok(None) };
        let mut target = Target::new(&target_name(name), service.key);
        let text = |name: &str| -> Option<Spanned<String>> {
            let node = build.get(name)?;
            Some(Spanned::new(node.scalar().filter(|text| !text.is_empty())?, node.span))
        };
        target.context = text("context");
        target.dockerfile = text("dockerfile");
        target.dockerfile_inline = text("dockerfile_inline");
        target.network = text("network");
        target.target = text("target");
        target.contexts = build.get("additional_contexts").map(named_contexts).transpose()?.unwrap_or_default();
        target.args = self.args(&build, &variables)?;
        target.labels = pairs(build.get("labels"))?;
        for label in target.labels.values_mut() {
            label.value.get_or_insert_default();
        }
        target.extra_hosts = hosts(build.get("extra_hosts"))?;
        target.tags = texts(build.get("tags"));
        target.platforms = texts(build.get("platforms"));
        target.pull = flag(build.get("pull"))?.filter(|flag| *flag);
        target.no_cache = flag(build.get("no_cache"))?.filter(|flag| *flag);
        target.shm_size = build.get("shm_size").map(shm_size).transpose()?.flatten();
        target.ulimits = limits(build.get("ulimits"))?;
        self.add_records(&mut target, &build)?;
        if let Some(extension) = build.get("x-bake").filter(|node| !node.is_null()) {
            xbake::apply(&mut target, extension)?;
        }
        if target.tags.is_empty() {
            let image = service.get("image").and_then(|node| Some(Spanned::new(node.scalar()?, node.span)));
            target.tags.extend(image.filter(|image| !image.value.is_empty()));
        }
        mark_set(&mut target);
        Ok(Some(target))
    }

    fn add_records(&self, target: &mut Target, build: &Node) -> Found<()> {
        for text in texts(build.get("cache_from")) {
            target.cache_from.extend(record(&text, CacheSpec::parse)?);
        }
        for text in texts(build.get("cache_to")) {
            target.cache_to.extend(record(&text, CacheSpec::parse)?);
        }
        for kind in ["sbom", "provenance"] {
            let Some(node) = build.get(kind) else { continue };
            let Some(written) = node.scalar().filter(|text| !text.is_empty()) else { continue };
            let fields = match parse_bool(&written) {
                Some(flag) => format!("type={kind},disabled={}", !flag),
                None => format!("type={kind},{written}"),
            };
            target.attest.push(record(&Spanned::new(fields, node.span), AttestSpec::parse)?);
        }
        for (id, node) in build.get("ssh").and_then(Node::as_map).into_iter().flatten() {
            let paths = node.scalar().filter(|path| !path.is_empty()).map(|path| self.at_home(path));
            let paths = paths.into_iter().collect();
            target.ssh.push(SshSpec { id: id.clone(), paths, span: node.span });
        }
        for item in build.get("secrets").and_then(Node::as_list).unwrap_or_default() {
            target.secret.push(self.secret(item)?);
        }
        Ok(())
    }

    fn secret(&self, item: &Node) -> Found<SecretSpec> {
        let id = item.get("source").and_then(Node::scalar).unwrap_or_default();
        let Some(secret) = self.secrets.get(&id) else {
            return wrong(item.span, format!("no secret \"{id}\" in `secrets`"));
        };
        let text = |name: &str| secret.get(name).and_then(Node::scalar).filter(|text| !text.is_empty());
        if is_external(secret)? {
            let finding =
                Diagnostic::error(item.span, format!("the secret \"{id}\" is external, which a build cannot use"));
            return Err(Box::new(
                finding.label(secret.span, "it is declared here").hint("give it a `file` or an `environment`"),
            ));
        }
        let src = text("file").map(|path| self.at_home(path));
        Ok(SecretSpec { id, src, env: text("environment"), span: item.span })
    }

    /// `~/` is the home directory.
    fn at_home(&self, path: String) -> String {
        match (path.strip_prefix("~/"), self.environment.get("HOME")) {
            (Some(inner), Some(home)) => format!("{}/{inner}", home.trim_end_matches('/')),
            _ => path,
        }
    }

    /// Null arguments take the service's variable of their name, then the environment's.
    fn args(&self, build: &Node, variables: &Variables) -> Found<Variables> {
        let mut args = pairs(build.get("args"))?;
        for (name, arg) in &mut args {
            if arg.value.is_none() {
                let own = variables.get(name).and_then(|own| own.value.clone());
                arg.value = own.or_else(|| self.environment.get(name));
            }
        }
        Ok(args)
    }

    /// Returns the service's variables: its `environment`, then its `env_file`s.
    fn variables(&self, service: &Node) -> Found<Variables> {
        let mut own = pairs(service.get("environment"))?;
        for (name, variable) in &mut own {
            if variable.value.is_none() {
                variable.value = self.environment.get(name);
            }
        }
        let mut variables = Variables::new();
        for file in service.get("env_file").and_then(Node::as_list).unwrap_or_default() {
            let Some(path) = file.get("path") else { continue };
            let text = match read_text(self.files, &path.scalar().unwrap_or_default()) {
                Ok(text) => text,
                Err(_) if flag(file.get("required"))? == Some(false) => continue,
                Err(why) => {
                    let finding = Diagnostic::error(path.span, why);
                    return Err(Box::new(finding.hint("write `required: false` if it may be missing")));
                }
            };
            let outside = |name: &str| {
                let own = || own.get(name).and_then(|own| own.value.clone());
                self.environment.get(name).or_else(own)
            };
            let found = parse_variables(&text, &outside).map_err(|why| {
                Box::new(Diagnostic::error(path.span, format!("{}: {why}", path.scalar().unwrap_or_default())))
            })?;
            variables.extend(found.into_iter().map(|(name, value)| (name, Spanned::new(Some(value), path.span))));
        }
        variables.extend(own);
        Ok(variables)
    }
}

/// Says whether a secret is kept elsewhere.
pub(super) fn is_external(secret: &Node) -> Found<bool> {
    match secret.get("external") {
        Some(Node { value: Yaml::Map(_), .. }) => Ok(true),
        external => Ok(flag(external)? == Some(true)),
    }
}

/// Parses a record as bakefiles write it.
pub(super) fn record<T>(text: &Spanned<String>, parse: impl Fn(&Written, Span) -> Result<T, String>) -> Found<T> {
    parse(&Written::Text(text.value.clone()), text.span).map_err(|why| Box::new(Diagnostic::error(text.span, why)))
}

/// Returns an output as bakefiles write it.
pub(super) fn output(text: &Spanned<String>) -> Found<OutputSpec> {
    record(text, OutputSpec::parse)
}

/// Notes which lists are written, which decides what replaces what when targets inherit.
fn mark_set(target: &mut Target) {
    let lists = [
        ("tags", target.tags.is_empty()),
        ("platforms", target.platforms.is_empty()),
        ("cache-to", target.cache_to.is_empty()),
        ("output", target.output.is_empty()),
    ];
    target.is_set.extend(lists.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name));
}

/// Returns a true or false, written as either word or Go's other forms.
pub(super) fn flag(node: Option<&Node>) -> Found<Option<bool>> {
    match node.map(|node| (&node.value, node)) {
        None | Some((Yaml::Null, _)) => Ok(None),
        Some((Yaml::Bool(flag), _)) => Ok(Some(*flag)),
        Some((_, node)) => match node.as_text().and_then(parse_bool) {
            Some(flag) => Ok(Some(flag)),
            None => wrong(node.span, "this is true or false"),
        },
    }
}

fn texts(node: Option<&Node>) -> Vec<Spanned<String>> {
    let items = node.and_then(Node::as_list).unwrap_or_default();
    items.iter().filter_map(|item| Some(Spanned::new(item.scalar()?, item.span))).collect()
}

/// Reads a mapping or a list of `KEY=VALUE`.
fn pairs(node: Option<&Node>) -> Found<Variables> {
    let mut variables = Variables::new();
    match node.map(|node| &node.value) {
        Some(Yaml::Map(map)) => {
            variables.extend(map.iter().map(|(key, node)| (key.clone(), Spanned::new(node.scalar(), node.span))));
        }
        Some(Yaml::List(items)) => {
            for item in items {
                let text = item.scalar().unwrap_or_default();
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (text.as_str(), None),
                };
                if key.ends_with(char::is_whitespace) {
                    return wrong(item.span, format!("the name `{key}` ends with a blank"));
                }
                variables.insert(key.to_owned(), Spanned::new(value, item.span));
            }
        }
        _ => {}
    }
    Ok(variables)
}

/// Returns contexts in the words of a bakefile: `service:NAME` is the target of that name.
pub(super) fn named_contexts(node: &Node) -> Found<BTreeMap<String, Spanned<String>>> {
    let Some(map) = node.as_map() else {
        return wrong(node.span, format!("contexts are a mapping, not {}", node.kind()));
    };
    let context = |(name, node): (&String, &Node)| {
        let text = node.scalar().unwrap_or_default();
        let linked = text.strip_prefix("service:").or_else(|| text.strip_prefix("target:"));
        let text = linked.map(|linked| format!("target:{}", target_name(linked))).unwrap_or(text);
        (name.clone(), Spanned::new(text, node.span))
    };
    Ok(map.iter().map(context).collect())
}

/// Reads `HOST=ADDRESS`, `HOST:ADDRESS`, or a mapping; several addresses of a host are joined by commas.
fn hosts(node: Option<&Node>) -> Found<Variables> {
    let mut found: BTreeMap<String, (Vec<String>, Span)> = BTreeMap::new();
    let mut add = |host: &str, addresses: Vec<String>, span: Span| {
        if host.is_empty() || host.contains([':', '=']) {
            return wrong(span, format!("`{host}` is no name of a host"));
        }
        let bare = |address: String| match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) if !inner.is_empty() => inner.to_owned(),
            _ => address,
        };
        let entry = found.entry(host.to_owned()).or_insert_with(|| (Vec::new(), span));
        entry.0.extend(addresses.into_iter().map(bare));
        Ok(())
    };
    match node.map(|node| &node.value) {
        Some(Yaml::Map(map)) => {
            for (host, node) in map {
                let addresses = match &node.value {
                    Yaml::List(items) => items.iter().filter_map(Node::scalar).collect(),
                    _ => vec![node.scalar().unwrap_or_default()],
                };
                add(host, addresses, node.span)?;
            }
        }
        Some(Yaml::List(items)) => {
            for item in items {
                let text = item.scalar().unwrap_or_default();
                let Some((host, addresses)) = text.split_once('=').or_else(|| text.split_once(':')) else {
                    return wrong(item.span, format!("`{text}` gives a host no address"));
                };
                add(host, addresses.split(',').map(str::to_owned).collect(), item.span)?;
            }
        }
        _ => {}
    }
    Ok(found
        .into_iter()
        .map(|(host, (addresses, span))| (host, Spanned::new(Some(addresses.join(",")), span)))
        .collect())
}

fn shm_size(node: &Node) -> Found<Option<Spanned<String>>> {
    let text = node.scalar().unwrap_or_default();
    match bytes_of(&text) {
        Some(0) => Ok(None),
        Some(size) => Ok(Some(Spanned::new(shown_bytes(size), node.span))),
        None => wrong(node.span, format!("`{text}` is no size")),
    }
}

fn limits(node: Option<&Node>) -> Found<Vec<Spanned<String>>> {
    let mut limits = Vec::new();
    for (name, node) in node.and_then(Node::as_map).into_iter().flatten() {
        let number = |node: Option<&Node>| match node.map(|node| (node.scalar(), node)) {
            None => Ok(0),
            Some((text, node)) => match text.and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => Ok(number),
                None => wrong(node.span, "a limit is a whole number"),
            },
        };
        let (soft, hard) = match &node.value {
            Yaml::Map(_) => (number(node.get("soft"))?, number(node.get("hard"))?),
            _ => (number(Some(node))?, number(Some(node))?),
        };
        if !LIMITS.contains(&name.as_str()) {
            return wrong(node.key, format!("there is no limit `{name}`"));
        }
        if hard != -1 && (soft > hard || soft == -1) {
            return wrong(node.span, format!("the soft limit {soft} is above the hard limit {hard}"));
        }
        limits.push(Spanned::new(format!("{name}={soft}:{hard}"), node.span));
    }
    Ok(limits)
}
