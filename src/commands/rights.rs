//! What steps may do beyond the sandbox: only what their targets ask for, as in the peer. Whether what is asked for is
//! granted is the matter of [`entitlements`](super::entitlements).

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{Definition, NetworkMode, Op, SecurityMode};
use crate::plan::{Plan, Right};

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
