//! What a step sees of its host, looked at from inside: as root, as users with and without subordinate ids, and emulated.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::cases::{Account, Fixture, text};
use crate::drive::Order;
use crate::probe;

/// Who runs bake.
enum Who<'a> {
    Root(&'a Fixture),
    User(Account<'a>),
}

impl Who<'_> {
    /// Runs a script in a step, with `change` made to its order.
    fn run(&self, script: &str, change: impl Fn(Order) -> Order) -> Output {
        match self {
            Who::Root(fixture) => fixture.drive(&change(fixture.shell(script))),
            Who::User(account) => account.drive(&change(Order { cwd: "/".into(), ..account.order("", script) })),
        }
    }

    #[track_caller]
    fn check(&self, script: &str, expected: &str) {
        let output = self.run(script, |order| order);
        assert_eq!(text(&output.stdout), expected, "{script}\n{}", text(&output.stderr));
    }
}

/// Does it as root and as both kinds of ordinary users, as far as this host lets users be made.
fn as_everyone(fixture: &Fixture, check: impl Fn(&Who<'_>)) {
    check(&Who::Root(fixture));
    for (name, n_ids) in [("bake-test-sub", 65_536), ("bake-test-single", 0)] {
        if let Some(account) = Account::new(fixture, name, n_ids) {
            check(&Who::User(account));
        }
    }
}

pub fn nothing_of_the_host_is_in_sight(fixture: &Fixture) {
    let mark = std::process::id();
    as_everyone(fixture, |who| {
        who.check("echo /proc/[0-9]*", "/proc/1");
        who.check("grep -E '^(PPid|TracerPid)' /proc/1/status | tr '\\t\\n' '  '", "PPid: 0 TracerPid: 0");
        who.check(&format!("ls -d /proc/{mark} 2>/dev/null"), "");
        who.check("cat /proc/self/cgroup | cut -d: -f3 | sort -u", "/");
        who.check("cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | grep -vc key", "0");
        // Its own root is as far as any way up leads.
        who.check(
            "cd -P /proc/1/root/../../..; ls -d bin etc; cd -P /proc/1/cwd/../..; ls -d bin etc",
            "bin\netc\nbin\netc",
        );
        who.check("ls /proc/self/fd | wc -l", "4");
        // Neither the files of the directory that bake runs in nor of the store are in any mount's file system.
        who.check("for place in $(cut -d' ' -f5 /proc/self/mountinfo); do ls $place/Cargo.toml 2>/dev/null; done", "");
        who.check("tty", "not a tty");
        who.check("env | cut -d= -f1 | sort | tr '\\n' ' '", "HOME PATH PWD SHLVL");
    });
}

pub fn what_the_kernel_shows_is_hidden_or_read_only(fixture: &Fixture) {
    let masked = "acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi";
    // Every masked place is empty, or this kernel has none.
    let script = format!("cd /proc; for p in {masked}; do cat $p 2>/dev/null | head -c 10; ls $p/ 2>/dev/null; done");
    let sys = "cd /sys; ls firmware devices/virtual/powercap 2>/dev/null | grep -v :";
    let flags =
        |place: &str| format!("grep ' {place} ' /proc/self/mountinfo | tail -n 1 | cut -d' ' -f6 | cut -d, -f1");
    as_everyone(fixture, |who| {
        who.check(&script, "");
        who.check(sys, "");
        for place in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"] {
            // What the host's own /proc lacks is not there.
            who.check(&format!("test -e {place} || echo ro; {}", flags(place)), "ro");
        }
        for file in ["kernel/core_pattern", "kernel/modprobe", "vm/drop_caches", "fs/binfmt_misc/register"] {
            who.check(&format!("(echo x > /proc/sys/{file}) 2>/dev/null || echo refused"), "refused");
        }
        who.check("(echo b > /proc/sysrq-trigger) 2>/dev/null || echo refused", "refused");
        who.check("(mkdir /sys/fs/cgroup/x) 2>/dev/null || echo refused", "refused");
        who.check(
            "(echo 1 > /proc/1/oom_score_adj && echo -1000 > /proc/1/oom_score_adj) 2>/dev/null || echo refused",
            "refused",
        );
    });
}

pub fn privileges_are_the_same_for_everyone(fixture: &Fixture) {
    let script = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status | tr '\\t\\n' '  '";
    let (all, none) = ("00000000a80425fb", "0000000000000000");
    // Set-uid programs work, as sudo in a Dockerfile needs and as the peer has it; the bounding set is their limit.
    let expected =
        format!("CapInh: {none} CapPrm: {all} CapEff: {all} CapBnd: {all} CapAmb: {none} NoNewPrivs: 0 Seccomp: 2");
    as_everyone(fixture, |who| who.check(script, &expected));
    let emulated = |order: Order| Order {
        root: fixture.rootfs.join("arm64"),
        overlay: Some(fixture.scratch.path().join("arm64")),
        emulate: Some("arm64".into()),
        ..order
    };
    let output = Who::Root(fixture).run(script, emulated);
    let said = text(&output.stdout);
    // Only the emulator may be missing.
    assert!(said == expected || said.is_empty(), "{said}");
}

pub fn system_calls_are_refused_by_every_entry(fixture: &Fixture) {
    let program = std::env::current_exe().unwrap();
    let Some(libraries) = libraries() else { return println!("skipped: no libraries to run a probe with") };
    let loader = fs::read_dir(&libraries).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let Some(loader) = loader.into_iter().find(|name| name.starts_with("ld-linux")) else {
        return println!("skipped: no loader to run a probe with");
    };
    // Where every user can reach it.
    let bin = fixture.scratch.path().join("probe");
    fs::create_dir(&bin).unwrap();
    fs::copy(&program, bin.join("probe")).unwrap();
    let script = format!("/probe/lib/{loader} --library-path /probe/lib /probe/bin/probe probe {}", std::process::id());
    as_everyone(fixture, |who| {
        let binds = vec![("/probe/lib".to_owned(), libraries.clone()), ("/probe/bin".to_owned(), bin.clone())];
        let output = who.run(&script, |order| Order { binds: binds.clone(), ..order });
        assert_eq!(text(&output.stdout), probe::expected().trim_end(), "{}", text(&output.stderr));
    });
    // Another user of the image has no capability to ask for more, and the same filter.
    let binds = vec![("/probe/lib".to_owned(), libraries.clone()), ("/probe/bin".to_owned(), bin)];
    let output = Who::Root(fixture).run(&script, |order| Order { binds: binds.clone(), user: "app".into(), ..order });
    assert_eq!(text(&output.stdout), probe::expected().trim_end(), "{}", text(&output.stderr));
}

fn libraries() -> Option<PathBuf> {
    let architecture = std::env::consts::ARCH;
    let places = [format!("/usr/lib/{architecture}-linux-gnu"), "/usr/lib64".to_owned(), "/usr/lib".to_owned()];
    places.into_iter().map(PathBuf::from).find(|place| place.join("libc.so.6").exists())
}

pub fn groups_that_deny_still_deny(fixture: &Fixture) {
    // Whoever is in the group may not read it, though all others may (CVE-2022-36109 and its kin).
    let script = "id -G; cat /denied 2>/dev/null || echo refused";
    let plant = "echo text > /denied; chown 0:1002 /denied; chmod 604 /denied";
    assert_eq!(fixture.drive(&fixture.shell(plant)).status.code(), Some(0));
    let order = Order { user: "app".into(), ..fixture.shell(script) };
    fixture.check(&order, 0, "1000 1002\nrefused");
    // No group of the caller's comes along, and the kernel's way to lose one is closed where that would matter.
    fixture.check(&Order { user: "4000:5000".into(), ..fixture.shell(script) }, 0, "5000\ntext");
    let Some(account) = Account::new(fixture, "bake-test-single", 0) else { return };
    let output = account.drive(&account.order("", "cat /proc/self/setgroups; id -G"));
    assert_eq!(text(&output.stdout), "deny\n0", "{}", text(&output.stderr));
}

/// Links in the place of the kernel's file systems (CVE-2019-16884, CVE-2025-31133 and their kin).
pub fn an_image_cannot_say_where_the_kernels_files_are(fixture: &Fixture) {
    let canary = fixture.scratch.path().join("canary");
    fs::create_dir(&canary).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for (index, place) in ["proc", "sys", "dev"].into_iter().enumerate() {
        for (turn, target) in
            [canary.clone(), PathBuf::from("/etc"), Path::new("../..").join(&canary)].iter().enumerate()
        {
            let overlay = fixture.scratch.path().join(format!("links-{index}-{turn}"));
            fs::create_dir_all(overlay.join("upper")).unwrap();
            symlink(target, overlay.join("upper").join(place)).unwrap();
            let script = "echo x > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger; echo x > /dev/null; \
                          echo x > /sys/kernel/uevent_helper; true";
            // It runs in a closed box or not at all.
            fixture.drive(&Order { overlay: Some(overlay), ..fixture.shell(script) });
            assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{place} -> {}", target.display());
        }
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), host);
}
