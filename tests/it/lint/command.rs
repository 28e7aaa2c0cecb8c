//! The commands: `bake check`, and `--call` in place of a build. No network and no base image is needed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs bake in `directory`; returns exit code, standard output and standard error.
fn bake(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bake"))
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env("BAKE_STORE", directory.join("store"))
        .env_remove("BUILDX_BAKE_FILE")
        .output()
        .expect("bake runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it ends by itself"), text(&output.stdout), text(&output.stderr))
}

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

const BAKEFILE: &str = "group \"default\" { targets = [\"web\", \"api\"] }\n\
    target \"web\" { description = \"The shop\" }\n\
    target \"api\" { dockerfile = \"api.Dockerfile\" }\n";

#[test]
fn check_shows_what_is_questionable_and_fails() {
    let project = project(&[
        ("build.hcl", BAKEFILE),
        ("Dockerfile", "FROM scratch\nENV a b\n"),
        ("api.Dockerfile", "FROM scratch\n"),
    ]);
    let (code, stdout, stderr) = bake(project.path(), &["check"]);
    assert_eq!(code, 1, "{stderr}");
    expect_test::expect![[r#"
        api

        Check complete, no warnings found.

        web
        The shop

        Check complete, 1 warning has been found!

        WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
        "ENV key=value" should be used instead of legacy "ENV key value" format
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> ENV a b
           3 |     
        --------------------
    "#]]
    .assert_eq(&stdout);
    assert_eq!(bake(project.path(), &["check", "api"]).0, 0);
    assert_eq!(bake(project.path(), &["build", "--check"]).1, stdout);
    assert_eq!(bake(project.path(), &["build", "--call=check,ignorestatus=true"]).0, 0);
}

#[test]
fn check_shows_an_error_with_its_lines() {
    let project = project(&[("build.hcl", "target \"default\" {}"), ("Dockerfile", "FROM scratch\nCOPY x\n")]);
    let (code, stdout, _) = bake(project.path(), &["build", "--check"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("error: COPY needs at least two arguments\nDockerfile:2\n"), "{stdout}");
    let (code, _, stderr) = bake(project.path(), &["check"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("error: Dockerfile:2:1: COPY needs at least two arguments\n"), "{stderr}");
}

#[test]
fn results_are_json_in_the_peers_shape() {
    let project = project(&[
        ("build.hcl", BAKEFILE),
        ("Dockerfile", "FROM scratch\nENV a b\n"),
        ("api.Dockerfile", "FROM scratch AS x\n"),
    ]);
    let (code, stdout, _) = bake(project.path(), &["check", "--format=json"]);
    let findings: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, findings.as_array().map(Vec::len)), (1, Some(1)));
    assert_eq!(findings[0]["rule"], "LegacyKeyValueFormat");
    assert_eq!((&findings[0]["file"], &findings[0]["line"]), (&Value::from("Dockerfile"), &Value::from(2)));
    let (code, stdout, _) = bake(project.path(), &["build", "--call=check,format=json"]);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, 1);
    assert_eq!(document["target"]["web"]["check"]["warnings"][0]["ruleName"], "LegacyKeyValueFormat");
    assert_eq!(document["target"]["web"]["check"]["sources"][0]["filename"], "Dockerfile");
    assert_eq!(document["target"]["api"]["check"]["warnings"], Value::Null);
    assert_eq!(document["target"]["api"]["build"]["dockerfile"], "api.Dockerfile");
    assert_eq!(document["group"]["default"]["targets"][0], "api");
    let (code, stdout, _) = bake(project.path(), &["api", "--call=outline,format=json"]);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &document["target"]["api"]["outline"]["name"]), (0, &Value::from("x")));
    let (_, stdout, _) = bake(project.path(), &["api", "--call=targets"]);
    assert_eq!(stdout, "api\n\nTARGET      DESCRIPTION\nx (default) \n");
    assert_eq!(bake(project.path(), &["api", "--call=print"]).0, 2);
}

#[test]
fn a_target_may_ask_for_a_call_itself() {
    let text = "target \"default\" {\n  call = \"targets\"\n  annotations = [\"a=b\"]\n}\n";
    let project = project(&[("build.hcl", text), ("Dockerfile", "FROM scratch AS x\n")]);
    let (code, stdout, stderr) = bake(project.path(), &["build"]);
    assert_eq!((code, stdout.lines().last()), (0, Some("x (default) ")), "{stderr}");
}

#[test]
fn what_cannot_be_told_without_an_image_is_said() {
    let project =
        project(&[("build.hcl", "target \"default\" {}"), ("Dockerfile", "FROM 127.0.0.1:1/base:1\nCOPY $X /\n")]);
    let (code, stdout, stderr) = bake(project.path(), &["check"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stderr.contains("`127.0.0.1:1/base:1`") && stderr.contains("UndefinedVar (line 2)"), "{stderr}");
}

#[test]
fn check_reads_the_bakefile_once() {
    let project = project(&[("Dockerfile", "FROM scratch\n")]);
    let bakefile = project.path().join("piped");
    std::fs::write(&bakefile, "target \"default\" { unknown = 1 }\n").expect("written");
    for arguments in [&["check", "-f", "-"][..], &["check", "-f", "-", "--format=json"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_bake"))
            .args(arguments)
            .current_dir(project.path())
            .env("HOME", project.path())
            .stdin(std::fs::File::open(&bakefile).expect("it is there"))
            .output()
            .expect("bake runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.matches("`unknown`").count(), 1, "{text}");
    }
}
