//! A store whose files are not what they were: the build says so, and comes to what it always does.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::http::{Answer, Http, Repository};
use crate::support::{self, Project, Ran, registry};

/// One step on a base image, written to an archive, which needs all blobs.
fn project(registry: &support::Registry) -> Project {
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { output = [\"type=oci,dest=out.tar\"] }\n");
    project.write("Dockerfile", &format!("FROM {}/base/busybox:1\nRUN echo made > /made\n", registry.host));
    project
}

fn largest(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("there").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.is_file()).max_by_key(|path| path.metadata().expect("a file").len()).expect("a file")
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], at).expect("written");
}

fn find(directory: &Path, name: &str) -> PathBuf {
    let found =
        support::run("find", &[&directory.display().to_string(), "-name", name, "-type", "f"]).succeeds().stdout;
    found.lines().next().expect(name).into()
}

/// Builds, does `harm` to the store, and builds again: with the same result, and a warning that names what was damaged.
#[track_caller]
fn check(harm: impl Fn(&Project), what: &str, steps: &str) {
    let Some(registry) = registry() else { return };
    let project = project(registry);
    let expected = project.bake(&["build"]).succeeds();
    let archive = std::fs::read(project.path().join("out.tar")).expect("written");
    harm(&project);
    let again = project.bake(&["build"]).succeeds();
    assert_eq!(again.stdout, expected.stdout);
    assert!(std::fs::read(project.path().join("out.tar")).expect("written") == archive, "the archive differs");
    let warned = again.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(what));
    assert!(warned, "no warning of {what} in\n{}", again.stderr);
    assert!(again.stderr.contains(steps), "{}", again.stderr);
    let third = project.bake(&["build"]).succeeds();
    assert!(third.ran_nothing() && !third.stderr.contains("warning"), "{}", third.stderr);
}

#[test]
fn a_layer_of_the_base_image_is_fetched_again() {
    check(|project| flip(&largest(&project.store().join("blobs/sha256")), 5000), "blob sha256:", "0 steps ran");
}

#[test]
fn a_blob_that_was_cut_short_is_fetched_again() {
    let cut = |project: &Project| {
        let blob = largest(&project.store().join("blobs/sha256"));
        std::fs::File::options().write(true).open(blob).expect("there").set_len(1000).expect("cut");
    };
    check(cut, "blob sha256:", "0 steps ran");
}

#[test]
fn a_snapshot_is_made_again_by_its_step() {
    let harm = |project: &Project| {
        flip(&find(&project.store().join("snapshots"), "made"), 1);
        for blob in std::fs::read_dir(project.store().join("blobs/sha256")).expect("there") {
            std::fs::remove_file(blob.expect("an entry").path()).expect("removed");
        }
    };
    check(harm, "the snapshot of layer sha256:", "1 step ran");
}

#[test]
fn records_that_lost_a_bit_are_as_if_they_were_not_there() {
    let Some(registry) = registry() else { return };
    let project = project(registry);
    let expected = project.bake(&["build"]).succeeds();
    for directory in ["records", "layers", "memos", "members", "copies", "state"] {
        for entry in std::fs::read_dir(project.store().join(directory)).expect("there") {
            let path = entry.expect("an entry").path();
            if path.metadata().expect("a file").len() > 30 {
                flip(&path, 25);
            }
        }
    }
    let again = project.bake(&["build"]).succeeds();
    assert_eq!(again.stdout, expected.stdout);
    assert!(again.stderr.contains("1 step ran"), "{}", again.stderr);
}

#[test]
fn builds_of_one_project_at_once_keep_each_others_results() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let target = |name: &str| {
        let text = format!("FROM {}/base/busybox:1\\nRUN sleep 0.2; echo {name} > /name", registry.host);
        format!("target \"{name}\" {{ dockerfile-inline = \"{text}\" }}\n")
    };
    let names = ["one", "two", "three", "four"];
    project.write("build.hcl", &names.map(target).concat());
    for _ in 0..3 {
        _ = std::fs::remove_file(project.path().join("bake.lock"));
        let start = |name: &str| {
            let mut command = project.command(&["build", name, "--no-cache"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bake starts")
        };
        for child in names.map(start) {
            Ran::from(child.wait_with_output().expect("waited")).succeeds();
        }
        let lock = project.read("bake.lock");
        for name in names {
            assert!(
                lock.contains(&format!("\"{name}\"")) || lock.contains(&format!(".{name}")),
                "{name} is not in\n{lock}"
            );
        }
        let again = project.bake(&[&["build"][..], &names].concat()).succeeds();
        assert!(again.ran_nothing(), "{}", again.stderr);
        assert_eq!(project.read("bake.lock"), lock);
    }
}

#[test]
fn a_repository_that_git_cannot_read_is_fetched_again() {
    let served = tempfile::tempdir().expect("a temporary directory");
    let repository = Repository::new(served.path(), "code.git");
    let text = (0..2000).map(|n| format!("line {}\n", n * n)).collect::<String>();
    repository.commit(&[("a", "first\n"), ("b", &text)]);
    let http = Http::start(vec![("/", Answer::Git(served.path().to_owned(), None))]);
    let project = Project::alone();
    let url = format!("http://{}/code.git", http.host);
    project.write("Dockerfile", "FROM scratch\nCOPY a b /\n");
    project.write(
        "build.hcl",
        &format!("target \"default\" {{\n  contexts = {{ code = \"{url}\" }}\n  dockerfile-inline = \"FROM scratch\\nCOPY --from=code . /\"\n}}\n"),
    );
    let expected = project.bake(&["build"]).succeeds();
    let (store, git) = (project.store(), project.store().join("git"));
    let files = || support::run("find", &[&git.display().to_string(), "-type", "f", "-size", "+0"]).succeeds().stdout;
    let n_files = files().lines().count();
    for index in 0..n_files {
        for cut in [false, true] {
            let files = files();
            let mut files: Vec<&str> = files.lines().collect();
            files.sort_unstable();
            let Some(path) = files.get(index).map(Path::new) else { continue };
            let length = path.metadata().expect("a file").len();
            support::run("chmod", &["u+w", &path.display().to_string()]).succeeds();
            match cut {
                true => {
                    std::fs::File::options().write(true).open(path).and_then(|f| f.set_len(length / 2)).expect("cut")
                }
                false => flip(path, length / 2),
            }
            support::remove(&store.join("checkouts"));
            std::fs::create_dir(store.join("checkouts")).expect("created");
            let again = project.bake(&["build", "--no-cache"]);
            let what = format!("{} {cut}\n{}", path.display(), again.stderr);
            assert_eq!((again.code, &again.stdout), (Some(0), &expected.stdout), "{what}");
        }
    }
}

/// What bake runs of the host's dies with it, and so does what that has started.
#[test]
fn a_killed_bake_leaves_no_git() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("bound").to_string();
    let project = Project::alone();
    let url = format!("http://{host}/repository-{}.git", std::process::id());
    project.write("build.hcl", &format!("target \"default\" {{ context = \"{url}\" }}\n"));
    let mut command: Command = project.command(&["build"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bake starts");
    // git's own helper asks, and is never answered.
    let connection = listener.accept().expect("asked");
    let running = || {
        let ps = support::run("ps", &["-eo", "args"]).succeeds().stdout;
        ps.lines().filter(|line| line.contains("git") && line.contains(&url)).count()
    };
    assert!(running() >= 2, "git and its helper run");
    child.kill().expect("killed");
    child.wait().expect("waited");
    let begin = std::time::Instant::now();
    while running() > 0 {
        assert!(begin.elapsed().as_secs() < 10, "git still runs");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(connection);
}
