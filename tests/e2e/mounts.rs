//! Cache and tmpfs mounts with all their options.

use crate::secrets::project;
use crate::support::{Ran, registry};

#[test]
fn a_cache_has_the_mode_and_owner_asked_for_and_keeps_its_files() {
    let Some(registry) = registry() else { return };
    let mount = "--mount=type=cache,id=own,target=/c,mode=0711,uid=7,gid=8";
    let steps = format!(
        "RUN {mount} stat -c '%a %u:%g' /c > /seen && echo kept > /c/f\nRUN {mount} cat /c/f >> /seen\n\
         RUN --mount=type=cache,id=own,target=/c,readonly if touch /c/x; then echo written; else echo refused; fi >> /seen\n"
    );
    let project = project(registry, "", &steps);
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "711 7:8\nkept\nrefused\n");
    assert!(!project.exists("out/c"));
}

#[test]
fn a_cache_may_start_from_files_of_a_stage_an_image_or_a_context() {
    let Some(registry) = registry() else { return };
    let cache = "--mount=type=cache,target=/c";
    let base = "FROM ${REGISTRY}/base/busybox:1";
    let steps = format!(
        "RUN mkdir -p /d/sub && chmod 0750 /d && echo first > /d/f && chown 7:8 /d\n{base}\n\
         RUN {cache},from=first,source=/d stat -c '%a %u:%g' /c > /seen && cat /c/f >> /seen && echo second > /c/f\n\
         RUN {cache},from=first,source=/d cat /c/f >> /seen\n\
         RUN {cache},from=first,source=/d,mode=0755 cat /c/f >> /seen\n\
         RUN {cache} [ ! -e /c/f ] && echo other >> /seen\n\
         RUN {cache},from=first,source=/d/f cat /c >> /seen\n\
         RUN {cache},from=files,source=/data cat /c/text >> /seen\n"
    );
    let project = project(registry, "contexts = { files = \"files\" }", &steps);
    let dockerfile = project.read("Dockerfile").replacen(base, &format!("{base} AS first"), 1);
    project.write("Dockerfile", &dockerfile).write("files/data/text", "local\n");
    project.bake(&["build"]).succeeds();
    let first = "750 7:8\nfirst\nsecond\nsecond\nother\nfirst\nlocal\n";
    assert_eq!(project.read("out/seen"), first);
    // Another file is another cache, and the step runs again.
    project.write("files/data/text", "changed\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), first.replace("local", "changed"));
}

#[test]
fn a_directory_that_a_cache_lacks_is_an_error() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "", "RUN --mount=type=cache,id=a,target=/c,source=/gone true\n");
    let failed = project.bake(&["build"]).fails(1);
    for part in ["no file or directory `/gone` in the cache mount", "Dockerfile:3"] {
        assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
    }
}

#[test]
fn a_tmpfs_is_empty_in_memory_and_as_large_as_said() {
    let Some(registry) = registry() else { return };
    let steps = "RUN --mount=type=tmpfs,target=/t,size=1m grep ' /t ' /proc/mounts > /mounts; ls -A /t > /list; \
                 if head -c 2097152 /dev/zero > /t/f; then echo fits; else echo full; fi > /seen\n";
    let project = project(registry, "", steps);
    project.bake(&["build"]).succeeds();
    let mounts = project.read("out/mounts");
    assert!(mounts.contains(" tmpfs ") && mounts.contains("size=1024k"), "{mounts}");
    assert_eq!((project.read("out/list"), project.read("out/seen")), (String::new(), "full\n".to_owned()));
    assert!(!project.exists("out/t"));
}

#[test]
fn a_bound_directory_is_bound_again_when_its_own_mode_or_owner_changes() {
    let Some(registry) = registry() else { return };
    let base = "FROM ${REGISTRY}/base/busybox:1";
    let steps = format!(
        "ARG MODE\nARG OWNER\nRUN mkdir /d && touch /d/f && chown $OWNER /d && chmod $MODE /d\n{base}\n\
         RUN --mount=from=first,source=/d,target=/d stat -c '%a %u:%g' /d > /seen\n\
         RUN --mount=type=cache,id=c,from=first,source=/d,target=/c stat -c '%a %u:%g' /c >> /seen\n"
    );
    let project = project(registry, "", &steps);
    let dockerfile = project.read("Dockerfile").replacen(base, &format!("{base} AS first"), 1);
    project.write("Dockerfile", &dockerfile);
    for (mode, owner) in [("750", "0:0"), ("711", "0:0"), ("711", "7:8")] {
        let set = [format!("*.args.MODE={mode}"), format!("*.args.OWNER={owner}")];
        project.bake(&["build", "--set", &set[0], "--set", &set[1]]).succeeds();
        assert_eq!(project.read("out/seen"), format!("{mode} {owner}\n").repeat(2));
    }
}

#[test]
fn a_cache_of_another_mode_is_another_step() {
    let Some(registry) = registry() else { return };
    let step = |mode: &str| format!("RUN --mount=type=cache,id=m{mode},target=/c,mode={mode} stat -c %a /c > /seen\n");
    let project = project(registry, "", &step("0750"));
    project.bake(&["build"]).succeeds();
    let dockerfile = project.read("Dockerfile").replace("mode=0750", "mode=0711").replace("id=m0750", "id=other");
    project.write("Dockerfile", &dockerfile).bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "711\n");
}

#[test]
fn steps_find_the_hosts_that_their_target_names() {
    let Some(registry) = registry() else { return };
    let hosts = "extra-hosts = { \"db.Example.com\" = \"10.1.2.3,[fd00::1]\", here = \"host-gateway\" }";
    let project = project(registry, hosts, "RUN cat /etc/hosts > /seen\n");
    // In a network of its own a step has the host elsewhere.
    let built = project.command(&["build"]).env("BAKE_NETWORK", "host").output().expect("bake starts");
    Ran::from(built).succeeds();
    let expected = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    10.1.2.3\tdb.example.com\nfd00::1\tdb.example.com\n127.0.0.1\there\n";
    assert_eq!(project.read("out/seen"), expected);
    assert!(!project.exists("out/etc/hosts") || project.read("out/etc/hosts").is_empty());
    project.write("build.hcl", &project.read("build.hcl").replace("10.1.2.3", "10.1.2.4"));
    assert!(!project.bake(&["build"]).succeeds().ran_nothing(), "another address is another step");
    for (host, address) in [("a", "example.com"), ("a b", "10.0.0.1"), ("a\\n10.0.0.2 b", "10.0.0.1")] {
        project.write(
            "build.hcl",
            &format!("target \"default\" {{\n  extra-hosts = {{ \"{host}\" = \"{address}\" }}\n}}\n"),
        );
        let ran = project.bake(&["build"]).fails(3);
        assert!(ran.stderr.contains("build.hcl:2"), "{}", ran.stderr);
    }
}

#[test]
fn a_mount_of_a_path_with_brackets_is_that_path() {
    let Some(registry) = registry() else { return };
    let steps = "RUN --mount=type=bind,source=a[1],target=/m cat /m/f > /seen\n";
    let project = project(registry, "", steps);
    project.write("a[1]/f", "brackets\n").write("a1/f", "none\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "brackets\n");
    project.write("a[1]/f", "changed\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "changed\n");
}
