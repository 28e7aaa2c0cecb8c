//! What a step may use: cgroups, limits of processes, shared memory.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::secrets::project;
use crate::support::account::{Account, Ids};
use crate::support::{Project, registry, skip};

/// Says whether this user can make cgroups of version 1 with all controllers that limits need, else that it cannot.
fn has_cgroups() -> bool {
    let is_there = |name: &str| Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists();
    let has = rustix::process::geteuid().is_root() && ["memory", "cpu", "cpuset"].iter().all(|name| is_there(name));
    if !has {
        skip("only root makes cgroups, and this test looks at those of version 1");
    }
    has
}

/// Returns the cgroups that the build with this number has.
fn cgroups_of(pid: u32) -> Vec<String> {
    let name = format!("bake-{pid}");
    let found = crate::support::run("find", &["/sys/fs/cgroup", "-type", "d", "-name", &name]).stdout;
    found.lines().map(str::to_owned).collect()
}

fn set_attributes(project: &Project, old: &str, new: &str) {
    let text = project.read("build.hcl");
    assert!(text.contains(old), "{text}");
    project.write("build.hcl", &text.replace(old, new));
}

#[test]
fn a_step_that_uses_up_its_memory_fails_and_says_so() {
    let (Some(registry), true) = (registry(), has_cgroups()) else { return };
    let steps = "RUN head -c 400m /dev/zero | tail -c 300000000 > /dev/null; [ $? = 0 ]\n";
    let project = project(registry, "resources = { memory = \"32m\" }", &format!("SHELL [\"sh\", \"-ec\"]\n{steps}"));
    project.write("Dockerfile", &project.read("Dockerfile").replace("RUN head", "RUN set -o pipefail; head"));
    let failed = project.bake(&["build"]).fails(1);
    for part in ["used up the 33554432 bytes of `memory` in `resources`", "exit code 1", "Dockerfile:4"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn limits_hold_for_the_whole_step_and_its_cgroups_go() {
    let (Some(registry), true) = (registry(), has_cgroups()) else { return };
    let limits = "resources = { memory = \"256m\", cpu-quota = 50000, cpu-shares = 512, cpuset-cpus = \"0\" }";
    let seen = "RUN grep Cpus_allowed_list /proc/self/status > /seen; grep -E ':(memory|cpu|cpuset):' /proc/self/cgroup \
                | sed 's/^[0-9]*//' | sort >> /seen\nRUN sleep 60\n";
    let project = project(registry, limits, seen);
    let mut build = project.command(&["build"]).stderr(Stdio::null()).spawn().expect("bake starts");
    let until = Instant::now() + Duration::from_secs(30);
    let read = |group: &str, file: &str| {
        let path = std::fs::read_dir(group).ok()?.flatten().find(|entry| entry.path().is_dir())?.path().join(file);
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    };
    let values = || {
        let mut found: Vec<String> = Vec::new();
        for group in cgroups_of(build.id()) {
            for file in ["memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares", "cpuset.cpus"] {
                found.extend(read(&group, file).map(|value| format!("{file}={value}")));
            }
        }
        found.sort();
        found.dedup();
        found
    };
    let expected = ["cpu.cfs_quota_us=50000", "cpu.shares=512", "cpuset.cpus=0", "memory.limit_in_bytes=268435456"];
    while values() != expected {
        assert!(Instant::now() < until, "{:?}", values());
        std::thread::sleep(Duration::from_millis(10));
    }
    // A killed build leaves its cgroups to the next one that makes some.
    build.kill().expect("killed");
    build.wait().expect("ended");
    project.write("Dockerfile", &project.read("Dockerfile").replace("RUN sleep 60\n", ""));
    let until = Instant::now() + Duration::from_secs(30);
    while !cgroups_of(build.id()).is_empty() {
        assert!(Instant::now() < until, "{:?}", cgroups_of(build.id()));
        project.bake(&["build", "--no-cache"]).succeeds();
    }
    assert_eq!(project.read("out/seen"), "Cpus_allowed_list:\t0\n:cpu:/\n:cpuset:/\n:memory:/\n");
}

#[test]
fn limits_are_no_part_of_a_steps_key_and_process_limits_are() {
    let Some(registry) = registry() else { return };
    let attributes = "ulimits = [\"nofile=77:88\", \"core=0\", \"nofile=100:200\"]\nshm-size = \"8m\"";
    let steps = "RUN ulimit -n > /seen; ulimit -H -n >> /seen; ulimit -c >> /seen; df -k /dev/shm | tail -1 | awk '{print $2}' >> /seen\n";
    let project = project(registry, attributes, steps);
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "100\n200\n0\n8192\n");
    set_attributes(&project, "shm-size = \"8m\"", "shm-size = \"8m\"\nresources = { memory = \"2g\" }");
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    for (old, new) in [("8m", "9m"), ("nofile=100:200", "nofile=100:201")] {
        set_attributes(&project, old, new);
        assert!(!project.bake(&["build"]).succeeds().ran_nothing(), "{new}");
    }
    assert_eq!(project.read("out/seen"), "100\n201\n0\n9216\n");
}

#[test]
fn limits_that_mean_nothing_or_cannot_be_given_are_refused() {
    let Some(registry) = registry() else { return };
    // Nobody may open more files than fs.nr_open says.
    let project = project(registry, "ulimits = [\"nofile=9000000000\"]", "RUN true\n");
    let failed = project.bake(&["build"]).fails(4);
    assert!(failed.stderr.contains("setting the limit nofile: 9000000000 is more than this host"), "{}", failed.stderr);
    let cases = [
        ("ulimits = [\"files=1\"]", "there is no limit `files`"),
        ("shm-size = \"many\"", "`many` is no size"),
        ("resources = { memory = \"many\" }", "`memory` of `resources`: `many` is no size"),
        ("resources = { memory-swap = \"1g\" }", "needs `memory` beside it"),
        ("resources = { memory = \"2g\", memory-swap = \"1g\" }", "is less than `memory`"),
        ("resources = { cpuset-cpus = \"3-1\" }", "`3-1` is neither a number nor a range"),
    ];
    for (attribute, message) in cases {
        let bakefile = format!("target \"default\" {{\n  dockerfile-inline = \"FROM scratch\"\n  {attribute}\n}}\n");
        let failed = project.write("build.hcl", &bakefile).bake(&["build"]).fails(3);
        assert!(failed.stderr.contains(message) && failed.stderr.contains("build.hcl:3"), "{}", failed.stderr);
    }
}

#[test]
fn without_cgroups_a_limit_is_kept_otherwise_or_refused_by_name() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-limits", Ids::Single) else { return };
    let limits = "resources = { memory = \"64m\", cpuset-cpus = \"0\" }";
    let project =
        project(registry, limits, "RUN ulimit -d > /seen; grep Cpus_allowed_list /proc/self/status >> /seen\n");
    account.adopt(&project);
    let built = account.bake(&project, &["build", "--progress", "plain"]).succeeds();
    assert_eq!(project.read("out/seen"), "65536\nCpus_allowed_list:\t0\n");
    let note = "note: `memory` holds for each process of a step";
    assert_eq!(built.stderr.matches(note).count(), 1, "{}", built.stderr);
    for (limit, name) in [
        ("cpu-quota = 50000", "cpu-quota"),
        ("cpu-shares = 2", "cpu-shares"),
        ("memory-swap = \"65m\"", "memory-swap"),
        ("cpuset-mems = \"0\"", "cpuset-mems"),
    ] {
        let bakefile = project.read("build.hcl").replace("cpuset-cpus = \"0\"", limit);
        project.write("other.hcl", &bakefile);
        let failed = account.bake(&project, &["build", "-f", "other.hcl", "--no-cache"]).fails(4);
        let message = format!("`{name}` of `resources` cannot be kept here: no cgroup can be made in");
        assert!(
            failed.stderr.contains(&message) && failed.stderr.contains("hint: run bake as root"),
            "{}",
            failed.stderr
        );
    }
}

#[test]
fn a_compose_file_has_limits_too() {
    let Some(registry) = registry() else { return };
    let project =
        project(registry, "", "RUN ulimit -n > /seen; df -k /dev/shm | tail -1 | awk '{print $2}' >> /seen\n");
    project.write(
        "compose.yaml",
        "services:\n  app:\n    build:\n      context: .\n      args:\n        - REGISTRY\n      shm_size: 16m\n      \
         ulimits:\n        nofile:\n          soft: 50\n          hard: 60\n",
    );
    project.bake(&["build", "-f", "compose.yaml", "app", "-o", "type=local,dest=out"]).succeeds();
    assert_eq!(project.read("out/seen"), "50\n16384\n");
}
