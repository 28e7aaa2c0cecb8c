//! Dockerfiles lowered into the graph: printed steps, errors as people see them, and the peer's own answers.

use std::collections::BTreeMap;

use bake::diagnostic::SourceMap;
use bake::digest::{DiffId, Digest};
use bake::frontend::{Loaded, LoweredTarget, Lowering, Need, Resolved, ResolvedImage, compiled, load, lower};
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
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size: None,
        resources: Default::default(),
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
        match lower(target, &loaded, &resolved, definition).map_err(|found| found.render(&sources))? {
            Lowering::Done(result) => return Ok(result),
            Lowering::NeedsTime(_) => panic!("no test here names a source by SOURCE_DATE_EPOCH"),
            Lowering::Needs(needs) => {
                assert!(!needs.is_empty(), "needs are never empty");
                for (need, _) in needs {
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
        FileAction::Rm { path, .. } => json!(["rm", path]),
        FileAction::Symlink { target, path, .. } => json!(["symlink", target, path]),
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
            Op::Source(source) => text += &format!("   {source:?}\n"),
            Op::Merge(_) | Op::Diff(_) => {}
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
               mount Mount { target: "/cache", is_read_only: false, kind: Cache { id: "//cache", is_named: false, sharing: Locked, mode: 493, uid: 0, gid: 0, has_owner: false, from: None, selector: "/" } }
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
    let lowering = lower(&target, &loaded, &Resolved::default(), &mut definition).expect("it lowers");
    let Lowering::Needs(needs) = lowering else { panic!("nothing is resolved yet") };
    let names: Vec<String> = needs
        .keys()
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
    resolved.targets.insert(("tools".to_owned(), target.platform.clone()), tools);
    let result = loop {
        match lower(&target, &loaded, &resolved, &mut definition).expect("it lowers") {
            Lowering::Done(result) => break result,
            Lowering::NeedsTime(_) => panic!("no time is asked for"),
            Lowering::Needs(needs) => resolved.images.extend(needs.into_keys().map(|n| (n.clone(), small_image(&n)))),
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

#[test]
fn a_linked_copy_is_made_on_nothing_and_merged_over_the_stage() {
    let mut definition = Definition::default();
    for flag in ["", "--link ", "--link --chmod=644 "] {
        let target = target(&format!("FROM base\nCOPY {flag}a /b\n"));
        lowered(&target, &small_image, &mut definition).expect("it lowers");
    }
    let steps = definition.ids().map(|id| definition.vertex(id));
    let steps = steps.filter(|vertex| !matches!(vertex.op, Op::Source(_)));
    let names = steps.map(|vertex| (vertex.metadata.name.as_str(), vertex.inputs.len())).collect::<Vec<_>>();
    // A mode is given by a copy like any other.
    let expected = [
        ("[2/2] COPY a /b", 2),
        ("[2/2] COPY --link a /b", 1),
        ("[2/2] LINK COPY --link a /b", 2),
        ("[2/2] COPY --link --chmod=644 a /b", 2),
    ];
    assert_eq!(names, expected);
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
fn every_flag_reaches_the_graph_in_llbs_words() {
    let mut target = target(concat!(
        "FROM base\n",
        "RUN --mount=type=secret,id=a,env=TOKEN,required --mount=type=secret,target=/k,uid=7 --security=insecure x $TOKEN\n",
        "RUN --mount=type=ssh,mode=0666 --mount=type=cache,target=/c/,from=tools,source=/seed x\n",
        "RUN --mount=type=cache,target=/d,gid=5 --network=none x\n",
        "COPY --parents --exclude=*.md --chmod=u=rwX a/./b/*.c d/e /dest/\n",
        "ADD --unpack --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 ",
        "https://example.test/a.tgz /\n",
        "ADD --keep-git-dir git@example.test:a/b.git#v1:docs /docs\n",
    ));
    target.args.insert("HTTP_PROXY".to_owned(), "http://proxy.test".to_owned());
    let mut definition = Definition::default();
    let result = lowered(&target, &small_image, &mut definition).expect("it lowers");
    let mut sources = SourceMap::default();
    load(&target, &MemoryFiles::default(), &mut sources).expect("it loads");
    let compiled = compiled::target(&definition, &result, &sources);
    let ops = compiled["llb"]["ops"].as_array().expect("ops").iter().map(|op| {
        let mut op = op.clone();
        for key in ["env", "command", "lines", "inputs", "platform", "remove_mount_stubs_recursive", "op"] {
            op.as_object_mut().expect("an object").shift_remove(key);
        }
        format!("{op}\n")
    });
    expect_test::expect![[r#"
        {"type":"source","identifier":"docker-image://docker.io/library/base:latest@sha256:1ac3fa96f2a8fe5ebb3f5d96d87dd391e1ed7d3e0e144381ca3429bf07d6aff9","attrs":{},"progress_name":"[stage-0 1/7] FROM docker.io/library/base:latest@sha256:1ac3fa96f2a8fe5ebb3f5d96d87dd391e1ed7d3e0e144381ca3429bf07d6aff9"}
        {"type":"exec","args":["/bin/sh","-c","x $TOKEN"],"cwd":"/","mounts":[{"type":"bind","dest":"/","from":"input:0","from_kind":"source:docker-image","output":0,"readonly":false},{"dest":"/k","from":"scratch","from_kind":"scratch","output":0,"readonly":false,"type":"secret","secret":{"id":"k","uid":7,"gid":0,"mode":"0400","optional":true}}],"network":"UNSET","security":"INSECURE","user":"","secret_env":[{"id":"a","name":"TOKEN","optional":false}],"proxy":{"http_proxy":"http://proxy.test","https_proxy":"","ftp_proxy":"","no_proxy":"","all_proxy":""},"progress_name":"[stage-0 2/7] RUN --mount=type=secret,id=a,env=TOKEN,required --mount=type=secret,target=/k,uid=7 --security=insecure x ****"}
        {"type":"source","identifier":"docker-image://docker.io/library/tools:latest@sha256:6a712005c0d168e05bcb52eab4ef91135163fe1f3208102f11d8e0a474b1f02d","attrs":{},"progress_name":"FROM docker.io/library/tools:latest@sha256:6a712005c0d168e05bcb52eab4ef91135163fe1f3208102f11d8e0a474b1f02d"}
        {"type":"exec","args":["/bin/sh","-c","x"],"cwd":"/","mounts":[{"type":"bind","dest":"/","from":"input:0","from_kind":"exec","output":0,"readonly":false},{"dest":"/c/","from":"input:1","from_kind":"source:docker-image","output":-1,"readonly":false,"type":"cache","cache_id":"//c","sharing":"SHARED","selector":"/seed"},{"dest":"/run/buildkit/ssh_agent.0","from":"scratch","from_kind":"scratch","output":0,"readonly":false,"type":"ssh","ssh":{"id":"","uid":0,"gid":0,"mode":"0666","optional":true}}],"network":"UNSET","security":"SANDBOX","user":"","proxy":{"http_proxy":"http://proxy.test","https_proxy":"","ftp_proxy":"","no_proxy":"","all_proxy":""},"progress_name":"[stage-0 3/7] RUN --mount=type=ssh,mode=0666 --mount=type=cache,target=/c/,from=tools,source=/seed x"}
        {"type":"file","actions":[{"action":"mkdir","input":"scratch","make_parents":false,"mode":"0755","output":0,"owner":{"group":5,"user":0},"path":"/cache","timestamp":-1}],"progress_name":"[internal] setting cache mount permissions"}
        {"type":"exec","args":["/bin/sh","-c","x"],"cwd":"/","mounts":[{"type":"bind","dest":"/","from":"input:0","from_kind":"exec","output":0,"readonly":false},{"dest":"/d","from":"input:1","from_kind":"file","output":-1,"readonly":false,"type":"cache","cache_id":"//d","sharing":"SHARED","selector":"/cache"}],"network":"NONE","security":"SANDBOX","user":"","proxy":{"http_proxy":"http://proxy.test","https_proxy":"","ftp_proxy":"","no_proxy":"","all_proxy":""},"progress_name":"[stage-0 4/7] RUN --mount=type=cache,target=/d,gid=5 --network=none x"}
        {"type":"source","identifier":"local://context","attrs":{"local.followpaths":"[\"a/b/*.c\",\"d/e\",\"git@example.test:a/b.git#v1:docs\"]","local.sharedkeyhint":"context"},"progress_name":"[internal] load build context"}
        {"type":"file","actions":[{"action":"copy","dest":"/dest/","exclude":["*.md"],"flags":["follow_symlink","dir_copy_contents","create_dest_path","allow_wildcard","allow_empty_wildcard"],"from":"input:1","include":["b/*.c"],"mode":"0000","owner":null,"src":"/a","timestamp":-1,"from_kind":"source:local","mode_str":"u=rwX","input":"input:0","output":-1},{"action":"copy","dest":"/dest/","exclude":["*.md"],"flags":["follow_symlink","dir_copy_contents","create_dest_path","allow_wildcard","allow_empty_wildcard"],"from":"input:1","include":["d/e"],"mode":"0000","owner":null,"src":"/","timestamp":-1,"from_kind":"source:local","mode_str":"u=rwX","required_paths":["/d/e"],"input":"action:0","output":0}],"progress_name":"[stage-0 5/7] COPY --parents --exclude=*.md --chmod=u=rwX a/./b/*.c d/e /dest/"}
        {"type":"source","identifier":"https://example.test/a.tgz","attrs":{"http.checksum":"sha256:0000000000000000000000000000000000000000000000000000000000000000","http.filename":"a.tgz"},"progress_name":"[stage-0 6/7] ADD --unpack --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.test/a.tgz /"}
        {"type":"file","actions":[{"action":"copy","dest":"/","exclude":[],"flags":["unpack","create_dest_path"],"from":"input:1","include":[],"mode":null,"owner":null,"src":"/a.tgz","timestamp":-1,"from_kind":"source:https","input":"input:0","output":0}],"progress_name":"[stage-0 6/7] ADD --unpack --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.test/a.tgz /"}
        {"type":"source","identifier":"git://example.test/a/b.git#v1:docs","attrs":{"git.authheadersecret":"GIT_AUTH_HEADER","git.authtokensecret":"GIT_AUTH_TOKEN","git.fullurl":"git@example.test:a/b.git","git.keepgitdir":"true","git.mountsshsock":"default"},"progress_name":"[stage-0 7/7] ADD --keep-git-dir git@example.test:a/b.git#v1:docs /docs"}
        {"type":"file","actions":[{"action":"copy","dest":"/docs","exclude":[],"flags":["create_dest_path"],"from":"input:1","include":[],"mode":null,"owner":null,"src":"/","timestamp":-1,"from_kind":"source:git","input":"input:0","output":0}],"progress_name":"[stage-0 7/7] ADD --keep-git-dir git@example.test:a/b.git#v1:docs /docs"}
    "#]].assert_eq(&ops.collect::<String>());
}

#[test]
fn proxies_of_the_build_are_no_part_of_a_step() {
    let digest = |proxy: &str| {
        let mut target = target("FROM base\nRUN x\n");
        target.args.insert("https_proxy".to_owned(), proxy.to_owned());
        let (definition, result) = build(&target).expect("it lowers");
        let vertex = definition.vertex(result.root.expect("a root"));
        let Op::Exec(exec) = &vertex.op else { panic!("a RUN is an exec") };
        assert_eq!(exec.proxy.as_ref().map(|set| set.https.as_str()), Some(proxy));
        assert!(!exec.env.iter().any(|(name, _)| name == "https_proxy"));
        (vertex.digest, result.config)
    };
    assert_eq!(digest("http://a.test"), digest("http://b.test"));
}

#[test]
fn paths_of_windows_lose_their_drive() {
    let mut target = target("# escape=`\nFROM base\nWORKDIR C:\\app\nCOPY a\\b c:\\x\\\nCOPY a .\n");
    target.platform = platform("windows/amd64");
    let (definition, result) = build(&target).expect("it lowers");
    let actions = definition.ids().filter_map(|id| match &definition.vertex(id).op {
        Op::File(file) => Some(our_action(&file.actions[0]).to_string()),
        _ => None,
    });
    expect_test::expect![[r#"
        ["mkdir","/app",null]
        ["copy","/a/b","/x/",null,false,[],null]
        ["copy","/a","/app/",null,false,[],null]"#]]
    .assert_eq(&actions.collect::<Vec<_>>().join("\n"));
    assert_eq!(result.config.config.working_dir, "\\app");
    let text = "# escape=`\nFROM base\nWORKDIR D:\\app\n".to_owned();
    target.dockerfile = DockerfileSource::Inline { name: "Dockerfile".to_owned(), text };
    let error = build(&target).expect_err("another drive");
    assert!(error.contains("Dockerfile:3:9: `D:\\app` is not on the system drive, C:"), "{error}");
}

#[test]
fn stages_that_nothing_reaches_are_checked_for_numbers_and_circles() {
    let error = |text: &str| build(&target(text)).expect_err("it is refused").lines().next().map(str::to_owned);
    let numbered = "FROM base AS unused\nCOPY --from=5 a b\nFROM base\nRUN x\n";
    assert_eq!(error(numbered).as_deref(), Some("error: Dockerfile:2:6: there is no stage 5"));
    let circle = "FROM base AS a\nCOPY --from=b x y\nFROM base AS b\nRUN --mount=from=a,target=/a x\nFROM base\n";
    assert_eq!(error(circle).as_deref(), Some("error: Dockerfile:4:1: stages read each other in a circle"));
    build(&target("FROM base AS a\nCOPY --from=1 x y\nFROM base\n"))
        .expect("only a stage that is reached has an order");
}

#[test]
fn a_step_gets_no_devices() {
    check_error(
        "FROM base\nRUN --device=vendor.com/gpu x\n",
        expect_test::expect![[r#"
        error: Dockerfile:2:5: `RUN --device`: steps get no devices here
           |
         2 | RUN --device=vendor.com/gpu x
           |     ^^^^^^^^^^^^^^^^^^^^^^^"#]],
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
            error: Dockerfile:5:6: there is no stage 3
               |
             5 | COPY --from=3 a b
               |      ^^^^^^^^
            note: the last is stage 2"#]],
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
        note: it is neither a number, nor `context`, nor the name of a context or stage
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
        loaded.map(|loaded| (sources.name(loaded.dockerfile.file).to_owned(), loaded.ignore.lines))
    };
    assert_eq!(load_from("api/Dockerfile"), Ok(("api/dockerfile".to_owned(), vec!["a".to_owned(), "# c".to_owned()])));
    assert_eq!(load_from("other/x.Dockerfile"), Ok(("other/x.Dockerfile".to_owned(), vec!["b".to_owned()])));
    expect_test::expect![[r#"
        error: target "app": there is no file "api/Dockerfile.dev"
        hint: create it, or set `context` or `dockerfile` of target "app""#]]
    .assert_eq(&load_from("api/Dockerfile.dev").expect_err("there is none"));
}

#[test]
fn a_long_value_is_not_kept_once_for_each_step_and_stage() {
    let long = format!("FROM scratch AS s0\nENV LONG={}\n", "x".repeat(1 << 20));
    let refused = |dockerfile: String| {
        let mut definition = Definition::default();
        let error = lowered(&target(&dockerfile), &small_image, &mut definition).err()?;
        Some(error.lines().next().unwrap_or_default().to_owned())
    };
    let runs: String = (0..200).map(|n| format!("RUN echo {n}\n")).collect();
    let why = "the values of variables in this Dockerfile make more than 64 MiB of text";
    let first = refused(long.clone() + &runs).expect("200 MiB of environments are refused");
    assert!(first.contains(why) && first.contains("Dockerfile"), "{first}");
    let stages: String = (0..200).map(|n| format!("FROM s{n} AS s{}\n", n + 1)).collect();
    assert!(refused(long.clone() + &stages).is_some_and(|error| error.contains(why)));
    // One such value, and many small ones, are no matter.
    assert_eq!(refused(long + "RUN a\nRUN b\nRUN c\n"), None);
    assert_eq!(refused(format!("FROM scratch\nENV A=b\n{}", runs.repeat(5))), None);
}
