//! What a failed build says and leaves behind.

use crate::support::{self, Project, registry};

#[test]
fn a_failed_step_shows_its_line_and_last_output_and_moves_no_tag() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let (tag, lock) = (project.raw("1"), project.read("bake.lock"));
    project.write("greet.sh", "#!/bin/sh\necho about to fail >&2\nexit 3\n");
    let failed = project.bake(&["build", "all", "--push"]).fails(1);
    for part in ["Dockerfile:6", "RUN chmod +x greet.sh", "exit code 3", "hello", "about to fail", "linux/"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
    let end: Vec<&str> = failed.stderr.trim_end().lines().rev().take(4).collect();
    assert!(end.iter().any(|line| line.contains("about to fail")), "{}", failed.stderr);
    assert_eq!(project.raw("1"), tag);
    assert_eq!(project.read("bake.lock"), lock);
}

#[test]
fn one_failed_target_leaves_the_others_tags_where_they_were() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        target "good" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN true\n"
          tags = ["${REPOSITORY}:good"]
        }
        target "bad" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN sleep 0.3; false\n"
          tags = ["${REPOSITORY}:bad"]
        }
        "#,
    );
    project.bake(&["build", "all", "--push"]).fails(1);
    assert_eq!((project.raw("good"), project.raw("bad")), (None, None));
    assert!(!project.exists("bake.lock"));
    project.bake(&["build", "good", "--push"]).succeeds();
    assert!(project.raw("good").is_some());
}

#[test]
fn what_the_engine_cannot_run_is_said_before_anything_runs() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "variable \"REGISTRY\" {}\ntarget \"default\" {\n  args = { REGISTRY = REGISTRY }\n}\n");
    let text = "ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nRUN touch /ran\n\
                RUN --device=vendor.example/device true\n";
    project.write("Dockerfile", text);
    let failed = project.bake(&["build"]).fails(3);
    let message = "Dockerfile:4:5: `RUN --device`: steps get no devices here";
    assert!(failed.stderr.contains(message), "{}", failed.stderr);
    assert!(!failed.stderr.contains("RUN touch /ran"), "{}", failed.stderr);
}

#[test]
fn a_mistake_in_the_bakefile_is_shown_with_its_line() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        "variable \"VERSION\" { default = \"1\" }\ntarget \"default\" {\n  tags = [\"x:${VERISON}\"]\n}\n",
    );
    let failed = project.bake(&["build"]).fails(3);
    for part in ["build.hcl:3:16", "VERISON", "tags = [", "VERSION", "hint:"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn a_mistake_in_the_dockerfile_is_shown_with_its_line() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" {}\n");
    project.write("Dockerfile", "FROM scratch\nCOPPY a b\n");
    let failed = project.bake(&["build"]).fails(3);
    for part in ["Dockerfile:2:1", "COPPY", "COPY"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
    project.write("Dockerfile", "FROM scratch\nCOPY missing.txt /\n");
    let failed = project.bake(&["build"]).fails(1);
    for part in ["Dockerfile:2", "missing.txt"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn an_unknown_target_names_those_there_are() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"web\" {}\n");
    let failed = project.bake(&["build", "wbe"]).fails(3);
    assert!(failed.stderr.contains("web"), "{}", failed.stderr);
}

#[test]
fn an_unreachable_registry_is_one_clear_line() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { dockerfile-inline = \"FROM 127.0.0.1:1/base:1\" }\n");
    let failed = project.bake(&["build"]).fails(5);
    assert!(failed.stderr.contains("127.0.0.1:1"), "{}", failed.stderr);
    assert!(failed.stderr.contains("refused"), "{}", failed.stderr);
}

#[test]
fn a_missing_platform_of_a_base_image_names_those_there_are() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        "variable \"REGISTRY\" {}\ntarget \"default\" {\n  dockerfile-inline = \"FROM ${REGISTRY}/base/busybox:1\"\n  platforms = [\"linux/s390x\"]\n}\n",
    );
    let failed = project.bake(&["build"]).fails(3);
    for part in ["linux/s390x", "linux/arm64"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn a_pin_that_its_registry_no_longer_has_says_what_to_do() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "hello", "--platform", "linux/amd64"]).succeeds();
    let gone = format!("sha256:{}", "0".repeat(64));
    let lock = project.read("bake.lock");
    let pinned = lock.lines().map(|line| match line.strip_prefix("digest = ") {
        Some(_) => format!("digest = \"{gone}\"\n"),
        None => format!("{line}\n"),
    });
    project.write("bake.lock", &pinned.collect::<String>());
    let failed = project.bake(&["build", "hello", "--platform", "linux/amd64"]).fails(5);
    for part in [&gone, "base/busybox:1", "hint: take the entry", "bake.lock"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn what_an_image_lacks_fails_its_step() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "variable \"REGISTRY\" {}\ntarget \"default\" { args = { REGISTRY = REGISTRY } }\n");
    for (instructions, reason) in [("RUN [\"/nope\"]", "/nope"), ("USER nobodyhere\nRUN id", "nobodyhere")] {
        let dockerfile = format!("ARG REGISTRY\nFROM ${{REGISTRY}}/base/busybox:1\n{instructions}\n");
        project.write("Dockerfile", &dockerfile);
        let failed = project.bake(&["build"]).fails(1);
        assert!(failed.stderr.contains(reason), "{}", failed.stderr);
    }
}

#[test]
fn an_error_in_a_dockerfile_is_said_once_for_all_platforms() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { platforms = [\"linux/amd64\", \"linux/arm64\"] }\n");
    project.write("Dockerfile", "FROM scratch\nCOPPY a b\n");
    let failed = project.bake(&["build"]).fails(3);
    assert_eq!(failed.stderr.matches("unknown instruction").count(), 1, "{}", failed.stderr);
}

#[test]
fn an_image_that_is_not_there_names_its_target_and_the_stage_that_was_meant() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("build.hcl", "target \"web\" {}\n");
    // The registry's port is closed, so nothing is asked outside this machine.
    project.write("Dockerfile", "FROM scratch AS base\nFROM scratch\nCOPY --from=127.0.0.1:1/x / /\n");
    let failed = project.bake(&["web"]).fails(5);
    assert!(failed.stderr.contains("target \"web\""), "{}", failed.stderr);
    assert!(!failed.stderr.contains("did you mean"), "{}", failed.stderr);
    project.write("Dockerfile", "FROM scratch AS base\nFROM scratch\nCOPY --from=bsae / /\n");
    let mut command = project.command(&["web"]);
    // Docker Hub is asked through a proxy that is not there.
    let output = command.env("HTTPS_PROXY", "http://127.0.0.1:1").output().expect("bake starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("did you mean the stage `base`?"), "{stderr}");
}

#[test]
fn a_flag_that_is_wrong_is_shown_as_it_was_written() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let failed = project.bake(&["build", "hello", "--platform", "linux/amr64"]).fails(3);
    assert!(failed.stderr.contains("--platform:1:1"), "{}", failed.stderr);
    let failed = project.bake(&["build", "hello", "--output", "type=ocy,dest=x"]).fails(3);
    assert!(failed.stderr.contains("unknown output type `ocy`"), "{}", failed.stderr);
    assert!(failed.stderr.contains("did you mean `type=oci`?"), "{}", failed.stderr);
    let failed = project.bake(&["build", "-f", "nope.hcl"]).fails(3);
    assert_eq!(failed.stderr, "error: there is no file nope.hcl\n");
}

#[test]
fn an_attribute_without_effect_is_a_warning() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let bakefile = |attributes: &str| {
        format!("target \"default\" {{\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\"\n{attributes}\n}}\n")
    };
    project.write("build.hcl", &bakefile("pull = true"));
    let built = project.bake(&["build", "--quiet", "--var", "TAG=1"]).succeeds();
    assert!(built.stderr.contains("no variable named \"TAG\"; it means nothing"), "{}", built.stderr);
    assert!(built.stderr.contains("warning: build.hcl:"), "{}", built.stderr);
    assert!(built.stderr.contains("`pull` of target"), "{}", built.stderr);
    project.write("build.hcl", &bakefile("pull = false\n"));
    let built = project.bake(&["build"]).succeeds();
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
}

#[test]
fn a_tag_that_two_targets_claim_is_refused_before_anything_is_built() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REPOSITORY" {}
        target "web" {
          dockerfile-inline = "FROM scratch\n"
          tags = ["${REPOSITORY}:1"]
        }
        target "api" {
          dockerfile-inline = "FROM scratch\nLABEL a=b\n"
          tags = ["${REPOSITORY}:1"]
        }
        "#,
    );
    let failed = project.bake(&["build", "all", "--push"]).fails(3);
    for part in ["\"web\"", "\"api\"", ":1`", "build.hcl:"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
    assert_eq!(project.raw("1"), None);
    project.bake(&["build", "all"]).succeeds();
}
