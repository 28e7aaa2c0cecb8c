//! What steps may do beyond the sandbox: their targets ask for it, the user grants it, and both is needed, as in the peer.

use std::collections::BTreeSet;

use super::Failure;
use super::project::Project;
use super::solve::definition_failure;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Definition, NetworkMode, Op, SecurityMode};
use crate::plan::{Plan, Right};

/// Checks that all rights that targets ask for are granted.
///
/// # Errors
/// One is not.
pub fn check_granted(project: &Project, granted: &BTreeSet<Right>) -> Result<(), Failure> {
    let mut found = Diagnostics::default();
    for (name, target) in project.targets() {
        for asked in &target.entitlements {
            let Some(right) = Right::named(&asked.value).filter(|right| !granted.contains(right)) else { continue };
            let message = format!("target \"{name}\" asks for the right `{}`, which is not granted", right.name());
            found.push(Diagnostic::error(asked.span, message).hint(format!("build with --allow {}", right.name())));
        }
    }
    definition_failure(&found, &project.sources)
}

/// Returns an error for each step that does what one of its targets does not ask for.
pub fn missing(definition: &Definition, plan: &Plan) -> Diagnostics {
    let mut found = Diagnostics::default();
    for id in definition.ids() {
        let vertex = definition.vertex(id);
        let Op::Exec(exec) = &vertex.op else { continue };
        let network = (exec.network == NetworkMode::Host).then_some(Right::NetworkHost);
        let security = (exec.security == SecurityMode::Insecure).then_some(Right::SecurityInsecure);
        for right in network.into_iter().chain(security) {
            let asks = |name: &&str| plan.targets.iter().any(|t| t.name == **name && t.given.rights.contains(&right));
            let Some(target) = definition.targets_of(id).find(|name| !asks(name)) else { continue };
            let name = right.name();
            let message = format!("the step needs the right `{name}`, and target \"{target}\" does not ask for it");
            let finding = match vertex.metadata.span {
                Some(span) => Diagnostic::error(span, message),
                None => Diagnostic::error_without_place(message).note(format!("in `{}`", vertex.metadata.name)),
            };
            let hint = format!("write `entitlements = [\"{name}\"]` in the target, and build with --allow {name}");
            found.push(finding.hint(hint));
        }
    }
    found
}
