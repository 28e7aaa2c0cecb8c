//! Linked copies (`COPY --link`): made on nothing, merged over the stage. What is expected is what BuildKit builds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use crate::support::{Project, Registry, registry};

/// What a stage has before anything is linked into it.
const STAGE: &str = "ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1
ARG BASE=1
RUN mkdir -p /real /keep && chmod 0700 /real /keep && chown 5:6 /keep && ln -s /real /lnk \\
 && echo in-real > /real/r && echo file > /file && echo k > /keep/k && echo $BASE > /base
";

/// Copies over a symbolic link, into directories that are there, over a file, and with an owner.
const COPIES: &str = "COPY --link f /lnk/sub/f
COPY --link f /keep/f
COPY --link d /keep
COPY --link f /file/x
COPY --link --chown=3:4 f /own/deep/f
";

const LIST: &str =
    "RUN find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /bin -o -path /etc \\) -prune \\
 -o -exec stat -c '%n %a %u:%g' {} + | grep -v -e ^/.complete -e ^/home -e ^/root -e ^/tmp | sort > /tmp/seen
";

fn project(registry: &Registry, output: &str, steps: &str) -> Project {
    let project = Project::new(registry);
    let bakefile = format!(
        "variable \"REGISTRY\" {{}}\ntarget \"default\" {{\n  args = {{ REGISTRY = REGISTRY }}\n  output = [\"{output}\"]\n}}\n"
    );
    project.write("build.hcl", &bakefile).write("Dockerfile", &format!("{STAGE}{steps}"));
    project.write("f", "hi\n").write("d/sub/x", "1\n");
    project
}

/// A layer of an image in an OCI layout: its digest, and the names, modes and owners of its entries.
#[derive(Debug, PartialEq)]
struct Layer {
    digest: String,
    entries: Vec<String>,
}

/// Reads the layers of the image that was built into `out`.
fn layers(project: &Project) -> Vec<Layer> {
    let json = |name: &str| -> serde_json::Value { serde_json::from_str(&project.read(name)).expect("JSON") };
    let blob = |descriptor: &serde_json::Value| {
        format!("out/blobs/{}", descriptor["digest"].as_str().expect("a digest").replace(':', "/"))
    };
    let mut document = json("out/index.json");
    while let Some(first) = document["manifests"].get(0) {
        document = json(&blob(first));
    }
    let layers = document["layers"].as_array().expect("layers");
    let read = |layer: &serde_json::Value| {
        let file = File::open(project.path().join(blob(layer))).expect("a blob");
        let mut tar = Vec::new();
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut tar).expect("gzip");
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().expect("a tar").map(|entry| {
            let entry = entry.expect("whole");
            let header = entry.header();
            let (mode, uid) = (header.mode().expect("a mode"), header.uid().expect("an owner"));
            format!("{} {mode:o} {uid}:{}", entry.path().expect("a name").display(), header.gid().expect("a group"))
        });
        Layer { digest: layer["digest"].to_string(), entries: entries.collect() }
    };
    layers.iter().map(read).collect()
}

/// Builds, and says of each step whether it was cached.
fn cached(project: &Project, arguments: &[&str]) -> BTreeMap<String, bool> {
    let arguments = [&["build", "--progress=plain"], arguments].concat();
    let ran = project.bake(&arguments).succeeds();
    let is_cached = |number: &str| ran.stderr.lines().any(|line| line == format!("{number} CACHED"));
    let steps = ran.stderr.lines().filter_map(|line| line.split_once(' ').filter(|(_, name)| name.starts_with('[')));
    steps.map(|(number, name)| (name.to_owned(), is_cached(number))).collect()
}

#[test]
fn a_linked_copy_does_not_follow_links_and_decides_over_the_directories_it_names() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "type=local,dest=out", &format!("{COPIES}{LIST}"));
    project.bake(&["build"]).succeeds();
    let expected = "/ 755 0:0\n/base 644 0:0\n/file 755 0:0\n/file/x 644 0:0\n/keep 755 0:0\n/keep/f 644 0:0\n\
                    /keep/k 644 0:0\n/keep/sub 755 0:0\n/keep/sub/x 644 0:0\n/lnk 755 0:0\n/lnk/sub 755 0:0\n\
                    /lnk/sub/f 644 0:0\n/own 755 3:4\n/own/deep 755 3:4\n/own/deep/f 644 3:4\n/real 700 0:0\n\
                    /real/r 644 0:0\n";
    assert_eq!(project.read("out/tmp/seen"), expected);
    // What is exported is what the step saw.
    for line in expected.lines().skip(1) {
        let words: Vec<&str> = line.split(' ').collect();
        let metadata = std::fs::symlink_metadata(project.path().join(format!("out{}", words[0]))).expect(line);
        assert_eq!(format!("{:o}", metadata.mode() & 0o7777), words[1], "{line}");
    }
}

#[test]
fn the_layers_of_linked_copies_are_the_same_over_another_base() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "type=oci,dest=out,tar=false", COPIES);
    project.bake(&["build"]).succeeds();
    let first = layers(&project);
    let entries: Vec<Vec<&str>> =
        first[2..].iter().map(|layer| layer.entries.iter().map(String::as_str).collect()).collect();
    let expected: [&[&str]; 5] = [
        &["lnk/ 755 0:0", "lnk/sub/ 755 0:0", "lnk/sub/f 644 0:0"],
        &["keep/ 755 0:0", "keep/f 644 0:0"],
        &["keep/ 755 0:0", "keep/sub/ 755 0:0", "keep/sub/x 644 0:0"],
        &["file/ 755 0:0", "file/x 644 0:0"],
        &["own/ 755 3:4", "own/deep/ 755 3:4", "own/deep/f 644 3:4"],
    ];
    assert_eq!(entries, expected);
    let steps = cached(&project, &["--set", "*.args.BASE=2"]);
    let second = layers(&project);
    assert_ne!(first[1], second[1]);
    assert_eq!(first[2..], second[2..]);
    for (name, is_cached) in steps.iter().filter(|(name, _)| name.contains("--link")) {
        assert_eq!(*is_cached, !name.contains("LINK"), "{name}");
    }
    assert!(steps.keys().filter(|name| name.contains("--link")).count() == 10, "{steps:?}");
}

#[test]
fn a_linked_layer_is_merged_without_the_files_of_its_base() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "type=oci,dest=out,tar=false", "");
    project
        .write("Dockerfile", "ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nCOPY --link f /a/f\nCOPY --link f /b/f\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(layers(&project).len(), 3);
    // The base was never unpacked: nothing asked for its files.
    assert_eq!(std::fs::read_dir(project.store().join("snapshots")).expect("a store").count(), 2);
}

#[test]
fn the_same_copy_may_be_linked_twice_and_changed_between() {
    let Some(registry) = registry() else { return };
    let steps = "COPY --link f d /t/\nRUN rm -r /t/sub && echo other > /t/f\nCOPY --link f d /t/\n\
                 RUN cat /t/f /t/sub/x > /seen\n";
    let project = project(registry, "type=local,dest=out", steps);
    project.write("d/sub/x", "1\n").bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "hi\n1\n");
}

#[test]
fn add_links_too_and_a_mode_makes_it_a_copy_like_any_other() {
    let Some(registry) = registry() else { return };
    let steps = "ADD --link f /lnk/a\nCOPY --link --chmod=600 f /keep/b\nCOPY --link <<EOF /lnk/c\nhere\nEOF\n\
                 RUN stat -c '%n %a %F' /lnk /lnk/* /keep /keep/b > /seen; ls /real >> /seen\n";
    let project = project(registry, "type=local,dest=out", steps);
    project.bake(&["build"]).succeeds();
    let expected = "/lnk 755 directory\n/lnk/a 644 regular file\n/lnk/c 644 regular file\n/keep 700 directory\n\
                    /keep/b 600 regular file\nr\n";
    assert_eq!(project.read("out/seen"), expected);
}

#[test]
fn a_user_that_no_file_can_name_is_an_error_before_anything_runs() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "type=cacheonly", "COPY --link --chown=root:daemon f /f\n");
    let failed = project.bake(&["build"]).fails(3);
    for part in ["`daemon` cannot be looked up", "Dockerfile:6", "hint: give `--chown` numbers"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
    // `root` needs no file, and numbers are what they are.
    project.write("Dockerfile", &format!("{STAGE}COPY --link --chown=root:7 f /f\n"));
    project.bake(&["build"]).succeeds();
}

#[test]
fn linked_copies_lie_over_what_steps_deleted_and_emptied() {
    let Some(registry) = registry() else { return };
    let steps = "RUN mkdir -p /o/p /gone/in && touch /o/p/a /o/b /gone/in/g && chmod 700 /o\n\
                 RUN rm -rf /o && mkdir /o && touch /o/new && rm -rf /gone\n\
                 COPY --link d /o/p\n\
                 COPY --link f /gone/in/f\n\
                 RUN rm -r /o/p/sub && mkdir /o/p/sub && touch /o/p/sub/own\n\
                 COPY --link d /o/p\n\
                 RUN find /o /gone | sort > /seen\n";
    let project = project(registry, "type=local,dest=out", steps);
    project.bake(&["build"]).succeeds();
    let expected = "/gone\n/gone/in\n/gone/in/f\n/o\n/o/new\n/o/p\n/o/p/sub\n/o/p/sub/own\n/o/p/sub/x\n";
    assert_eq!(project.read("out/seen"), expected);
}
