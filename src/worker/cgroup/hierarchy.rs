//! Which cgroups this process is in, and where they are mounted: `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What limits one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Time on processors.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
}

impl Controller {
    /// All that a step's resources need.
    pub const ALL: [Controller; 3] = [Controller::Cpu, Controller::Cpuset, Controller::Memory];

    /// Returns the kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
        }
    }
}

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for a few controllers.
    V1,
    /// The unified hierarchy: controllers are handed down by `cgroup.subtree_control`, and only leaves have processes.
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Those of [`Controller::ALL`] that it has; of the unified one, which it may have is in its files.
    pub controllers: BTreeSet<Controller>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The directory of this process's cgroup.
    pub own: PathBuf,
}

/// Reads the two files. The unified hierarchy comes last, as it has what the others leave.
pub fn hierarchies(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let (mount, kind): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), kind.split(' ').collect());
        let (Some(root), Some(place)) = (mount.get(3), mount.get(4)) else { continue };
        let options: Vec<&str> = kind.get(2).map(|options| options.split(',').collect()).unwrap_or_default();
        let has = |controller: &Controller| options.contains(&controller.name());
        let (version, controllers): (_, BTreeSet<Controller>) = match kind.first() {
            Some(&"cgroup") => (Version::V1, Controller::ALL.into_iter().filter(has).collect()),
            Some(&"cgroup2") => (Version::V2, BTreeSet::new()),
            _ => continue,
        };
        let is_known = found.iter().any(|known| known.version == version && known.controllers == controllers);
        if is_known || (version == Version::V1 && controllers.is_empty()) {
            continue;
        }
        let Some(path) = own_path(cgroup, version, &controllers) else { continue };
        let mount = PathBuf::from(unescaped(place));
        // In a container the mount may show a part of the hierarchy, and the path be that of the whole.
        let beneath = path.strip_prefix(unescaped(root)).unwrap_or(Path::new("")).to_owned();
        let own = if beneath.as_os_str().is_empty() { mount.clone() } else { mount.join(beneath) };
        found.push(Hierarchy { version, controllers, mount, own });
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
    found
}

/// Returns the path of this process's cgroup in a hierarchy: a line `ID:CONTROLLERS:PATH`.
fn own_path<'t>(cgroup: &'t str, version: Version, controllers: &BTreeSet<Controller>) -> Option<&'t Path> {
    let mut lines = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let is_it = |names: &str| match (version, controllers.first()) {
        (Version::V1, Some(controller)) => names.split(',').any(|name| name == controller.name()),
        _ => names.is_empty(),
    };
    lines.find(|(names, _)| is_it(names)).map(|(_, path)| Path::new(path))
}

/// Undoes the kernel's octal escapes of blanks.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mountinfo: &str, cgroup: &str, expected: &[(&str, &[Controller])]) {
        let found = hierarchies(mountinfo, cgroup);
        let found: Vec<(String, Vec<Controller>)> = found
            .iter()
            .map(|found| (found.own.display().to_string(), found.controllers.iter().copied().collect()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(own, all)| ((*own).to_owned(), all.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn hybrid_hosts_have_both_versions() {
        let mounts = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
        let cgroup = "4:memory:/user/a b\n2:cpu,cpuacct:/\n0::/\n";
        let expected: [(&str, &[Controller]); 3] = [
            ("/sys/fs/cgroup/cpu,cpuacct", &[Controller::Cpu]),
            ("/sys/fs/cgroup/memory/user/a b", &[Controller::Memory]),
            ("/sys/fs/cgroup/unified", &[]),
        ];
        check(mounts, cgroup, &expected);
    }

    #[test]
    fn containers_see_a_part() {
        let mount = "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let expected: [(&str, &[Controller]); 1] = [("/sys/fs/cgroup/memory/x", &[Controller::Memory])];
        check(mount, "4:memory:/docker/1/x\n", &expected);
        let expected: [(&str, &[Controller]); 1] = [("/sys/fs/cgroup/memory", &[Controller::Memory])];
        check(mount, "4:memory:/\n", &expected);
    }
}
