//! What the user reads when steps failed: the instruction, the target, the reason, and last of all the step's output.

use std::error::Error;
use std::io;
use std::path::Path;

use super::failure::with_causes;
use super::{Failure, Kind};
use crate::diagnostic::SourceMap;
use crate::graph::{Definition, Vertex};
use crate::report::Tail;
use crate::solver::drive::StepFailure;
use crate::store::UnpackError;
use crate::worker::fetched::Blame;
use crate::worker::file::FileError;
use crate::worker::local::WorkerError;
use crate::worker::sandbox::{IdMapping, SandboxError};

/// What hints need to know of the host.
pub struct Surroundings<'a> {
    /// The store's directory.
    pub store: &'a Path,
    /// Which ids files and processes can have.
    pub mapping: &'a IdMapping,
}

/// Describes all failures; the first one decides the kind.
pub fn describe(
    failures: &[StepFailure<WorkerError>],
    definition: &Definition,
    sources: &SourceMap,
    tail: &Tail,
    surroundings: &Surroundings<'_>,
) -> Failure {
    let text = |failure| text(failure, definition, sources, tail, surroundings);
    let texts: Vec<String> = failures.iter().map(text).collect();
    Failure::rendered(
        failures.first().map_or(Kind::Build, |failure| kind(&failure.error, surroundings.mapping)),
        texts.join("\n\n"),
    )
}

fn kind(error: &WorkerError, mapping: &IdMapping) -> Kind {
    let is_single = matches!(mapping, IdMapping::Single { .. });
    if lacks_space(error) || (is_single && lacks_ids(error)) {
        return Kind::Environment;
    }
    match error {
        WorkerError::ExitCode(_) | WorkerError::Signal(_) | WorkerError::File(_) => Kind::Build,
        WorkerError::ContextChanged { .. } | WorkerError::OutOfMemory { .. } => Kind::Build,
        // What the image lacks is its Dockerfile's matter, not this host's.
        WorkerError::Sandbox(
            SandboxError::NotFound { .. } | SandboxError::NotExecutable { .. } | SandboxError::User { .. },
        ) => Kind::Build,
        WorkerError::Layer(crate::worker::layers::LayerError::Registry(_)) => Kind::Remote,
        WorkerError::Fetch(error) => match error.blame {
            Blame::Definition => Kind::Definition,
            Blame::Host => Kind::Environment,
            Blame::Remote => Kind::Remote,
        },
        WorkerError::NoEmulator { .. } | WorkerError::Sandbox(_) | WorkerError::Layer(_) => Kind::Environment,
        WorkerError::Store(_) | WorkerError::Io { .. } | WorkerError::Limit(_) => Kind::Environment,
        WorkerError::Unsupported(_) | WorkerError::Secret(_) => Kind::Definition,
    }
}

/// Returns what caused an error, and what caused that.
fn causes(error: &WorkerError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// Returns the operating system's errors among the causes; one that only passes its cause on hides it from [`causes`].
fn os_errors(error: &WorkerError) -> impl Iterator<Item = &io::Error> {
    causes(error).filter_map(|error| match error.downcast_ref::<UnpackError>() {
        Some(UnpackError::Io(error)) => Some(error),
        _ => error.downcast_ref::<io::Error>(),
    })
}

fn lacks_space(error: &WorkerError) -> bool {
    os_errors(error).any(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Says whether a file was to belong to somebody, or a process to run as somebody, who does not exist in this user's
/// namespace.
fn lacks_ids(error: &WorkerError) -> bool {
    match error {
        WorkerError::Sandbox(SandboxError::User { .. }) => return true,
        WorkerError::File(FileError::Io { verb, source, .. }) if verb.contains("owner") => {
            return source.kind() == io::ErrorKind::InvalidInput;
        }
        _ => {}
    }
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(UnpackError::OwnerNotMapped { .. })))
}

fn text(
    failure: &StepFailure<WorkerError>,
    definition: &Definition,
    sources: &SourceMap,
    tail: &Tail,
    surroundings: &Surroundings<'_>,
) -> String {
    let vertex = definition.vertex(failure.vertex);
    let mut text = format!("error: step failed: {}", with_causes(&failure.error));
    if let Some(span) = vertex.metadata.span {
        let place = sources.place(span);
        let instruction = sources.snippet(span).lines().next().unwrap_or("");
        text.push_str(&format!("\n --> {}:{}  {instruction}", place.file, place.line));
    }
    text.push_str(&format!("\nnote: {}", place_in_build(failure, vertex, definition)));
    for hint in hints(&failure.error, surroundings) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    let lines = tail.lines(failure.vertex);
    if !lines.is_empty() {
        let count = if lines.len() == 1 { "line".to_owned() } else { format!("{} lines", lines.len()) };
        text.push_str(&format!("\nnote: the last {count} of its output:"));
        for line in lines {
            text.push_str(&format!("\n  {line}"));
        }
    }
    text
}

fn place_in_build(failure: &StepFailure<WorkerError>, vertex: &Vertex, definition: &Definition) -> String {
    let targets: Vec<String> = definition.targets_of(failure.vertex).map(|name| format!("\"{name}\"")).collect();
    let targets = match targets.as_slice() {
        [one] => format!("target {one}"),
        several => format!("targets {}", several.join(", ")),
    };
    let platform = vertex.metadata.platform.as_ref().map_or(String::new(), |platform| format!(", {platform}"));
    format!("{targets}{platform}, after {:.1} s", failure.after.as_secs_f64())
}

fn hints(error: &WorkerError, surroundings: &Surroundings<'_>) -> Vec<String> {
    if lacks_space(error) {
        return vec![format!(
            "free space for the store, {}, or name another with --store DIR",
            surroundings.store.display()
        )];
    }
    match (error, surroundings.mapping) {
        (error, IdMapping::Single { reason }) if lacks_ids(error) => return vec![reason.clone()],
        _ => {}
    }
    match error {
        WorkerError::NoEmulator { hint, .. } => vec![hint.clone()],
        WorkerError::Layer(crate::worker::layers::LayerError::Registry(error)) => error.hint().into_iter().collect(),
        WorkerError::Limit(error) => vec![error.hint.to_owned()],
        WorkerError::Secret(error) => vec![error.hint()],
        WorkerError::Fetch(error) => error.hints.clone(),
        WorkerError::ContextChanged { .. } => vec!["build again; leave the files alone meanwhile".to_owned()],
        _ => Vec::new(),
    }
}
