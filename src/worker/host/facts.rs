//! What `/proc` and `/sys` say of the host, and what of cgroups is tried.

#![expect(clippy::disallowed_methods, reason = "reads /proc and /sys")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::worker::cgroup;

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

/// Tries the limits of `resources` as a step would get them.
pub(super) fn cgroups() -> Finding {
    let tried = cgroup::try_limits();
    let refused: Vec<&str> = tried.iter().filter(|(_, kept)| kept.is_err()).map(|(name, _)| *name).collect();
    match tried.iter().find_map(|(_, kept)| kept.as_ref().err()) {
        None => Finding::ok("cgroups", "the memory and processors of a step can be limited"),
        Some(reason) => {
            let text = format!("builds run, but no cgroup keeps {} of `resources`: {reason}", refused.join(", "));
            Finding::limited("cgroups", text).mend(cgroup::HINT)
        }
    }
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
}
