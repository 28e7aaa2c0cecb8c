//! The kernel's binfmt_misc: its registration lines and what it says about those of the host.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::super::sandbox::{elf::Machine, has_own_user_namespace};

/// The host's instance.
const HOST: &str = "/proc/sys/fs/binfmt_misc";

/// Makes an instance for this process's user namespace. It is kept by the descriptor, mounted or not.
pub fn private_instance() -> io::Result<OwnedFd> {
    // Otherwise this would be the host's.
    if !has_own_user_namespace() {
        return Err(io::Error::other("this build has no user namespace of its own"));
    }
    let context = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let instance = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&instance, ".", flags, Mode::empty())?)
}

/// Registers a static emulator. The kernel opens it now.
pub fn register(instance: impl AsFd, machine: &Machine, program: &Path) -> io::Result<()> {
    let line = line(machine, program);
    let fd = rustix::fs::openat(instance, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, line.as_bytes())?;
    Ok(())
}

/// Returns the line for `register`: `:name:M:offset:magic:mask:interpreter:flags` (admin-guide/binfmt-misc.rst).
fn line(machine: &Machine, program: &Path) -> String {
    let (magic, mask) = pattern(machine);
    let escaped = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            _ = write!(text, "\\x{byte:02x}");
            text
        })
    };
    let (magic, mask) = (escaped(&magic), escaped(&mask));
    format!(":bake-{}:M:0:{magic}:{mask}:{}:POCF", machine.architecture, program.display())
}

/// Returns the first 20 bytes of a program or shared object (`e_type` 2 or 3) for the machine, and which bits count. The
/// OS ABI and its version do not: GNU's binaries use 0 and 3.
fn pattern(machine: &Machine) -> ([u8; 20], [u8; 20]) {
    let (mut magic, mut mask) = ([0; 20], [0xff; 20]);
    magic[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', machine.class, machine.data, 1]);
    mask[7] = 0;
    let (kind, number) = match machine.data {
        1 => ((2_u16).to_le_bytes(), machine.number.to_le_bytes()),
        _ => ((2_u16).to_be_bytes(), machine.number.to_be_bytes()),
    };
    magic[16..18].copy_from_slice(&kind);
    magic[18..].copy_from_slice(&number);
    mask[if machine.data == 1 { 16 } else { 17 }] = 0xfe;
    (magic, mask)
}

/// Says whether the host registers an emulator for the machine with the flags that a step needs.
pub fn host_runs(machine: &Machine) -> bool {
    let Ok(entries) = fs::read_dir(HOST) else { return false };
    let mut texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| is_right(&text, machine))
}

/// Reads an entry as the kernel prints it: `enabled`, `interpreter …`, `flags: …`, `offset …`, `magic …`, `mask …`.
fn is_right(entry: &str, machine: &Machine) -> bool {
    let value = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = value("flags:").unwrap_or_default();
    let magic = value("magic ").unwrap_or_default();
    let (wanted, _) = pattern(machine);
    let number: String = wanted[18..].iter().map(|byte| format!("{byte:02x}")).collect();
    entry.starts_with("enabled")
        && flags.contains('F')
        && flags.contains('P')
        && magic.starts_with(&format!("7f454c46{:02x}{:02x}", machine.class, machine.data))
        && magic.get(36..40) == Some(number.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::sandbox::elf::MACHINES;
    use expect_test::expect;

    fn machine(name: &str) -> &'static Machine {
        MACHINES.iter().find(|machine| machine.architecture == name).expect("known")
    }

    #[test]
    fn lines_are_the_kernels() {
        expect![[r":bake-arm64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:POCF"]]
            .assert_eq(&line(machine("arm64"), Path::new("/q")));
        let (magic, mask) = pattern(machine("s390x"));
        assert_eq!((&magic[16..], &mask[16..]), (&[0, 2, 0, 22][..], &[0xff, 0xfe, 0xff, 0xff][..]));
    }

    #[test]
    fn a_host_entry_counts_only_with_its_flags() {
        let entry = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\nmagic \
                     7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        assert!(is_right(entry, machine("arm64")));
        assert!(!is_right(entry, machine("arm")));
        assert!(!is_right(&entry.replace("POCF", "OCF"), machine("arm64")));
        assert!(!is_right(&entry.replace("enabled", "disabled"), machine("arm64")));
    }
}
