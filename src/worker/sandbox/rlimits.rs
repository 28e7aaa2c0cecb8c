//! Limits of a process (`setrlimit`): what a step is given, and what `bake` may give.
//!
//! Nobody may raise a hard limit but root of the host, which no process of a user namespace is. So root raises its own
//! before it [enters](super::enter) one, as far as it goes, and every step starts with the limits that were before, or
//! with those that it is to have.

#![expect(clippy::disallowed_methods, reason = "reads a file of /proc, before anything else runs")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::wire::RequestLimit;
use crate::graph::Ulimit;

const RESOURCES: [(&str, Resource); 15] = [
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// `None` for no limit.
type SoftAndHard = (Option<u64>, Option<u64>);

/// The limits that this process had before [`raise`], of those that were raised. The mutex protects nothing more.
static BEFORE: Mutex<BTreeMap<&'static str, SoftAndHard>> = Mutex::new(BTreeMap::new());

/// Raises the hard limits of this process as far as its privileges go; what holds for it, the soft limits, stays.
pub fn raise() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, resource) in RESOURCES {
        let limit = getrlimit(resource);
        let highest = if name == "nofile" { max_open_files() } else { None };
        if limit.maximum.is_none() || limit.maximum == highest {
            continue;
        }
        if setrlimit(resource, Rlimit { maximum: highest, ..limit }).is_err() {
            // One refusal stands for all: it is a matter of privilege.
            return;
        }
        before.insert(name, (limit.current, limit.maximum));
    }
}

/// No process may have more than this, root included.
fn max_open_files() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

/// Returns what a step is to be given: its own limits, and for the rest what held before [`raise`].
pub fn request(ulimits: &[Ulimit]) -> Vec<RequestLimit> {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut limits: BTreeMap<String, SoftAndHard> =
        before.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
    limits.extend(ulimits.iter().map(|limit| (limit.name.clone(), (limit.soft, limit.hard))));
    limits.into_iter().map(|(name, (soft, hard))| RequestLimit { name, soft, hard }).collect()
}

/// Sets a limit of this process. The error says which limit, and what this host allows.
pub fn set(limit: &RequestLimit) -> Result<(), (String, String)> {
    let what = format!("setting the limit {}", limit.name);
    let Some((_, resource)) = RESOURCES.iter().find(|(name, _)| *name == limit.name) else {
        return Err((what, "there is no such limit".to_owned()));
    };
    let wanted = Rlimit { current: limit.soft, maximum: limit.hard };
    setrlimit(*resource, wanted).map_err(|error| {
        let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
        let (wanted, most) = (shown(limit.hard), shown(getrlimit(*resource).maximum));
        let reason = match error {
            rustix::io::Errno::PERM => format!("{wanted} is more than this host gives bake, which is {most}"),
            error => format!("{wanted}: {}", io::Error::from(error)),
        };
        (what, reason)
    })
}
