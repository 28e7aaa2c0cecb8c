use expect_test::{Expect, expect};

use super::*;
use crate::diagnostic::SourceMap;

fn parse(text: &str) -> Result<Lockfile, String> {
    let mut sources = SourceMap::default();
    let file = sources.add("bake.lock", text);
    Lockfile::parse(&sources, file).map_err(|errors| errors.render(&sources))
}

fn check_error(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text).expect_err("it is wrong"));
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

fn result(seed: &str, inputs: Option<Digest>) -> LockedResult {
    let layer = |name: &str, size| LockedLayer {
        diff_id: DiffId(digest(name)),
        digest: digest(&format!("{name}.gz")),
        size,
        media_type: MediaType::ImageLayerGzip,
    };
    let layers = vec![layer("base", 1024), layer(seed, u64::MAX)];
    LockedResult { inputs, manifest: digest(&format!("{seed} manifest")), config: digest(seed), layers }
}

fn example() -> Lockfile {
    let mut lock = Lockfile::default();
    let index = (digest("alpine"), MediaType::ImageIndex);
    for name in ["linux/arm64", "linux/amd64"] {
        lock.add_pin(&reference("alpine"), index.0, index.1.clone(), &platform(name), digest(name));
    }
    lock.set_result("web app", &platform("linux/arm/v7"), LockedResult { layers: Vec::new(), ..result("w", None) });
    lock.set_result("api", &platform("linux/amd64"), result("a", Some(digest("inputs"))));
    let tags = [reference("registry.example.com/team/api:1.2"), reference("team/api")].into();
    lock.set_image("api", LockedImage { digest: digest("api index"), tags });
    lock
}

#[test]
fn the_text_is_sorted_and_has_one_table_for_each_entry() {
    expect![[r##"
        # Made by `bake build`; check it in and do not edit it.
        # It pins what the images are built from and records what they became.

        version = 1

        [image."docker.io/library/alpine:latest"]
        digest = "sha256:54c5b3dd459d5ef778bb2fa1e23a5fb0e1b62ae66970bcb436e8f81a1a1a8e41"
        media_type = "application/vnd.oci.image.index.v1+json"
        platform."linux/amd64" = "sha256:baf0239e48ff4c47ebac3ba02b5cf1506b69cd5a0c0d0c825a53ba65976fb942"
        platform."linux/arm64" = "sha256:b3e3ab55f887c56c0bd8bec3743b0fb54daaa17861e03db5133ef2835eb0da5a"

        [target.api]
        digest = "sha256:6d8355d6fa72be078d971c9e223b1532058cf8794063e9444e53bad55ef3e254"
        tags = [
            "docker.io/team/api:latest",
            "registry.example.com/team/api:1.2",
        ]

        [target.api.platform."linux/amd64"]
        inputs = "sha256:32381523e63197c929b67f793a8098bed0ae3a6fa902634fdbcc6fa4567f3346"
        manifest = "sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9"
        config = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        layers = [
            { diff_id = "sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2", digest = "sha256:78d916809765a3dcd724a25538cad7a703dc8baa24266380d4e49f793d8d66a7", size = 1024, media_type = "application/vnd.oci.image.layer.v1.tar+gzip" },
            { diff_id = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", digest = "sha256:a5cdb2efefff28de2f332d9be9aff98afa5962bdfb60b857d730f58e0745ca3c", size = 18446744073709551615, media_type = "application/vnd.oci.image.layer.v1.tar+gzip" },
        ]

        [target."web app".platform."linux/arm/v7"]
        manifest = "sha256:4d609e1d57af361ef1e5a5b4f55f8c94ffa39d3941ee36aa788ba132404e048b"
        config = "sha256:50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
        layers = []
    "##]].assert_eq(&example().to_text());
}

#[test]
fn what_is_printed_parses_to_the_same() {
    let lock = example();
    assert_eq!(parse(&lock.to_text()), Ok(lock));
    assert_eq!(parse(&Lockfile::default().to_text()), Ok(Lockfile::default()));
}

/// A small generator of lockfiles over awkward names; the same on every machine.
fn any_lockfile(seed: u64) -> Lockfile {
    const NAMES: [&str; 6] = ["api", "a.b", "a\"b\\c", "zwei Wörter", "tab\there\u{7f}", ""];
    const IMAGES: [&str; 5] = ["a", "a:1", "localhost:5000/x/y", "[::1]:5000/a", "b:latest"];
    const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm/v6", "windows(10.0.1)/amd64", "linux/amd64/v3"];
    let mut state = seed;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut lock = Lockfile::default();
    for _ in 0..below(8) {
        let mut image = reference(IMAGES[below(5)]);
        if below(3) == 0 {
            image = image.with_digest(digest("pinned"));
        }
        let media_type = MediaType::from(["application/vnd.oci.image.index.v1+json", "x/\"y\"", ""][below(3)]);
        let manifest = digest(&below(9).to_string());
        lock.add_pin(&image, digest(&below(3).to_string()), media_type, &platform(PLATFORMS[below(4)]), manifest);
    }
    for _ in 0..below(8) {
        let inputs = [None, Some(digest("i"))][below(2)];
        lock.set_result(NAMES[below(6)], &platform(PLATFORMS[below(4)]), result(&below(4).to_string(), inputs));
    }
    for _ in 0..below(4) {
        let tags = (0..below(4)).map(|_| reference(IMAGES[below(5)])).collect();
        lock.set_image(NAMES[below(6)], LockedImage { digest: digest(&below(3).to_string()), tags });
    }
    lock
}

#[test]
fn any_lockfile_survives_its_text_and_differs_from_itself_in_nothing() {
    for seed in 0..300 {
        let (lock, other) = (any_lockfile(seed), any_lockfile(seed + 1));
        let text = lock.to_text();
        assert_eq!(parse(&text).as_ref(), Ok(&lock), "{text}");
        assert_eq!(diff(&lock, &lock), []);
        assert_eq!(diff(&lock, &other).is_empty(), lock == other);
        assert_eq!(text == other.to_text(), lock == other);
    }
}

#[test]
fn a_name_without_a_tag_and_its_latest_are_one_pin() {
    let lock = example();
    assert_eq!(lock.pin(&reference("alpine:latest")), lock.pin(&reference("alpine")));
    assert_eq!(lock.pinned_manifest(&reference("alpine"), &platform("linux/arm64")), Some(digest("linux/arm64")));
    assert_eq!(lock.pin(&reference("alpine:3")), None);
}

#[test]
fn a_moved_pin_forgets_the_manifests_of_the_old_one() {
    let mut lock = example();
    lock.add_pin(&reference("alpine"), digest("new"), MediaType::ImageIndex, &platform("linux/amd64"), digest("m"));
    let pin = lock.pin(&reference("alpine")).expect("pinned");
    assert_eq!(pin.platforms, [(platform("linux/amd64"), digest("m"))].into());
}

#[test]
fn what_the_bakefile_no_longer_has_is_dropped() {
    let mut lock = example();
    lock.retain_targets(|name| name == "api");
    assert_eq!(lock.targets().collect::<Vec<_>>(), ["api"]);
    lock.retain_platforms("api", |_| false);
    assert_eq!(lock.results("api").count(), 0);
    assert!(lock.image("api").is_some());
    lock.retain_pins(|_| false);
    lock.retain_targets(|_| false);
    assert!(lock.is_empty());
}

#[test]
fn changes_are_told_in_one_line_each() {
    let (old, mut new) = (example(), example());
    new.add_pin(&reference("alpine"), digest("alpine"), MediaType::ImageIndex, &platform("arm"), digest("armv7"));
    new.add_pin(&reference("debian:13"), digest("debian"), MediaType::ImageIndex, &platform("arm"), digest("d"));
    new.set_result("api", &platform("linux/amd64"), result("a", None));
    new.set_result("web app", &platform("linux/arm/v7"), result("other", None));
    new.set_result("new", &platform("linux/amd64"), result("new", None));
    let tags = [reference("team/api:2"), reference("team/api")].into();
    new.set_image("api", LockedImage { digest: digest("api index"), tags });
    let lines = |old, new| diff(old, new).iter().map(|change| format!("{change}\n")).collect::<String>();
    expect![[r#"
        pin alpine:latest: added linux/arm/v7
        pin debian:13: added sha256:81d93757457f
        target api, linux/amd64: other inputs, same image
        target api: added team/api:2, removed registry.example.com/team/api:1.2
        target new, linux/amd64: added sha256:4b478bcead1c
        target web app, linux/arm/v7: sha256:4d609e1d57af → sha256:46059793cf22
    "#]]
    .assert_eq(&lines(&old, &new));
    expect![[r#"
        pin alpine:latest: removed linux/arm/v7
        pin debian:13: removed sha256:81d93757457f
        target api, linux/amd64: other inputs, same image
        target api: removed team/api:2, added registry.example.com/team/api:1.2
        target new, linux/amd64: removed sha256:4b478bcead1c
        target web app, linux/arm/v7: sha256:46059793cf22 → sha256:4d609e1d57af
    "#]]
    .assert_eq(&lines(&new, &old));
}

#[test]
fn a_conflict_of_a_merge_is_named() {
    let text = example().to_text().replace("[target.api]\n", "<<<<<<< HEAD\n[target.api]\n");
    check_error(
        &text,
        expect![[r#"
        error: bake.lock:12:1: a merge left conflict markers in the lockfile
            |
         12 | <<<<<<< HEAD
            | ^^^^^^^^^^^^
        hint: keep one side (`git checkout --ours bake.lock`) and run `bake build`, which adds what is missing"#]],
    );
}

#[test]
fn a_newer_version_is_said_and_nothing_else() {
    check_error(
        "version = 2\n[pin]\n",
        expect![[r#"
        error: bake.lock:1:11: the lockfile has version 2, and this bake reads version 1
           |
         1 | version = 2
           |           ^
        hint: use the bake that wrote it, or a newer one"#]],
    );
    check_error(
        "version = \"1\"\n",
        expect![[r#"
        error: bake.lock:1:11: `version` is 1
           |
         1 | version = "1"
           |           ^^^
        hint: restore bake.lock from version control, or delete it and run `bake build`"#]],
    );
    check_error(
        "",
        expect![[r#"
        error: bake.lock:1:1: the lockfile has no `version`
           |
         1 | 
           | ^
        hint: restore bake.lock from version control, or delete it and run `bake build`"#]],
    );
}

#[test]
fn errors_point_at_their_lines() {
    check_error(
        "version = 1\n[image.x\n",
        expect![[r#"
        error: bake.lock:2:9: unclosed table, expected `]`
           |
         2 | [image.x
           |         ^
        hint: restore bake.lock from version control, or delete it and run `bake build`"#]],
    );
    let text = "\
version = 1
color = 3
[image.Alpine]
digest = \"sha256:12\"
[image.alpine]
digest = 7
media_type = \"a\"
platform.\"linux/aarch64\" = \"sha256:12\"
[target.a]
tags = [\"x:1\", \"docker.io/library/x:1\", \"docker.io/library/x:1\"]
[target.b]
[target.c.platform.\"linux/amd64\"]
layers = [{ size = -1 }, 4]
speed = 1
";
    check_error(
        text,
        expect![[r#"
        error: bake.lock:2:1: a lockfile of version 1 has no `color` here
           |
         2 | color = 3
           | ^^^^^

        error: bake.lock:3:8: invalid image name `Alpine`: a repository is lower case
           |
         3 | [image.Alpine]
           |        ^^^^^^

        error: bake.lock:3:8: `media_type` is missing here
           |
         3 | [image.Alpine]
           |        ^^^^^^

        error: bake.lock:4:10: `sha256:12` is not a digest (sha256: and 64 lower-case hex digits)
           |
         4 | digest = "sha256:12"
           |          ^^^^^^^^^^^

        error: bake.lock:5:8: `alpine` is written `docker.io/library/alpine:latest` here
           |
         5 | [image.alpine]
           |        ^^^^^^

        error: bake.lock:6:10: a string is wanted here
           |
         6 | digest = 7
           |          ^

        error: bake.lock:8:10: `linux/aarch64` is written `linux/arm64` here
           |
         8 | platform."linux/aarch64" = "sha256:12"
           |          ^^^^^^^^^^^^^^^

        error: bake.lock:8:28: `sha256:12` is not a digest (sha256: and 64 lower-case hex digits)
           |
         8 | platform."linux/aarch64" = "sha256:12"
           |                            ^^^^^^^^^^^

        error: bake.lock:9:9: `digest` is missing here
           |
         9 | [target.a]
           |         ^

        error: bake.lock:10:9: the name is written `docker.io/library/x:1` here
            |
         10 | tags = ["x:1", "docker.io/library/x:1", "docker.io/library/x:1"]
            |         ^^^^^

        error: bake.lock:10:41: the tag is listed twice
            |
         10 | tags = ["x:1", "docker.io/library/x:1", "docker.io/library/x:1"]
            |                                         ^^^^^^^^^^^^^^^^^^^^^^^

        error: bake.lock:11:9: the target has neither an image nor a result
            |
         11 | [target.b]
            |         ^

        error: bake.lock:12:20: `manifest` is missing here
            |
         12 | [target.c.platform."linux/amd64"]
            |                    ^^^^^^^^^^^^^

        error: bake.lock:12:20: `config` is missing here
            |
         12 | [target.c.platform."linux/amd64"]
            |                    ^^^^^^^^^^^^^

        error: bake.lock:13:11: `diff_id` is missing here
            |
         13 | layers = [{ size = -1 }, 4]
            |           ^^^^^^^^^^^^^

        error: bake.lock:13:11: `digest` is missing here
            |
         13 | layers = [{ size = -1 }, 4]
            |           ^^^^^^^^^^^^^

        error: bake.lock:13:11: `media_type` is missing here
            |
         13 | layers = [{ size = -1 }, 4]
            |           ^^^^^^^^^^^^^

        error: bake.lock:13:20: `size` is a number of bytes
            |
         13 | layers = [{ size = -1 }, 4]
            |                    ^^

        error: bake.lock:13:26: a table is wanted here
            |
         13 | layers = [{ size = -1 }, 4]
            |                          ^

        error: bake.lock:14:1: a lockfile of version 1 has no `speed` here
            |
         14 | speed = 1
            | ^^^^^
        hint: restore bake.lock from version control, or delete it and run `bake build`"#]],
    );
}

#[test]
fn a_damaged_file_is_an_error_or_a_lockfile_and_never_a_panic() {
    let text = example().to_text();
    for end in 0..text.len() {
        if let Ok(lock) = parse(&text[..end]) {
            assert_eq!(parse(&lock.to_text()), Ok(lock));
        }
    }
    let (mut n_errors, mut state) = (0, 1_usize);
    for at in 0..text.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let junk = ["\"", "[", "]", "=", "\n", "{", "}", ".", "\r", "ß", "\u{1}", "'"][(state >> 33) % 12];
        let damaged = format!("{}{junk}{}", &text[..at], &text[at + 1..]);
        match parse(&damaged) {
            Ok(lock) => assert_eq!(parse(&lock.to_text()), Ok(lock)),
            Err(_) => n_errors += 1,
        }
    }
    assert!(n_errors > text.len() / 2, "{n_errors} of {}", text.len());
}
