//! Archives that are hostile or odd. A canary directory stands beside the root; nothing in it may change.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use bake::store::unpack::{Limits, Unpack, Whiteouts, unpack};
use bake::sys::root::Root;
use expect_test::{Expect, expect};
use tar::EntryType;

use super::support::{archive, list};

/// Unpacks with owner and group of this user; returns the error's text or the files, without owners and times.
fn unpack_beside_a_canary(tar: &[u8], whiteouts: Whiteouts) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("canary/dir")).expect("made");
    fs::write(path("canary/victim"), "untouched").expect("written");
    fs::set_permissions(path("canary/victim"), fs::Permissions::from_mode(0o640)).expect("set");
    fs::create_dir_all(path("root/base")).expect("made");
    let before = (list(&path("canary")), fs::metadata(path("canary/victim")).expect("there").nlink());
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let options = Unpack { whiteouts, owner: Some(owner), limits: None };
    let root = Root::open(&path("root/base")).expect("opened");
    let result = unpack(&mut &*tar, &root, &options);
    let after = (list(&path("canary")), fs::metadata(path("canary/victim")).expect("there").nlink());
    assert_eq!(before, after);
    let shown = match result {
        Ok(()) => String::new(),
        Err(error) => format!("error: {error}\n"),
    };
    let files = list(&path("root"));
    let files = files.lines().skip(1).map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        format!("{} {}\n", words[0], words[3])
    });
    shown + &files.collect::<String>()
}

#[track_caller]
fn check(entries: &[&str], expected: Expect) {
    expected.assert_eq(&unpack_beside_a_canary(&archive(entries), Whiteouts::Apply));
}

#[test]
fn names_stay_beneath_the_root() {
    check(
        &["f ../canary/victim x", "f ../../../canary/new y", "f /canary/abs z", "d ../canary/dir/ 777"],
        expect![[r#"
        d0755 ./base
        d0755 ./base/canary
        f0644 ./base/canary/abs "z"
        d0777 ./base/canary/dir
        f0644 ./base/canary/new "y"
        f0644 ./base/canary/victim "x"
    "#]],
    );
}

#[test]
fn a_link_is_followed_only_inside_the_root() {
    check(
        &["l up ../../canary", "f up/victim x"],
        expect![[r#"
            d0755 ./base
            d0755 ./base/canary
            f0644 ./base/canary/victim "x"
            l0777 ./base/up -> ../../canary
        "#]],
    );
    check(
        &["l abs /canary", "d abs/ 755", "l in /abs", "f in/f x"],
        expect![[r#"
            d0755 ./base
            d0755 ./base/abs
            f0644 ./base/abs/f "x"
            l0777 ./base/in -> /abs
        "#]],
    );
    check(
        &["l proc /proc/self/cwd", "f proc/f x"],
        expect![[r#"
            error: cannot unpack `proc/f`: Too many levels of symbolic links (os error 40)
            d0755 ./base
            l0777 ./base/proc -> /proc/self/cwd
        "#]],
    );
}

#[test]
fn an_entry_replaces_a_link_and_never_writes_through_it() {
    check(
        &["l f ../../canary/victim", "f f x", "l d ../../canary", "d d/ 777"],
        expect![[r#"
        d0755 ./base
        d0777 ./base/d
        f0644 ./base/f "x"
    "#]],
    );
}

#[test]
fn hard_links_stay_beneath_the_root() {
    check(
        &["h out ../../canary/victim"],
        expect![[r#"
        error: cannot unpack `out`: No such file or directory (os error 2)
        d0755 ./base
    "#]],
    );
    check(
        &["l s ../../canary/victim", "h t s", "f t x"],
        expect![[r#"
        d0755 ./base
        l0777 ./base/s -> ../../canary/victim
        f0644 ./base/t "x"
    "#]],
    );
    check(
        &["l up ../../canary", "h out up/victim"],
        expect![[r#"
        error: cannot unpack `out`: No such file or directory (os error 2)
        d0755 ./base
        l0777 ./base/up -> ../../canary
    "#]],
    );
    check(
        &["f a x", "h a a", "h b a", "d c/ 755", "h e c"],
        expect![[r#"
        error: cannot unpack `e`: Operation not permitted (os error 1)
        d0755 ./base
        f0644 ./base/a "x"
        f0644 ./base/b "x"
        d0755 ./base/c
    "#]],
    );
}

#[test]
fn a_whiteout_does_not_delete_through_a_link() {
    check(
        &["l up ../../canary", "f up/.wh.victim "],
        expect![[r#"
            d0755 ./base
            d0755 ./base/canary
            l0777 ./base/up -> ../../canary
        "#]],
    );
    check(
        &["l up ../../canary/dir", "f up/.wh..wh..opq "],
        expect![[r#"
            d0755 ./base
            d0755 ./base/canary
            d0755 ./base/canary/dir
            l0777 ./base/up -> ../../canary/dir
        "#]],
    );
    check(
        &["l s ../../canary/victim", "f .wh.s "],
        expect![[r#"
        d0755 ./base
        l0777 ./base/s -> ../../canary/victim
    "#]],
    );
}

#[test]
fn the_later_of_two_entries_wins() {
    check(
        &["f a 1", "d a/ 700", "f a/b 2", "d a/ 755", "d e/ 755", "f e/x 3", "f e 4", "p e"],
        expect![[r#"
        d0755 ./base
        d0755 ./base/a
        f0644 ./base/a/b "2"
        p0644 ./base/e
    "#]],
    );
}

#[test]
fn whiteouts_of_an_archive_that_is_no_layer_are_files() {
    expect![[r#"
        d0755 ./base
        f0644 ./base/.wh..wh..opq ""
        f0644 ./base/.wh.a ""
        f0644 ./base/a "1"
    "#]]
    .assert_eq(&unpack_beside_a_canary(&archive(&["f a 1", "f .wh.a ", "f .wh..wh..opq "]), Whiteouts::Literal));
}

#[test]
fn what_no_layer_has_is_refused() {
    check(
        &["c null 0 0"],
        expect![[r#"
        error: cannot unpack `null`: a device that stands for a deleted file
        d0755 ./base
    "#]],
    );
    let odd = |kind: u8| {
        let mut header = tar::Header::new_gnu();
        header.set_path("odd").expect("fits");
        header.set_entry_type(EntryType::new(kind));
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    expect![[r#"
        error: `odd` is of an unsupported kind
        d0755 ./base
    "#]]
    .assert_eq(&unpack_beside_a_canary(&odd(b'V'), Whiteouts::Apply));

    let mut sparse = tar::Builder::new(Vec::new());
    sparse.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).expect("written");
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    sparse.append_data(&mut header, "holes", &b""[..]).expect("written");
    let sparse = sparse.into_inner().expect("written");
    expect![[r#"
        error: sparse files are not supported
        d0755 ./base
    "#]]
    .assert_eq(&unpack_beside_a_canary(&sparse, Whiteouts::Apply));
}

#[test]
fn an_archive_that_ends_early_or_lies_is_refused() {
    let whole = archive(&["f a content"]);
    expect![[r#"
        error: cannot unpack `a`: unexpected end of file
        d0755 ./base
        f0600 ./base/a "con"
    "#]]
    .assert_eq(&unpack_beside_a_canary(&whole[..515], Whiteouts::Apply));
    let mut garbled = whole.clone();
    garbled[0] = b'!';
    expect![[r#"
        error: a header's checksum is wrong
        d0755 ./base
    "#]]
    .assert_eq(&unpack_beside_a_canary(&garbled, Whiteouts::Apply));
}

/// Other readers stop at it, and a name behind it would be seen by some alone.
#[test]
fn a_lone_block_of_zeros_is_refused() {
    let mut tar = archive(&["f a x"]);
    tar.truncate(1024 + 512);
    tar.extend(archive(&["f b y"]));
    expect![[r#"
        error: a block of zeros between entries
        d0755 ./base
        f0644 ./base/a "x"
    "#]]
    .assert_eq(&unpack_beside_a_canary(&tar, Whiteouts::Apply));
}

#[test]
fn old_archives_end_the_names_of_directories_in_a_slash() {
    check(
        &["f dir/ ", "f dir/f x"],
        expect![[r#"
        d0755 ./base
        d0644 ./base/dir
        f0644 ./base/dir/f "x"
    "#]],
    );
}

/// Headers are held in memory; a name that claims gigabytes must not be.
#[test]
fn a_name_without_end_is_refused_before_it_fills_the_memory() {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").expect("fits");
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("opened");
    let options = Unpack { whiteouts: Whiteouts::Apply, owner: None, limits: None };
    let mut endless = std::io::Read::chain(&header.as_bytes()[..], std::io::repeat(b'n'));
    let error = unpack(&mut endless, &root, &options).expect_err("too long");
    expect!["an extension header is larger than 1 MiB"].assert_eq(&error.to_string());
}

#[test]
fn an_owner_that_is_no_id_is_refused() {
    let mut bytes = Vec::new();
    let mut writer = bake::oci::tar::TarWriter::new(&mut bytes);
    let mut entry = bake::oci::tar::TarEntry::new(b"f", EntryType::Regular, 0o644, 0);
    entry.uid = u32::MAX;
    writer.append(&entry, &mut std::io::empty()).expect("written");
    writer.finish().expect("written");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("opened");
    let options = Unpack { whiteouts: Whiteouts::Apply, owner: None, limits: None };
    let error = unpack(&mut &bytes[..], &root, &options).expect_err("no id");
    expect!["`f` belongs to 4294967295:0, which this user cannot give a file to"].assert_eq(&error.to_string());
}

/// Long names, large numbers and times are told in another way in each.
#[test]
fn the_formats_that_gnu_tar_writes_are_the_same_files() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (long, deep) = ("n".repeat(140), "d/".repeat(90));
    let top = directory.path().join("files");
    fs::create_dir_all(top.join(&deep)).expect("made");
    fs::write(top.join(&deep).join("ä"), "deep").expect("written");
    std::os::unix::fs::symlink(&long, top.join("link")).expect("linked");
    fs::write(top.join(&long), "long").expect("written");
    fs::hard_link(top.join(&long), top.join("z")).expect("linked");
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, top.join("pipe"), pipe, 0o644.into(), 0).expect("made");
    let mut trees = std::collections::BTreeSet::new();
    for format in ["gnu", "oldgnu", "pax", "posix"] {
        let mut tar = std::process::Command::new("tar");
        tar.args(["-c", "--sort=name", "--owner=70000000", "--mtime=2001-02-03 UTC", "-H", format, "-C"]);
        let tar = tar.arg(&top).arg(".").output().expect("tar runs").stdout;
        let tree = unpack_beside_a_canary(&tar, Whiteouts::Apply);
        assert!(!tree.starts_with("error"), "{format}: {tree}");
        trees.insert(tree);
    }
    assert_eq!(trees.len(), 1, "{trees:#?}");
    let tree = trees.pop_first().expect("one");
    let expected = [
        format!("f0644 ./base/{deep}ä \"deep\""),
        format!("l0777 ./base/link -> {long}"),
        format!("f0644 ./base/{long} \"long\""),
        "p0644 ./base/pipe".to_owned(),
        "f0644 ./base/z \"long\"".to_owned(),
    ];
    assert!(expected.iter().all(|line| tree.lines().any(|found| found == line)), "{tree}");
}

/// Whatever a header says: an error or files, nothing beside the root, and no panic.
#[test]
fn damaged_headers_do_no_harm() {
    let archive = archive(&["d d/ 755", "f d/f content", "h d/h d/f", "l d/l ../../canary/victim"]);
    let name = format!("{}/x", "n".repeat(150));
    let long = super::support::archive(&[&format!("f {name} x")]);
    for whole in [archive, long] {
        for at in (0..whole.len() - 1024).step_by(61) {
            for damage in [0, b'9', 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = damage;
                // Its checksum is right again, so that what it says is looked at.
                let header = &mut damaged[at / 512 * 512..][..512];
                if &header[257..262] == b"ustar" {
                    header[148..156].fill(b' ');
                    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
                    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                }
                unpack_beside_a_canary(&damaged, Whiteouts::Apply);
            }
        }
        for cut in (0..whole.len()).step_by(499) {
            unpack_beside_a_canary(&whole[..cut], Whiteouts::Apply);
        }
    }
}

#[test]
fn an_archive_that_would_fill_the_disk_is_given_up_before_it_does() {
    let unpacked = |limits: Option<Limits>, tar: &[u8]| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = Unpack { whiteouts: Whiteouts::Literal, owner: Some(owner), limits };
        let root = Root::open(directory.path()).expect("opened");
        let error = unpack(&mut &*tar, &root, &options).err().map(|error| error.to_string());
        (error, fs::read_dir(directory.path()).expect("listed").count())
    };
    let tar = archive(&["f a 12345", "f b 12345", "f c x"]);
    let limits = |size, n_entries| Some(Limits { size, n_entries });
    assert_eq!(unpacked(limits(11, 3), &tar), (None, 3));
    let (error, n_files) = unpacked(limits(9, 3), &tar);
    assert_eq!(error.expect("too large"), "the archive unpacks to more than the 9 bytes that may be taken of the disk");
    assert_eq!(n_files, 1);
    let (error, n_files) = unpacked(limits(100, 2), &tar);
    assert_eq!(error.expect("too many"), "the archive has more than 2 entries");
    assert_eq!(n_files, 2);
    // One that says that it holds 8 EiB, and what this disk has room for.
    let mut header = tar::Header::new_gnu();
    header.set_path("bomb").expect("a path");
    header.set_entry_type(EntryType::Regular);
    header.set_size(1 << 62);
    header.set_cksum();
    let (error, n_files) = unpacked(None, header.as_bytes());
    assert!(error.expect("too large").contains("that may be taken of the disk"));
    assert_eq!(n_files, 0);
}
