//! Where results go, and looking at them.

use crate::support::{self, registry, run};

#[test]
fn an_oci_archive_is_read_by_skopeo_and_is_the_same_each_time() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "hello", "--output", "type=oci,dest=out.tar"]).succeeds();
    let first = std::fs::read(project.path().join("out.tar")).expect("written");
    let archive = format!("oci-archive:{}", project.path().join("out.tar").display());
    let inspected = run("skopeo", &["inspect", "--override-arch", "arm64", "--raw", &archive]).succeeds();
    assert!(inspected.stdout.contains("application/vnd.oci.image.index.v1+json"), "{}", inspected.stdout);
    project.bake(&["build", "hello", "--output", "type=oci,dest=out.tar"]).succeeds();
    assert!(std::fs::read(project.path().join("out.tar")).expect("written") == first);
}

#[test]
fn one_platform_alone_has_no_directory_of_its_own() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let arguments = ["build", "hello", "--platform", "linux/arm64", "--output", "type=local,dest=out"];
    project.bake(&arguments).succeeds();
    assert_eq!(project.read("out/app/arch"), "aarch64\n");
}

#[test]
fn a_tar_of_the_root_file_system_holds_its_files() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "hello", "--platform", "linux/amd64", "--output", "type=tar,dest=out.tar"]).succeeds();
    let listing = run("tar", &["tf", &project.path().join("out.tar").display().to_string()]).succeeds();
    assert!(listing.stdout.lines().any(|line| line == "app/arch"), "{}", listing.stdout);
}

/// The keys are those that `docker buildx bake --metadata-file` writes, its own `buildx.build.ref` left out.
#[test]
fn a_metadata_file_has_the_peers_keys() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let metadata = |arguments: &[&str]| -> serde_json::Value {
        project.bake(&[&["build", "hello", "--metadata-file", "out.json"], arguments].concat()).succeeds();
        serde_json::from_str(&project.read("out.json")).expect("JSON")
    };
    let keys = |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();

    let several = metadata(&["--push"]);
    assert_eq!(keys(&several), ["hello"]);
    let hello = &several["hello"];
    assert_eq!(keys(hello), ["containerimage.descriptor", "containerimage.digest", "image.name"]);
    assert_eq!(hello["image.name"], format!("{}:1", project.repository));
    assert_eq!(hello["containerimage.digest"], hello["containerimage.descriptor"]["digest"]);
    let kind = "application/vnd.oci.image.index.v1+json";
    assert_eq!(hello["containerimage.descriptor"]["mediaType"], kind);
    let size = project.raw("1").expect("pushed").len();
    assert_eq!(hello["containerimage.descriptor"]["size"], size);

    let one = metadata(&["--platform", "linux/amd64", "--set", "hello.tags="]);
    let expected = ["containerimage.config.digest", "containerimage.descriptor", "containerimage.digest"];
    assert_eq!(keys(&one["hello"]), expected);
}

#[test]
fn inspect_shows_the_index_with_each_platform() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "hello", "--push"]).succeeds();
    let name = format!("{}:1", project.repository);
    let shown = project.bake(&["image", "inspect", &name]).succeeds();
    let index = project.index("1").expect("pushed");
    for part in index.values().map(String::as_str).chain(["linux/amd64", "linux/arm64", "linux/arm/v7"]) {
        assert!(shown.stdout.contains(part), "{part} is not in\n{}", shown.stdout);
    }
    let raw = project.bake(&["image", "inspect", "--raw", &name]).succeeds();
    assert_eq!(raw.stdout, project.raw("1").expect("pushed"));
}

#[test]
fn print_is_the_peers_json() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let printed = project.bake(&["print", "all"]).succeeds();
    let value: serde_json::Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(value["target"]["hello"]["tags"][0], format!("{}:1", project.repository));
    assert_eq!(value["target"]["hello"]["dockerfile"], "Dockerfile");
}

#[test]
fn help_names_the_verbs() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let help = project.bake(&["--help"]).succeeds();
    for verb in ["build", "print", "image"] {
        assert!(help.stdout.contains(verb), "{verb} is not in\n{}", help.stdout);
    }
}

#[test]
fn standard_output_holds_the_archive_and_nothing_else() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let arguments = ["build", "hello", "--platform", "linux/amd64", "--output", "type=tar,dest=-"];
    let piped = project.command(&arguments).output().expect("bake starts");
    project.bake(&["build", "hello", "--platform", "linux/amd64", "--output", "type=tar,dest=out.tar"]).succeeds();
    assert!(piped.stdout == std::fs::read(project.path().join("out.tar")).expect("written"));
}

#[test]
fn one_archive_holds_the_images_of_all_targets() {
    let Some(registry) = registry() else { return };
    let project = support::Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        target "a" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN echo a > /a\n"
          tags = ["example.com/a:1"]
        }
        target "b" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN echo b > /b\n"
          tags = ["example.com/b:2"]
        }
        "#,
    );
    project.bake(&["build", "all", "--output", "type=oci,dest=out.tar"]).succeeds();
    for (name, file) in [("example.com/a:1", "a"), ("example.com/b:2", "b")] {
        let directory = project.path().join(format!("unpacked-{file}"));
        let archive = project.path().join("out.tar");
        std::fs::create_dir(&directory).expect("created");
        run("tar", &["xf", &archive.display().to_string(), "-C", &directory.display().to_string()]).succeeds();
        let index = std::fs::read_to_string(directory.join("index.json")).expect("an index");
        assert!(index.contains(name), "{name} is not in {index}");
        let tag = name.rsplit(':').next().expect("a tag");
        let layout = format!("oci:{}:{tag}", directory.display());
        let copied = format!("dir:{}", project.path().join(format!("copy-{file}")).display());
        run("skopeo", &["copy", &layout, &copied]).succeeds();
    }
}
