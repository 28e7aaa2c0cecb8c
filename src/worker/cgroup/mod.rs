//! What the processes of a step may use together (`resources`), by cgroups.
//!
//! A build that limits something has a cgroup of its own, `bake-PID`, beneath the one that `bake` is in, in each hierarchy
//! that it needs, and each step a numbered one beneath that; it is made before the step and removed after it. A lock on
//! the directory `bake-PID` says that its build lives: what a killed one left is removed by the next.
//!
//! | `resources` | v1 | v2 | without a cgroup |
//! |---|---|---|---|
//! | `memory` | `memory.limit_in_bytes` | `memory.max` | the limit `data` of each process, said once |
//! | `memory-swap` | `memory.memsw.limit_in_bytes` | `memory.swap.max` | refused, but for -1 |
//! | `cpu-shares` | `cpu.shares` | `cpu.weight` | refused |
//! | `cpu-period`, `cpu-quota` | `cpu.cfs_period_us`, `cpu.cfs_quota_us` | `cpu.max` | refused |
//! | `cpuset-cpus` | `cpuset.cpus` | `cpuset.cpus` | the processors that it starts on, said once |
//! | `cpuset-mems` | `cpuset.mems` | `cpuset.mems` | refused |
//!
//! In the unified hierarchy a cgroup with processes cannot hand controllers down. Where `bake` is alone in its own, as in a
//! scope that systemd delegates, it moves to a leaf of it; else the step's cgroups are beside `bake`'s, unless that would
//! free them of limits that `bake`'s has.

mod build;
mod hierarchy;
mod settings;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use crate::graph::{Resources, Swap, Ulimit};
use build::BuildGroup;
pub use build::HINT;
use hierarchy::{Controller, Hierarchy, Version, hierarchies};

/// How often, and after which pauses, a cgroup is removed whose last process is still on its way out.
const N_REMOVALS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// A limit that cannot be kept on this host.
#[derive(Debug, thiserror::Error)]
#[error("`{limit}` of `resources` cannot be kept here: {reason}")]
pub struct LimitError {
    /// As in `resources`.
    pub limit: &'static str,
    /// Why.
    pub reason: String,
    /// What the user can do.
    pub hint: &'static str,
}

/// Says that the kernel does not take a value.
fn refused(limit: &'static str, error: &io::Error) -> LimitError {
    let reason = match (limit, error.kind()) {
        ("memory-swap", io::ErrorKind::NotFound) => "this kernel does not count swap".to_owned(),
        _ => error.to_string(),
    };
    LimitError { limit, reason, hint: "choose a value that the kernel takes on this machine" }
}

/// Where steps get their cgroups from.
pub struct Cgroups<'a> {
    /// Tells the user something that is no error.
    note: &'a (dyn Fn(&str) + Sync),
    host: OnceLock<Vec<Mounted>>,
    next_step: AtomicU64,
    is_noted: AtomicBool,
}

/// A hierarchy, and the build's cgroup in it.
struct Mounted {
    hierarchy: Hierarchy,
    build: OnceLock<Result<BuildGroup, String>>,
}

/// The limits of a running step; its cgroups go with it.
#[derive(Default)]
pub struct StepLimits {
    groups: Vec<StepGroup>,
    /// For those of its limits that no cgroup keeps: limits of each of its processes.
    pub ulimits: Vec<Ulimit>,
    /// As [`StepLimits::ulimits`]: the processors that it starts on; empty for all.
    pub processors: BTreeSet<u32>,
}

/// One cgroup of a step.
struct StepGroup {
    directory: PathBuf,
    procs: OwnedFd,
    version: Version,
    has_memory: bool,
}

impl<'a> Cgroups<'a> {
    /// Looks at nothing yet. `note` is told once where limits hold less well than a cgroup would keep them.
    pub fn new(note: &'a (dyn Fn(&str) + Sync)) -> Cgroups<'a> {
        Cgroups { note, host: OnceLock::new(), next_step: AtomicU64::new(0), is_noted: AtomicBool::new(false) }
    }

    /// Makes the cgroups of a step. For one without limits nothing is done.
    ///
    /// # Errors
    /// A limit cannot be kept here, or its value is none that the kernel takes.
    pub fn for_step(&self, resources: &Resources) -> Result<StepLimits, LimitError> {
        let mut limits = StepLimits::default();
        if resources.is_unlimited() {
            return Ok(limits);
        }
        let host = self.host.get_or_init(mounted);
        let name = self.next_step.fetch_add(1, Ordering::Relaxed).to_string();
        for controller in Controller::ALL {
            if !settings::needs(resources, controller) {
                continue;
            }
            match find(host, controller) {
                Ok((mounted, build)) => {
                    let group = limits.group(&mounted.hierarchy, build, &name);
                    let group = group.map_err(|error| refused(settings::limit(resources, controller), &error))?;
                    group.has_memory |= controller == Controller::Memory;
                    for (limit, file, value) in settings::settings(resources, controller, group.version) {
                        build::write(&group.directory.join(file), &value).map_err(|error| refused(limit, &error))?;
                    }
                }
                Err(reason) => self.fall_back(resources, controller, &reason, &mut limits)?,
            }
        }
        Ok(limits)
    }

    /// Keeps limits without a cgroup, as far as that goes.
    fn fall_back(
        &self,
        resources: &Resources,
        controller: Controller,
        reason: &str,
        limits: &mut StepLimits,
    ) -> Result<(), LimitError> {
        let refused = |limit| LimitError { limit, reason: reason.to_owned(), hint: build::HINT };
        match (controller, resources.memory_swap) {
            (Controller::Memory, Some(Swap::WithMemory(_))) => return Err(refused("memory-swap")),
            (Controller::Memory, _) => {
                let limit = resources.memory;
                limits.ulimits.push(Ulimit { name: "data".to_owned(), soft: limit, hard: limit });
            }
            (Controller::Cpuset, _) if resources.cpuset_mems.is_empty() => {
                limits.processors.clone_from(&resources.cpuset_cpus);
            }
            _ => return Err(refused(settings::limit(resources, controller))),
        }
        if !self.is_noted.swap(true, Ordering::Relaxed) {
            (self.note)(&format!(
                "`memory` holds for each process of a step, and `cpuset-cpus` until it chooses others: {reason}"
            ));
        }
        Ok(())
    }
}

fn mounted() -> Vec<Mounted> {
    let read = |path: &str| build::read(Path::new(path)).unwrap_or_default();
    let found = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    found.into_iter().map(|hierarchy| Mounted { hierarchy, build: OnceLock::new() }).collect()
}

/// Tries each kind of limit as a step would get it. Returns its name in `resources` with how it is kept: nothing to say
/// for a cgroup, else why it is not, or less well.
pub fn try_limits() -> Vec<(&'static str, Result<(), String>)> {
    const MEMORY: u64 = 1 << 30;
    let kinds = [
        ("memory", Resources { memory: Some(MEMORY), ..Resources::default() }),
        ("cpu-shares", Resources { cpu_shares: Some(512), ..Resources::default() }),
        ("cpuset-cpus", Resources { cpuset_cpus: BTreeSet::from([0]), ..Resources::default() }),
    ];
    let tried = kinds.into_iter().map(|(name, resources)| {
        let noted = Mutex::new(None);
        let note = |text: &str| *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        let made = Cgroups::new(&note).for_step(&resources).map(drop).map_err(|error| error.reason);
        let noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        (name, made.and(noted.map_or(Ok(()), Err)))
    });
    tried.collect()
}

/// Returns the build's cgroup in the hierarchy that has a controller, made if it is not there; else why there is none.
fn find(host: &[Mounted], controller: Controller) -> Result<(&Mounted, &BuildGroup), String> {
    let has = |mounted: &&Mounted| mounted.hierarchy.controllers.contains(&controller);
    let unified = |mounted: &&Mounted| mounted.hierarchy.version == Version::V2;
    let Some(mounted) = host.iter().find(has).or_else(|| host.iter().find(unified)) else {
        return Err(format!("no cgroup hierarchy with the controller {} is mounted", controller.name()));
    };
    let build = mounted.build.get_or_init(|| BuildGroup::make(&mounted.hierarchy));
    let build = build.as_ref().map_err(Clone::clone)?;
    match build.controllers.contains(&controller) {
        true => Ok((mounted, build)),
        false => Err(format!("its cgroup is not given the controller {}", controller.name())),
    }
}

impl StepLimits {
    /// Returns the step's cgroup in a hierarchy, made if it is not there.
    fn group(&mut self, hierarchy: &Hierarchy, build: &BuildGroup, name: &str) -> io::Result<&mut StepGroup> {
        let directory = build.directory.join(name);
        let index = match self.groups.iter().position(|group| group.directory == directory) {
            Some(index) => index,
            None => {
                build::make_directory(&directory)?;
                let opened = open_procs(&directory);
                if opened.is_err() {
                    _ = rustix::fs::rmdir(&directory);
                }
                let (procs, version) = (opened?, hierarchy.version);
                self.groups.push(StepGroup { directory, procs, version, has_memory: false });
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[index];
        if hierarchy.controllers.contains(&Controller::Cpuset) {
            build::inherit_cpuset(&group.directory)?;
        }
        Ok(group)
    }

    /// Returns the files that move a process there.
    pub fn procs(&self) -> Vec<BorrowedFd<'_>> {
        self.groups.iter().map(|group| group.procs.as_fd()).collect()
    }

    /// Returns how many processes of the step were killed because its memory was used up.
    pub fn n_killed(&self) -> u64 {
        let counts = self.groups.iter().filter(|group| group.has_memory).filter_map(|group| {
            let file = match group.version {
                Version::V1 => "memory.oom_control",
                Version::V2 => "memory.events",
            };
            let text = build::read(&group.directory.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        });
        counts.sum()
    }
}

fn open_procs(directory: &Path) -> io::Result<OwnedFd> {
    let procs = directory.join("cgroup.procs");
    Ok(rustix::fs::openat(CWD, procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Drop for StepGroup {
    fn drop(&mut self) {
        for _ in 0..N_REMOVALS {
            match rustix::fs::rmdir(&self.directory) {
                Err(rustix::io::Errno::BUSY) => std::thread::sleep(PAUSE),
                _ => return,
            }
        }
    }
}
