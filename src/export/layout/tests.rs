use std::process::Command;

use expect_test::expect;

use super::*;
use crate::oci::MediaType;

struct Blob {
    descriptor: Descriptor,
    bytes: Vec<u8>,
}

fn blob(media_type: MediaType, bytes: impl Into<Vec<u8>>) -> Blob {
    let bytes = bytes.into();
    let digest: oci_spec::image::Digest = Digest::of(&bytes).to_string().parse().expect("a digest");
    Blob { descriptor: Descriptor::new(media_type, bytes.len() as u64, digest), bytes }
}

/// A whole image: layer, config, manifest.
fn image(seed: &str) -> Vec<Blob> {
    let mut tar = Vec::new();
    let mut writer = TarWriter::new(&mut tar);
    let entry = TarEntry::new(b"seed", EntryType::Regular, 0o644, seed.len() as u64);
    writer.append(&entry, &mut seed.as_bytes()).expect("written");
    writer.finish().expect("written");
    let layer = blob(MediaType::ImageLayer, tar);
    let rootfs = json!({ "type": "layers", "diff_ids": [layer.descriptor.digest().to_string()] });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs });
    let config = blob(MediaType::ImageConfig, config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": config.descriptor,
        "layers": [layer.descriptor],
    });
    vec![blob(MediaType::ImageManifest, manifest.to_string()), config, layer]
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// Calls `use_layout` with the layout of `blobs`, the first of them the root.
fn with_layout<T>(blobs: &[Blob], names: &[Reference], use_layout: impl FnOnce(&mut Layout<'_>) -> T) -> T {
    let open = |blob: &Blob| {
        let bytes = blob.bytes.clone();
        move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read>)
    };
    let openers: Vec<_> = blobs.iter().map(open).collect();
    let blobs_in: Vec<LayoutBlob<'_>> = blobs
        .iter()
        .zip(&openers)
        .map(|(blob, open)| LayoutBlob { descriptor: blob.descriptor.clone(), open })
        .collect();
    use_layout(&mut Layout {
        roots: vec![LayoutRoot { descriptor: blobs[0].descriptor.clone(), names }],
        blobs: blobs_in,
        docker: Vec::new(),
        docker_names: DockerNames::default(),
    })
}

fn archive(blobs: &[Blob], names: &[Reference]) -> Vec<u8> {
    let mut out = Vec::new();
    with_layout(blobs, names, |layout| write_layout_archive(layout, &mut out)).expect("written");
    out
}

/// Returns `mode uid:gid mtime path size` of each entry and the content of the index.
fn listing(archive: &[u8]) -> String {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("whole");
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let header = entry.header();
        let [mode, mtime] = [u64::from(header.mode().expect("a mode")), header.mtime().expect("a time")];
        text.push_str(&format!("{mode:o} {mtime} {path} {}\n", entry.size()));
        if path == "index.json" {
            entry.read_to_string(&mut text).expect("UTF-8");
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_archive_is_sorted_and_names_the_root() {
    let names = [reference("registry.example.com/team/api:1.2"), reference("hello")];
    let mut blobs = image("a");
    let root = blobs[0].descriptor.clone();
    let annotations = [("z", "1"), ("b", "2"), ("a", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut annotated = root;
    annotated.set_annotations(Some(annotations.into()));
    blobs[0].descriptor = annotated;
    let bytes = archive(&blobs, &names);
    expect![[r#"
        755 0 blobs/ 0
        755 0 blobs/sha256/ 0
        644 0 blobs/sha256/23ecd172ab269353cbca846dea4039da77e8ef1d367266ff265b253be96376b4 397
        644 0 blobs/sha256/4fcc2103a9b86b951a06d68833b16b42f66f2b0991205fbe38c9cfbff4da0925 163
        644 0 blobs/sha256/e57dcf6207ac8f9da25d40102b2a44c0dcf588a361a51c9423818a6691f522c8 2048
        644 0 index.json 683
        {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:23ecd172ab269353cbca846dea4039da77e8ef1d367266ff265b253be96376b4","size":397,"annotations":{"a":"3","b":"2","io.containerd.image.name":"docker.io/library/hello:latest","org.opencontainers.image.ref.name":"latest","z":"1"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:23ecd172ab269353cbca846dea4039da77e8ef1d367266ff265b253be96376b4","size":397,"annotations":{"a":"3","b":"2","io.containerd.image.name":"registry.example.com/team/api:1.2","org.opencontainers.image.ref.name":"1.2","z":"1"}}]}
        644 0 oci-layout 30
    "#]].assert_eq(&listing(&bytes));
    blobs[1..].reverse();
    blobs.push(image("a").remove(2));
    assert!(archive(&blobs, &[names[1].clone(), names[0].clone()]) == bytes, "order and repetition do not matter");
}

#[test]
fn docker_is_told_the_layers_and_the_familiar_names() {
    let (blobs, names) =
        (image("a"), [reference("hello:1"), reference("quay.io/x"), reference("y").with_digest(Digest::of(b"y"))]);
    let [_, config, layer] = [0, 1, 2].map(|index| Digest::of(&blobs[index].bytes));
    let mut out = Vec::new();
    with_layout(&blobs, &names, |layout| {
        layout.docker = vec![DockerImage { config, layers: vec![layer, layer], names: layout.roots[0].names }];
        write_layout_archive(layout, &mut out)
    })
    .expect("written");
    let mut archive = tar::Archive::new(&out[..]);
    let mut entries = archive.entries().expect("entries").map(|entry| entry.expect("whole"));
    let mut manifest = entries.find(|entry| *entry.path_bytes() == *b"manifest.json").expect("there");
    let mut text = String::new();
    manifest.read_to_string(&mut text).expect("UTF-8");
    expect![[r#"[{"Config":"blobs/sha256/4fcc2103a9b86b951a06d68833b16b42f66f2b0991205fbe38c9cfbff4da0925","RepoTags":["hello:1","quay.io/x:latest"],"Layers":["blobs/sha256/e57dcf6207ac8f9da25d40102b2a44c0dcf588a361a51c9423818a6691f522c8","blobs/sha256/e57dcf6207ac8f9da25d40102b2a44c0dcf588a361a51c9423818a6691f522c8"]}]"#]].assert_eq(&text);
}

#[test]
fn a_root_without_names_has_one_descriptor() {
    let bytes = archive(&image("a"), &[]);
    expect![[r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:23ecd172ab269353cbca846dea4039da77e8ef1d367266ff265b253be96376b4","size":397}]}"#]].assert_eq(listing(&bytes).lines().rev().nth(1).expect("the index"));
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let mut blobs = image("a");
    blobs[2].bytes.pop();
    let names = [];
    let error = with_layout(&blobs, &names, |layout| write_layout_archive(layout, &mut io::sink()));
    expect!["blob sha256:e57dcf6207ac8f9da25d40102b2a44c0dcf588a361a51c9423818a6691f522c8 has 2047 bytes where 2048 were expected"].assert_eq(&error.expect_err("too short").to_string());
    blobs[2].bytes.extend(b"xx");
    let directory = tempfile::tempdir().expect("a directory");
    let dest = directory.path().join("layout");
    let error = with_layout(&blobs, &names, |layout| write_layout_directory(layout, &dest));
    expect!["blob sha256:e57dcf6207ac8f9da25d40102b2a44c0dcf588a361a51c9423818a6691f522c8 has 2049 bytes where 2048 were expected"].assert_eq(&error.expect_err("too long").to_string());
    assert!(!dest.join("index.json").exists());
    assert!(!dest.join(blob_path(Digest::of(&image("a")[2].bytes))).exists());
}

#[test]
fn a_directory_keeps_what_other_builds_put_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let dest = directory.path().join("out/layout");
    let write = |seed, names: &[Reference]| {
        with_layout(&image(seed), names, |layout| write_layout_directory(layout, &dest)).expect("written");
    };
    write("a", &[reference("a"), reference("b")]);
    write("b", &[reference("b"), reference("c")]);
    write("c", &[]);
    write("c", &[]);
    let index = std::fs::read(dest.join("index.json")).expect("an index");
    let manifests = parse_manifests(&index, PathBuf::new()).expect("an index");
    let told: Vec<(Option<&str>, &str)> = manifests
        .iter()
        .map(|manifest| (annotation(manifest, IMAGE_NAME), manifest["digest"].as_str().expect("a digest")))
        .collect();
    let digest = |seed| image(seed)[0].descriptor.digest().to_string();
    let (a, b, c) = (digest("a"), digest("b"), digest("c"));
    let wanted = [
        (None, &*c),
        (Some("docker.io/library/a:latest"), &*a),
        (Some("docker.io/library/b:latest"), &*b),
        (Some("docker.io/library/c:latest"), &*b),
    ];
    assert_eq!(told, wanted);
    assert_eq!(std::fs::read_dir(dest.join("blobs/sha256")).expect("blobs").count(), 9);
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("precious"), "").expect("written");
    let write = || with_layout(&image("a"), &[], |layout| write_layout_directory(layout, directory.path()));
    assert!(matches!(write(), Err(FileExportError::NoLayout(_))));
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
    std::fs::write(directory.path().join("index.json"), "{").expect("written");
    assert!(matches!(write(), Err(FileExportError::Index { .. })));
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it is skipped")]
fn skopeo_reads_all_forms() {
    let is_there = Command::new("skopeo").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (file, layout_directory) = (directory.path().join("out.tar"), directory.path().join("layout"));
    let names = [reference("hello:1")];
    let blobs = image("a");
    let [_, config, layer] = [0, 1, 2].map(|index| Digest::of(&blobs[index].bytes));
    with_layout(&blobs, &names, |layout| {
        layout.docker = vec![DockerImage { config, layers: vec![layer], names: layout.roots[0].names }];
        write_file(&file, |out| write_layout_archive(layout, out))
    })
    .expect("written");
    with_layout(&blobs, &names, |layout| write_layout_directory(layout, &layout_directory)).expect("written");
    let docker =
        Command::new("skopeo").args(["inspect", &format!("docker-archive:{}:hello:1", file.display())]).output();
    let docker = docker.expect("skopeo runs");
    assert!(docker.status.success(), "{}", String::from_utf8_lossy(&docker.stderr));
    for source in [format!("oci-archive:{}:1", file.display()), format!("oci:{}:1", layout_directory.display())] {
        let output = Command::new("skopeo").args(["inspect", &source]).output().expect("skopeo runs");
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["Digest"], blobs[0].descriptor.digest().to_string());
        assert_eq!(told["Layers"], json!([blobs[2].descriptor.digest().to_string()]));
    }
}
