//! A build context or a Dockerfile on standard input.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Project, Ran, listing, run};

/// Builds with `arguments` and `input` on standard input.
fn build(project: &Project, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = project.command(&[&["build"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("bake starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One that fails early reads nothing.
    _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("waited").into()
}

fn project() -> Project {
    let project = Project::alone();
    project.write(
        "build.hcl",
        "target \"default\" { output = [\"type=tar,dest=out.tar\"] }\n\
         target \"other\" {\n  inherits = [\"default\"]\n  dockerfile = \"sub/Other\"\n  output = [\"type=tar,dest=other.tar\"]\n}\n",
    );
    project
}

fn context(project: &Project, flags: &str) -> Vec<u8> {
    project.write("t/Dockerfile", "FROM scratch\nCOPY . /d/\n").write("t/sub/Other", "FROM scratch\nCOPY a /o\n");
    project.write("t/a", "a").write("t/.dockerignore", "sub\n");
    let directory = project.path().join("t").display().to_string();
    let archive = project.home().join("context").display().to_string();
    run("tar", &[flags, &archive, "-C", &directory, "."]).succeeds();
    std::fs::read(archive).expect("read")
}

const FROM_STDIN: [&str; 2] = ["--set", "*.context=-"];

#[test]
fn an_archive_is_a_context_compressed_or_not_for_all_targets() {
    for flags in ["-cf", "-czf", "-cJf"] {
        let project = project();
        let archive = context(&project, flags);
        build(&project, &[&FROM_STDIN[..], &["default", "other"]].concat(), &archive).succeeds();
        let expected =
            "drwxr-xr-x 0/0 d/\n-rw-r--r-- 0/0 d/.dockerignore\n-rw-r--r-- 0/0 d/Dockerfile\n-rw-r--r-- 0/0 d/a\n";
        assert_eq!(listing(&project.path().join("out.tar")), expected);
        assert_eq!(listing(&project.path().join("other.tar")), "-rw-r--r-- 0/0 o\n");
        let again = build(&project, &[&FROM_STDIN[..], &["default", "other"]].concat(), &archive).succeeds();
        assert!(again.ran_nothing(), "{}", again.stderr);
    }
}

#[test]
fn anything_else_is_a_dockerfile_with_nothing_beside_it() {
    let project = project();
    project.write("not-there", "");
    build(&project, &FROM_STDIN, b"FROM scratch\nWORKDIR /w\nCOPY * /d/\n").succeeds();
    assert_eq!(listing(&project.path().join("out.tar")), "drwxr-xr-x 0/0 w/\n");
    let ran = build(&project, &FROM_STDIN, b"FROM scratch\nCOPY gone /\n").fails(1);
    assert!(ran.stderr.contains("standard input:2"), "{}", ran.stderr);
    let ran = build(&project, &[&FROM_STDIN[..], &["other"]].concat(), b"FROM scratch\nCOPY . /\n").fails(3);
    assert!(ran.stderr.contains("has a Dockerfile already"), "{}", ran.stderr);
}

#[test]
fn a_dockerfile_alone_may_come_from_there() {
    let project = project();
    project.write("a", "of the context");
    let flags = ["--set", "default.dockerfile=-"];
    build(&project, &flags, b"FROM scratch\nCOPY a /x\n").succeeds();
    assert_eq!(listing(&project.path().join("out.tar")), "-rw-r--r-- 0/0 x\n");
}

#[test]
fn what_cannot_be_is_said() {
    let project = project();
    let both = ["--set", "*.context=-", "--set", "*.dockerfile=-"];
    let ran = build(&project, &both, b"FROM scratch\n").fails(2);
    assert!(ran.stderr.contains("cannot be both"), "{}", ran.stderr);
    let ran = build(&project, &FROM_STDIN, b"").fails(2);
    assert!(ran.stderr.contains("standard input is empty"), "{}", ran.stderr);
    let ran = build(&project, &FROM_STDIN, b"\xff\xfe\x00").fails(3);
    assert!(ran.stderr.contains("neither an archive nor UTF-8"), "{}", ran.stderr);
    let mut archive = context(&project, "-cf");
    archive.truncate(1500);
    let ran = build(&project, &FROM_STDIN, &archive).fails(3);
    assert!(ran.stderr.contains("cannot unpack the context from standard input"), "{}", ran.stderr);
    // A bakefile cannot ask for it: it would build something else each time.
    project.write("build.hcl", "target \"default\" {\n  dockerfile = \"-\"\n}\n");
    let ran = build(&project, &[], b"FROM scratch\n").fails(3);
    assert!(ran.stderr.contains("--set default.dockerfile=-"), "{}", ran.stderr);
}
