//! What `/proc` and `/sys` say of the host, and the one thing of cgroups that is tried.

#![expect(clippy::disallowed_methods, reason = "reads /proc and /sys, and makes a cgroup")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;

/// Where bake runs: read before it enters name spaces of its own, which look different.
pub struct Surroundings {
    /// `6.18.44-…`
    release: String,
    /// What kind of container this is in, for people.
    container: Option<String>,
}

/// The first kernel with all that builds use: overlayfs takes layers one by one.
const WANTED: (u32, u32) = (6, 8);

impl Surroundings {
    /// Reads the host; `env` is this process's environment.
    pub(super) fn read(env: &BTreeMap<String, String>) -> Surroundings {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Surroundings { release, container: container(env) }
    }

    /// Says whether the kernel is older than builds want.
    pub(super) fn is_old(&self) -> bool {
        version(&self.release).is_some_and(|version| version < WANTED)
    }

    pub(super) fn kernel(&self) -> Finding {
        let (release, machine) = (&self.release, std::env::consts::ARCH);
        if self.is_old() {
            let text = format!("Linux {release}: overlayfs takes layers from 6.8 on, private emulation needs 6.7");
            return Finding::limited("kernel", text).mend("boot Linux 6.8 or later");
        }
        Finding::ok("kernel", format!("Linux {release}, {machine}"))
    }

    pub(super) fn container(&self) -> Finding {
        let text = match &self.container {
            Some(kind) => format!("this runs in {kind}; what follows is what it leaves to builds"),
            None => "none around this".to_owned(),
        };
        Finding::ok("container", text)
    }

    pub(super) fn seccomp(&self) -> Finding {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let own = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
        match own {
            Some("0") => Finding::ok("seccomp", "available; nothing filters bake itself"),
            Some(_) => {
                Finding::ok("seccomp", "available; bake itself runs under a filter, which may deny what follows")
            }
            None => Finding::missing("seccomp", "this kernel has none, and steps are not run without it")
                .vital()
                .mend("boot a kernel with CONFIG_SECCOMP_FILTER"),
        }
    }
}

/// Returns major and minor number of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn container(env: &BTreeMap<String, String>) -> Option<String> {
    let is_there = |path: &str| Path::new(path).exists();
    // systemd's convention, which podman, LXC and nspawn follow.
    let named = fs::read_to_string("/run/systemd/container").ok().map(|name| name.trim().to_owned());
    let named = named.or_else(|| env.get("container").cloned()).filter(|name| !name.is_empty());
    let kind = if env.contains_key("KUBERNETES_SERVICE_HOST") {
        Some("a Kubernetes pod".to_owned())
    } else if is_there("/.dockerenv") {
        Some("a Docker container".to_owned())
    } else if is_there("/run/.containerenv") {
        Some("a Podman container".to_owned())
    } else {
        named.map(|name| format!("a container ({name})"))
    };
    let ids = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_nested = !ids.split_whitespace().eq(["0", "0", "4294967295"]);
    match (kind, is_nested) {
        (Some(kind), true) => Some(format!("{kind}, in a user namespace")),
        (None, true) => Some("a user namespace".to_owned()),
        (kind, false) => kind,
    }
}

/// The controllers by which steps can be limited.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// What cannot be done without them.
const UNLIMITED: &str = "builds run, but the memory, processors and processes of a step cannot be limited";

/// Tries to make a group below this process's own, in the hierarchy of version 2.
pub(super) fn cgroups() -> Finding {
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        let kind = if root.join("unified").exists() { "versions 1 and 2 (hybrid)" } else { "version 1 or none" };
        return Finding::limited("cgroups", format!("{kind}: {UNLIMITED}"))
            .mend("boot the host with systemd.unified_cgroup_hierarchy=1");
    }
    let Some(own) = own_group(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()) else {
        return Finding::limited("cgroups", format!("version 2, but this process is in no group: {UNLIMITED}"));
    };
    let group = root.join(own);
    let below = group.join(format!("bake-doctor-{}", std::process::id()));
    let made = fs::create_dir(&below);
    _ = fs::remove_dir(&below);
    let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<&str> =
        CONTROLLERS.into_iter().filter(|name| !text.split_whitespace().any(|word| word == *name)).collect();
    let mend = "run builds below a delegated group: systemd-run --user --scope -p Delegate=yes bake …";
    match (made, missing.as_slice()) {
        (Ok(()), []) => Finding::ok("cgroups", "version 2, delegated with cpu, memory and pids"),
        (Ok(()), missing) => {
            Finding::limited("cgroups", format!("version 2, without {}: {UNLIMITED}", missing.join(", "))).mend(mend)
        }
        (Err(error), _) => {
            Finding::limited("cgroups", format!("version 2, not delegated ({error}): {UNLIMITED}")).mend(mend)
        }
    }
}

/// Returns this process's group of version 2, relative to the top: the line `0::/path` of `/proc/self/cgroup`.
fn own_group(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.split('/').any(|name| name == "..")).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers_and_then_anything() {
        let cases = [("6.18.44-fc-v669", Some((6, 18))), ("5.15.0-91-generic", Some((5, 15))), ("6", None), ("", None)];
        for (release, expected) in cases {
            assert_eq!(version(release), expected, "{release}");
        }
        let old = Surroundings { release: "6.1.0-13-amd64".to_owned(), container: None };
        assert_eq!(old.kernel().mend.as_deref(), Some("boot Linux 6.8 or later"));
    }

    #[test]
    fn the_group_of_version_2_is_found_beside_others() {
        assert_eq!(own_group("9:name=systemd:/\n0::/user.slice/a.scope\n"), Some("user.slice/a.scope".into()));
        assert_eq!(own_group("4:memory:/x\n"), None);
        // A group outside of the cgroup namespace.
        assert_eq!(own_group("0::/../..\n"), None);
    }
}
