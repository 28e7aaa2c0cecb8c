//! `--keep-going`: what is built beside what failed, and what is said of each target.

use crate::support::{Project, registry};

/// `good` and `bad` are on their own; `on_bad` links to `bad`, and `partly` fails for one platform.
fn targets() -> Option<Project> {
    let project = Project::new(registry()?);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        target "good" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN sleep 0.3; true\n"
          tags = ["${REPOSITORY}:good"]
        }
        target "bad" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN exit 3\nRUN true\n"
          tags = ["${REPOSITORY}:bad"]
        }
        target "on_bad" {
          contexts = { bad = "target:bad" }
          dockerfile-inline = "FROM bad\nRUN true\n"
          tags = ["${REPOSITORY}:on-bad"]
        }
        target "partly" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN [ $(uname -m) = x86_64 ]\n"
          platforms = ["linux/amd64", "linux/arm64"]
          tags = ["${REPOSITORY}:partly"]
        }
        "#,
    );
    Some(project)
}

#[test]
fn what_failed_what_was_built_and_what_was_not_begun_is_told_and_nothing_is_published() {
    let Some(project) = targets() else { return };
    let ran = project.bake(&["build", "all", "--push", "--keep-going"]).fails(1);
    let (_, table) = ran.stderr.split_once("built 2 of 5; nothing was published:\n").expect(&ran.stderr);
    let mut rows: Vec<&str> = table.trim_end().lines().collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [
            "  bad     linux/amd64  failed     [2/3] RUN exit 3 (bad:dockerfile-inline:2): exit code 3",
            "  good    linux/amd64  built",
            "  on_bad  linux/amd64  not begun  because of target \"bad\"",
            "  partly  linux/amd64  built",
            "  partly  linux/arm64  failed     [linux/arm64 2/2] RUN [ $(uname -m) = x86_64 ] (partly:dockerfile-inline:2): exit code 1",
        ]
    );
    for tag in ["good", "bad", "on-bad", "partly"] {
        assert_eq!(project.raw(tag), None, "{tag}");
    }
    assert!(!project.exists("bake.lock") && ran.stdout.is_empty(), "{}", ran.stdout);
    // What was built is in the cache.
    assert!(project.bake(&["build", "good", "--push", "--keep-going"]).succeeds().ran_nothing());
    assert!(project.raw("good").is_some());
}

#[test]
fn without_it_the_first_failure_ends_the_build_and_no_table_is_shown() {
    let Some(project) = targets() else { return };
    let ran = project.bake(&["build", "bad", "good"]).fails(1);
    assert!(!ran.stderr.contains("nothing was published"), "{}", ran.stderr);
}
