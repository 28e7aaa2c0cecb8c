//! `--load`: into a real Docker, a real Podman, and a stand-in for the Docker that takes an index.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::account::{Account, Ids};
use crate::support::docker::{containers_storage, docker, docker_over_tls, is_root_with, make_certificates};
use crate::support::http::{Answer, Http};
use crate::support::{Project, Ran, run, small};

/// Docker over TLS with certificates on both sides, and through `ssh`, which a script stands in for.
#[test]
fn docker_is_reached_on_other_hosts() {
    let Some(project) = small() else { return };
    let certificates = project.home().join("certificates");
    let Some((docker, address)) = docker_over_tls(&certificates) else { return };
    let certificates = certificates.display().to_string();
    let tls = |variables: &[(&str, &str)]| -> Ran {
        let mut command = project.command(&["build", "a", "--load", "--metadata-file", "out.json"]);
        command.env("DOCKER_HOST", &address).envs(variables.iter().copied());
        command.output().expect("bake starts").into()
    };
    let ran = tls(&[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &certificates)]).succeeds();
    assert!(ran.stderr.contains(&format!("loaded a into Docker at {address}")), "{}", ran.stderr);
    assert_eq!(docker.image("example.com/a:1", ".Id"), config(&project, "a"));
    // Neither a daemon that no known authority vouches for, nor a client without a certificate.
    let other = project.home().join("other").display().to_string();
    make_certificates(other.as_ref());
    for variables in [&[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &*other)][..], &[]] {
        let ran = tls(variables).fails(4);
        assert!(ran.stderr.starts_with(&format!("error: the Docker at {address} does not answer: ")), "{}", ran.stderr);
    }

    let bin = project.home().join("bin");
    std::fs::create_dir_all(&bin).expect("created");
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = '-p 2222 -o ConnectTimeout=30 -T -- me@build docker system dial-stdio' ] || exit 1\n\
         DOCKER_HOST={} exec docker system dial-stdio\n",
        docker.host
    );
    std::fs::write(bin.join("ssh"), script).expect("written");
    run("chmod", &["+x", &bin.join("ssh").display().to_string()]).succeeds();
    project.write("hello", "through ssh\n");
    let mut command = project.command(&["build", "a", "--load"]);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin", bin.display());
    let ran: Ran =
        command.env("PATH", path).env("DOCKER_HOST", "ssh://me@build:2222").output().expect("bake starts").into();
    let ran = ran.succeeds();
    assert!(ran.stderr.contains("loaded a into Docker at ssh://me@build:2222\n"), "{}", ran.stderr);
    assert_eq!(docker.start("example.com/a:1"), "through ssh\n");
}

/// Builds with the daemon at `host`.
fn bake(project: &Project, host: &str, arguments: &[&str]) -> Ran {
    let mut command = project.command(&[&["build", "--metadata-file", "out.json"], arguments].concat());
    command.env("DOCKER_HOST", host).output().expect("bake starts").into()
}

/// Returns the digest of a target's image config, which is the id of an image for Docker and Podman.
fn config(project: &Project, target: &str) -> String {
    let metadata: Value = serde_json::from_str(&project.read("out.json")).expect("JSON");
    metadata[target]["containerimage.config.digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn docker_runs_what_was_loaded() {
    let (Some(project), Some(docker)) = (small(), docker()) else { return };
    let ran = bake(&project, &docker.host, &["a", "b", "--load"]).succeeds();
    for target in ["a", "b"] {
        let line = format!("loaded {target} into Docker at {}\n", docker.host);
        assert!(ran.stderr.contains(&line), "{}", ran.stderr);
    }
    for (target, name) in [("a", "example.com/a:1"), ("a", "example.com/a:2"), ("b", "b:latest")] {
        assert_eq!(docker.image(name, ".Id"), config(&project, target), "{name}");
    }
    assert_eq!(docker.start("example.com/a:1"), "hello\n");

    // What is there under all of its names is not sent again.
    docker.run(&["image", "rm", "b"]).succeeds();
    let ran = bake(&project, &docker.host, &["a", "b", "--load"]).succeeds();
    let expected = format!("unchanged a in Docker at {0}\nloaded b into Docker at {0}\n", docker.host);
    assert!(ran.stderr.ends_with(&expected), "{}", ran.stderr);
    docker.run(&["image", "rm", "example.com/a:2"]).succeeds();
    let ran = bake(&project, &docker.host, &["a", "b", "--load"]).succeeds();
    let expected = format!("loaded a into Docker at {0}\nunchanged b in Docker at {0}\n", docker.host);
    assert!(ran.stderr.ends_with(&expected), "{}", ran.stderr);
    assert_eq!(docker.image("example.com/a:2", ".Id"), config(&project, "a"));

    // Without a file that is what `type=docker` means, and a context is another way to name a Docker.
    project.write("hello", "again\n");
    let config_directory = project.home().join(".docker").display().to_string();
    let create = ["--config", &config_directory, "context", "create", "other", "--docker"];
    run("docker", &[&create[..], &[&format!("host={}", docker.host)]].concat()).succeeds();
    bake(&project, "unix:///nowhere", &["a", "--output", "type=docker,context=other"]).succeeds();
    assert_eq!(docker.start("example.com/a:1"), "again\n");

    // An archive says the same.
    project.write("hello", "archive\n");
    let piped = project.command(&["build", "a", "--output", "type=docker,dest=-"]).output().expect("bake starts");
    std::fs::write(project.path().join("a.tar"), piped.stdout).expect("written");
    docker.run(&["load", "--input", &project.path().join("a.tar").display().to_string()]).succeeds();
    assert_eq!(docker.start("example.com/a:2"), "archive\n");
}

/// The image store of Debian 12's Docker has one platform of an image.
#[test]
fn docker_gets_this_machines_platform_of_several() {
    let (Some(project), Some(docker)) = (small(), docker()) else { return };
    let ran = bake(&project, &docker.host, &["a", "--load", "--platform", "linux/arm64,linux/amd64"]).succeeds();
    let said =
        format!("loaded a for linux/amd64 alone into Docker at {}, which keeps one platform (1 left out)", docker.host);
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(docker.image("example.com/a:1", ".Architecture"), "amd64");
    assert_eq!(docker.start("example.com/a:1"), "hello\n");

    let ran = bake(&project, &docker.host, &["a", "--load", "--platform", "linux/arm64,linux/riscv64"]).fails(3);
    let peers_words = "error: docker exporter does not currently support exporting manifest lists\n";
    assert!(ran.stderr.contains(peers_words), "{}", ran.stderr);
    assert!(!ran.stderr.contains("COPY"), "it is known before anything is built: {}", ran.stderr);
}

/// Runs `command` where `/run`, and so the usual socket of a Docker, is empty.
fn without_docker(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"]);
    let bake = project.command(arguments);
    command.arg(bake.get_program()).args(bake.get_args()).current_dir(project.path()).env_clear();
    command.envs(bake.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null());
    command
}

#[test]
fn podman_takes_what_no_docker_is_there_for() {
    let Some(project) = small() else { return };
    if !is_root_with(&["podman", "unshare"]) {
        return;
    }
    let (name, value) = containers_storage(&project);
    let podman = |arguments: &[&str]| -> Ran {
        Command::new("podman").args(arguments).env(name, &value).output().expect("podman starts").into()
    };
    let build = |arguments: &[&str]| -> Ran {
        let arguments = [&["build", "--load", "--metadata-file", "out.json"], arguments].concat();
        without_docker(&project, &arguments).env(name, &value).output().expect("unshare starts").into()
    };
    let ran = build(&["a", "b"]).succeeds();
    assert!(ran.stderr.contains("loaded a into Podman\nloaded b into Podman\n"), "{}", ran.stderr);
    let id = |image: &str| {
        podman(&["image", "inspect", "--format", "sha256:{{.Id}}", image]).succeeds().stdout.trim().to_owned()
    };
    for (target, name) in [("a", "example.com/a:1"), ("a", "example.com/a:2"), ("b", "docker.io/library/b:latest")] {
        assert_eq!(id(name), config(&project, target), "{name}");
    }
    let names = podman(&["images", "--format", "{{.Repository}}"]).succeeds().stdout;
    assert!(!names.contains("localhost"), "{names}");

    let ran = build(&["b", "--platform", "linux/arm64,linux/amd64"]).succeeds();
    assert!(
        ran.stderr.contains("loaded b for linux/amd64 alone into Podman, which keeps one platform"),
        "{}",
        ran.stderr
    );

    // A bakefile from the network is fetched in the build's namespaces already.
    let http = Http::start(vec![("/bake.hcl", Answer::File(project.read("build.hcl").into_bytes()))]);
    project.write("hello", "from the network\n");
    let ran = build(&[&format!("http://{}/bake.hcl", http.host), "a"]).succeeds();
    assert!(ran.stderr.contains("loaded a into Podman\n"), "{}", ran.stderr);
    assert_eq!(id("example.com/a:1"), config(&project, "a"));

    // A build that fails leaves what is there as it is, and no Podman that waits.
    let images = || podman(&["images", "--no-trunc"]).succeeds().stdout;
    let before = images();
    build(&["a", "--set", "a.target=none"]).fails(3);
    assert_eq!(images(), before);
}

/// Podman of an ordinary user works in a user namespace of its own, which it could not make inside of bake's.
#[test]
fn a_users_own_podman_takes_images() {
    let Some(project) = small() else { return };
    if !is_root_with(&["podman"]) {
        return;
    }
    let Some(account) = Account::new("bake-e2e-podman", Ids::Subordinate) else { return };
    let (name, value) = containers_storage(&project);
    account.adopt(&project);
    let mut command = account.bake_command(&project, &["build", "a", "--load", "--metadata-file", "out.json"]);
    let ran: Ran = command.env(name, &value).output().expect("setpriv starts").into();
    let podman = |arguments: &[&str]| -> Ran {
        let mut command = account.command("podman".as_ref());
        command.args(arguments).env(name, &value).env("HOME", project.home()).current_dir(project.path());
        command.output().expect("setpriv starts").into()
    };
    let id = podman(&["image", "inspect", "--format", "sha256:{{.Id}}", "example.com/a:1"]);
    // Ends the process that keeps the user's namespace.
    podman(&["system", "migrate"]);
    let ran = ran.succeeds();
    assert!(ran.stderr.contains("loaded a into Podman\n"), "{}", ran.stderr);
    assert_eq!(id.succeeds().stdout.trim(), config(&project, "a"));
}

#[test]
fn without_a_store_the_next_step_is_said_before_anything_is_built() {
    let Some(project) = small() else { return };
    if !is_root_with(&["unshare"]) {
        return;
    }
    let mut command = without_docker(&project, &["build", "a", "--load"]);
    let ran: Ran = command.env("PATH", empty_path(&project)).output().expect("starts").into();
    let ran = ran.fails(4);
    assert_eq!(
        ran.stderr,
        "error: no Docker answers at unix:///var/run/docker.sock, and there is no Podman: No such file or directory\n\
         hint: start or install Docker or Podman, or say where Docker is with DOCKER_HOST\n\
         hint: or write an archive: `--output type=docker,dest=FILE`, and later `docker load -i FILE`\n"
    );
    // One that was named is not replaced by another.
    let ran = bake(&project, "unix:///nowhere", &["a", "--load"]).fails(4);
    assert!(ran.stderr.starts_with("error: the Docker at unix:///nowhere does not answer: "), "{}", ran.stderr);
    let ran = bake(&project, "unix:///nowhere", &["a", "--output", "type=docker,context=none"]).fails(2);
    assert!(ran.stderr.starts_with("error: Docker context `none`: "), "{}", ran.stderr);
}

/// Returns a PATH with what `without_docker` needs and no Podman.
fn empty_path(project: &Project) -> String {
    let directory = project.home().join("bin");
    std::fs::create_dir_all(&directory).expect("created");
    for program in ["unshare", "sh", "mount"] {
        _ = std::os::unix::fs::symlink(PathBuf::from("/usr/bin").join(program), directory.join(program));
    }
    directory.display().to_string()
}

/// Answers one request after the other as a Docker does whose images are in containerd's store, which no package of Debian 12
/// has; `answer` is what it says to the images. It has none of them.
struct Modern {
    host: String,
    _directory: tempfile::TempDir,
    requests: std::thread::JoinHandle<Vec<u8>>,
}

impl Modern {
    fn start(answer: &'static str) -> Modern {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let requests = std::thread::spawn(move || {
            let info = r#"{"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#;
            loop {
                let (stream, _) = listener.accept().expect("a request");
                let (first, body) = read(&stream);
                let (status, answer) = match first.trim_end_matches(" HTTP/1.1") {
                    "GET /info" => ("200 OK", info),
                    "POST /images/load?quiet=1" => ("200 OK", answer),
                    _ => ("404 Not Found", r#"{"message":"no such image"}"#),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
                (&stream).write_all(format!("{head}{answer}").as_bytes()).expect("answered");
                if first.starts_with("POST") {
                    return body;
                }
            }
        });
        Modern { host: format!("unix://{}", path.display()), _directory: directory, requests }
    }
}

/// Returns a request's first line and its body.
fn read(stream: &UnixStream) -> (String, Vec<u8>) {
    let mut stream = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let first = line();
    let mut is_chunked = false;
    loop {
        match line() {
            header if header.is_empty() => break,
            header => is_chunked |= header == "Transfer-Encoding: chunked",
        }
    }
    let mut body = Vec::new();
    while is_chunked {
        let mut size = String::new();
        stream.read_line(&mut size).expect("a chunk");
        let size = u64::from_str_radix(size.trim_end(), 16).expect("a size");
        stream.by_ref().take(size).read_to_end(&mut body).expect("a chunk");
        let mut end = String::new();
        stream.read_line(&mut end).expect("the end of a chunk");
        is_chunked = size > 0;
    }
    (first, body)
}

#[test]
fn a_docker_that_takes_an_index_gets_all_platforms() {
    let Some(project) = small() else { return };
    let docker = Modern::start("{\"stream\":\"Loaded image: example.com/a:1\\n\"}\n");
    let ran = bake(&project, &docker.host, &["a", "--load", "--platform", "linux/arm64,linux/amd64"]).succeeds();
    assert!(ran.stderr.contains("loaded a into Docker at"), "{}", ran.stderr);
    let archive = docker.requests.join().expect("both requests came");
    let directory = project.path().join("received");
    std::fs::create_dir(&directory).expect("created");
    std::fs::write(project.path().join("received.tar"), archive).expect("written");
    let received = project.path().join("received.tar").display().to_string();
    run("tar", &["xf", &received, "-C", &directory.display().to_string()]).succeeds();
    assert!(!directory.join("manifest.json").exists(), "that file would hide the index");
    let inspected = run("skopeo", &["inspect", "--raw", &format!("oci:{}:1", directory.display())]).succeeds();
    let index: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    let architecture = |entry: &Value| entry["platform"]["architecture"].as_str().unwrap_or("").to_owned();
    let architectures: Vec<String> =
        index["manifests"].as_array().expect("an index").iter().map(architecture).collect();
    assert_eq!(architectures, ["arm64", "amd64"]);
}

/// A daemon that takes the images and never answers holds nobody up who asks to stop.
#[test]
fn a_docker_that_does_not_answer_is_left_when_the_user_asks() {
    let Some(project) = small() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let mut command = project.command(&["build", "a", "--load"]);
    command.env("DOCKER_HOST", format!("unix://{}", path.display())).stderr(Stdio::piped());
    let child = command.spawn().expect("bake starts");
    let (info, _) = listener.accept().expect("asked what it is");
    read(&info);
    (&info).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("answered");
    let (image, _) = listener.accept().expect("asked for the image");
    read(&image);
    (&image).write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").expect("answered");
    let (load, _) = listener.accept().expect("the images come");
    read(&load);
    let begin = Instant::now();
    run("kill", &["-TERM", &child.id().to_string()]).succeeds();
    let ended: Ran = child.wait_with_output().expect("it ends").into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(load);
}

#[test]
fn what_docker_reports_in_a_good_answer_fails_the_build() {
    let Some(project) = small() else { return };
    let docker = Modern::start("{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space left on device\"}\n");
    let ran = bake(&project, &docker.host, &["a", "--load"]).fails(4);
    let expected = format!("error: Docker at {} did not take the images: no space left on device\n", docker.host);
    assert!(ran.stderr.ends_with(&expected), "{}", ran.stderr);
    assert!(!project.exists("out.json") && !project.exists("bake.lock"));
}
