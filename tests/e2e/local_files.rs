//! `type=local` and `type=tar`: platforms apart or together, and directories that are the result and nothing else.

use crate::support::{listing, small};

const BOTH: [&str; 4] = ["build", "a", "--platform", "linux/amd64,linux/arm64"];

#[test]
fn platforms_are_split_or_merged_as_is_said() {
    let Some(project) = small() else { return };
    let build = |output: &str| project.bake(&[&BOTH[..], &["--output", output]].concat());
    // Files of one name from two platforms have no place to be both.
    let ran = build("type=local,dest=merged,platform-split=false").fails(4);
    let clash = "cannot overwrite `bin/busybox` from linux/amd64 with linux/arm64 when split option is disabled";
    assert!(ran.stderr.contains(clash), "{}", ran.stderr);
    assert!(!project.exists("merged"));

    let dockerfile = "a.dockerfile=Dockerfile";
    project.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY hello /bin/hello.$TARGETARCH\n");
    let build = |arguments: &[&str], output: &str| {
        let set = ["--set", dockerfile, "--output", output];
        project.bake(&[arguments, &set[..]].concat()).succeeds();
    };
    project.write("build.hcl", "target \"a\" {}\n");
    build(&BOTH, "type=local,dest=merged,platform-split=false");
    assert!(project.exists("merged/bin/hello.amd64") && project.exists("merged/bin/hello.arm64"));
    build(&BOTH, "type=tar,dest=merged.tar,platform-split=false");
    let directory = "drwxr-xr-x 0/0 bin/\n";
    let files = "-rw-r--r-- 0/0 bin/hello.amd64\n-rw-r--r-- 0/0 bin/hello.arm64\n";
    assert_eq!(listing(&project.path().join("merged.tar")), format!("{directory}{files}"));

    // One platform has a directory of its own if that is wanted.
    build(&["build", "a"], "type=local,dest=one,platform-split=true");
    assert!(project.exists("one/linux_amd64/bin/hello.amd64"));
    build(&["build", "a"], "type=tar,dest=one.tar,platform-split=1");
    assert!(listing(&project.path().join("one.tar")).contains(" linux_amd64/bin/hello.amd64\n"));
}

#[test]
fn delete_leaves_the_result_and_nothing_else() {
    let Some(project) = small() else { return };
    let arguments = ["--output", "type=local,dest=out,mode=delete"];
    project.write("out/linux_amd64/old", "x").write("out/stray/deep/file", "x").write("out/linux_arm64/bin", "x");
    // Deleting is a right, even below the directory of the command.
    let ran = project.bake(&[&BOTH[..], &arguments].concat()).fails(3);
    assert!(ran.stderr.contains("--allow=buildx.local.delete"), "{}", ran.stderr);
    assert!(project.exists("out/stray/deep/file"));
    project.bake(&[&BOTH[..], &arguments, &["--allow", "buildx.local.delete"]].concat()).succeeds();
    assert!(!project.exists("out/stray") && !project.exists("out/linux_amd64/old"));
    assert!(project.exists("out/linux_amd64/bin/busybox") && project.exists("out/linux_arm64/bin/busybox"));
    // Copying, which is what happens otherwise, leaves other things alone.
    project.write("out/linux_amd64/mine", "x");
    project.bake(&[&BOTH[..], &["--output", "type=local,dest=out,mode=copy"]].concat()).succeeds();
    assert!(project.exists("out/linux_amd64/mine"));
}

/// The outer directory is emptied before the inner one is filled.
#[test]
fn a_directory_that_loses_files_keeps_what_this_build_puts_there() {
    let Some(project) = small() else { return };
    let outputs = ["type=local,dest=out/sub", "type=local,dest=out,mode=delete", "type=oci,dest=out/a.tar"];
    let flags: Vec<&str> = outputs.iter().flat_map(|output| ["--output", *output]).collect();
    project.bake(&[&["build", "a", "--allow", "buildx.local.delete"], &flags[..]].concat()).succeeds();
    for path in ["out/sub/bin/busybox", "out/bin/busybox", "out/a.tar"] {
        assert!(project.exists(path), "{path}");
    }
    // Two targets would remove each other's files.
    let both = ["build", "a", "b", "--allow", "buildx.local.delete", "--output", outputs[1]];
    let ran = project.bake(&both).fails(3);
    assert!(ran.stderr.contains("targets \"a\" and \"b\" both write `out`"), "{}", ran.stderr);
}
