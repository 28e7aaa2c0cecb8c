//! RUN --mount: bind, cache and tmpfs with what may stand in their options.

use expect_test::expect;

use super::Case;

#[test]
fn files_of_contexts_stages_and_images_may_be_bound() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("d/f", "file"), ("g", "g"), ("ign", "x"), (".dockerignore", "ign\n")]);
    let built = case.build(
        r#"FROM busybox AS first
RUN mkdir /data && echo stage > /data/f && chmod 0600 /data/f
FROM busybox
ARG SOURCE=d TARGET=/var
ENV DEEP=deep
RUN --mount=target=/ctx ls -A /ctx > /1
RUN --mount=type=bind,source=d/f,target=/one cat /one > /2
RUN --mount=type=bind,src=$SOURCE,dst=$TARGET/$DEEP cat /var/deep/f > /3
RUN --mount=from=first,source=/data,target=/s cat /s/f > /4; stat -c %a /s/f >> /4
RUN --mount=from=FIRST,target=/s cat /s/data/f > /5
RUN --mount=from=busybox,source=/bin,target=/tools /tools/busybox echo image > /6
RUN --mount=target=/ro touch /ro/x 2>/dev/null || echo refused > /7
RUN --mount=target=/w,rw echo new > /w/new && cat /w/new > /8
RUN --mount=target=/w,readwrite=true ls /w > /9
RUN --mount=target=/a --mount=target=/a/d,from=first,source=data cat /a/d/f /a/g > /10
WORKDIR /work
RUN --mount=target=rel,source=d cat rel/f > /11; pwd >> /11
RUN --mount=type=tmpfs,target=/t touch /t/x; ls /t > /12
RUN --mount=target=/same,source=d --mount=target=/same,from=first,source=data cat /same/f > /13
"#,
    );
    built.has(expect![[r#"
        1 644 0:0 ".dockerignore\nDockerfile\nd\ng\n"
        10 644 0:0 "stage\ng"
        11 644 0:0 "file/work\n"
        12 644 0:0 "x\n"
        13 644 0:0 "stage\n"
        2 644 0:0 "file"
        3 644 0:0 "file"
        4 644 0:0 "stage\n600\n"
        5 644 0:0 "stage\n"
        6 644 0:0 "image\n"
        7 644 0:0 "refused\n"
        8 644 0:0 "new\n"
        9 644 0:0 "Dockerfile\nd\ng\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
        work/ 755 0:0
    "#]]);
}

#[test]
fn a_cache_is_known_by_its_id_else_its_target() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox
ARG ID=by-arg
RUN --mount=type=cache,target=/c echo a >> /c/f && cp /c/f /1
RUN --mount=type=cache,target=/c echo b >> /c/f && cp /c/f /2
RUN --mount=type=cache,id=/c,target=/d cp /d/f /3
RUN --mount=type=cache,id=$ID,target=/e echo c > /e/f
RUN --mount=type=cache,id=by-arg,target=/g,ro cp /g/f /4; touch /g/x 2>/dev/null || echo refused >> /4
RUN --mount=type=cache,target=/h,uid=5,gid=6,mode=0750 stat -c '%u:%g %a' /h > /5
RUN --mount=type=cache,target=/i,sharing=private touch /i/x && ls /i > /6
RUN --mount=type=cache,target=/j,sharing=locked touch /j/x && ls /j > /7
USER 5:6
RUN --mount=type=cache,target=/k stat -c '%u:%g %a' /k > /tmp/8 2>/dev/null || true
"#,
    );
    built.has(expect![[r#"
        1 644 0:0 "a\n"
        2 644 0:0 "a\nb\n"
        3 644 0:0 "a\nb\n"
        4 644 0:0 "c\nrefused\n"
        5 644 0:0 "5:6 750\n"
        6 644 0:0 "x\n"
        7 644 0:0 "x\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
}

#[test]
fn options_that_make_no_sense_are_errors_at_their_line() {
    let Some(case) = Case::new() else { return };
    for mount in [
        "type=bind",
        "type=nothing,target=/x",
        "type=cache",
        "type=tmpfs",
        "target=/x,unknown=1",
        "type=cache,target=/x,sharing=some",
        "type=tmpfs,target=/x,size=big",
        "type=tmpfs,target=/x,source=/y",
        "type=bind,target=/x,size=1",
        "type=bind,target=/x,from=$ARG",
        "type=bind,target=/x,from=nothing-like-this::",
        "type=bind,target=/x,readonly=maybe",
        "type=cache,target=/x,mode=999",
        "type=cache,target=/x,uid=me",
        "type=bind,target=/",
    ] {
        case.fails(&format!("FROM busybox\nARG ARG=busybox\nRUN --mount={mount} true\n"), &["Dockerfile:3"]);
    }
}
