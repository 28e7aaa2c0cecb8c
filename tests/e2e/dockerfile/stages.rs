//! FROM and COPY --from: which stage, which image, which platform.

use expect_test::expect;

use super::Case;

#[test]
fn stages_are_known_by_name_number_and_in_any_case() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("f", "f")]);
    let built = case.build(
        r#"# escape=\
from scratch as First
copy f /first
FROM scratch AS second.stage-2
COPY --from=FIRST /first /second
FROM second.stage-2 AS third
COPY --from=0 /first /from0
COPY --from=1 /second /from1
COPY --from=first /first /byname
COPY --from=busybox /bin/sh /shell/
FROM scratch AS unused
COPY missing-but-unused /x
FROM third
COPY f /last
"#,
    );
    built.has(expect![[r#"
        byname 644 0:0 "f"
        from0 644 0:0 "f"
        from1 644 0:0 "f"
        last 644 0:0 "f"
        second 644 0:0 "f"
        shell/ 755 0:0
        shell/sh 755 0:0 1982256 bytes
    "#]]);
    let target =
        |name: &str| Case::new().expect("as before").files(&[("f", "f")]).with(&format!("target = \"{name}\""));
    let dockerfile = case.project.read("ctx/Dockerfile");
    target("FIRST").build(&dockerfile).has(expect![[r#"
        first 644 0:0 "f"
    "#]]);
    target("secnd.stage-2").fails(&dockerfile, &["second.stage-2"]);
}

#[test]
fn of_two_stages_of_one_name_the_later_counts_from_there_on() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox AS a
RUN echo one > /f
FROM a AS b
FROM busybox AS a
RUN echo two > /f
FROM busybox
COPY --from=a /f /a
COPY --from=b /f /b
COPY --from=0 /f /zero
"#,
    );
    built.has(expect![[r#"
        a 644 0:0 "two\n"
        b 644 0:0 "one\n"
        zero 644 0:0 "one\n"
    "#]]);
    let twice = Case::new().expect("as before").with("target = \"a\"");
    twice.build(case.project.read("ctx/Dockerfile")).has(expect![[r#"
        dev/ 755 0:0
        f 644 0:0 "two\n"
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
}

#[test]
fn a_stage_that_is_not_there_yet_is_an_error() {
    let Some(case) = Case::new() else { return };
    case.fails("FROM scratch AS a\nCOPY --from=LATER /x /x\nFROM scratch AS later\nFROM a\n", &["Dockerfile:2"]);
    case.fails("FROM scratch AS self\nCOPY --from=self /x /x\n", &["Dockerfile:2"]);
    case.fails("FROM scratch AS 1bad\n", &["Dockerfile:1"]);
    case.fails("FROM scratch AS a/b\n", &["Dockerfile:1"]);
    case.fails("FROM scratch\nARG X=0\nCOPY --from=$X /x /x\n", &["Dockerfile:3"]);
    case.fails("FROM $NOTHING\n", &["Dockerfile:1"]);
}

#[test]
fn an_empty_stage_is_an_image_without_layers() {
    let Some(case) = Case::new() else { return };
    let built = case.build("FROM scratch\nENV A=b\n");
    built.has(expect![[r#""#]]).is(expect![[r#"
        Env ["A=b"]
        WorkingDir "/"
    "#]]);
    let built = case.build("ARG X\nFROM scratch AS a\nFROM a\nCOPY --from=a / /\nLABEL x=y\n");
    built.has(expect![[r#""#]]);
}
