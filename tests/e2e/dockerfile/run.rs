//! RUN: shell, user, directory, environment, network.

use expect_test::expect;

use super::Case;

#[test]
fn a_step_runs_with_the_stages_shell_user_directory_and_environment() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox
ENV A="a b" B=$A
RUN echo "$A|$B|$HOME|$PATH|$0" > /env
SHELL ["/bin/sh", "-euc"]
RUN set -o | grep -q 'nounset *on' && echo strict > /strict
RUN ["/bin/sh", "-c", "echo exec $0 > /exec", "$A"]
RUN echo a \
    # a comment between
    && echo b \

    > /lines
WORKDIR /wrk/dir
RUN pwd > /pwd
ENTRYPOINT ["/nothing/like/this"]
RUN echo still > /still
RUN hostname > /hostname; cat /etc/hosts > /hosts
RUN umask > /umask; touch /touched; mkdir /dir
RUN id -u > /uid; ulimit -c > /core; cat /proc/1/comm > /one
RUN ls -A /dev | sort | tr '\n' ' ' > /devices
"#,
    );
    built.has(expect![[r#"
        core 644 0:0 "0\n"
        dev/ 755 0:0
        devices 644 0:0 "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
        dir/ 755 0:0
        env 644 0:0 "a b||/root|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|/bin/sh\n"
        exec 644 0:0 "exec $A\n"
        hostname 644 0:0 "buildkitsandbox\n"
        hosts 644 0:0 "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        lines 644 0:0 "b\n"
        one 644 0:0 "cat\n"
        proc/ 755 0:0
        pwd 644 0:0 "/wrk/dir\n"
        still 644 0:0 "still\n"
        strict 644 0:0 "strict\n"
        sys/ 755 0:0
        touched 644 0:0 ""
        uid 644 0:0 "0\n"
        umask 644 0:0 "0022\n"
        wrk/ 755 0:0
        wrk/dir/ 755 0:0
    "#]]);
}

#[test]
fn users_are_names_numbers_and_groups() {
    let Some(case) = Case::new() else { return };
    let id = "id -u; id -g; id -G; echo $HOME";
    let built = case.build(format!(
        r#"FROM busybox
RUN echo 'who:x:1000:2000::/home/who:/bin/sh' >> /etc/passwd && echo 'team:x:3000:who' >> /etc/group && echo 'extra:x:4000:who,x' >> /etc/group
RUN mkdir -m 0777 /o
USER who
RUN ({id}) > /o/name
USER who:team
RUN ({id}) > /o/name-group
USER 1000
RUN ({id}) > /o/number
USER 1000:5
RUN ({id}) > /o/numbers
USER 4242
RUN ({id}) > /o/unknown-number
USER who:77
RUN ({id}) > /o/name-number
ARG U=who
USER $U
RUN ({id}) > /o/variable
WORKDIR /made/by/who
RUN touch f
USER root
RUN ({id}) > /o/root
WORKDIR /o
WORKDIR /made/by/root
"#
    ));
    built.has(expect![[r#"
        dev/ 755 0:0
        etc/group 644 0:0 "root:x:0:\napp:x:1000:\nextra:x:1002:app\nteam:x:3000:who\nextra:x:4000:who,x\n"
        etc/passwd 644 0:0 "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nwho:x:1000:2000::/home/who:/bin/sh\n"
        made/ 755 1000:2000
        made/by/ 755 1000:2000
        made/by/root/ 755 0:0
        made/by/who/ 755 1000:2000
        made/by/who/f 644 1000:2000 ""
        o/ 777 0:0
        o/name 644 1000:2000 "1000\n2000\n2000 3000 4000\n/home/app\n"
        o/name-group 644 1000:3000 "1000\n3000\n3000\n/home/app\n"
        o/name-number 644 1000:77 "1000\n77\n77\n/home/app\n"
        o/number 644 1000:1000 "1000\n1000\n1000 1002\n/home/app\n"
        o/numbers 644 1000:5 "1000\n5\n5\n/home/app\n"
        o/root 644 0:0 "0\n0\n0\n/root\n"
        o/unknown-number 644 4242:0 "4242\n0\n0\n/\n"
        o/variable 644 1000:2000 "1000\n2000\n2000 3000 4000\n/home/app\n"
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]).is(expect![[r#"
        User "root"
        Env []
        Cmd ["/bin/sh"]
        WorkingDir "/made/by/root"
        ArgsEscaped true
    "#]]);
    for user in ["nobody-knows", "who-not:team", "root:no-such-group"] {
        let failed =
            case.project.write("ctx/Dockerfile", &format!("FROM busybox\nUSER {user}\nRUN true\n")).bake(&["build"]);
        assert_ne!(failed.code, Some(0), "{user}");
        assert!(failed.stderr.contains("Dockerfile:3"), "{}", failed.stderr);
    }
}

#[test]
fn a_working_directory_is_relative_to_the_last_and_made_where_it_is_not() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox
RUN mkdir -p /have && chown 3:4 /have && chmod 0700 /have && ln -s /have /link
ENV D=var
WORKDIR a
WORKDIR b/../c
WORKDIR $D/${D}2
RUN pwd > /pwd1
WORKDIR /have
WORKDIR /link/below
RUN pwd > /pwd2
WORKDIR /
WORKDIR /x/
RUN pwd > /pwd3
FROM scratch
COPY --from=0 pwd1 pwd2 pwd3 /r/
COPY --from=0 /have /have
COPY --from=0 /a /a
WORKDIR /y/z
"#,
    );
    built
        .has(expect![[r#"
        a/ 755 0:0
        a/c/ 755 0:0
        a/c/var/ 755 0:0
        a/c/var/var2/ 755 0:0
        have/ 755 0:0
        have/below/ 755 0:0
        r/ 755 0:0
        r/pwd1 644 0:0 "/a/c/var/var2\n"
        r/pwd2 644 0:0 "/have/below\n"
        r/pwd3 644 0:0 "/x\n"
        y/ 755 0:0
        y/z/ 755 0:0
    "#]])
        .is(expect![[r#"
        Env []
        WorkingDir "/y/z"
    "#]]);
}

#[test]
fn a_step_without_network_has_loopback_alone() {
    let Some(case) = Case::new() else { return };
    let built = case.build("FROM busybox\nRUN --network=none ls /sys/class/net > /none; ip -o addr 2>/dev/null | grep -c 127.0.0.1 >> /none\nRUN --network=default ls /sys/class/net | grep -c . > /dev/null\n");
    built.has(expect![[r#"
        dev/ 755 0:0
        none 644 0:0 "lo\n1\n"
        proc/ 755 0:0
        sys/ 755 0:0
    "#]]);
    case.fails("FROM busybox\nRUN --network=host true\n", &["Dockerfile:2", "network.host"]);
    case.fails("FROM busybox\nRUN --network=other true\n", &["Dockerfile:2"]);
    case.fails("FROM busybox\nRUN --security=insecure true\n", &["Dockerfile:2", "security.insecure"]);
    case.fails("FROM busybox\nRUN exit 7\n", &["Dockerfile:2", "exit code 7"]);
    case.fails("FROM busybox\nRUN [\"/no/such/program\"]\n", &["Dockerfile:2"]);
}
