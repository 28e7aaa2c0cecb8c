//! COPY and ADD: sources, destinations, wildcards, links, what is left out, archives.

use expect_test::expect;

use super::{Case, TREE};

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
