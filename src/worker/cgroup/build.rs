//! The cgroup of a build in one hierarchy: where it can be, how it gets its controllers, when it is swept away.

#![expect(clippy::disallowed_methods, reason = "a cgroup is made of files that only the kernel has")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};

use super::hierarchy::{Controller, Hierarchy, Version};

/// What the user can do where no cgroup can be made.
pub const HINT: &str =
    "run bake as root, or with a cgroup of its own: systemd-run --user --scope -p Delegate=yes bake …";

/// What the directories of builds begin with.
const PREFIX: &str = "bake-";

/// How many names are tried for a directory: in another pid namespace another build may have this process's number.
const N_NAMES: u32 = 16;

/// Ancestors that are looked at for a process that is ours.
const MAX_DEPTH: u32 = 16;

/// A build's cgroup, for as long as this is there.
pub struct BuildGroup {
    /// Its directory.
    pub directory: PathBuf,
    /// What it can hand to steps.
    pub controllers: BTreeSet<Controller>,
    /// Locked, which says that the build lives.
    _lock: OwnedFd,
}

impl BuildGroup {
    /// Makes the build's cgroup, and removes those of builds that were killed. The error is the reason, for people.
    pub fn make(hierarchy: &Hierarchy) -> Result<BuildGroup, String> {
        match hierarchy.version {
            Version::V1 => {
                let group = make_beneath(&hierarchy.own, hierarchy.controllers.clone())?;
                if group.controllers.contains(&Controller::Cpuset) {
                    inherit_cpuset(&group.directory).map_err(|error| refusal(&group.directory, &error))?;
                }
                Ok(group)
            }
            Version::V2 => {
                let (base, controllers) = unified_base(hierarchy)?;
                let mut group = make_beneath(&base, controllers)?;
                group.controllers = hand_down(&group.directory, &group.controllers);
                Ok(group)
            }
        }
    }
}

impl Drop for BuildGroup {
    fn drop(&mut self) {
        _ = rustix::fs::rmdir(&self.directory);
    }
}

/// Reads a file of the kernel's.
pub fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Writes to a file of the kernel's, which is there.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// Makes a cgroup.
pub fn make_directory(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::mkdir(path, Mode::from_raw_mode(0o755))?)
}

/// Fills in what a cgroup of the controller cpuset, version 1, has to have before a process can be in it: all that its
/// parent has.
pub fn inherit_cpuset(directory: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = directory.join(file);
        if read(&path)?.trim().is_empty() {
            let parent = directory.parent().unwrap_or(directory);
            write(&path, read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn refusal(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("no cgroup can be made in {}: {error}", path.display())
        }
        _ => format!("cgroup {}: {error}", path.display()),
    }
}

fn make_beneath(base: &Path, controllers: BTreeSet<Controller>) -> Result<BuildGroup, String> {
    sweep(base);
    let pid = std::process::id();
    for attempt in 0..N_NAMES {
        let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let directory = base.join(format!("{PREFIX}{pid}{suffix}"));
        match make_directory(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(refusal(base, &error)),
            Ok(()) => {}
        }
        // Another build that sweeps may have been faster: then it holds the lock, or the directory is gone.
        if let Some(lock) = lock(&directory) {
            return Ok(BuildGroup { directory, controllers, _lock: lock });
        }
    }
    Err(format!("no cgroup can be made in {}: all names are taken", base.display()))
}

fn lock(directory: &Path) -> Option<OwnedFd> {
    let open = openat(CWD, directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    flock(&open, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Locked after it was removed, it is nothing.
    directory.exists().then_some(open)
}

/// Removes what killed builds left: cgroups whose lock nobody holds.
fn sweep(base: &Path) {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
    };
    let is_builds =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    for build in names(base).filter(is_builds) {
        if let Some(_lock) = lock(&build) {
            names(&build).for_each(|step| _ = rustix::fs::rmdir(step));
            _ = rustix::fs::rmdir(&build);
        }
    }
}

/// Returns the cgroup of the unified hierarchy beneath which the build's is made, and the controllers that it hands down.
fn unified_base(hierarchy: &Hierarchy) -> Result<(PathBuf, BTreeSet<Controller>), String> {
    let own = &hierarchy.own;
    let available = listed(&own.join("cgroup.controllers"));
    if available.is_empty() {
        return Err(format!("{} has none of the controllers cpu, cpuset and memory", own.display()));
    }
    if leave(own).is_ok() || own == &hierarchy.mount {
        let controllers = hand_down(own, &available);
        if !controllers.is_empty() {
            return Ok((own.clone(), controllers));
        }
    }
    let beside = own.parent().filter(|parent| own != &hierarchy.mount && parent.starts_with(&hierarchy.mount));
    match beside {
        Some(parent) if !has_limits(own) => {
            let controllers = hand_down(parent, &listed(&parent.join("cgroup.controllers")));
            match controllers.is_empty() {
                true => Err(format!("{} hands none of the controllers cpu, cpuset and memory down", parent.display())),
                false => Ok((parent.to_owned(), controllers)),
            }
        }
        _ => Err(format!("{} has other processes and cannot hand controllers down", own.display())),
    }
}

/// Hands controllers to the cgroups beneath one, each for itself; returns those that are handed down.
fn hand_down(directory: &Path, controllers: &BTreeSet<Controller>) -> BTreeSet<Controller> {
    let control = directory.join("cgroup.subtree_control");
    let given = listed(&control);
    for controller in controllers.difference(&given) {
        _ = write(&control, &format!("+{}", controller.name()));
    }
    listed(&control).intersection(controllers).copied().collect()
}

fn listed(path: &Path) -> BTreeSet<Controller> {
    let text = read(path).unwrap_or_default();
    Controller::ALL
        .into_iter()
        .filter(|controller| text.split_whitespace().any(|name| name == controller.name()))
        .collect()
}

/// Says whether a cgroup limits its processes, which those of a cgroup beside it would be free of.
fn has_limits(directory: &Path) -> bool {
    ["memory.max", "memory.high", "memory.swap.max", "cpu.max", "pids.max"]
        .iter()
        .any(|file| read(&directory.join(file)).is_ok_and(|text| !text.trim().is_empty() && !text.starts_with("max")))
}

/// Moves `bake` and what it started from its cgroup to a leaf of that, if nobody else is in it.
fn leave(own: &Path) -> Result<(), ()> {
    let procs = || read(&own.join("cgroup.procs")).unwrap_or_default();
    let pids: Vec<u32> = procs().lines().filter_map(|line| line.parse().ok()).collect();
    if pids.is_empty() {
        return Ok(());
    }
    if !pids.iter().all(|pid| is_ours(*pid)) {
        return Err(());
    }
    let leaf = own.join(format!("{PREFIX}{}-self", std::process::id()));
    make_directory(&leaf).map_err(drop)?;
    for pid in pids {
        write(&leaf.join("cgroup.procs"), &pid.to_string()).map_err(drop)?;
    }
    if procs().trim().is_empty() { Ok(()) } else { Err(()) }
}

/// Says whether a process is this one or was started by it.
fn is_ours(mut pid: u32) -> bool {
    for _ in 0..MAX_DEPTH {
        if pid == std::process::id() {
            return true;
        }
        let status = read(Path::new(&format!("/proc/{pid}/status"))).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        match parent {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}
