//! COPY and ADD: sources, destinations, wildcards, links, modes and owners.

use std::os::unix::fs::PermissionsExt;

use expect_test::expect;

use super::Case;

const TREE: [(&str, &str); 7] = [
    ("d/a", "a"),
    ("d/sub/b", "b"),
    ("d/sub/c.md", "c"),
    ("e/a", "other a"),
    ("e/only", "only"),
    ("one.txt", "one"),
    ("two.txt", "two"),
];

#[test]
fn a_destination_is_a_file_or_a_directory_by_its_slash_and_what_is_there() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&TREE);
    let built = case.build(
        r#"FROM scratch
COPY one.txt /file
COPY one.txt /dir/
COPY one.txt /dot/.
COPY one.txt two.txt /several/
COPY one.txt two.txt /last
COPY d /contents
COPY d/ /contents2/
COPY d e /merged/
COPY e/a /merged/sub
COPY one.txt /
ADD one.txt /added/x
WORKDIR /w
COPY one.txt .
COPY one.txt ./
COPY one.txt rel/f
COPY ["two.txt", "with blank/"]
COPY d/sub/../a ./d/./sub/b /odd/
COPY one.txt ../up
COPY . /w/all/
"#,
    );
    built.has(expect![[r#"
        added/ 755 0:0
        added/x 644 0:0 "one"
        contents/ 755 0:0
        contents/a 644 0:0 "a"
        contents/sub/ 755 0:0
        contents/sub/b 644 0:0 "b"
        contents/sub/c.md 644 0:0 "c"
        contents2/ 755 0:0
        contents2/a 644 0:0 "a"
        contents2/sub/ 755 0:0
        contents2/sub/b 644 0:0 "b"
        contents2/sub/c.md 644 0:0 "c"
        dir/ 755 0:0
        dir/one.txt 644 0:0 "one"
        dot/ 755 0:0
        dot/one.txt 644 0:0 "one"
        file 644 0:0 "one"
        last 644 0:0 "two"
        merged/ 755 0:0
        merged/a 644 0:0 "other a"
        merged/only 644 0:0 "only"
        merged/sub/ 755 0:0
        merged/sub/a 644 0:0 "other a"
        merged/sub/b 644 0:0 "b"
        merged/sub/c.md 644 0:0 "c"
        odd/ 755 0:0
        odd/a 644 0:0 "a"
        odd/b 644 0:0 "b"
        one.txt 644 0:0 "one"
        several/ 755 0:0
        several/one.txt 644 0:0 "one"
        several/two.txt 644 0:0 "two"
        up 644 0:0 "one"
        w/ 755 0:0
        w/all/ 755 0:0
        w/all/Dockerfile 644 0:0 "FROM scratch\nCOPY one.txt /file\nCOPY one.txt /dir/\nCOPY one.txt /dot/.\nCOPY one.txt two.txt /several/\nCOPY one.txt two.txt /last\nCOPY d /contents\nCOPY d/ /contents2/\nCOPY d e /merged/\nCOPY e/a /merged/sub\nCOPY one.txt /\nADD one.txt /added/x\nWORKDIR /w\nCOPY one.txt .\nCOPY one.txt ./\nCOPY one.txt rel/f\nCOPY [\"two.txt\", \"with blank/\"]\nCOPY d/sub/../a ./d/./sub/b /odd/\nCOPY one.txt ../up\nCOPY . /w/all/\n"
        w/all/d/ 755 0:0
        w/all/d/a 644 0:0 "a"
        w/all/d/sub/ 755 0:0
        w/all/d/sub/b 644 0:0 "b"
        w/all/d/sub/c.md 644 0:0 "c"
        w/all/e/ 755 0:0
        w/all/e/a 644 0:0 "other a"
        w/all/e/only 644 0:0 "only"
        w/all/one.txt 644 0:0 "one"
        w/all/two.txt 644 0:0 "two"
        w/one.txt 644 0:0 "one"
        w/rel/ 755 0:0
        w/rel/f 644 0:0 "one"
        w/with blank/ 755 0:0
        w/with blank/two.txt 644 0:0 "two"
    "#]]);
}

#[test]
fn wildcards_match_names_and_may_match_nothing() {
    let Some(case) = Case::new() else { return };
    let files = [
        ("a1.txt", "1"),
        ("a2.txt", "2"),
        ("ab.txt", "3"),
        ("x/y1/f.txt", "4"),
        ("x/y2/f.txt", "5"),
        ("x/y2/g.md", "6"),
        ("w[1].txt", "7"),
        ("w1.txt", "8"),
        ("äö.txt", "9"),
    ];
    let case = case.files(&files);
    let built = case.build(
        r#"FROM scratch
COPY a?.txt /q/
COPY a[0-9].txt /r/
COPY a[^12].txt /n/
COPY x/*/f.txt /s/
COPY x/y* /t/
COPY none* /none/
COPY none* a1.txt /some/
COPY w[[]1].txt /e/
COPY ä?.txt /u/
COPY *.txt /all/
COPY x/y?/../y2/g.* /up/
"#,
    );
    built.has(expect![[r#"
        all/ 755 0:0
        all/a1.txt 644 0:0 "1"
        all/a2.txt 644 0:0 "2"
        all/ab.txt 644 0:0 "3"
        all/w1.txt 644 0:0 "8"
        all/w[1].txt 644 0:0 "7"
        all/äö.txt 644 0:0 "9"
        e/ 755 0:0
        e/w[1].txt 644 0:0 "7"
        n/ 755 0:0
        n/ab.txt 644 0:0 "3"
        q/ 755 0:0
        q/a1.txt 644 0:0 "1"
        q/a2.txt 644 0:0 "2"
        q/ab.txt 644 0:0 "3"
        r/ 755 0:0
        r/a1.txt 644 0:0 "1"
        r/a2.txt 644 0:0 "2"
        s/ 755 0:0
        s/f.txt 644 0:0 "5"
        some/ 755 0:0
        some/a1.txt 644 0:0 "1"
        t/ 755 0:0
        t/f.txt 644 0:0 "5"
        t/g.md 644 0:0 "6"
        u/ 755 0:0
        u/äö.txt 644 0:0 "9"
        up/ 755 0:0
        up/g.md 644 0:0 "6"
    "#]]);
    for (step, text) in [
        ("COPY missing /x", "missing"),
        ("COPY d/missing /x", "missing"),
        ("ADD missing /x", "missing"),
        ("COPY --from=0 missing /x", "missing"),
        ("COPY a[ /x", ""),
    ] {
        case.fails(&format!("FROM scratch\nFROM scratch\n{step}\n"), &["Dockerfile:3", text]);
    }
}

#[test]
fn a_link_is_followed_at_the_source_and_kept_below_it() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("d/f", "f"), ("d/sub/g", "g")]).links(&[
        ("to-file", "d/f"),
        ("to-dir", "d"),
        ("absolute", "/d/f"),
        ("chain", "to-file"),
        ("d/inner", "f"),
        ("d/dangling", "nowhere"),
        ("d/out", "../../../etc"),
        ("d/absolute", "/g/f"),
    ]);
    let built = case.build(
        r#"FROM scratch
COPY to-file /a/
COPY to-dir /b
COPY absolute /c
COPY chain /d/name
COPY to-dir/sub /e
COPY to-* /f/
COPY d /g/
FROM scratch
COPY --from=0 /g /h
COPY --from=0 /g/inner /g/absolute /i/
COPY --from=0 /g/a* /j/
"#,
    );
    built.has(expect![[r#"
        h/ 755 0:0
        h/absolute 777 0:0 -> /g/f
        h/dangling 777 0:0 -> nowhere
        h/f 644 0:0 "f"
        h/inner 777 0:0 -> f
        h/out 777 0:0 -> ../../../etc
        h/sub/ 755 0:0
        h/sub/g 644 0:0 "g"
        i/ 755 0:0
        i/absolute 644 0:0 "f"
        i/inner 644 0:0 "f"
        j/ 755 0:0
        j/absolute 644 0:0 "f"
    "#]]);
    case.fails("FROM scratch\nCOPY d/dangling /x\n", &["Dockerfile:2", "/d/dangling"]);
    case.fails("FROM scratch\nCOPY d/dang* /x\n", &["Dockerfile:2", "/d/dangling"]);
}

#[test]
fn a_link_at_the_destination_is_followed_and_a_file_there_is_replaced() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("f", "f"), ("d/x", "x"), ("d/real", "file")]);
    let built = case.build(
        r#"FROM busybox
RUN mkdir -p /t/real /t/private && chmod 0700 /t/private && chown 3:4 /t/private && ln -s real /t/rel && ln -s /t/real /t/abs && \
    ln -s made /t/dangling && ln -s private /t/p && echo old > /t/old && ln -s old /t/to-file && mkdir -p /t/m/sub && chmod 0711 /t/m/sub
COPY f /t/rel/
COPY f /t/abs/second
COPY d /t/p
COPY f /t/to-file
COPY f /t/rel
COPY d /t/abs/
COPY --chown=9:9 d /t/m/sub
COPY --chown=9:9 d /t/m
"#,
    );
    built.has(expect![[r#"
        dev/ 755 0:0
        proc/ 755 0:0
        sys/ 755 0:0
        t/ 755 0:0
        t/abs 777 0:0 -> /t/real
        t/dangling 777 0:0 -> made
        t/m/ 755 0:0
        t/m/real 644 9:9 "file"
        t/m/sub/ 711 0:0
        t/m/sub/real 644 9:9 "file"
        t/m/sub/x 644 9:9 "x"
        t/m/x 644 9:9 "x"
        t/old 644 0:0 "f"
        t/p 777 0:0 -> private
        t/private/ 700 3:4
        t/private/real 644 0:0 "file"
        t/private/x 644 0:0 "x"
        t/real/ 755 0:0
        t/real/f 644 0:0 "f"
        t/real/real 644 0:0 "file"
        t/real/second 644 0:0 "f"
        t/real/x 644 0:0 "x"
        t/rel 777 0:0 -> real
        t/to-file 777 0:0 -> old
    "#]]);
    for step in [
        "RUN mkdir /x\nCOPY f /x/../x/y\nCOPY d /f2\nCOPY f /bin/busybox/f",
        "RUN mkdir /x && mkdir /y && touch /y/x\nCOPY f /etc/passwd/",
    ] {
        case.fails(&format!("FROM busybox\n{step}\n"), &["Dockerfile:"]);
    }
    case.fails("FROM scratch\nCOPY f /x\nCOPY d /x\n", &["Dockerfile:3"]);
    case.fails("FROM scratch\nCOPY d /x/f\nCOPY f /x\nCOPY f /y/f/g\nCOPY f /y\nCOPY d/x /y/f\n", &["Dockerfile:"]);
}

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
fn excluded_and_ignored_files_are_not_there() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[
        ("a.txt", "a"),
        ("b.md", "b"),
        ("d/c.txt", "c"),
        ("d/e/f.txt", "f"),
        ("d/e/g.md", "g"),
        ("ign/h", "h"),
        ("ign/keep/i", "i"),
        ("tmp/x", "x"),
        ("d/tmp/y", "y"),
        ("weird name", "w"),
        (".dockerignore", "\u{feff}# a comment\nign\n!ign/keep\n**/tmp\n  weird name  \n/b.md\n\n!d/tmp/none\n"),
    ]);
    let built = case.build(
        r#"FROM scratch
COPY . /all/
COPY --exclude=*.txt . /top/
COPY --exclude=**/*.txt --exclude=.dockerignore --exclude=Dockerfile . /deep/
COPY --exclude=d/e --exclude=!d/e/g.md d /sub/
COPY --exclude=e --exclude=!e/g.md d /sub2/
COPY --exclude=a.txt *.txt /none/
ADD --exclude=e d /added/
FROM scratch
COPY --from=0 --exclude=**/f.txt / /from0/
"#,
    );
    built.has(expect![[r#"
        from0/ 755 0:0
        from0/added/ 755 0:0
        from0/added/c.txt 644 0:0 "c"
        from0/all/ 755 0:0
        from0/all/.dockerignore 644 0:0 "\u{feff}# a comment\nign\n!ign/keep\n**/tmp\n  weird name  \n/b.md\n\n!d/tmp/none\n"
        from0/all/Dockerfile 644 0:0 "FROM scratch\nCOPY . /all/\nCOPY --exclude=*.txt . /top/\nCOPY --exclude=**/*.txt --exclude=.dockerignore --exclude=Dockerfile . /deep/\nCOPY --exclude=d/e --exclude=!d/e/g.md d /sub/\nCOPY --exclude=e --exclude=!e/g.md d /sub2/\nCOPY --exclude=a.txt *.txt /none/\nADD --exclude=e d /added/\nFROM scratch\nCOPY --from=0 --exclude=**/f.txt / /from0/\n"
        from0/all/a.txt 644 0:0 "a"
        from0/all/d/ 755 0:0
        from0/all/d/c.txt 644 0:0 "c"
        from0/all/d/e/ 755 0:0
        from0/all/d/e/g.md 644 0:0 "g"
        from0/all/ign/ 755 0:0
        from0/all/ign/keep/ 755 0:0
        from0/all/ign/keep/i 644 0:0 "i"
        from0/deep/ 755 0:0
        from0/deep/d/ 755 0:0
        from0/deep/d/e/ 755 0:0
        from0/deep/d/e/g.md 644 0:0 "g"
        from0/deep/ign/ 755 0:0
        from0/deep/ign/keep/ 755 0:0
        from0/deep/ign/keep/i 644 0:0 "i"
        from0/none/ 755 0:0
        from0/none/a.txt 644 0:0 "a"
        from0/sub/ 755 0:0
        from0/sub/c.txt 644 0:0 "c"
        from0/sub/e/ 755 0:0
        from0/sub/e/g.md 644 0:0 "g"
        from0/sub2/ 755 0:0
        from0/sub2/c.txt 644 0:0 "c"
        from0/sub2/e/ 755 0:0
        from0/sub2/e/g.md 644 0:0 "g"
        from0/top/ 755 0:0
        from0/top/.dockerignore 644 0:0 "\u{feff}# a comment\nign\n!ign/keep\n**/tmp\n  weird name  \n/b.md\n\n!d/tmp/none\n"
        from0/top/Dockerfile 644 0:0 "FROM scratch\nCOPY . /all/\nCOPY --exclude=*.txt . /top/\nCOPY --exclude=**/*.txt --exclude=.dockerignore --exclude=Dockerfile . /deep/\nCOPY --exclude=d/e --exclude=!d/e/g.md d /sub/\nCOPY --exclude=e --exclude=!e/g.md d /sub2/\nCOPY --exclude=a.txt *.txt /none/\nADD --exclude=e d /added/\nFROM scratch\nCOPY --from=0 --exclude=**/f.txt / /from0/\n"
        from0/top/d/ 755 0:0
        from0/top/d/c.txt 644 0:0 "c"
        from0/top/d/e/ 755 0:0
        from0/top/d/e/g.md 644 0:0 "g"
        from0/top/ign/ 755 0:0
        from0/top/ign/keep/ 755 0:0
        from0/top/ign/keep/i 644 0:0 "i"
    "#]]);
    for source in ["ign/h", "b.md", "tmp", "d/tmp/y"] {
        case.fails(&format!("FROM scratch\nCOPY {source} /x\n"), &["Dockerfile:2"]);
    }
    let own = case.files(&[("Dockerfile.dockerignore", "*\n!a.txt\n")]);
    own.build("FROM scratch\nCOPY . /\n").has(expect![[r#"
        a.txt 644 0:0 "a"
    "#]]);
    let bad = own.files(&[("Dockerfile.dockerignore", "a[\n")]);
    bad.fails("FROM scratch\nCOPY . /\n", &["a["]);
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

#[test]
fn archives_are_unpacked_unless_told_otherwise() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("src/in/f", "f"), ("src/g", "g"), ("plain", "no archive")]).links(&[("src/l", "in/f")]);
    let ctx = case.project.path().join("ctx");
    let tar = |flag: &str, name: &str| {
        let flags =
            ["--owner=1", "--group=2", "--mtime=@7", "--mode=0640", "--sort=name", "-C", "src", flag, "-cf", name];
        let done = std::process::Command::new("tar").current_dir(&ctx).args(flags).args(["in/f", "g", "l"]).status();
        assert!(done.expect("tar starts").success(), "{name}");
    };
    for (flag, name) in
        [("--no-xattrs", "a.tar"), ("-z", "a.tgz"), ("-j", "a.tbz2"), ("-J", "a.tar.xz"), ("--zstd", "zst")]
    {
        tar(flag, name);
    }
    std::process::Command::new("gzip").current_dir(&ctx).args(["-nk", "plain"]).status().expect("gzip starts");
    let built = case.build(
        r#"FROM scratch
ADD a.tar /tar/
ADD a.tgz /gz
ADD a.tbz2 /bz2
ADD a.tar.xz /xz
ADD zst /zst
ADD --chown=8:9 a.tar /owned/
ADD --chmod=0777 a.tar /mode/
ADD a.t* /both/
ADD plain.gz /plain/
ADD --unpack=false plain.gz plain /kept/
COPY plain.gz /copied/
ADD --unpack=true a.tar plain /told/
"#,
    );
    built.has(expect![[r#"
        both/ 755 0:0
        both/g 640 1:2 "g"
        both/in/ 755 0:0
        both/in/f 640 1:2 "f"
        both/l 777 1:2 -> in/f
        bz2/ 755 0:0
        bz2/g 640 1:2 "g"
        bz2/in/ 755 0:0
        bz2/in/f 640 1:2 "f"
        bz2/l 777 1:2 -> in/f
        copied/ 755 0:0
        copied/plain.gz 644 0:0 "\u{1f}�\u{8}\0\0\0\0\0\0\u{3}��WH,J��,K\u{5}\0t�\u{1e}\n\0\0\0"
        gz/ 755 0:0
        gz/g 640 1:2 "g"
        gz/in/ 755 0:0
        gz/in/f 640 1:2 "f"
        gz/l 777 1:2 -> in/f
        kept/ 755 0:0
        kept/plain 644 0:0 "no archive"
        kept/plain.gz 644 0:0 "\u{1f}�\u{8}\0\0\0\0\0\0\u{3}��WH,J��,K\u{5}\0t�\u{1e}\n\0\0\0"
        mode/ 755 0:0
        mode/g 640 1:2 "g"
        mode/in/ 755 0:0
        mode/in/f 640 1:2 "f"
        mode/l 777 1:2 -> in/f
        owned/ 755 8:9
        owned/g 640 8:9 "g"
        owned/in/ 755 0:0
        owned/in/f 640 8:9 "f"
        owned/l 777 8:9 -> in/f
        plain/ 755 0:0
        plain/plain.gz 644 0:0 "\u{1f}�\u{8}\0\0\0\0\0\0\u{3}��WH,J��,K\u{5}\0t�\u{1e}\n\0\0\0"
        tar/ 755 0:0
        tar/g 640 1:2 "g"
        tar/in/ 755 0:0
        tar/in/f 640 1:2 "f"
        tar/l 777 1:2 -> in/f
        told/ 755 0:0
        told/g 640 1:2 "g"
        told/in/ 755 0:0
        told/in/f 640 1:2 "f"
        told/l 777 1:2 -> in/f
        told/plain 644 0:0 "no archive"
        xz/ 755 0:0
        xz/g 640 1:2 "g"
        xz/in/ 755 0:0
        xz/in/f 640 1:2 "f"
        xz/l 777 1:2 -> in/f
        zst/ 755 0:0
        zst/g 640 1:2 "g"
        zst/in/ 755 0:0
        zst/in/f 640 1:2 "f"
        zst/l 777 1:2 -> in/f
    "#]]);
    let kept = case.build("FROM scratch\nADD --unpack=false a.tar /kept/\nCOPY a.tgz /copied/x\n");
    assert!(kept.files.contains_key("kept/a.tar") && kept.files.contains_key("copied/x"), "{:?}", kept.files);
}
