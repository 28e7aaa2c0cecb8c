//! SOURCE_DATE_EPOCH that names the source whose time counts.

use crate::support::Project;
use crate::support::http::{Answer, Http, Repository};

/// What the servers here send as `Last-Modified`, in seconds: 784,903,526.
const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
const DOCKERFILE: &str = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL time=$SOURCE_DATE_EPOCH\nWORKDIR /w\n";

/// A project whose target `default` is an image layout in `image`; `more` is said of it.
fn project(more: &str) -> Project {
    let project = Project::alone();
    describe(&project, more);
    project
}

fn describe(project: &Project, more: &str) {
    let output = "output = [\"type=oci,tar=false,dest=image\"]";
    project.write("build.hcl", &format!("target \"default\" {{\n  {output}\n{more}\n}}\n"));
}

/// Builds and returns the times of the image and of its last step, and the label `time`.
#[track_caller]
fn built(project: &Project) -> (String, String, String) {
    project.bake(&["build"]).succeeds();
    image(project)
}

fn image(project: &Project) -> (String, String, String) {
    let config = crate::dockerfile::config(&project.path().join("image"));
    std::fs::remove_dir_all(project.path().join("image")).expect("removed");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("none").to_owned();
    let last = config["history"].as_array().and_then(|all| all.last()).expect("an entry");
    (text(&config["created"]), text(&last["created"]), text(&config["config"]["Labels"]["time"]))
}

fn at(time: &str, label: &str) -> (String, String, String) {
    (time.to_owned(), time.to_owned(), label.to_owned())
}

/// An archive of one file of that time, and of a directory that is younger.
fn archive(files: &[(&str, &str)], time: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mtime(time + 1000);
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "d/", &[][..]).expect("written");
    for (at, (name, text)) in files.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(time - at as u64);
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).expect("written");
    }
    tar.into_inner().expect("written")
}

#[test]
fn a_repository_has_its_commits_time() {
    let project = project("");
    let repository = Repository::new(project.home(), "repo.git");
    let commit = repository.commit(&[("Dockerfile", DOCKERFILE)]);
    let seconds = repository.git(&["show", "--no-patch", "--format=%ct", &commit]);
    let time = jiff::Timestamp::from_second(seconds.trim().parse().expect("a number")).expect("a time").to_string();
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), None))]);
    let url = format!("http://{}/repo.git", http.host);
    describe(&project, &format!("context = \"{url}\"\nargs = {{ SOURCE_DATE_EPOCH = \"context\" }}"));
    assert_eq!(built(&project), at(&time, seconds.trim()));
    // The same repository as a named context, and as the source of a stage.
    describe(&project, &format!("contexts = {{ src = \"{url}\" }}\nargs = {{ SOURCE_DATE_EPOCH = \"src\" }}"));
    project.write("Dockerfile", DOCKERFILE);
    assert_eq!(built(&project), at(&time, seconds.trim()));
    describe(&project, "");
    let stage = format!("ARG SOURCE_DATE_EPOCH=Src\nFROM scratch AS src\nARG URL={url}\nADD $URL /\n{DOCKERFILE}");
    project.write("Dockerfile", &stage);
    assert_eq!(built(&project), at(&time, seconds.trim()));
}

#[test]
fn a_file_has_the_servers_time_else_that_of_the_newest_file_in_the_archive() {
    let project = project("");
    let dated = project.home().join("dated.tar");
    let bytes = archive(&[("Dockerfile", DOCKERFILE), ("a", "1")], 1_700_000_000);
    std::fs::write(&dated, &bytes).expect("written");
    let http = Http::start(vec![
        ("/dated", Answer::Changing(dated, MODIFIED)),
        ("/bare", Answer::File(bytes)),
        ("/file", Answer::File(DOCKERFILE.as_bytes().to_owned())),
    ]);
    let said = at("1994-11-15T12:45:26Z", "784903526");
    let newest = at("2023-11-14T22:13:20Z", "1700000000");
    let unset = at("1980-01-01T00:00:00Z", "");
    for (path, expected) in [("dated.tar", &said), ("bare.tar", &newest), ("file", &unset)] {
        let url = format!("http://{}/{path}", http.host);
        describe(&project, &format!("context = \"{url}\"\nargs = {{ SOURCE_DATE_EPOCH = \"context\" }}"));
        assert_eq!(built(&project), *expected, "the context {path}");
        // A store that knows it already says the same.
        assert_eq!(built(&project), *expected, "the context {path} again");
        project.write("Dockerfile", &format!("ARG SOURCE_DATE_EPOCH=src\n{DOCKERFILE}"));
        describe(&project, &format!("contexts = {{ src = \"{url}\" }}"));
        assert_eq!(built(&project), *expected, "the named context {path}");
        let stage = format!("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {url} /\n{DOCKERFILE}");
        project.write("Dockerfile", &stage);
        describe(&project, "");
        assert_eq!(built(&project), *expected, "the stage's {path}");
        // A time that is given wins.
        describe(&project, "args = { SOURCE_DATE_EPOCH = \"1\" }");
        assert_eq!(built(&project), at("1970-01-01T00:00:01Z", "1"), "over the stage's {path}");
    }
}

#[test]
fn what_has_no_time_leaves_it_unset() {
    let project = project("args = { SOURCE_DATE_EPOCH = \"context\" }\n  contexts = { mine = \"mine\" }");
    project.write("Dockerfile", DOCKERFILE).write("mine/a", "1");
    let unset = at("1980-01-01T00:00:00Z", "");
    assert_eq!(built(&project), unset);
    let output = project.command(&["build", "--set", "*.args.SOURCE_DATE_EPOCH=mine"]).output().expect("bake starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(image(&project), unset);
    // The environment may name a source too.
    describe(&project, "");
    let output = project.command(&["build"]).env("SOURCE_DATE_EPOCH", "context").output().expect("bake starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(image(&project), unset);
}

#[test]
fn a_stage_that_is_no_single_source_is_an_error_at_its_line() {
    let project = project("");
    let stage =
        |body: &str| format!("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\n{body}FROM scratch\nWORKDIR /w\n");
    for (dockerfile, place, why) in [
        (stage("COPY Dockerfile /\n"), "Dockerfile:3", "has more in it than ARG and ADD"),
        (stage("ADD Dockerfile /\n"), "Dockerfile:3", "adds what is not one remote source"),
        (stage("ADD http://127.0.0.1:1/a http://127.0.0.1:1/b /\n"), "Dockerfile:3", "not one remote source"),
        (stage("ADD http://127.0.0.1:1/a /\nADD http://127.0.0.1:1/b /\n"), "Dockerfile:4", "more than one source"),
        (stage("ARG A\n"), "Dockerfile:2", "adds nothing"),
        (stage("").replace("scratch AS src", "other AS src"), "Dockerfile:2", "does not come from scratch"),
        ("ARG SOURCE_DATE_EPOCH=soon\nFROM scratch\n".to_owned(), "Dockerfile:1", "`soon` is no time"),
    ] {
        project.write("Dockerfile", &dockerfile);
        let stderr = project.bake(&["build"]).fails(3).stderr;
        assert!(stderr.contains(place) && stderr.contains(why), "{dockerfile}{stderr}");
    }
    project.write("Dockerfile", &stage("ADD http://127.0.0.1:1/a /\n"));
    let stderr = project.bake(&["build"]).fails(5).stderr;
    assert!(stderr.contains("target \"default\" has its SOURCE_DATE_EPOCH from there"), "{stderr}");
}

#[test]
fn a_secret_opens_the_source_of_a_stage() {
    let project = project("secret = [\"type=env,id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN\"]");
    let bytes = archive(&[("a", "1")], 1_700_000_000);
    let http = Http::start(vec![("/src", Answer::Private(bytes, "Bearer t0p".to_owned()))]);
    let url = format!("http://{}/src.tar", http.host);
    project.write("Dockerfile", &format!("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {url} /\n{DOCKERFILE}"));
    let output = project.command(&["build"]).env("TOKEN", "t0p").output().expect("bake starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(image(&project).2, "1700000000");
}
