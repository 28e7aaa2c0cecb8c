//! `--no-emulation`: no step may need an emulator.
//!
//! Decided by the graph alone, before anything runs, and therefore the same with a full cache as with an empty one: a
//! build that passes here passes on every machine of this architecture.

use super::solve::Lowered;
use super::{Failure, Kind};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::graph::{Definition, Op, VertexId};
use crate::platform::Platform;
use crate::solver::scheduler::reachable;
use crate::worker::emulation;

/// Fails if a step of the build is for a processor that this machine does not have.
///
/// # Errors
/// One finding for each such step, with its target and platform.
pub fn refuse(lowered: &Lowered, sources: &SourceMap) -> Result<(), Failure> {
    let mut found = Diagnostics::default();
    for id in reachable(&lowered.definition, &lowered.roots()) {
        if let Some(platform) = foreign_platform(&lowered.definition, id) {
            found.push(refusal(&lowered.definition, id, platform));
        }
    }
    if found.has_errors() {
        return Err(Failure::rendered(Kind::Environment, found.render(sources)).hint(
            "build these platforms on a machine of their own, leave them out with --platform, or run what needs no \
             emulation in a stage `FROM --platform=$BUILDPLATFORM`",
        ));
    }
    Ok(())
}

/// Returns the platform of a step that runs programs which this machine's processor does not.
fn foreign_platform(definition: &Definition, id: VertexId) -> Option<&Platform> {
    match &definition.vertex(id).op {
        Op::Exec(exec) if !emulation::is_native(&exec.platform) => Some(&exec.platform),
        Op::Exec(_) | Op::Source(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => None,
    }
}

fn refusal(definition: &Definition, id: VertexId, platform: &Platform) -> Diagnostic {
    let metadata = &definition.vertex(id).metadata;
    let message = format!("this step for {platform} would be emulated, which --no-emulation forbids");
    let error = match metadata.span {
        Some(span) => Diagnostic::error(span, message),
        None => Diagnostic::error_without_place(message),
    };
    let targets: Vec<String> = definition.targets_of(id).map(|name| format!("\"{name}\"")).collect();
    let noun = if targets.len() == 1 { "target" } else { "targets" };
    error.note(format!("{noun} {}, step `{}`", targets.join(", "), metadata.name.lines().next().unwrap_or_default()))
}
