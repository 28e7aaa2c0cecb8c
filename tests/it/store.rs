//! The store on a real file system: layers made and unpacked, hostile archives, processes that died.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a fixture that fails ends its test; a skipped test says why"
)]

mod archives;
mod collect;
mod layers;
mod merge;
mod processes;
mod records;
mod support;
mod whiteouts;

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bake::digest::{DiffId, Digest};
use bake::oci::tar::{TarEntry, TarWriter};
use bake::oci::{MediaType, digest_of};
use bake::store::{ActiveSnapshot, Compression, Store, StoreError};
use tar::EntryType;
use tempfile::TempDir;

const EPOCH: i64 = 1_700_000_000;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root for overlay mounts and owners");
    }
    is_root
}

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

/// The detached mount, as a path.
fn path(snapshot: &ActiveSnapshot<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", snapshot.mount_fd().as_raw_fd()))
}

fn layer(store: &Store, parent: &[DiffId], change: impl FnOnce(&Path)) -> DiffId {
    let snapshot = store.prepare(parent).unwrap();
    change(&path(&snapshot));
    snapshot.commit(EPOCH, None).unwrap()
}

/// Everything a step could see, sorted.
fn list(store: &Store, stack: &[DiffId]) -> Vec<String> {
    use std::os::fd::AsRawFd;
    let view = store.view(stack).unwrap();
    let mut found = Vec::new();
    walk(&PathBuf::from(format!("/proc/self/fd/{}/", view.as_raw_fd())), Path::new(""), &mut found);
    found.sort();
    found
}

fn walk(top: &Path, relative: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(top.join(relative)).unwrap() {
        let name = relative.join(entry.unwrap().file_name());
        let full = top.join(&name);
        let m = std::fs::symlink_metadata(&full).unwrap();
        let content = match m.file_type() {
            kind if kind.is_file() => Digest::of(&std::fs::read(&full).unwrap()).short(),
            kind if kind.is_symlink() => std::fs::read_link(&full).unwrap().display().to_string(),
            _ => String::new(),
        };
        let times = (m.mtime(), m.mtime_nsec());
        let links = if m.is_dir() { 0 } else { m.nlink() };
        let line = format!("{name:?} {:o} {}:{} {links} {times:?} {content}", m.mode(), m.uid(), m.gid());
        found.push(line);
        if m.is_dir() {
            walk(top, &name, found);
        }
    }
}

fn archive(entries: &[(TarEntry<'_>, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TarWriter::new(&mut bytes);
    for (entry, content) in entries {
        writer.append(entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn unpack(store: &Store, parent: &[DiffId], tar: &[u8]) -> Result<DiffId, StoreError> {
    let diff_id = DiffId(Digest::of(tar));
    store.unpack_layer(parent, diff_id, &MediaType::from("application/vnd.oci.image.layer.v1.tar"), &mut &tar[..])?;
    Ok(diff_id)
}

fn blob_bytes(store: &Store, stack: &[DiffId]) -> (MediaType, Vec<u8>) {
    let descriptor = store.layer_blob(stack, Compression::default()).unwrap();
    let mut bytes = Vec::new();
    store.open_blob(&digest_of(&descriptor).unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
    (descriptor.media_type().clone(), bytes)
}

/// Brings `stack` into a second store, which must then see the same and make the same blobs again.
fn check_travels(first: &Store, stack: &[DiffId]) {
    let (_directory, second) = store();
    for n in 1..=stack.len() {
        let (media_type, bytes) = blob_bytes(first, &stack[..n]);
        second.unpack_layer(&stack[..n - 1], stack[n - 1], &media_type, &mut &bytes[..]).unwrap();
        assert_eq!(list(first, &stack[..n]), list(&second, &stack[..n]), "layer {n}");
        // The second store has no blob, so this makes one from the snapshot and checks its diff id.
        assert!(blob_bytes(&second, &stack[..n]).1 == bytes, "layer {n}");
    }
}

fn base(root: &Path) {
    for directory in ["d/s", "e", "t/deep/er"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["f", "d/a", "d/b", "d/s/x", "d/s/y", "e/only", "t/deep/er/leaf"] {
        std::fs::write(root.join(file), file).unwrap();
    }
}

#[test]
fn an_empty_change_is_the_well_known_empty_layer() {
    if !is_root() {
        return;
    }
    let (_directory, store) = store();
    let empty = layer(&store, &[], |_| {});
    assert_eq!(empty.0.hex(), "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    let first = layer(&store, &[], base);
    // Made and deleted, or opened and not changed.
    let same = layer(&store, &[first], |root| {
        std::fs::write(root.join("d/new"), "").unwrap();
        std::fs::remove_file(root.join("d/new")).unwrap();
        std::fs::set_permissions(root.join("e"), std::fs::Permissions::from_mode(0o755)).unwrap();
    });
    assert_eq!(same, empty);
}

#[test]
fn layers_travel_to_a_second_store() {
    if !is_root() {
        return;
    }
    let (_directory, store) = store();
    let first = layer(&store, &[], base);
    let again = layer(&self::store().1, &[], base);
    assert_eq!(first, again, "made at another time");
    let second = layer(&store, &[first], |root| {
        // Emptied in place, deleted, replaced, and replaced back.
        std::fs::remove_dir_all(root.join("d")).unwrap();
        std::fs::create_dir_all(root.join("d/s")).unwrap();
        std::fs::write(root.join("d/s/y"), "new").unwrap();
        std::fs::remove_dir_all(root.join("e")).unwrap();
        std::fs::write(root.join("e"), "now a file").unwrap();
        std::fs::remove_file(root.join("f")).unwrap();
        std::fs::create_dir(root.join("f")).unwrap();
        std::fs::write(root.join("t/deep/er/leaf"), "changed").unwrap();
    });
    let third = layer(&store, &[first, second], |root| {
        std::fs::remove_file(root.join("e")).unwrap();
        std::fs::create_dir(root.join("e")).unwrap();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).unwrap();
    });
    check_travels(&store, &[first, second, third]);
}

#[test]
fn how_a_directory_was_emptied_does_not_matter() {
    if !is_root() {
        return;
    }
    let (_directory, store) = store();
    let first = layer(&store, &[], base);
    let whole = layer(&store, &[first], |root| {
        std::fs::remove_dir_all(root.join("d/s")).unwrap();
        std::fs::create_dir(root.join("d/s")).unwrap();
    });
    let each = layer(&store, &[first], |root| {
        std::fs::remove_file(root.join("d/s/x")).unwrap();
        std::fs::remove_file(root.join("d/s/y")).unwrap();
    });
    assert_eq!(whole, each);
}

#[test]
fn odd_files_travel() {
    if !is_root() {
        return;
    }
    let (_directory, store) = store();
    let first = layer(&store, &[], base);
    let second = layer(&store, &[first], |root| {
        std::fs::hard_link(root.join("f"), root.join("z")).unwrap();
        symlink("/nowhere", root.join("link")).unwrap();
        let long = root.join("l".repeat(200)).join("m".repeat(200));
        std::fs::create_dir_all(&long).unwrap();
        std::fs::write(long.join("n"), "n").unwrap();
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
        std::fs::write(root.join("su"), "su").unwrap();
        std::os::unix::fs::chown(root.join("su"), Some(3_000_000), Some(7)).unwrap();
        std::fs::set_permissions(root.join("su"), std::fs::Permissions::from_mode(0o6755)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        // Version 2, effective: cap_net_bind_service.
        let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        rustix::fs::setxattr(root.join("su"), "security.capability", capability, flags).unwrap();
        rustix::fs::setxattr(root.join("e"), "user.note", b"v", flags).unwrap();
        File::create(root.join("sparse")).unwrap().set_len(3 << 20).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let old = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 7 };
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(rustix::fs::CWD, root.join("d/a"), &times, rustix::fs::AtFlags::empty()).unwrap();
    });
    check_travels(&store, &[first, second]);
    let view = list(&store, &[first, second]);
    assert!(view.iter().any(|line| line.starts_with("\"su\" 106755 3000000:7 ")), "{view:?}");
    assert!(view.iter().any(|line| line.starts_with("\"d/a\" ") && line.contains("(0, 0)")), "{view:?}");
}

#[test]
fn hostile_archives_change_nothing_outside() {
    if !is_root() {
        return;
    }
    let (directory, store) = store();
    let canary = directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("victim"), "alive").unwrap();
    let state = || {
        let of = |path: &Path| {
            let m = std::fs::metadata(path).unwrap();
            (m.mode(), m.uid(), m.nlink(), m.mtime(), m.mtime_nsec(), m.ctime_nsec())
        };
        (of(&canary), of(&canary.join("victim")), std::fs::read_dir(&canary).unwrap().count())
    };
    let before = state();
    let out = canary.as_os_str().as_bytes();
    let up = [b"../../../../../../..", out].concat();
    let entry = |path: &'static [u8], kind, link| TarEntry { link, ..TarEntry::new(path, kind, 0o777, 0) };
    let at = |suffix: &str| [out, suffix.as_bytes()].concat();
    let (victim, new, whiteout) = (at("/victim"), [&up[..], b"/new"].concat(), at("/.wh.victim"));
    let plain = |path| TarEntry { uid: 5, ..TarEntry::new(path, EntryType::Regular, 0o777, 0) };
    let link = |link| entry(b"x", EntryType::Symlink, link);
    let cases: Vec<Vec<TarEntry<'_>>> = vec![
        vec![plain(&new)],
        vec![plain(&victim)],
        vec![plain(&whiteout)],
        vec![link(out), plain(b"x/victim")],
        vec![link(&up), plain(b"x/new")],
        vec![link(out), plain(b"x/.wh.victim")],
        vec![link(out), plain(b"x/.wh..wh..opq")],
        vec![link(out), entry(b"x/", EntryType::Directory, b"")],
        vec![link(&victim), plain(b"x")],
        vec![entry(b"h", EntryType::Link, &victim), plain(b"h")],
        vec![link(&victim), entry(b"h", EntryType::Link, b"x"), plain(b"h")],
        vec![plain(b".wh.")],
        vec![plain(b".wh...")],
        vec![plain(b".wh..")],
        vec![plain(b".wh..wh.")],
        vec![entry(b"c", EntryType::Char, b"")],
        vec![plain(b"f"), plain(b"f"), entry(b"f/", EntryType::Directory, b""), plain(b"f")],
        vec![TarEntry { uid: u32::MAX, ..plain(b"f") }],
        vec![TarEntry { uid: u32::MAX, ..entry(b"./", EntryType::Directory, b"") }],
    ];
    for (n, case) in cases.iter().enumerate() {
        let entries: Vec<_> = case.iter().map(|entry| (entry.clone(), &b""[..])).collect();
        _ = unpack(&store, &[], &archive(&entries));
        // And over a link in an earlier layer.
        if let Ok(first) = unpack(&store, &[], &archive(&entries[..1])) {
            _ = unpack(&store, &[first], &archive(&entries[1..]));
        }
        assert_eq!(state(), before, "case {n}");
    }
    for n in [11, 12, 13, 15, 17, 18] {
        let entries: Vec<_> = cases[n].iter().map(|entry| (entry.clone(), &b""[..])).collect();
        assert!(unpack(&store, &[], &archive(&entries)).is_err(), "case {n}");
    }
}

#[test]
fn a_layer_that_is_not_whole_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (directory, store) = store();
    let content = vec![7; 4000];
    let tar = archive(&[(TarEntry::new(b"f", EntryType::Regular, 0o644, 4000), &content)]);
    assert!(unpack(&store, &[], &tar[..2000]).is_err());
    let media_type = MediaType::from("application/vnd.oci.image.layer.v1.tar");
    let other = DiffId(Digest::of(b"other"));
    let result = store.unpack_layer(&[], other, &media_type, &mut &tar[..]);
    assert!(matches!(result, Err(StoreError::DigestMismatch { .. })));
    let count = |path: &str| std::fs::read_dir(directory.path().join("store").join(path)).unwrap().count();
    assert_eq!(count("snapshots"), 0);
    // What is of no use is removed beside other work, and is gone when the store is closed.
    drop(store);
    assert_eq!(count("tmp"), 0);
}

#[test]
fn a_blob_is_the_same_for_any_number_of_threads() {
    if !is_root() {
        return;
    }
    let make = |n_threads| {
        let (directory, store) = store();
        let diff_id = layer(&store, &[], |root| {
            let bytes: Vec<u8> = (0..21_u32 << 18).flat_map(|n| (n / 3).to_le_bytes()).collect();
            std::fs::write(root.join("big"), bytes).unwrap();
        });
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let (_, bytes) = pool.install(|| blob_bytes(&store, &[diff_id]));
        (directory, diff_id, bytes)
    };
    let ((directory, diff_id, one), (_other, _, four)) = (make(1), make(4));
    assert!(one == four);
    let file = directory.path().join("layer.gz");
    std::fs::write(&file, &one).unwrap();
    let output = std::process::Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(output.status.success());
    assert_eq!(DiffId(Digest::of(&output.stdout)), diff_id);
}

#[test]
fn a_stack_of_130_layers_mounts() {
    if !is_root() {
        return;
    }
    let (_directory, store) = store();
    let mut stack = Vec::new();
    for n in 0..130 {
        let name = format!("f{n}");
        let tar = archive(&[(TarEntry::new(name.as_bytes(), EntryType::Regular, 0o644, 0), b"")]);
        stack.push(unpack(&store, &stack, &tar).unwrap());
    }
    assert_eq!(list(&store, &stack).len(), 130);
}

#[test]
fn only_what_dead_processes_left_is_removed() {
    let (directory, _store) = store();
    let path = directory.path().join("store");
    let tmp = path.join("tmp");
    for name in ["1-0", "1-1"] {
        std::fs::create_dir(tmp.join(name)).unwrap();
        File::create(tmp.join(name).with_extension("lock")).unwrap();
    }
    File::create(tmp.join("1-2.lock")).unwrap();
    // A lock of another open file is as another process's.
    let living = File::open(tmp.join("1-1.lock")).unwrap();
    living.lock().unwrap();
    drop(Store::open(&path).unwrap());
    let is_there = |name| tmp.join(name).exists();
    let names = ["1-0", "1-0.lock", "1-1", "1-1.lock", "1-2.lock"];
    assert_eq!(names.map(is_there), [false, false, true, true, false]);
}

#[test]
fn two_stores_on_one_directory_make_the_same_snapshot() {
    if !is_root() {
        return;
    }
    let (directory, first) = store();
    let second = Store::open(&directory.path().join("store")).unwrap();
    let (a, b) = (first.prepare(&[]).unwrap(), second.prepare(&[]).unwrap());
    base(&path(&a));
    base(&path(&b));
    let (a, b) = (a.commit(EPOCH, None).unwrap(), b.commit(EPOCH, None).unwrap());
    assert_eq!(a, b);
    assert_eq!(list(&first, &[a]), list(&second, &[a]));
}

#[test]
fn wrong_and_rotten_blobs_are_noticed() {
    let (directory, store) = store();
    let mut writer = store.blob_writer().unwrap();
    std::io::Write::write_all(&mut writer, b"one").unwrap();
    assert!(writer.commit(Some(Digest::of(b"two"))).is_err());
    assert!(!store.has_blob(&Digest::of(b"one")) && !store.has_blob(&Digest::of(b"two")));
    let digest = store.put_blob(b"good").unwrap();
    std::fs::write(directory.path().join("store/blobs/sha256").join(digest.hex()), "rot").unwrap();
    assert!(matches!(store.read_blob(&digest), Err(StoreError::Damaged { .. })));
    assert!(!store.has_blob(&digest));
    // A large one is no document, but it is not rotten.
    let large = store.put_blob(&vec![0; (16 << 20) + 1]).unwrap();
    assert!(matches!(store.read_blob(&large), Err(StoreError::Io { .. })));
    assert!(store.has_blob(&large));
}

#[test]
fn what_is_no_store_of_ours_is_refused_and_kept_as_it_is() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = directory.path().join("home");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("letter"), "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = || matches!(Store::open(&path), Err(StoreError::Unusable { .. }));
    assert!(refused());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
    for version in ["1\n", "3\n"] {
        std::fs::write(path.join("version"), version).unwrap();
        assert!(refused());
    }
    std::fs::write(path.join("version"), "2\n").unwrap();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(refused());
    }
}

#[test]
fn after_a_restart_what_may_not_have_reached_the_disk_is_gone() {
    let (directory, store) = store();
    let path = directory.path().join("store");
    let digest = store.put_blob(b"recent").expect("stored");
    drop(store);
    let store = Store::open(&path).expect("the same boot");
    assert!(store.has_blob(&digest));
    drop(store);
    std::fs::write(path.join("boot"), "another boot\n").expect("written");
    let store = Store::open(&path).expect("a new boot");
    assert!(!store.has_blob(&digest));
    let digest = store.put_blob(b"after it").expect("stored");
    drop(store);
    assert!(Store::open(&path).expect("the same boot").has_blob(&digest));
}
