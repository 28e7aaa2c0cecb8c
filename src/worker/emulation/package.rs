//! The distribution's package of emulators.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// The command that installs the package, by the distribution's `ID` or one of its `ID_LIKE` (os-release(5)).
const COMMANDS: [(&str, &str); 6] = [
    ("debian", "apt-get install qemu-user-static"),
    ("fedora", "dnf install qemu-user-static"),
    ("arch", "pacman -S qemu-user-static"),
    ("alpine", "apk add qemu-aarch64 qemu-arm qemu-i386 qemu-ppc64le qemu-riscv64 qemu-s390x qemu-x86_64"),
    ("suse", "zypper install qemu-linux-user"),
    ("opensuse", "zypper install qemu-linux-user"),
];

/// Returns the command by which root installs the emulators of this host's distribution, if it is a known one.
pub fn command() -> Option<&'static str> {
    command_for(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn command_for(os_release: &str) -> Option<&'static str> {
    let value = |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let ids = [value("ID"), value("ID_LIKE")].into_iter().flatten();
    let mut ids = ids.flat_map(|ids| ids.trim_matches(['"', '\'']).split_whitespace());
    ids.find_map(|id| COMMANDS.iter().find(|(name, _)| *name == id)).map(|(_, command)| *command)
}

/// Says whether this process can install the package itself: it is root, on Debian or what is made from it.
pub fn can_install() -> bool {
    let is_debian = command().is_some_and(|command| command.starts_with("apt-get "));
    is_debian && rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs the package with apt, which talks to standard error. To be called before name spaces are entered.
///
/// # Errors
/// apt cannot be started, or fails.
pub fn install() -> io::Result<()> {
    let apt = |arguments: &[&str]| -> io::Result<bool> {
        let mut command = Command::new("apt-get");
        command.args(["-y", "-q"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        Ok(command.stdin(Stdio::null()).stdout(io::stderr()).status()?.success())
    };
    // What is recommended with it would register emulators for the whole host.
    let install = ["install", "--no-install-recommends", "qemu-user-static"];
    if apt(&install)? {
        return Ok(());
    }
    // Lists that are too old, or were never fetched, name files that are no longer there.
    if apt(&["update"])? && apt(&install)? { Ok(()) } else { Err(io::Error::other("apt-get failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_made_from_others_have_their_commands() {
        let apt = Some("apt-get install qemu-user-static");
        assert_eq!(command_for("PRETTY_NAME=\"x\"\nID=debian\n"), apt);
        assert_eq!(command_for("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), apt);
        assert_eq!(
            command_for("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"),
            Some("zypper install qemu-linux-user")
        );
        assert_eq!(command_for("ID=unheard-of\n"), None);
    }
}
