//! COPY and ADD: owners and modes.

use std::os::unix::fs::PermissionsExt;

use expect_test::expect;

use super::{Case, TREE};

#[test]
fn owners_are_names_or_numbers_of_the_image_and_go_to_all_that_is_made() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&TREE);
    let built = case.build(
        r#"FROM busybox
RUN echo 'who:x:1000:2000::/home/who:/bin/sh' >> /etc/passwd && echo 'team:x:3000:' >> /etc/group && mkdir /there
ARG OWNER=who
COPY --chown=who one.txt /a/
COPY --chown=who:team one.txt /b/c/
COPY --chown=7 one.txt /d/
COPY --chown=7:8 one.txt /e
COPY --chown=:team one.txt /f/
COPY --chown=nobody-knows one.txt /g
COPY --chown=$OWNER:9 d /h
COPY --chown=5:5 d /there
ADD --chown=6:7 d/sub /i
COPY --chown=1001:team --chmod=0750 d /j/k
"#,
    );
    built.has(expect![[r#"
        a/ 755 1000:2000
        a/one.txt 644 1000:2000 "one"
        b/ 755 1000:3000
        b/c/ 755 1000:3000
        b/c/one.txt 644 1000:3000 "one"
        d/ 755 7:7
        d/one.txt 644 7:7 "one"
        dev/ 755 0:0
        e 644 7:8 "one"
        etc/group 644 0:0 "root:x:0:\napp:x:1000:\nextra:x:1002:app\nteam:x:3000:\n"
        etc/passwd 644 0:0 "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nwho:x:1000:2000::/home/who:/bin/sh\n"
        f/ 755 0:3000
        f/one.txt 644 0:3000 "one"
        g 644 0:0 "one"
        h/ 755 1000:9
        h/a 644 1000:9 "a"
        h/sub/ 755 1000:9
        h/sub/b 644 1000:9 "b"
        h/sub/c.md 644 1000:9 "c"
        i/ 755 6:7
        i/b 644 6:7 "b"
        i/c.md 644 6:7 "c"
        j/ 750 1001:3000
        j/k/ 750 1001:3000
        j/k/a 750 1001:3000 "a"
        j/k/sub/ 750 1001:3000
        j/k/sub/b 750 1001:3000 "b"
        j/k/sub/c.md 750 1001:3000 "c"
        proc/ 755 0:0
        sys/ 755 0:0
        there/ 755 0:0
        there/a 644 5:5 "a"
        there/sub/ 755 5:5
        there/sub/b 644 5:5 "b"
        there/sub/c.md 644 5:5 "c"
    "#]]);
}

#[test]
fn modes_are_octal_or_symbolic() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&TREE).files(&[("run.sh", "#!/bin/sh\n")]).links(&[("d/link", "a")]);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(case.project.path().join("ctx/run.sh"), mode).expect("set");
    let built = case.build(
        r#"FROM scratch
ARG MODE=0604
COPY --chmod=755 one.txt /a/
COPY --chmod=4711 one.txt /b
COPY --chmod=1777 d /c/
COPY --chmod=0640 d /d
COPY --chmod=$MODE one.txt /e
COPY --chmod=u=rw,go=r run.sh /f
COPY --chmod=a+X d /g
COPY --chmod=u=rwX,go=rX d /h/
COPY --chmod=go-rwx run.sh d /i/
COPY --chmod=+x one.txt /j
ADD --chmod=400 one.txt /k/
COPY --chmod=u+s,g+s run.sh /l
COPY run.sh /m
COPY --chmod=o=u one.txt /n
COPY --chmod=0 one.txt /o
"#,
    );
    built.has(expect![[r##"
        a/ 755 0:0
        a/one.txt 755 0:0 "one"
        b 4711 0:0 "one"
        c/ 777 0:0
        c/a 1777 0:0 "a"
        c/link 777 0:0 -> a
        c/sub/ 1777 0:0
        c/sub/b 1777 0:0 "b"
        c/sub/c.md 1777 0:0 "c"
        d/ 640 0:0
        d/a 640 0:0 "a"
        d/link 777 0:0 -> a
        d/sub/ 640 0:0
        d/sub/b 640 0:0 "b"
        d/sub/c.md 640 0:0 "c"
        e 604 0:0 "one"
        f 644 0:0 "#!/bin/sh\n"
        g/ 755 0:0
        g/a 644 0:0 "a"
        g/link 777 0:0 -> a
        g/sub/ 755 0:0
        g/sub/b 644 0:0 "b"
        g/sub/c.md 644 0:0 "c"
        h/ 755 0:0
        h/a 644 0:0 "a"
        h/link 777 0:0 -> a
        h/sub/ 755 0:0
        h/sub/b 644 0:0 "b"
        h/sub/c.md 644 0:0 "c"
        i/ 755 0:0
        i/a 600 0:0 "a"
        i/link 777 0:0 -> a
        i/run.sh 700 0:0 "#!/bin/sh\n"
        i/sub/ 700 0:0
        i/sub/b 600 0:0 "b"
        i/sub/c.md 600 0:0 "c"
        j 755 0:0 "one"
        k/ 400 0:0
        k/one.txt 400 0:0 "one"
        l 6755 0:0 "#!/bin/sh\n"
        m 755 0:0 "#!/bin/sh\n"
        n 646 0:0 "one"
        o 0 0:0 "one"
    "##]]);
    for mode in ["99", "78", "0888", "u=q", "10000", "rwx"] {
        case.fails(&format!("FROM scratch\nCOPY --chmod={mode} one.txt /a\n"), &["Dockerfile:2"]);
        case.fails(&format!("FROM scratch\nADD --chmod={mode} one.txt /a\n"), &["Dockerfile:2"]);
    }
}

#[test]
fn modes_links_and_owners_of_a_stage_stay_as_they_are() {
    let Some(case) = Case::new() else { return };
    let built = case.build(
        r#"FROM busybox AS made
RUN mkdir -p /t/sticky /t/empty/er && chmod 1777 /t/sticky && chmod 0700 /t/empty && echo s > /t/suid && chown 5:6 /t/suid && chmod 6755 /t/suid && \
    ln /t/suid /t/hard && ln -s suid /t/soft && chown -h 7:8 /t/soft && mkfifo -m 0622 /t/pipe && touch /t/none && chmod 0 /t/none
FROM scratch
COPY --from=made /t /u
COPY --from=made /t/suid /t/hard /v/
COPY --from=made --chown=9:9 /t/suid /t/soft /w/
COPY --from=made --chmod=0600 /t /x/
COPY --from=made /t/empty /y
COPY --from=made t/none z
"#,
    );
    built.has(expect![[r#"
        u/ 755 0:0
        u/empty/ 700 0:0
        u/empty/er/ 755 0:0
        u/hard 6755 5:6 "s\n"
        u/none 0 0:0 ""
        u/pipe 622 0:0 Fifo (0, 0)
        u/soft 777 7:8 -> suid
        u/sticky/ 1777 0:0
        u/suid 6755 5:6 = u/hard
        v/ 755 0:0
        v/hard 6755 5:6 "s\n"
        v/suid 6755 5:6 "s\n"
        w/ 755 9:9
        w/soft 6755 9:9 "s\n"
        w/suid 6755 9:9 "s\n"
        x/ 600 0:0
        x/empty/ 600 0:0
        x/empty/er/ 600 0:0
        x/hard 600 5:6 "s\n"
        x/none 600 0:0 ""
        x/pipe 600 0:0 Fifo (0, 0)
        x/soft 777 7:8 -> suid
        x/sticky/ 600 0:0
        x/suid 600 5:6 = x/hard
        y/ 755 0:0
        y/er/ 755 0:0
        z 0 0:0 ""
    "#]]);
}
