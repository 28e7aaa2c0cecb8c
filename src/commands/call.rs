//! `--call`: what a Dockerfile is checked for, takes, or offers, in place of a build; printed as the peer prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::project::{self, Project, ProjectRequest};
use super::solve::definition_failure;
use super::{Failure, Host, Kind, build, lockfile};
use crate::bakefile;
use crate::diagnostic::{FileId, SourceMap};
use crate::dockerfile::lint::LineRange;
use crate::frontend::lint::{self, Lint, LintDocument, Request, Undecided};
use crate::frontend::{self, Need, Resolved};
use crate::plan::{DockerfileSource, PlannedTarget};
use crate::registry::Client;
use crate::report::Fanout;
use crate::solver::activity::Activities;
use crate::source::image::{ImageResolver, ResolvedNames};
use crate::store::Store;
use crate::sys::files::DiskFiles;

/// What is done in place of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The build checks.
    Check,
    /// What the target takes.
    Outline,
    /// The stages that can be built.
    Targets,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// The peer's document.
    Json,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub method: Method,
    /// How the results are shown.
    pub format: Format,
    /// Findings do not fail the command.
    pub ignores_status: bool,
}

impl Call {
    /// Reads `METHOD[,format=json][,ignorestatus=true]`; `None` for a build.
    ///
    /// # Errors
    /// The method or a field is unknown.
    pub fn parse(text: &str) -> Result<Option<Call>, Failure> {
        let wrong = |reason: String| Failure::new(Kind::Usage, format!("call `{text}`: {reason}"));
        let Some(asked) = bakefile::Call::parse(text).map_err(wrong)? else { return Ok(None) };
        let method = match asked.method.as_str() {
            "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            other => return Err(unknown(other)),
        };
        let format = match asked.format.as_str() {
            "" | "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(wrong(format!("there is no format `{other}`; there are text and json"))),
        };
        Ok(Some(Call { method, format, ignores_status: asked.ignores_status }))
    }

    /// Returns what is asked for: by `--call`, else by the targets themselves.
    ///
    /// # Errors
    /// The call is malformed, or not all targets ask for the same.
    pub fn of(request: &ProjectRequest, project: &Project) -> Result<Option<Call>, Failure> {
        if let Some(text) = &request.call {
            return Call::parse(text);
        }
        let mut calls = Vec::new();
        for (name, target) in project.targets() {
            let text = target.call.as_ref().map_or("", |call| call.value.as_str());
            calls.push((name, Call::parse(text)?));
        }
        match calls.iter().find(|(_, call)| *call != calls[0].1) {
            None => Ok(calls.first().and_then(|(_, call)| *call)),
            Some((other, _)) => {
                let message = format!("targets \"{}\" and \"{other}\" differ in `call`", calls[0].0);
                Err(Failure::new(Kind::Usage, message).hint("name them in two commands, or give --call"))
            }
        }
    }

    /// The word under which results stand in JSON.
    fn name(self) -> &'static str {
        match self.method {
            Method::Check => "check",
            Method::Outline => "outline",
            Method::Targets => "targets",
        }
    }
}

fn unknown(method: &str) -> Failure {
    Failure::new(Kind::Usage, format!("unknown method `{method}` of a call"))
        .hint("use one of: build, check, outline, targets")
}

/// A target's result.
struct Answer {
    text: String,
    json: Map<String, Value>,
    is_ok: bool,
}

/// Does `call` for every target of `project`; returns what goes to standard output.
///
/// # Errors
/// A Dockerfile cannot be read, or, with the same output, the checks found something.
pub fn run(call: Call, project: &mut Project, store: Option<&Path>, host: &Host) -> Result<String, Failure> {
    let targets = dockerfiles(project, host)?;
    let pins = pins(project, host)?;
    let mut images = Images::new(&pins, store, host);
    let mut answers = BTreeMap::new();
    for read in &targets {
        let asked = read.asked(project, host);
        answers.insert(read.planned.name.as_str(), asked.answer(call, &mut images)?);
    }
    let data = match call.format {
        Format::Text => text(&answers, project),
        Format::Json => json(&answers, call, project)?,
    };
    let failed: Vec<&str> = answers.iter().filter(|(_, answer)| !answer.is_ok).map(|(name, _)| *name).collect();
    if failed.is_empty() || call.ignores_status {
        return Ok(data);
    }
    let message = format!("the checks found something in target {}", failed.join(", "));
    Err(Failure::new(Kind::Build, message).data(data))
}

/// Runs the build checks for every target of `project` and returns what they found, as [`super::findings`] has it.
///
/// # Errors
/// A Dockerfile cannot be read.
pub fn findings(project: &mut Project, host: &Host) -> Result<Vec<Value>, Failure> {
    let targets = dockerfiles(project, host)?;
    let pins = pins(project, host)?;
    let mut images = Images::new(&pins, None, host);
    let mut found: Vec<Value> = Vec::new();
    for read in &targets {
        let asked = read.asked(project, host);
        let lint = images.complete(|resolved| lint::lint(&asked.request(resolved)));
        asked.tell_undecided(&lint.undecided, &images);
        for warning in asked.findings(&lint) {
            // Several targets may have one Dockerfile.
            if !found.contains(&warning) {
                found.push(warning);
            }
        }
    }
    Ok(found)
}

/// A target's Dockerfile and ignore file.
struct ReadDockerfile {
    planned: PlannedTarget,
    file: FileId,
    ignore: Vec<String>,
}

impl ReadDockerfile {
    fn asked<'a>(&'a self, project: &'a Project, host: &'a Host) -> Asked<'a> {
        Asked { planned: &self.planned, file: self.file, ignore: &self.ignore, sources: &project.sources, host }
    }
}

/// Reads the Dockerfiles of all targets, by their names.
fn dockerfiles(project: &mut Project, host: &Host) -> Result<Vec<ReadDockerfile>, Failure> {
    let plan = project.plan_of_dockerfiles(host)?;
    let files = DiskFiles::new(&host.directory);
    let mut targets = Vec::new();
    for target in plan.targets {
        let is_remote = |planned: &PlannedTarget| {
            matches!(&planned.dockerfile, DockerfileSource::Path(path)
                if path.starts_with("stdin://") || plan.remotes.keys().any(|name| path.starts_with(name.as_str())))
        };
        if let Some(planned) = target.platforms.iter().find(|planned| is_remote(planned)) {
            host.talk.line(&format!(
                "note: target {}: its Dockerfile is not on this machine and is not looked at",
                planned.name
            ));
            continue;
        }
        // What Dockerfiles say hardly hangs on the platform; the peer looks at one, too.
        let Some(planned) = target.platforms.into_iter().chain(target.linked_platforms).next() else { continue };
        match frontend::read(&planned, &files, &mut project.sources) {
            Ok((file, ignore)) => targets.push(ReadDockerfile { planned, file, ignore }),
            Err(found) => definition_failure(&found, &project.sources)?,
        }
    }
    targets.sort_by(|a, b| a.planned.name.cmp(&b.planned.name));
    Ok(targets)
}

fn pins(project: &mut Project, host: &Host) -> Result<BTreeMap<String, crate::digest::Digest>, Failure> {
    let files = DiskFiles::new(&host.directory);
    let lock = lockfile::read(&project.lock_path(), &files, &mut project.sources)?;
    Ok(lock.pins().map(|(reference, pin)| (reference.to_string(), pin.digest)).collect())
}

/// One target's Dockerfile.
struct Asked<'a> {
    planned: &'a PlannedTarget,
    file: FileId,
    ignore: &'a [String],
    sources: &'a SourceMap,
    host: &'a Host,
}

impl Asked<'_> {
    fn request<'r>(&'r self, resolved: &'r Resolved) -> Request<'r> {
        Request { target: self.planned, file: self.file, sources: self.sources, ignore: self.ignore, resolved }
    }

    fn answer(&self, call: Call, images: &mut Images<'_>) -> Result<Answer, Failure> {
        let wrong = |found: &_| {
            Failure::rendered(Kind::Definition, crate::diagnostic::Diagnostics::render(found, self.sources))
        };
        match call.method {
            Method::Check => {
                let lint = images.complete(|resolved| lint::lint(&self.request(resolved)));
                self.tell_undecided(&lint.undecided, images);
                Ok(self.check(&lint))
            }
            Method::Outline => {
                images.complete(|resolved| lint::build_warnings(&self.request(resolved)));
                let outline = lint::outline(&self.request(&images.resolved)).map_err(|found| wrong(&found))?;
                Ok(Answer { text: lint::outline_text(&outline), json: sorted(&outline), is_ok: true })
            }
            Method::Targets => {
                let list = lint::targets(self.file, self.sources).map_err(|found| wrong(&found))?;
                Ok(Answer { text: lint::targets_text(&list), json: sorted(&list), is_ok: true })
            }
        }
    }

    fn findings(&self, lint: &Lint) -> Vec<Value> {
        let document = LintDocument::new(lint, self.file, self.sources);
        let lines = lint.warnings.iter().map(|warning| warning.lines);
        let warnings = document.warnings.unwrap_or_default().into_iter().zip(lines);
        let object = |(warning, lines): (lint::LintWarning, Option<LineRange>)| {
            json!({
                "file": self.sources.name(self.file),
                "line": lines.map(|lines| lines.first),
                "column": lines.map(|_| 1),
                "endLine": lines.map(|lines| lines.last + 1),
                "endColumn": lines.map(|_| 1),
                "severity": "warning",
                "message": warning.detail,
                "notes": [],
                "help": [warning.description],
                "related": [],
                "rule": warning.rule_name,
                "url": warning.url,
            })
        };
        warnings.map(object).collect()
    }

    fn check(&self, lint: &Lint) -> Answer {
        let mut text = match lint.warnings.len() {
            0 => String::new(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            n => format!("Check complete, {n} warnings have been found!\n"),
        };
        text += &lint::lint_text(&lint.warnings, self.file, self.sources);
        let mut json = sorted(&LintDocument::new(lint, self.file, self.sources));
        match &lint.error {
            Some(error) => {
                let shown = lint::error_text(error, self.file, self.sources);
                let gap = if lint.warnings.is_empty() { "" } else { "\n" };
                text += &format!("{gap}error: {shown}");
                json.insert("error".to_owned(), json!(shown));
                json.sort_keys();
            }
            None if lint.warnings.is_empty() => text += "Check complete, no warnings found.\n",
            None => {}
        }
        Answer { text, json, is_ok: lint.error.is_none() && lint.warnings.is_empty() }
    }

    /// Says what hangs on images that cannot be had now.
    fn tell_undecided(&self, undecided: &[Undecided], images: &Images<'_>) {
        let mut by_image: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for one in undecided {
            let line = one.lines.map(|lines| format!(" (line {})", lines.first)).unwrap_or_default();
            by_image.entry(&one.image).or_default().push(format!("{}{line}", one.rule));
        }
        let name = self.sources.name(self.file);
        for (image, rules) in by_image {
            let rules = rules.join(", ");
            self.host.talk.line(&format!("note: {name}: without the config of `{image}` it stays open: {rules}"));
        }
        if !undecided.is_empty() {
            images.failures.iter().for_each(|failure| self.host.talk.line(&format!("note: {failure}")));
        }
    }
}

/// A document's fields by name, as the peer prints them for several targets.
fn sorted(document: &impl serde::Serialize) -> Map<String, Value> {
    let mut map = match serde_json::to_value(document) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    map.sort_keys();
    map
}

fn text(answers: &BTreeMap<&str, Answer>, project: &Project) -> String {
    let mut parts = Vec::new();
    for (name, answer) in answers {
        let described = project.targets().find(|(known, _)| known == name);
        let description = described.and_then(|(_, target)| target.description.as_ref());
        let description = description.map(|text| format!("{text}\n")).unwrap_or_default();
        parts.push(format!("{name}\n{description}\n{}", answer.text));
    }
    parts.join("\n")
}

fn json(answers: &BTreeMap<&str, Answer>, call: Call, project: &Project) -> Result<String, Failure> {
    let wrong = |error: &serde_json::Error| Failure::new(Kind::Bug, format!("a result is no JSON: {error}"));
    let mut printed: Value = serde_json::from_str(&project.print()).map_err(|error| wrong(&error))?;
    for (name, target) in printed["target"].as_object_mut().into_iter().flatten() {
        let mut both = Map::new();
        both.insert("build".to_owned(), target.take());
        if let Some(answer) = answers.get(name.as_str()) {
            both.insert(call.name().to_owned(), Value::Object(answer.json.clone()));
        }
        *target = Value::Object(both);
    }
    serde_json::to_string_pretty(&printed).map(|text| text + "\n").map_err(|error| wrong(&error))
}

/// What is known of base images. What cannot be had is remembered, and asked for once.
struct Images<'a> {
    resolved: Resolved,
    missing: BTreeSet<Need>,
    failures: BTreeSet<String>,
    pins: &'a BTreeMap<String, crate::digest::Digest>,
    store: Option<Store>,
    client: Client,
    host: &'a Host,
}

impl<'a> Images<'a> {
    fn new(pins: &'a BTreeMap<String, crate::digest::Digest>, store: Option<&Path>, host: &'a Host) -> Images<'a> {
        let mut failures = BTreeSet::new();
        let opened = project::open_store(store, None, host).map_err(|failure| failure.text);
        let store = opened.map_err(|reason| failures.insert(reason)).ok();
        let client = Client::new(build::client_options(host));
        Images { resolved: Resolved::default(), missing: BTreeSet::new(), failures, pins, store, client, host }
    }

    /// Runs checks again and again, with more images each time, until no more can be had.
    fn complete(&mut self, run: impl Fn(&Resolved) -> Lint) -> Lint {
        loop {
            let lint = run(&self.resolved);
            let wanted: Vec<Need> = lint.needs.difference(&self.missing).cloned().collect();
            if wanted.is_empty() || self.host.cancel.is_cancelled() {
                return lint;
            }
            wanted.into_iter().for_each(|need| self.resolve(need));
        }
    }

    fn resolve(&mut self, need: Need) {
        let Some(store) = &self.store else {
            self.missing.insert(need);
            return;
        };
        let nobody = Fanout(Vec::new());
        let clock = || self.host.elapsed();
        let activities = Activities::new(&nobody, &clock);
        let resolver = ImageResolver {
            store,
            client: &self.client,
            pins: self.pins,
            directory: self.host.directory.clone(),
            activities: &activities,
            resolved: ResolvedNames::default(),
        };
        match resolver.resolve(&need) {
            Ok((image, _)) => _ = self.resolved.images.insert(need, image),
            Err(error) => {
                self.failures.insert(error.to_string());
                self.missing.insert(need);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_the_peer_reads_them() {
        let call = |method, format, ignores_status| Some(Call { method, format, ignores_status });
        for (text, expected) in [
            ("", None),
            ("build", None),
            ("check", call(Method::Check, Format::Text, false)),
            ("lint,format=json", call(Method::Check, Format::Json, false)),
            ("format=json,outline", call(Method::Outline, Format::Json, false)),
            ("targets,ignorestatus=true", call(Method::Targets, Format::Text, true)),
        ] {
            assert_eq!(Call::parse(text).expect(text), expected, "{text}");
        }
        for text in ["print", "check,format=xml", "check,x=y"] {
            assert!(Call::parse(text).is_err(), "{text}");
        }
    }
}
