//! `bake cache`, the limit on the store's size, and cache mounts of two bakes at once.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::secrets::project;
use crate::support::account::{Account, Ids};
use crate::support::{self, Project, Ran, registry, run};

/// Bytes that `du -s` counts.
fn disk_usage(path: &Path) -> u64 {
    let du = run("du", &["-s", "--block-size=1", &path.display().to_string()]).succeeds();
    du.stdout.split('\t').next().and_then(|size| size.parse().ok()).expect("a size")
}

/// What `bake cache du --format json` says.
fn usage(project: &Project) -> serde_json::Value {
    let ran = project.bake(&["cache", "du", "--format", "json"]).succeeds();
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// The items of a type.
fn items(usage: &serde_json::Value, kind: &str) -> Vec<serde_json::Value> {
    let all = usage["items"].as_array().expect("a list");
    all.iter().filter(|item| item["type"] == kind).cloned().collect()
}

fn files(project: &Project, directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project.store().join(directory)).expect("a store");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// A target whose steps each write so many KiB that do not compress.
fn steps(registry: &'static support::Registry, n_steps: usize, kib: usize) -> Project {
    let step = |n| format!("RUN seq {n}00000 {n}99999 | head -c {} > /f{n}\n", kib << 10);
    project(registry, "", &(1..=n_steps).map(step).collect::<String>())
}

#[test]
fn du_agrees_with_du_and_names_steps() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let usage = usage(&project);
    let (said, actual) = (usage["total"].as_u64().expect("a number"), disk_usage(&project.store()));
    // The command's own temporaries are gone by now.
    assert!(said.abs_diff(actual) <= 64 << 10, "{said} {actual}");
    let snapshots = items(&usage, "snapshot");
    assert!(snapshots.iter().any(|item| item["description"].as_str().expect("text").contains("greet.sh")), "{usage:#}");
    let table = project.bake(&["cache", "du"]).succeeds().stdout;
    for word in ["TYPE", "snapshot", "record", "Reclaimable:", "Total:", "Limit:"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    let filtered = project.bake(&["cache", "du", "--filter", "type=snapshot", "--filter", "description~=greet"]);
    let filtered = filtered.succeeds().stdout;
    assert!(filtered.contains("snapshot") && !filtered.contains("record  "), "{filtered}");
    let failed = project.bake(&["cache", "du", "--filter", "color=red"]).fails(2);
    assert!(failed.stderr.contains("no filter `color"), "{}", failed.stderr);
}

#[test]
fn prune_explains_itself_first_and_leaves_a_store_that_builds() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let expected = project.raw("1");
    let before = disk_usage(&project.store());
    let dry = project.bake(&["cache", "prune", "--dry-run", "--filter", "type=record"]).succeeds().stdout;
    assert!(dry.contains("goes   ") && dry.contains("it is not among type=record"), "{dry}");
    assert!(disk_usage(&project.store()).abs_diff(before) <= 64 << 10);
    let refused = project.bake(&["cache", "prune"]).fails(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    let nothing = project.bake(&["cache", "prune", "--force", "--filter", "until=24h"]).succeeds();
    assert_eq!(nothing.stdout, "Freed: 0 B\n");
    assert!(project.bake(&["build", "all", "--push"]).succeeds().ran_nothing());
    project.bake(&["cache", "prune", "--force", "--max-used-space", "2MB"]).succeeds();
    assert!(disk_usage(&project.store()) <= 2 << 20);
    project.bake(&["build", "all", "--push", "--var", "TAG=2"]).succeeds();
    assert_eq!(project.raw("2"), expected);
    project.bake(&["cache", "prune", "--force", "--all"]).succeeds();
    for directory in ["blobs/sha256", "snapshots", "records", "memos", "tmp"] {
        assert_eq!(files(&project, directory), Vec::<PathBuf>::new(), "{directory}");
    }
    project.bake(&["build", "all", "--push", "--var", "TAG=3"]).succeeds();
    assert_eq!(project.raw("3"), expected);
}

#[test]
fn the_limit_holds_over_many_builds_and_what_is_too_large_for_it_is_an_error() {
    let Some(registry) = registry() else { return };
    let project = steps(registry, 4, 400);
    project.bake(&["build"]).succeeds();
    let limit = disk_usage(&project.store()) + (600 << 10);
    let flag = format!("--store-limit={limit}");
    let dockerfile = project.read("Dockerfile");
    for round in 0..4 {
        project.write("Dockerfile", &dockerfile.replace("seq ", &format!("seq {round}")));
        project.bake(&["build", &flag]).succeeds();
        let now = disk_usage(&project.store());
        assert!(now <= limit + (64 << 10), "round {round}: {now} of {limit}");
    }
    let again = project.bake(&["build", &flag]).succeeds();
    assert!(again.ran_nothing(), "what was used last stays: {}", again.stderr);
    let verified = project.bake(&["cache", "verify"]).succeeds();
    assert!(verified.stderr.contains("checked"), "{}", verified.stderr);
    project.write("Dockerfile", &dockerfile.replace("seq ", "seq 9"));
    let mut command = project.command(&["build"]);
    let failed: Ran = command.env("BAKE_STORE_LIMIT", "1MB").output().expect("bake starts").into();
    let failed = failed.fails(4);
    assert!(
        failed.stderr.contains("the store is full") && failed.stderr.contains("--store-limit"),
        "{}",
        failed.stderr
    );
    project.bake(&["cache", "verify"]).succeeds();
    project.bake(&["build"]).succeeds();
    let mut command = project.command(&["build"]);
    let wrong: Ran = command.env("BAKE_STORE_LIMIT", "lots").output().expect("bake starts").into();
    assert!(wrong.fails(2).stderr.contains("BAKE_STORE_LIMIT"));
}

#[test]
fn two_builds_at_once_under_a_small_limit_take_nothing_from_each_other() {
    let Some(registry) = registry() else { return };
    let project = steps(registry, 6, 200);
    project.bake(&["build"]).succeeds();
    let limit = format!("--store-limit={}", disk_usage(&project.store()) * 5 / 2);
    let text = project.read("Dockerfile");
    for round in 0..3 {
        let start = |number: u32| {
            let name = format!("Dockerfile.{number}");
            project.write(&name, &text.replace("seq ", &format!("seq {round}{number}")));
            let set = format!("*.dockerfile={name}");
            let mut command = project.command(&["build", &limit, "--set", &set, "--set", "*.output=type=cacheonly"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bake starts")
        };
        let both: Vec<Child> = [1, 2].map(start).into_iter().collect();
        for child in both {
            Ran::from(child.wait_with_output().expect("waited")).succeeds();
        }
    }
    project.bake(&["cache", "verify"]).succeeds();
}

#[test]
fn a_collection_that_is_killed_at_any_moment_leaves_a_store_that_is_whole() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let expected = project.raw("1");
    for round in 0..12 {
        let mut prune = project.command(&["cache", "prune", "--force", "--max-used-space", "1MB"]);
        let mut child = prune.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bake starts");
        std::thread::sleep(Duration::from_millis(4 * round));
        _ = child.kill();
        child.wait().expect("waited");
        assert_eq!(project.bake(&["cache", "verify"]).succeeds().stdout, "", "round {round}");
        let usage = usage(&project);
        let (said, actual) = (usage["total"].as_u64().expect("a number"), disk_usage(&project.store()));
        assert!(said.abs_diff(actual) <= 64 << 10, "round {round}: {said} {actual}");
        project.bake(&["build", "all", "--push"]).succeeds();
        assert_eq!(project.raw("1"), expected, "round {round}");
    }
    assert_eq!(files(&project, "tmp"), Vec::<PathBuf>::new());
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

/// The largest file below a directory.
fn largest(directory: &Path) -> PathBuf {
    let find = format!("find {} -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2", directory.display());
    PathBuf::from(run("sh", &["-c", &find]).succeeds().stdout.trim())
}

#[test]
fn verify_reports_each_damage_and_repair_lets_the_next_build_make_it_again() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let expected = project.raw("1");
    let clean = project.bake(&["cache", "verify"]).succeeds();
    assert_eq!(clean.stdout, "");
    let blob = largest(&project.store().join("blobs/sha256"));
    flip(&blob);
    let record = files(&project, "records").swap_remove(0);
    std::fs::write(&record, "{").expect("written");
    // A step of ours, and a file of the base image.
    let find = format!("find {} -path '*/app/greeting' | head -1", project.store().join("snapshots").display());
    let greeting = PathBuf::from(run("sh", &["-c", &find]).succeeds().stdout.trim());
    flip(&greeting);
    let base = largest(&project.store().join("snapshots"));
    let found = project.bake(&["cache", "verify"]).fails(1);
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let snapshot = |path: &Path| {
        let below = path.strip_prefix(project.store().join("snapshots")).expect("a file of a snapshot");
        below.components().next().expect("its name").as_os_str().to_string_lossy().into_owned()
    };
    for damage in [format!("blob {}: its ", name(&blob)), format!("record {}: it is no record", name(&record))] {
        assert!(found.stdout.contains(&damage), "{damage} is not in\n{}", found.stdout);
    }
    assert!(found.stdout.contains(&format!("snapshot {}: its files", snapshot(&greeting))), "{}", found.stdout);
    assert_eq!(found.stdout.lines().count(), 3, "{}", found.stdout);
    project.bake(&["cache", "verify", "--repair"]).succeeds();
    assert_eq!(project.bake(&["cache", "verify"]).succeeds().stdout, "");
    // With the blobs there, a base image's files are known, too.
    project.bake(&["build", "all", "--push", "--var", "TAG=2", "--no-cache"]).succeeds();
    assert_eq!(project.raw("2"), expected);
    flip(&base);
    let found = project.bake(&["cache", "verify", "--repair"]).succeeds();
    assert!(found.stdout.is_empty() || found.stdout.contains("snapshot"), "{}", found.stdout);
    project.bake(&["build", "all", "--push", "--var", "TAG=3"]).succeeds();
    assert_eq!(project.raw("3"), expected);
}

#[test]
fn a_rotten_blob_is_fetched_again_by_the_build_that_meets_it() {
    let Some(registry) = registry() else { return };
    type Spoil = fn(&Path);
    let cut: Spoil = |path| {
        let bytes = std::fs::read(path).expect("there");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
    };
    for spoil in [flip as Spoil, cut] {
        let project = support::hello(registry);
        project.bake(&["build", "all", "--push"]).succeeds();
        let expected = project.raw("1");
        // What was unpacked and made is gone, and every blob is spoilt: manifests, configs and layers.
        support::remove(&project.store().join("snapshots"));
        support::remove(&project.store().join("records"));
        for name in ["snapshots", "records"] {
            std::fs::create_dir(project.store().join(name)).expect("made");
        }
        files(&project, "blobs/sha256").iter().for_each(|blob| spoil(blob));
        project.bake(&["build", "all", "--push", "--var", "TAG=2"]).succeeds();
        assert_eq!(project.raw("2"), expected);
    }
}

#[test]
fn steps_that_want_locked_mounts_in_another_order_or_twice_do_not_wait_for_ever() {
    let Some(registry) = registry() else { return };
    let mount = |id: &str, target: &str| format!("--mount=type=cache,id={id},target={target},sharing=locked");
    let (a, b) = (mount("a", "/a"), mount("b", "/b"));
    let steps = format!(
        "RUN {a} {b} {} sleep 0.2; touch /again/x; ls /a > /seen\nFROM ${{REGISTRY}}/base/busybox:1\n\
         RUN {b} {a} sleep 0.2; touch /other\nCOPY --from=first /seen /seen\n",
        mount("a", "/again")
    );
    let project = project(registry, "", &steps);
    let dockerfile = project.read("Dockerfile").replacen("busybox:1\n", "busybox:1 AS first\n", 1);
    project.write("Dockerfile", &dockerfile).bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "x\n");
}

/// Steps that use a cache mount for a while, each in a bake of its own; the mount's directory is shown by what is in it.
fn at_once(sharing: &str, body: &str) -> Option<(Project, Vec<Ran>)> {
    let registry = registry()?;
    let mount = format!("--mount=type=cache,id=at-once,target=/c,sharing={sharing}");
    let project = project(registry, "", &format!("ARG N\nRUN {mount} {body}\n"));
    let start = |n: u32| {
        let set = [format!("*.args.N={n}"), format!("*.output=type=local,dest=out{n}")];
        let mut command = project.command(&["build", "--set", &set[0], "--set", &set[1]]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bake starts")
    };
    let both: Vec<Child> = [1, 2].map(start).into_iter().collect();
    let ran = both.into_iter().map(|child| Ran::from(child.wait_with_output().expect("waited")).succeeds()).collect();
    Some((project, ran))
}

#[test]
fn a_shared_mount_is_used_by_two_bakes_at_once() {
    // Each waits until it sees the other's file.
    let body = "touch /c/$N; for i in $(seq 100); do [ -e /c/$((3 - N)) ] && break; sleep 0.1; done; ls /c > /seen";
    let Some((project, _)) = at_once("shared", body) else { return };
    assert_eq!((project.read("out1/seen"), project.read("out2/seen")), ("1\n2\n".to_owned(), "1\n2\n".to_owned()));
}

#[test]
fn a_locked_mount_is_used_by_one_bake_after_the_other() {
    let body = "[ ! -e /c/busy ] && touch /c/busy && sleep 0.5 && echo $N >> /c/log && rm /c/busy && cp /c/log /seen";
    let Some((project, _)) = at_once("locked", body) else { return };
    let mut seen = [project.read("out1/seen"), project.read("out2/seen")];
    seen.sort_by_key(String::len);
    assert_eq!((seen[0].lines().count(), seen[1].lines().count()), (1, 2));
}

#[test]
fn a_private_mount_is_another_one_for_another_bake() {
    let body = "touch /c/$N; sleep 1.5; ls /c > /seen";
    let Some((project, _)) = at_once("private", body) else { return };
    assert_eq!((project.read("out1/seen"), project.read("out2/seen")), ("1\n".to_owned(), "2\n".to_owned()));
}

#[test]
fn waiting_for_a_locked_mount_ends_with_ctrl_c() {
    let Some(registry) = registry() else { return };
    let mount = "--mount=type=cache,id=wait,target=/c,sharing=locked";
    let project = project(registry, "", &format!("ARG N\nRUN {mount} touch /c/$N; sleep $N\n"));
    let start = |n: &str| {
        let set = format!("*.args.N={n}");
        let mut command = project.command(&["build", "--set", &set, "--set", "*.output=type=cacheonly"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bake starts")
    };
    let has_file = |name: &str| files(&project, "mounts").iter().any(|mount| mount.join(name).exists());
    let mut holder = start("60");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !project.store().join("mounts").exists() || !has_file("60") {
        assert!(Instant::now() < deadline, "the first step never ran");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut waiter = start("1");
    std::thread::sleep(Duration::from_millis(1500));
    let begin = Instant::now();
    for child in [&waiter, &holder] {
        run("kill", &["-INT", &child.id().to_string()]).succeeds();
    }
    assert_eq!(waiter.wait().expect("ended").code(), Some(130));
    assert_eq!(holder.wait().expect("ended").code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!has_file("1"));
}

#[test]
fn a_mount_without_an_id_is_one_for_each_platform_and_one_with_an_id_is_shared() {
    let Some(registry) = registry() else { return };
    let project = project(
        registry,
        "platforms = [\"linux/amd64\", \"linux/arm64\"]",
        "RUN --mount=type=cache,target=/own uname -m >> /own/log; cat /own/log > /own-seen\n\
         RUN --mount=type=cache,id=named,target=/c,sharing=locked uname -m >> /c/log\n",
    );
    project.bake(&["build", "-j", "1"]).succeeds();
    assert_eq!(project.read("out/linux_amd64/own-seen"), "x86_64\n");
    assert_eq!(project.read("out/linux_arm64/own-seen"), "aarch64\n");
    let list = project.bake(&["cache", "mount", "ls"]).succeeds().stdout;
    for id in ["\n/own@linux/amd64 ", "\n/own@linux/arm64 ", "\nnamed "] {
        assert!(list.contains(id), "{id} is not in\n{list}");
    }
    let tar = project.path().join("named.tar");
    project.bake(&["cache", "mount", "export", "named", "-o", "named.tar"]).succeeds();
    let text = run("tar", &["-xOf", &tar.display().to_string(), "log"]).succeeds().stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn cache_mounts_travel_with_modes_owners_and_links() {
    let Some(registry) = registry() else { return };
    let mount = "--mount=type=cache,id=m,target=/c,mode=0750";
    let make = format!(
        "RUN {mount} echo x > /c/f && chown 7:8 /c/f /c && ln /c/f /c/g && ln -s f /c/s && mkdir -m 0700 /c/d\n"
    );
    let show = format!("RUN {mount} stat -c '%n %a %u:%g %h %F' /c /c/* > /seen && cat /c/s >> /seen\n");
    let (one, two) = (project(registry, "", &format!("{make}{show}")), project(registry, "", &show));
    one.bake(&["build"]).succeeds();
    let exported = one.command(&["cache", "mount", "export", "m"]).output().expect("bake starts");
    assert!(exported.status.success());
    std::fs::write(two.path().join("m.tar"), &exported.stdout).expect("written");
    run("gzip", &[&two.path().join("m.tar").display().to_string()]).succeeds();
    let stdin = std::fs::File::open(two.path().join("m.tar.gz")).expect("there");
    let imported: Ran =
        two.command(&["cache", "mount", "import", "m"]).stdin(stdin).output().expect("bake starts").into();
    imported.succeeds();
    two.bake(&["build"]).succeeds();
    assert_eq!(one.read("out/seen"), two.read("out/seen"));
    // Importing again is replacing.
    two.bake(&["cache", "mount", "import", "m", "m.tar.gz"]).succeeds();
    two.bake(&["build", "--no-cache"]).succeeds();
    assert_eq!(one.read("out/seen"), two.read("out/seen"));
    assert!(two.bake(&["cache", "mount", "export", "none"]).fails(2).stderr.contains("mount ls"));
}

#[test]
fn a_hostile_archive_is_imported_beneath_its_mount_or_not_at_all() {
    let project = Project::alone();
    let outside = project.home().join("outside");
    std::fs::write(&outside, "untouched").expect("written");
    let script = "import sys, tarfile, io\n\
                  t = tarfile.open(sys.argv[1], 'w')\n\
                  def add(name, kind, link='', data=b''):\n\
                  \x20   i = tarfile.TarInfo(name); i.type = kind; i.linkname = link; i.size = len(data); t.addfile(i, io.BytesIO(data))\n\
                  add('link', tarfile.SYMTYPE, sys.argv[2])\n\
                  add('link/outside', tarfile.REGTYPE, data=b'changed')\n\
                  add('../../outside', tarfile.REGTYPE, data=b'changed')\n\
                  add(sys.argv[2] + '/outside', tarfile.REGTYPE, data=b'changed')\n\
                  t.close()\n";
    let tar = project.path().join("evil.tar").display().to_string();
    run("python3", &["-c", script, &tar, &project.home().display().to_string()]).succeeds();
    let ran = project.bake(&["cache", "mount", "import", "m", "evil.tar"]);
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&outside).expect("there"), "untouched");
    project.write("none.tar", "this is no archive");
    let ran = project.bake(&["cache", "mount", "import", "m", "none.tar"]).fails(4);
    assert!(ran.stderr.contains("no tar archive"), "{}", ran.stderr);
    assert_eq!(files(&project, "tmp"), Vec::<PathBuf>::new());
}

#[test]
fn an_ordinary_user_has_the_same_commands() {
    let Some(registry) = registry() else { return };
    for (name, ids) in [("bake-e2e-cache1", Ids::Subordinate), ("bake-e2e-cache2", Ids::Single)] {
        let Some(account) = Account::new(name, ids) else { return };
        let project = support::hello(registry);
        account.adopt(&project);
        account.bake(&project, &["build", "all", "--push"]).succeeds();
        assert!(account.bake(&project, &["cache", "du"]).succeeds().stdout.contains("snapshot"));
        assert_eq!(account.bake(&project, &["cache", "verify"]).succeeds().stdout, "");
        let pruned = account.bake(&project, &["cache", "prune", "--force"]).succeeds();
        assert!(pruned.stdout.contains("Freed: "), "{}", pruned.stdout);
        account.bake(&project, &["build", "all", "--push", "--var", "TAG=2"]).succeeds();
        assert_eq!(project.raw("1"), project.raw("2"));
    }
}

#[test]
fn a_store_of_another_version_is_refused_with_what_to_do() {
    let project = Project::alone();
    project.bake(&["cache", "du"]).succeeds();
    for (version, mend) in [("3\n", "use the newer bake that made it"), ("1\n", "remove it")] {
        std::fs::write(project.store().join("version"), version).expect("written");
        let failed = project.bake(&["cache", "du"]).fails(4);
        assert!(failed.stderr.contains(mend), "{}", failed.stderr);
    }
}
