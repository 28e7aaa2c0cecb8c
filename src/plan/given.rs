//! What a target hands to its steps that is no part of any result: secrets, agents and rights.

use std::collections::{BTreeMap, BTreeSet};

use crate::bakefile::{SecretSpec, SshSpec, Target};

/// The agent that a mount without an id means.
const DEFAULT_AGENT: &str = "default";

/// What steps of a target may mount, by id. Holds where a value is, never the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `secret`.
    pub secrets: BTreeMap<String, SecretPlace>,
    /// `ssh`: sockets or keys; the agent of the environment where empty.
    pub agents: BTreeMap<String, Vec<String>>,
    /// `entitlements` that steps can need.
    pub rights: BTreeSet<Right>,
}

/// What a step may do only if its target asks for it (`entitlements`) and the user grants it (`--allow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To use the host's network (`RUN --network=host`).
    NetworkHost,
    /// To run without most of the sandbox (`RUN --security=insecure`).
    SecurityInsecure,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 2] = [Right::NetworkHost, Right::SecurityInsecure];

    /// Returns the right as bakefiles and `--allow` have it.
    pub fn name(self) -> &'static str {
        match self {
            Right::NetworkHost => "network.host",
            Right::SecurityInsecure => "security.insecure",
        }
    }

    /// Returns the right of that name; `None` for one that no step needs.
    pub fn named(name: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.name() == name)
    }
}

/// Where a secret's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file; relative to the directory that the command runs in.
    File(String),
    /// In a variable of the environment; one that is not set is an empty value, as for BuildKit.
    Variable(String),
    /// In the variable of this name if there is one, else in the file of this name.
    Named(String),
}

impl Given {
    /// Returns what `target` gives.
    pub(super) fn of(target: &Target) -> Given {
        let agent = |ssh: &SshSpec| {
            (Given::agent_id(&ssh.id).to_owned(), ssh.paths.iter().filter(|path| !path.is_empty()).cloned().collect())
        };
        Given {
            secrets: target.secret.iter().map(|secret| (secret.id.clone(), place(secret))).collect(),
            agents: target.ssh.iter().map(agent).collect(),
            rights: target.entitlements.iter().filter_map(|right| Right::named(&right.value)).collect(),
        }
    }

    /// Returns the id of the agent that a mount with this one means.
    pub fn agent_id(id: &str) -> &str {
        if id.is_empty() { DEFAULT_AGENT } else { id }
    }
}

/// A variable wins over a file where both are named, as in BuildKit.
fn place(secret: &SecretSpec) -> SecretPlace {
    match (&secret.env, &secret.src) {
        (Some(variable), _) => SecretPlace::Variable(variable.clone()),
        (None, Some(file)) => SecretPlace::File(file.clone()),
        (None, None) => SecretPlace::Named(secret.id.clone()),
    }
}
