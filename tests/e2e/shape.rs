//! What decides an image's bytes besides its files: compression, media types, annotations.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bake::digest::Digest;
use serde_json::{Value, json};

use crate::support::{Project, registry, run, small};

/// An image in an OCI layout directory.
struct Image {
    directory: std::path::PathBuf,
    /// The index's or manifest's descriptor as `index.json` has it.
    descriptor: Value,
}

impl Image {
    fn read(directory: &Path) -> Image {
        let text = std::fs::read(directory.join("index.json")).expect("a layout");
        let index: Value = serde_json::from_slice(&text).expect("JSON");
        Image { directory: directory.to_owned(), descriptor: index["manifests"][0].clone() }
    }

    /// Returns a blob; its bytes are what the descriptor says.
    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let bytes = std::fs::read(self.directory.join("blobs/sha256").join(&digest["sha256:".len()..])).expect(digest);
        assert_eq!(Digest::of(&bytes).to_string(), digest);
        assert_eq!(descriptor["size"], bytes.len(), "{digest}");
        bytes
    }

    fn json(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.blob(descriptor)).expect("JSON")
    }

    /// Returns the media types of the layers, whose bytes are those of the config's diff ids.
    fn layers(&self, manifest: &Value) -> Vec<String> {
        let config = self.json(&manifest["config"]);
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("layers");
        let layers = manifest["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), diff_ids.len());
        let check = |(layer, diff_id): (&Value, &Value)| {
            let media_type = layer["mediaType"].as_str().expect("a text").to_owned();
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            std::io::Write::write_all(&mut file, &self.blob(layer)).expect("written");
            let program = match media_type.rsplit(['.', '+']).next() {
                Some("gzip") => "gzip",
                Some("zstd") => "zstd",
                _ => "cat",
            };
            let input = std::fs::File::open(file.path()).expect("a file");
            let flags: &[&str] = if program == "cat" { &[] } else { &["-dc"] };
            let tar = Command::new(program).args(flags).stdin(input).output().expect(program).stdout;
            assert_eq!(Digest::of(&tar).to_string(), *diff_id, "{media_type}");
            media_type
        };
        layers.iter().zip(diff_ids).map(check).collect()
    }
}

/// Returns a project of one target on a base image.
fn project() -> Option<Project> {
    let project = small()?;
    project.write("big.txt", &(0..400_000_u64).map(|n| format!("{} ", n * n)).collect::<String>());
    project.write("Dockerfile", "FROM scratch\nCOPY big.txt /\n");
    project.write("Dockerfile.upper", "FROM base\nCOPY big.txt /again\n");
    let target = "target \"base\" {}\ntarget \"app\" {\n  dockerfile = \"Dockerfile.upper\"\n  contexts = { base = \"target:base\" }\n}\n";
    project.write("build.hcl", target);
    Some(project)
}

fn build(project: &Project, jobs: &str, options: &str) -> Image {
    let name = Digest::of(format!("{jobs}{options}").as_bytes()).to_string().replace(':', "-");
    let output = format!("type=oci,tar=false,dest={name},{options}");
    project.bake(&["build", "app", jobs, "--output", &output]).succeeds();
    Image::read(&project.path().join(name))
}

#[test]
fn layers_are_compressed_as_an_output_says_with_any_number_of_threads() {
    let Some(project) = project() else { return };
    let cases = [
        ("compression=gzip", "vnd.oci.image.layer.v1.tar+gzip"),
        ("compression-level=9", "vnd.oci.image.layer.v1.tar+gzip"),
        ("compression=zstd", "vnd.oci.image.layer.v1.tar+zstd"),
        ("compression=zstd,compression-level=19", "vnd.oci.image.layer.v1.tar+zstd"),
        ("compression=uncompressed", "vnd.oci.image.layer.v1.tar"),
        ("compression=zstd,oci-mediatypes=false", "vnd.docker.image.rootfs.diff.tar.zstd"),
    ];
    let mut digests = BTreeMap::new();
    for (options, media_type) in cases {
        let image = build(&project, "-j8", options);
        let manifest = image.json(&image.descriptor);
        let layers = image.layers(&manifest);
        assert_eq!(layers, [format!("application/{media_type}"), format!("application/{media_type}")], "{options}");
        digests.insert(options, image.descriptor["digest"].as_str().expect("a digest").to_owned());
    }
    let distinct: std::collections::BTreeSet<_> = digests.values().collect();
    assert_eq!(distinct.len(), cases.len(), "{digests:#?}");
    let Some(again) = self::project() else { return };
    for (options, digest) in &digests {
        assert_eq!(build(&again, "-j1", options).descriptor["digest"], **digest, "{options}");
    }
}

#[test]
fn force_compression_reaches_the_layers_of_the_base_image() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write("Dockerfile", "ARG BASE\nFROM ${BASE}\nCOPY Dockerfile /\n");
    let args = format!("target \"default\" {{\n  args = {{ BASE = \"{}/base/busybox:1\" }}\n}}\n", registry.host);
    project.write("build.hcl", &args);
    let media_types = |options: &str| {
        let name = format!("{options:?}").replace(['"', '=', ','], "");
        let output = format!("type=oci,tar=false,dest={name},{options}");
        project.bake(&["build", "--output", &output]).succeeds();
        let image = Image::read(&project.path().join(name));
        let manifest = image.json(&image.descriptor);
        let names = image.layers(&manifest);
        names.iter().map(|name| name.rsplit(['.', '+']).next().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let kept = media_types("compression=zstd");
    assert_eq!((&*kept[0], &*kept[kept.len() - 1]), ("gzip", "zstd"));
    assert!(media_types("compression=zstd,force-compression=true").iter().all(|name| name == "zstd"));
    assert!(media_types("compression=uncompressed,force-compression=1").iter().all(|name| name == "tar"));
    assert!(media_types("force-compression=true").iter().all(|name| name == "gzip"));
}

#[test]
fn annotations_stand_at_each_level() {
    let Some(project) = project() else { return };
    let lists = "target \"base\" {}\ntarget \"app\" {\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  annotations = [\n    \"plain=1\", \"index,manifest:both=2\", \"manifest[linux/arm64]:arm=3\", \"manifest-descriptor[linux/amd64]:named=4\",\n  ]\n}\n";
    project.write("build.hcl", lists);
    let image = build(&project, "-j2", "annotation-index-descriptor.top=5,annotation.more=6");
    assert_eq!(image.descriptor["annotations"]["top"], "5");
    let index = image.json(&image.descriptor);
    assert_eq!(index["annotations"], json!({"both": "2"}));
    let entries = index["manifests"].as_array().expect("manifests");
    assert_eq!(entries[0]["annotations"], json!({"named": "4"}));
    assert_eq!(entries[1]["annotations"], Value::Null);
    let annotations = |entry| image.json(entry)["annotations"].clone();
    assert_eq!(annotations(&entries[0]), json!({"both": "2", "more": "6", "plain": "1"}));
    assert_eq!(annotations(&entries[1]), json!({"arm": "3", "both": "2", "more": "6", "plain": "1"}));
}

#[test]
fn outputs_of_two_shapes_get_two_images_and_the_lockfile_does_not_mix_them_up() {
    let (Some(project), Some(registry)) = (project(), registry()) else { return };
    let repository = format!("{}/shapes", registry.host);
    let target = |options: &str| {
        format!(
            "target \"base\" {{}}\ntarget \"app\" {{\n  tags = [\"{repository}:1\"]\n  output = [\"type=oci,tar=false,dest=plain\", \"type=image,push=true{options}\"]\n}}\n"
        )
    };
    let raw = || {
        let name = format!("docker://{repository}:1");
        let text = run("skopeo", &["inspect", "--tls-verify=false", "--raw", &name]).succeeds().stdout;
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    project.write("build.hcl", &target(",compression=zstd,oci-mediatypes=false"));
    project.bake(&["build", "app"]).succeeds();
    let (plain, pushed) = (Image::read(&project.path().join("plain")), raw());
    assert_eq!(plain.layers(&plain.json(&plain.descriptor)), ["application/vnd.oci.image.layer.v1.tar+gzip"]);
    assert_eq!(pushed["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(pushed["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(pushed["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.zstd");
    // Only the shape changes, and the store is another one: the lockfile's result is of no use.
    project.write("build.hcl", &target(",compression=uncompressed"));
    std::fs::rename(project.store(), project.home().join("other")).expect("moved");
    project.bake(&["build", "app"]).succeeds();
    assert_eq!(raw()["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
}

#[test]
fn skopeo_and_podman_read_zstd() {
    let (Some(project), Some(registry)) = (project(), registry()) else { return };
    let name = format!("{}/zstd:1", registry.host);
    project
        .bake(&["build", "app", "--set", &format!("app.tags={name}"), "--output", "type=registry,compression=zstd"])
        .succeeds();
    let copy = project.path().join("copied");
    let to = format!("oci:{}:1", copy.display());
    run("skopeo", &["copy", "--src-tls-verify=false", &format!("docker://{name}"), &to]).succeeds();
    let image = Image::read(&copy);
    assert_eq!(image.layers(&image.json(&image.descriptor)), ["application/vnd.oci.image.layer.v1.tar+zstd"; 2]);
    let root = project.home().join("podman");
    let root = root.display().to_string();
    let podman = |arguments: &[&str]| {
        run("podman", &[&["--root", &root, "--storage-driver", "vfs"], arguments].concat()).succeeds().stdout
    };
    podman(&["pull", "-q", "--tls-verify=false", &name]);
    let container = podman(&["create", &name, "/none"]);
    let exported = project.path().join("exported.tar").display().to_string();
    podman(&["export", "-o", &exported, container.trim()]);
    let files = run("tar", &["-tf", &exported]).succeeds().stdout;
    assert!(files.lines().any(|line| line == "again"), "{files}");
    podman(&["rm", container.trim()]);
}
