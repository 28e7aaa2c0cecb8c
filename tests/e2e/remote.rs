//! Bakefiles and build contexts that are on the network.

use base64::Engine as _;

use crate::support::Project;
use crate::support::http::{Answer, Http, Repository};

const COPY: &str = "FROM scratch\nCOPY . /\n";

/// A server with one repository `repo.git`.
fn served(root: &std::path::Path) -> Http {
    Http::start(vec![("/", Answer::Git(root.to_owned(), None))])
}

fn bakefile(context: &str) -> String {
    format!("target \"default\" {{\n  context = \"{context}\"\n  output = [\"type=local,dest=out\"]\n}}\n")
}

#[test]
fn a_branch_tag_commit_and_directory_are_built() {
    let project = Project::alone();
    let repository = Repository::new(project.home(), "repo.git");
    let first =
        repository.commit(&[("Dockerfile", COPY), ("which", "first"), ("sub/Dockerfile", COPY), ("sub/x", "1")]);
    repository.git(&["tag", "-a", "v1", "-m", "one"]);
    repository.commit(&[("which", "second")]);
    let http = served(project.home());
    let url = format!("http://{}/repo.git", http.host);
    for (fragment, which) in [
        (String::new(), "second"),
        ("#main".to_owned(), "second"),
        ("#v1".to_owned(), "first"),
        (format!("#{first}"), "first"),
        (format!("?tag=v1&checksum={}", &first[..12]), "first"),
    ] {
        project.write("build.hcl", &bakefile(&format!("{url}{fragment}")));
        project.bake(&["build"]).succeeds();
        assert_eq!(project.read("out/which"), which, "{fragment}");
        assert!(!project.exists("out/.git"));
        std::fs::remove_dir_all(project.path().join("out")).expect("removed");
    }
    project.write("build.hcl", &bakefile(&format!("{url}#main:sub")));
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/x"), "1");
    assert!(!project.exists("out/which"));
    let asked = http.asked().len();
    project.write("build.hcl", &bakefile(&format!("{url}#{first}")));
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    assert_eq!(http.asked().len(), asked, "a commit that is in the store is asked of nobody");
}

#[test]
fn a_moved_branch_is_built_anew_and_an_ignore_file_of_the_context_counts() {
    let project = Project::alone();
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[("Dockerfile", COPY), (".dockerignore", "secret*\n"), ("secret", "x"), ("a", "1")]);
    let http = served(project.home());
    project.write("build.hcl", &bakefile(&format!("http://{}/repo.git", http.host)));
    project.bake(&["build"]).succeeds();
    assert!(!project.exists("out/secret"));
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    repository.commit(&[("a", "2")]);
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/a"), "2");
}

#[test]
fn a_remote_bakefile_has_its_contexts_where_it_is() {
    let project = Project::alone();
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[
        (
            "docker-bake.hcl",
            "target \"default\" { output = [\"type=local,dest=out\"] }\n\
             target \"web\" {\n  inherits = [\"default\"]\n  context = \"web\"\n  contexts = { here = BAKE_CMD_CONTEXT }\n}\n",
        ),
        ("Dockerfile", COPY),
        ("web/Dockerfile", "FROM scratch\nCOPY --from=here mine /\nCOPY page /\n"),
        ("web/page", "hello"),
    ]);
    let http = served(project.home());
    let url = format!("http://{}/repo.git#main", http.host);
    project.write("mine", "local");
    let printed = project.bake(&["print", &url, "default", "web"]).succeeds().stdout;
    assert!(printed.contains(&format!("\"context\": \"{url}\"")), "{printed}");
    assert!(printed.contains(&format!("\"context\": \"{url}:web\"")), "{printed}");
    project.bake(&["build", &url, "web"]).succeeds();
    assert_eq!((project.read("out/page"), project.read("out/mine")), ("hello".to_owned(), "local".to_owned()));
    assert!(!project.exists("bake.lock"), "the lockfile here is another bakefile's");
}

#[test]
fn an_archive_and_a_single_file_over_http_are_contexts_and_bakefiles() {
    let project = Project::alone();
    let mut tar = tar::Builder::new(Vec::new());
    let bake = "target \"default\" { output = [\"type=local,dest=out\"] }\n";
    for (name, text) in [("docker-bake.hcl", bake), ("Dockerfile", COPY), ("data", "from the archive")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, text.as_bytes()).expect("appended");
    }
    let tar = tar.into_inner().expect("finished");
    let http = Http::start(vec![
        ("/ctx.tar", Answer::File(tar)),
        ("/only", Answer::File(b"FROM scratch\nCOPY context /copied\n".to_vec())),
        ("/bake.hcl", Answer::File(bakefile(".").into_bytes())),
        ("/away", Answer::Redirect("/ctx.tar".to_owned())),
    ]);
    let url = |path: &str| format!("http://{}{path}", http.host);
    project.bake(&["build", &url("/ctx.tar")]).succeeds();
    assert_eq!(project.read("out/data"), "from the archive");
    project.write("build.hcl", &bakefile(&url("/away")));
    project.bake(&["build"]).succeeds();
    project.write("build.hcl", &bakefile(&url("/only")));
    project.bake(&["build"]).succeeds();
    assert!(project.read("out/copied").starts_with("FROM scratch"));
    project.write("Dockerfile", COPY).write("mark", "beside the command");
    for arguments in [vec!["build".to_owned(), url("/bake.hcl")], vec!["-f".to_owned(), url("/bake.hcl")]] {
        std::fs::remove_dir_all(project.path().join("out")).expect("removed");
        project.bake(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).succeeds();
        assert_eq!(project.read("out/mark"), "beside the command");
    }
}

#[test]
fn a_token_goes_to_its_host_and_is_shown_nowhere() {
    let project = Project::alone();
    Repository::new(project.home(), "repo.git").commit(&[("Dockerfile", COPY)]);
    let token = base64::engine::general_purpose::STANDARD.encode("x-access-token:s3cr3t-marker");
    let wanted = format!("basic {token}");
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), Some(wanted.clone())))]);
    let elsewhere = Http::start(vec![("/", Answer::Redirect(format!("http://{}", http.host)))]);
    let with_secret = |host: &str| {
        let secret = format!("  secret = [\"id=GIT_AUTH_TOKEN.{host},env=TOKEN\"]\n}}\n");
        bakefile(&format!("http://{host}/repo.git")).replace("}\n", &secret)
    };
    project.write("build.hcl", &bakefile(&format!("http://{}/repo.git", http.host)));
    let refused = project.bake(&["build"]);
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("GIT_AUTH_TOKEN.{}", http.host)), "{}", refused.stderr);
    project.write("build.hcl", &with_secret(&http.host));
    let run = |project: &Project| -> crate::support::Ran {
        project.command(&["build"]).env("TOKEN", "s3cr3t-marker").output().expect("bake starts").into()
    };
    let ran = run(&project);
    assert!(!ran.succeeds().stderr.contains("s3cr3t"));
    let found =
        crate::support::run("grep", &["-rlE", &format!("s3cr3t|{token}"), &project.store().display().to_string()]);
    assert_eq!(found.stdout, "", "the store keeps no token");
    // A redirect to another host does not take the token along.
    project.write("build.hcl", &with_secret(&elsewhere.host));
    let before = http.asked().len();
    let ran = run(&project);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cr3t") && !ran.stderr.contains(&token), "{}", ran.stderr);
    assert!(http.asked()[before..].iter().all(|asked| !asked.contains(&token)), "{:?}", http.asked());
}

#[test]
fn hostile_repositories_reach_nothing_of_this_host() {
    let project = Project::alone();
    std::fs::write(project.home().join("outside"), "host file").expect("written");
    let inner = Repository::new(project.home(), "inner");
    inner.commit(&[("x", "private")]);
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[
        ("Dockerfile", COPY),
        ("up", "-> ../.."),
        ("linked/Dockerfile", "-> ../../../../../../../../../../etc/passwd"),
    ]);
    let http = served(project.home());
    let url = format!("http://{}/repo.git", http.host);
    let fails = |context: &str, code: i32, words: &str| {
        project.write("build.hcl", &bakefile(context));
        let ran = project.bake(&["build"]);
        assert_eq!(ran.code, Some(code), "{context}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{context}: {}", ran.stderr);
    };
    fails(&format!("{url}#main:up"), 3, "symbolic link");
    fails(&format!("{url}#main:linked"), 3, "Dockerfile");
    fails(&format!("{url}#--upload-pack=touch"), 3, "is no ref");
    fails("ssh://-oProxyCommand=touch/x.git", 3, "it has no host");
    fails(&format!("{url}#nothing"), 3, "has no ref `nothing`");
    fails(&format!("{url}?checksum=0123456789"), 3, "was expected");
    for outside in [format!("file://{}/inner", project.home().display()), "ext::sh -c touch% owned".to_owned()] {
        repository.commit(&[(".gitmodules", &format!("[submodule \"m\"]\n\tpath = m\n\turl = {outside}\n"))]);
        let commit = inner.git(&["rev-parse", "HEAD"]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},m", commit.trim())]);
        repository.git(&["commit", "--quiet", "-m", "submodule"]);
        fails(&url, 5, "not allowed");
    }
}

#[test]
fn submodules_are_part_of_a_context_unless_they_are_left_out() {
    let project = Project::alone();
    let inner = Repository::new(project.home(), "inner.git");
    let commit = inner.commit(&[("x", "of the submodule")]);
    let repository = Repository::new(project.home(), "repo.git");
    repository
        .commit(&[("Dockerfile", COPY), (".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ../inner.git\n")]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},m")]);
    repository.git(&["commit", "--quiet", "-m", "submodule"]);
    let http = served(project.home());
    project.write("build.hcl", &bakefile(&format!("http://{}/repo.git?submodules=false", http.host)));
    project.bake(&["build"]).succeeds();
    assert!(!project.exists("out/m/x"));
    project.write("build.hcl", &bakefile(&format!("http://{}/repo.git?keep-git-dir", http.host)));
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/m/x"), "of the submodule");
    assert!(project.exists("out/.git/HEAD"));
}

#[test]
fn a_server_that_does_not_behave_is_an_error() {
    let project = Project::alone();
    let http = Http::start(vec![
        ("/endless.hcl", Answer::Endless),
        ("/loop", Answer::Redirect("/loop".to_owned())),
        ("/file", Answer::Redirect("file:///etc/passwd".to_owned())),
    ]);
    for (path, words) in [
        ("/loop", "redirects"),
        ("/file", "only HTTP"),
        ("/none", "404"),
        ("/endless.hcl", "is larger than"),
        ("/x.git", "not found"),
    ] {
        let ran = project.bake(&["print", &format!("http://{}{path}", http.host)]);
        assert_eq!(ran.code, Some(5), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{path}: {}", ran.stderr);
    }
    // Nobody listens there.
    for url in ["http://127.0.0.1:1/x.git", "http://127.0.0.1:1/x.hcl", "git://127.0.0.1:1/x"] {
        let ran = project.bake(&["print", url]);
        assert_eq!(ran.code, Some(5), "{url}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
    }
    let mut without_git = project.command(&["print", "http://127.0.0.1:1/x.git"]);
    let ran: crate::support::Ran = without_git.env("PATH", "/nowhere").output().expect("bake starts").into();
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("no program `git`"), "{}", ran.stderr);
}

#[test]
fn two_builds_at_once_and_one_that_was_killed_leave_a_whole_checkout() {
    let project = Project::alone();
    let repository = Repository::new(project.home(), "repo.git");
    let texts: Vec<(String, String)> = (0..400).map(|n| (format!("d/{n}"), "x".repeat(n))).collect();
    let mut files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("Dockerfile", COPY));
    repository.commit(&files);
    let http = served(project.home());
    project.write("build.hcl", &bakefile(&format!("http://{}/repo.git", http.host)));
    for wait in [10, 30, 50, 70, 90] {
        let mut child = project.command(&["build", "--quiet"]).spawn().expect("bake starts");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
    let quietly = || {
        let mut command = project.command(&["build", "--quiet", "--set", "*.output=type=cacheonly"]);
        command.stdout(std::process::Stdio::null()).spawn().expect("bake starts")
    };
    let builds: Vec<_> = (0..3).map(|_| quietly()).collect();
    for mut build in builds {
        assert!(build.wait().expect("waited").success());
    }
    project.bake(&["build"]).succeeds();
    assert_eq!(std::fs::read_dir(project.path().join("out/d")).expect("a directory").count(), 400);
    assert_eq!(project.read("out/d/399").len(), 399);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let project = Project::alone();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("git://{}/x", silent.local_addr().expect("bound"));
    let mut command = project.command(&["print", &url]);
    let ran: crate::support::Ran = command.env("BAKE_GIT_TIMEOUT", "1").output().expect("bake starts").into();
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains("longer than 1s") && ran.stderr.contains("BAKE_GIT_TIMEOUT"), "{}", ran.stderr);
}
