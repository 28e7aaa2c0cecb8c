//! ADD of URLs and git repositories: a real HTTP server and a real `git http-backend` on loopback.

use crate::support::http::{Answer, Http, Repository};
use crate::support::{Project, Ran, listing, run};

const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";

/// A project that builds `dockerfile` into the archive `out.tar`; `more` is said of its target.
fn project(dockerfile: &str, more: &str) -> Project {
    let project = Project::alone();
    project.write("build.hcl", &format!("target \"default\" {{\n  output = [\"type=tar,dest=out.tar\"]\n{more}}}\n"));
    project.write("Dockerfile", dockerfile);
    project
}

fn out(project: &Project) -> String {
    listing(&project.path().join("out.tar"))
}

/// Returns a file of the archive.
fn content(project: &Project, name: &str) -> String {
    let archive = project.path().join("out.tar").display().to_string();
    run("tar", &["-xOf", &archive, name]).succeeds().stdout
}

/// Returns the modification time of a file in the archive.
fn time(project: &Project, name: &str) -> String {
    let archive = project.path().join("out.tar").display().to_string();
    let line = run("tar", &["--utc", "--full-time", "-tvf", &archive, name]).succeeds().stdout;
    line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" ")
}

fn build_at(project: &Project, epoch: &str) -> Ran {
    let ran: Ran = project.command(&["build"]).env("SOURCE_DATE_EPOCH", epoch).output().expect("bake starts").into();
    ran.succeeds()
}

/// Serves what the file `served` of a project's home has at the time.
fn serve(project: &Project, text: &str) -> Http {
    let file = project.home().join("served");
    std::fs::write(&file, text).expect("written");
    Http::start(vec![("/old/", Answer::Redirect("/f/a%20b.txt".to_owned())), ("/f", Answer::Changing(file, MODIFIED))])
}

#[test]
fn a_url_is_a_file_named_by_its_last_part_with_the_servers_time() {
    let project = project("", "");
    let http = serve(&project, "hello");
    let host = &http.host;
    project.write(
        "Dockerfile",
        &format!(
            "FROM scratch\nADD http://{host}/f/a%20b.txt?x=y/z /d/\nADD http://{host}/old/x /as-named\n\
             ADD --chmod=u+x --chown=5:6 http://{host}/f/x /d/\nADD --chmod=0644 http://{host}/f http://{host}/ /e/\n"
        ),
    );
    let ran = project.bake(&["build"]).fails(5);
    assert!(ran.stderr.contains("404") && ran.stderr.contains("Dockerfile:5"), "{}", ran.stderr);
    project.write("Dockerfile", &project.read("Dockerfile").replace(&format!(" http://{host}/ /e/"), " /e/"));
    build_at(&project, "1000000000");
    let expected = "-rw------- 0/0 as-named\n\
                    drwxr-xr-x 0/0 d/\n\
                    -rw------- 0/0 d/a b.txt\n\
                    -rwx------ 5/6 d/x\n\
                    drw-r--r-- 0/0 e/\n\
                    -rw-r--r-- 0/0 e/f\n";
    assert_eq!(out(&project), expected);
    assert_eq!(content(&project, "as-named"), "hello");
    assert_eq!(time(&project, "d/a b.txt"), "1994-11-15 12:45:26");
    // No layer holds a later time than the build's own.
    build_at(&project, "700000000");
    assert_eq!(time(&project, "d/a b.txt"), "1992-03-07 20:26:40");
}

#[test]
fn what_did_not_change_is_not_downloaded_again_and_what_did_is() {
    let project = project("", "");
    let http = serve(&project, "first");
    project.write("Dockerfile", &format!("FROM scratch\nADD http://{}/f /d/\nCOPY build.hcl /d/\n", http.host));
    assert!(!project.bake(&["build"]).succeeds().ran_nothing());
    assert_eq!(http.sent(), 5);
    let lock = || std::fs::read_to_string(project.path().join("bake.lock")).unwrap_or_default();
    let first = lock();
    let again = project.bake(&["build"]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
    assert_eq!(http.sent(), 5, "the server said 304");
    std::fs::write(project.home().join("served"), "second!").expect("written");
    assert!(!project.bake(&["build"]).succeeds().ran_nothing());
    assert_eq!((http.sent(), content(&project, "d/f").as_str()), (12, "second!"));
    assert!(lock() != first || first.is_empty(), "{first}");
}

#[test]
fn a_checksum_is_checked_and_one_that_is_known_asks_nobody() {
    let project = project("", "");
    let http = serve(&project, "hello");
    let sha256 = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let add = |checksum: &str| {
        let add =
            format!("FROM scratch\nARG SUM={checksum}\n# A comment.\nADD --checksum=$SUM http://{}/f /d/\n", http.host);
        project.write("Dockerfile", &add);
    };
    add(&sha256.replace("2cf", "3cf"));
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains(sha256) && ran.stderr.contains("sha256:3cf24dba"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Dockerfile:4"), "{}", ran.stderr);
    add(sha256);
    project.bake(&["build"]).succeeds();
    let n_asked = http.asked().len();
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    assert_eq!(http.asked().len(), n_asked);
    let sha512 = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c\
                  4663475c2e5c3adef46f73bcdec043";
    add(&sha512.replace("9b71", "9b72"));
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains(sha512), "{}", ran.stderr);
    add(sha512);
    project.bake(&["build"]).succeeds();
}

#[test]
fn a_downloaded_archive_is_unpacked_only_when_asked() {
    let project = project("", "");
    project.write("t/x/y", "in the archive");
    let archive = project.home().join("served");
    run(
        "tar",
        &[
            "--owner=3",
            "--group=4",
            "-czf",
            &archive.display().to_string(),
            "-C",
            &project.path().join("t").display().to_string(),
            "x",
        ],
    )
    .succeeds();
    let http = Http::start(vec![("/f", Answer::Changing(archive, MODIFIED))]);
    project.write("Dockerfile", &format!("FROM scratch\nADD http://{}/f.tgz /d/\n", http.host));
    project.bake(&["build"]).succeeds();
    assert_eq!(out(&project), "drwxr-xr-x 0/0 d/\n-rw------- 0/0 d/f.tgz\n");
    project.write("Dockerfile", &format!("FROM scratch\nADD --unpack=true http://{}/f.tgz /d/\n", http.host));
    project.bake(&["build"]).succeeds();
    assert_eq!(out(&project), "drwxr-xr-x 0/0 d/\ndrwxr-xr-x 3/4 d/x/\n-rw-r--r-- 3/4 d/x/y\n");
}

#[test]
fn a_secret_for_a_url_goes_to_its_host_alone_and_is_kept_nowhere() {
    let other = Http::start(vec![("/", Answer::File(b"not for you".to_vec()))]);
    let away: &'static str = Box::leak(format!("http://{}/there", other.host).into_boxed_str());
    let http = Http::start(vec![
        ("/away", Answer::Redirect(away.to_owned())),
        ("/private", Answer::Private(b"for you".to_vec(), "Bearer s3cr3t-marker".to_owned())),
    ]);
    let project = project("", "  secret = [\"id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN\"]\n");
    let run_with = |path: &str, token: &str| -> Ran {
        project.write("Dockerfile", &format!("FROM scratch\nADD http://{}{path} /d/\n", http.host));
        project.command(&["build"]).env("TOKEN", token).output().expect("bake starts").into()
    };
    let ran = run_with("/private", "wrong").fails(5);
    assert!(ran.stderr.contains("401") && !ran.stderr.contains("wrong"), "{}", ran.stderr);
    let ran = run_with("/private", "s3cr3t-marker").succeeds();
    assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    assert_eq!(content(&project, "d/private"), "for you");
    run_with("/away", "s3cr3t-marker").succeeds();
    assert!(other.asked().iter().all(|asked| asked == "GET /there"), "{:?}", other.asked());
    for place in [project.store(), project.path()] {
        let found = run("grep", &["-rl", "s3cr3t", &place.display().to_string()]);
        assert_eq!(found.stdout, "");
    }
}

#[test]
fn urls_that_do_not_behave_are_errors_at_their_line() {
    let http = Http::start(vec![
        ("/loop", Answer::Redirect("/loop".to_owned())),
        ("/file", Answer::Redirect("file:///etc/passwd".to_owned())),
        ("/", Answer::File(b"x".to_vec())),
    ]);
    let project = project("", "");
    for (path, words) in [("/loop", "redirects"), ("/file", "only HTTP")] {
        project.write("Dockerfile", &format!("FROM scratch\nADD http://{}{path} /d/\n", http.host));
        let ran = project.bake(&["build"]).fails(5);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("Dockerfile:2"), "{}", ran.stderr);
    }
    // Names that are none, and one that would lead out.
    project.write(
        "Dockerfile",
        &format!("FROM scratch\nADD http://{0}/a/..%2f..%2fb http://{0}/%2e%2e http://{0} /d/\n", http.host),
    );
    project.bake(&["build"]).succeeds();
    let names = "drwxr-xr-x 0/0 d/\n-rw------- 0/0 d/__unnamed__\n-rw------- 0/0 d/b\n-rw------- 0/0 d/download\n";
    assert_eq!(out(&project), names);
}

/// A repository with a directory, a link, a program and a tag, and the server of it.
fn repository(project: &Project) -> (Repository, Http) {
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[("a", "1"), ("sub/b", "2"), ("sub/link", "-> ../a"), ("run.sh", "#!/bin/sh\n")]);
    repository.git(&["update-index", "--chmod=+x", "run.sh"]);
    repository.git(&["commit", "--quiet", "-m", "mode"]);
    repository.git(&["tag", "-a", "v1", "-m", "tag"]);
    repository.git(&["checkout", "--quiet", "--force", "HEAD"]);
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), None))]);
    (repository, http)
}

#[test]
fn a_repository_is_its_files_at_a_ref() {
    let project = project("", "");
    let (repository, http) = repository(&project);
    let commit = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    repository.commit(&[("later", "3")]);
    let url = format!("http://{}/repo.git", http.host);
    let files = "-rw-r--r-- 0/0 d/a\n-rwxr-xr-x 0/0 d/run.sh\ndrwxr-xr-x 0/0 d/sub/\n-rw-r--r-- 0/0 d/sub/b\n\
                 lrwxrwxrwx 0/0 d/sub/link -> ../a\n";
    for reference in ["#v1", &format!("#{commit}"), "?tag=v1", &format!("?ref=v1&checksum={}", &commit[..12])] {
        project.write("Dockerfile", &format!("FROM scratch\nADD {url}{reference} /d\n"));
        project.bake(&["build"]).succeeds();
        assert_eq!(out(&project), format!("drwxr-xr-x 0/0 d/\n{files}"), "{reference}");
    }
    let add = |flags: &str, what: &str| {
        project.write("Dockerfile", &format!("FROM scratch\nADD {flags} {url}{what} /d/\n"));
        project.bake(&["build"])
    };
    add("", "").succeeds();
    assert!(out(&project).contains("d/later"));
    add("", "#v1:sub").succeeds();
    assert_eq!(out(&project), "drwxr-xr-x 0/0 d/\n-rw-r--r-- 0/0 d/b\nlrwxrwxrwx 0/0 d/link -> ../a\n");
    add("--chown=7:8 --chmod=u=rwX,go= --exclude=sub --exclude=later", "").succeeds();
    assert_eq!(out(&project), "drwx------ 7/8 d/\n-rw------- 7/8 d/a\n-rwx------ 7/8 d/run.sh\n");
    add(&format!("--checksum={commit}"), "#v1").succeeds();
    let ran = add("--checksum=0123456789012345678901234567890123456789", "#v1").fails(3);
    assert!(ran.stderr.contains(&commit) && ran.stderr.contains("0123456789012345678901234567890123456789"));
    assert!(ran.stderr.contains("Dockerfile:2"), "{}", ran.stderr);
    let ran = add("", "#none").fails(3);
    assert!(ran.stderr.contains("has no ref `none`"), "{}", ran.stderr);
    let ran = add("", "#--upload-pack=touch").fails(3);
    assert!(ran.stderr.contains("is no ref"), "{}", ran.stderr);
    project.write("Dockerfile", "FROM scratch\nADD ssh://git@127.0.0.1:1/x.git /d/\n");
    let ran = project.bake(&["build"]).fails(5);
    assert!(ran.stderr.contains("`ssh = [\"default\"]`"), "{}", ran.stderr);
    let ran = add("", "#v1:a").fails(3);
    assert!(ran.stderr.contains("`a` is no directory"), "{}", ran.stderr);
}

#[test]
fn a_repository_is_copied_again_only_when_its_files_changed() {
    let project = project("", "");
    let (repository, http) = repository(&project);
    project.write("Dockerfile", &format!("FROM scratch\nADD http://{}/repo.git /d/\n", http.host));
    project.bake(&["build"]).succeeds();
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    repository.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing"]);
    assert!(project.bake(&["build"]).succeeds().ran_nothing(), "another commit, the same files");
    repository.commit(&[("a", "changed")]);
    assert!(!project.bake(&["build"]).succeeds().ran_nothing());
    assert_eq!(content(&project, "d/a"), "changed");
}

#[test]
fn a_kept_git_directory_works_and_is_the_same_in_two_stores() {
    let project = project("", "");
    let (_, http) = repository(&project);
    let url = format!("http://{}/repo.git", http.host);
    let dockerfile = format!("FROM scratch\nADD --keep-git-dir=true {url}#v1 /d/\n");
    project.write("Dockerfile", &dockerfile);
    project.bake(&["build"]).succeeds();
    let first = std::fs::read(project.path().join("out.tar")).expect("read");
    run(
        "tar",
        &["-xf", &project.path().join("out.tar").display().to_string(), "-C", &project.home().display().to_string()],
    )
    .succeeds();
    let status = |arguments: &[&str]| {
        let directory = project.home().join("d").display().to_string();
        run("git", &[&["-c", "safe.directory=*", "-C", &directory], arguments].concat()).succeeds().stdout
    };
    assert_eq!(status(&["status", "--porcelain"]), "");
    assert_eq!(status(&["remote", "get-url", "origin"]), format!("{url}\n"));
    assert_eq!(status(&["describe"]), "v1\n");
    let mut again = project.command(&["build"]);
    let again: Ran = again.env("BAKE_STORE", project.home().join("other")).output().expect("bake starts").into();
    again.succeeds();
    assert!(std::fs::read(project.path().join("out.tar")).expect("read") == first, "the archives differ");
}

#[test]
fn passwords_of_urls_and_tokens_are_in_no_image() {
    let project = project("", "  secret = [\"id=GIT_AUTH_TOKEN,env=TOKEN\"]\n");
    let inner = Repository::new(project.home(), "inner.git");
    let commit = inner.commit(&[("x", "of the submodule")]);
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[(".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ../inner.git\n")]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},m")]);
    repository.git(&["commit", "--quiet", "-m", "submodule"]);
    // user:s3cr3t-marker
    let wanted = "Basic dXNlcjpzM2NyM3QtbWFya2Vy".to_owned();
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), Some(wanted)))]);
    project.write(
        "Dockerfile",
        &format!("FROM scratch\nADD --keep-git-dir http://user:s3cr3t-marker@{}/repo.git /d/\n", http.host),
    );
    project.bake(&["build"]).succeeds();
    assert_eq!(content(&project, "d/m/x"), "of the submodule");
    let archive = std::fs::read(project.path().join("out.tar")).expect("read");
    assert!(!archive.windows(6).any(|window| window == b"s3cr3t"), "the archive has the password");
    // A token that the target gives.
    let token = "basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LW1hcmtlcg==".to_owned();
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), Some(token)))]);
    project.write(
        "Dockerfile",
        &format!("FROM scratch\nADD --keep-git-dir http://{}/repo.git?submodules=0 /d/\n", http.host),
    );
    let ran = project.bake(&["build"]);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains("GIT_AUTH_TOKEN"), "{}", ran.stderr);
    let ran: Ran = project.command(&["build"]).env("TOKEN", "s3cr3t-marker").output().expect("bake starts").into();
    assert!(!ran.succeeds().stderr.contains("s3cr3t"));
    let archive = std::fs::read(project.path().join("out.tar")).expect("read");
    assert!(!archive.windows(6).any(|window| window == b"s3cr3t"), "the archive has the token");
}

#[test]
fn an_archive_that_would_fill_the_disk_is_an_error_at_its_line() {
    let project = project("FROM scratch\nADD bomb.tar.gz /d/\n", "");
    let mut header = tar::Header::new_gnu();
    header.set_path("bomb").expect("a path");
    header.set_size(1 << 62);
    header.set_cksum();
    std::fs::write(project.path().join("bomb.tar.gz"), header.as_bytes()).expect("written");
    let ran = project.bake(&["build"]).fails(4);
    assert!(ran.stderr.contains("cannot unpack `/bomb.tar.gz`: the archive unpacks to more than"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: free space for the store"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Dockerfile:2"), "{}", ran.stderr);
}

#[test]
fn a_failure_elsewhere_ends_a_download() {
    let project = project("", "");
    let http = Http::start(vec![("/endless", Answer::Endless)]);
    project.write(
        "Dockerfile",
        &format!(
            "FROM scratch AS a\nADD http://{}/endless /d/\nFROM scratch\nCOPY none /\nCOPY --from=a / /\n",
            http.host
        ),
    );
    let ran = project.bake(&["build"]).fails(1);
    assert!(ran.stderr.contains("no file or directory `/none`"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("is larger than"), "{}", ran.stderr);
    let left = run("du", &["-sm", &project.store().display().to_string()]).succeeds().stdout;
    let n_megabytes: u64 = left.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a size");
    assert!(n_megabytes < 2000, "{left}");
}

#[test]
fn all_platforms_of_all_targets_share_a_download() {
    let project = project("", "");
    let http = serve(&project, "hello");
    project.write(
        "build.hcl",
        "target \"a\" {\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  output = [\"type=local,dest=a\"]\n}\n\
         target \"b\" {\n  inherits = [\"a\"]\n  output = [\"type=local,dest=b\"]\n}\n",
    );
    project.write("Dockerfile", &format!("FROM scratch\nARG TARGETARCH\nADD http://{}/f /$TARGETARCH/\n", http.host));
    project.bake(&["build", "a", "b"]).succeeds();
    assert_eq!(project.read("b/linux_arm64/arm64/f"), "hello");
    assert_eq!((http.sent(), http.asked().len()), (5, 1));
}

#[test]
fn a_repository_may_name_its_objects_by_sha256() {
    let project = project("", "");
    let repository = Repository::new(project.home(), "repo.git");
    std::fs::remove_dir_all(project.home().join("repo.git")).expect("removed");
    std::fs::create_dir(project.home().join("repo.git")).expect("created");
    repository.git(&["init", "--quiet", "--object-format=sha256", "-b", "main"]);
    let commit = repository.commit(&[("a", "1"), ("sub/b", "2")]);
    assert_eq!(commit.len(), 64);
    repository.git(&["tag", "v1"]);
    repository.commit(&[("a", "2")]);
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), None))]);
    let url = format!("http://{}/repo.git", http.host);
    for (what, expected) in [
        ("#v1".to_owned(), "1"),
        (String::new(), "2"),
        (format!("#{commit}"), "1"),
        (format!("?tag=v1&checksum={}", &commit[..12]), "1"),
    ] {
        project.write("Dockerfile", &format!("FROM scratch\nADD --keep-git-dir=true {url}{what} /d/\n"));
        project.bake(&["build"]).succeeds();
        assert_eq!(content(&project, "d/a"), expected, "{what}");
        assert!(out(&project).contains("d/.git/HEAD"));
    }
    project.write("Dockerfile", &format!("FROM scratch\nADD --checksum={} {url}#v1 /d/\n", "0".repeat(64)));
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains(&commit) && ran.stderr.contains("Dockerfile:2"), "{}", ran.stderr);
}

#[test]
fn a_checksum_that_is_right_is_no_other_step() {
    let project = project("", "");
    let (repository, http) = repository(&project);
    let commit = repository.git(&["rev-parse", "v1^{commit}"]).trim().to_owned();
    let build = |flags: &str| {
        let add = format!("ADD --keep-git-dir=true {flags} http://{}/repo.git#v1 /repo", http.host);
        project.write("Dockerfile", &format!("FROM scratch AS src\n{add}\nFROM scratch\nCOPY --from=src /repo /r\n"));
        project.bake(&["build"]).succeeds()
    };
    build("");
    assert!(build(&format!("--checksum={commit}")).ran_nothing());
}

#[test]
fn queries_of_repositories_that_make_no_sense_are_errors_at_their_line() {
    let project = project("", "");
    let (repository, http) = repository(&project);
    let commit = repository.git(&["rev-parse", "v1^{commit}"]).trim().to_owned();
    for (query, why) in [
        ("?ref=v1&tag=other", "ref is both"),
        ("?ref=v1#main", "ref is both"),
        ("?subdir=sub#v1:d", "subdir is both"),
        ("?tag=", "`tag` has no value"),
        ("?tag=v1&branch=main", "the query has a tag and a branch"),
        ("?what=v1", "unknown key `what`"),
        ("?keep-git-dir=maybe", "`keep-git-dir` is true or false"),
        ("?ref=v1&ref=v1", "`ref` is given twice"),
    ] {
        project.write("Dockerfile", &format!("FROM scratch\nADD http://{}/repo.git{query} /d/\n", http.host));
        let ran = project.bake(&["build"]).fails(3);
        assert!(ran.stderr.contains(why) && ran.stderr.contains("Dockerfile:2"), "{query} {}", ran.stderr);
    }
    let wrong =
        format!("FROM scratch\nADD --checksum=0123456 http://{}/repo.git?checksum={commit}#v1 /d/\n", http.host);
    project.write("Dockerfile", &wrong);
    let ran = project.bake(&["build"]).fails(3);
    assert!(ran.stderr.contains("`--checksum` and the query of the URL differ"), "{}", ran.stderr);
}
