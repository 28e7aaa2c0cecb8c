//! Builds by ordinary users.

use std::os::unix::fs::MetadataExt;

use crate::support::account::{Account, Ids};
use crate::support::{self, Project, registry};

/// Builds hello as root and as `account`; returns the account's project. Both results are in the registry.
fn built_by_both(account: &Account, registry: &support::Registry) -> Project {
    let (rootful, rootless) = (support::hello(registry), support::hello(registry));
    rootful.bake(&["build", "all", "--push"]).succeeds();
    account.adopt(&rootless);
    let arguments = ["build", "all", "--output", "type=registry", "--output", "type=local,dest=out"];
    let first = account.bake(&rootless, &arguments).succeeds();
    assert!(!first.ran_nothing(), "{}", first.stderr);
    assert_eq!(rootless.raw("1"), rootful.raw("1"));
    let again = account.bake(&rootless, &arguments).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
    rootless
}

/// Checks that what `account` got belongs to them, and that the store is in their home.
fn check_owner(account: &Account, project: &Project) {
    let (uid, gid) = account.ids();
    for name in ["bake.lock", "out", "out/linux_arm64/app/arch", "out/linux_arm_v7/bin/busybox", "../.local/share/bake"]
    {
        let metadata = std::fs::symlink_metadata(project.path().join(name)).expect(name);
        assert_eq!((metadata.uid(), metadata.gid()), (uid, gid), "{name}");
    }
    assert_eq!(project.read("out/linux_arm64/app/greeting"), "hello from aarch64\n");
    assert!(!project.store().exists());
}

#[test]
fn a_user_with_subordinate_ids_builds_what_root_builds() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-sub", Ids::Subordinate) else { return };
    let project = built_by_both(&account, registry);
    check_owner(&account, &project);
}

#[test]
fn a_user_without_subordinate_ids_builds_what_root_builds() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-single", Ids::Single) else { return };
    let project = built_by_both(&account, registry);
    check_owner(&account, &project);
    // All of the store is the user's own.
    account.run("rm", &["-rf", &project.path().join("../.local").display().to_string()]).succeeds();
}

#[test]
fn an_owner_that_a_user_cannot_give_is_one_error_and_what_to_do() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-owner", Ids::Single) else { return };
    let base = Project::new(registry);
    let from = format!("FROM {}/base/busybox:1\n", registry.host);
    base.write("Dockerfile", &format!("{from}RUN echo x > /f && chown 1000:1000 /f\n"));
    base.write("build.hcl", &format!("target \"default\" {{ tags = [\"{}:1\"] }}\n", base.repository));
    base.bake(&["build", "--push"]).succeeds();
    let cases = [
        (format!("FROM {}:1\nRUN true\n", base.repository), "belongs to 1000:1000"),
        (format!("{from}COPY --chown=1000:1000 Dockerfile /\n"), "set owner"),
        (format!("{from}USER 1000\nRUN true\n"), "cannot run as user `1000`"),
    ];
    for (dockerfile, what) in cases {
        let project = Project::new(registry);
        project.write("build.hcl", "target \"default\" {}\n").write("Dockerfile", &dockerfile);
        account.adopt(&project);
        let failed = account.bake(&project, &["build"]).fails(4);
        let hint = "hint: user `bake-e2e-owner` has no subordinate ids; as root: usermod --add-subuids";
        for part in [what, hint] {
            assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
        }
        assert_eq!(failed.stderr.matches("error:").count(), 1, "{}", failed.stderr);
    }
}
