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
        let arg = |name: &str, arg: &ArgUse| OutlineArg {
            name: name.to_owned(),
            description: arg.description.clone().unwrap_or_default(),
            value: arg.value.clone(),
            location: Some(Location::of(Some(arg.lines))),
        };
        let mount = |name: &str, mount: &MountUse| OutlineMount {
            name: name.to_owned(),
            required: mount.is_required,
            location: Some(Location::of(Some(mount.lines))),
        };
        outline.args = by_line(&args, |arg| arg.lines, arg);
        outline.secrets = by_line(&secrets, |secret| secret.lines, mount);
        outline.ssh = by_line(&ssh, |ssh| ssh.lines, mount);
        outline
    }
}

/// Shows entries in the order of their lines, those of one line by name.
fn by_line<T, S>(
    entries: &BTreeMap<&str, &T>,
    lines: impl Fn(&T) -> LineRange,
    show: impl Fn(&str, &T) -> S,
) -> Vec<S> {
    let mut sorted: Vec<(&str, &T)> = entries.iter().map(|(name, entry)| (*name, *entry)).collect();
    sorted.sort_by_key(|(_, entry)| lines(entry).first);
    sorted.into_iter().map(|(name, entry)| show(name, entry)).collect()
}
