//! Emulators: installed for bake alone, the host's, and none.

use std::path::Path;

use crate::host::{HIDDEN_EMULATORS, bake_below, below, can_mount};
use crate::support::account::{Account, Ids};
use crate::support::{self, Project, Ran, Registry, registry};

/// Pushes an image with two of the distribution's emulators, laid out as the well-known one is.
fn emulator_image(registry: &Registry) -> String {
    let project = Project::new(registry);
    for (from, to) in [("qemu-aarch64-static", "qemu-aarch64"), ("qemu-riscv64-static", "qemu-riscv64")] {
        std::fs::copy(Path::new("/usr/bin").join(from), project.path().join(to)).expect("copied");
    }
    let tag = format!("{}/binfmt:1", project.repository);
    let text = format!(
        "target \"default\" {{\n  dockerfile-inline = \"FROM scratch\\nCOPY qemu-* /usr/bin/\\n\"\n  tags = [\"{tag}\"]\n}}\n"
    );
    project.write("build.hcl", &text);
    project.bake(&["build", "--push"]).succeeds();
    tag
}

const ARM64: [&str; 6] = ["build", "hello", "--platform", "linux/arm64", "--progress", "plain"];

#[test]
fn emulators_of_an_image_serve_builds_until_they_are_removed() {
    let Some(registry) = registry() else { return };
    if !can_mount() {
        return;
    }
    let image = emulator_image(registry);
    let accounts = [None, Some(Account::new("bake-e2e-em1", Ids::Subordinate))];
    for account in accounts {
        // `None` for root.
        let account = match account {
            Some(None) => return,
            Some(Some(account)) => Some(account),
            None => None,
        };
        let project = support::hello(registry);
        if let Some(account) = &account {
            account.adopt(&project);
        }
        let bake = |arguments: &[&str]| -> Ran {
            let command = match &account {
                Some(account) => account.bake_command(&project, arguments),
                None => project.command(arguments),
            };
            below(command, &["-m"], HIDDEN_EMULATORS).output().expect("unshare starts").into()
        };
        let failed = bake(&ARM64).fails(4);
        assert!(failed.stderr.contains("hint: run \"bake doctor\""), "{}", failed.stderr);
        let installed = bake(&["emulator", "install", "--image", &image]).succeeds();
        let lines: Vec<&str> = installed.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{}", installed.stdout);
        assert!(lines[0].starts_with("linux/arm64 ") && lines[0].ends_with("/emulators/qemu-aarch64"), "{}", lines[0]);
        assert!(lines[1].starts_with("linux/riscv64 "), "{}", lines[1]);
        let built = bake(&ARM64).succeeds();
        assert!(built.stderr.contains(" (emulated)\n"), "{}", built.stderr);
        let list = bake(&["emulator", "ls"]).succeeds();
        let own = list.stdout.lines().filter(|line| line.contains("(bake's own)")).count();
        assert_eq!(own, 2, "{}", list.stdout);
        assert!(list.stdout.contains("nothing: no static `qemu-s390x` found"), "{}", list.stdout);
        bake(&["emulator", "rm", "arm64"]).succeeds();
        bake(&["emulator", "rm", "arm64"]).fails(2);
        bake(&["build", "hello", "--platform", "linux/arm64", "--no-cache"]).fails(4);
        let rest = bake(&["emulator", "rm", "--all"]).succeeds();
        assert_eq!(rest.stdout, "linux/riscv64 qemu-riscv64\n");
    }
}

#[test]
fn what_is_asked_for_has_to_be_there_and_to_work() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let directory = project.path();
    std::fs::copy("/usr/bin/qemu-s390x-static", directory.join("qemu-s390x-static")).expect("copied");
    // A static program of this machine that emulates nothing.
    let busybox = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-rootfs/amd64/bin/busybox");
    std::fs::copy(busybox, directory.join("qemu-riscv64")).expect("copied");
    let install = |arguments: &[&str]| project.bake(&[&["emulator", "install"][..], arguments].concat());
    let failed = install(&["--from", "."]).fails(4);
    assert!(failed.stdout.starts_with("linux/s390x "), "{}", failed.stdout);
    assert!(failed.stderr.contains("linux/riscv64: a tiny program ended with exit code 127"), "{}", failed.stderr);
    assert!(!project.store().join("emulators/qemu-riscv64").exists());
    if cfg!(target_arch = "x86_64") {
        // One that prints the name that it was started by itself, as an emulator does that knows nothing of `argv[0]`.
        std::fs::write(directory.join("qemu-riscv64"), printer_of_its_name()).expect("written");
        let failed = install(&["riscv64", "--from", "."]).fails(4);
        assert!(failed.stderr.contains("programs do not get their `argv[0]`"), "{}", failed.stderr);
    }
    let missing = install(&["ppc64le", "--from", "."]).fails(2);
    assert!(missing.stderr.contains("has no emulator for ppc64le: no `qemu-ppc64le`"), "{}", missing.stderr);
    assert!(install(&["amd64", "--from", "."]).fails(2).stderr.contains("needs no emulator"));
    assert!(install(&["--image", "arm64"]).fails(2).stderr.contains("bake emulator install arm64 --image"));
    let gone = format!("{}:none", project.repository);
    install(&["--image", &gone]).fails(5);
    // A file of any name, where it is said what it is for.
    std::fs::copy("/usr/bin/qemu-ppc64le-static", directory.join("mine")).expect("copied");
    let installed = install(&["linux/ppc64le", "--from", "mine"]).succeeds();
    assert!(installed.stdout.ends_with("/emulators/qemu-ppc64le\n"), "{}", installed.stdout);
    install(&["--from", "mine"]).fails(2);
    // What is in the store comes before what PATH has.
    let list = project.bake(&["emulator", "ls", "--format", "json"]).succeeds();
    let rows: serde_json::Value = serde_json::from_str(&list.stdout).expect("JSON");
    let row =
        |name: &str| rows.as_array().expect("rows").iter().find(|row| row["platform"] == name).expect("a row").clone();
    assert_eq!(
        (row("linux/ppc64le")["runs"].as_str(), row("linux/ppc64le")["isInstalled"].as_bool()),
        (Some("private"), Some(true))
    );
    assert_eq!(row("linux/arm64")["isInstalled"].as_bool(), Some(false));
    assert_eq!(row("linux/amd64")["runs"].as_str(), Some("native"));
}

/// Returns a static program for amd64 that writes the first ten bytes of its `argv[0]`.
fn printer_of_its_name() -> Vec<u8> {
    const CODE: &[u8] =
        b"\x48\x8b\x74\x24\x08\xbf\x01\0\0\0\xba\x0a\0\0\0\xb8\x01\0\0\0\x0f\x05\x31\xff\xb8\x3c\0\0\0\x0f\x05";
    let size = 120 + CODE.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for address in [0x40_0078_u64, 64, 0] {
        elf.extend(address.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0");
    for word in [0, 0x40_0000, 0x40_0000, size, size, 0x1_0000] {
        elf.extend(u64::to_le_bytes(word));
    }
    elf.extend(CODE);
    elf
}

#[test]
fn the_package_is_installed_by_root_alone() {
    let Some(registry) = registry() else { return };
    // All that is wanted is there, so nothing is installed.
    let project = Project::new(registry);
    let there = project.bake(&["emulator", "install", "linux/arm64"]).succeeds();
    assert_eq!(there.stdout, "linux/arm64 /usr/bin/qemu-aarch64-static\n");
    if !can_mount() {
        return;
    }
    let Some(account) = Account::new("bake-e2e-em2", Ids::Subordinate) else { return };
    account.adopt(&project);
    let command = account.bake_command(&project, &["emulator", "install"]);
    let ran: Ran = below(command, &["-m"], HIDDEN_EMULATORS).output().expect("unshare starts").into();
    let failed = ran.fails(4);
    assert!(failed.stderr.contains("hint: as root: apt-get install qemu-user-static\n"), "{}", failed.stderr);
    assert!(failed.stderr.contains("bake emulator install --image"), "{}", failed.stderr);
}

/// Registers an emulator for arm64 in an outer user namespace, which is the host of those in it, and hides all others.
fn host_registration(flags: &str) -> String {
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    format!(
        "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99\n\
         printf '%s' ':qemu-aarch64:M:0:{magic}:{mask}:/usr/bin/qemu-aarch64-static:{flags}' \
         >/proc/sys/fs/binfmt_misc/register || exit 98\n\
         for emulator in /usr/bin/qemu-*; do mount --bind /dev/null \"$emulator\" || exit 97; done"
    )
}

#[test]
fn what_the_host_registers_is_used_where_bake_finds_nothing() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let flags = ["--user", "--map-root-user", "-m"];
    let probe = bake_below(&project, &flags, &host_registration("POCF"), &["emulator", "ls"]);
    if probe.code == Some(99) {
        support::skip("binfmt_misc is not per user namespace here");
        return;
    }
    let list = probe.succeeds();
    let line = list.stdout.lines().find(|line| line.starts_with("linux/arm64")).expect("a line");
    assert!(line.contains("what the host registers") && line.contains("POCF"), "{line}");
    bake_below(&project, &flags, &host_registration("POCF"), &ARM64).succeeds();
    let doctor = bake_below(&project, &flags, &host_registration("POCF"), &["doctor"]).succeeds();
    assert!(doctor.stdout.contains("emulated by what the host registers"), "{}", doctor.stdout);
    // Without P, programs would not know their names.
    let list = bake_below(&project, &flags, &host_registration("OCF"), &["emulator", "ls"]).succeeds();
    assert!(list.stdout.contains("of no use to steps"), "{}", list.stdout);
    bake_below(
        &project,
        &flags,
        &host_registration("OCF"),
        &["build", "hello", "--platform", "linux/arm64", "--no-cache"],
    )
    .fails(4);
}

#[test]
fn emulation_that_is_refused_is_named_before_anything_runs() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let failed = project.bake(&["build", "all", "--no-emulation", "--push"]).fails(4);
    for part in [
        "error: Dockerfile:4:1: this step for linux/arm64 would be emulated, which --no-emulation forbids",
        "error: Dockerfile:6:1: this step for linux/arm/v7 would be emulated, which --no-emulation forbids",
        "note: target \"hello\", step `[linux/arm64 ",
        "hint: build these platforms on a machine of their own",
    ] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
    assert!(!failed.stderr.contains("linux/amd64 would") && !failed.stderr.contains("DONE 0.0s (emulated)"));
    assert!(project.raw("1").is_none() && !project.exists("bake.lock"));
    project.bake(&["build", "all", "--no-emulation", "--platform", "linux/amd64"]).succeeds();
    // The same with a full cache.
    project.bake(&["build", "all"]).succeeds();
    project.bake(&["build", "all", "--no-emulation"]).fails(4);
    // Files are copied without running anything.
    project.write(
        "build.hcl",
        "target \"default\" {\n  platforms = [\"linux/arm64\"]\n  dockerfile-inline = \"FROM scratch\\nCOPY greet.sh /\\n\"\n}\n",
    );
    project.bake(&["build", "--no-emulation"]).succeeds();
}

#[test]
fn emulated_steps_are_marked_and_the_slow_ones_named() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        &format!(
            "target \"default\" {{\n  platforms = [\"linux/arm64\"]\n  dockerfile-inline = \
             \"FROM {}/base/busybox:1\\nRUN sleep 1\\nRUN true\\n\"\n}}\n",
            registry.host
        ),
    );
    let ran = project.bake(&["build", "--progress", "plain"]).succeeds();
    let ends = ran.stderr.lines().filter(|line| line.contains(" DONE ") && line.ends_with("s (emulated)")).count();
    assert_eq!(ends, 2, "{}", ran.stderr);
    let slow: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("emulated ")).collect();
    assert!(slow.len() == 1 && slow[0].ends_with("RUN sleep 1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 steps ran (2 emulated, "), "{}", ran.stderr);
}
