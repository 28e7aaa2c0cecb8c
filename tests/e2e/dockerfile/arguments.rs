//! ARG, ENV and LABEL: what is expanded where, and which value counts.

use expect_test::expect;

use super::Case;

#[test]
fn all_forms_of_expansion() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM scratch
ENV set=value empty= path=/a/b/c.tar.gz
ENV a=${unset:-dflt} b=${empty:-dflt} c=${empty-dflt} d=${unset-dflt} e=${set:+alt} f=${empty:+alt} g=${empty+alt} h=${unset+alt}
ENV i=${path#*/} j=${path##*/} k=${path%.*} l=${path%%.*} m=${path/b/X} n=${path//\//_} o=${path/#\/a/Y} q=${path/%gz/Z}
ENV r=\${set} s='${set}' t="${set}" u=$set$set v=${unset:-${set}} w=${unset:-$set/x} x=$unset y="a b" z=a\ b
ENV same=new other=$same
ENV old style of $set
LABEL a=$set b='$set' "c d"="${unset:-x}" e=multi\
line
"#,
    );
    built.is(expect![[r#"
        Env ["set=value","empty=","path=/a/b/c.tar.gz","a=dflt","b=dflt","c=","d=dflt","e=alt","f=","g=alt","h=","i=a/b/c.tar.gz","j=c.tar.gz","k=/a/b/c.tar","l=/a/b/c","m=/a/X/c.tar.gz","n=_a_b_c.tar.gz","o=/a/b/c.tar.gz","q=/a/b/c.tar.gz","r=${set}","s=${set}","t=value","u=valuevalue","v=value","w=value/x","x=","y=a b","z=a b","same=new","other=","old=style of value"]
        WorkingDir "/"
        Labels {"a":"value","b":"$set","c d":"x","e":"multiline"}
    "#]]);
}

#[test]
fn values_that_a_word_demands_are_errors_where_they_are_missing() {
    let Some(case) = Case::new() else { return };
    for dockerfile in [
        "ARG A\nFROM ${A:?say which}\n",
        "ARG A=${B:?say which}\nFROM scratch\n",
        "FROM scratch\nENV A=${B:?say which}\n",
        "FROM scratch\nARG A=${B?say which}\n",
        "FROM scratch\nENV B=\nLABEL a=${B:?say which}\n",
    ] {
        case.fails(dockerfile, &["say which", "Dockerfile:"]);
    }
    case.build("FROM scratch\nENV B=\nLABEL a=${B?unset}\n").is(expect![[r#"
        Env ["B="]
        WorkingDir "/"
        Labels {"a":""}
    "#]]);
}

#[test]
fn arguments_count_from_where_they_are_declared() {
    let Some(case) = Case::new() else { return };
    let case = case.with(r#"args = { GIVEN = "given", FROM_OUTSIDE = "outside", UNUSED = "x", EMPTY = "" }"#);
    let built = case.build(
        r#"ARG BASE=busybox
ARG QUOTED="bu"'sy'box
ARG GLOBAL=global CHAIN=${GLOBAL}-${GIVEN:-none}
ARG FROM_OUTSIDE=default
FROM ${QUOTED} AS first
RUN echo "[$GLOBAL][$GIVEN]" > /a
ARG GLOBAL
ARG GIVEN=default EMPTY=default
RUN echo "[$GLOBAL][$GIVEN][$EMPTY]" >> /a
ARG CHAIN FROM_OUTSIDE=stage
RUN echo "[$CHAIN][$FROM_OUTSIDE]" >> /a
ARG GLOBAL=here LOCAL=${GLOBAL}-local
RUN echo "[$GLOBAL][$LOCAL]" >> /a
ENV GIVEN=env
RUN echo "[$GIVEN]" >> /a
ARG GIVEN=again
RUN echo "[$GIVEN]" >> /a
FROM first
RUN echo "[$GIVEN][$LOCAL]" >> /a
FROM ${BASE}
RUN echo "[$GLOBAL][$LOCAL][$BASE]" > /b
COPY --from=1 /a /a
"#,
    );
    built.has(expect![[r#"
        a 644 0:0 "[][]\n[global][given][]\n[global-none][outside]\n[here][here-local]\n[env]\n[given]\n[env][here-local]\n"
        b 644 0:0 "[][][]\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]).is(expect![[r#"
        Env []
        Cmd ["/bin/sh"]
        WorkingDir "/"
        ArgsEscaped true
    "#]]);
}

#[test]
fn proxies_need_no_declaration_and_are_in_no_record() {
    let Some(case) = Case::new() else { return };
    let case = case.with(r#"args = { HTTP_PROXY = "http://proxy.example", no_proxy = "internal" }"#);
    let built = case.build("FROM busybox\nRUN echo \"$HTTP_PROXY $http_proxy $no_proxy $NO_PROXY\" > /a\n");
    built.has(expect![[r#"
        a 644 0:0 "http://proxy.example http://proxy.example internal internal\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
    let history = built.config["history"].to_string();
    assert!(!history.contains("proxy.example") && !built.config["config"].to_string().contains("proxy"), "{history}");
}

#[test]
fn arguments_of_the_platform_and_the_stage_are_there_when_declared() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM --platform=$BUILDPLATFORM busybox AS named
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT TARGETSTAGE
RUN echo "$TARGETPLATFORM $TARGETOS $TARGETARCH [$TARGETVARIANT] $BUILDPLATFORM $BUILDOS $BUILDARCH [$BUILDVARIANT]" > /a
RUN echo "$TARGETSTAGE" >> /a
FROM --platform=${TARGETPLATFORM} busybox
RUN echo "[$TARGETPLATFORM][$TARGETARCH]" > /b
ARG TARGETARCH=own
RUN echo "[$TARGETARCH]" >> /b
COPY --from=named /a /
"#,
    );
    built.has(expect![[r#"
        a 644 0:0 "linux/amd64 linux amd64 [] linux/amd64 linux amd64 []\ndefault\n"
        b 644 0:0 "[][]\n[own]\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
    let named = Case::new().expect("as before").with("target = \"last\"\nargs = { TARGETARCH = \"given\" }");
    let built =
        named.build("FROM busybox AS last\nARG TARGETSTAGE TARGETARCH\nRUN echo \"$TARGETSTAGE $TARGETARCH\" > /a\n");
    built.has(expect![[r#"
        a 644 0:0 "last given\n"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
}

#[test]
fn variables_count_in_every_instruction_that_knows_them() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("src/one.txt", "1"), ("src/two.md", "2")]);
    let built = case.build(
        r#"FROM scratch
ARG D=dir E=txt PORT=80 U=7 SIG=9
WORKDIR /$D
WORKDIR ${D}2
COPY src/*.$E $D/${E}/
ADD --chown=$U:8 src/two.md ./
EXPOSE $PORT ${PORT}81/udp 90-92
VOLUME /$D/vol
USER $U
STOPSIGNAL $SIG
ONBUILD ENV A=$D
CMD ["$D"]
"#,
    );
    built
        .has(expect![[r#"
        dir/ 755 0:0
        dir/dir2/ 755 0:0
        dir/dir2/dir/ 755 0:0
        dir/dir2/dir/txt/ 755 0:0
        dir/dir2/dir/txt/one.txt 644 0:0 "1"
        dir/dir2/two.md 644 7:8 "2"
    "#]])
        .is(expect![[r#"
        User "7"
        ExposedPorts {"80/tcp":{},"8081/udp":{},"90/tcp":{},"91/tcp":{},"92/tcp":{}}
        Env []
        Cmd ["$D"]
        Volumes {"/dir/vol":{}}
        WorkingDir "/dir/dir2"
        StopSignal "9"
        ArgsEscaped true
        OnBuild ["ENV A=$D"]
    "#]]);
}

#[test]
fn source_date_epoch_is_an_argument_that_dates_the_image() {
    let Some(case) = Case::new() else { return };
    let dockerfile = "ARG SOURCE_DATE_EPOCH=1700000000\nFROM scratch\nWORKDIR /w\nENV A=b\n";
    let dates = |case: &Case| {
        let built = case.build(dockerfile);
        let last = built.config["history"].as_array().and_then(|all| all.last()).expect("an entry")["created"].clone();
        (built.config["created"].clone(), last)
    };
    let both = |time: &str| (time.into(), time.into());
    assert_eq!(dates(&case), both("2023-11-14T22:13:20Z"));
    let over = case.with("args = { SOURCE_DATE_EPOCH = \"1\" }");
    assert_eq!(dates(&over), both("1970-01-01T00:00:01Z"));
    let reset = Case::new().expect("as before").with("args = { SOURCE_DATE_EPOCH = \"\" }");
    assert_eq!(dates(&reset), both("1980-01-01T00:00:00Z"));
    let wrong = Case::new().expect("as before").with("args = { SOURCE_DATE_EPOCH = \"yesterday\" }");
    wrong.fails(dockerfile, &["SOURCE_DATE_EPOCH=`yesterday` is no time"]);
}
