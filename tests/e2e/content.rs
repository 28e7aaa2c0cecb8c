//! Content all the way: what stops a rebuild, what does not begin one, and what does.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{Project, Ran, registry, run};

/// A project whose target `default` is built on busybox.
fn project(dockerfile: &str) -> Option<Project> {
    let project = Project::new(registry()?);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "VALUE" { default = "1" }
        target "default" {
          args = { BASE = "${REGISTRY}/base/busybox:1", VALUE = VALUE }
        }
        "#,
    );
    project.write("Dockerfile", &format!("ARG BASE\n{dockerfile}"));
    Some(project)
}

/// Returns the instructions that ran.
fn ran(built: &Ran) -> Vec<String> {
    let done = |line: &str| Some(line.strip_prefix('#')?.split_once(" DONE ")?.0.to_owned());
    let numbers: Vec<String> = built.stderr.lines().filter_map(done).collect();
    let name = |line: &str| {
        let (number, name) = line.strip_prefix('#')?.split_once(" [")?;
        let (_, name) = name.split_once("] ")?;
        numbers.iter().any(|done| done == number).then(|| name.to_owned())
    };
    built.stderr.lines().filter_map(name).collect()
}

fn build(project: &Project, arguments: &[&str]) -> (Vec<String>, String) {
    let built = project.bake(&[&["build", "--progress=plain"], arguments].concat()).succeeds();
    (ran(&built), built.stdout)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
}

#[test]
fn a_run_that_makes_the_same_bytes_after_a_changed_argument_stops_the_rebuild() {
    let text = "FROM ${BASE} AS one\n\
                ARG VALUE\n\
                RUN echo same > /a && : $VALUE\n\
                COPY file /file\n\
                FROM ${BASE}\n\
                COPY --from=one /a /a\n\
                RUN echo b > /b\n";
    let Some(project) = project(text) else { return };
    project.write("file", "file");
    let (first, digest) = build(&project, &[]);
    assert_eq!(first.len(), 4, "{first:?}");
    let (second, other) = build(&project, &["--var", "VALUE=2"]);
    assert_eq!(second, ["RUN echo same > /a && : 2"]);
    assert_eq!(digest, other);
}

#[test]
fn a_changed_file_that_compiles_to_the_same_stops_at_the_next_stage() {
    let text = "FROM ${BASE} AS build\n\
                COPY main.c /src/\n\
                RUN grep -v '^#' /src/main.c > /out\n\
                FROM ${BASE}\n\
                COPY --from=build /out /app\n\
                RUN wc -c /app > /size\n";
    let Some(project) = project(text) else { return };
    project.write("main.c", "# a comment\ncode\n");
    let (_, digest) = build(&project, &[]);
    project.write("main.c", "# another comment\ncode\n");
    let (again, other) = build(&project, &[]);
    assert_eq!(again, ["COPY main.c /src/", "RUN grep -v '^#' /src/main.c > /out"]);
    assert_eq!(digest, other);
    // The same file through a mount leaves the same root file system, so the next RUN is a hit too.
    let text = "ARG BASE\nFROM ${BASE}\n\
                RUN --mount=type=bind,source=main.c,target=/in grep -v '^#' /in > /out\n\
                RUN wc -c /out > /size\n";
    project.write("Dockerfile", text);
    build(&project, &[]);
    project.write("main.c", "code\n# at the end\n");
    assert_eq!(build(&project, &[]).0, ["RUN --mount=type=bind,source=main.c,target=/in grep -v '^#' /in > /out"]);
}

#[test]
fn a_directory_s_own_mode_is_seen() {
    let text = "FROM ${BASE} AS made\n\
                ARG VALUE\n\
                RUN mkdir -p /d/sub && touch /d/sub/f && chmod $VALUE /d/sub\n\
                FROM ${BASE}\n\
                COPY --from=made /d /d\n\
                RUN stat -c %a /d/sub > /mode && cat /mode\n";
    let Some(project) = project(text) else { return };
    let (_, open) = build(&project, &["--var", "VALUE=0755"]);
    let (ran, closed) = build(&project, &["--var", "VALUE=0700"]);
    assert_eq!(ran.len(), 3, "{ran:?}");
    assert_ne!(open, closed);
    // Of a mounted directory, the command can see the mode of the top as well.
    let text = "ARG BASE\nFROM ${BASE} AS made\n\
                ARG VALUE\n\
                RUN mkdir /d && chmod $VALUE /d\n\
                FROM ${BASE}\n\
                RUN --mount=type=bind,from=made,source=/d,target=/d stat -c %a /d > /mode\n";
    project.write("Dockerfile", text);
    let (_, open) = build(&project, &["--var", "VALUE=0755"]);
    let (ran, closed) = build(&project, &["--var", "VALUE=0700"]);
    assert_eq!(ran.len(), 2, "{ran:?}");
    assert_ne!(open, closed);
}

#[test]
fn checkouts_under_any_umask_give_one_image() {
    let text = "FROM ${BASE}\nCOPY . /app/\nRUN ls -l /app > /listing\n";
    let mut digests = Vec::new();
    for (umask, file, directory) in [("077", 0o600, 0o700), ("022", 0o644, 0o755), ("002", 0o664, 0o775)] {
        let Some(project) = project(text) else { return };
        project.write("sub/file", "x").write("run.sh", "#!/bin/sh\n").write(".dockerignore", "build.hcl\nbake.lock\n");
        let path = |name: &str| project.path().join(name);
        for name in ["sub/file", "Dockerfile", "build.hcl", ".dockerignore"] {
            set_mode(&path(name), file);
        }
        set_mode(&path("run.sh"), file | 0o100 | (file & 0o044) >> 2);
        set_mode(&path("sub"), directory);
        let bake = env!("CARGO_BIN_EXE_bake");
        let script = format!("umask {umask} && exec {bake} build --quiet");
        let mut command = std::process::Command::new("sh");
        let ran: Ran = command
            .args(["-c", &script])
            .current_dir(project.path())
            .env("BAKE_STORE", project.store())
            .env("REGISTRY", &project.registry)
            .output()
            .expect("sh starts")
            .into();
        digests.push(ran.succeeds().stdout);
        if umask == "022" {
            set_mode(&path("sub/file"), 0o755);
            assert_ne!(build(&project, &[]).1, digests[1], "what may be run is another image");
        }
    }
    assert!(digests[0].starts_with("default sha256:"), "{digests:?}");
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn touch_begins_nothing() {
    let text = "FROM ${BASE}\nCOPY . /app/\nRUN --mount=type=bind,target=/in ls /in > /listing\n";
    let Some(project) = project(text) else { return };
    project.write("sub/file", "x").write("ignored", "x").write(".dockerignore", "ignored\n");
    let (_, digest) = build(&project, &[]);
    for name in ["sub/file", "sub", ".", "Dockerfile", "build.hcl", ".dockerignore", "ignored"] {
        let file = std::fs::File::open(project.path().join(name)).expect("opens");
        file.set_modified(SystemTime::now() - Duration::from_secs(7777)).expect("set");
        assert_eq!(build(&project, &[]), (Vec::new(), digest.clone()), "{name}");
    }
    project.write("ignored", "other bytes");
    assert_eq!(build(&project, &[]).0, Vec::<String>::new());
    run("touch", &[&project.path().join("sub/new").display().to_string()]).succeeds();
    assert_eq!(build(&project, &[]).0.len(), 2, "a new file is no touch");
}
