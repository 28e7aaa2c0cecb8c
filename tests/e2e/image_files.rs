//! Images as files, read by the programs that people have, and what is said of them.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::docker::{containers_storage, is_root_with};
use crate::support::{self, Ran, registry, run, small};

fn files(archive: &str) -> Vec<String> {
    run("tar", &["tf", archive]).succeeds().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_docker_archive_is_read_by_skopeo_podman_and_buildah() {
    let Some(project) = small() else { return };
    if !is_root_with(&["skopeo", "podman", "buildah"]) {
        return;
    }
    let metadata = ["--metadata-file", "out.json"];
    project.bake(&[&["build", "a", "--output", "type=docker,dest=a.tar"], &metadata[..]].concat()).succeeds();
    let archive = project.path().join("a.tar").display().to_string();
    let own: Vec<String> = files(&archive).into_iter().filter(|name| !name.starts_with("blobs/")).collect();
    assert_eq!(own, ["index.json", "manifest.json", "oci-layout"]);
    let metadata: Value = serde_json::from_str(&project.read("out.json")).expect("JSON");
    let id = metadata["a"]["containerimage.config.digest"].as_str().expect("a digest").to_owned();
    let inspected =
        run("skopeo", &["inspect", "--config", "--raw", &format!("docker-archive:{archive}:example.com/a:2")]);
    assert_eq!(bake::digest::Digest::of(inspected.succeeds().stdout.as_bytes()).to_string(), id);

    let (name, value) = containers_storage(&project);
    let tool = |program: &str, arguments: &[&str]| -> Ran {
        Command::new(program).args(arguments).env(name, &value).output().expect(program).into()
    };
    let loaded = tool("podman", &["load", "--quiet", "-i", &archive]).succeeds().stdout;
    assert_eq!(loaded, "Loaded image: example.com/a:1\nLoaded image: example.com/a:2\n");
    let pulled = tool("buildah", &["pull", "--quiet", &format!("docker-archive:{archive}:example.com/a:1")]).succeeds();
    assert_eq!(format!("sha256:{}", pulled.stdout.trim()), id);

    // The same bytes each time, and both targets in one.
    let before = std::fs::read(&archive).expect("written");
    project.bake(&["build", "a", "--output", "type=docker,dest=a.tar"]).succeeds();
    assert!(std::fs::read(&archive).expect("written") == before);
    project.bake(&["build", "a", "b", "--output", "type=docker,dest=both.tar"]).succeeds();
    let both = project.path().join("both.tar").display().to_string();
    for name in ["example.com/a:1", "docker.io/library/b:latest"] {
        run("skopeo", &["inspect", &format!("docker-archive:{both}:{name}")]).succeeds();
    }
}

#[test]
fn every_form_of_a_layout_is_read_by_skopeo() {
    let Some(project) = small() else { return };
    let path = |name: &str| project.path().join(name).display().to_string();
    let outputs = ["type=oci,dest=oci.tar", "type=oci,dest=oci,tar=false", "type=docker,dest=docker,tar=false"];
    let flags: Vec<&str> = outputs.iter().flat_map(|output| ["--output", *output]).collect();
    project.bake(&[&["build", "a"], &flags[..]].concat()).succeeds();
    // No tags: then the output's own name counts.
    let named =
        ["--set", "a.tags=", "--output", "type=oci,dest=named,tar=false,\"name=example.com/x:3,example.com/y\""];
    project.bake(&[&["build", "a"], &named[..]].concat()).succeeds();
    let digest = |source: String| run("skopeo", &["inspect", "--format", "{{.Digest}}", &source]).succeeds().stdout;
    let expected = digest(format!("oci:{}:1", path("oci")));
    for source in [format!("oci-archive:{}:2", path("oci.tar")), format!("oci:{}:1", path("docker"))] {
        assert_eq!(digest(source.clone()), expected, "{source}");
    }
    for tag in ["3", "latest"] {
        assert_eq!(digest(format!("oci:{}:{tag}", path("named"))), expected);
    }
    assert!(!project.exists("docker/manifest.json"));
}

#[test]
fn standard_output_is_the_archives_alone() {
    let Some(project) = small() else { return };
    for (kind, number) in [("oci", 1), ("docker", 2), ("tar", 3)] {
        let file = format!("type={kind},dest={number}.tar");
        project.bake(&["build", "a", "--output", &file]).succeeds();
        let written = std::fs::read(project.path().join(format!("{number}.tar"))).expect("written");
        // Without a destination it is standard output, but for the one type whose result goes to Docker then.
        let bare = if kind == "docker" { "type=docker,dest=-".to_owned() } else { format!("type={kind}") };
        let arguments = ["build", "a", "--progress", "plain", "--metadata-file", "out.json", "--output", &bare];
        let piped = project.command(&arguments).output().expect("bake starts");
        assert!(piped.stdout == written, "{kind}");
        assert!(String::from_utf8_lossy(&piped.stderr).contains("wrote to standard output"));
    }
    let two = ["build", "a", "--output", "type=tar", "--output", "type=oci"];
    let ran = project.bake(&two).fails(3);
    assert!(ran.stderr.contains("target \"a\" has two outputs that write `-`"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_built() {
    let Some(project) = small() else { return };
    project.write("there/file", "x");
    let cases = [
        (
            "type=docker,dest=x.tar",
            3,
            "docker exporter does not support exporting manifest lists, use the oci exporter",
        ),
        ("type=local", 3, "output `type=local` needs a destination"),
        ("type=oci,tar=false,dest=-", 3, "is a directory, which standard output is not"),
        ("type=oci,tar=maybe,dest=x", 3, "output option `tar` is true or false, not \"maybe\""),
        ("type=local,dest=x,mode=move", 3, "`mode` of an output is copy or delete, not \"move\""),
        ("type=docker,context=x,dest=x.tar", 3, "`context=x` names a Docker, but the result goes to a file"),
        ("type=image,push=true,push-by-digest=true", 3, "cannot push tagged `example.com/a:1` by digest"),
        ("type=oci,dest=there", 4, "is to make `there` a file, but a directory is there"),
        ("type=local,dest=there/file", 4, "is to make `there/file` a directory, but a file is there"),
    ];
    for (output, code, message) in cases {
        let ran =
            project.bake(&["build", "a", "--platform", "linux/amd64,linux/arm64", "--output", output]).fails(code);
        assert!(ran.stderr.contains(message), "{output}: {}", ran.stderr);
        assert!(!ran.stderr.contains("#1"), "{output}: {}", ran.stderr);
    }
}

#[test]
fn flags_that_add_no_output_say_so() {
    let Some(project) = small() else { return };
    let arguments = ["build", "a", "--push", "--load", "--output", "type=local,dest=out"];
    let ran = project.bake(&arguments).succeeds();
    for flag in ["--push", "--load"] {
        let warning = format!("warning: {flag} adds nothing to target \"a\", whose own outputs are files\n");
        assert!(ran.stderr.contains(&warning), "{}", ran.stderr);
    }
}

/// The keys, and the shape of the descriptor, are those of buildx 0.36 with BuildKit 0.31, its `buildx.build.ref` and
/// provenance left out; `image.name` is the full name.
#[test]
fn metadata_and_image_id_are_the_peers() {
    let Some(project) = small() else { return };
    let build = |arguments: &[&str]| {
        project.bake(&[&["build", "a", "--metadata-file", "out.json"], arguments].concat()).succeeds();
        serde_json::from_str::<Value>(&project.read("out.json")).expect("JSON")
    };
    let image = build(&["--iidfile", "id", "--output", "type=image", "--output", "type=cacheonly"]);
    let (digest, size) = (&image["a"]["containerimage.digest"], &image["a"]["containerimage.descriptor"]["size"]);
    let expected = json!({
        "a": {
            "containerimage.config.digest": project.read("id"),
            "containerimage.descriptor": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": size,
                "platform": { "architecture": "amd64", "os": "linux" },
            },
            "containerimage.digest": digest,
            "image.name": "example.com/a:1,example.com/a:2",
        },
    });
    assert_eq!(image, expected);
    for output in ["type=local,dest=out", "type=tar,dest=out.tar", "type=cacheonly"] {
        assert_eq!(build(&["--output", output]), json!({ "a": {} }), "{output}");
    }
    let several = build(&["--iidfile", "id", "--platform", "linux/amd64,linux/arm64"]);
    assert_eq!(several["a"]["containerimage.digest"], project.read("id"));
    assert_eq!(several["a"]["containerimage.descriptor"].as_object().expect("one").len(), 3);

    let ran = project.bake(&["build", "a", "b", "--iidfile", "id"]).fails(2);
    assert!(ran.stderr.contains("hint: name one target, or use --metadata-file"), "{}", ran.stderr);
    let ran = project.bake(&["build", "a", "--iidfile", "id", "--output", "out"]).fails(2);
    assert!(ran.stderr.contains("local and tar exporters are incompatible with image ID file"), "{}", ran.stderr);
    // An id that is there is that of this build.
    project.bake(&["build", "a", "--iidfile", "id", "--set", "a.context=none"]).fails(1);
    assert!(!project.exists("id"));
}

#[test]
fn one_build_goes_to_many_places() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let outputs = ["type=registry", "type=oci,dest=out.tar", "type=local,dest=out", "type=tar,dest=files.tar"];
    let flags: Vec<&str> = outputs.iter().flat_map(|output| ["--output", *output]).collect();
    let ran = project.bake(&[&["build", "hello"], &flags[..]].concat()).succeeds();
    assert!(ran.stderr.contains(&format!("pushed {}:1", project.repository)), "{}", ran.stderr);
    assert_eq!(project.read("out/linux_arm64/app/arch"), "aarch64\n");
    assert!(project.exists("out.tar") && project.exists("files.tar"));
    let digest = bake::digest::Digest::of(project.raw("1").expect("pushed").as_bytes());
    assert_eq!(ran.stdout, format!("hello {digest}\n"));
}

#[test]
fn an_image_is_published_by_digest_alone() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let output = format!("type=image,push=true,push-by-digest=true,name={}", project.repository);
    let arguments = ["build", "hello", "--set", "hello.tags=", "--output", &output, "--metadata-file", "out.json"];
    let ran = project.bake(&arguments).succeeds();
    let metadata: Value = serde_json::from_str(&project.read("out.json")).expect("JSON");
    let digest = metadata["hello"]["containerimage.digest"].as_str().expect("a digest").to_owned();
    assert!(ran.stderr.contains(&format!("published {}@{digest}\n", project.repository)), "{}", ran.stderr);
    let source = format!("docker://{}@{digest}", project.repository);
    run("skopeo", &["inspect", "--raw", "--tls-verify=false", &source]).succeeds();
    assert_eq!(project.raw("latest"), None);
    let repository = project.repository.split_once('/').expect("a repository").1;
    let tags = run("curl", &["-s", &format!("http://{}/v2/{repository}/tags/list", project.registry)]).succeeds();
    assert!(!tags.stdout.contains("latest"), "{}", tags.stdout);
}
