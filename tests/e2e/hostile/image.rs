//! Base images whose layers lead out.

use std::fs;
use std::path::Path;

use bake::digest::Digest;
use serde_json::{Value, json};

use super::archive::{Raw, archive, pax};
use super::{Yard, relative};

/// Writes an image of these layers as an OCI layout.
fn layout(directory: &Path, layers: &[Vec<u8>]) {
    let blobs = directory.join("blobs/sha256");
    _ = fs::remove_dir_all(directory);
    fs::create_dir_all(&blobs).expect("created");
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).expect("written");
        json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() })
    };
    let document = |kind: &str, value: &Value| blob(kind, value.to_string().as_bytes());
    let of = |bytes: &Vec<u8>| Digest::of(bytes).to_string();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(of).collect::<Vec<_>>() },
    });
    let config = document("application/vnd.oci.image.config.v1+json", &config);
    let layers: Vec<Value> = layers.iter().map(|tar| blob("application/vnd.oci.image.layer.v1.tar", tar)).collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
    let manifest = document(kind, &manifest);
    fs::write(directory.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string())
        .expect("written");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

/// A yard whose context `evil` is an image layout.
fn yard() -> Yard {
    let yard = Yard::new();
    yard.project.write(
        "build.hcl",
        "target \"default\" {\n  context = \"ctx\"\n  contexts = { evil = \"oci-layout://layout\" }\n  platforms = [\"linux/amd64\"]\n  \
         output = [\"type=tar,dest=out.tar\", \"type=local,dest=out\"]\n}\n",
    );
    yard
}

#[test]
fn no_layer_writes_or_deletes_outside_its_root() {
    let yard = yard();
    let outside = yard.outside();
    let (outside, inner) = (outside.display(), relative(&outside).display().to_string());
    let dots = format!("../../../../../../../../../../../../..{outside}");
    let planted = || vec![Raw::link(b'2', "l", &dots), Raw::link(b'2', "whole", "/")];
    let file = |name| Raw::file(name, "layer");
    let absolute = format!("{outside}/secret");
    let (through, deep, opaque) =
        (format!("{dots}/.wh.secret"), format!("{dots}/secret"), format!("{dots}/.wh..wh..opq"));
    let whole = format!("whole{outside}/.wh.secret");
    let cases: Vec<(&str, Vec<Raw<'_>>)> = vec![
        ("a file up", vec![file(&deep)]),
        ("an absolute file", vec![file(&absolute)]),
        ("a file through a link", vec![file("l/secret")]),
        ("a directory over a link", vec![Raw::new(b'5', "l/"), file("l/secret")]),
        ("a hard link", vec![Raw::link(b'1', "h", &absolute), file("h")]),
        ("a hard link through a link", vec![Raw::link(b'1', "h", "l/secret"), file("h")]),
        ("a whiteout up", vec![file(&through)]),
        ("a whiteout through a link", vec![file("l/.wh.secret")]),
        ("a whiteout through the root", vec![file(&whole)]),
        ("an opaque mark through a link", vec![file("l/.wh..wh..opq")]),
        ("an opaque mark up", vec![file(&opaque)]),
        ("a whiteout of the parent", vec![file(".wh...")]),
        ("a whiteout of itself", vec![file(".wh..")]),
        ("a whiteout of no name", vec![file(".wh.")]),
        ("whiteouts of another engine", vec![file(".wh..wh.plnk"), file(".wh..wh.aufs")]),
    ];
    for (name, entries) in &cases {
        // In the layer of the links, and in one over it.
        let together = archive(&planted().into_iter().chain(entries.iter().map(copy)).collect::<Vec<_>>());
        let apart = vec![archive(&planted()), archive(&entries.iter().map(copy).collect::<Vec<_>>())];
        for layers in [vec![together], apart] {
            layout(&yard.project.path().join("layout"), &layers);
            let ran = yard.build("FROM evil\nCOPY Dockerfile /\nFROM scratch\nCOPY --from=evil / /\n");
            let is_told = ran.stderr.contains("layer") || ran.stderr.contains("whiteout");
            assert!(ran.code == Some(0) || is_told, "{name}: {:?} {}", ran.code, ran.stderr);
        }
    }
    // The files are where a machine whose root is the image has them.
    let entries = [file("l/secret"), file(&deep)];
    layout(&yard.project.path().join("layout"), &[archive(&planted()), archive(&entries)]);
    yard.build("FROM evil\n").succeeds();
    assert_eq!(yard.read(&format!("{inner}/secret")), "layer");
}

fn copy<'a>(raw: &Raw<'a>) -> Raw<'a> {
    Raw { ..*raw }
}

#[test]
fn a_layer_cannot_speak_to_the_file_system_that_stacks_it() {
    let yard = yard();
    let outside = yard.outside().display().to_string();
    let attributes = [
        ("SCHILY.xattr.trusted.overlay.redirect", outside.as_str()),
        ("SCHILY.xattr.user.overlay.redirect", outside.as_str()),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.metacopy", ""),
        ("SCHILY.xattr.trusted.overlay.metacopy", ""),
    ];
    let records = pax(&attributes);
    let header = || Raw { content: records.as_bytes(), ..Raw::new(b'x', "p") };
    let below = archive(&[Raw::new(b'5', "d/"), Raw::file("d/below", "below")]);
    let above = archive(&[header(), Raw::new(b'5', "d/"), header(), Raw::file("d/above", "above")]);
    layout(&yard.project.path().join("layout"), &[below, above]);
    yard.build("FROM evil\nCOPY Dockerfile /d/\n").succeeds();
    for (name, text) in [("d/below", "below"), ("d/above", "above")] {
        assert_eq!(yard.read(name), text);
    }
    // A device with the numbers of a deleted file's mark.
    let mut mark = archive(&[Raw::new(b'3', "d/below")]);
    mark[329..337].copy_from_slice(b"0000000\0");
    mark[337..345].copy_from_slice(b"0000000\0");
    mark[148..156].copy_from_slice(b"        ");
    let sum: u32 = mark[..512].iter().map(|byte| u32::from(*byte)).sum();
    mark[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    layout(&yard.project.path().join("layout"), &[mark]);
    let failed = yard.build("FROM evil\nCOPY Dockerfile /d/\n");
    assert_ne!(failed.code, Some(0));
    assert!(failed.stderr.contains("deleted file"), "{}", failed.stderr);
}

#[test]
fn documents_of_a_layout_lead_nowhere() {
    let yard = yard();
    let directory = yard.project.path().join("layout");
    layout(&directory, &[archive(&[Raw::file("f", "x")])]);
    let index = fs::read_to_string(directory.join("index.json")).expect("written");
    let digest = index.split("sha256:").nth(1).and_then(|rest| rest.get(..64)).expect("a digest").to_owned();
    // A digest that is a path is none; a blob that is a link has the bytes that its name says or is refused.
    let path = format!("../../../../outside/secret{}", "/".repeat(64 - 26));
    fs::write(directory.join("index.json"), index.replace(&digest, &path)).expect("written");
    assert_ne!(yard.build("FROM evil\nCOPY Dockerfile /\n").code, Some(0));
    fs::write(directory.join("index.json"), &index).expect("written");
    let blob = directory.join("blobs/sha256").join(&digest);
    fs::remove_file(&blob).expect("removed");
    std::os::unix::fs::symlink(yard.outside().join("secret"), &blob).expect("linked");
    let failed = yard.build("FROM evil\nCOPY Dockerfile /\n");
    assert_ne!(failed.code, Some(0));
    assert!(failed.stderr.contains("another digest"), "{}", failed.stderr);
}
