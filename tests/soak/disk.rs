//! A store on a disk that is too small, then on one that cannot be written, then on one that can.

use std::process::Command;

use crate::random::Random;
use crate::support::{self, Ran};
use crate::world::{N_VARIANTS, World};

/// KiB that the whole store takes, and some more.
const ENOUGH: u64 = 300 << 10;

pub fn disk(world: &mut World, random: &mut Random) {
    if !support::run("unshare", &["-m", "true"]).stderr.is_empty() {
        return support::skip("no mount namespace to put a small disk into");
    }
    let variant = random.below(0..N_VARIANTS);
    let (expected, _) = world.expected(variant);
    let project = world.another_project();
    let disk = project.home().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let (size, inodes) = match random.is_one_in(3) {
        true => (ENOUGH, random.below(60..3000)),
        false => (random.below(64..60 << 10), 0),
    };
    let (bake, disk) = (env!("CARGO_BIN_EXE_bake"), disk.display());
    let build = format!("{bake} build app files --var=VARIANT={variant}");
    let script = format!(
        "mount -t tmpfs -o size={size}k,nr_inodes={inodes} none {disk} && export BAKE_STORE={disk}/store
         {build} >first.out 2>first.err; echo $? >first.code
         ls -A {disk}/store/tmp 2>/dev/null >first.left
         mount -o remount,size={ENOUGH}k,nr_inodes=0 {disk}
         mount -o remount,ro {disk}
         {build} >second.out 2>second.err; echo $? >second.code
         mount -o remount,rw {disk}
         {build} --push >third.out 2>third.err; echo $? >third.code
         ls -A {disk}/store/tmp >third.left"
    );
    let whole = project.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).current_dir(project.path()).env_clear();
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(command.output().unwrap());
    assert!(project.exists("third.code"), "{}", ran.stderr);
    let told = format!("{size} KiB, {inodes} files:\n{}", project.read("first.err"));
    match project.read("first.code").trim() {
        "0" => assert_eq!(project.read("first.out"), expected, "{told}"),
        // A step's own program says it in its own words, and its store is full then.
        _ => assert!(told.contains("No space left on device") || told.contains("is full"), "{told}"),
    }
    if project.read("first.code").trim() == "4" {
        // Its limit, a part of the disk, may be reached before the disk is full.
        let is_limit = told.contains("the store is full") && told.contains("--store-limit");
        assert!(is_limit || told.contains("hint: free space for the store"), "{told}");
    }
    assert_eq!(project.read("first.left"), "", "{told}");
    let told = project.read("second.err");
    assert_eq!(project.read("second.code").trim(), "4", "{told}");
    assert!(told.contains("Read-only file system") && told.contains("hint: make the store writable"), "{told}");
    assert_eq!(
        (project.read("third.code").trim(), project.read("third.out")),
        ("0", expected),
        "{}",
        project.read("third.err")
    );
    assert_eq!(project.read("third.left"), "");
}
