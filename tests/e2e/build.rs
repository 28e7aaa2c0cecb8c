//! Building and pushing for three platforms.

use std::time::{Duration, Instant};

use crate::support::{self, Project, registry, run};

#[test]
fn three_platforms_are_built_pushed_and_locked_and_the_second_build_runs_nothing() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let first = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(!first.ran_nothing(), "{}", first.stderr);
    let index = project.index("1").expect("pushed");
    assert_eq!(index.keys().collect::<Vec<_>>(), ["amd64", "arm64", "armv7"]);
    let lock = project.read("bake.lock");
    for digest in index.values() {
        assert!(lock.contains(digest), "{digest} is not in\n{lock}");
    }
    let second = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(second.ran_nothing(), "{}", second.stderr);
    assert_eq!(project.read("bake.lock"), lock);
    assert_eq!(project.index("1").expect("still there"), index);
}

#[test]
fn each_variant_is_of_its_architecture_and_runs() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["hello", "--output", "type=registry", "--output", "type=local,dest=out"]).succeeds();
    for (platform, machine) in [("linux_amd64", "x86_64"), ("linux_arm64", "aarch64"), ("linux_arm_v7", "armv7l")] {
        assert_eq!(project.read(&format!("out/{platform}/app/arch")), format!("{machine}\n"));
        assert_eq!(project.read(&format!("out/{platform}/app/greeting")), format!("hello from {machine}\n"));
    }
    // skopeo checks each blob against its digest while it copies.
    let name = format!("docker://{}:1", project.repository);
    let layout = format!("oci:{}:1", project.path().join("layout").display());
    let copied = run("skopeo", &["copy", "--all", "--src-tls-verify=false", &name, &layout]);
    copied.succeeds();
}

#[test]
fn two_builds_without_cache_in_two_stores_are_equal_to_the_bit() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "--push", "hello"]).succeeds();
    let first = project.raw("1").expect("pushed");
    let other = project.store().with_file_name("another-store");
    let mut command = project.command(&["build", "hello", "--push", "--no-cache", "--var", "TAG=2", "-j", "1"]);
    let again: support::Ran = command.env("BAKE_STORE", other).output().expect("bake starts").into();
    assert!(!again.succeeds().ran_nothing());
    assert_eq!(project.raw("2").expect("pushed"), first);
}

#[test]
fn a_build_that_was_killed_completes_when_it_is_run_again() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let expected = support::hello(registry);
    expected.bake(&["build", "all", "--push"]).succeeds();
    // At several moments: while it resolves, pulls, runs, compresses, pushes.
    for wait in [20, 60, 120, 200, 300, 450] {
        let mut child = project.command(&["build", "all", "--push"]).spawn().expect("bake starts");
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
    project.bake(&["build", "all", "--push"]).succeeds();
    assert_eq!(project.index("1"), expected.index("1"));
    let again = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
}

#[test]
fn a_change_of_one_file_runs_only_what_reads_it() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all"]).succeeds();
    project.write("unrelated.txt", "not copied\n");
    let unrelated = project.bake(&["build", "all"]).succeeds();
    assert!(unrelated.ran_nothing(), "{}", unrelated.stderr);
    project.write("greet.sh", "#!/bin/sh\necho good day from $(uname -m)\n");
    let changed = project.bake(&["build", "all", "--output", "type=local,dest=out"]).succeeds();
    // COPY once for each platform's root file system, and the RUN after it.
    assert!(changed.stderr.contains("6 steps ran"), "{}", changed.stderr);
    assert_eq!(project.read("out/linux_arm64/app/greeting"), "good day from aarch64\n");
}

#[test]
fn a_linked_target_and_a_shared_build_stage_run_once() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        target "base" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN echo shared > /base\n"
        }
        target "app" {
          contexts = { base = "target:base" }
          dockerfile-inline = <<EOT
          FROM --platform=$BUILDPLATFORM ${REGISTRY}/base/busybox:1 AS tool
          RUN echo compiled > /out
          FROM base
          COPY --from=tool /out /out
          RUN cat /base /out > /both
          EOT
          platforms = ["linux/amd64", "linux/arm64"]
        }
        "#,
    );
    let ran = project.bake(&["build", "app", "--output", "type=local,dest=out"]).succeeds();
    // base, copy and cat for each platform; the tool's step once.
    assert!(ran.stderr.contains("7 steps ran"), "{}", ran.stderr);
    assert_eq!(project.read("out/linux_arm64/both"), "shared\ncompiled\n");
}

#[test]
fn nothing_is_left_running_when_a_build_is_interrupted() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let mark = format!("sleep 98765.{}", std::process::id());
    project.write(
        "build.hcl",
        "variable \"REGISTRY\" {}\ntarget \"default\" { args = { BASE = \"${REGISTRY}/base/busybox:1\" } }\n",
    );
    project.write("Dockerfile", &format!("ARG BASE\nFROM ${{BASE}}\nRUN {mark} & {mark}\n"));
    let mut child = project.command(&["build"]).spawn().expect("bake starts");
    let is_running = || {
        let ps = run("ps", &["-eo", "args"]).stdout;
        ps.lines().any(|line| line.starts_with(&mark))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_running() {
        assert!(Instant::now() < deadline, "the step never started");
        std::thread::sleep(Duration::from_millis(10));
    }
    run("kill", &["-INT", &child.id().to_string()]).succeeds();
    assert_eq!(child.wait().expect("waited").code(), Some(130));
    assert!(!is_running());
    assert!(!project.exists("bake.lock"));
}

#[test]
fn a_context_is_without_the_lockfile_that_the_build_writes() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { dockerfile-inline = \"FROM scratch\\nCOPY . /\" }\n");
    let first = project.bake(&["build"]).succeeds();
    assert!(project.exists("bake.lock"));
    let second = project.bake(&["build"]).succeeds();
    assert!(second.ran_nothing(), "{}", second.stderr);
    assert_eq!(first.stdout, second.stdout);
}
