//! Dockerfiles lowered into the graph: printed steps, errors as people see them, and the peer's own answers.

pub mod peer;

use std::collections::BTreeMap;

use bake::diagnostic::SourceMap;
use bake::digest::{DiffId, Digest};
use bake::frontend::{Loaded, LoweredTarget, Lowering, Need, Resolved, ResolvedImage, load, lower};
use bake::graph::{Definition, FileAction, Id, NetworkMode, Op, Owner};
use bake::oci::ImageConfig;
use bake::plan::{BuildContext, DockerfileSource, ImageSource, NoCache, PlannedTarget};
use bake::platform::Platform;
use bake::sys::files::MemoryFiles;
use serde_json::{Value, json};

pub fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

pub fn target(dockerfile: &str) -> PlannedTarget {
    PlannedTarget {
        name: "app".to_owned(),
        platform: platform("linux/amd64"),
        build_platform: platform("linux/amd64"),
        is_multi_platform: false,
        dockerfile: DockerfileSource::Inline { name: "Dockerfile".to_owned(), text: dockerfile.to_owned() },
        context: BuildContext::Local(".".to_owned()),
        contexts: BTreeMap::new(),
        args: BTreeMap::new(),
        labels: BTreeMap::new(),
        stage: None,
        no_cache: NoCache::Off,
        network: NetworkMode::Default,
    }
}

/// Lowers with `registry` answering every need; the error is rendered.
fn lowered(
    target: &PlannedTarget,
    registry: &dyn Fn(&Need) -> ResolvedImage,
    definition: &mut Definition,
) -> Result<LoweredTarget, String> {
    let mut sources = SourceMap::default();
    let files = MemoryFiles::default();
    let loaded: Loaded = load(target, &files, &mut sources).map_err(|found| found.render(&sources))?;
    let mut resolved = Resolved::default();
    loop {
        match lower(target, &loaded, &resolved, &sources, definition).map_err(|found| found.render(&sources))? {
            Lowering::Done(result) => return Ok(result),
            Lowering::Needs(needs) => {
                assert!(!needs.is_empty(), "needs are never empty");
                for need in needs {
                    let image = registry(&need);
                    assert!(resolved.images.insert(need, image).is_none(), "nothing is asked twice");
                }
            }
        }
    }
}

fn our_owner(owner: &Option<Owner>) -> Value {
    let id = |id: &Option<Id>| match id {
        None => Value::Null,
        Some(Id::Number(number)) => json!(number),
        Some(Id::Name(name)) => json!(name),
    };
    owner.as_ref().map_or(Value::Null, |owner| json!([id(&owner.user), id(&owner.group)]))
}

fn our_action(action: &FileAction) -> Value {
    match action {
        FileAction::Mkdir { path, owner, .. } => json!(["mkdir", path, our_owner(owner)]),
        FileAction::Mkfile { path, mode, data, .. } => {
            json!(["mkfile", path, format!("{mode:04o}"), String::from_utf8_lossy(data)])
        }
        FileAction::Copy(copy) => json!([
            "copy",
            copy.source,
            copy.dest,
            our_owner(&copy.owner),
            copy.unpack,
            copy.exclude,
            copy.mode.as_ref().map(|mode| match mode {
                bake::graph::ModeChange::Bits(bits) => format!("{bits:04o}"),
                bake::graph::ModeChange::Symbolic(text) => text.clone(),
            })
        ]),
    }
}

/// Answers every need with a small image that holds one layer.
fn small_image(need: &Need) -> ResolvedImage {
    let ImageSource::Registry(reference) = &need.image else { panic!("only registries are asked") };
    let text = format!("{reference} {}", need.platform);
    let mut config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
    config.architecture.clone_from(&need.platform.architecture);
    config.config.env = vec!["PATH=/bin".to_owned(), "FROM_BASE=1".to_owned()];
    config.config.cmd = Some(vec!["sh".to_owned()]);
    config.rootfs.diff_ids = vec![DiffId(Digest::of(text.as_bytes()))];
    if reference.repository.contains("onbuild") {
        config.config.on_build = vec!["COPY --from=tools /bin/x /bin/".to_owned(), "ENV TRIGGERED=1".to_owned()];
    }
    ResolvedImage { manifest: Digest::of(text.as_bytes()), config }
}

fn build(target: &PlannedTarget) -> Result<(Definition, LoweredTarget), String> {
    let mut definition = Definition::default();
    let result = lowered(target, &small_image, &mut definition)?;
    Ok((definition, result))
}

/// Prints the steps that `result` takes, inputs first, then the config and its history.
fn print(definition: &Definition, result: &LoweredTarget) -> String {
    let mut text = String::new();
    for id in definition.ids() {
        let vertex = definition.vertex(id);
        let inputs: Vec<String> = vertex.inputs.iter().map(|input| format!("#{}", input.0)).collect();
        text += &format!("#{} {} <- {}\n", id.0, vertex.metadata.name, inputs.join(" "));
        match &vertex.op {
            Op::Source(bake::graph::SourceOp::Local(local)) => text += &format!("   local {local:?}\n"),
            Op::Source(bake::graph::SourceOp::Image { .. }) => {}
            Op::Exec(exec) => {
                text += &format!("   exec {:?} env {:?} cwd {:?}", exec.args, exec.env, exec.cwd);
                text += &format!(" user {:?} {} {:?}\n", exec.user, exec.platform, exec.network);
                exec.mounts.iter().for_each(|mount| text += &format!("   mount {mount:?}\n"));
            }
            Op::File(file) => {
                for action in &file.actions {
                    text += &format!("   {}\n", our_action(action));
                }
            }
        }
    }
    text += &format!("root {:?}\n", result.root.map(|root| root.0));
    let config = serde_json::to_string(&result.config.config).expect("JSON");
    text += &format!("config {config}\n");
    for entry in &result.config.history {
        let empty = if entry.empty_layer { " (no layer)" } else { "" };
        text += &format!("history {} {}{empty}\n", entry.created.as_deref().unwrap_or("-"), entry.created_by);
    }
    text
}

fn check(target: &PlannedTarget, expected: expect_test::Expect) {
    let (definition, result) = build(target).expect("it lowers");
    expected.assert_eq(&print(&definition, &result));
}

fn check_error(dockerfile: &str, expected: expect_test::Expect) {
    expected.assert_eq(&build(&target(dockerfile)).expect_err("it is refused"));
}

#[test]
fn a_build_in_two_stages() {
    let mut target = target(
        "ARG VERSION=1\nFROM base:$VERSION AS build\nARG VERSION\nWORKDIR /src\nCOPY --chown=5:app . .\n\
         RUN --mount=type=cache,target=/cache,sharing=locked --mount=target=/ctx make \\\n  all\n\
         FROM scratch\nENV A=1 B=$A\nCOPY --from=build /src/out/ /app\nUSER 1000\nENTRYPOINT [\"/app\"]\n",
    );
    target.labels.insert("org.example".to_owned(), "yes".to_owned());
    target.args.insert("SOURCE_DATE_EPOCH".to_owned(), "1700000000".to_owned());
    check(
        &target,
        expect_test::expect![[r##"
            #0 [build 1/4] FROM docker.io/library/base:1 <- 
            #1 [build 2/4] WORKDIR /src <- #0
               ["mkdir","/src",null]
            #2 [internal] load build context <- 
               local LocalSource { path: ".", ignore: ["**/bake.lock"] }
            #3 [build 3/4] COPY --chown=5:app . . <- #1 #2
               ["copy","/","/src/",[5,"app"],false,[],null]
            #4 [build 4/4] RUN --mount=type=cache,target=/cache,sharing=locked --mount=target=/ctx make   all <- #3 #2
               exec ["/bin/sh", "-c", "make   all"] env [("PATH", "/bin"), ("FROM_BASE", "1"), ("VERSION", "1")] cwd "/src" user "" linux/amd64 Default
               mount Mount { target: "/cache", is_read_only: false, kind: Cache { id: "//cache", sharing: Locked, mode: 493, uid: 0, gid: 0 } }
               mount Mount { target: "/ctx", is_read_only: true, kind: Bind { input: InputIndex(1), selector: "/" } }
            #5 [stage-1 1/1] COPY --from=build /src/out/ /app <- #4
               ["copy","/src/out","/app",null,false,[],null]
            root Some(5)
            config {"User":"1000","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=1","B="],"Entrypoint":["/app"],"WorkingDir":"/","Labels":{"org.example":"yes"}}
            history 2023-11-14T22:13:20Z ENV A=1 B= (no layer)
            history 2023-11-14T22:13:20Z COPY /src/out/ /app # buildkit
            history 2023-11-14T22:13:20Z USER 1000 (no layer)
            history 2023-11-14T22:13:20Z ENTRYPOINT ["/app"] (no layer)
        "##]],
    );
}

#[test]
fn heredocs_become_files_and_scripts() {
    check(
        &target(
            "FROM base\nARG WHO=me\nRUN <<EOF\n#!/bin/env python\nprint(1)\nEOF\nRUN <<-EOF\n\techo $WHO\n\tEOF\n\
             RUN cat <<A > /x\n$WHO\nA\nCOPY <<b <<'c' /d/\n\"$WHO\"\nb\n$WHO\nc\n",
        ),
        expect_test::expect![[r##"
            #0 [1/5] FROM docker.io/library/base:latest <- 
            #1 [internal] preparing inline document <- 
               ["mkfile","/EOF","0755","#!/bin/env python\nprint(1)\n"]
            #2 [2/5] RUN <<EOF (#!/bin/env python...) <- #0 #1
               exec ["/bin/sh", "-c", "/dev/pipes/EOF"] env [("PATH", "/bin"), ("FROM_BASE", "1"), ("WHO", "me")] cwd "/" user "" linux/amd64 Default
               mount Mount { target: "/dev/pipes/", is_read_only: true, kind: Bind { input: InputIndex(1), selector: "/" } }
            #3 [3/5] RUN <<-EOF (echo me) <- #2
               exec ["/bin/sh", "-c", "echo $WHO\n"] env [("PATH", "/bin"), ("FROM_BASE", "1"), ("WHO", "me")] cwd "/" user "" linux/amd64 Default
            #4 [4/5] RUN cat <<A > /x <- #3
               exec ["/bin/sh", "-c", "cat <<A > /x\n$WHO\nA"] env [("PATH", "/bin"), ("FROM_BASE", "1"), ("WHO", "me")] cwd "/" user "" linux/amd64 Default
            #5 [internal] preparing inline document <- 
               ["mkfile","/b","0644","\"me\"\n"]
            #6 [internal] preparing inline document <- 
               ["mkfile","/c","0644","$WHO\n"]
            #7 [5/5] COPY <<b <<c /d/ <- #4 #5 #6
               ["copy","/b","/d/",null,false,[],null]
               ["copy","/c","/d/",null,false,[],null]
            root Some(7)
            config {"Env":["PATH=/bin","FROM_BASE=1"],"Cmd":["sh"]}
            history 1980-01-01T00:00:00Z ARG WHO=me (no layer)
            history 1980-01-01T00:00:00Z RUN |1 WHO=me /bin/sh -c /dev/pipes/EOF # buildkit
            history 1980-01-01T00:00:00Z RUN |1 WHO=me /bin/sh -c echo $WHO
             # buildkit
            history 1980-01-01T00:00:00Z RUN |1 WHO=me /bin/sh -c cat <<A > /x
            $WHO
            A # buildkit
            history 1980-01-01T00:00:00Z COPY <<b <<c /d/ # buildkit
        "##]],
    );
}

#[test]
fn triggers_of_the_base_run_first_and_bring_needs_of_their_own() {
    check(
        &target("FROM alpine AS tools\nFROM team/onbuild\nRUN x\nONBUILD RUN later\n"),
        expect_test::expect![[r##"
            #0 [tools 1/1] FROM docker.io/library/alpine:latest <- 
            #1 [stage-1 1/3] FROM docker.io/team/onbuild:latest <- 
            #2 [stage-1 2/3] ONBUILD COPY --from=tools /bin/x /bin/ <- #1 #0
               ["copy","/bin/x","/bin/",null,false,[],null]
            #3 [stage-1 3/3] RUN x <- #2
               exec ["/bin/sh", "-c", "x"] env [("PATH", "/bin"), ("FROM_BASE", "1"), ("TRIGGERED", "1")] cwd "/" user "" linux/amd64 Default
            root Some(3)
            config {"Env":["PATH=/bin","FROM_BASE=1","TRIGGERED=1"],"Cmd":["sh"],"OnBuild":["RUN later"]}
            history 1980-01-01T00:00:00Z COPY /bin/x /bin/ # buildkit
            history 1980-01-01T00:00:00Z ENV TRIGGERED=1 (no layer)
            history 1980-01-01T00:00:00Z RUN /bin/sh -c x # buildkit
        "##]],
    );
}

#[test]
fn a_stage_on_the_build_platform_exists_once_for_all_targets() {
    let text = "FROM --platform=$BUILDPLATFORM golang AS build\nCOPY . .\nRUN make\n\
                FROM alpine\nCOPY --from=build /out /out\nRUN ldconfig\n";
    let mut definition = Definition::default();
    for name in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let target = PlannedTarget { platform: platform(name), is_multi_platform: true, ..target(text) };
        lowered(&target, &small_image, &mut definition).expect("it lowers");
    }
    let names: Vec<&str> = definition.ids().map(|id| definition.vertex(id).metadata.name.as_str()).collect();
    expect_test::expect![[r#"
        [linux/amd64 build 1/3] FROM docker.io/library/golang:latest
        [internal] load build context
        [linux/amd64 build 2/3] COPY . .
        [linux/amd64 build 3/3] RUN make
        [linux/amd64 stage-1 1/3] FROM docker.io/library/alpine:latest
        [linux/amd64 stage-1 2/3] COPY --from=build /out /out
        [linux/amd64 stage-1 3/3] RUN ldconfig
        [linux/arm64 stage-1 1/3] FROM docker.io/library/alpine:latest
        [linux/arm64 stage-1 2/3] COPY --from=build /out /out
        [linux/arm64 stage-1 3/3] RUN ldconfig
        [linux/arm/v7 stage-1 1/3] FROM docker.io/library/alpine:latest
        [linux/arm/v7 stage-1 2/3] COPY --from=build /out /out
        [linux/arm/v7 stage-1 3/3] RUN ldconfig"#]]
    .assert_eq(&names.join("\n"));
}

#[test]
fn a_step_that_makes_files_for_another_platform_says_so() {
    let text = "FROM --platform=$BUILDPLATFORM golang\nARG TARGETARCH\nRUN make\n";
    let target = PlannedTarget { platform: platform("linux/arm64"), is_multi_platform: true, ..target(text) };
    let (definition, result) = build(&target).expect("it lowers");
    let root = definition.vertex(result.root.expect("it has files"));
    assert_eq!(root.metadata.name, "[linux/amd64->arm64 2/2] RUN make");
    assert_eq!(root.metadata.platform, Some(platform("linux/amd64")));
    assert_eq!(result.config.architecture, "arm64");
}

#[test]
fn only_what_is_reached_is_asked_and_all_of_it_at_once() {
    let text = "FROM one AS a\nFROM two AS unused\nFROM three\nCOPY --from=a / /\nCOPY --from=four / /\n\
                RUN --mount=from=five,target=/x y\n";
    let target = target(text);
    let mut sources = SourceMap::default();
    let loaded = load(&target, &MemoryFiles::default(), &mut sources).expect("it loads");
    let mut definition = Definition::default();
    let lowering = lower(&target, &loaded, &Resolved::default(), &sources, &mut definition).expect("it lowers");
    let Lowering::Needs(needs) = lowering else { panic!("nothing is resolved yet") };
    let names: Vec<String> = needs
        .iter()
        .map(|need| match &need.image {
            ImageSource::Registry(reference) => reference.familiar(),
            ImageSource::Layout { path, .. } => path.clone(),
        })
        .collect();
    assert_eq!(names, ["five:latest", "four:latest", "one:latest", "three:latest"]);
    assert!(definition.is_empty(), "a definition is not touched before all is known");
}

#[test]
fn named_contexts_stand_in_for_stages_and_images() {
    let text = "FROM nothing AS tools\nRUN never\nFROM debian:12\nCOPY --from=tools a b\nCOPY --from=docs c d\n";
    let mut target = target(text);
    let reference = "mirror.test/debian:12".parse().expect("a reference");
    let image = BuildContext::Image(ImageSource::Registry(reference));
    target.contexts.insert("docker.io/library/debian:12".to_owned(), image);
    target.contexts.insert("tools".to_owned(), BuildContext::Target("tools".to_owned()));
    target.contexts.insert("docs".to_owned(), BuildContext::Local("./doc".to_owned()));
    let files = [("doc/.dockerignore", "\u{feff}*.tmp\n!keep.tmp\n")];
    let files = MemoryFiles(files.map(|(path, text)| (path.into(), text.into())).into());
    let mut sources = SourceMap::default();
    let loaded = load(&target, &files, &mut sources).expect("it loads");
    let mut definition = Definition::default();
    let tools = PlannedTarget { name: "tools".to_owned(), ..self::target("FROM scratch\nCOPY t /\n") };
    let tools = lowered(&tools, &small_image, &mut definition).expect("it lowers");
    let mut resolved = Resolved::default();
    resolved.targets.insert("tools".to_owned(), tools);
    let result = loop {
        match lower(&target, &loaded, &resolved, &sources, &mut definition).expect("it lowers") {
            Lowering::Done(result) => break result,
            Lowering::Needs(needs) => resolved.images.extend(needs.into_iter().map(|n| (n.clone(), small_image(&n)))),
        }
    };
    expect_test::expect![[r##"
        #0 [internal] load build context <- 
           local LocalSource { path: ".", ignore: ["**/bake.lock"] }
        #1 [1/1] COPY t / <- #0
           ["copy","/t","/",null,false,[],null]
        #2 [stage-1 1/3] FROM mirror.test/debian:12 <- 
        #3 [stage-1 2/3] COPY --from=tools a b <- #2 #1
           ["copy","/a","/b",null,false,[],null]
        #4 [context docs] load from ./doc <- 
           local LocalSource { path: "./doc", ignore: ["**/bake.lock", "*.tmp", "!keep.tmp"] }
        #5 [stage-1 3/3] COPY --from=docs c d <- #3 #4
           ["copy","/c","/d",null,false,[],null]
        root Some(5)
        config {"Env":["PATH=/bin","FROM_BASE=1"],"Cmd":["sh"]}
        history 1980-01-01T00:00:00Z COPY a b # buildkit
        history 1980-01-01T00:00:00Z COPY c d # buildkit
    "##]]
    .assert_eq(&print(&definition, &result));
}

/// FIXME(link): a linked copy is lowered as a plain one, so the two are one step; they differ where the destination has a
/// parent that is a symbolic link.
#[test]
fn a_linked_copy_is_a_plain_copy_today() {
    let mut definition = Definition::default();
    for flag in ["", "--link "] {
        let target = target(&format!("FROM base\nCOPY {flag}a /b\n"));
        lowered(&target, &small_image, &mut definition).expect("it lowers");
    }
    let n_copies = definition.ids().filter(|id| matches!(definition.vertex(*id).op, Op::File(_))).count();
    assert_eq!(n_copies, 1);
}

#[test]
fn no_cache_is_of_all_steps_or_of_some_stages() {
    let text = "FROM base AS a\nRUN x\nFROM a\nRUN y\n";
    let ignored = |no_cache: NoCache| {
        let (definition, _) = build(&PlannedTarget { no_cache, ..target(text) }).expect("it lowers");
        let ids = definition.ids().filter(|id| definition.vertex(*id).metadata.ignore_cache);
        ids.map(|id| definition.vertex(id).metadata.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ignored(NoCache::Off), [""; 0]);
    assert_eq!(ignored(NoCache::All), ["[a 2/2] RUN x", "[stage-1 1/1] RUN y"]);
    assert_eq!(ignored(NoCache::Stages(vec!["a".to_owned()])), ["[a 2/2] RUN x"]);
}

#[test]
fn what_cannot_be_done_yet_is_refused_at_its_place() {
    let lines = [
        "RUN --mount=type=secret,id=a x",
        "RUN --mount=type=ssh x",
        "RUN --security=insecure x",
        "RUN --device=vendor.com/gpu x",
        "COPY --parents a b",
        "ADD https://example.test/a /",
        "ADD git@example.test:a/b.git /",
        "RUN --mount=type=cache,target=/c,from=base x",
    ];
    check_error(
        &format!("FROM base\n{}\n", lines.join("\n")),
        expect_test::expect![[r#"
        error: Dockerfile:2:5: `RUN --mount=type=secret` is not supported yet
           |
         2 | RUN --mount=type=secret,id=a x
           |     ^^^^^^^^^^^^^^^^^^^^^^^^

        error: Dockerfile:3:5: `RUN --mount=type=ssh` is not supported yet
           |
         3 | RUN --mount=type=ssh x
           |     ^^^^^^^^^^^^^^^^

        error: Dockerfile:4:5: `RUN --security=insecure` is not supported yet
           |
         4 | RUN --security=insecure x
           |     ^^^^^^^^^^^^^^^^^^^

        error: Dockerfile:5:5: `RUN --device` is not supported yet
           |
         5 | RUN --device=vendor.com/gpu x
           |     ^^^^^^^^^^^^^^^^^^^^^^^

        error: Dockerfile:6:6: `COPY --parents` is not supported yet
           |
         6 | COPY --parents a b
           |      ^^^^^^^^^

        error: Dockerfile:7:5: ADD of a URL is not supported yet
           |
         7 | ADD https://example.test/a /
           |     ^^^^^^^^^^^^^^^^^^^^^^
        hint: download it in a RUN step, or check it in and use COPY

        error: Dockerfile:8:5: ADD of a git repository is not supported yet
           |
         8 | ADD git@example.test:a/b.git /
           |     ^^^^^^^^^^^^^^^^^^^^^^^^

        error: Dockerfile:9:5: a cache mount that starts `from` files is not supported yet
           |
         9 | RUN --mount=type=cache,target=/c,from=base x
           |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn mistakes_in_a_build_are_shown() {
    check_error(
        "FROM $MISSING\nFROM --platform=linux/amr64 x\nFROM -bad\n",
        expect_test::expect![[r#"
        error: Dockerfile:1:6: the image name `$MISSING` is empty here
           |
         1 | FROM $MISSING
           |      ^^^^^^^^
        note: not set: MISSING
        hint: write `ARG MISSING=value` before the first FROM, or set `args` of the target

        error: Dockerfile:2:6: unknown platform `linux/amr64`
           |
         2 | FROM --platform=linux/amr64 x
           |      ^^^^^^^^^^^^^^^^^^^^^^
        hint: did you mean `linux/arm64`?"#]],
    );
    check_error(
        "FROM base AS builder\nFROM base\nCOPY --from=Builder_x: a b\n",
        expect_test::expect![[r#"
        error: Dockerfile:3:6: no stage, and invalid image name `Builder_x:`: a tag has letters, digits, `_`, `.`, `-`, and at most 128 of them
           |
         3 | COPY --from=Builder_x: a b
           |      ^^^^^^^^^^^^^^^^^
        hint: did you mean the stage `builder`?"#]],
    );
    check_error(
        "FROM base\nCOPY --from=later a b\nFROM base AS later\nFROM 0\nCOPY --from=3 a b\n",
        expect_test::expect![[r#"
        error: Dockerfile:5:6: there is no stage 3 before this one
           |
         5 | COPY --from=3 a b
           |      ^^^^^^^^
        note: this is stage 2; the first is stage 0"#]],
    );
    check_error(
        "FROM base\nEXPOSE 80x\nCOPY --chmod=99 a b\nUSER ${X?nobody is set}\nSTOPSIGNAL SIGFOO\n",
        expect_test::expect![[r#"
        error: Dockerfile:2:8: `80x` is no port: a port is a number up to 65535
           |
         2 | EXPOSE 80x
           |        ^^^
        hint: write it as `80`, `80/udp` or `8000-8010`

        error: Dockerfile:3:6: `99` is no file mode
           |
         3 | COPY --chmod=99 a b
           |      ^^^^^^^^^^
        hint: write an octal number up to 7777

        error: Dockerfile:4:6: cannot expand `${X?nobody is set}`: X: nobody is set
           |
         4 | USER ${X?nobody is set}
           |      ^^^^^^^^^^^^^^^^^^

        error: Dockerfile:5:12: unknown signal `SIGFOO`
           |
         5 | STOPSIGNAL SIGFOO
           |            ^^^^^^
        hint: use a name such as `SIGTERM`, or a number"#]],
    );
    let unknown = PlannedTarget { stage: Some("biuld".to_owned()), ..target("FROM base AS build\n") };
    expect_test::expect![[r#"
        error: target "app": no stage named `biuld` in the Dockerfile
        hint: did you mean `build`?"#]]
    .assert_eq(&build(&unknown).expect_err("no such stage"));
    let mut late = target("FROM base\n");
    late.args.insert("SOURCE_DATE_EPOCH".to_owned(), "now".to_owned());
    expect_test::expect![[r#"
        error: target "app": SOURCE_DATE_EPOCH=`now` is no time
        hint: give whole seconds since 1970-01-01T00:00:00Z"#]]
    .assert_eq(&build(&late).expect_err("no such time"));
}

#[test]
fn files_of_a_target_are_found_where_the_peer_finds_them() {
    let files = [
        ("api/dockerfile", "FROM scratch\n"),
        ("api/.dockerignore", "a\r\n# c\n"),
        ("other/x.Dockerfile", "FROM scratch\n"),
        ("other/x.Dockerfile.dockerignore", "b\n"),
    ];
    let files = MemoryFiles(files.map(|(path, text)| (path.into(), text.into())).into());
    let load_from = |path: &str| {
        let mut target = target("");
        target.dockerfile = DockerfileSource::Path(path.to_owned());
        target.context = BuildContext::Local("api".to_owned());
        let mut sources = SourceMap::default();
        let loaded = load(&target, &files, &mut sources).map_err(|found| found.render(&sources));
        loaded.map(|loaded| (sources.name(loaded.dockerfile.file).to_owned(), loaded.ignore))
    };
    assert_eq!(load_from("api/Dockerfile"), Ok(("api/dockerfile".to_owned(), vec!["a".to_owned(), "# c".to_owned()])));
    assert_eq!(load_from("other/x.Dockerfile"), Ok(("other/x.Dockerfile".to_owned(), vec!["b".to_owned()])));
    expect_test::expect![[r#"
        error: target "app": there is no file "api/Dockerfile.dev"
        hint: create it, or set `context` or `dockerfile` of target "app""#]]
    .assert_eq(&load_from("api/Dockerfile.dev").expect_err("there is none"));
}
