//! Where images come from, by the files that people keep for other tools.

use crate::support::{Project, registry};

/// A registry that nobody has: its name is reserved (RFC 2606, section 2).
const NOBODY: &str = "registry.invalid";

fn project(registry: &'static crate::support::Registry) -> Project {
    let project = Project::new(registry);
    project.write("Dockerfile", &format!("FROM {NOBODY}/busybox:1\nRUN echo made > /made\n"));
    project.write("build.hcl", "target \"default\" { output = [\"type=local,dest=out\"] }\n");
    project
}

#[test]
fn a_mirror_stands_for_the_registry_and_the_lockfile_keeps_the_name() {
    let Some(registry) = registry() else { return };
    let project = project(registry);
    let conf = format!(
        "[[registry]]\nlocation = \"{NOBODY}\"\n[[registry.mirror]]\nlocation = \"{}/base\"\ninsecure = true\n",
        registry.host
    );
    project.write("../.config/containers/registries.conf", &conf);
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/made"), "made\n");
    let lock = project.read("bake.lock");
    assert!(lock.contains(&format!("{NOBODY}/busybox:1")), "{lock}");
    assert!(!lock.contains(&registry.host), "{lock}");

    let hosts = format!("[host.\"http://{}/v2/base\"]\noverride_path = true\n", registry.host);
    project.write("../.config/containers/registries.conf", "");
    project.write(&format!("../.config/containers/certs.d/{NOBODY}/hosts.toml"), &hosts);
    std::fs::rename(project.store(), project.home().join("other")).expect("moved");
    project.bake(&["build", "--locked"]).succeeds();
    assert_eq!(project.read("bake.lock"), lock);
}

#[test]
fn what_is_wrong_in_such_a_file_names_it() {
    let Some(registry) = registry() else { return };
    let project = project(registry);
    project.write(
        "../.config/containers/registries.conf",
        &format!("[[registry]]\nlocation = \"{NOBODY}\"\nblocked = true\n"),
    );
    let ran = project.bake(&["build"]).fails(5);
    assert!(ran.stderr.contains("registries.conf"), "{}", ran.stderr);
    project.write("../.config/containers/registries.conf", "[[registry]\n");
    let ran = project.bake(&["build"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("registries.conf"), "{}", ran.stderr);
}
