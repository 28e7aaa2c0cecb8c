//! What this host gives to builds, found out by trying: with the code that builds run through, never with a second copy.
//!
//! | probe | tries |
//! |---|---|
//! | user namespaces, subordinate ids | [`sandbox::enter`], for this process |
//! | mounts | a file system by the new mount API |
//! | store, overlayfs | opens the store (or one beside where it would be), and prepares a root file system in it |
//! | steps | a [trial] for this machine: all name spaces, `pivot_root`, seccomp, exec |
//! | binfmt_misc | an instance of this user namespace's own |
//! | platforms | registers the emulator and runs a trial for that machine |
//! | cgroups | makes a step's group for each kind of limit, and removes it |
//! | network | starts what gives steps a network of their own |
//!
//! What is only read (kernel, container, disk space) is said to be so by its text. A probe that is *vital* and fails means
//! that no build runs; all others say what a build has to do without.

mod emulators;
mod facts;
mod storage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::network::{Leased, NetworkChoice, Networks};
use super::sandbox::{self, IdMapping, Launcher, Network, SandboxError};
use super::trial;
use crate::graph::NetworkMode;
use crate::platform::Platform;
use crate::store::Store;
use crate::sys::cancel::CancelToken;

pub use emulators::{PlatformUse, Use, survey};
pub use facts::Surroundings;

/// How well something works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As a build wants it.
    Ok,
    /// Builds run, with less than they could have.
    Limited,
    /// Not there.
    Missing,
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried: `overlayfs`, `linux/arm64`, `registry 127.0.0.1:5000`.
    pub probe: String,
    /// How well it works.
    pub status: Status,
    /// What was found, and what that means for builds: one line.
    pub text: String,
    /// What to do about it: a command, or an action in the imperative.
    pub mend: Option<String>,
    /// No build runs without it.
    pub is_vital: bool,
}

impl Finding {
    /// Returns a finding of something that works.
    pub fn ok(probe: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { probe: probe.into(), status: Status::Ok, text: text.into(), mend: None, is_vital: false }
    }

    /// Returns a finding of something that works with less than it could.
    pub fn limited(probe: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { status: Status::Limited, ..Finding::ok(probe, text) }
    }

    /// Returns a finding of something that is not there.
    pub fn missing(probe: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { status: Status::Missing, ..Finding::ok(probe, text) }
    }

    /// Adds what to do about it; an empty text is none.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()).filter(|mend| !mend.is_empty()), ..self }
    }

    /// Says that no build runs without it.
    #[must_use]
    pub fn vital(self) -> Finding {
        Finding { is_vital: true, ..self }
    }

    /// Says whether it keeps every build from running.
    pub fn forbids_builds(&self) -> bool {
        self.is_vital && self.status == Status::Missing
    }
}

/// What is looked at.
pub struct Examination<'a> {
    /// Where the store is, or will be.
    pub store: &'a Path,
    /// The directory of the store's own emulators stands first.
    pub emulator_search: &'a [PathBuf],
    /// This program.
    pub program: &'a Path,
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// The platforms whose steps are tried.
    pub platforms: &'a [Platform],
    /// When to give up.
    pub cancel: &'a CancelToken,
}

impl Examination<'_> {
    /// Tries everything, in the order in which a build needs it. To be called before any thread is started, for this enters
    /// the name spaces of a build.
    pub fn findings(&self) -> Vec<Finding> {
        let surroundings = Surroundings::read(self.env);
        let mut findings = vec![surroundings.kernel(), surroundings.container(), surroundings.seccomp()];
        match sandbox::enter() {
            Err(error) => findings.extend([no_namespaces(&error), not_tried()]),
            Ok(mapping) => {
                findings.push(namespaces());
                findings.push(ids(&mapping));
                findings.push(mounts());
                findings.extend(self.inside(&surroundings));
            }
        }
        findings
    }

    /// Tries what takes the name spaces of a build.
    fn inside(&self, surroundings: &Surroundings) -> Vec<Finding> {
        let mut findings = Vec::new();
        match storage::Place::open(self.store) {
            Err(error) => findings.push(storage::unusable(self.store, &error)),
            Ok(place) => {
                findings.push(place.disk(self.store));
                findings.push(place.overlay(surroundings));
                let is_mountable = findings.iter().all(|finding| finding.status != Status::Missing);
                if is_mountable {
                    findings.extend(self.steps(&place.store));
                }
            }
        }
        findings.push(facts::cgroups());
        findings
    }

    fn steps(&self, store: &Store) -> Vec<Finding> {
        let launcher = match Launcher::new(self.program) {
            Ok(launcher) => launcher,
            Err(error) => return vec![no_steps(&format!("bake cannot be started again: {error}"))],
        };
        let trial = |machine| trial::run(store, &launcher, machine, self.cancel);
        let mut findings = vec![match emulators::native_machine().map(trial) {
            Some(Ok(())) => Finding::ok("steps", "one ran, in name spaces of its own and under a system call filter"),
            Some(Err(error)) => return vec![no_steps(&error.to_string())],
            None => Finding::limited("steps", "not tried: bake has no tiny program for this processor"),
        }];
        findings.push(self.network(&launcher));
        let platforms = emulators::try_platforms(self.platforms, self.emulator_search, &trial);
        findings.push(emulators::binfmt());
        findings.extend(platforms);
        findings
    }

    /// Tries what the network `default` is.
    fn network(&self, launcher: &Launcher) -> Finding {
        let var = |name: &str| self.env.get(name).map_or("", String::as_str);
        let choice = match var("BAKE_NETWORK") {
            "" => NetworkChoice::Auto,
            text => match text.parse() {
                Ok(choice) => choice,
                Err(reason) => return Finding::missing("network", format!("BAKE_NETWORK is `{text}`: {reason}")),
            },
        };
        let search = var("PATH").split(':').filter(|part| part.starts_with('/')).map(PathBuf::from).collect();
        let noted = Mutex::new(String::new());
        let note = |text: &str| *noted.lock().unwrap_or_else(PoisonError::into_inner) = text.to_owned();
        let networks = Networks::new(choice, launcher, search, "", &note);
        let leased = networks.lease(NetworkMode::Default, false);
        let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        match leased.as_ref().map(Leased::network) {
            Ok(Network::Namespace(_)) => Finding::ok("network", "RUN steps have one of their own, with a way out"),
            Ok(Network::Loopback) => Finding::ok("network", "RUN steps have loopback alone, as BAKE_NETWORK says"),
            Ok(Network::Host) if noted.is_empty() => {
                Finding::ok("network", "RUN steps are on the host's, as BAKE_NETWORK says")
            }
            Ok(Network::Host) => {
                Finding::limited("network", noted.as_str()).mend("install slirp4netns, and let users open /dev/net/tun")
            }
            Err(error) => Finding::missing("network", error.to_string()).mend("unset BAKE_NETWORK"),
        }
    }
}

fn namespaces() -> Finding {
    match sandbox::has_own_user_namespace() {
        false => {
            let text = "root builds without one: emulators cannot be private, and privileged steps are refused";
            Finding::limited("user namespaces", text).mend("as root: sysctl -w user.max_user_namespaces=15000")
        }
        true => Finding::ok("user namespaces", "builds have one of their own"),
    }
    .vital()
}

fn no_namespaces(error: &SandboxError) -> Finding {
    let finding = Finding::missing("user namespaces", format!("{error}: no build runs")).vital();
    match error {
        SandboxError::NoNamespaces { hint, .. } => finding.mend(hint),
        _ => finding,
    }
}

fn not_tried() -> Finding {
    let text = "not tried: ids, mounts, store, steps and emulators are tried in a user namespace alone";
    Finding::missing("everything else", text)
}

/// Ids that images of distributions use: up to `nogroup` and `nobody`.
const N_USUAL_IDS: u32 = 65_536;

fn ids(mapping: &IdMapping) -> Finding {
    const PROBE: &str = "subordinate ids";
    match mapping {
        IdMapping::Full { count } if *count >= N_USUAL_IDS => Finding::ok(PROBE, "none needed: root has all ids"),
        IdMapping::Subordinate { count } if *count >= N_USUAL_IDS => {
            Finding::ok(PROBE, format!("{count} ids, mapped by newuidmap and newgidmap"))
        }
        IdMapping::Full { count } | IdMapping::Subordinate { count } => {
            let text = format!("{count} ids: a file or process of user {count} or above is an error");
            Finding::limited(PROBE, text)
                .mend("give the user, or the container, 65536 ids in /etc/subuid and /etc/subgid")
        }
        IdMapping::Single { reason, mend } => {
            let text = format!("{reason}: steps run as root only, and nothing can belong to another user");
            Finding::limited(PROBE, text).mend(mend)
        }
    }
}

fn mounts() -> Finding {
    match sandbox::try_mount() {
        Ok(()) => Finding::ok("mounts", "by the new mount API"),
        Err(error) => Finding::missing("mounts", format!("no file system can be mounted: {error}: no step runs"))
            .mend("in a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"),
    }
    .vital()
}

fn no_steps(reason: &str) -> Finding {
    Finding::missing("steps", format!("none runs: {reason}"))
        .vital()
        .mend("in a container, start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_ids_are_said_with_what_they_mean_and_what_gives_more() {
        let single = IdMapping::Single { reason: "user `x` has none".into(), mend: "as root: usermod x".into() };
        let finding = ids(&single);
        assert_eq!((finding.status, finding.mend.as_deref()), (Status::Limited, Some("as root: usermod x")));
        assert_eq!(ids(&IdMapping::Subordinate { count: 65_537 }).status, Status::Ok);
        assert_eq!(ids(&IdMapping::Full { count: 1000 }).status, Status::Limited);
    }

    #[test]
    fn only_what_is_vital_and_missing_forbids_builds() {
        assert!(Finding::missing("a", "").vital().forbids_builds());
        assert!(!Finding::limited("a", "").vital().forbids_builds());
        assert!(!Finding::missing("a", "").forbids_builds());
        assert_eq!(Finding::ok("a", "").mend("").mend, None);
    }
}
