//! Corners of mounts, scripts, names and images that BuildKit's own tests look at.

use expect_test::expect;

use super::Case;

#[test]
fn options_of_mounts_are_variables_of_the_stage_and_its_parents() {
    let Some(case) = Case::new() else { return };
    case.build(
        r#"ARG META_PATH=/tmp/meta
FROM busybox AS stage1
ENV SOME_PATH=/mycache MNT_ID=named MNT_TYPE2=cache
ARG MNT_TYPE=cache
ARG META_PATH
RUN --mount=type=cache,target=/mycache touch /mycache/foo
RUN --mount=type=cache,target=$SOME_PATH [ -f $SOME_PATH/foo ]
RUN --mount=type=$MNT_TYPE,target=/mycache2 touch /mycache2/foo
RUN --mount=type=cache,target=/mycache2 [ -f /mycache2/foo ]
RUN --mount=type=cache,id=named,target=/abcabc touch /abcabc/foo
RUN --mount=type=$MNT_TYPE2,id=$MNT_ID,target=/cbacba [ -f /cbacba/foo ]
RUN --mount=type=cache,id=named,target=$META_PATH [ -f /tmp/meta/foo ]
RUN --mount=type=cache,target=/other [ ! -f /other/foo ]
RUN --mount=target=/mytmp,type=tmpfs touch /mytmp/foo
RUN [ ! -f /mytmp/foo ]
RUN --mount=type=tmpfs,target=/dev/shm,size=128m mount | grep /dev/shm | grep size=131072k
FROM stage1
RUN --mount=type=$MNT_TYPE2,id=$MNT_ID,target=/whatever [ -f /whatever/foo ]
"#,
    );
    for (instruction, parts) in [
        ("RUN --mont=target=/mytmp,type=tmpfs /bin/true", ["unknown flag `--mont` of RUN", "did you mean `--mount`?"]),
        ("RUN --mount=typ=tmpfs /bin/true", ["unknown option `typ` of a mount", "did you mean `type`?"]),
        ("RUN --mount=type=tmp /bin/true", ["`tmp` is no value for option `type`", "use one of: bind, cache, tmpfs"]),
        (
            "ENV ttt=test\nRUN --mount=from=$ttt,type=cache,target=/tmp ls",
            ["variables are not expanded", "Dockerfile:3"],
        ),
    ] {
        case.fails(&format!("FROM busybox\n{instruction}\n"), &parts);
    }
}

#[test]
fn the_link_in_a_cache_does_not_lead_out_of_it() {
    let Some(case) = Case::new() else { return };
    case.fails(
        r#"FROM busybox AS init
RUN --mount=type=cache,id=escape,target=/cache mkdir -p /cache/sel && echo benign > /cache/sel/benign.txt
FROM init AS link
RUN --mount=type=cache,id=escape,target=/cache rm -rf /cache/sel && ln -s /etc /cache/sel
FROM link AS victim
RUN --mount=type=cache,id=escape,source=sel,target=/victim cat /victim/hostname
FROM scratch
COPY --from=victim /etc/passwd /hostname
"#,
        &["Dockerfile:6"],
    );
}

#[test]
fn any_program_may_be_the_shell_of_a_script_and_scripts_may_have_several_files() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox AS awk
SHELL ["/bin/awk"]
RUN <<EOF
BEGIN {
	print "foo" > "/dest"
}
EOF
FROM busybox AS complex
WORKDIR /dest
RUN cat <<EOF1 | tr '[:upper:]' '[:lower:]' > ./out1; \
	cat <<EOF2 | tr '[:lower:]' '[:upper:]' > ./out2
hello WORLD
EOF1
HELLO world
EOF2
RUN <<EOF 3<<IN1 4<<IN2 awk -f -
BEGIN {
	while ((getline line < "/proc/self/fd/3") > 0)
		print tolower(line) > "./fd3"
	while ((getline line < "/proc/self/fd/4") > 0)
		print toupper(line) > "./fd4"
}
EOF
hello WORLD
IN1
HELLO world
IN2
FROM scratch
COPY --from=awk /dest /
COPY --from=complex /dest /complex
"#,
    );
    built.has(expect![[r#"
        complex/ 755 0:0
        complex/fd3 644 0:0 "hello world\n"
        complex/fd4 644 0:0 "HELLO WORLD\n"
        complex/out1 644 0:0 "hello world\n"
        complex/out2 644 0:0 "HELLO WORLD\n"
        dest 644 0:0 "foo\n"
    "#]]);
}

#[test]
fn the_built_in_frontend_has_a_name_of_its_own() {
    let Some(case) = Case::new() else { return };
    let dockerfile = "# syntax=dockerfile.v0\nFROM scratch\nCOPY Dockerfile /f\n";
    assert!(case.build(dockerfile).files.contains_key("f"));
    let foreign = "# syntax=example.com/other:1\nFROM scratch\nCOPY Dockerfile /f\n";
    case.fails(foreign, &["Dockerfile:1:1", "example.com/other:1"]);
    // The argument wins over the file.
    let case = case.with("args = { BUILDKIT_SYNTAX = \"dockerfile.v0\" }");
    assert!(case.build(foreign).files.contains_key("f"));
    let case = Case::new().expect("as before").with("args = { BUILDKIT_SYNTAX = \"example.com/other:1\" }");
    case.fails(dockerfile, &["BUILDKIT_SYNTAX", "example.com/other:1"]);
}

#[test]
fn an_image_without_layers_is_a_base_and_has_a_whole_config() {
    let Some(case) = Case::new() else { return };
    let repository = case.project.repository.clone();
    case.project.write("build.hcl", &format!("target \"default\" {{\n  tags = [\"{repository}:empty\"]\n}}\n"));
    case.project.write("Dockerfile", "FROM scratch\nLABEL foo=bar\nENV foo=bar\n");
    case.project.bake(&["build", "--push", "--platform", "linux/amd64"]).succeeds();
    let case = case.files(&[("foo", "foo-contents")]);
    let built = case.build(format!("FROM {repository}:empty\nLABEL bar=baz\nCOPY foo .\n"));
    let files: Vec<String> = built.files.iter().map(|(name, line)| format!("{name} {line}")).collect();
    assert_eq!(files, ["foo 644 0:0 \"foo-contents\""]);
    built.is(expect![[r#"
        Env ["foo=bar"]
        WorkingDir "/"
        Labels {"bar":"baz","foo":"bar"}
    "#]]);
    let (config, path) = (&built.config, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"amd64".into()));
    assert_eq!(config["config"]["Env"][0], path);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(1));
    let history = config["history"].as_array().expect("a list");
    assert_eq!((history[1]["created_by"].as_str(), &history[1]["empty_layer"]), (Some("ENV foo=bar"), &true.into()));
}

#[test]
fn a_layout_names_the_image_by_each_tag_and_may_hold_empty_images() {
    let Some(case) = Case::new() else { return };
    let tags = "tags = [\"org/repo:tag1\", \"org/repo:tag2\"]\n  platforms = [\"linux/arm64\", \"linux/amd64\"]";
    case.project.write("Dockerfile", "FROM scratch\n");
    let output = "output = [\"type=oci,tar=false,dest=image\", \"type=oci,dest=image.tar\"]";
    case.project.write("build.hcl", &format!("target \"default\" {{\n  {tags}\n  {output}\n}}\n"));
    case.project.bake(&["build"]).succeeds();
    let index: serde_json::Value = serde_json::from_str(&case.project.read("image/index.json")).expect("JSON");
    let manifests = index["manifests"].as_array().expect("a list");
    assert_eq!(manifests.len(), 2, "{index}");
    for (manifest, tag) in manifests.iter().zip(["tag1", "tag2"]) {
        assert_eq!((&manifest["digest"], &manifest["size"]), (&manifests[0]["digest"], &manifests[0]["size"]));
        let annotations = &manifest["annotations"];
        assert_eq!(annotations["io.containerd.image.name"], format!("docker.io/org/repo:{tag}"));
        assert_eq!(annotations["org.opencontainers.image.ref.name"], tag);
    }
    let digest = manifests[0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
    let image: serde_json::Value =
        serde_json::from_str(&case.project.read(&format!("image/blobs/sha256/{digest}"))).expect("JSON");
    assert_eq!(image["manifests"].as_array().map(Vec::len), Some(2), "{image}");
    let archive = case.project.path().join("image.tar").display().to_string();
    let tar = crate::support::run("tar", &["-xOf", &archive, "index.json"]).succeeds();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&tar.stdout).expect("JSON"), index);
}

#[test]
fn steps_are_named_as_the_peer_names_them() {
    let Some(case) = Case::new() else { return };
    case.prepare(
        b"FROM busybox AS base\nWORKDIR /out\nRUN echo \"base\" > base\nFROM scratch\nCOPY --from=base --chmod=0644 /out /out\n",
    );
    let ran = case.project.bake(&["build", "--platform", "linux/amd64"]).succeeds();
    for name in ["[base 3/3] RUN echo \"base\" > base", "[stage-1 1/1] COPY --from=base --chmod=0644 /out /out"] {
        assert!(ran.stderr.contains(name), "{name} is not in\n{}", ran.stderr);
    }
}
