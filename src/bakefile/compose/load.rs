//! From files to one merged document: interpolation, `include`, `extends`, merging, paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::environment::{Environment, Interpolation};
use super::merge::{build, canonical, drop_resets, merge};
use super::template::substitute;
use super::yaml::{self, Map, Node, Yaml};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};
use crate::lang::text::clean_path;
use crate::sys::files::Files;
use crate::text::utf8;

/// How many nodes all files may have together, counted each time that one is included or a service is extended.
const MAX_NODES: usize = 1_000_000;
/// How many nodes a file counts for by itself.
const FILE_NODES: usize = 200;
/// How many files may include or extend one another in a chain.
const MAX_CHAIN: usize = 32;

pub(super) type Found<T> = Result<T, Box<Diagnostic>>;

pub(super) fn wrong<T>(span: Span, message: impl Into<String>) -> Found<T> {
    Err(Box::new(Diagnostic::error(span, message)))
}

/// What names in a file start from.
#[derive(Clone, Default)]
struct Directory {
    /// From where the command runs; empty for that directory itself.
    path: String,
    /// From the directory of the file that includes or extends, which adds its own when it resolves its paths.
    relative: String,
}

/// A file whose services are being extended.
struct Place {
    /// As the user would write it.
    name: String,
    directory: Directory,
}

/// Reads files and merges them.
pub(super) struct Loader<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) sources: &'a mut SourceMap,
    pub(super) findings: &'a mut Diagnostics,
    /// Variables whose absence was told.
    pub(super) told: BTreeSet<String>,
    /// Files that were named, by name.
    pub(super) known: BTreeMap<String, FileId>,
    /// How many nodes were made.
    pub(super) n_nodes: usize,
}

impl Loader<'_> {
    /// Returns the one document that the files make, with short forms written out and paths relative to where the
    /// command runs.
    pub(super) fn load(&mut self, files: &[FileId], environment: &Environment<'_>) -> Found<Option<Node>> {
        let named: Vec<_> = files.iter().map(|file| (*file, self.sources.name(*file).to_owned())).collect();
        self.load_named(&named, environment, &Directory::default(), &[])
    }

    fn load_named(
        &mut self,
        files: &[(FileId, String)],
        environment: &Environment<'_>,
        directory: &Directory,
        chain: &[String],
    ) -> Found<Option<Node>> {
        let mut model = None;
        for (file, name) in files {
            for mut document in self.documents(*file, environment)? {
                let chain = [chain, std::slice::from_ref(name)].concat();
                self.include(&mut document, environment, directory, &chain)?;
                // What is extended becomes a part of this model, whose paths are resolved as one.
                let directory = Directory { relative: String::new(), ..directory.clone() };
                let place = Place { name: name.clone(), directory };
                self.extend_all(&mut document, environment, &place)?;
                model = Some(combined(model, document)?);
            }
        }
        if let Some(model) = &mut model {
            set_defaults(model);
            resolve_paths(model, &directory.relative);
        }
        Ok(model)
    }

    /// Returns a file's documents, interpolated.
    fn documents(&mut self, file: FileId, environment: &Environment<'_>) -> Found<Vec<Node>> {
        self.n_nodes += FILE_NODES;
        let mut documents = yaml::parse(file, self.sources)?;
        for document in &mut documents {
            self.spend(document)?;
            if document.as_map().is_none() {
                return wrong(document.span, format!("a Compose file is a mapping, not {}", document.kind()));
            }
            self.interpolate(document, environment)?;
        }
        Ok(documents)
    }

    fn spend(&mut self, node: &Node) -> Found<()> {
        self.n_nodes += node.size();
        if self.n_nodes > MAX_NODES {
            let finding = Diagnostic::error(node.span, "these files are too large together");
            return Err(Box::new(
                finding.note("each counts as often as it is included, a service as often as it is extended"),
            ));
        }
        Ok(())
    }

    fn interpolate(&mut self, node: &mut Node, environment: &Environment<'_>) -> Found<()> {
        let span = node.span;
        match &mut node.value {
            Yaml::Text(text) if text.contains('$') => {
                let mut lookup =
                    Interpolation { environment, findings: &mut *self.findings, told: &mut self.told, span };
                *text = substitute(text, &mut lookup).map_err(|why| Box::new(Diagnostic::error(span, why)))?;
            }
            Yaml::List(items) => {
                for item in items {
                    self.interpolate(item, environment)?;
                }
            }
            Yaml::Map(map) => {
                // As they stand in the file, so that the first place is told.
                let mut items: Vec<&mut Node> = map.values_mut().collect();
                items.sort_by_key(|item| item.span);
                for item in items {
                    self.interpolate(item, environment)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, name: &str, span: Span) -> Found<FileId> {
        if let Some(file) = self.known.get(name) {
            return Ok(*file);
        }
        let text = read_text(self.files, name).map_err(|why| Box::new(Diagnostic::error(span, why)))?;
        let file = self.sources.add(name, text);
        self.known.insert(name.to_owned(), file);
        Ok(file)
    }

    /// Adds what `include` names below what the document says itself.
    fn include(
        &mut self,
        document: &mut Node,
        environment: &Environment<'_>,
        directory: &Directory,
        chain: &[String],
    ) -> Found<()> {
        let Some(include) = document.as_map_mut().and_then(|map| map.remove("include")) else { return Ok(()) };
        if include.is_null() {
            return Ok(());
        }
        let Some(items) = include.as_list() else {
            return wrong(include.span, format!("`include` is a list, not {}", include.kind()));
        };
        for item in items {
            let Some(included) = self.included(item, environment, directory, chain)? else { continue };
            import(document, included)?;
        }
        Ok(())
    }

    fn included(
        &mut self,
        item: &Node,
        environment: &Environment<'_>,
        directory: &Directory,
        chain: &[String],
    ) -> Found<Option<Node>> {
        let names = match item.as_text() {
            Some(_) => texts(Some(item))?,
            None => texts(item.get("path"))?,
        };
        let Some((first, span)) = names.first() else { return wrong(item.span, "this include has no `path`") };
        let relative = match item.get("project_directory").and_then(Node::as_text) {
            Some(inner) => joined("", inner),
            None => parent(first),
        };
        let first = joined(&directory.path, first);
        if chain.contains(&first) || chain.len() > MAX_CHAIN {
            return wrong(*span, format!("{first} includes itself: {} → {first}", chain.join(" → ")));
        }
        let inner = Directory { path: joined(&directory.path, &relative), relative };
        let mut files = Vec::new();
        for (name, span) in &names {
            let name = joined(&directory.path, name);
            files.push((self.read(&name, *span)?, name));
        }
        let mut environment = environment.clone();
        let env_files = texts(item.get("env_file"))?;
        if env_files.is_empty()
            && let Ok(text) = read_text(self.files, &joined(&inner.path, ".env"))
        {
            environment.add_file(&text).map_err(|why| Box::new(Diagnostic::error(*span, why)))?;
        }
        for (name, span) in env_files.iter().filter(|(name, _)| name != "/dev/null") {
            let text = read_text(self.files, &joined(&directory.path, name));
            let added = text.and_then(|text| environment.add_file(&text));
            added.map_err(|why| Box::new(Diagnostic::error(*span, why)))?;
        }
        self.load_named(&files, &environment, &inner, chain)
    }

    /// Resolves `extends` in all services of a document.
    fn extend_all(&mut self, document: &mut Node, environment: &Environment<'_>, place: &Place) -> Found<()> {
        let Some(services) = document.as_map_mut().and_then(|map| map.get_mut("services")) else { return Ok(()) };
        if services.is_null() {
            return Ok(());
        }
        let kind = services.kind();
        let span = services.span;
        let Some(map) = services.as_map_mut() else {
            return wrong(span, format!("`services` is a mapping, not {kind}"));
        };
        let raw = map.clone();
        for (name, service) in map.iter_mut() {
            *service = self.extended(name, &raw, environment, place, &mut Vec::new())?;
        }
        Ok(())
    }

    fn extended(
        &mut self,
        name: &str,
        services: &Map,
        environment: &Environment<'_>,
        place: &Place,
        chain: &mut Vec<(String, String)>,
    ) -> Found<Node> {
        let service = &services[name];
        if service.is_null() {
            return Ok(service.clone());
        }
        let Some(map) = service.as_map() else {
            return wrong(service.span, format!("a service is a mapping, not {}", service.kind()));
        };
        let Some(extends) = map.get("extends") else { return Ok(service.clone()) };
        let reference = extends.as_text().or_else(|| extends.get("service")?.as_text());
        let Some(reference) = reference else { return wrong(extends.span, "`extends` names no service") };
        let step = (place.name.clone(), name.to_owned());
        if chain.contains(&step) || chain.len() > MAX_CHAIN {
            return wrong(extends.span, format!("the service \"{name}\" extends itself"));
        }
        chain.push(step);
        let base = match extends.get("file").filter(|file| !file.is_null()) {
            Some(file) => self.base_of_file(file, reference, environment, place, chain)?,
            None if services.contains_key(reference) => {
                self.extended(reference, services, environment, place, chain)?
            }
            None => return wrong(extends.span, format!("no service \"{reference}\" in {}", place.name)),
        };
        chain.pop();
        let mut own = service.clone();
        own.as_map_mut().map(|map| map.remove("extends"));
        self.spend(&base)?;
        if base.is_null() {
            return Ok(own);
        }
        merge(base, own, &["services", "x"])
    }

    fn base_of_file(
        &mut self,
        file: &Node,
        reference: &str,
        environment: &Environment<'_>,
        place: &Place,
        chain: &mut Vec<(String, String)>,
    ) -> Found<Node> {
        let Some(written) = file.as_text() else { return wrong(file.span, "`file` is a string") };
        let name = joined(&place.directory.path, written);
        let id = self.read(&name, file.span)?;
        let mut model = None;
        for document in self.documents(id, environment)? {
            model = Some(combined(model, document)?);
        }
        let mut model = model.ok_or_else(|| Box::new(Diagnostic::error(file.span, format!("{name} is empty"))))?;
        let relative = joined(&place.directory.relative, &parent(written));
        resolve_paths(&mut model, &relative);
        let services = model.get("services").and_then(Node::as_map).filter(|map| map.contains_key(reference));
        let Some(services) = services.cloned() else {
            return wrong(file.span, format!("no service \"{reference}\" in {name}"));
        };
        let inner = Place { directory: Directory { path: parent(&name), relative }, name };
        self.extended(reference, &services, environment, &inner, chain)
    }
}

/// Reads a file as text.
///
/// # Errors
/// What is wrong with it, with its name.
pub(super) fn read_text(files: &dyn Files, name: &str) -> Result<String, String> {
    let bytes = files.read(Path::new(name)).map_err(|error| format!("cannot read {name}: {error}"))?;
    utf8(name, bytes)
}

/// Merges a document onto the ones before it.
fn combined(model: Option<Node>, document: Node) -> Found<Node> {
    let mut model = match model {
        Some(model) => merge(model, document, &[])?,
        None => document,
    };
    drop_resets(&mut model);
    canonical(&mut model)?;
    Ok(model)
}

/// Puts the services and secrets of an included model below those of the document.
fn import(document: &mut Node, included: Node) -> Found<()> {
    let span = document.span;
    let Some(target) = document.as_map_mut() else { return Ok(()) };
    let Yaml::Map(sections) = included.value else { return Ok(()) };
    for (section, node) in sections {
        if !matches!(section.as_str(), "services" | "secrets") || node.is_null() {
            continue;
        }
        let own = target.remove(&section).filter(|own| !own.is_null());
        let merged = match own {
            Some(own) => merge(node, own, &[section.as_str()])?,
            None => Node { key: span, ..node },
        };
        target.insert(section, merged);
    }
    Ok(())
}

/// A build without a context builds the directory itself.
fn set_defaults(model: &mut Node) {
    for service in services_mut(model) {
        let Some(node) = service.get_mut("build") else { continue };
        let span = node.span;
        if let Some(map) = node.as_map_mut() {
            map.entry("context".into()).or_insert_with(|| Node::new(Yaml::Text(".".into()), span));
        }
    }
}

fn services_mut(model: &mut Node) -> impl Iterator<Item = &mut Map> {
    let services = model.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut);
    services.into_iter().flat_map(|map| map.values_mut().filter_map(Node::as_map_mut))
}

/// Makes relative paths start where the command runs; `directory` is where they started.
fn resolve_paths(model: &mut Node, directory: &str) {
    let path = |node: &mut Node| {
        if let Yaml::Text(text) = &mut node.value {
            *text = joined(directory, text);
        }
    };
    let context = |node: &mut Node| {
        if let Yaml::Text(text) = &mut node.value
            && !is_elsewhere(text)
        {
            *text = joined(directory, text);
        }
    };
    for service in services_mut(model) {
        let env_files = service.get_mut("env_file").map(|node| &mut node.value);
        if let Some(Yaml::List(items)) = env_files {
            for file in items.iter_mut().filter_map(|item| item.as_map_mut()?.get_mut("path")) {
                path(file);
            }
        }
        let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) else { continue };
        build.get_mut("context").into_iter().for_each(context);
        let contexts = build.get_mut("additional_contexts").and_then(Node::as_map_mut);
        contexts.into_iter().flat_map(Map::values_mut).for_each(context);
        let ssh = build.get_mut("ssh").and_then(Node::as_map_mut);
        ssh.into_iter().flat_map(Map::values_mut).for_each(path);
    }
    let secrets = model.as_map_mut().and_then(|map| map.get_mut("secrets")).and_then(Node::as_map_mut);
    for secret in secrets.into_iter().flat_map(Map::values_mut).filter_map(Node::as_map_mut) {
        secret.get_mut("file").into_iter().for_each(path);
    }
}

/// Says whether a context is no path.
fn is_elsewhere(context: &str) -> bool {
    const STARTS: [&str; 4] = ["service:", "target:", "github.com/", "git@"];
    context.contains("://") || STARTS.iter().any(|start| context.starts_with(start))
}

/// Returns a cleaned path below `directory`, as Go's `filepath.Join`.
fn joined(directory: &str, path: &str) -> String {
    if path.starts_with('/') || path.starts_with("~/") || directory.is_empty() {
        return clean_path(path);
    }
    clean_path(&format!("{directory}/{path}"))
}

fn parent(path: &str) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| if parent.is_empty() { "/" } else { parent });
    clean_path(parent)
}

/// Returns the texts of a string or list of strings.
fn texts(node: Option<&Node>) -> Found<Vec<(String, Span)>> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(Vec::new()) };
    let one = |node: &Node| match node.as_text() {
        Some(text) => Ok((text.to_owned(), node.span)),
        None => wrong(node.span, format!("a string is needed, not {}", node.kind())),
    };
    match node.as_list() {
        Some(items) => items.iter().map(one).collect(),
        None => Ok(vec![one(node)?]),
    }
}

/// Returns a service's build as a mapping, if it has one.
pub(super) fn build_of(service: &Node) -> Found<Option<Node>> {
    service.get("build").filter(|node| !node.is_null()).cloned().map(build).transpose()
}
