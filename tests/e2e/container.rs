//! bake inside containers that have no privileges, as docker and podman make them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::account::{Account, Ids};
use crate::support::{self, Project, Ran, registry, run};

/// What a container engine does to the mounts and capabilities of a container, then the command.
const CONTAINER: &str = r#"
set -e
for p in acpi asound scsi; do test ! -d /proc/$p || mount -t tmpfs -o ro none /proc/$p; done
for p in kcore keys timer_list; do test ! -e /proc/$p || mount --bind /dev/null /proc/$p; done
for p in bus fs irq sys sysrq-trigger; do
  test ! -e /proc/$p || { mount --bind /proc/$p /proc/$p; mount -o remount,bind,ro /proc/$p; }
done
kept=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap
exec setpriv --bounding-set=$kept,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap --inh-caps=-all "$@"
"#;

/// Root of the container is root of the host, as docker has it by default.
const DOCKER: [&str; 4] = ["--mount", "--pid", "--fork", "--mount-proc"];
/// Root of the container is the user who started it, the other ids are its subordinate ones.
const PODMAN: [&str; 7] = ["--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--mount-proc"];
/// There is no other id than that.
const SINGLE: [&str; 6] = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"];

fn with_environment<'c>(command: &'c mut Command, project: &Project) -> &'c mut Command {
    let ours = project.command(&[]);
    command.current_dir(project.path()).env_clear().stdin(Stdio::null());
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))))
}

fn as_root(flags: &[&str], project: &Project, arguments: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", CONTAINER, "sh", env!("CARGO_BIN_EXE_bake")]).args(arguments);
    with_environment(&mut command, project).output().expect("unshare starts").into()
}

/// Says whether containers can be made here.
fn can_contain() -> bool {
    let can = rustix::process::geteuid().is_root() && run("unshare", &["-m", "true"]).code == Some(0);
    if !can {
        support::skip("this test needs root, to make containers");
    }
    can
}

#[test]
fn a_container_whose_root_is_the_hosts_builds_what_the_host_builds() {
    let Some(registry) = registry() else { return };
    if !can_contain() {
        return;
    }
    let (outside, inside) = (support::hello(registry), support::hello(registry));
    let expected = outside.bake(&["build", "all"]).succeeds();
    let actual = as_root(&DOCKER, &inside, &["build", "all"]).succeeds();
    assert_eq!(actual.stdout, expected.stdout);
}

#[test]
fn a_container_of_an_ordinary_user_builds_what_the_host_builds() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-podman", Ids::Subordinate) else { return };
    let (outside, inside) = (support::hello(registry), support::hello(registry));
    let owner = "RUN touch /owned && chown 1000:1000 /owned && ls -ln /owned\nCMD";
    for project in [&outside, &inside] {
        project.write("Dockerfile", &project.read("Dockerfile").replace("CMD", owner));
    }
    let expected = outside.bake(&["build", "all"]).succeeds();
    account.adopt(&inside);
    let mut command = account.command(Path::new("unshare"));
    command.args(PODMAN).args(["sh", "-c", CONTAINER, "sh"]).arg(account.program()).args(["build", "all"]);
    let actual = Ran::from(with_environment(&mut command, &inside).output().expect("setpriv starts")).succeeds();
    assert_eq!(actual.stdout, expected.stdout);
}

#[test]
fn a_step_that_needs_ids_which_are_not_there_says_so() {
    let Some(registry) = registry() else { return };
    if !can_contain() {
        return;
    }
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { output = [\"type=tar,dest=out.tar\"] }\n");
    let dockerfile = |step: &str| format!("FROM {}/base/busybox:1\nRUN {step}\n", registry.host);
    project.write("Dockerfile", &dockerfile("touch /f && chown 0:0 /f"));
    as_root(&SINGLE, &project, &["build"]).succeeds();
    assert!(support::listing(&project.path().join("out.tar")).contains("0/0 f\n"));
    project.write("Dockerfile", &dockerfile("touch /f && chown 1000:1000 /f"));
    let failed = as_root(&SINGLE, &project, &["build"]).fails(1);
    for part in ["chown: /f: Invalid argument", "note: only one user id exists here"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

/// The kernel gives a container with hidden parts of `/proc` no fresh one, so steps see that container's processes: their
/// numbers and commands, and nothing that is in them.
#[test]
fn a_step_in_a_container_reads_nothing_of_its_processes() {
    let Some(registry) = registry() else { return };
    if !can_contain() {
        return;
    }
    let project = Project::new(registry);
    project.write("build.hcl", "target \"default\" { output = [\"type=cacheonly\"] }\n");
    let look = "for p in environ maps mem root/etc/passwd cwd/build.hcl exe; do cat /proc/1/$p >/dev/null 2>&1 && echo read $p; done; \
                kill -0 2 2>/dev/null && echo signalled; (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote; \
                cat /proc/kcore /proc/keys 2>/dev/null | head -c 9; true";
    project.write("Dockerfile", &format!("FROM {}/base/busybox:1\nRUN {look}\n", registry.host));
    for flags in [&DOCKER[..], &SINGLE] {
        let ran = as_root(flags, &project, &["build", "--no-cache"]).succeeds();
        for word in ["read ", "signalled", "wrote"] {
            let said = ran.stderr.lines().filter(|line| !line.contains("RUN ")).any(|line| line.contains(word));
            assert!(!said, "{word}\n{}", ran.stderr);
        }
    }
}

/// Docker's default filter lets a container make no namespaces. bake's own steps have the same filter, so bake is run in one.
#[test]
fn a_container_that_may_make_no_namespaces_is_named_with_the_mend() {
    let Some(registry) = registry() else { return };
    let libraries = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let loader = std::fs::read_dir(&libraries).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let Some(loader) = loader.into_iter().find(|name| name.to_string_lossy().starts_with("ld-linux")) else {
        return support::skip("no loader to run bake with in a step");
    };
    let project = Project::new(registry);
    let inner = project.path().join("inner");
    std::fs::create_dir(&inner).expect("created");
    std::fs::copy(env!("CARGO_BIN_EXE_bake"), inner.join("bake")).expect("copied");
    std::fs::copy(libraries.join(&loader), inner.join("ld.so")).expect("copied");
    std::fs::set_permissions(inner.join("ld.so"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    for name in ["libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
        std::fs::copy(libraries.join(name), inner.join(name)).expect("copied");
    }
    project
        .write("inner/build.hcl", "target \"default\" { dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\" }\n");
    project.write("build.hcl", "target \"default\" { output = [\"type=cacheonly\"] }\n");
    let step = "RUN --mount=type=bind,source=inner,target=/inner cd /inner && \
                BAKE_STORE=/tmp/store ./ld.so --library-path /inner ./bake build; test $? = 4\n";
    project.write("Dockerfile", &format!("FROM {}/base/busybox:1\n{step}", registry.host));
    let ran = project.bake(&["build"]).succeeds();
    for part in
        ["cannot create a user namespace", "hint: in a container, start it with --security-opt seccomp=unconfined"]
    {
        assert!(ran.stderr.contains(part), "{part} is not in\n{}", ran.stderr);
    }
}
