//! What a stage takes: the peer's bookkeeping of variables, secrets and SSH sockets.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::lint::LineRange;

use super::shapes::{Location, Outline, OutlineArg, OutlineMount};
use super::walk::Walk;

/// What a stage declares and uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    pub(super) args: BTreeMap<String, ArgUse>,
    pub(super) used: BTreeSet<String>,
    pub(super) secrets: BTreeMap<String, MountUse>,
    pub(super) ssh: BTreeMap<String, MountUse>,
}

/// A declared variable.
#[derive(Clone, Debug)]
pub(super) struct ArgUse {
    pub(super) value: String,
    pub(super) description: Option<String>,
    /// Variables in its default.
    pub(super) reads: BTreeSet<String>,
    pub(super) lines: LineRange,
}

/// A secret or socket.
#[derive(Clone, Debug)]
pub(super) struct MountUse {
    pub(super) is_required: bool,
    pub(super) lines: LineRange,
}

impl Capture {
    /// Returns the used variables with those in their defaults.
    fn all_used(&self) -> BTreeSet<&str> {
        let mut used = BTreeSet::new();
        let mut queue: Vec<&str> = self.used.iter().map(String::as_str).collect();
        while let Some(name) = queue.pop() {
            if used.insert(name) {
                queue.extend(self.args.get(name).into_iter().flat_map(|arg| arg.reads.iter().map(String::as_str)));
            }
        }
        used
    }
}

impl Walk<'_> {
    /// Returns what the stage `target` takes, with what it is built from. Sorted by line, then name.
    pub(super) fn outline(&self, target: usize) -> Outline {
        let stage = &self.states[target];
        let mut outline = Outline {
            name: stage.name.clone().unwrap_or_default(),
            description: stage.description.clone().unwrap_or_default(),
            args: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            sources: vec![super::shapes::base64_of(self.request.sources.text(self.request.file))],
        };
        let mut args = BTreeMap::new();
        let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
        // The first stage that declares a name says what it is: the target, its base, then what it copies from.
        let mut seen = BTreeSet::new();
        let mut stack = vec![target];
        while let Some(index) = stack.pop() {
            if !seen.insert(index) {
                continue;
            }
            let state = &self.states[index];
            for name in state.capture.all_used() {
                if let Some(arg) = state.capture.args.get(name) {
                    args.entry(name).or_insert(arg);
                }
            }
            for (known, own) in [(&mut secrets, &state.capture.secrets), (&mut ssh, &state.capture.ssh)] {
                for (name, mount) in own {
                    known.entry(name.as_str()).or_insert(mount);
                }
            }
            stack.extend(state.deps.iter().rev().map(|(dep, _)| *dep));
            stack.extend(state.base);
        }
        let arg = |(name, arg): (&str, &ArgUse)| OutlineArg {
            name: name.to_owned(),
            description: arg.description.clone().unwrap_or_default(),
            value: arg.value.clone(),
            location: Some(Location::of(Some(arg.lines))),
        };
        outline.args = by_line(args.into_iter()).map(arg).collect();
        outline.secrets = by_line(secrets.into_iter()).map(mount).collect();
        outline.ssh = by_line(ssh.into_iter()).map(mount).collect();
        outline
    }
}

fn mount((name, mount): (&str, &MountUse)) -> OutlineMount {
    OutlineMount { name: name.to_owned(), required: mount.is_required, location: Some(Location::of(Some(mount.lines))) }
}

/// What stands on lines.
trait OnLines {
    fn lines(&self) -> LineRange;
}

impl OnLines for &ArgUse {
    fn lines(&self) -> LineRange {
        self.lines
    }
}

impl OnLines for &MountUse {
    fn lines(&self) -> LineRange {
        self.lines
    }
}

fn by_line<'n, T: OnLines>(entries: impl Iterator<Item = (&'n str, T)>) -> impl Iterator<Item = (&'n str, T)> {
    let mut entries: Vec<(&str, T)> = entries.collect();
    entries.sort_by_key(|(_, entry)| entry.lines().first);
    entries.into_iter()
}
