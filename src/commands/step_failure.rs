//! What the user reads when steps failed: the instruction, the target, the reason, and last of all the step's output.

use std::error::Error;
use std::io;
use std::path::Path;

use super::failure::with_causes;
use super::{Failure, Kind, doctor};
use crate::diagnostic::{Diagnostic, SourceMap};
use crate::graph::{Definition, Vertex};
use crate::report::Tail;
use crate::solver::drive::StepFailure;
use crate::store::{StoreError, UnpackError};
use crate::worker::fetched::Blame;
use crate::worker::file::FileError;
use crate::worker::layers::LayerError;
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
        WorkerError::WouldRun | WorkerError::NotHere => Kind::Build,
        // What the image lacks is its Dockerfile's matter, not this host's.
        WorkerError::Sandbox(
            SandboxError::NotFound { .. } | SandboxError::NotExecutable { .. } | SandboxError::User { .. },
        ) => Kind::Build,
        WorkerError::Layer(LayerError::Registry(_)) => Kind::Remote,
        WorkerError::Fetch(error) => kind_of(error.blame),
        WorkerError::NoEmulator { .. } | WorkerError::Sandbox(_) | WorkerError::Layer(_) => Kind::Environment,
        WorkerError::Store(_) | WorkerError::Io { .. } | WorkerError::Limit(_) => Kind::Environment,
        WorkerError::Unsupported(_) | WorkerError::Secret(_) => Kind::Definition,
    }
}

/// Returns what kind of failure it is that files could not be brought in.
pub(super) fn kind_of(blame: Blame) -> Kind {
    match blame {
        Blame::Definition => Kind::Definition,
        Blame::Host => Kind::Environment,
        Blame::Remote => Kind::Remote,
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
    let message = format!("step failed: {}", with_causes(&failure.error));
    let error = match vertex.metadata.span {
        Some(span) => Diagnostic::error(span, message),
        None => Diagnostic::error_without_place(message),
    };
    let mut text = error.render(sources);
    if let Some(trigger) = trigger(vertex, sources) {
        text.push_str(&format!("\nnote: in the trigger `ONBUILD {trigger}` of the base image"));
    }
    text.push_str(&format!("\nnote: {}", place_in_build(failure, vertex, definition)));
    for hint in hints(&failure.error, surroundings) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    let lines = tail.lines(failure.vertex);
    if let IdMapping::Single { reason, mend } = surroundings.mapping
        && is_refused_ids(&failure.error, &lines)
    {
        text.push_str(&format!(
            "\nnote: only one user id exists here, so files and programs can have no other owner: {reason}; {mend}"
        ));
    }
    if matches!(failure.error, WorkerError::ExitCode(_)) && is_full(surroundings.store) {
        text.push_str(&format!("\nnote: the disk of the store, {}, is full", surroundings.store.display()));
    }
    if !lines.is_empty() {
        let count = if lines.len() == 1 { "line".to_owned() } else { format!("{} lines", lines.len()) };
        text.push_str(&format!("\nnote: the last {count} of its output:"));
        for line in lines {
            text.push_str(&format!("\n  {line}"));
        }
    }
    text
}

/// Returns the instruction of a step that the base image brought: it stands nowhere, and the place is that of FROM.
fn trigger<'v>(vertex: &'v Vertex, sources: &SourceMap) -> Option<&'v str> {
    let command = vertex.metadata.command.as_str();
    let keyword = |text: &str| text.split_whitespace().next().map(str::to_uppercase);
    let is_there = keyword(sources.snippet(vertex.metadata.span?)) == keyword(command);
    (!command.is_empty() && !is_there).then_some(command)
}

/// Says whether a program's last words are those of one that was to be, or to give a file to, another user.
fn is_refused_ids(error: &WorkerError, lines: &[String]) -> bool {
    const WORDS: [&str; 7] = ["chown", "chgrp", "setgroups", "seteuid", "setegid", "setresuid", "initgroups"];
    matches!(error, WorkerError::ExitCode(_)) && lines.iter().any(|line| WORDS.iter().any(|word| line.contains(word)))
}

/// Says whether the file system of a directory has no room for a program that would write more than nothing.
fn is_full(directory: &Path) -> bool {
    let room = rustix::fs::statvfs(directory);
    room.is_ok_and(|room| room.f_bavail == 0 || (room.f_files > 0 && room.f_favail == 0))
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
        (error, IdMapping::Single { reason, mend }) if lacks_ids(error) => return vec![format!("{reason}; {mend}")],
        _ => {}
    }
    match error {
        WorkerError::NoEmulator { hint, .. } => vec![hint.clone(), doctor::NEXT_STEP.to_owned()],
        WorkerError::Sandbox(SandboxError::Setup { .. } | SandboxError::NoNamespaces { .. }) => {
            vec![doctor::NEXT_STEP.to_owned()]
        }
        WorkerError::Store(StoreError::Io { verb: "mount", .. })
        | WorkerError::Layer(LayerError::Store(StoreError::Io { verb: "mount", .. })) => {
            vec![doctor::NEXT_STEP.to_owned()]
        }
        WorkerError::Limit(error) => vec![error.hint.to_owned()],
        WorkerError::Layer(LayerError::Registry(error)) => error.hint().into_iter().collect(),
        WorkerError::Secret(error) => vec![error.hint()],
        WorkerError::Fetch(error) => error.hints.clone(),
        WorkerError::ContextChanged { .. } => vec!["build again; leave the files alone meanwhile".to_owned()],
        _ => Vec::new(),
    }
}
