//! bake killed at any moment, and two of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bake::digest::Digest;

use crate::support::{self, Project, Ran, registry, run};

/// How often bake is killed, spread evenly over a build.
const N_KILLS: u32 = 25;

/// Returns the processes that have `mark` in their command line.
fn left_running(mark: &str) -> Vec<String> {
    let ps = run("ps", &["-eo", "pid,args"]).succeeds().stdout;
    ps.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

fn mounts() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("Linux");
    text.lines().map(str::to_owned).collect()
}

/// Waits until `left` is empty: the kernel takes a killed process's children away a moment after it.
fn check_gone(left: impl Fn() -> Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !left().is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:#?}", left());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Hello with steps that take a while, so that a kill finds some under way; `mark` is in their command lines.
fn marked(registry: &support::Registry, mark: &str) -> Project {
    let project = support::hello(registry);
    let dockerfile = project.read("Dockerfile");
    let slow = format!("RUN sleep 0.05; true {mark}\nCMD");
    project.write("Dockerfile", &dockerfile.replace("CMD", &slow));
    project
}

/// Checks every blob of the store against its name, and that nothing of a killed process is there.
fn check_store(project: &Project) {
    let blobs = std::fs::read_dir(project.store().join("blobs/sha256")).expect("a store");
    let mut n_blobs = 0;
    for blob in blobs {
        let path = blob.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a blob");
        assert_eq!(Digest::of(&bytes).hex(), name);
        n_blobs += 1;
    }
    assert!(n_blobs > 0);
    let left: Vec<_> = std::fs::read_dir(project.store().join("tmp")).expect("a store").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Returns every snapshot as `tar` sees it: names, kinds, modes, owners, times and content.
fn snapshots(project: &Project) -> BTreeMap<String, String> {
    let directory = project.store().join("snapshots");
    let names = std::fs::read_dir(&directory).expect("a store");
    let sum = |name: std::io::Result<std::fs::DirEntry>| {
        let name = name.expect("an entry").file_name().to_string_lossy().into_owned();
        let tar = Command::new("tar")
            .args(["--sort=name", "--format=gnu", "--mtime=@0", "--numeric-owner", "-cf", "-", "-C"])
            .arg(directory.join(&name))
            .arg(".")
            .stdin(Stdio::null())
            .output()
            .expect("tar starts");
        (name, Digest::of(&tar.stdout).to_string())
    };
    names.map(sum).collect()
}

#[test]
fn a_build_killed_at_any_moment_leaves_nothing_and_is_completed_by_the_next() {
    let Some(registry) = registry() else { return };
    let mark = format!("mark-{}-crash", std::process::id());
    let expected = marked(registry, &mark);
    let begin = Instant::now();
    expected.bake(&["build", "all", "--push"]).succeeds();
    let duration = begin.elapsed();
    let before = mounts();
    let project = marked(registry, &mark);
    for n in 0..N_KILLS {
        // Every other time all is cold, registry included; between, what the kill before left is gone on with.
        if n % 2 == 0 {
            support::remove(&project.store());
        }
        let mut command = project.command(&["build", "all", "--push"]);
        command.env("REPOSITORY", format!("{}-{}", project.repository, n / 2));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bake starts");
        std::thread::sleep(duration * n / N_KILLS);
        _ = child.kill();
        child.wait().expect("waited");
        check_gone(|| left_running(&mark));
        assert_eq!(mounts().difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    project.bake(&["build", "all", "--push"]).succeeds();
    assert_eq!(project.raw("1"), expected.raw("1"));
    check_store(&project);
    let (actual, expected_snapshots) = (snapshots(&project), snapshots(&expected));
    assert_eq!(actual, expected_snapshots);
    project.bake(&["build", "all", "--push", "--no-cache", "--var", "TAG=2"]).succeeds();
    assert_eq!(project.raw("2"), expected.raw("1"));
}

#[test]
fn two_builds_at_once_in_one_empty_store_make_the_same() {
    let Some(registry) = registry() else { return };
    let mark = format!("mark-{}-two", std::process::id());
    let project = marked(registry, &mark);
    let start = |tag: &str| {
        let mut command = project.command(&["build", "all", "--push", "--var", tag]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bake starts")
    };
    let both = [start("TAG=1"), start("TAG=2")];
    for child in both {
        Ran::from(child.wait_with_output().expect("waited")).succeeds();
    }
    assert_eq!(project.raw("1"), project.raw("2"));
    assert!(project.raw("1").is_some());
    check_store(&project);
    let again = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
}
