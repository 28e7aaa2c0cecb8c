//! Copying files into root file systems: ignore files, selection, digests, ownership, and what cannot be escaped.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bake::digest::Digest;
use bake::dockerfile::ignore::Matcher;
use bake::graph::{CopyAction, Id, InputIndex, ModeChange, Owner, Selector};
use bake::sys::root::Root;
use expect_test::{Expect, expect};

use bake::worker::file::{
    FileError, SourceTree, StatCache, content_digest, copy, mkdir, mkfile, resolve_owner, select,
};

const EPOCH: i64 = 315_532_800;

/// Reads cases of ignore files with the paths that the peer left out and kept, where they are at hand.
#[test]
fn ignore_files_of_real_projects_decide_as_the_peer_does() {
    let Ok(path) = std::env::var("BAKE_DOCKERIGNORE_CASES") else {
        eprintln!("skipped: BAKE_DOCKERIGNORE_CASES does not name a file of cases");
        return;
    };
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON");
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let mut wrong = Vec::new();
    for case in cases.as_array().expect("a list") {
        let lines: Vec<String> = case["content"].as_str().expect("text").lines().map(str::to_owned).collect();
        let matcher = Matcher::new(&lines).expect("valid patterns");
        for (paths, is_excluded) in [(texts(&case["ignored"]), true), (texts(&case["kept"]), false)] {
            let differing = paths.into_iter().filter(|path| matcher.is_excluded(path) != is_excluded);
            wrong.extend(differing.map(|path| format!("{}: {path} should be excluded: {is_excluded}", case["name"])));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A context, a root file system to write, and a file outside of both that nothing may reach.
struct Fixture {
    directory: tempfile::TempDir,
    action: CopyAction,
    ignore: Vec<String>,
    is_rootfs: bool,
}

impl Fixture {
    /// Paths of the context: `d/` a directory, `p -> t` a link, else a file whose content is its name.
    fn new(paths: &[&str]) -> Fixture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["context", "root"] {
            fs::create_dir(directory.path().join(name)).expect("created");
        }
        fs::write(directory.path().join("canary"), "untouched").expect("written");
        let action = CopyAction::new(InputIndex(0), "/", "/out/");
        let fixture = Fixture { directory, action, ignore: Vec::new(), is_rootfs: false };
        paths.iter().for_each(|path| fixture.put("context", path));
        fixture
    }

    fn put(&self, tree: &str, path: &str) {
        let (path, target) = path.split_once(" -> ").map_or((path, None), |(path, target)| (path, Some(target)));
        let at = self.path(&format!("{tree}/{path}"));
        fs::create_dir_all(at.parent().expect("beneath")).expect("created");
        match target {
            Some(target) => symlink(target, at).expect("linked"),
            None if path.ends_with('/') => fs::create_dir_all(at).expect("created"),
            None => fs::write(at, path).expect("written"),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("changed");
    }

    fn with<T>(&self, f: impl FnOnce(&SourceTree<'_>, &Root) -> T) -> T {
        let context = Root::open(&self.path("context")).expect("opened");
        let ignore = Matcher::new(&self.ignore).expect("valid");
        let tree = match self.is_rootfs {
            true => SourceTree::Rootfs { root: &context },
            false => SourceTree::Local { root: &context, ignore: &ignore },
        };
        f(&tree, &Root::open(&self.path("root")).expect("opened"))
    }

    fn copy(&self, source: &str, dest: &str) -> Result<(), String> {
        let action = CopyAction { source: source.to_owned(), dest: dest.to_owned(), ..self.action.clone() };
        let result = self.with(|tree, root| {
            let owner = action.owner.as_ref().map(|owner| resolve_owner(root, owner)).transpose()?;
            copy(&action, tree, root, owner, EPOCH)
        });
        assert_eq!(fs::read_to_string(self.path("canary")).expect("read"), "untouched");
        result.map_err(|error: FileError| error.to_string())
    }

    fn digest(&self, source: &str) -> Digest {
        self.with(|tree, _| {
            content_digest(tree, &CopyAction { source: source.to_owned(), ..self.action.clone() }.selector(), None)
        })
        .expect("hashed")
    }

    /// The root as lines `mode path [content or -> target]`, sorted.
    fn tree(&self) -> String {
        let mut lines = Vec::new();
        list(&self.path("root"), Path::new(""), &mut lines);
        lines.join("\n")
    }
}

fn list(top: &Path, path: &Path, lines: &mut Vec<String>) {
    let mut names: Vec<_> =
        fs::read_dir(top.join(path)).expect("listed").map(|e| e.expect("entry").file_name()).collect();
    names.sort();
    for name in names {
        let path = path.join(name);
        let metadata = fs::symlink_metadata(top.join(&path)).expect("there");
        let mode = metadata.mode() & 0o7777;
        let shown = path.display();
        if metadata.is_dir() {
            lines.push(format!("{mode:o} {shown}/"));
            list(top, &path, lines);
        } else if metadata.is_symlink() {
            lines.push(format!("{shown} -> {}", fs::read_link(top.join(&path)).expect("a link").display()));
        } else if !metadata.is_file() {
            lines.push(format!("{mode:o} {shown} (special)"));
        } else {
            lines.push(format!("{mode:o} {shown} {}", fs::read_to_string(top.join(&path)).unwrap_or_default()));
        }
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: owners can only be set by root");
    }
    is_root
}

#[track_caller]
fn check(fixture: &Fixture, source: &str, dest: &str, expected: Expect) {
    let text = match fixture.copy(source, dest) {
        Ok(()) => fixture.tree(),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

#[test]
fn a_directory_source_means_its_contents() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["d/a", "d/sub/b", "d/link -> a", "d/empty/"]);
    fixture.chmod("context/d/a", 0o664);
    fixture.chmod("context/d/sub/b", 0o775);
    fixture.chmod("context/d/sub", 0o700);
    check(
        &fixture,
        "/d",
        "/new/dest",
        expect![[r#"
        755 new/
        755 new/dest/
        644 new/dest/a d/a
        755 new/dest/empty/
        new/dest/link -> a
        755 new/dest/sub/
        755 new/dest/sub/b d/sub/b"#]],
    );
    let time = fs::metadata(fixture.path("root/new/dest/a")).expect("there").mtime();
    assert_eq!(time, EPOCH);
    assert_eq!(fs::metadata(fixture.path("root/new/dest")).expect("there").mtime(), EPOCH);
}

#[test]
fn a_file_goes_to_the_name_or_into_the_directory() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["a"]);
    check(&fixture, "/a", "/x", expect!["644 x a"]);
    check(
        &fixture,
        "/a",
        "/y/z/",
        expect![[r#"
        644 x a
        755 y/
        755 y/z/
        644 y/z/a a"#]],
    );
    check(
        &fixture,
        "/a",
        "/y",
        expect![[r#"
        644 x a
        755 y/
        644 y/a a
        755 y/z/
        644 y/z/a a"#]],
    );
    check(
        &fixture,
        "/a",
        "/",
        expect![[r#"
        644 a a
        644 x a
        755 y/
        644 y/a a
        755 y/z/
        644 y/z/a a"#]],
    );
}

#[test]
fn the_link_at_the_source_is_followed_and_those_beneath_are_copied() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["real/f", "real/inner -> f", "dir -> real", "file -> real/f"]);
    check(
        &fixture,
        "/dir",
        "/d",
        expect![[r#"
        755 d/
        644 d/f real/f
        d/inner -> f"#]],
    );
    check(
        &fixture,
        "/file",
        "/e/",
        expect![[r#"
        755 d/
        644 d/f real/f
        d/inner -> f
        755 e/
        644 e/file real/f"#]],
    );
}

#[test]
fn wildcards_match_as_go_does_and_may_match_nothing() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["a.txt", "b.txt", "c.md", "x/d.txt", "y/d.txt", "dir.txt/in"]);
    check(&fixture, "/*.nothing", "/none/", expect![""]);
    check(
        &fixture,
        "/?.txt",
        "/one/",
        expect![[r#"
        755 one/
        644 one/a.txt a.txt
        644 one/b.txt b.txt"#]],
    );
    check(
        &fixture,
        "/*/d.txt",
        "/one/",
        expect![[r#"
        755 one/
        644 one/a.txt a.txt
        644 one/b.txt b.txt
        644 one/d.txt y/d.txt"#]],
    );
    check(
        &fixture,
        "/dir*",
        "/two/",
        expect![[r#"
        755 one/
        644 one/a.txt a.txt
        644 one/b.txt b.txt
        644 one/d.txt y/d.txt
        755 two/
        644 two/in dir.txt/in"#]],
    );
    check(&fixture, "/[", "/three/", expect!["error: invalid pattern `[`: a `[` is not closed"]);
}

#[test]
fn an_existing_destination_keeps_its_mode_and_subdirectories_get_the_sources() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["d/sub/f"]);
    fixture.is_rootfs = true;
    fixture.chmod("context/d", 0o711);
    fixture.chmod("context/d/sub", 0o750);
    fixture.put("root", "out/sub/");
    fixture.chmod("root/out", 0o2770);
    fixture.chmod("root/out/sub", 0o700);
    check(
        &fixture,
        "/d",
        "/out",
        expect![[r#"
        2770 out/
        750 out/sub/
        644 out/sub/f d/sub/f"#]],
    );
}

#[test]
fn links_at_and_before_the_destination_are_followed_inside_the_root() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["f", "d/g"]);
    fixture.put("root", "real/");
    fixture.chmod("root/real", 0o700);
    fixture.put("root", "lnk -> /real");
    fixture.put("root", "up -> ../../../..");
    fixture.put("root", "dangling -> /made/later");
    check(
        &fixture,
        "/f",
        "/lnk/",
        expect![[r#"
        dangling -> /made/later
        lnk -> /real
        700 real/
        644 real/f f
        up -> ../../../.."#]],
    );
    check(
        &fixture,
        "/d",
        "/lnk",
        expect![[r#"
        dangling -> /made/later
        lnk -> /real
        700 real/
        644 real/f f
        644 real/g d/g
        up -> ../../../.."#]],
    );
    check(
        &fixture,
        "/f",
        "/up/canary",
        expect![[r#"
        644 canary f
        dangling -> /made/later
        lnk -> /real
        700 real/
        644 real/f f
        644 real/g d/g
        up -> ../../../.."#]],
    );
    check(
        &fixture,
        "/f",
        "/dangling",
        expect![[r#"
        644 canary f
        dangling -> /made/later
        lnk -> /real
        755 made/
        644 made/later f
        700 real/
        644 real/f f
        644 real/g d/g
        up -> ../../../.."#]],
    );
}

#[test]
fn what_is_in_the_way_is_named() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["d/x", "e/x/y", "f"]);
    fixture.put("root", "a/x/");
    fixture.put("root", "b/x -> /a");
    fixture.put("root", "file");
    check(&fixture, "/d", "/a", expect!["error: cannot replace directory `/a/x` with a file"]);
    check(
        &fixture,
        "/e",
        "/b",
        expect!["error: cannot make directory `/b/x`: something that is no directory is there"],
    );
    check(
        &fixture,
        "/e",
        "/file",
        expect!["error: cannot make directory `/file`: something that is no directory is there"],
    );
    check(
        &fixture,
        "/f",
        "/file/",
        expect!["error: cannot make directory `/file`: something that is no directory is there"],
    );
    check(&fixture, "/missing", "/", expect!["error: no file or directory `/missing` in the build context"]);
}

#[test]
fn nothing_outside_of_the_context_is_read() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["d/abs -> /canary", "d/up -> ../../canary", "top -> ../canary", "sub -> .."]);
    fixture.put("context", &format!("host -> {}", fixture.path("canary").display()));
    for source in ["/top", "/sub/canary", "/host", "/../canary", "/d/../../canary"] {
        let error = fixture.copy(source, "/x").expect_err(source);
        assert!(error.starts_with("no file or directory"), "{error}");
    }
    check(
        &fixture,
        "/d",
        "/links",
        expect![[r#"
        755 links/
        links/abs -> /canary
        links/up -> ../../canary"#]],
    );
    fixture.is_rootfs = true;
    assert!(fixture.copy("/host", "/x").is_err());
}

#[test]
fn modes_and_owners_can_be_given() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["f", "d/g", "d/sub/h"]);
    fixture.action.mode = Some(ModeChange::Bits(0o711));
    fixture.action.owner = Some(Owner { user: Some(Id::Number(5)), group: None });
    check(
        &fixture,
        "/f",
        "/p/q/",
        expect![[r#"
        711 p/
        711 p/q/
        711 p/q/f f"#]],
    );
    for path in ["root/p", "root/p/q", "root/p/q/f"] {
        let metadata = fs::metadata(fixture.path(path)).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (5, 5), "{path}");
    }
    let mut fixture = Fixture::new(&["d/g", "d/sub/h"]);
    fixture.action.mode = Some(ModeChange::Bits(0o640));
    check(
        &fixture,
        "/d",
        "/o",
        expect![[r#"
        640 o/
        640 o/g d/g
        640 o/sub/
        640 o/sub/h d/sub/h"#]],
    );
    fixture.action.mode = Some(ModeChange::Symbolic("u=rwX,go=".to_owned()));
    check(
        &fixture,
        "/d",
        "/s",
        expect![[r#"
        640 o/
        640 o/g d/g
        640 o/sub/
        640 o/sub/h d/sub/h
        755 s/
        600 s/g d/g
        700 s/sub/
        600 s/sub/h d/sub/h"#]],
    );
}

#[test]
fn owners_are_looked_up_in_the_destination() {
    let fixture = Fixture::new(&[]);
    fixture.put("root", "etc/");
    fs::write(fixture.path("root/etc/passwd"), "root:x:0:0::/:\nweb:x:12:34::/:\n").expect("written");
    fs::write(fixture.path("root/etc/group"), "staff:x:56:web\n").expect("written");
    let name = |name: &str| Some(Id::Name(name.to_owned()));
    let resolved = |user, group| fixture.with(|_, root| resolve_owner(root, &Owner { user, group }));
    assert_eq!(resolved(name("web"), None).expect("found"), (12, 34));
    assert_eq!(resolved(name("web"), name("staff")).expect("found"), (12, 56));
    assert_eq!(resolved(name("nobody"), None).expect("zero"), (0, 0));
    assert_eq!(resolved(Some(Id::Number(7)), None).expect("number"), (7, 7));
    assert_eq!(resolved(None, name("staff")).expect("found"), (0, 56));
    // A FIFO or a link to the host's file must neither hang nor be read.
    fs::remove_file(fixture.path("root/etc/passwd")).expect("removed");
    fs::write(fixture.path("canary"), "web:x:99:99::/:\n").expect("written");
    fixture.put("root", "etc/passwd -> ../../../canary");
    assert_eq!(resolved(name("web"), None).expect("zero"), (0, 0));
    fs::remove_file(fixture.path("root/etc/passwd")).expect("removed");
    fifo(&fixture.path("root/etc/passwd"));
    assert!(resolved(name("web"), None).is_err());
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
}

#[test]
fn ignored_files_are_not_there() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["keep", "secret/key", "tmp/a/b", "tmp/a/c", "tmp/d/", "lnk -> secret"]);
    fixture.ignore = ["secret", "tmp", "!tmp/a/b"].map(str::to_owned).to_vec();
    check(&fixture, "/secret", "/", expect!["error: `/secret` is excluded by the ignore file of the build context"]);
    check(&fixture, "/lnk/key", "/", expect!["error: `/lnk/key` is excluded by the ignore file of the build context"]);
    check(&fixture, "/tmp/d", "/", expect!["error: `/tmp/d` is excluded by the ignore file of the build context"]);
    check(
        &fixture,
        "/",
        "/",
        expect![[r#"
        644 keep keep
        lnk -> secret
        755 tmp/
        755 tmp/a/
        644 tmp/a/b tmp/a/b"#]],
    );
}

#[test]
fn excludes_are_relative_to_each_source() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["d/a.txt", "d/b.md", "d/sub/c.txt", "e.txt", "e.md"]);
    fixture.action.exclude = vec!["*.txt".to_owned()];
    check(
        &fixture,
        "/d",
        "/x",
        expect![[r#"
        755 x/
        644 x/b.md d/b.md
        755 x/sub/
        644 x/sub/c.txt d/sub/c.txt"#]],
    );
    check(
        &fixture,
        "/e*",
        "/y/",
        expect![[r#"
            755 x/
            644 x/b.md d/b.md
            755 x/sub/
            644 x/sub/c.txt d/sub/c.txt
            755 y/
            644 y/e.md e.md
            644 y/e.txt e.txt"#]],
    );
}

#[test]
fn a_root_file_system_keeps_modes_times_attributes_and_links() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["d/a"]);
    fixture.is_rootfs = true;
    fixture.chmod("context/d/a", 0o4750);
    fs::hard_link(fixture.path("context/d/a"), fixture.path("context/d/b")).expect("linked");
    fifo(&fixture.path("context/d/pipe"));
    let file = fs::File::open(fixture.path("context/d/a")).expect("opened");
    let has_attributes = rustix::fs::fsetxattr(&file, "user.x", b"1", rustix::fs::XattrFlags::empty()).is_ok();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(99)).expect("set");
    fixture.copy("/d", "/o").expect("copied");
    let [a, b] = ["root/o/a", "root/o/b"].map(|path| fs::metadata(fixture.path(path)).expect("there"));
    assert_eq!((a.ino(), a.nlink(), a.mode() & 0o7777, a.mtime()), (b.ino(), 2, 0o4750, 99));
    if has_attributes {
        let mut value = [0; 8];
        let copied = fs::File::open(fixture.path("root/o/a")).expect("opened");
        assert_eq!(rustix::fs::fgetxattr(&copied, "user.x", &mut value[..]), Ok(1));
    }
    let linked = fixture.digest("/d");
    fs::remove_file(fixture.path("context/d/b")).expect("removed");
    fs::copy(fixture.path("context/d/a"), fixture.path("context/d/b")).expect("copied");
    fixture.chmod("context/d/b", 0o4750);
    assert_ne!(fixture.digest("/d"), linked);
}

#[test]
fn the_digest_changes_with_what_is_written_and_only_then() {
    let mut fixture = Fixture::new(&["d/a", "d/sub/b", "d/lnk -> a"]);
    fixture.chmod("context/d/a", 0o644);
    let first = fixture.digest("/d");
    let file = fs::File::open(fixture.path("context/d/a")).expect("opened");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
    assert_eq!(fixture.digest("/d"), first, "time");
    fixture.chmod("context/d/a", 0o664);
    fixture.chmod("context/d/sub", 0o700);
    fixture.chmod("context/d", 0o700);
    assert_eq!(fixture.digest("/d"), first, "umask");
    type Change<'a> = (&'a str, &'a dyn Fn(&Fixture));
    let changes: &[Change<'_>] = &[
        ("mode", &|f| f.chmod("context/d/a", 0o755)),
        ("content", &|f| fs::write(f.path("context/d/a"), "b").expect("written")),
        ("name", &|f| fs::rename(f.path("context/d/a"), f.path("context/d/c")).expect("renamed")),
        ("new directory", &|f| f.put("context", "d/new/")),
        ("link", &|f| {
            fs::remove_file(f.path("context/d/lnk")).expect("removed");
            f.put("context", "d/lnk -> b");
        }),
    ];
    let mut last = first;
    for (what, change) in changes {
        change(&fixture);
        let now = fixture.digest("/d");
        assert_ne!(now, last, "{what}");
        last = now;
    }
    fixture.action.exclude = vec!["new".to_owned()];
    assert_ne!(fixture.digest("/d"), last, "exclude");
    fixture.action.exclude.clear();
    fixture.is_rootfs = true;
    let last = fixture.digest("/d");
    fixture.chmod("context/d/sub", 0o701);
    assert_ne!(fixture.digest("/d"), last, "directory mode of a root file system");
}

#[test]
fn known_files_are_not_read_again_and_changed_ones_are() {
    let fixture = Fixture::new(&["d/a"]);
    let path = fixture.path("context/d/a");
    let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970") + Duration::from_secs(60);
    let hash = |stats: &StatCache| {
        fixture.with(|tree, _| content_digest(tree, &Selector::path("/d"), Some(stats))).expect("hashed")
    };
    let stats = StatCache::load(b"", later);
    let first = hash(&stats);
    let bytes = stats.to_bytes();
    // What is remembered is believed: with another digest on record, another result.
    let mut forged = bytes.clone();
    *forged.last_mut().expect("a record") ^= 1;
    assert_ne!(hash(&StatCache::load(&forged, later)), first);
    assert_eq!(hash(&StatCache::load(&bytes, later)), first);
    // Same size, time put back: the change time gives it away.
    let modified = fs::metadata(&path).expect("there").modified().expect("known");
    fs::write(&path, "d/b").expect("written");
    fs::File::open(&path).expect("opened").set_modified(modified).expect("set");
    assert_ne!(hash(&StatCache::load(&bytes, later)), first);
    // Changed within two seconds of the look: not remembered.
    let racy = StatCache::load(b"", later - Duration::from_secs(60));
    hash(&racy);
    assert_eq!(racy.to_bytes(), StatCache::default().to_bytes());
}

#[test]
fn special_files_of_a_context_never_block() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&["d/a"]);
    fifo(&fixture.path("context/d/pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(fixture.path("context/d/socket")).expect("bound");
    fixture.digest("/d");
    check(
        &fixture,
        "/d",
        "/o",
        expect![[r#"
            755 o/
            644 o/a d/a
            644 o/pipe (special)
            755 o/socket "#]],
    );
    check(
        &fixture,
        "/d/socket",
        "/o",
        expect![[r#"
        755 o/
        644 o/a d/a
        644 o/pipe (special)
        755 o/socket "#]],
    );
    let device = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let path = fixture.path("context/d/null");
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, device);
    if made.is_ok() {
        check(&fixture, "/d", "/p", expect!["error: cannot copy `/d/null` from the build context: it is a device"]);
    }
}

#[test]
fn directories_and_files_are_made_with_their_parents() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&[]);
    fixture.put("root", "there/");
    fixture.chmod("root/there", 0o700);
    fixture.put("root", "lnk -> /there");
    fixture.with(|_, root| {
        mkdir(root, "/lnk/a/b", 0o755, Some((1, 2)), EPOCH).expect("made");
        mkfile(root, "/x/y", 0o640, None, b"text", EPOCH).expect("made");
        mkfile(root, "/x/y", 0o644, None, b"again", EPOCH).expect("made");
        let error = mkfile(root, "/x", 0o644, None, b"", EPOCH).expect_err("in the way");
        assert_eq!(error.to_string(), "cannot replace directory `/x` with a file");
    });
    expect![[r#"
        lnk -> /there
        700 there/
        755 there/a/
        755 there/a/b/
        755 x/
        644 x/y again"#]]
    .assert_eq(&fixture.tree());
    assert_eq!(fs::metadata(fixture.path("root/there/a")).expect("there").gid(), 2);
}

#[test]
fn a_selection_is_in_order_of_names() {
    let fixture = Fixture::new(&["b", "a/z", "a-b", "a/c/d"]);
    let selection = fixture.with(|tree, _| select(tree, &Selector::path("/"))).expect("selected");
    let paths: Vec<_> = selection.items[0].entries.iter().map(|entry| entry.path.display().to_string()).collect();
    assert_eq!(paths, ["", "a", "a/c", "a/c/d", "a/z", "a-b", "b"]);
}

#[test]
fn archives_are_unpacked_by_content() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new(&["d/a", "d/sub/b", "plain.tar", "words"]);
    let context = fixture.path("context");
    for (flag, name) in [("-c", "t.bin"), ("-cz", "gz"), ("-cj", "bz2"), ("-cJ", "xz"), ("--zstd", "zst")] {
        let flags = if flag == "--zstd" { vec!["--zstd", "-c"] } else { vec![flag] };
        let mut tar = std::process::Command::new("tar");
        tar.args(flags).args(["-f", name, "-C", "d", "."]).current_dir(&context);
        if !tar.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: tar cannot write {name}");
            continue;
        }
        fixture.action.unpack = true;
        fixture.copy(&format!("/{name}"), &format!("/{name}")).expect(name);
        for (path, content) in [("a", "d/a"), ("sub/b", "d/sub/b")] {
            let path = fixture.path(&format!("root/{name}/{path}"));
            assert_eq!(fs::read_to_string(path).expect(name), content);
        }
        fixture.action.unpack = false;
        fixture.copy(&format!("/{name}"), &format!("/{name}.copy")).expect(name);
        assert!(fixture.path(&format!("root/{name}.copy")).is_file());
    }
    // A name does not make an archive.
    fixture.action.unpack = true;
    fixture.copy("/plain.tar", "/p/").expect("copied");
    assert_eq!(fs::read_to_string(fixture.path("root/p/plain.tar")).expect("read"), "plain.tar");
}
