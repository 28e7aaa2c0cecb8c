//! What must hold of the places that outputs go to, looked at before anything is built.

#![expect(clippy::disallowed_methods, reason = "what is at an output's place is looked at")]

use std::io::IsTerminal;

use super::project::ProjectRequest;
use super::{Failure, Host, Kind};
use crate::plan::{ImageFile, LayoutForm, Output, Plan, TargetPlan};

/// Says which targets stay without what `--push` or `--load` asks for: as for the peer, those flags leave outputs alone that are
/// files.
pub(super) fn warn(request: &ProjectRequest, plan: &Plan, host: &Host) {
    let asked_for = |target: &&TargetPlan| !target.is_linked;
    for target in plan.targets.iter().filter(asked_for) {
        let is_pushed = target.outputs.iter().any(|o| matches!(o, Output::Push(..) | Output::PushByDigest(..)));
        let is_loaded = target.outputs.iter().any(|output| matches!(output, Output::Load { .. }));
        for (flag, value, is_done) in [("--push", request.push, is_pushed), ("--load", request.load, is_loaded)] {
            if value == Some(true) && !is_done {
                let name = &target.name;
                host.talk
                    .line(&format!("warning: {flag} adds nothing to target \"{name}\", whose own outputs are files"));
            }
        }
    }
}

/// Fails if an output cannot be written where it is to go: a directory where a file is to be, a file where a directory is to
/// be, an archive on a terminal.
///
/// # Errors
/// The first of them.
pub(super) fn check(plan: &Plan, host: &Host) -> Result<(), Failure> {
    for target in &plan.targets {
        for output in &target.outputs {
            let Some(dest) = output.path() else { continue };
            if dest == "-" {
                if std::io::stdout().is_terminal() {
                    let failure = Failure::new(Kind::Usage, "refusing to write an archive to the terminal");
                    let note = format!("an output of target \"{}\" goes to standard output", target.name);
                    return Err(failure.note(note).hint("name a file with `dest=`, or redirect standard output"));
                }
                continue;
            }
            let is_directory = match output {
                Output::Local { .. } => true,
                Output::File(ImageFile { form, .. }) => *form == LayoutForm::Directory,
                _ => false,
            };
            let Ok(found) = std::fs::metadata(host.directory.join(dest)) else { continue };
            let what = match (is_directory, found.is_dir()) {
                (true, false) => "a directory, but a file is there",
                (false, true) => "a file, but a directory is there",
                _ => continue,
            };
            let message = format!("an output of target \"{}\" is to make `{dest}` {what}", target.name);
            return Err(Failure::new(Kind::Environment, message).hint("name another place with `dest=`"));
        }
    }
    Ok(())
}
