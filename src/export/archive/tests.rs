use std::io::Read;

use expect_test::expect;

use super::*;
use crate::export::local::tests::tree;

fn listing(archive: &[u8]) -> String {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("whole");
        let link = entry.link_name_bytes().map(|link| format!(" -> {}", String::from_utf8_lossy(&link)));
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("UTF-8");
        let header = entry.header();
        let (mode, mtime) = (header.mode().expect("a mode"), header.mtime().expect("a time"));
        let kind = header.entry_type().as_byte() as char;
        text.push_str(&format!("{kind} {mode:o} {mtime} {path}{} {content:?}\n", link.unwrap_or_default()));
    }
    text
}

#[test]
fn the_archive_depends_on_the_trees_alone() {
    let (one, two) = (tree(), tree());
    let archive = |trees: &[ArchiveTree<'_>]| {
        let mut out = Vec::new();
        write_tar(trees, 315_532_800, &mut out).expect("written");
        out
    };
    let roots = [&one, &two].map(|directory| Root::open(directory.path()).expect("opened"));
    let [first, second] = roots.each_ref().map(|root| archive(&[ArchiveTree { directory: "", root }]));
    assert!(first == second, "equal trees give equal bytes");
    expect![[r##"
        5 755 315532800 bin/ ""
        5 555 315532800 bin/sub/ ""
        2 777 315532800 bin/sub/link -> ../../outside ""
        0 4755 315532800 bin/tool "#!"
        1 4755 315532800 bin/twin -> bin/tool ""
        0 640 315532800 bin-x "x"
        0 644 7 old "old"
        6 400 315532800 pipe ""
    "##]]
    .assert_eq(&listing(&first));
    let both = archive(&[
        ArchiveTree { directory: "linux_amd64", root: &roots[0] },
        ArchiveTree { directory: "linux_arm64", root: &roots[1] },
    ]);
    expect![[r##"
        5 755 0 linux_amd64/ ""
        5 755 315532800 linux_amd64/bin/ ""
        5 555 315532800 linux_amd64/bin/sub/ ""
        2 777 315532800 linux_amd64/bin/sub/link -> ../../outside ""
        0 4755 315532800 linux_amd64/bin/tool "#!"
        1 4755 315532800 linux_amd64/bin/twin -> linux_amd64/bin/tool ""
        0 640 315532800 linux_amd64/bin-x "x"
        0 644 7 linux_amd64/old "old"
        6 400 315532800 linux_amd64/pipe ""
        5 755 0 linux_arm64/ ""
        5 755 315532800 linux_arm64/bin/ ""
        5 555 315532800 linux_arm64/bin/sub/ ""
        2 777 315532800 linux_arm64/bin/sub/link -> ../../outside ""
        0 4755 315532800 linux_arm64/bin/tool "#!"
        1 4755 315532800 linux_arm64/bin/twin -> linux_arm64/bin/tool ""
        0 640 315532800 linux_arm64/bin-x "x"
        0 644 7 linux_arm64/old "old"
        6 400 315532800 linux_arm64/pipe ""
    "##]]
    .assert_eq(&listing(&both));
}

#[test]
fn long_names_survive() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = "n".repeat(200);
    std::os::unix::fs::symlink("t".repeat(300), directory.path().join(&name)).expect("linked");
    let root = Root::open(directory.path()).expect("opened");
    let mut out = Vec::new();
    write_tar(&[ArchiveTree { directory: "", root: &root }], 0, &mut out).expect("written");
    assert_eq!(listing(&out), format!("2 777 0 {name} -> {} \"\"\n", "t".repeat(300)));
}
