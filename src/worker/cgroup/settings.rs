//! From the values of `resources` to the files of a cgroup.

use super::hierarchy::{Controller, Version};
use crate::bakefile::set_text;
use crate::graph::{Resources, Swap};

/// The period of a CPU quota where none is said, in microseconds.
const PERIOD: u64 = 100_000;

/// Says whether one of the limits is a controller's.
pub fn needs(resources: &Resources, controller: Controller) -> bool {
    !limit(resources, controller).is_empty()
}

/// Returns the name of the first limit that is a controller's; empty where there is none.
pub fn limit(resources: &Resources, controller: Controller) -> &'static str {
    let named = match controller {
        Controller::Memory => {
            [("memory", resources.memory.is_some()), ("memory-swap", resources.memory_swap.is_some())].to_vec()
        }
        Controller::Cpu => [
            ("cpu-quota", resources.cpu_quota.is_some()),
            ("cpu-period", resources.cpu_period.is_some()),
            ("cpu-shares", resources.cpu_shares.is_some()),
        ]
        .to_vec(),
        Controller::Cpuset => {
            [("cpuset-mems", !resources.cpuset_mems.is_empty()), ("cpuset-cpus", !resources.cpuset_cpus.is_empty())]
                .to_vec()
        }
    };
    named.into_iter().find(|(_, is_set)| *is_set).map_or("", |(name, _)| name)
}

/// Returns what is written for a controller, in order: the limit, the file, the value.
pub fn settings(
    resources: &Resources,
    controller: Controller,
    version: Version,
) -> Vec<(&'static str, &'static str, String)> {
    let Resources { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } = resources;
    let mut files = Vec::new();
    let mut add = |limit, file, value: Option<String>| files.extend(value.map(|value| (limit, file, value)));
    let text = |number: &Option<u64>| number.as_ref().map(u64::to_string);
    match (controller, version) {
        (Controller::Memory, Version::V1) => {
            let both = memory_swap.map(|swap| match swap {
                Swap::Unlimited => "-1".to_owned(),
                Swap::WithMemory(both) => both.to_string(),
            });
            add("memory", "memory.limit_in_bytes", text(memory));
            add("memory-swap", "memory.memsw.limit_in_bytes", both);
        }
        (Controller::Memory, Version::V2) => {
            let swap = memory_swap.map(|swap| match swap {
                Swap::Unlimited => "max".to_owned(),
                Swap::WithMemory(both) => both.saturating_sub(memory.unwrap_or(0)).to_string(),
            });
            add("memory", "memory.max", text(memory));
            add("memory-swap", "memory.swap.max", swap);
        }
        (Controller::Cpu, Version::V1) => {
            add("cpu-shares", "cpu.shares", text(cpu_shares));
            add("cpu-period", "cpu.cfs_period_us", text(cpu_period));
            add("cpu-quota", "cpu.cfs_quota_us", text(cpu_quota));
        }
        (Controller::Cpu, Version::V2) => {
            add("cpu-shares", "cpu.weight", cpu_shares.map(|shares| weight(shares).to_string()));
            let is_set = cpu_quota.is_some() || cpu_period.is_some();
            let max = || {
                let quota = cpu_quota.map_or("max".to_owned(), |quota| quota.to_string());
                format!("{quota} {}", cpu_period.unwrap_or(PERIOD))
            };
            add("cpu-quota", "cpu.max", is_set.then(max));
        }
        (Controller::Cpuset, _) => {
            add("cpuset-cpus", "cpuset.cpus", Some(set_text(cpuset_cpus)).filter(|set| !set.is_empty()));
            add("cpuset-mems", "cpuset.mems", Some(set_text(cpuset_mems)).filter(|set| !set.is_empty()));
        }
    }
    files
}

/// Returns the weight (1 to 10000) for shares (2 to 262144), as runc converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, controller: Controller, expected: &[&str]) {
        let mut resources = Resources::default();
        let values = [
            ("memory", "64m"),
            ("memory-swap", "96m"),
            ("cpu-shares", "1024"),
            ("cpu-quota", "50000"),
            ("cpuset-cpus", "0,1,3"),
        ];
        values.iter().for_each(|(name, text)| resources.set(name, text).expect(text));
        let settings = settings(&resources, controller, version);
        let settings: Vec<String> = settings.iter().map(|(_, file, value)| format!("{file}={value}")).collect();
        assert_eq!(settings, expected);
        assert!(needs(&resources, controller) && !needs(&Resources::default(), controller));
    }

    #[test]
    fn each_version_has_its_files() {
        let memory = ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296"];
        check(Version::V1, Controller::Memory, &memory);
        check(Version::V2, Controller::Memory, &["memory.max=67108864", "memory.swap.max=33554432"]);
        check(Version::V1, Controller::Cpu, &["cpu.shares=1024", "cpu.cfs_quota_us=50000"]);
        check(Version::V2, Controller::Cpu, &["cpu.weight=39", "cpu.max=50000 100000"]);
        check(Version::V1, Controller::Cpuset, &["cpuset.cpus=0-1,3"]);
        check(Version::V2, Controller::Cpuset, &["cpuset.cpus=0-1,3"]);
    }
}
