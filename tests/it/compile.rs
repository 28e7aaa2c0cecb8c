//! `bake compile` as editors call it: the real binary, a Dockerfile on standard input, one JSON object.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Runs it in an empty directory, without an environment.
fn compile(dockerfile: &str, flags: &[&str], files: &[(&str, Value)]) -> Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, value) in files {
        std::fs::write(directory.path().join(name), value.to_string()).expect("written");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_bake"))
        .args(["compile", "--file", "-", "--platform", "linux/amd64", "--build-platform", "linux/amd64"])
        .args(flags)
        .current_dir(&directory)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bake starts");
    child.stdin.take().expect("a pipe").write_all(dockerfile.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("bake ends");
    assert!(output.status.success(), "what is wrong with the Dockerfile is in the JSON");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_file_without_a_base_compiles_offline() {
    let document = compile("# syntax=docker/dockerfile:1\nFROM scratch AS out\nCOPY a /\n", &["--offline"], &[]);
    let keys: Vec<&String> = document["parse"].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["directives", "syntax", "escape", "warnings", "nodes", "meta_args", "stages"]);
    assert_eq!(document["file"], "Dockerfile");
    let compiled = &document["compile"]["linux/amd64"];
    expect_test::expect![[r#"{"type":"file","lines":[[3,3]],"inputs":[{"kind":"source:local","op":0,"output":0}],"result":{"op":1,"output":0}}"#]]
    .assert_eq(
        &json!({ "type": compiled["llb"]["ops"][1]["type"], "lines": compiled["llb"]["ops"][1]["lines"],
            "inputs": compiled["llb"]["ops"][1]["inputs"], "result": compiled["llb"]["result"] })
        .to_string(),
    );
    assert_eq!(compiled["image"]["config"]["WorkingDir"], "/");
}

#[test]
fn offline_a_base_that_is_not_known_is_an_error_that_says_so() {
    let document = compile("FROM alpine:3\n", &["--offline"], &[]);
    let error = &document["compile"]["linux/amd64"]["error"];
    assert_eq!(error["message"], "the config of `alpine:3` for linux/amd64 is not known without its registry");
    assert_eq!(error["hints"], json!(["leave --offline out, or give the config with --registry-file"]));
}

#[test]
fn a_file_answers_for_registries() {
    let registry = json!({
        "image": { "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "1".repeat(64))] } },
        "configs": [{ "contains": ["alpine"], "config": { "Env": ["PATH=/bin", "OF=alpine"] } }],
        "fixed_platforms": { "docker.io/library/alpine": ["arm64", ""] },
    });
    let files = [("images.json", registry)];
    let flags = ["--registry-file", "images.json", "--all-stages", "--build-arg", "V=1"];
    let document = compile("ARG V\nFROM alpine:$V AS a\nUSER $OF\nFROM other AS b\n", &flags, &files);
    assert_eq!(document["stages"]["a"]["image"]["config"]["User"], "alpine");
    assert_eq!(
        document["stages"]["b"]["error"]["message"],
        "the registry file has no config for `docker.io/library/other:latest`"
    );
    assert_eq!(document["stages"]["b"]["error"], document["compile"]["linux/amd64"]["error"]);
    let name = document["stages"]["a"]["llb"]["ops"][0]["identifier"].as_str().expect("text");
    assert!(name.starts_with("docker-image://docker.io/library/alpine:1@sha256:"), "{name}");
}

#[test]
fn a_named_context_takes_the_place_of_an_image_and_a_stage() {
    let registry = json!({
        "image": { "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "1".repeat(64))] } },
        "configs": [{ "contains": ["other"], "config": { "Env": ["OF=other"] } }],
    });
    let flags = [
        "--registry-file",
        "images.json",
        "--build-context",
        "base=docker-image://other:1",
        "--build-context",
        "files=.",
    ];
    let dockerfile = "FROM nowhere AS files\nFROM base\nCOPY --from=files images.json /\n";
    let compiled = &compile(dockerfile, &flags, &[("images.json", registry)])["compile"]["linux/amd64"];
    assert_eq!(compiled["image"]["config"]["Env"][0], "OF=other", "{compiled}");
    assert!(compiled["llb"].to_string().contains("local://"), "{compiled}");
}

#[test]
fn errors_have_their_lines_and_what_was_read_before() {
    let document = compile("FROM scratch\nRUN --netwrk=none x\nUSER\n", &["--offline"], &[]);
    let error = &document["parse"]["error"];
    assert_eq!((&error["stage"], &error["lines"]), (&json!("instructions"), &json!([[[2, 2]]])));
    assert_eq!(error["hints"], json!(["did you mean `--network`?"]));
    assert_eq!(document["parse"]["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["compile"]["linux/amd64"]["error"]["others"][0]["lines"], json!([[[3, 3]]]));
}
