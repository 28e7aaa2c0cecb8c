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
