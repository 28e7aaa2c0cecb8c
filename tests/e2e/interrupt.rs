//! Ctrl-C, SIGTERM and SIGHUP, once, whatever bake is doing: it ends within seconds and nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Project, registry, run};

/// From the signal to the end of everything. bake itself needs a third of a second; the machine may be busy.
const SOON: Duration = Duration::from_secs(5);

/// How long the moment may be in coming.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn wait_until(what: &str, longest: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + longest;
    while !is_so() {
        assert!(Instant::now() < deadline, "not {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mounts() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("Linux");
    text.lines().map(str::to_owned).collect()
}

/// Returns all processes with when they began (so that a number that is used again is another process) and their parent.
fn processes() -> BTreeMap<(i32, u64), i32> {
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(((id, fields[19].parse().ok()?), fields[1].parse().ok()?))
    })
    .collect()
}

fn descendants(of: i32) -> BTreeSet<(i32, u64)> {
    let all = processes();
    let mut found = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for (process, _) in all.iter().filter(|(_, its)| **its == parent) {
            if found.insert(*process) {
                parents.push(process.0);
            }
        }
    }
    found
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("bake starts")
}

/// Sends one signal and checks that bake ends with 130 and leaves neither process, mount nor file.
#[track_caller]
fn interrupt(project: &Project, mut child: Child, signal: &str, before: &BTreeSet<String>) {
    let started = descendants(child.id() as i32);
    let begin = Instant::now();
    run("kill", &[signal, &child.id().to_string()]).succeeds();
    let status = loop {
        if let Some(status) = child.try_wait().expect("ours") {
            break status;
        }
        assert!(begin.elapsed() < SOON, "bake still runs");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
    wait_until("all children gone", SOON, || started.iter().all(|process| !processes().contains_key(process)));
    assert_eq!(entries(&project.store().join("tmp")), Vec::<String>::new());
    let left = entries(&project.path()).into_iter().filter(|name| name.starts_with(".bake") || name.contains("lock"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
    // Other tests mount, too; but below this project's directory none does.
    let home = project.home().display().to_string();
    let left: Vec<String> = mounts().difference(before).filter(|mount| mount.contains(&home)).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
}

/// A server that takes connections, reads what comes, and never answers.
struct Silent {
    host: String,
    n_connections: Arc<AtomicUsize>,
}

impl Silent {
    fn start() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let n_connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&n_connections);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || _ = stream.read_to_end(&mut Vec::new()));
            }
        });
        Silent { host, n_connections }
    }

    fn wait_for_connection(&self) {
        wait_until("asked", PATIENCE, || self.n_connections.load(Ordering::SeqCst) > 0);
    }
}

/// A project with one target.
fn project(dockerfile: &str) -> Project {
    let project = registry().map_or_else(Project::alone, Project::new);
    project.write("build.hcl", "target \"default\" { output = [\"type=cacheonly\"] }\n");
    project.write("Dockerfile", &dockerfile.replace("BASE", &format!("{}/base/busybox:1", project.registry)));
    project
}

/// Starts a build and waits until a step has written the file `flag` of its cache mount `/flag`, and so runs.
fn running(project: &Project) -> Child {
    let child = start(project.command(&["build"]));
    wait_until("running", PATIENCE, || {
        let directories = std::fs::read_dir(project.store().join("mounts")).into_iter().flatten().flatten();
        directories.into_iter().any(|directory| directory.path().join("flag").exists())
    });
    child
}

const FLAGGED: &str = "RUN --mount=type=cache,target=/flag touch /flag/flag;";

#[test]
fn while_steps_run() {
    if registry().is_none() {
        return;
    }
    for (from, signal) in
        [("BASE", "-INT"), ("--platform=linux/arm64 BASE", "-TERM"), ("--platform=linux/arm/v7 BASE", "-HUP")]
    {
        // Neither what ignores signals, nor what runs in the background, nor what has a session of its own.
        let script = "trap '' INT TERM HUP; sleep 1000 & setsid sleep 1000 & sleep 1000; sleep 1000";
        let project = project(&format!("FROM {from}\n{FLAGGED} {script}\n"));
        let before = mounts();
        interrupt(&project, running(&project), signal, &before);
    }
}

#[test]
fn while_a_registry_says_nothing() {
    let silent = Silent::start();
    let project = project(&format!("FROM {}/image:1\n", silent.host));
    let before = mounts();
    let child = start(project.command(&["build"]));
    silent.wait_for_connection();
    interrupt(&project, child, "-INT", &before);
}

#[test]
fn while_a_push_hangs() {
    let silent = Silent::start();
    let project = project("FROM scratch\nCOPY Dockerfile /\n");
    let before = mounts();
    project.write("build.hcl", &format!("target \"default\" {{ tags = [\"{}/image:1\"] }}\n", silent.host));
    let child = start(project.command(&["build", "--push"]));
    silent.wait_for_connection();
    interrupt(&project, child, "-TERM", &before);
}

#[test]
fn while_a_download_or_a_clone_hangs() {
    for name in ["file.tar", "repository.git"] {
        let silent = Silent::start();
        let project = project(&format!("FROM scratch\nADD http://{}/{name} /\n", silent.host));
        let before = mounts();
        let child = start(project.command(&["build"]));
        silent.wait_for_connection();
        interrupt(&project, child, "-INT", &before);
    }
}

#[test]
fn while_a_remote_bakefile_is_cloned() {
    let silent = Silent::start();
    let project = project("");
    let before = mounts();
    let child = start(project.command(&["build", &format!("http://{}/repository.git", silent.host)]));
    silent.wait_for_connection();
    interrupt(&project, child, "-INT", &before);
}

#[test]
fn while_standard_input_is_read() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let project = project("");
        let before = mounts();
        let mut command = project.command(&["build", "--set", "default.context=-"]);
        command.stdin(Stdio::piped());
        let mut child = start(command);
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"the begin of a context").expect("read");
        wait_until("reading", PATIENCE, || entries(&project.store().join("tmp")).len() == 2);
        interrupt(&project, child, signal, &before);
    }
}

#[test]
fn while_a_large_context_is_hashed() {
    let project = project("FROM scratch\nCOPY large /\n");
    std::fs::File::create(project.path().join("large")).expect("created").set_len(60 << 30).expect("sparse");
    let before = mounts();
    let child = start(project.command(&["build"]));
    let large = format!("{}/large", project.path().display());
    wait_until("hashing", PATIENCE, || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.ends_with(&large)))
    });
    interrupt(&project, child, "-INT", &before);
}

/// Interrupts a build of a step that leaves a large file: while its layer is hashed, and while it is compressed, too.
#[test]
fn while_a_layer_is_made_and_compressed() {
    if registry().is_none() {
        return;
    }
    let project = project(&format!("FROM BASE\n{FLAGGED} truncate -s 3G /large\n"));
    let before = mounts();
    let records = |project: &Project| entries(&project.store().join("records")).len();
    let child = running(&project);
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&project, child, "-INT", &before);
    assert_eq!(records(&project), 0);
    project.write("build.hcl", "target \"default\" { output = [\"type=oci,dest=out.tar\"] }\n");
    let child = start(project.command(&["build"]));
    // The only file among the temporaries themselves is the blob that is being written.
    let is_blob = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    let tmp = project.store().join("tmp");
    wait_until("compressing", PATIENCE, || {
        let own = entries(&tmp).into_iter().map(|name| tmp.join(name));
        own.into_iter().any(|own| entries(&own).iter().any(|name| is_blob(&own.join(name))))
    });
    interrupt(&project, child, "-INT", &before);
    assert!(!project.exists("out.tar"));
}

#[test]
fn while_an_output_is_written() {
    let project = project("FROM scratch\nCOPY large /\n");
    std::fs::File::create(project.path().join("large")).expect("created").set_len(1 << 30).expect("sparse");
    let before = mounts();
    project.bake(&["build"]).succeeds();
    for output in ["type=tar,dest=out/out.tar", "type=local,dest=out"] {
        // A pipe that nobody reads would hang for ever; a file of this size takes a while.
        let child = start(project.command(&["build", "--output", output]));
        wait_until("writing", PATIENCE, || project.exists("out"));
        interrupt(&project, child, "-TERM", &before);
        let left = entries(&project.path().join("out"));
        assert!(left.iter().all(|name| !name.starts_with(".bake")), "{left:?}");
        crate::support::remove(&project.path().join("out"));
    }
}

#[test]
fn while_another_build_has_the_cache_mount() {
    if registry().is_none() {
        return;
    }
    let locked = "--mount=type=cache,target=/locked,sharing=locked";
    let project = project(&format!("FROM BASE\n{} sleep 1000\n", FLAGGED.replace("RUN", &format!("RUN {locked}"))));
    let first = running(&project);
    project.write("Dockerfile", &project.read("Dockerfile").replace("sleep 1000", "sleep 1001"));
    let second = start(project.command(&["build"]));
    // It has the lock file open, which the first one holds.
    let waits = || {
        let open = format!("/proc/{}/fd", second.id());
        let is_lock = |name: String| {
            let file = std::fs::read_link(Path::new(&open).join(name)).unwrap_or_default();
            file.starts_with(project.store().join("mounts"))
        };
        entries(Path::new(&open)).into_iter().any(is_lock)
    };
    wait_until("waiting", PATIENCE, waits);
    let before = mounts();
    let tmp = project.store().join("tmp");
    let n_temporaries = entries(&tmp).len();
    run("kill", &["-INT", &second.id().to_string()]).succeeds();
    let mut second = second;
    let begin = Instant::now();
    assert_eq!(second.wait().expect("waited").code(), Some(130));
    assert!(begin.elapsed() < SOON);
    assert_eq!(entries(&tmp).len(), n_temporaries / 2);
    interrupt(&project, first, "-INT", &before);
}

#[test]
fn while_files_are_evaluated() {
    let project = project("");
    // Each value is the hash of the one before, which costs most of a second.
    let costly = (1..200).map(|n| format!("v{n} = bcrypt(v{}, 14)\n", n - 1)).collect::<String>();
    project.write("build.hcl", &format!("v0 = \"x\"\n{costly}target \"default\" {{ args = {{ A = v199 }} }}\n"));
    let before = mounts();
    let child = start(project.command(&["build"]));
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&project, child, "-INT", &before);
}

#[test]
fn what_was_ignored_stays_ignored() {
    let Some(_) = registry() else { return };
    let project = project("FROM BASE\nRUN sleep 2\n");
    let bake = project.command(&["build"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" build"]).arg(bake.get_program()).current_dir(project.path());
    command.env_clear().envs(bake.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = start(command);
    std::thread::sleep(Duration::from_millis(1000));
    run("kill", &["-HUP", &child.id().to_string()]).succeeds();
    assert_eq!(child.wait().expect("waited").code(), Some(0));
}
