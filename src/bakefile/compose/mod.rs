//! Compose files as bakefiles: each service with a `build` is a target, and all of them are the group `default`.
//!
//! In: the texts of Compose files, the environment, and the files that they name (`.env`, `extends`, `include`,
//! `env_file`). Out: targets and the group, with places in the YAML text. What is read, in which order files are merged and
//! what is refused follow the peer and the Compose specification (*build.md*, *merge.md*, *interpolation.md*).
//! Knows nothing of networks, volumes and the rest of a service, which no build needs.

mod environment;
mod load;
mod lower;
mod merge;
mod schema;
mod short;
mod size;
mod template;
mod xbake;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Group, Spanned, Target};
use super::{Options, program};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap};
use environment::Environment;
use load::{Found, Loader, wrong};
use lower::{Lowering, is_external};
use yaml::{Map, Node};

/// What the Compose files of a run say.
pub(super) struct Compose {
    /// Sorted by name.
    pub(super) targets: Vec<Target>,
    /// `default`: all of them.
    pub(super) group: Option<Group>,
}

/// Says whether a file that could be anything is meant as a Compose file: a mapping with `services` or `secrets`.
pub(super) fn is_compose(file: FileId, sources: &SourceMap) -> bool {
    let documents = yaml::parse(file, sources).unwrap_or_default();
    let has = |document: &Node| ["services", "secrets"].iter().any(|key| document.get(key).is_some());
    documents.iter().any(has)
}

/// Reads the files, merges them in order and lowers them. Findings get the first error of what is read and every error of
/// what is written.
pub(super) fn load(
    files: &[FileId],
    options: &Options<'_>,
    sources: &mut SourceMap,
    findings: &mut Diagnostics,
) -> Compose {
    let mut compose = Compose { targets: Vec::new(), group: None };
    if files.is_empty() {
        return compose;
    }
    if let Err(why) = try_load(files, options, sources, findings, &mut compose) {
        findings.push(*why);
    }
    compose
}

fn try_load(
    files: &[FileId],
    options: &Options<'_>,
    sources: &mut SourceMap,
    findings: &mut Diagnostics,
    compose: &mut Compose,
) -> Found<()> {
    let mut environment = Environment::new(options);
    if let Ok(text) = load::read_text(options.files, ".env") {
        let wrong = |why: String| Box::new(Diagnostic::error_without_place(format!(".env: {why}")));
        environment.add_file(&text).map_err(wrong)?;
    }
    environment.set_project(project_name(files, &environment, sources));
    let mut loader =
        Loader { files: options.files, sources, findings, told: BTreeSet::new(), known: BTreeMap::new(), n_nodes: 0 };
    // Each file is whole by itself, too: the peer looks at them one by one before it merges them.
    if files.len() > 1 {
        for file in files {
            let model = loader.load(&[*file], &environment)?;
            check(model.as_ref(), *file, loader.sources, loader.findings)?;
        }
    }
    let model = loader.load(files, &environment)?;
    if files.len() == 1 {
        check(model.as_ref(), files[0], loader.sources, loader.findings)?;
    }
    let Some(model) = model.filter(|_| !findings.has_errors()) else { return Ok(()) };
    let no_secrets = Map::new();
    let secrets = model.get("secrets").and_then(Node::as_map).unwrap_or(&no_secrets);
    let lowering = Lowering { environment: &environment, files: options.files, secrets };
    let Some(node) = model.get("services") else { return Ok(()) };
    let Some(services) = node.as_map() else { return Ok(()) };
    check_consistency(node, secrets, findings);
    for (name, service) in node.entries() {
        match lowering.target(name, service) {
            Ok(target) => compose.targets.extend(target),
            Err(why) => findings.push(*why),
        }
    }
    compose.targets.sort_by(|a, b| a.name.cmp(&b.name));
    for target in &compose.targets {
        program::check_name(
            "target",
            &crate::lang::ast::Name { text: target.name.clone(), span: target.span },
            findings,
        );
    }
    if !services.is_empty() {
        let members = compose.targets.iter().map(|target| Spanned::new(target.name.clone(), target.span));
        let targets = members.collect();
        compose.group = Some(Group { name: "default".into(), span: None, description: None, targets });
    }
    Ok(())
}

/// Returns the `name` of the last file that has one.
fn project_name(files: &[FileId], environment: &Environment<'_>, sources: &SourceMap) -> Option<String> {
    let documents = files.iter().flat_map(|file| yaml::parse(*file, sources).unwrap_or_default());
    let names = documents.filter_map(|document| Some((document.get("name")?.scalar()?, document.span)));
    let name = names.collect::<Vec<_>>().pop();
    let (name, span) = name?;
    let mut unused = (Diagnostics::default(), BTreeSet::new());
    let mut lookup = environment::Interpolation { environment, findings: &mut unused.0, told: &mut unused.1, span };
    template::substitute(&name, &mut lookup).ok().filter(|name| !name.is_empty())
}

fn check(model: Option<&Node>, file: FileId, sources: &SourceMap, findings: &mut Diagnostics) -> Found<()> {
    let has = |key: &str| model.and_then(|model| model.get(key));
    let is_empty = has("services").and_then(Node::as_map).is_none() && has("secrets").is_none();
    let Some(model) = model.filter(|_| !is_empty) else {
        let message = format!("{} has no services", sources.name(file));
        return match has("services") {
            Some(node) => wrong(node.key, message),
            None => Err(Box::new(Diagnostic::error_without_place(message))),
        };
    };
    schema::check(model, findings);
    Ok(())
}

/// Finds what contradicts itself across services.
fn check_consistency(services: &Node, secrets: &Map, findings: &mut Diagnostics) {
    for (name, service) in services.entries() {
        let build = service.get("build").filter(|node| !node.is_null());
        let image = service.get("image").and_then(Node::scalar).filter(|image| !image.is_empty());
        let Some(build) = build else {
            if image.is_none() {
                let message = format!("the service \"{name}\" has neither an image nor a build");
                findings.push(Diagnostic::error(service.key, message));
            }
            continue;
        };
        let text = |key: &str| build.get(key).filter(|node| node.scalar().is_some_and(|text| !text.is_empty()));
        if let (Some(_), Some(inline)) = (text("dockerfile"), text("dockerfile_inline")) {
            findings
                .push(Diagnostic::error(inline.key, "a build has a `dockerfile` or a `dockerfile_inline`, not both"));
        }
        for context in build.get("additional_contexts").and_then(Node::as_map).into_iter().flat_map(Map::values) {
            let Some(linked) = context.as_text().and_then(|text| text.strip_prefix("service:")) else { continue };
            let message = match services.get(linked).map(|service| service.get("build").is_some()) {
                Some(true) => continue,
                Some(false) => format!("the service \"{linked}\" has no build that could be a context"),
                None => format!("no service named \"{linked}\""),
            };
            findings.push(Diagnostic::error(context.span, message));
        }
    }
    for (name, secret) in secrets {
        let has = |key: &str| secret.get(key).and_then(Node::scalar).is_some_and(|text| !text.is_empty());
        if !matches!(is_external(secret), Ok(true)) && !has("file") && !has("environment") {
            findings.push(Diagnostic::error(
                secret.key,
                format!("the secret \"{name}\" has neither `file` nor `environment`"),
            ));
        }
    }
}
