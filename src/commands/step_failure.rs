//! What the user reads when steps failed: the instruction, the target, the reason, and last of all the step's output.

use super::failure::with_causes;
use super::{Failure, Kind};
use crate::diagnostic::SourceMap;
use crate::graph::{Definition, Vertex};
use crate::report::Tail;
use crate::solver::drive::StepFailure;
use crate::worker::local::WorkerError;
use crate::worker::sandbox::SandboxError;

/// Describes all failures; the first one decides the kind.
pub fn describe(
    failures: &[StepFailure<WorkerError>],
    definition: &Definition,
    sources: &SourceMap,
    tail: &Tail,
) -> Failure {
    let texts: Vec<String> = failures.iter().map(|failure| text(failure, definition, sources, tail)).collect();
    Failure::rendered(failures.first().map_or(Kind::Build, |failure| kind(&failure.error)), texts.join("\n\n"))
}

fn kind(error: &WorkerError) -> Kind {
    match error {
        WorkerError::ExitCode(_) | WorkerError::Signal(_) | WorkerError::File(_) => Kind::Build,
        WorkerError::ContextChanged { .. } => Kind::Build,
        // What the image lacks is its Dockerfile's matter, not this host's.
        WorkerError::Sandbox(
            SandboxError::NotFound { .. } | SandboxError::NotExecutable { .. } | SandboxError::User { .. },
        ) => Kind::Build,
        WorkerError::Layer(crate::worker::layers::LayerError::Registry(_)) => Kind::Remote,
        WorkerError::NoEmulator { .. } | WorkerError::Sandbox(_) | WorkerError::Layer(_) => Kind::Environment,
        WorkerError::Store(_) | WorkerError::Io { .. } => Kind::Environment,
    }
}

fn text(failure: &StepFailure<WorkerError>, definition: &Definition, sources: &SourceMap, tail: &Tail) -> String {
    let vertex = definition.vertex(failure.vertex);
    let mut text = format!("error: step failed: {}", with_causes(&failure.error));
    if let Some(span) = vertex.metadata.span {
        let place = sources.place(span);
        let instruction = sources.snippet(span).lines().next().unwrap_or("");
        text.push_str(&format!("\n --> {}:{}  {instruction}", place.file, place.line));
    }
    text.push_str(&format!("\nnote: {}", place_in_build(failure, vertex, definition)));
    for hint in hints(&failure.error) {
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

fn hints(error: &WorkerError) -> Vec<String> {
    match error {
        WorkerError::NoEmulator { hint, .. } => vec![hint.clone()],
        WorkerError::Layer(crate::worker::layers::LayerError::Registry(error)) => error.hint().into_iter().collect(),
        WorkerError::ContextChanged { .. } => vec!["build again; leave the files alone meanwhile".to_owned()],
        _ => Vec::new(),
    }
}
