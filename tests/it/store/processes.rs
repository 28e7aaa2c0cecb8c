//! Several processes and threads with one store, and processes that are killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use bake::digest::{DiffId, Digest};
use bake::graph::CacheSharing;
use bake::oci::{MediaType, descriptor};
use bake::store::{CacheMountRequest, Store};
use bake::sys::cancel::CancelToken;

use super::support::{EPOCH, Fixture};

/// What a process that this test starts does, by name; the store is in `BAKE_TEST_STORE`.
const TASK: &str = "BAKE_TEST_TASK";

/// A request that nobody cancels.
fn mount(id: &str, sharing: CacheSharing) -> CacheMountRequest<'_> {
    static NEVER: LazyLock<CancelToken> = LazyLock::new(CancelToken::default);
    CacheMountRequest { id, sharing, cancel: &NEVER }
}

pub fn start(task: &str, store: &Path) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "store::processes::another_process", "--nocapture"]);
    command.env(TASK, task).env("BAKE_TEST_STORE", store);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started")
}

/// Waits until the process says that it got there.
pub fn wait_until_ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text").ends_with("ready")), "it ended before");
}

/// No test of its own: the body of the processes that the others start.
#[test]
#[allow(clippy::print_stdout, reason = "the test that started it waits for this")]
fn another_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let store = Store::open(Path::new(&std::env::var("BAKE_TEST_STORE").expect("set"))).expect("opened");
    match task.as_str() {
        "dies with a snapshot under way" => {
            let snapshot = store.prepare(&[]).expect("prepared");
            let root = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&snapshot.mount_fd()));
            fs::write(Path::new(&root).join("half"), "done").expect("written");
            println!("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
        }
        "uses a blob" => {
            assert!(store.has_blob(&Digest::of(b"used elsewhere")));
            println!("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
        }
        "holds a cache mount" => {
            let _lease = store.cache_mount(&mount("id", CacheSharing::Locked), 0o755, (0, 0)).expect("taken");
            println!("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
        }
        "makes a snapshot" => {
            for n in 0..20 {
                let snapshot = store.prepare(&[]).expect("prepared");
                let root = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&snapshot.mount_fd()));
                fs::write(Path::new(&root).join(n.to_string()), "x").expect("written");
                let diff_id = snapshot.commit(EPOCH, None).expect("committed");
                assert!(store.has_snapshot_of(&[diff_id]));
            }
        }
        other => panic!("no task {other}"),
    }
}

fn names(path: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("read").file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = fs::read_dir(path).expect("read").map(name).collect();
    names.sort();
    names
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_stays() {
    let Some(fixture) = Fixture::mounting() else { return };
    let path = fixture.path("");
    let own = names(&path.join("tmp"));
    let mut child = start("dies with a snapshot under way", &path);
    wait_until_ready(&mut child);
    assert_eq!(names(&path.join("tmp")).len(), 2 * own.len());
    drop(Store::open(&path).expect("opened"));
    assert_eq!(names(&path.join("tmp")).len(), 2 * own.len(), "it lives");
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    assert!(!mounts.contains(&*path.to_string_lossy()), "{mounts}");
    drop(Store::open(&path).expect("opened"));
    assert_eq!(names(&path.join("tmp")), own);
    assert_eq!(names(&path.join("snapshots")), [""; 0]);
}

#[test]
fn a_store_that_was_half_made_is_finished() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    fs::create_dir_all(path.join("blobs")).expect("made");
    let store = Store::open(&path).expect("opened");
    store.put_blob(b"x").expect("stored");
    assert_eq!(fs::read_to_string(path.join("version")).expect("read"), "2\n");
}

#[test]
fn two_processes_that_make_the_same_both_succeed() {
    let Some(fixture) = Fixture::mounting() else { return };
    let children: Vec<Child> = (0..3).map(|_| start("makes a snapshot", &fixture.path(""))).collect();
    for child in children {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(names(&fixture.path("snapshots")).len(), 20);
}

#[test]
fn threads_may_open_the_same_new_store_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let store = Store::open(&path).expect("opened");
                    store.put_memo(&Digest::of(b"key"), "text").expect("kept");
                }
            });
        }
    });
    assert_eq!(names(&path.join("tmp")), [""; 0]);
    let leftovers: Vec<String> = names(&path).into_iter().filter(|name| name.contains(".new")).collect();
    assert_eq!(leftovers, [""; 0]);
}

#[test]
fn who_has_a_layer_is_the_union_of_what_everybody_learned() {
    let fixture = Fixture::new();
    let diff_id = DiffId(Digest::of(b"layer"));
    let blob = descriptor(MediaType::ImageLayerGzip, 7, Digest::of(b"blob"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, blob) = (&fixture.store, &blob);
            scope.spawn(move || {
                for n in 0..5 {
                    let source = format!("registry.example/{thread}/{n}");
                    store.put_layer_blob(&diff_id, blob, Some(&source)).expect("noted");
                    store.put_layer_blob(&diff_id, blob, None).expect("noted");
                }
            });
        }
    });
    let layer = fixture.store.layer(&diff_id).expect("known");
    assert_eq!((layer.blobs.len(), layer.blobs[0].sources.len()), (1, 40));
}

#[test]
fn a_cache_mount_is_shared_taken_in_turns_or_doubled_as_asked() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let take = |id: &str, sharing| store.cache_mount(&mount(id, sharing), 0o750, owner).expect("taken");
    let inode = |lease: &bake::store::CacheMountLease| {
        let stat = rustix::fs::fstat(lease.directory()).expect("open");
        assert_eq!(stat.st_mode & 0o7777, 0o750);
        stat.st_ino
    };
    let first = take("id", CacheSharing::Shared);
    let second = take("id", CacheSharing::Shared);
    assert_eq!(inode(&first), inode(&second));
    assert_ne!(inode(&first), inode(&take("other", CacheSharing::Shared)));
    let private = take("id", CacheSharing::Private);
    assert_ne!(inode(&first), inode(&private), "the first is in use");
    let kept = inode(&private);
    drop(private);
    assert_eq!(inode(&take("id", CacheSharing::Private)), kept, "what is free is used again");
}

#[test]
fn a_locked_cache_mount_is_free_again_when_its_process_is_killed() {
    let fixture = Fixture::new();
    let mut child = start("holds a cache mount", &fixture.path(""));
    wait_until_ready(&mut child);
    std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| fixture.store.cache_mount(&mount("id", CacheSharing::Locked), 0o755, (0, 0)).expect("taken"));
        assert!(!waiting.is_finished());
        child.kill().expect("killed");
        child.wait().expect("ended");
        drop(waiting.join().expect("taken"));
    });
}
