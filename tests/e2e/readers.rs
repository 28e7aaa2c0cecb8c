//! Other programs read what bake pushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bake::digest::Digest;
use serde_json::{Value, json};

use crate::support::{self, Project, registry, run};

/// An image layout on disk, as skopeo copied it from the registry.
struct Layout {
    directory: PathBuf,
}

impl Layout {
    fn copy(project: &Project) -> Layout {
        let directory = project.path().join("layout");
        let (from, to) = (format!("docker://{}:1", project.repository), format!("oci:{}:1", directory.display()));
        run("skopeo", &["copy", "--all", "--src-tls-verify=false", &from, &to]).succeeds();
        Layout { directory }
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.strip_prefix("sha256:").expect("sha256"))
    }

    fn json(&self, digest: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.blob(digest)).expect(digest)).expect("JSON")
    }

    /// Returns the index that the tag names.
    fn index(&self) -> Value {
        let text = std::fs::read_to_string(self.directory.join("index.json")).expect("a layout");
        let top: Value = serde_json::from_str(&text).expect("JSON");
        self.json(top["manifests"][0]["digest"].as_str().expect("a digest"))
    }

    /// Returns manifest and config by `architecture[variant]`.
    fn images(&self) -> BTreeMap<String, (Value, Value)> {
        let image = |entry: &Value| {
            let manifest = self.json(entry["digest"].as_str().expect("a digest"));
            let config = self.json(manifest["config"]["digest"].as_str().expect("a digest"));
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let platform = text(&entry["platform"]["architecture"]) + &text(&entry["platform"]["variant"]);
            (platform, (manifest, config))
        };
        self.index()["manifests"].as_array().expect("manifests").iter().map(image).collect()
    }
}

fn pushed() -> Option<(Project, Layout)> {
    let project = support::hello(registry()?);
    project.bake(&["build", "all", "--push"]).succeeds();
    let layout = Layout::copy(&project);
    Some((project, layout))
}

#[test]
fn every_document_is_what_the_specification_says() {
    let Some((project, layout)) = pushed() else { return };
    let raw: Value = serde_json::from_str(&project.raw("1").expect("pushed")).expect("JSON");
    assert_eq!(raw, layout.index());
    assert_eq!(raw["schemaVersion"], 2);
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.index.v1+json");
    let images = layout.images();
    assert_eq!(images.keys().collect::<Vec<_>>(), ["amd64", "arm64", "armv7"]);
    for (platform, (manifest, config)) in &images {
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
        assert_eq!(format!("{}{}", text(&config["architecture"]), text(&config["variant"])), *platform);
        assert_eq!(config["os"], "linux");
        assert_eq!(config["rootfs"]["type"], "layers");
        assert_eq!(config["config"]["Cmd"], json!(["/app/greet.sh"]));
        assert_eq!(config["config"]["WorkingDir"], "/app");
        let history = config["history"].as_array().expect("a history");
        let n_layers = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("layers").len();
        let layers = manifest["layers"].as_array().expect("layers").len();
        assert_eq!((n_layers, diff_ids), (layers, layers), "{config:#}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[test]
fn every_blob_is_what_its_digest_and_size_say() {
    let Some((_project, layout)) = pushed() else { return };
    let check = |descriptor: &Value| {
        let digest = text(&descriptor["digest"]);
        let bytes = std::fs::read(layout.blob(digest)).expect(digest);
        assert_eq!(Digest::of(&bytes).to_string(), digest);
        assert_eq!(descriptor["size"], bytes.len(), "{digest}");
    };
    layout.index()["manifests"].as_array().expect("manifests").iter().for_each(check);
    for (manifest, config) in layout.images().values() {
        check(&manifest["config"]);
        let layers = manifest["layers"].as_array().expect("layers");
        layers.iter().for_each(check);
        for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().expect("layers")) {
            assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
            let blob = layout.blob(text(&layer["digest"]));
            let tar = Command::new("gzip").args(["-dc"]).stdin(open(&blob)).output().expect("gzip starts").stdout;
            assert_eq!(Digest::of(&tar).to_string(), text(diff_id));
        }
    }
}

#[test]
fn layers_are_read_by_gnu_gzip_and_tar() {
    let Some((_project, layout)) = pushed() else { return };
    for (manifest, _) in layout.images().values() {
        for layer in manifest["layers"].as_array().expect("layers") {
            let blob = layout.blob(text(&layer["digest"]));
            let run = |program: &str, arguments: &[&str]| {
                Command::new(program)
                    .args(arguments)
                    .stdin(open(&blob))
                    .output()
                    .map(support::Ran::from)
                    .expect(program)
            };
            // Trailing garbage would be a warning.
            assert_eq!(run("gzip", &["-t"]).succeeds().stderr, "");
            let listing = run("tar", &["tzf", "-"]).succeeds();
            assert_eq!(listing.stderr, "");
            assert!(!listing.stdout.is_empty());
        }
    }
}

fn open(path: &Path) -> Stdio {
    std::fs::File::open(path).expect("a blob").into()
}

#[test]
fn runc_runs_the_image_by_its_digest() {
    let Some((project, _)) = pushed() else { return };
    if !rustix::process::geteuid().is_root() {
        return support::skip("this test runs runc as root");
    }
    let digest = project.index("1").expect("pushed").remove("amd64").expect("amd64");
    let directory = project.path().join("image");
    let from = format!("docker://{}@{digest}", project.repository);
    let to = format!("dir:{}", directory.display());
    run("skopeo", &["copy", "--src-tls-verify=false", &from, &to]).succeeds();
    let bundle = project.path().join("bundle");
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs).expect("created");
    let manifest = std::fs::read_to_string(directory.join("manifest.json")).expect("copied");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    for layer in manifest["layers"].as_array().expect("layers") {
        let blob = directory.join(text(&layer["digest"]).trim_start_matches("sha256:"));
        run("tar", &["xzpf", &blob.display().to_string(), "-C", &rootfs.display().to_string()]).succeeds();
    }
    let bundle = bundle.display().to_string();
    run("runc", &["spec", "--bundle", &bundle]).succeeds();
    let path = project.path().join("bundle/config.json");
    let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("written")).expect("JSON");
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "uname -m; cat /app/greeting; /app/greet.sh"]);
    // What it needs of the machine: no limits, so no control group of its own.
    spec["linux"].as_object_mut().expect("linux").remove("resources");
    std::fs::write(&path, spec.to_string()).expect("written");
    let state = project.path().join("runc").display().to_string();
    let name = format!("bake-test-{}", std::process::id());
    let ran = run("runc", &["--root", &state, "run", "--bundle", &bundle, &name]).succeeds();
    assert_eq!(ran.stdout, "x86_64\nhello from x86_64\nhello from x86_64\n");
}
