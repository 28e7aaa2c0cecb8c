//! Rights: what steps may do beyond the sandbox where target and user both say so.

use crate::secrets::project;
use crate::support::account::{Account, Ids};
use crate::support::registry;

const INSECURE: &str = "entitlements = [\"security.insecure\"]";

/// Shows what only a privileged step can do, and that it is still in a user namespace.
const PROBE: &str = "RUN --security=insecure grep CapEff /proc/self/status > /seen; \
     mkdir /m; if mount -t tmpfs none /m; then echo mounted; else echo refused; fi >> /seen; \
     if grep -q ' /proc/sys ' /proc/mounts; then echo masked; else echo open; fi >> /seen; \
     grep Seccomp: /proc/self/status >> /seen\n\
     RUN grep -q 00000000a80425fb /proc/self/status && grep -q ' /proc/sys ' /proc/mounts && echo ordinary > /after\n\
     RUN chmod 777 /m\nUSER 1000:1000\nRUN --security=insecure grep CapEff /proc/self/status > /m/user\n";

fn check(read: impl Fn(&str) -> String) {
    let seen = read("out/seen");
    let mut lines = seen.lines();
    let all = lines.next().expect("a line").trim_start_matches("CapEff:").trim().to_owned();
    assert!(all.starts_with("000001ff") && all.ends_with("ff"), "{seen}");
    assert_eq!(lines.collect::<Vec<_>>(), ["mounted", "open", "Seccomp:\t0"]);
    assert_eq!(read("out/after"), "ordinary\n");
    assert!(read("out/m/user").contains(&all));
}

#[test]
fn an_insecure_step_has_all_capabilities_where_target_and_user_say_so() {
    let Some(registry) = registry() else { return };
    let project = project(registry, INSECURE, PROBE);
    let failed = project.bake(&["build"]).fails(3);
    assert!(failed.stderr.contains("--allow=security.insecure"), "{}", failed.stderr);
    project.bake(&["build", "--allow", "security.insecure"]).succeeds();
    check(|name| project.read(name));
}

#[test]
fn an_insecure_step_of_an_ordinary_user_has_no_more_than_the_user() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-insecure", Ids::Subordinate) else { return };
    let steps =
        format!("{PROBE}USER 0\nRUN --security=insecure if echo x > /proc/sys/kernel/core_pattern; then false; fi\n");
    let project = project(registry, INSECURE, &steps);
    account.adopt(&project);
    account.bake(&project, &["build", "--allow", "security.insecure"]).succeeds();
    check(|name| project.read(name));
}

#[test]
fn a_right_that_the_target_does_not_ask_for_is_an_error_at_the_steps_line() {
    let Some(registry) = registry() else { return };
    for (flag, right) in [("--security=insecure", "security.insecure"), ("--network=host", "network.host")] {
        let plain = project(registry, "", &format!("RUN echo ran\nRUN {flag} true\n"));
        let failed = plain.bake(&["build", "--allow", right]).fails(3);
        let needs = format!("the step needs the right `{right}`, and target \"default\" does not ask for it");
        for part in [needs.as_str(), "Dockerfile:4:1", &format!("entitlements = [\"{right}\"]")] {
            assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
        }
        let asks = project(registry, &format!("entitlements = [\"{right}\"]"), &format!("RUN {flag} true\n"));
        asks.bake(&["build", "--allow", right]).succeeds();
    }
}

#[test]
fn a_target_on_the_hosts_network_asks_for_the_right_by_that() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "network = \"host\"", "RUN true\n");
    let failed = project.bake(&["build"]).fails(3);
    assert!(failed.stderr.contains("--allow=network.host"), "{}", failed.stderr);
    project.bake(&["build", "--allow", "network.host"]).succeeds();
}
