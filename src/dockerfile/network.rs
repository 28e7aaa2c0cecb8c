//! Network access, as `RUN --network` and a target's `network` name it.

use serde::Serialize;

/// Network access of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Outbound connections as the host has them.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The host's network namespace; needs an entitlement.
    Host,
}
