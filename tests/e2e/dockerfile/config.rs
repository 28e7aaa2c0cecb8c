//! Instructions that change the image's config alone.

use expect_test::expect;

use super::Case;

#[test]
fn all_of_them_at_once() {
    let Some(case) = Case::new() else { return };
    let case = case.with("labels = { given = \"flag\", both = \"flag\" }");
    let built = case.build(
        r#"FROM scratch
MAINTAINER Somebody <some@body>
LABEL both=file own="a b" quote="\"q\""
LABEL old style label
EXPOSE 80 443/TCP 53/udp 8000-8002/tcp
VOLUME /v1 /v2
VOLUME ["/v 3"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=1m30s --timeout=3s --start-period=5s --start-interval=2s --retries=4 CMD curl -f "http://x" || exit 1
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
ENTRYPOINT ["/entry", "a b"]
CMD run $HOME
WORKDIR /w
USER someone:group
"#,
    );
    built.is(expect![[r#"
        User "someone:group"
        ExposedPorts {"443/tcp":{},"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}
        Env []
        Entrypoint ["/entry","a b"]
        Cmd ["/bin/ash","-eo","pipefail","-c","run $HOME"]
        Volumes {"/v 3":{},"/v1":{},"/v2":{}}
        WorkingDir "/w"
        Labels {"both":"flag","given":"flag","old":"style label","own":"a b","quote":"\"q\""}
        StopSignal "SIGUSR1"
        ArgsEscaped true
        Healthcheck {"Test":["CMD-SHELL","curl -f \"http://x\" || exit 1"],"Interval":90000000000,"Timeout":3000000000,"StartPeriod":5000000000,"StartInterval":2000000000,"Retries":4}
        Shell ["/bin/ash","-eo","pipefail","-c"]
    "#]]);
    assert_eq!(built.config["author"], "Somebody <some@body>");
}

#[test]
fn the_last_one_counts_and_none_and_empty_lists_take_away() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM scratch AS base
HEALTHCHECK --interval=5s CMD one
HEALTHCHECK CMD ["two", "b"]
CMD ["first"]
CMD ["kept"]
ENTRYPOINT ["e1"]
USER a
USER 5:6
STOPSIGNAL 9
STOPSIGNAL SIGTERM
FROM base AS entry
ENTRYPOINT ["resets", "cmd"]
FROM base AS both
CMD ["own"]
ENTRYPOINT shell form
HEALTHCHECK NONE
SHELL ["x"]
FROM both
CMD []
ENTRYPOINT []
"#,
    );
    built.is(expect![[r#"
        User "5:6"
        Env []
        WorkingDir "/"
        StopSignal "SIGTERM"
        ArgsEscaped true
        Healthcheck {"Test":["NONE"]}
        Shell ["x"]
    "#]]);
    let of = |target: &str| Case::new().expect("as before").with(&format!("target = \"{target}\""));
    let dockerfile = case.project.read("ctx/Dockerfile");
    of("base").build(&dockerfile).is(expect![[r#"
        User "5:6"
        Env []
        Entrypoint ["e1"]
        Cmd ["kept"]
        WorkingDir "/"
        StopSignal "SIGTERM"
        ArgsEscaped true
        Healthcheck {"Test":["CMD","two","b"]}
    "#]]);
    of("entry").build(&dockerfile).is(expect![[r#"
        User "5:6"
        Env []
        Entrypoint ["resets","cmd"]
        WorkingDir "/"
        StopSignal "SIGTERM"
        ArgsEscaped true
        Healthcheck {"Test":["CMD","two","b"]}
    "#]]);
    of("both").build(&dockerfile).is(expect![[r#"
        User "5:6"
        Env []
        Entrypoint ["/bin/sh","-c","shell form"]
        Cmd ["own"]
        WorkingDir "/"
        StopSignal "SIGTERM"
        ArgsEscaped true
        Healthcheck {"Test":["NONE"]}
        Shell ["x"]
    "#]]);
}

#[test]
fn json_that_is_none_is_a_command_of_the_shell() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        "FROM busybox\nCMD [\"unclosed\"\nENTRYPOINT ['single', 'quotes']\nVOLUME [ \"a\" , \"b\" ]\nRUN [\"sh\", \"-c\", \"echo $0 json > /a\", \"arg0\"]\n\
         RUN [ -d /bin ] && echo test > /b\n",
    );
    built
        .has(expect![[r#"
        a 644 0:0 "arg0 json\n"
        b 644 0:0 "test\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]])
        .is(expect![[r#"
        Env []
        Entrypoint ["/bin/sh","-c","['single', 'quotes']"]
        Cmd ["/bin/sh","-c","[\"unclosed\""]
        Volumes {"a":{},"b":{}}
        WorkingDir "/"
        ArgsEscaped true
    "#]]);
}

#[test]
fn what_makes_no_sense_is_an_error_at_its_line() {
    let Some(case) = Case::new() else { return };
    for (line, text) in [
        ("EXPOSE 80/http/x", ""),
        ("EXPOSE nothing", ""),
        ("EXPOSE 70000", ""),
        ("HEALTHCHECK NONE now", ""),
        ("HEALTHCHECK --interval=-1s CMD x", ""),
        ("HEALTHCHECK --retries=-1 CMD x", ""),
        ("HEALTHCHECK MAYBE", ""),
        ("STOPSIGNAL", ""),
        ("STOPSIGNAL SIGNOTHING", ""),
        ("SHELL not json", ""),
        ("VOLUME [\"\"]", ""),
        ("ENV novalue", ""),
        ("LABEL a", ""),
        ("USER", ""),
        ("ONBUILD ONBUILD ENV a=b", ""),
        ("ONBUILD FROM x", ""),
        ("ONBUILD MAINTAINER x", ""),
        ("COPY a", ""),
        ("COPY --form=x a b", ""),
        ("ADD --unpack=maybe a b", ""),
        ("RUNN x", "RUN"),
        ("FROM", ""),
        ("ARG", ""),
    ] {
        case.fails(&format!("FROM scratch\n{line}\n"), &["Dockerfile:2", text]);
    }
    case.fails("", &["Dockerfile"]);
    case.fails("# only a comment\n", &["Dockerfile"]);
    case.fails("ENV a=b\nFROM scratch\n", &["Dockerfile:1"]);
}
