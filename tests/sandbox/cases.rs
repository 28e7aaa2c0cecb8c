//! The cases. Each runs the driver and looks at what came of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::drive::{CANCELLED, ENTRY_REFUSED, Order, REFUSED};
use crate::isolation;

type Case = (&'static str, fn(&Fixture));

const CASES: [Case; 26] = [
    ("a_step_sees_itself_alone", a_step_sees_itself_alone),
    ("exit_codes_and_signals_are_kept", exit_codes_and_signals_are_kept),
    ("programs_that_cannot_start_are_told_apart", programs_that_cannot_start_are_told_apart),
    ("privileges_are_dockers", privileges_are_dockers),
    ("namespaces_and_mounts_are_refused", namespaces_and_mounts_are_refused),
    ("users_are_the_images", users_are_the_images),
    ("the_workdir_is_made_for_the_user", the_workdir_is_made_for_the_user),
    ("a_workdir_cannot_be_a_descriptor", a_workdir_cannot_be_a_descriptor),
    ("only_three_descriptors_are_open", only_three_descriptors_are_open),
    ("the_environment_is_the_steps_own", the_environment_is_the_steps_own),
    ("offline_has_loopback_alone", offline_has_loopback_alone),
    ("mounts_are_there_and_their_stubs_go", mounts_are_there_and_their_stubs_go),
    ("links_in_the_image_lead_nowhere_else", links_in_the_image_lead_nowhere_else),
    ("the_runner_cannot_be_overwritten", the_runner_cannot_be_overwritten),
    ("background_processes_die", background_processes_die),
    ("cancelling_leaves_no_process", cancelling_leaves_no_process),
    ("killing_bake_leaves_no_process", killing_bake_leaves_no_process),
    ("foreign_binaries_run_and_know_their_name", foreign_binaries_run_and_know_their_name),
    ("a_user_with_subordinate_ids_has_them_all", a_user_with_subordinate_ids_has_them_all),
    ("a_user_without_has_one", a_user_without_has_one),
    ("nothing_of_the_host_is_in_sight", isolation::nothing_of_the_host_is_in_sight),
    ("what_the_kernel_shows_is_hidden_or_read_only", isolation::what_the_kernel_shows_is_hidden_or_read_only),
    ("privileges_are_the_same_for_everyone", isolation::privileges_are_the_same_for_everyone),
    ("system_calls_are_refused_by_every_entry", isolation::system_calls_are_refused_by_every_entry),
    ("groups_that_deny_still_deny", isolation::groups_that_deny_still_deny),
    ("an_image_cannot_say_where_the_kernels_files_are", isolation::an_image_cannot_say_where_the_kernels_files_are),
];

/// Runs the cases whose name contains `filter`.
pub fn run(filter: Option<&str>) {
    let rootfs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-rootfs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/base-rootfs");
    let is_ready = rootfs.join("arm/.complete").exists() || Command::new(script).status().is_ok_and(|s| s.success());
    if !is_ready {
        return println!("skipped: tests/base-rootfs could not make root file systems");
    }
    let entry = Fixture { rootfs: rootfs.clone(), scratch: tempdir() }.drive(&Order::new("/", &[]));
    if entry.status.code() == Some(ENTRY_REFUSED) {
        return println!("skipped: {}", text(&entry.stderr));
    }
    let mut n_failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter))) {
        let fixture = Fixture { rootfs: rootfs.clone(), scratch: tempdir() };
        let is_ok = catch_unwind(AssertUnwindSafe(|| case(&fixture))).is_ok();
        n_failed += usize::from(!is_ok);
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
    }
    if n_failed > 0 {
        println!("{n_failed} failed");
        std::process::exit(101);
    }
}

pub struct Fixture {
    pub rootfs: PathBuf,
    pub scratch: tempfile::TempDir,
}

/// World-accessible, for the cases that run as another user.
fn tempdir() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Command::new("chmod").arg("0755").arg(directory.path()).status().unwrap();
    directory
}

impl Fixture {
    /// A step in an overlay over the root file system for this machine.
    fn order(&self, args: &[&str]) -> Order {
        let overlay = Some(self.scratch.path().join("overlay"));
        Order { overlay, ..Order::new(self.rootfs.join("amd64"), args) }
    }

    pub fn shell(&self, script: &str) -> Order {
        self.order(&["sh", "-c", script])
    }

    fn command(&self, order: &Order) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("drive").arg(serde_json::to_string(order).unwrap());
        command
    }

    pub fn drive(&self, order: &Order) -> Output {
        self.command(order).output().unwrap()
    }

    pub fn check(&self, order: &Order, code: i32, stdout: &str) {
        let output = self.drive(order);
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(code), stdout),
            "{}",
            text(&output.stderr)
        );
    }

    fn check_error(&self, order: &Order, code: i32, stderr: &str) {
        let output = self.drive(order);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(code), stderr));
    }

    /// What the step left in the overlay's upper directory.
    fn left(&self) -> Vec<String> {
        let upper = self.scratch.path().join("overlay/upper");
        let listed = Command::new("find").arg(&upper).args(["-mindepth", "1", "-printf", "%P\n"]).output().unwrap();
        let mut names: Vec<String> = text(&listed.stdout).lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

fn a_step_sees_itself_alone(fixture: &Fixture) {
    fixture.check(
        &fixture.shell("echo $$; hostname; ls / | tr '\\n' ' '"),
        0,
        "1\nbuildkitsandbox\nbin dev etc home proc root sys tmp",
    );
    fixture.check(
        &fixture.shell("umask; cat /etc/hosts; ls /dev | tr '\\n' ' '"),
        0,
        "0022\n127.0.0.1 localhost\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    );
}

fn exit_codes_and_signals_are_kept(fixture: &Fixture) {
    let output = fixture.drive(&fixture.shell("echo out; echo err >&2; exit 7"));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out".to_owned(), "err".to_owned()));
    fixture.check(&fixture.shell("sh -c 'kill -9 $$'; exit $?"), 137, "");
}

fn programs_that_cannot_start_are_told_apart(fixture: &Fixture) {
    let missing = "program `nothing` not found in the root file system: not in PATH (/bin)";
    fixture.check_error(&fixture.order(&["nothing"]), 127, missing);
    let denied = "program `/etc/passwd` cannot be executed: Permission denied (os error 13)";
    fixture.check_error(&fixture.order(&["/etc/passwd"]), 126, denied);
    let order = Order { root: fixture.rootfs.join("arm64"), ..fixture.order(&["true"]) };
    let foreign = "program `true` is for arm64, and no emulator is registered for it";
    fixture.check_error(&order, 126, foreign);
    let script = "printf 'echo hi' > /text; chmod 755 /text; printf '#!/none\\n' > /script; chmod 755 /script";
    fixture.check(&fixture.shell(script), 0, "");
    let no_format = "program `/text` cannot be executed: neither a program nor a script with a `#!` line";
    fixture.check_error(&fixture.order(&["/text"]), 126, no_format);
    let no_loader = "program `/script` not found in the root file system: its interpreter or loader is not there";
    fixture.check_error(&fixture.order(&["/script"]), 127, no_loader);
}

fn privileges_are_dockers(fixture: &Fixture) {
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\\t\\n' '  '";
    let (all, none) = ("00000000a80425fb", "0000000000000000");
    let expected = |effective: &str| {
        format!(
            "CapInh: {none} CapPrm: {effective} CapEff: {effective} CapBnd: {all} CapAmb: {none} NoNewPrivs: 0 Seccomp: 2"
        )
    };
    fixture.check(&fixture.shell(script), 0, &expected(all));
    fixture.check(&Order { user: "app".into(), ..fixture.shell(script) }, 0, &expected(none));
}

fn namespaces_and_mounts_are_refused(fixture: &Fixture) {
    for script in [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "umount /etc/hosts",
        "echo 1 > /proc/sys/kernel/core_uses_pid",
        "chroot / mount -o remount,rw /sys",
        "mknod /m b 254 0 && cat /m > /dev/null",
    ] {
        let output = fixture.drive(&fixture.shell(&format!("{script} 2>/dev/null")));
        assert_ne!(output.status.code(), Some(0), "{script}");
    }
}

fn users_are_the_images(fixture: &Fixture) {
    let script = "id -u; id -g; id -G; echo $HOME";
    for (user, expected) in [
        ("", "0\n0\n0\n/root"),
        ("app", "1000\n1000\n1000 1002\n/home/app"),
        ("1000", "1000\n1000\n1000 1002\n/home/app"),
        ("app:extra", "1000\n1002\n1002\n/home/app"),
        ("4000:5000", "4000\n5000\n5000\n/"),
    ] {
        fixture.check(&Order { user: user.into(), ..fixture.shell(script) }, 0, expected);
    }
    let no_user = "cannot run as user `nobody`: no such user in its /etc/passwd";
    fixture.check_error(&Order { user: "nobody".into(), ..fixture.shell(script) }, REFUSED, no_user);
    let overflow = "cannot run as user `4294967296`: `4294967296` is no id: ids are 0 to 4294967294";
    fixture.check_error(&Order { user: "4294967296".into(), ..fixture.shell(script) }, REFUSED, overflow);
}

fn the_workdir_is_made_for_the_user(fixture: &Fixture) {
    let order = Order { user: "app".into(), cwd: "/new/dir".into(), ..fixture.shell("pwd; stat -c '%u:%g %a' .") };
    fixture.check(&order, 0, "/new/dir\n1000:1000 755");
}

fn a_workdir_cannot_be_a_descriptor(fixture: &Fixture) {
    for number in 0..20 {
        let order = Order { cwd: format!("/proc/self/fd/{number}"), ..fixture.shell("ls") };
        assert_eq!(fixture.drive(&order).status.code(), Some(REFUSED), "{number}");
    }
}

fn only_three_descriptors_are_open(fixture: &Fixture) {
    // Process 1 is the shell, which waits for `ls`.
    fixture.check(&fixture.shell("ls /proc/1/fd; true"), 0, "0\n1\n2");
    fixture.check(&fixture.shell("readlink /proc/1/fd/0; true"), 0, "/dev/null");
}

fn the_environment_is_the_steps_own(fixture: &Fixture) {
    let mut command = fixture.command(&fixture.order(&["env"]));
    let output = command.env("BAKE_MARKER", "leaked").output().unwrap();
    assert_eq!(text(&output.stdout), "PATH=/bin\nHOME=/root");
}

fn offline_has_loopback_alone(fixture: &Fixture) {
    let script = "ip -o link | cut -d: -f2; ping -c 1 127.0.0.1 > /dev/null && echo up; ip route";
    fixture.check(&Order { is_offline: true, ..fixture.shell(script) }, 0, " lo\nup");
}

fn mounts_are_there_and_their_stubs_go(fixture: &Fixture) {
    let host = fixture.scratch.path().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("f"), "from the host").unwrap();
    let script = "cat /a/b/f /run/secrets/s; touch /a/b/g 2>/dev/null || echo ' ro'; touch /t/x; stat -c %a /run/secrets/s; \
                  echo kept > /a/kept";
    let order = Order {
        binds: vec![("/a/b".into(), host)],
        tmpfs: vec!["/t".into(), "/t/inner/most".into()],
        secrets: vec![("/run/secrets/s".into(), " secret".into())],
        ..fixture.shell(script)
    };
    fixture.check(&order, 0, "from the host secret ro\n400");
    assert_eq!(fixture.left(), ["a", "a/kept", "dev", "etc", "proc", "sys"]);
}

fn links_in_the_image_lead_nowhere_else(fixture: &Fixture) {
    let canary = fixture.scratch.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("passwd"), "root:x:4242:0::/:\n").unwrap();
    let upper = fixture.scratch.path().join("overlay/upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    std::os::unix::fs::symlink(&canary, upper.join("m")).unwrap();
    std::os::unix::fs::symlink(canary.join("passwd"), upper.join("etc/passwd2")).unwrap();
    let order = Order { tmpfs: vec!["/m/sub".into()], ..fixture.shell("true") };
    // The link's target is not in the image: it is made there.
    assert_eq!(fixture.drive(&order).status.code(), Some(0));
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    let order = Order { secrets: vec![("/s/f".into(), "x".into())], ..fixture.shell("true") };
    fixture.check(&order, 0, "");
    // While it runs the step cannot move a mounted stub's parents from under it; afterwards nothing of them is left.
    assert!(!upper.join("s").exists());
}

fn the_runner_cannot_be_overwritten(fixture: &Fixture) {
    let before = fs::read(std::env::current_exe().unwrap()).unwrap().len();
    let script = "printf '#!/proc/self/exe\\n' > /x; chmod 755 /x; /x; echo junk > /proc/1/exe";
    assert_ne!(fixture.drive(&fixture.shell(script)).status.code(), Some(0));
    assert_eq!(fs::read(std::env::current_exe().unwrap()).unwrap().len(), before);
}

fn background_processes_die(fixture: &Fixture) {
    let marker = marker(1);
    fixture.check(&fixture.shell(&format!("(setsid sleep {marker} &) ; echo done")), 0, "done");
    assert_eq!(processes_with(&marker), 0);
}

fn cancelling_leaves_no_process(fixture: &Fixture) {
    let marker = marker(2);
    let script = format!("trap '' TERM; sleep {marker} & sleep {marker} & echo ready; wait");
    fixture.check(&Order { cancel_at_first_output: true, ..fixture.shell(&script) }, CANCELLED, "ready");
    assert_eq!(processes_with(&marker), 0);
}

fn killing_bake_leaves_no_process(fixture: &Fixture) {
    let marker = marker(3);
    let order = fixture.shell(&format!("sleep {marker} & echo ready; wait"));
    let mut bake = fixture.command(&order).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(bake.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let has_started = soon(|| processes_with(&marker) > 0);
    bake.kill().unwrap();
    bake.wait().unwrap();
    assert!(has_started);
    // Nobody is left to wait for the runner; it needs a moment.
    assert!(soon(|| processes_with(&marker) == 0));
}

/// Returns a number of seconds to sleep that no other process has.
fn marker(case: u32) -> String {
    format!("47{case}.{}", std::process::id())
}

/// Waits for something that nobody tells us of; ten seconds are plenty.
fn soon(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if is_so() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Counts processes other than the driver that have `marker` as an argument of its own.
fn processes_with(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let command_lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| line.split(|byte| *byte == 0).any(|arg| arg == marker.as_bytes())).count()
}

fn foreign_binaries_run_and_know_their_name(fixture: &Fixture) {
    for (architecture, machine) in [("arm64", "aarch64"), ("arm", "armv7l")] {
        let emulated = |args: &[&str]| Order {
            root: fixture.rootfs.join(architecture),
            overlay: Some(fixture.scratch.path().join(architecture)),
            emulate: Some(architecture.into()),
            ..Order::new("/", args)
        };
        let first = fixture.drive(&emulated(&["uname", "-m"]));
        if first.status.code() == Some(ENTRY_REFUSED) {
            return println!("skipped: {}", text(&first.stderr));
        }
        // A multi-call binary knows what to do by `argv[0]` alone: as the first program, and as a child of a shell.
        assert_eq!(text(&first.stdout), machine);
        fixture.check(
            &emulated(&["sh", "-c", "uname -m; /bin/echo $0; readlink /proc/self/fd/0"]),
            0,
            &format!("{machine}\nsh\n/dev/null"),
        );
        fixture.check(&Order { user: "app".into(), ..emulated(&["id", "-u"]) }, 0, "1000");
    }
    fixture.check(&fixture.order(&["uname", "-m"]), 0, "x86_64");
}

fn a_user_with_subordinate_ids_has_them_all(fixture: &Fixture) {
    let Some(account) = Account::new(fixture, "bake-test-sub", 65_536) else { return };
    let mapping = account.drive(&Order::new("/", &[]));
    assert_eq!(text(&mapping.stdout), "Subordinate { count: 65537 }");
    let output = account.drive(&account.order("app", "id -u; pwd; touch f; stat -c %u f"));
    assert_eq!(text(&output.stdout), "1000\n/new\n1000", "{}", text(&output.stderr));
    let output = account.drive(&account.order("", "id -u; mkdir /d && chown 1000:33 /d && stat -c %u:%g /d"));
    assert_eq!(text(&output.stdout), "0\n1000:33", "{}", text(&output.stderr));
}

fn a_user_without_has_one(fixture: &Fixture) {
    let Some(account) = Account::new(fixture, "bake-test-single", 0) else { return };
    let mapping = account.drive(&Order::new("/", &[]));
    assert!(text(&mapping.stdout).starts_with("Single { reason: \"user `bake-test-single` has no subordinate ids"));
    let output = account.drive(&account.order("", "id -u; touch /f && stat -c %u /f"));
    assert_eq!(text(&output.stdout), "0\n0", "{}", text(&output.stderr));
    let refused = "cannot run as user `app`: this host maps no user 1000 or group 1000 for you; give yourself subordinate \
                   ids (see subuid(5))";
    assert_eq!(text(&account.drive(&account.order("app", "true")).stderr), refused);
}

/// An ordinary user with a root file system of their own.
pub struct Account<'a> {
    fixture: &'a Fixture,
    name: &'static str,
    /// Made by this case, and to be removed by it.
    is_ours: bool,
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if self.is_ours {
            _ = Command::new("userdel").arg(self.name).output();
        }
    }
}

impl<'a> Account<'a> {
    /// Needs root, to make the user; otherwise says that the case is skipped.
    pub fn new(fixture: &'a Fixture, name: &'static str, n_ids: u32) -> Option<Account<'a>> {
        let is_there = || Command::new("id").arg(name).output().is_ok_and(|output| output.status.success());
        let is_ours = !is_there();
        if is_ours {
            let counts = [format!("SUB_UID_COUNT={n_ids}"), format!("SUB_GID_COUNT={n_ids}")];
            _ = Command::new("useradd").args(["--system", "-F", "-K", &counts[0], "-K", &counts[1], name]).output();
        }
        let account = Account { fixture, name, is_ours };
        let home = account.home();
        let own = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let is_ready = is_there()
            && own(Command::new("install").args(["-d", "-o", name]).arg(&home))
            && own(account.command("cp").arg("-r").arg(fixture.rootfs.join("amd64")).arg(home.join("root")));
        if !is_ready {
            println!("skipped: cannot make and become the user {name}");
        }
        is_ready.then_some(account)
    }

    fn home(&self) -> PathBuf {
        self.fixture.scratch.path().join(self.name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", self.name, "--regid", self.name, "--clear-groups", program]);
        command
    }

    pub fn order(&self, user: &str, script: &str) -> Order {
        let overlay = Some(self.home().join("overlay"));
        let cwd = "/new".into();
        Order { overlay, user: user.into(), cwd, ..Order::new(self.home().join("root"), &["sh", "-c", script]) }
    }

    pub fn drive(&self, order: &Order) -> Output {
        let program = std::env::current_exe().unwrap();
        let order = serde_json::to_string(order).unwrap();
        self.command(program.to_str().unwrap()).arg("drive").arg(order).output().unwrap()
    }
}
