//! The Dockerfile language, run: what instructions do to files, the environment and the image's config.
//!
//! Most Dockerfiles judge themselves, with `[ … ]` in a RUN: the same text says the same to any builder.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::support::{Project, Ran, listing, registry, run};

/// A project whose default target builds `dockerfile`; `base` is busybox with the users root and app.
fn prepared(dockerfile: &str, more: &str) -> Option<Project> {
    let registry = registry()?;
    let project = Project::new(registry);
    let output = "output = [\"type=tar,dest=out.tar\", \"type=oci,tar=false,dest=oci\"]";
    let base = format!("contexts = {{ base = \"docker-image://{}/base/busybox:1\" }}", registry.host);
    let contexts = if more.contains("contexts") { "" } else { &base };
    project.write("build.hcl", &format!("target \"default\" {{\n  {output}\n  {contexts}\n  {more}\n}}\n"));
    project.write("Dockerfile", dockerfile);
    Some(project)
}

/// Builds, and returns the project; `None` where tests of this kind are skipped.
fn built(dockerfile: &str) -> Option<Project> {
    let project = prepared(dockerfile, "")?;
    project.bake(&["build"]).succeeds();
    Some(project)
}

fn fails(dockerfile: &str, code: i32, expected: &[&str]) {
    let Some(project) = prepared(dockerfile, "") else { return };
    let ran: Ran = project.bake(&["build"]).fails(code);
    for text in expected {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
}

fn out(project: &Project) -> String {
    listing(&project.path().join("out.tar"))
}

/// The lines of what was built that name one of `names`.
fn entries(project: &Project, names: &[&str]) -> String {
    let is_named = |line: &&str| names.iter().any(|name| line.split_whitespace().nth(2) == Some(name));
    out(project).lines().filter(is_named).map(|line| format!("{line}\n")).collect()
}

fn content(project: &Project, name: &str) -> String {
    run("tar", &["-xOf", &project.path().join("out.tar").display().to_string(), name]).succeeds().stdout
}

/// The image's config.
fn config(project: &Project) -> Value {
    let read = |path: String| -> Value { serde_json::from_str(&project.read(&path)).expect("JSON") };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
        read(format!("oci/blobs/{digest}"))
    };
    let manifest = blob(&read("oci/index.json".to_owned())["manifests"][0]);
    // An index stands between where there is one for the platforms.
    let manifest = if manifest["manifests"].is_array() { blob(&manifest["manifests"][0]) } else { manifest };
    blob(&manifest["config"])
}

#[test]
fn variables_expand_as_they_are_declared() {
    built(
        r#"ARG TAG=one
ARG FULL="${TAG}-two"
FROM base AS first
ARG TAG
ARG FULL
ARG LOCAL=${FULL}-three EMPTY= UNSET
ENV A=${LOCAL} B="$A and more"
ENV A=changed C=$A-c D=${A}
ENV OLD value with   blanks
RUN [ "$TAG" = one ] && [ "$FULL" = one-two ] && [ "$LOCAL" = one-two-three ]
RUN [ "$A" = changed ] && [ "$B" = " and more" ] && [ "$C" = one-two-three-c ] && [ "$D" = one-two-three ]
RUN [ "$OLD" = "value with   blanks" ] && [ -z "$EMPTY" ] && [ -z "${UNSET+set}" ]
ENV P=/a/b.tar.gz
ENV P1=${P#*/} P2=${P##*/} P3=${P%.*} P4=${P%%.*} P5=${P/a/x} P6=${P//a/x} P7=${NOPE:-d} P8=${P:+y} P9=${EMPTY-e}
RUN [ "$P1" = a/b.tar.gz ] && [ "$P2" = b.tar.gz ] && [ "$P3" = /a/b.tar ] && [ "$P4" = /a/b ]
RUN [ "$P5" = /x/b.tar.gz ] && [ "$P6" = /x/b.txr.gz ] && [ "$P7" = d ] && [ "$P8" = y ] && [ -z "$P9" ]
FROM first
RUN [ "$A" = changed ] && [ "$LOCAL" = one-two-three ] && [ "$TAG" = one ]
FROM base
RUN [ -z "${LOCAL+set}${TAG+set}${A+set}" ]
COPY --from=first /etc/passwd /p
"#,
    );
}

#[test]
fn arguments_come_from_the_bakefile_and_the_platform() {
    let dockerfile = r#"ARG GIVEN=no
FROM base AS stage-yes
ARG GIVEN
ARG OTHER=default
ARG TARGETPLATFORM TARGETOS TARGETARCH BUILDPLATFORM TARGETSTAGE
RUN [ "$GIVEN" = yes ] && [ "$OTHER" = default ] && [ "$TARGETPLATFORM" = linux/amd64 ] && [ "$TARGETOS" = linux ]
RUN [ "$TARGETARCH" = amd64 ] && [ "$TARGETSTAGE" = last ] && [ -n "$http_proxy" ]
FROM stage-yes AS last
ENV SHOWN=1
"#;
    let Some(project) =
        prepared(dockerfile, "args = { GIVEN = \"yes\", http_proxy = \"http://proxy.test\", SECRET = \"s3cret\" }")
    else {
        return;
    };
    project.bake(&["build"]).succeeds();
    let config = config(&project).to_string();
    assert!(!config.contains("proxy.test") && !config.contains("s3cret"), "{config}");
    // A required argument that nobody gives.
    fails("ARG V\nFROM base${V:?missing}\n", 3, &["Dockerfile:2:6", "V: missing"]);
}

#[test]
fn heredocs_are_scripts_and_files() {
    let dockerfile = r#"FROM base
ENV NAME=world
RUN <<EOT
  set -e
  echo "hello $NAME" > /script
  [ -f /script ]
EOT
RUN <<-EOT
	echo indented > /indented
	EOT
RUN <<EOT sh -e
echo through-sh > /through
EOT
RUN <<EOT
#!/bin/sh
echo "$0" > /shebang
EOT
RUN cat <<A >/both && cat <<"B" >>/both
a $NAME
A
b $NAME
B
COPY <<plain.txt <<"quoted.txt" /dir/
one $NAME \$NAME
plain.txt
two $NAME
quoted.txt
COPY --chmod=750 --chown=app <<EOT /file
x
EOT
ADD <<-EOT /added
	  tabs go, blanks stay
	EOT
"#;
    let Some(project) = built(dockerfile) else { return };
    for (name, expected) in [
        ("script", "hello world\n"),
        ("indented", "indented\n"),
        ("through", "through-sh\n"),
        ("both", "a world\nb $NAME\n"),
        ("dir/plain.txt", "one world $NAME\n"),
        ("dir/quoted.txt", "two $NAME\n"),
        ("file", "x\n"),
        ("added", "  tabs go, blanks stay\n"),
    ] {
        assert_eq!(content(&project, name), expected, "{name}");
    }
    assert_eq!(
        entries(&project, &["file", "dir/plain.txt"]),
        "-rw-r--r-- 0/0 dir/plain.txt\n-rwxr-x--- 1000/1000 file\n"
    );
    fails("FROM base\nRUN <<EOT\necho\n", 3, &["Dockerfile:2:", "EOT"]);
}

#[test]
fn the_shell_the_user_and_the_directory_are_those_of_the_stage() {
    let dockerfile = r#"FROM base
SHELL ["/bin/sh", "-ec"]
RUN false; echo not reached || true
"#;
    fails(dockerfile, 1, &["Dockerfile:3"]);
    let dockerfile = r#"FROM base
WORKDIR /wrk
WORKDIR sub
ENV D=deep
WORKDIR ${D}/er
RUN [ "$(pwd)" = /wrk/sub/deep/er ]
USER app
RUN [ "$(id -un)" = app ] && [ "$(id -g)" = 1000 ] && id -G | grep -qw 1002 && [ "$HOME" = /home/app ]
WORKDIR /made/by/app
USER 1000:1002
RUN [ "$(id -u):$(id -g)" = 1000:1002 ]
USER 4242
RUN [ "$(id -u):$(id -g)" = 4242:0 ]
USER app:extra
RUN [ "$(id -g)" = 1002 ]
USER root
RUN ["/bin/sh", "-c", "[ \"$0\" = /bin/sh ] && [ $$ = 1 -o -n \"$$\" ]"]
RUN [ "$(hostname)" = buildkitsandbox ]
COPY --chown=app:extra a /rel/
COPY --chown=1:2 a ./
ENTRYPOINT ["/bin/false"]
RUN [ "$(pwd)" = /made/by/app ]
"#;
    let Some(project) = prepared(dockerfile, "") else { return };
    project.write("a", "a");
    project.bake(&["build"]).succeeds();
    assert_eq!(
        entries(&project, &["wrk/sub/deep/er/", "made/by/app/", "rel/", "rel/a", "made/by/app/a"]),
        "drwxr-xr-x 1000/1000 made/by/app/\n-rw-r--r-- 1/2 made/by/app/a\ndrwxr-xr-x 1000/1002 rel/\n\
         -rw-r--r-- 1000/1002 rel/a\ndrwxr-xr-x 0/0 wrk/sub/deep/er/\n"
    );
    fails("FROM base\nUSER nobody-here\nRUN true\n", 1, &["nobody-here"]);
}

#[test]
fn the_config_says_what_the_instructions_say() {
    let dockerfile = r#"FROM base
LABEL a=1 "b c"="d e" multi="x \
y"
LABEL a=2
MAINTAINER somebody
ENV PORT=81
EXPOSE 80 $PORT/udp 90-91/TCP
VOLUME ["/data", "/more"]
VOLUME /third
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=3s --retries=2 --start-period=1m CMD ["/bin/true"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD echo $PORT
WORKDIR /w
USER app
SHELL ["/bin/busybox", "sh", "-c"]
"#;
    let Some(project) = prepared(dockerfile, "labels = { from-bakefile = \"yes\", a = \"3\" }") else { return };
    project.bake(&["build"]).succeeds();
    let config = config(&project);
    let expected = json!({
        "ArgsEscaped": true,
        "Cmd": ["/bin/sh", "-c", "echo $PORT"],
        "Entrypoint": ["/bin/sh", "-c"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT=81"],
        "ExposedPorts": {"80/tcp": {}, "81/udp": {}, "90/tcp": {}, "91/tcp": {}},
        "Healthcheck": {
            "Interval": 5_000_000_000_u64, "Retries": 2, "StartPeriod": 60_000_000_000_u64,
            "Test": ["CMD", "/bin/true"], "Timeout": 3_000_000_000_u64
        },
        "Labels": {"a": "3", "b c": "d e", "from-bakefile": "yes", "multi": "x y"},
        "Shell": ["/bin/busybox", "sh", "-c"],
        "StopSignal": "SIGQUIT",
        "User": "app",
        "Volumes": {"/data": {}, "/more": {}, "/third": {}},
        "WorkingDir": "/w",
    });
    assert_eq!(config["config"], expected, "{config:#}");
    assert_eq!(config["author"], "somebody");
    let history = config["history"].as_array().expect("a list");
    let by: Vec<&str> = history.iter().filter_map(|entry| entry["created_by"].as_str()).collect();
    for line in ["LABEL a=2", "EXPOSE [81/udp 80/tcp 90/tcp 91/tcp]", "VOLUME [/third]", "USER app"] {
        assert!(by.contains(&line), "{line}: {by:#?}");
    }
    // ENTRYPOINT resets the CMD of the base, not one of its own stage; NONE switches the health check off.
    let Some(project) =
        built("FROM base AS a\nCMD [\"x\"]\nHEALTHCHECK CMD y\nFROM a\nENTRYPOINT [\"z\"]\nHEALTHCHECK NONE\n")
    else {
        return;
    };
    let config = self::config(&project);
    assert_eq!(config["config"]["Cmd"], Value::Null);
    assert_eq!(config["config"]["Healthcheck"], json!({"Test": ["NONE"]}));
}

#[test]
fn triggers_fire_in_the_stage_that_builds_on_them() {
    let dockerfile = r#"FROM base AS other
RUN echo other > /other
FROM base AS parent
ENV STAGE=parent
ONBUILD ENV FIRED=yes
ONBUILD COPY --from=other /other /copied
ONBUILD RUN <<EOT
echo "$STAGE $FIRED" > /fired
EOT
ONBUILD RUN --mount=type=cache,target=/cache,id=on-build touch /cache/x
RUN [ ! -e /fired ] && [ -z "$FIRED" ]
FROM parent AS child
RUN [ "$(cat /fired)" = "parent yes" ] && [ "$(cat /copied)" = other ] && rm /fired
FROM child
RUN [ ! -e /fired ]
"#;
    let Some(project) = built(dockerfile) else { return };
    assert_eq!(config(&project)["config"]["OnBuild"], Value::Null);
    fails("FROM base\nONBUILD FROM base\n", 3, &["Dockerfile:2:", "ONBUILD"]);
}

#[test]
fn stages_are_found_by_name_number_and_image() {
    let dockerfile = r#"FROM base AS Build
RUN echo build > /out
FROM build AS middle
RUN cat /out >> /out2
FROM scratch AS files
COPY --from=0 /out /by-number
COPY --from=MIDDLE /out2 /by-name
COPY --from=base /etc/passwd /by-context
FROM files
"#;
    let Some(project) = built(dockerfile) else { return };
    assert_eq!(content(&project, "by-number") + &content(&project, "by-name"), "build\nbuild\n");
    assert!(content(&project, "by-context").starts_with("root:"));
    assert_eq!(out(&project).lines().count(), 3);
    let early = "FROM base AS early\nCOPY --from=later /x /\nFROM base AS later\nFROM early\n";
    fails(early, 3, &["Dockerfile:2:", "not defined before"]);
    fails("FROM base AS a\nFROM base AS b\nCOPY --from=5 /x /\n", 3, &["Dockerfile:3:"]);
    let Some(project) = prepared("FROM base AS first\nFROM base AS second\n", "target = \"frist\"") else { return };
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains("first"), "{}", ran.stderr);
}

#[test]
fn of_two_stages_of_one_name_the_last_before_counts() {
    let dockerfile =
        "FROM base AS x\nRUN echo 1 > /n\nFROM base AS x\nRUN echo 2 > /n\nFROM scratch\nCOPY --from=x /n /\n";
    let Some(project) = built(dockerfile) else { return };
    assert_eq!(content(&project, "n"), "2\n");
}

#[test]
fn a_copy_keeps_what_files_are() {
    let dockerfile = r#"FROM base AS made
RUN mkdir -p /m/empty /m/sticky && chmod 1777 /m/sticky && echo s > /m/suid && chown app:extra /m/suid && chmod 4755 /m/suid && ln -s suid /m/link \
 && ln /m/suid /m/hard && ln -s /nowhere /m/dangling && mkfifo /m/fifo && chmod 2750 /m/empty
FROM scratch
COPY --from=made /m /m
COPY --from=made --chown=7:8 --chmod=u=rwx,g=rX,o= /m/link /resolved
COPY --from=made --chmod=0604 /m/suid /octal
"#;
    let Some(project) = built(dockerfile) else { return };
    assert_eq!(
        out(&project),
        "drwxr-xr-x 0/0 m/\n\
         lrwxrwxrwx 0/0 m/dangling -> /nowhere\n\
         drwxr-s--- 0/0 m/empty/\n\
         prw-r--r-- 0/0 m/fifo\n\
         -rwsr-xr-x 1000/1002 m/hard\n\
         lrwxrwxrwx 0/0 m/link -> suid\n\
         drwxrwxrwt 0/0 m/sticky/\n\
         hrwsr-xr-x 1000/1002 m/suid link to m/hard\n\
         -rw----r-- 1000/1002 octal\n\
         -rwxr-x--- 7/8 resolved\n"
    );
}

#[test]
fn a_context_may_hold_anything() {
    let dockerfile = "FROM scratch\nCOPY . /c/\nCOPY dir /d\nCOPY dir/ new/slash/\nCOPY [\"with blank\", \"/blank\"]\nCOPY *.t[xy]t /w/\nCOPY none* d[i]r/f* /e/\n";
    let Some(project) = prepared(dockerfile, "") else { return };
    for name in ["dir/f", "dir/sub/g", "with blank", "a.txt", "b.tyt", "c.tzt", "é/ü.txt", "[x]"] {
        project.write(name, name);
    }
    std::fs::create_dir_all(project.path().join("empty/deep")).expect("made");
    symlink("dir/f", project.path().join("link")).expect("linked");
    symlink("/etc/hostname", project.path().join("absolute")).expect("linked");
    let socket = UnixListener::bind(project.path().join("socket")).expect("bound");
    project.write(".dockerignore", "build.hcl\nDockerfile\n.dockerignore\nout.tar\noci\n# no comment\n\n");
    project.bake(&["build"]).succeeds();
    drop(socket);
    let names: Vec<String> =
        out(&project).lines().map(|line| line.splitn(3, ' ').nth(2).expect("a name").to_owned()).collect();
    for name in [
        "c/dir/sub/g",
        "c/empty/deep/",
        "c/link -> dir/f",
        "c/absolute -> /etc/hostname",
        "c/[x]",
        "c/a.txt",
        "c/socket",
        "d/f",
        "d/sub/g",
        "new/slash/f",
        "blank",
        "w/a.txt",
        "w/b.tyt",
        "e/f",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:#?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("w/c")), "{names:#?}");
    fails("FROM scratch\nCOPY not-there /x\n", 1, &["Dockerfile:2", "not-there"]);
    fails("FROM base\nCOPY --chmod=9 Dockerfile /x\n", 3, &["Dockerfile:2:"]);
}

#[test]
fn ignore_files_leave_out_and_take_back_in() {
    let files =
        ["keep.md", "README.md", "docs/README.md", "docs/x/y.md", "tmp/a", "tmp/b.log", "src/a/t.log", "src/t.txt"];
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let Some(project) = prepared(dockerfile, "") else { return };
    files.iter().for_each(|name| _ = project.write(name, name));
    project.write(".dockerignore", "*\n!docs\n!README.md\n!src/**/*.log\ndocs/x\n!docs/x/y.md\n");
    project.bake(&["build"]).succeeds();
    let names = |project: &Project| -> Vec<String> {
        out(project).lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
    };
    let expected = ["README.md", "docs/", "docs/README.md", "docs/x/", "docs/x/y.md", "src/", "src/a/", "src/a/t.log"];
    assert_eq!(names(&project), expected);
    // One beside the Dockerfile, of its name, stands in for the other.
    project.write("Dockerfile.dockerignore", "**\n!tmp/*.log\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(names(&project), ["tmp/", "tmp/b.log"]);
    project.write("Dockerfile.dockerignore", "[\n");
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains("Dockerfile.dockerignore:1:1: ") && ran.stderr.contains("`[`"), "{}", ran.stderr);
    // What is left out cannot be copied.
    project.write("Dockerfile.dockerignore", "src\n");
    project.write("Dockerfile", "FROM scratch\nCOPY src/t.txt /\n");
    let ran = project.bake(&["build"]).fails(1);
    assert!(ran.stderr.contains("src/t.txt"), "{}", ran.stderr);
}

#[test]
fn local_archives_are_unpacked_and_others_are_files() {
    let dockerfile = r#"FROM base
ADD a.tar b.tar.gz c.tar.bz2 d.tar.xz /u/
ADD plain.gz /u/
ADD --unpack=false a.tar /kept/
ADD --chown=app --chmod=700 a.tar /owned/
RUN ln -s /real /alias && mkdir /real
ADD a.tar /alias/
RUN [ "$(cat /u/a)$(cat /u/b)$(cat /u/c)$(cat /u/d)" = abcd ] && [ -f /u/plain.gz ] && [ -f /kept/a.tar ]
RUN [ "$(cat /real/a)" = a ] && [ "$(stat -c %u /owned/a)" = 1000 ]
"#;
    let Some(project) = prepared(dockerfile, "") else { return };
    let path = project.path();
    for (name, flag) in [("a.tar", "-c"), ("b.tar.gz", "-cz"), ("c.tar.bz2", "-cj"), ("d.tar.xz", "-cJ")] {
        let file = &name[..1];
        project.write(file, file);
        let (archive, directory) = (path.join(name).display().to_string(), path.display().to_string());
        run("tar", &[flag, "-f", &archive, "-C", &directory, file]).succeeds();
    }
    run("sh", &["-c", &format!("echo plain | gzip > {}/plain.gz", path.display())]).succeeds();
    project.bake(&["build"]).succeeds();
}

#[test]
fn a_step_sees_its_own_network_tmp_and_processes() {
    built(
        r#"FROM base
RUN --network=none [ "$(ls /sys/class/net)" = lo ]
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && [ -e /scratch/x ]
RUN [ ! -e /scratch/x ] && [ -w /tmp ]
RUN --mount=type=bind,from=base,target=/b [ -f /b/etc/passwd ] && ! touch /b/x 2>/dev/null
RUN --mount=type=bind,from=base,target=/b,rw touch /b/x
RUN --mount=type=bind,from=base,target=/b [ ! -e /b/x ]
RUN --mount=target=/ctx [ -f /ctx/Dockerfile ]
ARG DIR=/from-arg
RUN --mount=type=cache,target=${DIR} [ -d /from-arg ]
RUN ! touch /proc/sys/kernel/hostname 2>/dev/null; [ ! -e /dev/sda ] && [ -c /dev/null ]
RUN grep -q '^CapEff:.*a80425fb$' /proc/self/status
"#,
    );
    fails("FROM base\nRUN --mount=type=nope,target=/x true\n", 3, &["Dockerfile:2:", "nope"]);
    fails("FROM base\nRUN --device=vendor.com/gpu true\n", 3, &["Dockerfile:2:", "device"]);
    fails("FROM base\nRUN --security=insecure true\n", 3, &["Dockerfile:2:", "security.insecure"]);
}

#[test]
fn other_frontends_are_refused_and_the_official_one_is_built_in() {
    built("# syntax=docker/dockerfile:1\nFROM base\nRUN true\n");
    built(
        "#syntax = docker/dockerfile:1.7-labs\n# escape=`\nFROM base\nRUN echo a `\n  b > /ab && [ \"$(cat /ab)\" = \"a b\" ]\n",
    );
    fails("# syntax=example.com/other:1\nFROM base\n", 3, &["example.com/other:1"]);
}

#[test]
fn names_contexts_and_dockerfiles_may_stand_for_one_another() {
    let Some(registry) = registry() else { return };
    let more = format!(
        "contexts = {{ base = \"docker-image://{}/base/busybox:1\", stage = \"./files\", \"alpine:3\" = \"target:made\" }}\n}}\n\
         target \"made\" {{\n  contexts = {{ base = \"docker-image://{}/base/busybox:1\" }}\n  \
         dockerfile-inline = \"FROM base\\nRUN echo made > /made\\n\"",
        registry.host, registry.host
    );
    let dockerfile =
        "FROM base AS stage\nRUN exit 9\nFROM alpine:3\nRUN [ \"$(cat /made)\" = made ]\nCOPY --from=stage f /\n";
    let Some(project) = prepared(dockerfile, &more) else { return };
    project.write("files/f", "in place of the stage");
    project.bake(&["build"]).succeeds();
    assert_eq!(content(&project, "f"), "in place of the stage");
    // A link to a Dockerfile, and the name in lower case.
    std::fs::rename(project.path().join("Dockerfile"), project.path().join("real")).expect("renamed");
    symlink("real", project.path().join("dockerfile")).expect("linked");
    project.bake(&["build"]).succeeds();
}

#[test]
fn what_is_no_dockerfile_is_an_error_at_its_place() {
    fails("", 3, &["Dockerfile"]);
    fails("FROM base\nENV a\n", 3, &["Dockerfile:2:"]);
    fails("FROM base\nRUN exit 3\n", 1, &["Dockerfile:2", "exit code 3"]);
    // Lines may end as on another system.
    built("FROM base\r\nRUN echo x \\\r\n  > /x\r\nENV A=b\r\nRUN [ \"$A\" = b ]\r\n");
}

#[test]
fn a_mode_that_changed_and_a_directory_that_became_a_file_are_seen() {
    let Some(project) = prepared("FROM scratch\nCOPY x /x\n", "") else { return };
    project.write("x/f", "f");
    project.bake(&["build"]).succeeds();
    let path = project.path().join("x/f");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("changed");
    project.bake(&["build"]).succeeds();
    assert!(out(&project).contains("-rwxr-xr-x 0/0 x/f\n"), "{}", out(&project));
    std::fs::remove_dir_all(project.path().join("x")).expect("removed");
    project.write("x", "a file");
    project.bake(&["build"]).succeeds();
    assert_eq!(out(&project), "-rw-r--r-- 0/0 x\n");
}
