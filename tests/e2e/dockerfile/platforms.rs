//! Platforms with builds and features of an operating system.

use super::{Case, config, files};

const REGISTRY: &str = "variable \"REPOSITORY\" {}\n";

#[test]
fn a_base_is_the_one_for_the_build_of_windows_that_is_asked_for() {
    let Some(case) = Case::new() else { return };
    let project = &case.project;
    project.write(
        "Dockerfile",
        "FROM scratch AS base\nARG TARGETOSVERSION TARGETPLATFORM\nCOPY <<E /osversion\n${TARGETOSVERSION}\nE\n\
         COPY <<E /targetplatform\n${TARGETPLATFORM}\nE\n",
    );
    let builds = ["windows(1.2.3)/amd64", "windows(1.1.0)/amd64"];
    let target = format!(
        "target \"default\" {{\n  tags = [\"${{REPOSITORY}}:os\"]\n  platforms = {builds:?}\n  \
         output = [\"type=registry\", \"type=local,dest=out\"]\n}}\n"
    );
    project.write("build.hcl", &format!("{REGISTRY}{target}"));
    project.bake(&["build"]).succeeds();
    for (build, version) in builds.iter().zip(["1.2.3", "1.1.0"]) {
        let directory = build.replace('/', "_");
        assert_eq!(project.read(&format!("out/{directory}/osversion")), format!("{version}\n"));
        assert_eq!(project.read(&format!("out/{directory}/targetplatform")), format!("{build}\n"));
    }
    // Other programs find the builds where the specification has them.
    let index: serde_json::Value = serde_json::from_str(&project.raw("os").expect("pushed")).expect("JSON");
    let versions: Vec<_> = (0..2).map(|at| index["manifests"][at]["platform"]["os.version"].clone()).collect();
    assert_eq!(versions, ["1.2.3", "1.1.0"]);
    let repository = &project.repository;
    project.write("Dockerfile", &format!("FROM {repository}:os\nCOPY <<E /other\nhello\nE\n"));
    let target = "target \"default\" {\n  output = [\"type=tar,dest=out.tar\", \"type=oci,tar=false,dest=image\"]\n}\n";
    project.write("build.hcl", target);
    for (build, version) in builds.iter().zip(["1.2.3", "1.1.0"]).chain([(&"windows/amd64", "1.2.3")]) {
        project.bake(&["build", "--platform", build]).succeeds();
        let out = files(&project.path().join("out.tar"));
        assert_eq!(out["osversion"], format!("644 0:0 {:?}", format!("{version}\n")), "{build}");
        // Who names no build gets what the base says of its own.
        assert_eq!(config(&project.path().join("image"))["os.version"], version, "{build}");
        std::fs::remove_dir_all(project.path().join("image")).expect("removed");
    }
    let stderr = project.bake(&["build", "--platform", "windows(1.3.0)/amd64"]).fails(3).stderr;
    assert!(stderr.contains("windows(1.2.3)/amd64, windows(1.1.0)/amd64"), "{stderr}");
}

#[test]
fn features_that_a_base_asks_for_stay() {
    let Some(case) = Case::new() else { return };
    case.prepare(b"FROM scratch\nENV A=b\n");
    let output = ["--output", "type=oci,tar=false,dest=base"];
    case.project.bake(&[&["build", "--platform", "windows/amd64"], &output[..]].concat()).succeeds();
    // What no Dockerfile says, by hand.
    let base = case.project.path().join("base");
    let read = |path: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
    };
    let write = |value: &serde_json::Value| {
        let bytes = serde_json::to_vec(value).expect("text keys");
        let digest = bake::digest::Digest::of(&bytes);
        std::fs::write(base.join("blobs/sha256").join(digest.hex()), &bytes).expect("written");
        (digest.to_string(), bytes.len())
    };
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
        read(&base.join("blobs/sha256").join(digest))
    };
    let mut index = read(&base.join("index.json"));
    let mut manifest = blob(&index["manifests"][0]);
    while manifest["manifests"].is_array() {
        manifest = blob(&manifest["manifests"][0]);
    }
    let mut image = blob(&manifest["config"]);
    image["os.features"] = serde_json::json!(["win32k"]);
    let (digest, size) = write(&image);
    (manifest["config"]["digest"], manifest["config"]["size"]) = (digest.into(), size.into());
    let (digest, size) = write(&manifest);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    index["manifests"] = serde_json::json!([{ "mediaType": media_type, "digest": digest, "size": size }]);
    std::fs::write(base.join("index.json"), serde_json::to_vec(&index).expect("text keys")).expect("written");
    let case = case.context("base", "oci-layout://base");
    case.prepare(b"FROM base\nENV C=d\n");
    let output = ["--output", "type=oci,tar=false,dest=image"];
    case.project.bake(&[&["build", "--platform", "windows/amd64"], &output[..]].concat()).succeeds();
    assert_eq!(config(&case.project.path().join("image"))["os.features"], serde_json::json!(["win32k"]));
}
