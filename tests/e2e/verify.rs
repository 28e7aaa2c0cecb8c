//! `bake verify`: what does not make the same twice is named.

use crate::support::{Project, registry};

fn project(dockerfile: &str) -> Option<Project> {
    let project = Project::new(registry()?);
    project.write(
        "build.hcl",
        "variable \"REGISTRY\" {}\ntarget \"default\" {\n  args = { REGISTRY = REGISTRY }\n  \
         platforms = [\"linux/amd64\", \"linux/arm64\"]\n}\n",
    );
    project.write("Dockerfile", &format!("ARG REGISTRY\nFROM ${{REGISTRY}}/base/busybox:1\n{dockerfile}"));
    Some(project)
}

#[test]
fn steps_that_make_the_same_again_pass() {
    let Some(project) = project("COPY . /srv/\nRUN uname -m > /machine && mkdir -p /a/b && touch /a/b/c\n") else {
        return;
    };
    let ran = project.bake(&["verify"]).succeeds();
    assert_eq!(ran.stdout, "all 4 steps make the same again\n", "{}", ran.stderr);
    // What the first run left, bakes in between, and the directory of the second are no difference.
    project.bake(&["build"]).succeeds();
    project.bake(&["verify"]).succeeds();
    let left = std::fs::read_dir(project.store().join("tmp")).expect("a store").count();
    assert_eq!(left, 0);
}

#[test]
fn the_first_step_that_differs_is_named_with_its_files_and_their_kind() {
    let steps = "RUN true > /same && cat /proc/sys/kernel/random/uuid > /other\n\
                 RUN date > /stamp\n\
                 RUN touch /tmp/$(cat /proc/sys/kernel/random/uuid)\n\
                 RUN cat /stamp > /copy\n";
    let Some(project) = project(steps) else { return };
    let ran = project.bake(&["verify", "--platform", "linux/amd64"]).fails(1);
    assert!(ran.stderr.contains("a step does not make the same twice"), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    // What only reads it is no finding of its own.
    assert!(lines[0].starts_with("[2/5] RUN true > /same"), "{}", ran.stdout);
    assert!(lines[0].ends_with("(Dockerfile:3)"), "{}", ran.stdout);
    assert_eq!(lines[1], "  in default linux/amd64");
    assert_eq!(lines[2], "  /other: other content");
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    assert!(!ran.stdout.contains("/same:"), "{}", ran.stdout);
}

#[test]
fn each_kind_is_told_and_programs_read_a_document() {
    let steps = "RUN date > /stamp && sleep 1.1 && touch /tmp/$(cat /proc/sys/kernel/random/uuid)\n";
    let Some(project) = project(steps) else { return };
    let ran = project.bake(&["verify", "--platform", "linux/amd64", "--format", "json"]).fails(1);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let step = &document["different"][0];
    assert_eq!((&step["file"], &step["line"]), (&"Dockerfile".into(), &3.into()));
    assert_eq!(step["targets"], serde_json::json!(["default linux/amd64"]));
    let files = step["files"].as_array().expect("files");
    let kind = |start: &str| {
        let file = files.iter().find(|file| file["path"].as_str().is_some_and(|path| path.starts_with(start)));
        file.expect(start)["kind"].clone()
    };
    assert_eq!((kind("/stamp"), kind("/tmp/")), ("timestamp".into(), "name".into()));
}
