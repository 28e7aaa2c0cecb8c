//! What `bake why` and `--fail-on-miss` say.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Project, registry, remove, run};

/// Two stages: a C-like project that is compiled by `cat`.
fn compiled() -> Option<Project> {
    let project = Project::new(registry()?);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "VERSION" { default = "1" }
        group "default" { targets = ["app"] }
        target "app" {
          args = { BASE = "${REGISTRY}/base/busybox:1", VERSION = VERSION }
        }
        "#,
    );
    project.write("Dockerfile", DOCKERFILE);
    project.write("src/main.c", "main\n").write("src/util.c", "util\n").write("run.sh", "#!/bin/sh\n");
    Some(project)
}

const DOCKERFILE: &str = "\
ARG BASE
FROM ${BASE} AS build
WORKDIR /src
COPY src/ ./
RUN cat *.c > /out
FROM ${BASE}
ARG VERSION
ENV MODE=fast
RUN echo $VERSION > /version
COPY run.sh /
COPY --from=build /out /out
";

/// Returns the lines of what `bake why` prints, without the blanks around them.
fn why(project: &Project, arguments: &[&str]) -> Vec<String> {
    let ran = project.bake(&[&["why"], arguments].concat()).succeeds();
    ran.stdout.lines().map(|line| line.trim().to_owned()).collect()
}

#[track_caller]
fn has(lines: &[String], expected: &str) {
    assert!(lines.iter().any(|line| line.contains(expected)), "{expected} is not in\n{}", lines.join("\n"));
}

/// Returns every file of the store, temporaries apart, with what changes when it is written or replaced.
fn tree(project: &Project) -> String {
    let directory = project.store().display().to_string();
    let script = format!("find {directory} -name tmp -prune -o -type f -printf '%p %i %s %T@\\n' | sort");
    run("sh", &["-c", &script]).succeeds().stdout
}

#[test]
fn what_was_just_built_is_all_hits_and_why_changes_nothing() {
    let Some(project) = compiled() else { return };
    let unbuilt = why(&project, &[]);
    assert_eq!(unbuilt[0], "app linux/amd64: 2 misses, 4 not known yet, 0 hits");
    assert_eq!(unbuilt[1], "no earlier build of it is known here");
    project.bake(&["build"]).succeeds();
    let before = (tree(&project), project.read("bake.lock"));
    assert!(before.0.contains("/records/"), "{}", before.0);
    assert_eq!(why(&project, &[]), ["app linux/amd64: 6 hits, nothing has to run"]);
    project.write("src/main.c", "changed\n");
    why(&project, &["--all"]);
    assert!(before == (tree(&project), project.read("bake.lock")), "why wrote to the store");
}

#[test]
fn files_are_named_with_what_changed_of_them() {
    let Some(project) = compiled() else { return };
    project.bake(&["build"]).succeeds();
    project.write("src/main.c", "changed\n").write("src/new.c", "new\n");
    std::fs::remove_file(project.path().join("src/util.c")).expect("removed");
    let executable = std::fs::Permissions::from_mode(0o775);
    std::fs::set_permissions(project.path().join("run.sh"), executable).expect("changed");
    let lines = why(&project, &[]);
    assert_eq!(lines[0], "app linux/amd64: 2 misses, 2 not known yet, 2 hits");
    has(&lines, "miss [build 3/4] COPY src/ ./ (Dockerfile:4)");
    has(&lines, "src/main.c changed: sha256:6403203dd5a0 → sha256:");
    has(&lines, "src/new.c is new");
    has(&lines, "src/util.c is gone");
    has(&lines, "run.sh mode: 0644 → 0755");
    has(&lines, "2 steps behind are not known until these have run");
    let all = why(&project, &["--all"]);
    has(&all, "not known until [build 3/4] COPY src/ ./ has run");
    has(&all, "hit  [build 2/4] WORKDIR /src");
    // What was built last counts, not what was once in the store.
    project.bake(&["build"]).succeeds();
    project.write("src/main.c", "main\n");
    has(&why(&project, &[]), "src/main.c changed: sha256:");
}

#[test]
fn instructions_arguments_variables_and_images_are_named_with_both_values() {
    let Some(project) = compiled() else { return };
    project.bake(&["build"]).succeeds();
    let lines = why(&project, &["--var", "VERSION=2"]);
    has(&lines, "argument VERSION: `1` → `2`");
    assert_eq!(lines[0], "app linux/amd64: 1 miss, 2 not known yet, 3 hits");
    project.write("Dockerfile", &DOCKERFILE.replace("MODE=fast", "MODE=slow").replace("cat *.c", "cat main.c"));
    let lines = why(&project, &[]);
    has(&lines, "environment variable MODE: `fast` → `slow`");
    has(&lines, "- RUN cat *.c > /out");
    has(&lines, "+ RUN cat main.c > /out");
    // A line that is put in is new; that after it is what it was, on another result.
    let with_line = DOCKERFILE.replace("RUN cat", "RUN true\nRUN cat");
    project.write("Dockerfile", &with_line);
    let lines = why(&project, &[]);
    has(&lines, "miss [build 4/5] RUN true (Dockerfile:5)");
    has(&lines, "the step is new");
    project.write("Dockerfile", DOCKERFILE);
    std::fs::write(project.path().join("bake.lock"), "version = 1\n").expect("written");
    let pushed = Project::new(registry().expect("it is there"));
    pushed.write("build.hcl", &base(&project, "other")).bake(&["build", "--push"]).succeeds();
    let name = format!("{}:base", project.repository);
    let arguments = ["--set", &format!("app.args.BASE={name}")];
    let lines = why(&project, &arguments);
    has(&lines, "/base/busybox:1 sha256:");
    has(&lines, &format!(" → {name} sha256:"));
    project.bake(&["build", "--set", arguments[1]]).succeeds();
    std::fs::remove_file(project.path().join("bake.lock")).expect("removed");
    pushed.write("build.hcl", &base(&project, "again")).bake(&["build", "--push"]).succeeds();
    has(&why(&project, &arguments), &format!("image {name}: sha256:"));
}

/// Returns a bakefile of a base image for `project`.
fn base(project: &Project, content: &str) -> String {
    format!(
        "target \"default\" {{\n  dockerfile-inline = \"FROM {}/base/busybox:1\\nRUN echo {content} > /base\\n\"\n  tags = [\"{}:base\"]\n}}\n",
        project.registry, project.repository
    )
}

#[test]
fn a_hit_that_is_another_than_last_time_explains_what_reads_it() {
    let Some(project) = compiled() else { return };
    for version in ["1", "2"] {
        project.bake(&["build", "--var", &format!("VERSION={version}")]).succeeds();
    }
    // Version 1 is in the cache, what follows it is not.
    project.write("run.sh", "#!/bin/sh\ntrue\n");
    let lines = why(&project, &["--var", "VERSION=1"]);
    has(&lines, "the result of [stage-1 2/4] RUN echo 1 > /version is another: argument VERSION: `2` → `1`");
    has(&lines, "run.sh changed: sha256:");
}

#[test]
fn programs_read_a_document_and_platforms_and_targets_are_apart() {
    let Some(project) = compiled() else { return };
    project.bake(&["build"]).succeeds();
    project.write("src/main.c", "changed\n");
    let ran = project.bake(&["why", "app", "--format", "json", "--platform", "linux/amd64,linux/arm64"]).succeeds();
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let targets = document["targets"].as_array().expect("targets");
    let known: Vec<_> = targets.iter().map(|target| (target["platform"].as_str(), target["known"].as_bool())).collect();
    assert_eq!(known, [(Some("linux/amd64"), Some(true)), (Some("linux/arm64"), Some(false))]);
    let step = &targets[0]["steps"][1];
    let fields = ["state", "file"].map(|name| step[name].as_str().unwrap_or("").to_owned());
    assert_eq!(fields, ["miss", "Dockerfile"]);
    assert_eq!(step["line"], 4);
    let change = &step["changes"][0];
    assert_eq!((change["kind"].as_str(), change["path"].as_str()), (Some("file"), Some("src/main.c")));
    assert!(change["old"].as_str().is_some_and(|old| old.starts_with("sha256:6403203dd5a0")), "{change}");
    assert_eq!(targets[0]["steps"][2]["state"], "behind");
    assert_eq!(targets[1]["steps"][0]["changes"][0]["kind"], "first-build");
}

#[test]
fn secrets_are_in_no_explanation_and_passwords_of_urls_are_left_out() {
    let Some(project) = compiled() else { return };
    project.write("token", "hunter2");
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "PASSWORD" { default = "one" }
        group "default" { targets = ["app"] }
        target "app" {
          args = { BASE = "${REGISTRY}/base/busybox:1", PROXY = "http://me:${PASSWORD}@127.0.0.1/x" }
          secret = ["id=token,src=token"]
        }
        "#,
    );
    let text = "ARG BASE\nFROM ${BASE}\nARG PROXY\nRUN --mount=type=secret,id=token cat /run/secrets/token | wc -c\n";
    project.write("Dockerfile", text);
    project.bake(&["build"]).succeeds();
    project.write("token", "hunter3");
    assert_eq!(why(&project, &[]), ["app linux/amd64: 1 hit, nothing has to run"]);
    for format in ["text", "json"] {
        let ran = project.bake(&["why", "--var", "PASSWORD=other", "--format", format, "--all"]).succeeds();
        assert!(ran.stdout.contains("http://***@127.0.0.1/x"), "{}", ran.stdout);
        for secret in ["hunter", "other", "me:one"] {
            assert!(!ran.stdout.contains(secret), "{secret} is in\n{}", ran.stdout);
        }
    }
    let kept = format!("grep -rl hunter {} ; true", project.store().display());
    assert_eq!(run("sh", &["-c", &kept]).stdout, "");
}

#[test]
fn a_miss_fails_where_it_is_to_and_nothing_is_run() {
    let Some(project) = compiled() else { return };
    let failed = project.bake(&["build", "--fail-on-miss"]).fails(1);
    assert!(failed.stderr.contains("error: 2 steps are not in the cache"), "{}", failed.stderr);
    project.bake(&["build"]).succeeds();
    let digest = project.bake(&["build", "--fail-on-miss"]).succeeds();
    assert!(digest.ran_nothing() && digest.stdout.starts_with("app sha256:"), "{}", digest.stderr);
    project.bake(&["why", "--fail-on-miss"]).succeeds();
    project.write("src/main.c", "changed\n");
    let failed = project.bake(&["build", "--fail-on-miss", "--progress=plain"]).fails(1);
    assert!(failed.stderr.contains("src/main.c changed: sha256:"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("DONE"), "{}", failed.stderr);
    let failed = project.bake(&["why", "--fail-on-miss"]).fails(1);
    assert!(failed.stdout.contains("src/main.c changed: sha256:"), "{}", failed.stdout);
    // It was not run: it is still a miss.
    has(&why(&project, &[]), "src/main.c changed: sha256:");
    let failed = project.bake(&["build", "--fail-on-miss", "--no-cache"]).fails(1);
    assert!(failed.stderr.contains("the cache is not to be asked (no-cache)"), "{}", failed.stderr);
}

#[test]
fn the_log_says_in_a_word_why_a_step_runs() {
    let Some(project) = compiled() else { return };
    let first = project.bake(&["build", "--progress=plain"]).succeeds();
    assert!(!first.stderr.contains("miss:"), "{}", first.stderr);
    project.write("src/main.c", "changed\n");
    let second = project.bake(&["build", "--progress=plain", "--var", "VERSION=2"]).succeeds();
    for reason in ["miss: src/main.c changed\n", "miss: argument VERSION: `1` → `2`\n"] {
        assert!(second.stderr.contains(reason), "{reason} is not in\n{}", second.stderr);
    }
}

#[test]
fn a_result_that_was_lost_is_said_to_be() {
    let Some(project) = compiled() else { return };
    project.bake(&["build"]).succeeds();
    remove(&project.store().join("records"));
    std::fs::create_dir(project.store().join("records")).expect("created");
    has(&why(&project, &[]), "nothing changed, but its result is not in the store");
}

#[test]
fn what_cannot_be_looked_up_says_why() {
    let Some(project) = compiled() else { return };
    project.bake(&["build"]).succeeds();
    std::fs::remove_dir_all(project.path().join("src")).expect("removed");
    has(&why(&project, &[]), "cannot be looked up: no file or directory `/src`");
}
