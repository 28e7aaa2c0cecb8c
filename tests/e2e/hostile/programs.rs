//! Programs that bake might start by name, planted where a careless engine would find them (CVE-2026-41567 and its kin).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Yard;
use crate::support::{Ran, registry, run};

const NAMES: [&str; 12] =
    ["unpigz", "pigz", "gzip", "gunzip", "xz", "unxz", "zstd", "unzstd", "bzip2", "bunzip2", "tar", "cp"];

#[test]
fn archives_are_unpacked_by_no_program_of_the_path_or_the_image() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let (context, traps) = (yard.context(), yard.project.home().join("traps"));
    let sprung = yard.project.home().join("sprung");
    for directory in [&traps, &context.join("bin")] {
        fs::create_dir(directory).expect("created");
        for name in NAMES {
            let trap = directory.join(name);
            fs::write(&trap, format!("#!/bin/sh\necho {name} >> {}\necho {name} >> /sprung\n", sprung.display()))
                .expect("written");
            fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).expect("ours");
        }
    }
    let mut steps = "FROM busybox\nCOPY bin /traps\nENV PATH=/traps:/bin\n".to_owned();
    for (flag, name) in [("-z", "gz"), ("-J", "xz"), ("-j", "bz2"), ("--zstd", "zst")] {
        let archive = context.join(format!("a.tar.{name}"));
        let made = run("tar", &[flag, "-cf", &archive.display().to_string(), "-C", "/etc", "hostname"]);
        // Where the host cannot make one, there is none to add.
        if made.code == Some(0) {
            steps.push_str(&format!("ADD a.tar.{name} /out-{name}/\n"));
        }
    }
    assert!(steps.contains("ADD a.tar.gz"), "{steps}");
    steps.push_str("RUN test ! -e /sprung && for d in /out-*; do test -f $d/hostname || exit 1; done\n");
    fs::write(context.join("Dockerfile"), steps).expect("written");
    let mut command = yard.project.command(&["build"]);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", traps.display()));
    Ran::from(command.output().expect("bake starts")).succeeds();
    assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap_or_default());
}
