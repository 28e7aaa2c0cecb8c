//! COPY and ADD where links, sockets, odd names and directories that are there already meet.

use std::os::unix::net::UnixListener;

use expect_test::expect;

use super::Case;

/// An archive: names with their text, `-> target` for a symbolic link, `= name` for a hard link, `/` at the end for a
/// directory.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(7);
        header.set_size(0);
        let link = text.strip_prefix("-> ").or_else(|| text.strip_prefix("= "));
        match link {
            Some(target) => {
                let kind = if text.starts_with('-') { tar::EntryType::Symlink } else { tar::EntryType::Link };
                header.set_entry_type(kind);
                tar.append_link(&mut header, name, target).expect("written");
            }
            None if name.ends_with('/') => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, name, &[][..]).expect("written");
            }
            None => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).expect("written");
            }
        }
    }
    tar.into_inner().expect("written")
}

impl Case {
    fn archive(self, name: &str, entries: &[(&str, &str)]) -> Case {
        let path = self.project.path().join("ctx");
        std::fs::create_dir_all(&path).expect("created");
        std::fs::write(path.join(name), archive(entries)).expect("written");
        self
    }
}

#[test]
fn links_in_the_context_and_in_a_stage_are_followed_where_they_are_named() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[
        ("bar", "bar-contents"),
        ("sub/lfile", "lfile-contents"),
        ("sub/subfile", "subfile-contents"),
        ("sub/baz", "baz-contents"),
        ("foodir/x", "x"),
    ]);
    let case = case.links(&[
        ("foo", "bar"),
        ("sub/l0", "subfile"),
        ("sub/l1", "second"),
        ("sub/second", "baz"),
        ("link", "sub"),
        ("foodir/up", "../bar"),
    ]);
    let built = case.build(
        r#"FROM busybox AS build
RUN mkdir -p /out/sub && ln -s /out/sub /sub && ln -s out/sub /sub2 && echo -n "data" > /sub/foo
FROM scratch
COPY foo /
COPY sub/l* alllinks/
COPY link/lfile through/
COPY foodir /foodir
COPY foodir/up followed
COPY --from=build /sub/foo stage
COPY --from=build /sub2/foo relative
"#,
    );
    built.has(expect![[r#"
        alllinks/ 755 0:0
        alllinks/l0 644 0:0 "subfile-contents"
        alllinks/l1 644 0:0 "baz-contents"
        alllinks/lfile 644 0:0 "lfile-contents"
        followed 644 0:0 "bar-contents"
        foo 644 0:0 "bar-contents"
        foodir/ 755 0:0
        foodir/up 777 0:0 -> ../bar
        foodir/x 644 0:0 "x"
        relative 644 0:0 "data"
        stage 644 0:0 "data"
        through/ 755 0:0
        through/lfile 644 0:0 "lfile-contents"
    "#]]);
}

#[test]
fn a_socket_becomes_an_empty_file_and_names_are_any_bytes_of_a_path() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("test-äöü.txt", "foo"), ("test-%C3%A4%C3%B6%C3%BC.txt", "bar"), ("test+aou.txt", "baz")]);
    let _socket = UnixListener::bind(case.project.path().join("ctx/socket.sock")).expect("bound");
    let built = case.build(
        "FROM scratch\nCOPY test-äöü.txt /\nCOPY test-%C3%A4%C3%B6%C3%BC.txt /\nCOPY test+aou.txt /\nCOPY socket.sock /s/\n\
         COPY . /all/\n",
    );
    built.has(expect![[r#"
        all/ 755 0:0
        all/Dockerfile 644 0:0 "FROM scratch\nCOPY test-äöü.txt /\nCOPY test-%C3%A4%C3%B6%C3%BC.txt /\nCOPY test+aou.txt /\nCOPY socket.sock /s/\nCOPY . /all/\n"
        all/socket.sock 755 0:0 ""
        all/test+aou.txt 644 0:0 "baz"
        all/test-%C3%A4%C3%B6%C3%BC.txt 644 0:0 "bar"
        all/test-äöü.txt 644 0:0 "foo"
        s/ 755 0:0
        s/socket.sock 755 0:0 ""
        test+aou.txt 644 0:0 "baz"
        test-%C3%A4%C3%B6%C3%BC.txt 644 0:0 "bar"
        test-äöü.txt 644 0:0 "foo"
    "#]]);
}

#[test]
fn owners_of_directories_that_are_there_stay_and_new_ones_are_those_of_the_copy() {
    let Some(case) = Case::new() else { return };
    let dockerfile = |flag: &str| {
        format!(
            r#"FROM busybox AS source
RUN touch /file && chown 100:200 /file && mkdir -p /dir/subdir && touch /dir/subdir/nestedfile && chown 100:200 /dir \
 && chown 101:201 /dir/subdir && chown 102:202 /dir/subdir/nestedfile
FROM busybox AS base
RUN mkdir -p /existingdir/existingsubdir && touch /existingdir/existingfile && chown 500:600 /existingdir \
 && chown 501:601 /existingdir/existingsubdir && chown 501:601 /existingdir/existingfile
FROM base
COPY --from=source {flag} /file .
COPY --from=source {flag} /dir /dir
COPY --from=source {flag} /dir/. /existingdir
"#
        )
    };
    let owners = |flag: &str| {
        let built = case.build(dockerfile(flag));
        let is_ours = |name: &&String| ["file", "dir/", "existingdir"].iter().any(|start| name.starts_with(start));
        let names = built.files.keys().filter(is_ours);
        let owner = |name| built.files[name].split(' ').nth(1).unwrap_or_default().to_owned();
        names.map(|name| format!("{name} {}\n", owner(name))).collect::<String>()
    };
    expect![[r#"
        dir/ 0:0
        dir/subdir/ 101:201
        dir/subdir/nestedfile 102:202
        existingdir/ 500:600
        existingdir/existingfile 501:601
        existingdir/existingsubdir/ 501:601
        existingdir/subdir/ 101:201
        existingdir/subdir/nestedfile 102:202
        file 100:200
    "#]]
    .assert_eq(&owners(""));
    expect![[r#"
        dir/ 300:400
        dir/subdir/ 300:400
        dir/subdir/nestedfile 300:400
        existingdir/ 500:600
        existingdir/existingfile 501:601
        existingdir/existingsubdir/ 501:601
        existingdir/subdir/ 300:400
        existingdir/subdir/nestedfile 300:400
        file 300:400
    "#]]
    .assert_eq(&owners("--chown=300:400"));
}

#[test]
fn a_destination_may_be_empty_and_a_stages_path_counts_from_its_root() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("testfile", "contents0")]);
    let built = case.build(
        r#"FROM busybox AS base
WORKDIR /foo
COPY testfile /top
FROM busybox
ENV empty=""
COPY testfile $empty
WORKDIR /var/www
COPY --link testfile .
WORKDIR /var/other
COPY --link testfile $empty
COPY --from=base top /from-root
RUN for user in user01:1001 user:1002; do name=${user%:*} id=${user#*:}; \
 echo "$name:x:$id:$id::/:/bin/sh" >> /etc/passwd; echo "$name:x:$id:" >> /etc/group; done
ARG group=user
ENV owner=user01
COPY --chown=user:user testfile /dest/
COPY --chown=${owner}:${group} testfile /dest01/
RUN stat -c '%U %G' /dest /dest01 > /owners
USER user
WORKDIR /mydir
RUN stat -c '%U %G' /mydir > mine
USER root
RUN mkdir /other && chown user:user /other
WORKDIR /other
"#,
    );
    let files =
        ["testfile", "var/www/testfile", "var/other/testfile", "from-root", "owners", "mydir/mine", "mydir/", "other/"];
    let lines = files.map(|name| format!("{name} {}\n", built.files[name]));
    expect![[r#"
        testfile 644 0:0 "contents0"
        var/www/testfile 644 0:0 "contents0"
        var/other/testfile 644 0:0 "contents0"
        from-root 644 0:0 "contents0"
        owners 644 0:0 "user extra\nuser01 extra\n"
        mydir/mine 644 1002:1002 "user extra\n"
        mydir/ 755 1002:1002
        other/ 755 1002:1002
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn archives_go_through_links_and_into_directories_that_are_there() {
    let Some(case) = Case::new() else { return };
    let head = "var/run/act/.git/HEAD";
    let case = case
        .archive("rootfs.tar", &[("run/", ""), ("var/", ""), ("var/run", "-> /run"), ("etc/dnf/", "")])
        .archive(
            "payload.tar",
            &[
                ("var/run/act/", ""),
                ("var/run/act/.git/", ""),
                (head, "ref: refs/heads/main\n"),
                ("var/run/act/.git/HEAD.link", &format!("= {head}")),
                ("etc/dnf/dnf.conf", "content0"),
                ("implied/parent/file", "content1"),
            ],
        )
        .archive("link.tar", &[("symlink", "-> ../tmp/symlink-target")])
        .archive("one.wild", &[("foo", "content0")])
        .archive("two.wild", &[("bar", "content1")])
        .files(&[("foo", "content0")]);
    let built = case.build(
        "FROM scratch\nADD rootfs.tar /\nADD payload.tar /\nADD link.tar /\nCOPY foo /symlink/\nADD *.wild /dest\n",
    );
    built.has(expect![[r#"
        dest/ 755 0:0
        dest/bar 755 0:0 "content1"
        dest/foo 755 0:0 "content0"
        etc/dnf/ 755 0:0
        etc/dnf/dnf.conf 755 0:0 "content0"
        implied/ 755 0:0
        implied/parent/ 755 0:0
        implied/parent/file 755 0:0 "content1"
        run/ 755 0:0
        run/act/ 755 0:0
        run/act/.git/ 755 0:0
        run/act/.git/HEAD 755 0:0 "ref: refs/heads/main\n"
        run/act/.git/HEAD.link 755 0:0 = run/act/.git/HEAD
        symlink 777 0:0 -> ../tmp/symlink-target
        tmp/symlink-target/ 755 0:0
        tmp/symlink-target/foo 644 0:0 "content0"
        var/ 755 0:0
        var/run 777 0:0 -> /run
    "#]]);
}

#[test]
fn patterns_of_exclude_mean_the_same_in_a_context_a_repository_and_a_stage() {
    use crate::support::http::{Answer, Http, Repository};
    let Some(case) = Case::new() else { return };
    let tree = [
        ("dir1/file-101.png", "2"),
        ("dir1/file-102.txt", "3"),
        ("dir2/file-201.pdf", "6"),
        ("dir2/file-202.jpeg", "7"),
        ("dir3/file-301.mp3", "9"),
        ("dir3/file-302.mpeg", "10"),
        ("dir4/file-401.txt", "11"),
        ("dir4/file-402.txt", "-> file-401.txt"),
        ("dir4/file-403.txt", "-> file-404.txt"),
    ];
    let repository = Repository::new(case.project.home(), "repo.git");
    repository.commit(&tree);
    let http = Http::start(vec![("/", Answer::Git(case.project.home().to_owned(), None))]);
    let (links, files): (Vec<_>, Vec<_>) = tree.into_iter().partition(|(_, text)| text.starts_with("-> "));
    let links: Vec<(&str, &str)> = links.into_iter().map(|(name, text)| (name, &text[3..])).collect();
    let case = case.files(&files).links(&links);
    let copies = |from: &str| {
        format!(
            "FROM scratch\nCOPY {from} --exclude=*/*.png --exclude=*/*.jpeg --exclude=Dockerfile . /1\n\
             COPY {from} --exclude=*/*.pdf --exclude=*/*.txt --exclude=Dockerfile . /2\n\
             COPY {from} --exclude=*.mp3 dir3/ /3/\n\
             COPY {from} --exclude=*.mp3 --exclude=*.jpeg --exclude=*.png --exclude=*.pdf --exclude=*.txt dir* /4/\n\
             COPY {from} --exclude=*.mp* --exclude=*.jpeg --exclude=*.png --exclude=*.pdf dir* /5\n\
             COPY {from} --exclude=* dir* /6\n"
        )
    };
    let expected = case.build(copies("")).files;
    let shown: String = expected.iter().map(|(name, line)| format!("{name} {line}\n")).collect();
    expect![[r#"
        1/ 755 0:0
        1/dir1/ 755 0:0
        1/dir1/file-102.txt 644 0:0 "3"
        1/dir2/ 755 0:0
        1/dir2/file-201.pdf 644 0:0 "6"
        1/dir3/ 755 0:0
        1/dir3/file-301.mp3 644 0:0 "9"
        1/dir3/file-302.mpeg 644 0:0 "10"
        1/dir4/ 755 0:0
        1/dir4/file-401.txt 644 0:0 "11"
        1/dir4/file-402.txt 777 0:0 -> file-401.txt
        1/dir4/file-403.txt 777 0:0 -> file-404.txt
        2/ 755 0:0
        2/dir1/ 755 0:0
        2/dir1/file-101.png 644 0:0 "2"
        2/dir2/ 755 0:0
        2/dir2/file-202.jpeg 644 0:0 "7"
        2/dir3/ 755 0:0
        2/dir3/file-301.mp3 644 0:0 "9"
        2/dir3/file-302.mpeg 644 0:0 "10"
        2/dir4/ 755 0:0
        3/ 755 0:0
        3/file-302.mpeg 644 0:0 "10"
        4/ 755 0:0
        4/file-302.mpeg 644 0:0 "10"
        5/ 755 0:0
        5/file-102.txt 644 0:0 "3"
        5/file-401.txt 644 0:0 "11"
        5/file-402.txt 777 0:0 -> file-401.txt
        5/file-403.txt 777 0:0 -> file-404.txt
        6/ 755 0:0
    "#]]
    .assert_eq(&shown);
    let base = format!("FROM scratch AS base\nADD http://{}/repo.git#main /\n", http.host);
    assert_eq!(case.build(base + &copies("--from=base")).files, expected);
}
