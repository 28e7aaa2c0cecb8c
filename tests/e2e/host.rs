//! Hosts that lack something.

use std::process::{Command, Stdio};

use crate::support::{self, Project, Ran, registry, run};

/// Takes all emulators of the distribution, and what the host registers, out of sight.
pub const HIDDEN_EMULATORS: &str = "for emulator in /usr/bin/qemu-*; do mount --bind /dev/null \"$emulator\" || exit 99; done\n\
                                    umount /proc/sys/fs/binfmt_misc 2>/dev/null; true";

/// Runs bake below a shell that first does `script` in name spaces made by `unshare` with `flags`.
pub fn bake_below(project: &Project, flags: &[&str], script: &str, arguments: &[&str]) -> Ran {
    below(project.command(arguments), flags, script).output().expect("unshare starts").into()
}

/// Returns `ours`, which starts with no environment but its own, as a shell runs it that first does `script` in name spaces
/// made by `unshare` with `flags`.
pub fn below(ours: Command, flags: &[&str], script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", &format!("{script}\nexec \"$@\""), "sh"]);
    command.arg(ours.get_program()).args(ours.get_args()).env_clear();
    command.current_dir(ours.get_current_dir().expect("a project's"));
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null());
    command
}

/// Returns the lines of a failure from `error:` on.
fn said(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().skip_while(|line| !line.starts_with("error:")).collect()
}

/// Says whether mounts can be made here, for the tests that arrange a host's file systems.
pub fn can_mount() -> bool {
    let can = run("unshare", &["-m", "true"]).code == Some(0);
    if !can {
        support::skip("this test needs root, to arrange mounts");
    }
    can
}

#[test]
fn a_host_without_user_namespaces_is_one_line_and_what_to_do() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_mnt_namespaces";
    let failed = bake_below(&project, &["--user", "--map-root-user"], none, &["build", "all"]).fails(4);
    assert_eq!(
        failed.stderr,
        "error: cannot create a user namespace on this host: user.max_user_namespaces = 0\n\
         hint: as root: sysctl -w user.max_user_namespaces=15000\n\
         hint: run \"bake doctor\": it tries all that a build needs here, and says what mends it\n"
    );
    assert!(!project.store().exists() && !project.exists("bake.lock"));
}

#[test]
fn a_missing_emulator_is_named_with_its_platform_and_package() {
    let Some(registry) = registry() else { return };
    if !can_mount() {
        return;
    }
    let project = support::hello(registry);
    let hidden = HIDDEN_EMULATORS;
    let failed = bake_below(&project, &["-m"], hidden, &["build", "all", "--platform", "linux/arm64"]).fails(4);
    let lines = said(&failed);
    for part in ["linux/arm64", "no static `qemu-aarch64` found"] {
        assert!(lines[0].contains(part), "{part} is not in\n{}", failed.stderr);
    }
    assert!(lines.contains(&"hint: install it: apt-get install qemu-user-static"), "{}", failed.stderr);
    assert!(!project.exists("bake.lock"));
    // What this machine runs by itself is built all the same.
    bake_below(&project, &["-m"], hidden, &["build", "all", "--platform", "linux/amd64"]).succeeds();
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_half_written() {
    let Some(registry) = registry() else { return };
    if !can_mount() {
        return;
    }
    let project = support::hello(registry);
    let disk = project.home().join("disk");
    std::fs::create_dir(&disk).expect("created");
    let (disk, store) = (disk.display().to_string(), disk.join("store").display().to_string());
    let bake = env!("CARGO_BIN_EXE_bake");
    // The same name space all along: first full, then with space again.
    let script = format!(
        "mount -t tmpfs -o size=64m none {disk}\n\
         export BAKE_STORE={store}\n\
         head -c 62500k /dev/zero > {disk}/ballast\n\
         {bake} build all; echo first $?\n\
         ls -A {store}/tmp; (cd {store}/blobs/sha256 && sha256sum * 2>/dev/null | awk '$1 != $2') ; echo checked\n\
         rm {disk}/ballast\n\
         {bake} build all --push 2>/dev/null >/dev/null; echo second $?"
    );
    let ran = bake_below(&project, &["-m"], &format!("{script}\nexit"), &["unused"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines, ["first 4", "checked", "second 0"], "{}", ran.stderr);
    let lines = said(&ran);
    assert!(lines[0].contains("No space left on device"), "{}", ran.stderr);
    let hint = format!("hint: free space for the store, {store}, or name another with --store DIR");
    assert!(lines.contains(&hint.as_str()), "{}", ran.stderr);
    let expected = support::hello(registry);
    expected.bake(&["build", "all", "--push"]).succeeds();
    assert_eq!(project.raw("1"), expected.raw("1"));
}

#[test]
fn a_read_only_store_is_named() {
    let Some(registry) = registry() else { return };
    if !can_mount() {
        return;
    }
    let project = support::hello(registry);
    std::fs::create_dir(project.store()).expect("created");
    let store = project.store().display().to_string();
    let script = format!("mount -t tmpfs -o ro,mode=700 none {store}");
    let failed = bake_below(&project, &["-m"], &script, &["build", "all"]).fails(4);
    let lines = said(&failed);
    assert!(lines[0].contains(&store) && lines[0].contains("Read-only file system"), "{}", failed.stderr);
}

#[test]
fn without_a_home_a_place_for_the_store_has_to_be_named() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let mut command = project.command(&["build", "hello"]);
    command.env_remove("HOME").env_remove("BAKE_STORE");
    let failed = Ran::from(command.output().expect("bake starts")).fails(4);
    assert_eq!(
        failed.stderr,
        "error: there is no place for the store: HOME is not set\nhint: name one with --store DIR or BAKE_STORE\n"
    );
    let mut command = project.command(&["build", "hello"]);
    command.env_remove("HOME");
    Ran::from(command.output().expect("bake starts")).succeeds();
}

#[test]
fn a_lockfile_that_cannot_be_written_is_named() {
    let Some(registry) = registry() else { return };
    if !can_mount() {
        return;
    }
    let project = support::hello(registry);
    let source = project.path().display().to_string();
    let script = format!("mount --bind {source} {source} && mount -o remount,ro,bind {source} && cd {source}");
    let failed = bake_below(&project, &["-m"], &script, &["build", "all"]).fails(4);
    let lines = said(&failed);
    assert!(lines[0].contains("cannot write bake.lock") && lines[0].contains("Read-only"), "{}", failed.stderr);
    assert!(!project.exists("bake.lock"));
}
