//! The lockfile as the cache index: what it has a result for is not built, though the store has nothing.

use std::path::Path;

use crate::support::{self, Project, registry};

/// The project as somebody else has it who cloned it: its files and its lockfile, and an empty store.
fn forget(project: &Project) {
    support::remove(&project.store());
}

/// Two targets, each of its own directory and a shared file.
fn pair(registry: &support::Registry) -> Project {
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        group "default" { targets = ["service"] }
        target "service" {
          name      = name
          matrix    = { name = ["one", "two"] }
          platforms = ["linux/amd64", "linux/arm64"]
          tags      = ["${REPOSITORY}/${name}:1"]
          args      = { REGISTRY = REGISTRY, NAME = name }
        }
        "#,
    );
    project.write(
        "Dockerfile",
        "ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nARG NAME\nCOPY shared $NAME /srv/\nRUN uname -m > /machine\n",
    );
    project.write("shared", "shared").write("one/file", "1").write("two/file", "2");
    project
}

/// Returns how many steps ran and how many images were locked, as the last lines say.
fn counts(ran: &support::Ran) -> (usize, usize) {
    let line = ran.stderr.lines().find(|line| line.starts_with("built ")).expect(&ran.stderr);
    let before = |word: &str| {
        let text = line.split_once(word)?.0;
        text.rsplit([' ', ',']).find_map(|word| word.parse().ok())
    };
    (before(" steps ran").expect(line), before(" image locked").or(before(" images locked")).unwrap_or(0))
}

fn n_blobs_of(requests: &[String], method: &str) -> usize {
    requests.iter().filter(|request| request.starts_with(method) && request.contains("/blobs/")).count()
}

/// Says how many layers' files are in the store.
fn n_snapshots(store: &Path) -> usize {
    std::fs::read_dir(store.join("snapshots")).map_or(0, Iterator::count)
}

#[test]
fn a_fresh_clone_runs_no_step_and_fetches_no_layer() {
    if registry().is_none() {
        return;
    }
    let (mut server, own) = support::own_registry();
    let project = pair(&own);
    let first = project.bake(&["build", "--push"]).succeeds();
    let lock = project.read("bake.lock");
    server.stop();
    server.restart().expect("restarted");
    forget(&project);
    let again = project.bake(&["build", "--push"]).succeeds();
    assert_eq!(counts(&again), (0, 2), "{}", again.stderr);
    assert_eq!(n_snapshots(&project.store()), 0);
    let requests = server.stop();
    // The base image's config decides the steps, so that is read.
    assert_eq!((n_blobs_of(&requests, "GET "), n_blobs_of(&requests, "HEAD ")), (2, 0), "{requests:#?}");
    assert!(
        requests.iter().all(|request| request.starts_with("HEAD ") || request.starts_with("GET ")),
        "{requests:#?}"
    );
    assert_eq!((again.stdout, project.read("bake.lock")), (first.stdout, lock));
}

#[test]
fn only_what_sees_a_change_is_built() {
    let Some(registry) = registry() else { return };
    let project = pair(registry);
    project.bake(&["build", "--push"]).succeeds();
    forget(&project);
    project.write("one/file", "another");
    let again = project.bake(&["build", "--push"]).succeeds();
    assert_eq!(counts(&again), (4, 1), "{}", again.stderr);
    let fresh = project.read("bake.lock");
    forget(&project);
    std::fs::remove_file(project.path().join("bake.lock")).expect("there");
    let all = project.bake(&["build", "--push"]).succeeds();
    assert_eq!(counts(&all), (8, 0), "{}", all.stderr);
    assert_eq!((all.stdout, project.read("bake.lock")), (again.stdout, fresh));
}

#[test]
fn new_tags_name_what_the_registry_has() {
    let Some(registry) = registry() else { return };
    let project = pair(registry);
    let first = project.bake(&["build", "--push"]).succeeds();
    forget(&project);
    let file = project.read("build.hcl").replace("/${name}:1", "/${name}:2");
    project.write("build.hcl", &file);
    let again = project.bake(&["build", "--push"]).succeeds();
    assert_eq!(counts(&again), (0, 2), "{}", again.stderr);
    assert!(again.stderr.contains(&format!("pushed {}/one:2", project.repository)), "{}", again.stderr);
    assert_eq!(again.stdout, first.stdout);
}

#[test]
fn what_the_lockfile_cannot_stand_for_is_built() {
    let Some(registry) = registry() else { return };
    let project = pair(registry);
    let first = project.bake(&["build", "--push"]).succeeds();
    let lock = project.read("bake.lock");
    let built = |arguments: &[&str], why: &str| {
        forget(&project);
        let ran = project.bake(arguments).succeeds();
        assert_eq!(counts(&ran), (8, 0), "{why}: {}", ran.stderr);
    };
    built(&["build", "--push", "--no-cache"], "nothing is to be taken for granted");
    built(&["build", "-o", "type=oci,dest=out.tar"], "bytes are wanted");
    let moved = ["build", "--push", "--set", &format!("*.tags={}/elsewhere:1", project.repository)];
    // Two targets must not share a tag, so one is built.
    forget(&project);
    let one = [&moved[..], &["one"]].concat();
    let elsewhere = project.bake(&one).succeeds();
    assert_eq!(counts(&elsewhere), (4, 0), "it is not in that repository: {}", elsewhere.stderr);
    // A result that its own layers do not make is none.
    let manifest = lock.lines().find(|line| line.starts_with("manifest = ")).expect("a result");
    let lie = format!("manifest = \"sha256:{}\"", "0".repeat(64));
    project.write("bake.lock", &lock.replace(manifest, &lie));
    forget(&project);
    let ran = project.bake(&["build", "--push"]).succeeds();
    assert_eq!(counts(&ran), (4, 1), "{}", ran.stderr);
    assert_eq!((ran.stdout, project.read("bake.lock")), (first.stdout, lock));
}

#[test]
fn a_lockfile_that_would_change_fails_the_build_where_that_is_asked_for() {
    let Some(registry) = registry() else { return };
    let project = pair(registry);
    let none = project.bake(&["build", "--push", "--locked"]).fails(6);
    assert!(
        none.stderr.contains("error: bake.lock is not what this build came to, and --locked was given"),
        "{}",
        none.stderr
    );
    assert!(!project.exists("bake.lock"));
    project.bake(&["build", "--push"]).succeeds();
    let lock = project.read("bake.lock");
    project.bake(&["build", "--push", "--locked"]).succeeds();
    project.write("two/file", "another");
    let changed = project.bake(&["build", "--push", "--locked"]).fails(6);
    assert!(changed.stderr.contains("note: target two, linux/amd64: sha256:"), "{}", changed.stderr);
    assert!(!changed.stderr.contains("target one"), "{}", changed.stderr);
    assert!(!changed.stderr.contains("pushed"), "{}", changed.stderr);
    assert_eq!(project.read("bake.lock"), lock);
    // Nothing was published either.
    forget(&project);
    project.write("two/file", "2");
    let again = project.bake(&["build", "--push", "--locked"]).succeeds();
    assert_eq!(counts(&again), (0, 2), "{}", again.stderr);
}
