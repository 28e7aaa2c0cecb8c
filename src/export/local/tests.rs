use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use expect_test::expect;
use tempfile::TempDir;

use super::*;

const LATEST: u64 = 315_532_800;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

/// A tree with one of each: modes, links, a hard link, a pipe, a read-only directory.
pub(in crate::export) fn tree() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    fs::create_dir_all(top.join("bin/sub")).expect("made");
    fs::write(top.join("bin/tool"), "#!").expect("written");
    fs::write(top.join("bin-x"), "x").expect("written");
    fs::write(top.join("old"), "old").expect("written");
    fs::hard_link(top.join("bin/tool"), top.join("bin/twin")).expect("linked");
    symlink("../../outside", top.join("bin/sub/link")).expect("linked");
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("pipe"), Mode::RUSR).expect("made");
    chmod(&top.join("bin/tool"), 0o4755);
    chmod(&top.join("bin-x"), 0o640);
    chmod(&top.join("old"), 0o644);
    chmod(&top.join("bin"), 0o755);
    chmod(&top.join("bin/sub"), 0o555);
    let time = Timespec { tv_sec: 7, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, top.join("old"), &times, AtFlags::empty()).expect("set");
    directory
}

fn copy(source: &TempDir, dest: &Path) -> Result<Copied, FileExportError> {
    let root = Root::open(source.path()).expect("opened");
    copy_to_directory(&root, dest, Ownership::Caller, LATEST)
}

/// Returns `mode mtime path` of all that is in `top`, with the target of links.
fn listing(top: &Path) -> String {
    let root = Root::open(top).expect("opened");
    let mut text = String::new();
    walk(&root, &mut |entry| {
        let link = match &entry.kind {
            Kind::Symlink(target) => format!(" -> {}", target.display()),
            Kind::File { shared: Some(_), .. } => " (several names)".to_owned(),
            _ => String::new(),
        };
        text.push_str(&format!("{:o} {} {}{link}\n", entry.mode, entry.mtime, entry.path.display()));
        Ok(())
    })
    .expect("walked");
    text
}

#[test]
fn a_tree_is_copied_with_modes_links_and_times() {
    let (source, dest) = (tree(), tempfile::tempdir().expect("a directory"));
    let dest = dest.path().join("a/b");
    let copied = copy(&source, &dest).expect("copied");
    assert_eq!(copied, Copied { n_files: 4, size: 6, skipped: vec!["pipe".into()] });
    expect![[r#"
        755 315532800 bin
        555 315532800 bin/sub
        777 315532800 bin/sub/link -> ../../outside
        755 315532800 bin/tool (several names)
        755 315532800 bin/twin (several names)
        640 315532800 bin-x
        644 7 old
    "#]]
    .assert_eq(&listing(&dest));
    assert_eq!(fs::read_to_string(dest.join("bin/twin")).expect("a file"), "#!");
}

#[test]
fn what_is_in_the_way_is_replaced_and_the_rest_stays() {
    let (source, dest) = (tree(), tempfile::tempdir().expect("a directory"));
    let once = copy(&source, dest.path()).expect("copied");
    let first = listing(dest.path());
    fs::write(dest.path().join("mine"), "mine").expect("written");
    fs::write(dest.path().join("old"), "changed").expect("written");
    fs::write(dest.path().join(format!(".bake-{}.part", std::process::id())), "left over").expect("written");
    assert_eq!(copy(&source, dest.path()).expect("copied"), once);
    assert_eq!(fs::read_to_string(dest.path().join("old")).expect("a file"), "old");
    assert_eq!(fs::read_to_string(dest.path().join("mine")).expect("a file"), "mine");
    fs::remove_file(dest.path().join("mine")).expect("removed");
    assert_eq!(listing(dest.path()), first);
}

#[test]
fn links_planted_in_the_destination_lead_nowhere() {
    let (source, dest) = (tree(), tempfile::tempdir().expect("a directory"));
    let victim = tempfile::tempdir().expect("a directory");
    fs::write(victim.path().join("old"), "victim").expect("written");
    symlink(victim.path(), dest.path().join("bin")).expect("linked");
    symlink(victim.path().join("old"), dest.path().join("old")).expect("linked");
    copy(&source, dest.path()).expect("copied");
    assert_eq!(fs::read_to_string(victim.path().join("old")).expect("a file"), "victim");
    assert_eq!(fs::read_dir(victim.path()).expect("a directory").count(), 1);
    assert!(fs::symlink_metadata(dest.path().join("bin")).expect("there").is_dir());
}

#[test]
fn a_directory_of_the_users_is_never_removed() {
    let (source, dest) = (tree(), tempfile::tempdir().expect("a directory"));
    fs::create_dir(dest.path().join("old")).expect("made");
    let error = copy(&source, dest.path()).expect_err("in the way");
    let FileExportError::Directory(path) = &error else { panic!("{error}") };
    assert_eq!(path, &dest.path().join("old"));
    assert!(!listing(dest.path()).contains(".bake-"), "the partial file is gone");
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it is skipped")]
fn owners_are_kept_where_that_is_asked() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (source, dest) = (tree(), tempfile::tempdir().expect("a directory"));
    std::os::unix::fs::chown(source.path().join("bin/tool"), Some(1234), Some(567)).expect("given away");
    chmod(&source.path().join("bin/tool"), 0o4755);
    let root = Root::open(source.path()).expect("opened");
    copy_to_directory(&root, dest.path(), Ownership::Image, LATEST).expect("copied");
    let found = fs::metadata(dest.path().join("bin/tool")).expect("there");
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1234, 567, 0o4755));
}
