//! From files to layers and back.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use bake::digest::{DiffId, Digest};
use bake::oci::digest_of;
use bake::store::Compression;
use expect_test::expect;

use super::support::{EPOCH, Fixture, archive, entries_of};

/// The digest of an archive without entries, known from images everywhere.
const EMPTY_LAYER: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// Makes some of everything that a layer can hold.
fn make_all_kinds(top: &Path) {
    let long = "n".repeat(120);
    fs::create_dir_all(top.join("app/empty")).expect("made");
    fs::write(top.join("app/b"), "content").expect("written");
    fs::write(top.join("app").join(&long), "long").expect("written");
    fs::set_permissions(top.join("app/b"), fs::Permissions::from_mode(0o4751)).expect("set");
    fs::hard_link(top.join("app/b"), top.join("app/c")).expect("linked");
    symlink("/nowhere", top.join("app/link")).expect("linked");
    chown(top.join("app/empty"), Some(70_000), Some(3_000_000)).expect("given");
    rustix::fs::mknodat(rustix::fs::CWD, top.join("app/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("made");
    drop(std::os::unix::net::UnixListener::bind(top.join("app/socket")).expect("bound"));
    rustix::fs::setxattr(top.join("app/b"), "user.note", b"\0\n=", rustix::fs::XattrFlags::empty()).expect("set");
}

#[test]
fn a_layer_depends_on_its_files_alone() {
    let Some(fixture) = Fixture::mounting() else { return };
    let stack = fixture.layer(&[], make_all_kinds);
    expect![[r#"
        5 0755 0:0 315532800 app/ 0
        0 4751 0:0 315532800 app/b 7
        1 4751 0:0 315532800 app/c -> app/b 0
        5 0755 70000:3000000 315532800 app/empty/ 0 gid
        2 0777 0:0 315532800 app/link -> /nowhere 0
        0 0644 0:0 315532800 app/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn 4 path
        6 0600 0:0 315532800 app/pipe 0
    "#]]
    .assert_eq(&entries_of(&fixture.tar(&stack)));
    // The same bytes on every machine.
    expect!["sha256:0e06d0e06f6fd00af5765128ef8ceddb0649cfb93fc133d0387eb4e7f8e8f64f"].assert_eq(&stack[0].to_string());
}

#[test]
fn a_layer_that_is_unpacked_elsewhere_is_the_same_files_and_the_same_layer() {
    let (Some(here), Some(there)) = (Fixture::mounting(), Fixture::mounting()) else { return };
    let base = here.layer(&[], make_all_kinds);
    let top = here.layer(&base, |top| {
        fs::remove_file(top.join("app/c")).expect("removed");
        fs::write(top.join("app/empty/full"), "now").expect("written");
        fs::set_permissions(top.join("app/empty"), fs::Permissions::from_mode(0o711)).expect("set");
    });
    let mut stack = Vec::new();
    for n in 1..=top.len() {
        let tar = here.tar(&top[..n]);
        stack = there.unpack(&stack, &tar).expect("unpacked");
        assert_eq!(stack, top[..n]);
        // Made of the snapshot again: the store that unpacked it has no blob.
        assert_eq!(there.tar(&stack), tar);
    }
    assert_eq!(there.list(&stack), here.list(&top));
}

/// Giving a file an owner takes its capabilities away, and their bytes may be line breaks, which end a PAX record.
#[test]
fn capabilities_of_files_survive() {
    let (Some(here), Some(there)) = (Fixture::mounting(), Fixture::mounting()) else { return };
    let capability = [1, 0, 0, 2, b'\n', b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let stack = here.layer(&[], |top| {
        let file = top.join("ping");
        fs::write(&file, "").expect("written");
        chown(&file, Some(5), Some(6)).expect("given");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, "security.capability", &capability, flags).expect("set");
    });
    let unpacked = there.unpack(&[], &here.tar(&stack)).expect("unpacked");
    let view = there.store.view(&unpacked).expect("mounted");
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(super::support::path_of(&view).join("ping"), "security.capability", &mut value)
        .expect("there");
    assert_eq!(value[..n], capability);
}

#[test]
fn a_directory_is_in_a_layer_only_if_something_of_it_changed() {
    let Some(fixture) = Fixture::mounting() else { return };
    let base = fixture.layer(&[], |top| fs::create_dir_all(top.join("a/b/c")).expect("made"));
    let touched = fixture.layer(&base, |top| {
        fs::write(top.join("a/b/f"), "x").expect("written");
        fs::remove_file(top.join("a/b/f")).expect("removed");
    });
    assert_eq!(touched[1].to_string(), EMPTY_LAYER);
    let changed = fixture.layer(&base, |top| {
        fs::set_permissions(top.join("a/b"), fs::Permissions::from_mode(0o700)).expect("set");
    });
    expect![[r#"
        5 0755 0:0 315532800 a/ 0
        5 0700 0:0 315532800 a/b/ 0
    "#]]
    .assert_eq(&entries_of(&fixture.tar(&changed)));
}

#[test]
fn a_snapshot_shows_the_times_that_its_layer_has() {
    let Some(fixture) = Fixture::mounting() else { return };
    let stack = fixture.layer(&[], |top| {
        fs::write(top.join("new"), "").expect("written");
        let old = fs::File::create(top.join("old")).expect("made");
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(5_500)).expect("set");
    });
    let view = fixture.store.view(&stack).expect("mounted");
    let time = |name: &str| {
        let metadata = fs::symlink_metadata(super::support::path_of(&view).join(name)).expect("there");
        let since = metadata.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        (since.as_secs().cast_signed(), since.subsec_nanos())
    };
    assert_eq!((time("new"), time("old"), time(".")), ((EPOCH, 0), (5, 0), (0, 0)));
}

#[test]
fn an_unpacked_layer_shows_nothing_of_the_machine_it_is_unpacked_on() {
    let Some(fixture) = Fixture::mounting() else { return };
    let base =
        fixture.unpack(&[], &archive(&["d ./ 755", "d etc/ 755", "f etc/old x", "d var/ 750"])).expect("unpacked");
    let stack = fixture
        .unpack(&base, &archive(&["f etc/new y", "f usr/lib/z z", "f etc/.wh.old ", "d var/ 700", "f var/q q"]))
        .expect("unpacked");
    expect![[r#"
        d0755 0:0 1000 .
        d0755 0:0 1001 ./etc
        f0644 0:0 1000 ./etc/new "y"
        d0755 0:0 0 ./usr
        d0755 0:0 0 ./usr/lib
        f0644 0:0 1001 ./usr/lib/z "z"
        d0700 0:0 1003 ./var
        f0644 0:0 1004 ./var/q "q"
    "#]]
    .assert_eq(&fixture.list(&stack));
}

#[test]
fn compressed_layers_are_unpacked_and_cut_ones_refused() {
    let Some(fixture) = Fixture::mounting() else { return };
    let tar = archive(&["f a content"]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).expect("written");
        encoder.finish().expect("written")
    };
    // A member's border may be anywhere.
    let members = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    let zstd = zstd::encode_all(&tar[..], 3).expect("compressed");
    let diff_id = DiffId(Digest::of(&tar));
    for (media_type, blob) in [("gzip", members), ("zstd", zstd)] {
        let media_type = format!("application/vnd.oci.image.layer.v1.tar+{media_type}").as_str().into();
        let cut = fixture.store.unpack_layer(&[], diff_id, &media_type, &mut &blob[..blob.len() - 5]);
        assert!(cut.is_err() && !fixture.store.has_snapshot_of(&[diff_id]), "{media_type}");
        fixture.store.unpack_layer(&[], diff_id, &media_type, &mut &blob[..]).expect("unpacked");
        fs::remove_dir_all(fixture.path(&format!("snapshots/{}", diff_id.0.hex()))).expect("removed");
    }
}

#[test]
fn a_layer_that_is_compressed_as_it_is_made_has_the_same_blob() {
    let change = |top: &Path| {
        for n in 0..3_000 {
            fs::write(top.join(format!("f{n}")), format!("{n} ").repeat(500)).expect("written");
        }
    };
    let (Some(later), Some(at_once)) = (Fixture::mounting(), Fixture::mounting()) else { return };
    let stack = later.layer(&[], change);
    assert_eq!(later.store.layer(&stack[0]), None);
    let blob = later.store.layer_blob(&stack, Compression::default()).expect("compressed");

    let snapshot = at_once.store.prepare(&[]).expect("prepared");
    change(&PathBuf::from(format!("/proc/self/fd/{}", snapshot.mount_fd().as_raw_fd())));
    let diff_id = snapshot.commit(EPOCH, Some(Compression::default())).expect("committed");
    assert_eq!(diff_id, stack[0]);
    let known = at_once.store.layer(&diff_id).expect("known").blobs;
    assert_eq!(known.iter().map(|known| &known.descriptor).collect::<Vec<_>>(), [&blob]);
    let digest = blob.digest().to_string().parse().expect("a digest");
    assert_eq!(at_once.store.read_blob(&digest).expect("there"), later.store.read_blob(&digest).expect("there"));
}

#[test]
fn a_layer_keeps_a_blob_for_each_compression() {
    let Some(fixture) = Fixture::mounting() else { return };
    let stack = fixture.layer(&[], |top| fs::write(top.join("f"), [7; 4000]).expect("written"));
    let blob = |compression| fixture.store.layer_blob(&stack, compression).expect("compressed");
    let all = [Compression::Zstd(3), Compression::default(), Compression::Uncompressed, Compression::Gzip(9)];
    let blobs = all.map(blob);
    assert_eq!(all.map(blob), blobs);
    let types = blobs.each_ref().map(|blob| blob.media_type().to_string());
    let suffixes =
        types.each_ref().map(|name| name.strip_prefix("application/vnd.oci.image.layer.v1.tar").expect(name));
    assert_eq!(suffixes, ["+zstd", "+gzip", "", "+gzip"]);
    for from in &blobs {
        for (compression, blob) in all.iter().zip(&blobs) {
            let other = Fixture::mounting().expect("as before");
            let bytes = fixture.store.read_blob(&digest_of(from).expect("a digest")).expect("there");
            other.store.put_blob(&bytes).expect("kept");
            let made = other.store.compress_anew(&stack[0], from, *compression).expect("a layer");
            assert_eq!(made, *blob, "{compression} from {from:?}");
        }
    }
}
