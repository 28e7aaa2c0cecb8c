//! What named contexts may be: images, layouts, other targets; and what of them counts.

use expect_test::expect;

use super::{Case, config, files};

const PLATFORM: [&str; 3] = ["build", "--platform", "linux/amd64"];

impl Case {
    /// Builds `dockerfile` as the OCI layout `base`, for `contexts = { … = "oci-layout://base" }`.
    fn layout(&self, dockerfile: &str) {
        self.prepare(dockerfile.as_bytes());
        let output = ["--output", "type=oci,tar=false,dest=base"];
        self.project.bake(&[&PLATFORM[..], &output[..]].concat()).succeeds();
    }
}

#[test]
fn an_image_that_stands_in_for_a_stage_brings_its_environment_and_none_of_the_stages_steps() {
    let Some(case) = Case::new() else { return };
    case.layout("FROM busybox\nENV PATH=/foobar:$PATH FOOBAR=foobar\nWORKDIR /test\nRUN echo -n first > out\n");
    let case = case.context("base", "oci-layout://base").context("example.com/tool:1", "oci-layout://base");
    let built = case.build(
        r#"FROM busybox AS parent
FROM parent AS base
RUN echo base > /stage
FROM base AS child
RUN [ ! -f /stage ] && echo "$FOOBAR $(pwd)" > /child && echo "$PATH" >> /child
FROM example.com/tool:1 AS tool
RUN echo -n $FOOBAR > tool
FROM scratch
COPY --from=child /child /
COPY --from=base /test/o* /
COPY --from=tool /test/tool /
"#,
    );
    built.has(expect![[r#"
        child 644 0:0 "foobar /test\n/foobar:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        out 644 0:0 "first"
        tool 644 0:0 "foobar"
    "#]]);
}

#[test]
fn a_layout_without_a_registry_is_a_base_whose_config_counts() {
    let Some(case) = Case::new() else { return };
    case.layout("FROM scratch\nWORKDIR /test\nENV foo=bar\nLABEL kept=yes\n");
    let case = case.context("nonexistent", "oci-layout://base");
    case.build("FROM nonexistent AS base\n").is(expect![[r#"
        Env ["foo=bar"]
        WorkingDir "/test"
        Labels {"kept":"yes"}
    "#]]);
    let digest = {
        let index: serde_json::Value =
            serde_json::from_str(&case.project.read("base/index.json")).expect("an index is JSON");
        index["manifests"][0]["digest"].as_str().expect("a digest").to_owned()
    };
    let by_digest = Case::new().expect("as before");
    by_digest.layout("FROM scratch\nWORKDIR /test\nENV foo=bar\nLABEL kept=yes\n");
    let by_digest = by_digest.context("nonexistent", &format!("oci-layout://base@{digest}"));
    by_digest.build("FROM nonexistent\nENV more=1\n").is(expect![[r#"
        Env ["foo=bar","more=1"]
        WorkingDir "/test"
        Labels {"kept":"yes"}
    "#]]);
}

#[test]
fn an_image_that_stands_in_is_of_the_platform_that_the_stage_asks_for() {
    let Some(case) = Case::new() else { return };
    let case = case.context("other", "docker-image://REGISTRY/base/busybox:1").context("key", "a");
    let case = case.context("key::linux/arm64", "b").context("key::linux/amd64", "c");
    case.project.write("a/f", "any").write("b/f", "arm64").write("c/f", "amd64");
    let dockerfile = "FROM --platform=$BUILDPLATFORM other AS run\nRUN uname -m > /m\nFROM --platform=linux/arm64 key AS arm\n\
                      FROM scratch\nCOPY --from=run /m /\nCOPY --from=arm f /arm\nCOPY --from=key f /own\n";
    case.build(dockerfile).has(expect![[r#"
        arm 644 0:0 "arm64"
        m 644 0:0 "x86_64\n"
        own 644 0:0 "amd64"
    "#]]);
    // No machine here runs the platform that is built for; the stage's own is what counts.
    case.prepare(dockerfile.replace("COPY --from=key f /own\n", "").as_bytes());
    let output = ["--output", "type=tar,dest=out.tar"];
    case.project.bake(&[&["build", "--platform", "darwin/ppc64le"], &output[..]].concat()).succeeds();
    assert_eq!(files(&case.project.path().join("out.tar"))["m"], "644 0:0 \"x86_64\\n\"");
}

#[test]
fn an_image_is_not_as_old_as_what_stands_in_for_its_base() {
    let Some(case) = Case::new() else { return };
    let case = case.with("args = { SOURCE_DATE_EPOCH = \"1000\" }");
    case.layout("FROM busybox\nRUN echo foo >> /test\n");
    let first = config(&case.project.path().join("base"));
    let derived = Case::new().expect("as before").with("args = { SOURCE_DATE_EPOCH = \"2000\" }");
    let base = case.project.path().join("base").display().to_string();
    let copied =
        std::process::Command::new("cp").args(["-r", &base, "base"]).current_dir(derived.project.path()).status();
    assert!(copied.expect("cp starts").success());
    let built = derived.context("stand-in", "oci-layout://base").build("FROM stand-in\nRUN echo foo >> /test\n");
    assert_eq!(first["created"], "1970-01-01T00:16:40Z");
    assert_eq!(built.config["created"], "1970-01-01T00:33:20Z");
    // What the base says of its own steps stays.
    let times: Vec<_> =
        built.config["history"].as_array().expect("a list").iter().map(|entry| entry["created"].clone()).collect();
    assert_eq!(times[times.len() - 2..], ["1970-01-01T00:16:40Z", "1970-01-01T00:33:20Z"]);
}

#[test]
fn nothing_may_stand_in_for_an_image() {
    let Some(case) = Case::new() else { return };
    let case = case.context("tool", "docker-image://scratch");
    let built = case.build("FROM tool AS build\nCOPY <<EOF /out\nhello world!\nEOF\n");
    assert_eq!(
        built.files.iter().map(|(name, line)| format!("{name} {line}")).collect::<Vec<_>>(),
        ["out 644 0:0 \"hello world!\\n\""]
    );
}

#[test]
fn another_targets_result_is_a_stage_on_each_platform() {
    let Some(case) = Case::new() else { return };
    let project = &case.project;
    project.write("one/Dockerfile", "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nENV FOO=bar-$TARGETARCH\nRUN echo \"foo $TARGETARCH\" > /out\n");
    project.write(
        "two/Dockerfile",
        "FROM base AS build\nRUN echo \"foo is $FOO\" > /foo\nFROM scratch\nCOPY --from=build /foo /out /\n",
    );
    let registry = &project.registry;
    project.write(
        "build.hcl",
        &format!(
            "target \"one\" {{\n  context = \"one\"\n  contexts = {{ busybox = \"docker-image://{registry}/base/busybox:1\" }}\n}}\n\
             target \"two\" {{\n  context = \"two\"\n  contexts = {{ base = \"target:one\" }}\n  \
             platforms = [\"linux/amd64\", \"linux/arm64\"]\n  output = [\"type=local,dest=out\"]\n}}\n\
             target \"one\" {{\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n}}\n"
        ),
    );
    project.bake(&["build", "two"]).succeeds();
    for arch in ["amd64", "arm64"] {
        assert_eq!(project.read(&format!("out/linux_{arch}/out")), format!("foo {arch}\n"));
        assert_eq!(project.read(&format!("out/linux_{arch}/foo")), format!("foo is bar-{arch}\n"));
    }
}

#[test]
fn only_what_is_used_of_a_directory_counts() {
    let Some(case) = Case::new() else { return };
    let case = case.context("foo", "foo");
    case.project.write("foo/foo", "foo").write("foo/bar", &"x".repeat(100_000));
    let dockerfile = "FROM scratch AS copied\nCOPY --from=foo /foo /\nFROM busybox AS mounted\n\
                      RUN --mount=from=foo,src=/foo,target=/in/foo cp /in/foo /foo\nFROM foo AS all\n\
                      FROM scratch\nCOPY --link --from=copied /foo /a\nCOPY --link --from=mounted /foo /b\n";
    let build = |dockerfile: &str| {
        case.prepare(dockerfile.as_bytes());
        case.project.bake(&[&PLATFORM[..], &["--output", "type=tar,dest=out.tar"]].concat()).succeeds()
    };
    // The stage `foo` of the file gives way to the context as well.
    for dockerfile in [dockerfile.to_owned(), format!("FROM scratch AS foo\nCOPY <<E /foo\ntest\nE\n{dockerfile}")] {
        build(&dockerfile);
        case.project.write("foo/bar", &dockerfile);
        assert!(build(&dockerfile).ran_nothing(), "`bar` is not used");
        let out = files(&case.project.path().join("out.tar"));
        assert_eq!((&*out["a"], &*out["b"]), ("644 0:0 \"foo\"", "644 0:0 \"foo\""));
        case.project.write("foo/bar", "again");
        let all = dockerfile + "COPY --from=all /bar /c\n";
        build(&all);
        assert_eq!(files(&case.project.path().join("out.tar"))["c"], "644 0:0 \"again\"");
    }
}

#[test]
fn a_context_that_no_reached_stage_names_is_not_looked_for() {
    let Some(case) = Case::new() else { return };
    let nowhere = "docker-image://127.0.0.1:1/nosuchimage:latest";
    let case = case.context("notused", nowhere).context("example.com/other", nowhere);
    let built = case.build(
        "FROM broken AS notused\nFROM busybox AS base\nRUN echo base > /foo\nFROM example.com/other AS otherstage\n\
         FROM scratch\nCOPY --from=base /foo /foo\n",
    );
    built.has(expect![[r#"
        foo 644 0:0 "base\n"
    "#]]);
}

#[test]
fn a_trigger_of_a_layout_may_read_a_stage_of_its_user() {
    let Some(case) = Case::new() else { return };
    case.layout("FROM busybox\nONBUILD COPY --from=otherstage /testfile /out/foo\n");
    let case = case.context("base", "oci-layout://base");
    let built = case.build(
        "FROM busybox AS otherstage\nRUN echo -n hello > /testfile\nFROM base AS inputstage\nFROM scratch\n\
         COPY --from=inputstage /out/foo /bar\n",
    );
    built.has(expect![[r#"
        bar 644 0:0 "hello"
    "#]]);
}
