//! The limit, what is collected to keep it, and what is not.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bake::digest::{DiffId, Digest};
use bake::graph::CacheSharing;
use bake::oci::{MediaType, descriptor};
use bake::store::{
    CacheMountRequest, CacheRecord, Inventory, ItemKind, Sizes, Store, StoreError, StoreLimit, Verdict, Wish,
};
use bake::sys::cancel::CancelToken;

use super::processes::{start, wait_until_ready};
use super::support::Fixture;

/// A store of at most so many KiB. The directories take up to 80 of them.
fn limited(path: &Path, kib: u64) -> Store {
    Store::open(path).expect("opened").with_limit(Some(StoreLimit::Size(kib << 10)))
}

/// 64 KiB that nothing else holds.
fn large(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(64 << 10).collect()
}

/// Makes a file look as if it was used `hours` ago for the last time.
fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    let times = FileTimes::new().set_accessed(then).set_modified(then);
    File::options().append(true).open(path).expect("there").set_times(times).expect("set");
}

fn blob_path(fixture: &Fixture, content: &[u8]) -> std::path::PathBuf {
    fixture.path("blobs/sha256").join(Digest::of(content).hex())
}

/// What `du -s` says, bytes.
fn du(path: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().expect("du");
    String::from_utf8_lossy(&output.stdout).split('\t').next().and_then(|size| size.parse().ok()).expect("a size")
}

fn items(inventory: &Inventory, kind: ItemKind) -> usize {
    inventory.items.iter().filter(|item| item.id.kind == kind).count()
}

#[test]
fn the_oldest_go_first_when_there_is_no_room() {
    let fixture = Fixture::new();
    for (hours, name) in [(3, "c"), (1, "a"), (2, "b")] {
        fixture.store.put_blob(&large(name)).expect("stored");
        age(&blob_path(&fixture, &large(name)), hours);
    }
    drop(fixture.store);
    let path = fixture.directory.path().join("store");
    let store = limited(&path, 300);
    store.put_blob(&large("new")).expect("stored");
    let is_there = |name: &str| path.join("blobs/sha256").join(Digest::of(&large(name)).hex()).exists();
    assert_eq!(["new", "a", "b", "c"].map(is_there), [true, true, true, false]);
    assert!(du(&path) <= 300 << 10, "{}", du(&path));
}

#[test]
fn what_the_build_itself_needs_is_never_collected_and_too_much_of_it_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = limited(&directory.path().join("store"), 300);
    for name in ["a", "b", "c"] {
        store.put_blob(&large(name)).expect("stored");
    }
    let error = store.put_blob(&large("d")).expect_err("no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.to_string().contains("--store-limit"), "{error}");
    for name in ["a", "b", "c"] {
        assert_eq!(store.read_blob(&Digest::of(&large(name))).expect("there"), large(name));
    }
    assert!(!store.has_blob(&Digest::of(&large("d"))));
    assert!(matches!(store.reserve(64 << 10), Err(StoreError::Full { .. })));
    let path = store.path().to_owned();
    drop(store);
    // The next one may have all that room.
    let store = limited(&path, 300);
    store.put_blob(&large("d")).expect("stored");
    assert!(du(&path) <= 300 << 10);
}

#[test]
fn what_another_process_uses_stays_until_it_is_killed() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("store");
    fixture.store.put_blob(b"used elsewhere").expect("stored");
    drop(fixture.store);
    age(&path.join("blobs/sha256").join(Digest::of(b"used elsewhere").hex()), 1000);
    let mut child = start("uses a blob", &path);
    wait_until_ready(&mut child);
    let store = Store::open(&path).expect("opened");
    let all = Wish { keep: 0, spares: &|_| None };
    let collected = store.collect(&all).expect("collected");
    assert_eq!(collected.decisions.len(), 1);
    assert_eq!(collected.decisions[0].verdict, Verdict::InUse);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let collected = store.collect(&all).expect("collected");
    assert_eq!(collected.decisions[0].verdict, Verdict::Goes);
    assert!(collected.freed >= 512);
    assert_eq!(items(&store.inventory(Sizes::Disk).expect("listed"), ItemKind::Blob), 0);
}

#[test]
fn nothing_is_collected_while_a_bake_runs_that_does_not_say_what_it_uses() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("store");
    fixture.store.put_memo(&Digest::of(b"memo"), "text").expect("stored");
    drop(fixture.store);
    let silent = File::create(path.join("tmp/1-0.lock")).expect("made");
    silent.lock().expect("locked");
    let store = Store::open(&path).expect("opened");
    let collected = store.collect(&Wish { keep: 0, spares: &|_| None }).expect("collected");
    assert_eq!((collected.freed, &collected.decisions[0].verdict), (0, &Verdict::InUse));
    drop(silent);
    assert!(store.collect(&Wish { keep: 0, spares: &|_| None }).expect("collected").freed > 0);
}

#[test]
fn a_record_goes_before_what_it_needs_and_what_it_needs_is_as_young_as_it() {
    let Some(fixture) = Fixture::mounting() else { return };
    let path = fixture.directory.path().join("store");
    let base = fixture.layer(&[], |root| fs::write(root.join("f"), large("base")).expect("written"));
    let stack = fixture.layer(&base, |root| fs::write(root.join("g"), "over").expect("written"));
    let blob = descriptor(MediaType::ImageLayerGzip, 7, Digest::of(&large("blob")));
    fixture.store.put_blob(&large("blob")).expect("stored");
    fixture.store.put_layer_blob(&base[0], &blob, None).expect("noted");
    let record = |diff_ids: &[DiffId], name: &str| CacheRecord {
        diff_ids: diff_ids.to_vec(),
        ingredients: Vec::new(),
        duration_ms: 1,
        name: name.to_owned(),
    };
    fixture.store.put_record(&Digest::of(b"old"), &record(&base, "RUN old")).expect("kept");
    fixture.store.put_record(&Digest::of(b"new"), &record(&stack, "RUN new")).expect("kept");
    drop(fixture.store);
    age(&path.join("records").join(Digest::of(b"old").hex()), 50);
    age(&path.join("blobs/sha256").join(Digest::of(&large("blob")).hex()), 60);
    let store = Store::open(&path).expect("opened");
    let order = |store: &Store| {
        let total = store.inventory(Sizes::Disk).expect("listed");
        let decisions = bake::store::decide(&total.items, total.total(), &Wish { keep: 0, spares: &|_| None });
        let shown = decisions.iter().map(|decision| &total.items[decision.index]);
        let shown = shown.filter(|item| item.id.kind != ItemKind::Memo);
        shown.map(|item| format!("{} {}", item.id.kind.name(), item.description)).collect::<Vec<_>>()
    };
    let mut actual = order(&store);
    // Which of two snapshots of one age goes first is their digests' matter.
    actual[3..5].sort();
    let expected =
        ["record RUN old", "record RUN new", "layer RUN old", "snapshot RUN new", "snapshot RUN old", "blob RUN old"];
    assert_eq!(actual, expected);
    // Its referrer stays, so it does.
    let spares = |item: &bake::store::Item| (item.description == "RUN new").then(|| "told so".to_owned());
    let collected = store.collect(&Wish { keep: 0, spares: &spares }).expect("collected");
    let stays = collected.decisions.iter().filter(|decision| matches!(decision.verdict, Verdict::Needed(_))).count();
    assert_eq!(stays, 3, "{:#?}", collected.decisions);
    assert!(store.has_snapshot_of(&stack) && store.record(&Digest::of(b"old")).is_none());
}

#[test]
fn the_ledger_the_inventory_and_du_agree() {
    let Some(fixture) = Fixture::mounting() else { return };
    let path = fixture.directory.path().join("store");
    let stack = fixture.layer(&[], |root| {
        fs::create_dir_all(root.join("d/e")).expect("made");
        (0..50).for_each(|n| fs::write(root.join(format!("d/{n}")), large("x")).expect("written"));
        fs::hard_link(root.join("d/1"), root.join("d/e/1")).expect("linked");
    });
    fixture.tar(&stack);
    fixture.store.put_memo(&Digest::of(b"m"), "text").expect("kept");
    fixture.store.write_state("stat-cache", &large("state")).expect("kept");
    let counted = fixture.store.inventory(Sizes::Ledger).expect("listed");
    let walked = fixture.store.inventory(Sizes::Disk).expect("listed");
    let sizes = |inventory: &Inventory| -> Vec<(String, u64)> {
        inventory.items.iter().map(|item| (item.id.to_string(), item.size)).collect()
    };
    assert_eq!(sizes(&counted), sizes(&walked));
    assert!(walked.total().abs_diff(du(&path)) <= 4096, "{} {}", walked.total(), du(&path));
}

#[test]
fn a_store_of_an_earlier_bake_is_counted_once() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("store");
    fixture.store.put_blob(&large("a")).expect("stored");
    drop(fixture.store);
    age(&path.join("blobs/sha256").join(Digest::of(&large("a")).hex()), 5);
    fs::remove_file(path.join("ledger")).expect("removed");
    fs::remove_dir(path.join("uses")).expect("removed");
    let store = limited(&path, 180);
    store.put_blob(&large("b")).expect("stored");
    assert!(!store.has_blob(&Digest::of(&large("a"))), "it had no room beside the other");
}

#[test]
fn a_cache_mount_that_is_in_use_stays() {
    let fixture = Fixture::new();
    let (never, owner) = (CancelToken::default(), (rustix::process::geteuid().as_raw(), 0));
    let request = CacheMountRequest { id: "/cache", sharing: CacheSharing::Shared, cancel: &never };
    let lease = fixture.store.cache_mount(&request, 0o755, owner).expect("taken");
    let all = Wish { keep: 0, spares: &|_| None };
    let collected = fixture.store.collect(&all).expect("collected");
    assert_eq!(collected.decisions[0].verdict, Verdict::InUse);
    assert_eq!(collected.inventory.items[0].description, "/cache");
    drop(lease);
    assert_eq!(fixture.store.collect(&all).expect("collected").decisions[0].verdict, Verdict::Goes);
    assert!(!fixture.path("mounts").join(Digest::of(b"/cache").hex()).exists());
}

#[test]
fn a_store_of_another_version_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("store");
    for (version, mend) in [("3\n", "use the newer bake"), ("1\n", "remove it")] {
        fs::write(path.join("version"), version).expect("written");
        let error = Store::open(&path).expect_err("refused").to_string();
        assert!(error.contains(mend) && error.contains(&format!("version is {}", version.trim())), "{error}");
    }
}
