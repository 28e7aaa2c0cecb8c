//! ONBUILD: of stages and of images.

use expect_test::expect;

use super::Case;
use crate::support::registry;

#[test]
fn what_a_stage_leaves_for_its_children_happens_there_once() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("f", "f")]);
    let built = case.build(
        r##"FROM busybox AS tool
RUN echo tool > /tool
FROM busybox AS base
ONBUILD RUN echo built >> /log
ONBUILD COPY f /copied
ONBUILD COPY --from=tool /tool /tool
ONBUILD ENV CHILD=yes
ONBUILD RUN --mount=from=tool,target=/m cat /m/tool >> /log
ONBUILD RUN <<EOF
echo "heredoc $CHILD" >> /log
EOF
ONBUILD COPY <<EOF /text
text $CHILD
EOF
ONBUILD RUN --mount=type=cache,target=/cache touch /cache/x
RUN echo own > /log
FROM base AS child
RUN echo child >> /log
FROM child
RUN echo grandchild >> /log
"##,
    );
    built
        .has(expect![[r#"
        copied 644 0:0 "f"
        dev/ 755 0:0
        log 644 0:0 "own\nbuilt\ntool\nheredoc yes\nchild\ngrandchild\n"
        proc/ 755 0:0
        sys/ 755 0:0
        text 644 0:0 "text yes\n"
        tool 644 0:0 "tool\n"
    "#]])
        .is(expect![[r#"
        Env ["CHILD=yes"]
        Cmd ["/bin/sh"]
        WorkingDir "/"
        ArgsEscaped true
    "#]]);
    let of_base = Case::new().expect("as before").files(&[("f", "f")]).with("target = \"base\"");
    of_base.build(case.project.read("ctx/Dockerfile")).is(expect![[r#"
        Env []
        Cmd ["/bin/sh"]
        WorkingDir "/"
        ArgsEscaped true
        OnBuild ["RUN echo built >> /log","COPY f /copied","COPY --from=tool /tool /tool","ENV CHILD=yes","RUN --mount=from=tool,target=/m cat /m/tool >> /log","RUN <<EOF\necho \"heredoc $CHILD\" >> /log\nEOF","COPY <<EOF /text\ntext $CHILD\nEOF","RUN --mount=type=cache,target=/cache touch /cache/x"]
    "#]]);
}

#[test]
fn what_an_image_leaves_happens_in_the_first_stage_on_it_and_is_gone_then() {
    let Some(registry) = registry() else { return };
    let Some(parent) = Case::new() else { return };
    let name = &parent.project.repository;
    parent.project.write("ctx/Dockerfile", "FROM busybox\nONBUILD ARG WHO=nobody\nONBUILD RUN echo $WHO > /who\nONBUILD COPY --from=other /f /f\nONBUILD WORKDIR /app\nONBUILD COPY . .\n");
    parent.project.write(
        "build.hcl",
        &format!("target \"default\" {{\n  context = \"ctx\"\n  contexts = {{ busybox = \"docker-image://{}/base/busybox:1\" }}\n  tags = [\"{name}:parent\"]\n}}\n", registry.host),
    );
    parent.project.bake(&["build", "--push", "--platform", "linux/amd64"]).succeeds();
    let case = Case::new().expect("as before").files(&[("src", "src")]).with("args = { WHO = \"me\" }");
    let case = case.context("parent", &format!("docker-image://{name}:parent"));
    let built = case.build(
        "FROM busybox AS other\nRUN echo other > /f\nFROM parent AS child\nRUN cat /who /f > /both\nFROM child\n",
    );
    built.has(expect![[r#"
        app/ 755 0:0
        app/Dockerfile 644 0:0 "FROM busybox AS other\nRUN echo other > /f\nFROM parent AS child\nRUN cat /who /f > /both\nFROM child\n"
        app/src 644 0:0 "src"
        both 644 0:0 "me\nother\n"
        dev/ 755 0:0
        f 644 0:0 "other\n"
        proc/ 755 0:0
        sys/ 755 0:0
        who 644 0:0 "me\n"
    "#]]).is(expect![[r#"
        Env []
        Cmd ["/bin/sh"]
        WorkingDir "/app"
        ArgsEscaped true
    "#]]);
}
