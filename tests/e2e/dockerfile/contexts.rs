//! Named contexts, the Dockerfile's own place, and what a Dockerfile is.

use expect_test::expect;

use super::Case;

#[test]
fn a_named_context_takes_the_place_of_a_stage_an_image_and_a_source() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("f", "main")]);
    case.project.write("other/f", "other").write("other/ign", "x").write("other/.dockerignore", "ign\n");
    case.project.write("third/g", "third").write("nowhere/x", "x");
    let case = case
        .context("stage", "third")
        .context("other", "other")
        .context("example.com/image:1", "docker-image://REGISTRY/base/busybox:1")
        .context("unused", "nowhere");
    let built = case.build(
        r#"FROM example.com/image:1 AS stage
RUN exit 1
FROM example.com/image:1 AS real
COPY --from=other . /o/
COPY --from=other f /of
COPY --from=stage / /s/
RUN --mount=from=other,target=/m ls -A /m > /mounted
FROM other AS files
COPY f /f
FROM scratch
COPY --from=real /o /o
COPY --from=real /s /s
COPY --from=real /of /mounted /
COPY --from=files / /files/
"#,
    );
    built.has(expect![[r#"
        files/ 755 0:0
        files/.dockerignore 644 0:0 "ign\n"
        files/f 644 0:0 "main"
        mounted 644 0:0 ".dockerignore\nf\n"
        o/ 755 0:0
        o/.dockerignore 644 0:0 "ign\n"
        o/f 644 0:0 "other"
        of 644 0:0 "other"
        s/ 755 0:0
        s/g 644 0:0 "third"
    "#]]);
}

#[test]
fn the_dockerfile_may_be_anywhere_below_the_context_and_a_link() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[
        ("sub/my.Dockerfile", "FROM scratch\nCOPY f /f\nCOPY g* /\n"),
        ("f", "f"),
        ("g", "g"),
        ("sub/my.Dockerfile.dockerignore", "g\n"),
    ]);
    let case = case.with("dockerfile = \"sub/my.Dockerfile\"");
    case.build("FROM nothing\n").has(expect![[r#"
        f 644 0:0 "f"
    "#]]);
    let linked = Case::new().expect("as before").files(&[("real", "FROM scratch\nCOPY real /real\n")]);
    let linked = linked.links(&[("link", "real")]).with("dockerfile = \"link\"");
    linked.build("FROM nothing\n").has(expect![[r#"
        real 644 0:0 "FROM scratch\nCOPY real /real\n"
    "#]]);
}

#[test]
fn a_dockerfile_may_have_windows_lines_a_byte_order_mark_and_bytes_that_are_no_text() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("f", "f")]);
    let built = case.build("\u{feff}# check=skip=all\r\nFROM scratch\r\nCOPY f \\\r\n  /f\r\nENV A=b\r\n");
    built
        .has(expect![[r#"
        f 644 0:0 "f"
    "#]])
        .is(expect![[r#"
        Env ["A=b"]
        WorkingDir "/"
    "#]]);
    let bytes =
        b"FROM busybox\n# caf\xe9\nENV A=caf\xe9\nRUN printf x > /a\nCOPY <<EOF /b\ny\xe9\nEOF\nLABEL l=\"\xe9\"\n";
    let built = case.build(bytes);
    built
        .has(expect![[r#"
        a 644 0:0 "x"
        b 644 0:0 "y�\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]])
        .is(expect![[r#"
        Env ["A=caf�"]
        Cmd ["/bin/sh"]
        WorkingDir "/"
        Labels {"l":"�"}
        ArgsEscaped true
    "#]]);
    let built = case.build("# escape=`\nFROM scratch\nCOPY f `\n  /f\nENV P=c:\\dir\\x\n");
    built
        .has(expect![[r#"
        f 644 0:0 "f"
    "#]])
        .is(expect![[r#"
        Env ["P=c:\\dir\\x"]
        WorkingDir "/"
    "#]]);
}

#[test]
fn a_directory_of_the_context_may_become_a_file_and_a_mode_may_change() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("x/f", "f")]);
    case.build("FROM scratch\nCOPY . /c/\n");
    std::fs::remove_dir_all(case.project.path().join("ctx/x")).expect("removed");
    let case = case.files(&[("x", "now a file")]);
    case.build("FROM scratch\nCOPY . /c/\n").has(expect![[r#"
        c/ 755 0:0
        c/Dockerfile 644 0:0 "FROM scratch\nCOPY . /c/\n"
        c/x 644 0:0 "now a file"
    "#]]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(case.project.path().join("ctx/x"), mode).expect("set");
    case.build("FROM scratch\nCOPY x /x\n").has(expect![[r#"
        x 755 0:0 "now a file"
    "#]]);
}
