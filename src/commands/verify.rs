//! `bake verify`: builds again from nothing and says which step did not make the same, in which files, and of which kind the
//! difference is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use super::build::{self, Build, BuildRequest};
use super::release::export_failure;
use super::solve::Lowered;
use super::store_failure::store_failure;
use super::{Failure, Host, Kind};
use crate::digest::DiffId;
use crate::graph::{Op, VertexId};
use crate::oci::compare::{FileDifference, LayerFiles, compare, read_contents};
use crate::report::why::line;
use crate::solver::key::Content;
use crate::solver::scheduler::reachable;
use crate::store::{Store, StoreError};
use crate::worker::layers::Layers;

/// Files that are named for one step; the others are counted.
const N_FILES: usize = 20;

/// What `bake verify` is asked.
#[derive(Clone, Debug, Default)]
pub struct VerifyRequest {
    /// Which build is looked at.
    pub build: BuildRequest,
    /// The answer is a JSON document.
    pub is_json: bool,
}

/// A step that made something else the second time from the same inputs.
struct Finding {
    step: String,
    /// File and line of the instruction.
    place: Option<(String, usize)>,
    /// Names of targets and platforms that are built on it.
    targets: Vec<String>,
    files: Vec<FileDifference>,
}

/// Builds what is not built yet, and all of it once more in an empty store, and compares each step.
///
/// # Errors
/// As a build; [`Kind::Build`] where a step did not make the same again: the data says which.
pub fn verify(request: &VerifyRequest, host: &Host) -> Result<String, Failure> {
    let (findings, n_steps) = build::verify(&request.build, host, compared)?;
    let data = match request.is_json {
        true => format!("{:#}\n", document(&findings, n_steps)),
        false => text(&findings, n_steps),
    };
    match findings.len() {
        0 => Ok(data),
        n => {
            let what = if n == 1 { "a step does".to_owned() } else { format!("{n} steps do") };
            Err(Failure::new(Kind::Build, format!("{what} not make the same twice")).data(data))
        }
    }
}

/// What a build came to.
pub(super) struct Outcome<'a> {
    pub(super) store: &'a Store,
    pub(super) contents: BTreeMap<VertexId, Content>,
}

/// Compares two builds of one definition. Returns the steps at which differences begin, and how many were compared.
fn compared(
    build: &Build<'_>,
    lowered: &Lowered,
    sources: &crate::diagnostic::SourceMap,
    first: &Outcome<'_>,
    second: &Outcome<'_>,
) -> Result<(Vec<Finding>, usize), Failure> {
    let definition = &lowered.definition;
    let steps = reachable(definition, &lowered.roots());
    let is_same = |id: &VertexId| first.contents.get(id) == second.contents.get(id);
    let mut findings = Vec::new();
    for id in steps.iter().copied().filter(|id| !is_same(id)) {
        let vertex = definition.vertex(id);
        if !vertex.inputs.iter().all(is_same) {
            continue;
        }
        let (Some(Content::Rootfs(before)), Some(Content::Rootfs(again))) =
            (first.contents.get(&id), second.contents.get(&id))
        else {
            continue;
        };
        for (store, stack) in [(first.store, before), (second.store, again)] {
            let layers = Layers::new(store, build.client, build.activities);
            layers.materialise(stack).map_err(|error| export_failure(&error.into()))?;
        }
        let files = differing(first.store, before, second.store, again).map_err(|error| store_failure(&error))?;
        let place =
            vertex.metadata.span.map(|span| sources.place(span)).map(|place| (place.file.to_string(), place.line));
        let step = line(vertex.metadata.name.lines().next().unwrap_or_default());
        let uses = |root: &Option<VertexId>| root.is_some_and(|root| reachable(definition, &[root]).contains(&id));
        let targets = lowered.targets.iter().filter(|(_, target)| uses(&target.root));
        let targets = targets.map(|((name, platform), _)| format!("{name} {platform}")).collect();
        findings.push(Finding { step, place, targets, files });
    }
    let n_steps = steps.iter().filter(|id| !matches!(definition.vertex(**id).op, Op::Source(_))).count();
    Ok((findings, n_steps))
}

/// Returns how the top layers of two stacks differ.
fn differing(
    first: &Store,
    before: &[DiffId],
    second: &Store,
    again: &[DiffId],
) -> Result<Vec<FileDifference>, StoreError> {
    if before.is_empty() || again.is_empty() {
        return Ok(Vec::new());
    }
    let (a, b) = (archived(first, before, LayerFiles::read)?, archived(second, again, LayerFiles::read)?);
    let wanted = a.differing_files(&b);
    let contents = |store, stack| archived(store, stack, |archive| read_contents(archive, &wanted));
    Ok(compare((&a, &contents(first, before)?), (&b, &contents(second, again)?)))
}

/// Reads the archive of the top layer of a stack.
fn archived<T: Send>(
    store: &Store,
    stack: &[DiffId],
    read: impl FnOnce(io::PipeReader) -> io::Result<T> + Send,
) -> Result<T, StoreError> {
    let failed = |error| StoreError::io("read a layer of", store.path(), error);
    let (reader, mut writer) = io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(reader));
        let written = store.write_layer(stack, &mut writer);
        drop(writer);
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A reader that found its end early is no failure of the writer.
        match (read, written) {
            (Ok(value), _) => Ok(value),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(failed(error)),
        }
    })
}

fn text(findings: &[Finding], n_steps: usize) -> String {
    if findings.is_empty() {
        return format!("all {n_steps} steps make the same again\n");
    }
    let mut text = String::new();
    for finding in findings {
        let place = finding.place.as_ref().map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
        _ = writeln!(text, "{}{place}", finding.step);
        _ = writeln!(text, "  in {}", finding.targets.join(", "));
        for file in finding.files.iter().take(N_FILES) {
            _ = writeln!(text, "  {}: {}", line(&file.path), file.kind.words().0);
            if let Some((first, second)) = &file.shown {
                _ = writeln!(text, "    {}\n    {}", line(first), line(second));
            }
        }
        if finding.files.len() > N_FILES {
            _ = writeln!(text, "  and {} more files", finding.files.len() - N_FILES);
        }
    }
    text
}

fn document(findings: &[Finding], n_steps: usize) -> Value {
    let file = |file: &FileDifference| {
        let (first, second) = file.shown.clone().unzip();
        json!({"path": file.path, "kind": file.kind.words().1, "first": first, "second": second})
    };
    let finding = |finding: &Finding| {
        let (file_name, line) = finding.place.clone().unzip();
        let targets: BTreeSet<&str> = finding.targets.iter().map(String::as_str).collect();
        let files: Vec<Value> = finding.files.iter().map(file).collect();
        json!({"step": finding.step, "file": file_name, "line": line, "targets": targets, "files": files})
    };
    json!({"steps": n_steps, "different": findings.iter().map(finding).collect::<Vec<_>>()})
}

/// Compares the outcomes of two builds.
pub(super) type Comparison<T> =
    fn(&Build<'_>, &Lowered, &crate::diagnostic::SourceMap, &Outcome<'_>, &Outcome<'_>) -> Result<T, Failure>;
