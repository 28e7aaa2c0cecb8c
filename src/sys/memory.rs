//! How much memory processes may still take: the machine's, and what the control groups around this process leave of it.

#![expect(clippy::disallowed_methods, reason = "this is the edge that reads for the rows above")]

use std::path::{Path, PathBuf};

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What there is.
    pub total: u64,
    /// What can be taken without taking it from somebody; page cache counts as free.
    pub available: u64,
}

impl Memory {
    /// Asks the kernel; `None` where it does not say.
    pub fn now() -> Option<Memory> {
        let machine = machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(groups_of(&groups).iter().filter_map(|group| group.memory()).fold(machine, Memory::smaller))
    }

    /// Says whether there is so little left that one more process may be too much: a sixteenth.
    pub fn is_short(&self) -> bool {
        self.available < self.total / 16
    }

    fn smaller(self, other: Memory) -> Memory {
        if other.available < self.available { other } else { self }
    }
}

/// Reads `/proc/meminfo` (proc(5)): `MemTotal` and `MemAvailable`, in KiB.
fn machine(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// A control group's directory, and what its files are called.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: page cache that can go at once.
    cache: &'static str,
}

impl Group {
    /// Returns what the group may take; `None` where it has no limit or is not to be seen.
    fn memory(&self) -> Option<Memory> {
        let read = |name: &str| std::fs::read_to_string(self.directory.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let total = number(self.limit)?;
        let stat = read("memory.stat").unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(self.cache)?.trim().parse::<u64>().ok());
        let used = number(self.usage)?.saturating_sub(cache.unwrap_or(0));
        Some(Memory { total, available: total.saturating_sub(used) })
    }
}

/// Returns the groups that `/proc/self/cgroup` names (cgroups(7)), and all above them, whose limits hold too.
fn groups_of(text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (top, limit, usage, cache) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            }
            _ => continue,
        };
        for path in Path::new(path.trim_start_matches('/')).ancestors() {
            groups.push(Group { directory: Path::new(top).join(path), limit, usage, cache });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_kibibytes() {
        let text = "MemTotal:       24684100 kB\nMemFree:  100 kB\nMemAvailable:   1542756 kB\n";
        let memory = machine(text).expect("read");
        assert_eq!(memory, Memory { total: 24_684_100 << 10, available: 1_542_756 << 10 });
        assert!(memory.is_short());
        assert_eq!(machine("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn groups_above_count_too() {
        let directories = |text| groups_of(text).into_iter().map(|group| group.directory).collect::<Vec<_>>();
        let unified = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"].map(PathBuf::from);
        assert_eq!(directories("0::/a/b\n"), unified);
        let hybrid = ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory/"].map(PathBuf::from);
        assert_eq!(directories("12:cpu,cpuacct:/x\n4:memory:/x\n"), hybrid);
    }

    #[test]
    fn a_group_has_what_its_limit_leaves() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
        let group = || groups_of("0::/\n").remove(0);
        let group = || Group { directory: directory.path().to_owned(), ..group() };
        assert_eq!(group().memory(), None);
        write("memory.max", "max\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 300\n");
        assert_eq!(group().memory(), None);
        write("memory.max", "1000\n");
        assert_eq!(group().memory(), Some(Memory { total: 1000, available: 400 }));
    }
}
