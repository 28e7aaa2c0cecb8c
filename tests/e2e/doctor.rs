//! `bake doctor` on hosts that have all and on hosts that lack something.

use crate::host::{HIDDEN_EMULATORS, bake_below, below, can_mount};
use crate::support::account::{Account, Ids};
use crate::support::server::{Access, Server};
use crate::support::{self, Project, Ran, registry};

/// Returns the findings of a JSON report by probe: status, text and mend.
fn findings(ran: &Ran) -> std::collections::BTreeMap<String, [String; 3]> {
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let probes = report["probes"].as_array().expect("probes").iter();
    probes.map(|p| (text(&p["probe"]), [text(&p["status"]), text(&p["text"]), text(&p["mend"])])).collect()
}

#[test]
fn what_works_is_ok_and_nothing_is_left_behind() {
    // Skipped where the emulators are not installed.
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let ran = project.bake(&["doctor", "--format", "json"]).succeeds();
    let findings = findings(&ran);
    let probes =
        ["user namespaces", "mounts", "store", "overlayfs", "steps", "linux/amd64", "linux/arm64", "linux/s390x"];
    for probe in probes {
        assert_eq!(findings[probe][0], "ok", "{probe}\n{}", ran.stdout);
    }
    assert!(!findings.keys().any(|probe| probe.starts_with("registry")));
    let left: Vec<_> = std::fs::read_dir(project.home()).expect("listed").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["src"]);
    // A store that is there stays as it is.
    project.write("build.hcl", "target \"default\" { dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\" }");
    project.bake(&["build"]).succeeds();
    let text = project.bake(&["doctor"]).succeeds();
    assert!(text.stdout.lines().any(|line| line.starts_with("ok       steps  ")), "{}", text.stdout);
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
}

#[test]
fn without_user_namespaces_no_build_runs_and_the_setting_is_named() {
    let project = Project::alone();
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_mnt_namespaces";
    let ran = bake_below(&project, &["--user", "--map-root-user"], none, &["doctor"]).fails(4);
    let expected = "missing  user namespaces  cannot create a user namespace on this host: user.max_user_namespaces = 0: \
                    no build runs\n         mend: as root: sysctl -w user.max_user_namespaces=15000\n";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
    assert_eq!(ran.stderr, "error: no build can run on this host: see user namespaces above\n");
}

#[test]
fn root_that_has_no_user_namespace_to_give_builds_without() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    let none = "echo 0 > /proc/sys/user/max_user_namespaces";
    let flags = ["--user", "--map-root-user", "-m"];
    let ran = bake_below(&project, &flags, none, &["doctor", "--format", "json"]).succeeds();
    let findings = findings(&ran);
    assert_eq!((findings["user namespaces"][0].as_str(), findings["steps"][0].as_str()), ("limited", "ok"));
    assert_eq!(findings["binfmt_misc"][0], "limited", "{}", ran.stdout);
    bake_below(&project, &flags, none, &["build", "hello", "--platform", "linux/amd64"]).succeeds();
}

#[test]
fn missing_emulators_are_no_reason_to_fail() {
    if !can_mount() {
        return;
    }
    let project = Project::alone();
    let ran = bake_below(&project, &["-m"], HIDDEN_EMULATORS, &["doctor", "--format", "json"]).succeeds();
    let findings = findings(&ran);
    let [status, text, mend] = &findings["linux/riscv64"];
    assert_eq!((status.as_str(), text.as_str()), ("missing", "no static `qemu-riscv64` found: its steps cannot run"));
    assert!(mend.starts_with("bake emulator install linux/riscv64"), "{mend}");
    assert_eq!(findings["linux/amd64"][0], "ok");
}

#[test]
fn a_store_that_cannot_be_is_said_with_its_disk() {
    if !can_mount() {
        return;
    }
    let project = Project::alone();
    std::fs::create_dir(project.store()).expect("created");
    let store = project.store().display().to_string();
    let read_only = format!("mount -t tmpfs -o ro,mode=700 none {store}");
    let ran = bake_below(&project, &["-m"], &read_only, &["doctor", "--format", "json"]).fails(4);
    let [status, text, _] = &findings(&ran)["store"];
    assert!(status == "missing" && text.contains("Read-only file system"), "{text}");
    let small = format!("mount -t tmpfs -o size=64m,mode=700 none {store}");
    let ran = bake_below(&project, &["-m"], &small, &["doctor", "--format", "json"]).succeeds();
    let [status, text, mend] = &findings(&ran)["store"];
    assert!(status == "limited" && text.contains("larger images will fail"), "{text}");
    assert!(mend.contains("--store DIR"), "{mend}");
    // As in a container whose store is on no volume.
    let overlay = format!(
        "mount -t tmpfs none {store} && mkdir {store}/low {store}/up {store}/work && \
         mount -t overlay -o lowerdir={store}/low,upperdir={store}/up,workdir={store}/work none {store} && chmod 700 {store}"
    );
    let ran = bake_below(&project, &["-m"], &overlay, &["doctor", "--format", "json"]).fails(4);
    let [status, text, mend] = &findings(&ran)["overlayfs"];
    assert_eq!(status, "missing", "{text}");
    assert!(mend.starts_with("the store is on an overlay itself"), "{mend}");
}

#[test]
fn registries_of_the_bakefile_are_reached() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let data = tempfile::tempdir().expect("a temporary directory");
    let closed = Server::start(data.path(), Access::Password).expect("docker-registry starts");
    let text = format!(
        "target \"a\" {{\n  tags = [\"{}/a:1\"]\n  contexts = {{ b = \"docker-image://{}/b:1\" }}\n}}\n\
         target \"c\" {{ output = [\"type=image,name=127.0.0.1:1/c,push=true\"] }}\n",
        registry.host, closed.host
    );
    project.write("build.hcl", &text);
    let ran = project.bake(&["doctor", "--format", "json"]).succeeds();
    let all = findings(&ran);
    let of = |host: &str| all[&format!("registry {host}")].clone();
    assert_eq!(of(&registry.host)[0..2], ["ok", "it answers, and asks for no login"]);
    assert!(of(&closed.host)[1].contains("no login is configured"), "{}", ran.stdout);
    assert_eq!(of("127.0.0.1:1")[0], "missing");
    assert!(of("127.0.0.1:1")[1].contains("connection refused"), "{}", ran.stdout);
    // `builder:pass word`, which is not sent.
    let login = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"YnVpbGRlcjpwYXNzIHdvcmQ=\"}}}}}}", closed.host);
    std::fs::create_dir(project.home().join(".docker")).expect("created");
    std::fs::write(project.home().join(".docker/config.json"), login).expect("written");
    let ran = project.bake(&["doctor", &closed.host]).succeeds();
    assert!(ran.stdout.contains("it answers; a login is configured for it"), "{}", ran.stdout);
    // What is named takes the place of the bakefile's.
    let ran = project.bake(&["doctor", &registry.host]).succeeds();
    assert_eq!(ran.stdout.lines().filter(|line| line.contains("registry ")).count(), 1, "{}", ran.stdout);
    assert!(project.bake(&["doctor", "not a name"]).fails(2).stderr.contains("`not a name` is no registry"));
    project.write("build.hcl", "target \"a\" { tags = [nothing] }\n");
    let ran = project.bake(&["doctor", "--format", "json"]).succeeds();
    assert_eq!(findings(&ran)["bakefile"][0], "limited", "{}", ran.stdout);
}

#[test]
fn an_ordinary_user_is_told_what_ids_give() {
    for (name, ids, status) in [("bake-e2e-dr1", Ids::Subordinate, "ok"), ("bake-e2e-dr2", Ids::Single, "limited")] {
        let Some(account) = Account::new(name, ids) else { return };
        let project = Project::alone();
        account.adopt(&project);
        let ran = account.bake(&project, &["doctor", "--format", "json"]).succeeds();
        let findings = findings(&ran);
        assert_eq!(findings["subordinate ids"][0], status, "{}", ran.stdout);
        assert_eq!(findings["steps"][0], "ok", "{}", ran.stdout);
        assert_eq!(findings["linux/arm64"][0], "ok", "{}", ran.stdout);
        if ids == Ids::Single {
            let mend = &findings["subordinate ids"][2];
            assert!(mend.starts_with("as root: usermod --add-subuids ") && mend.ends_with(name), "{mend}");
            // It is a mend.
            let command = mend.strip_prefix("as root: ").expect("a command");
            support::run("sh", &["-c", command]).succeeds();
            let ran = account.bake(&project, &["doctor", "--format", "json"]).succeeds();
            assert_eq!(self::findings(&ran)["subordinate ids"][0], "ok", "{}", ran.stdout);
        }
    }
}

#[test]
fn newuidmap_that_may_not_map_is_named() {
    if !can_mount() {
        return;
    }
    let Some(account) = Account::new("bake-e2e-dr3", Ids::Subordinate) else { return };
    let project = Project::alone();
    account.adopt(&project);
    let hidden = "mount --bind /dev/null $(command -v newuidmap) && mount --bind /dev/null $(command -v newgidmap)";
    let command = account.bake_command(&project, &["doctor", "--format", "json"]);
    let ran: Ran = below(command, &["-m"], hidden).output().expect("unshare starts").into();
    let [status, text, mend] = &findings(&ran.succeeds())["subordinate ids"];
    assert_eq!((status.as_str(), mend.as_str()), ("limited", "as root: apt-get install uidmap"), "{text}");
}
