//! The kernel's binfmt_misc: its registration lines and what it says about those of the host.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::super::sandbox::elf::{MACHINES, Machine};
use super::super::sandbox::has_own_user_namespace;

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

/// Returns the line for `register`: `:name:M:offset:magic:mask:interpreter:flags` (admin-guide/binfmt-misc.rst). Its first
/// byte separates the fields, so it is one that the path does not have.
fn line(machine: &Machine, program: &Path) -> String {
    let (magic, mask) = pattern(machine);
    let escaped = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            _ = write!(text, "\\x{byte:02x}");
            text
        })
    };
    let (magic, mask) = (escaped(&magic), escaped(&mask));
    let program = program.display().to_string();
    let separator = [':', '|', ';', ',', '!'].into_iter().find(|c| !program.contains(*c)).unwrap_or(':');
    let name = format!("bake-{}", machine.architecture);
    let fields = ["", &name, "M", "0", &magic, &mask, &program, "POCF"];
    fields.join(&separator.to_string())
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

/// What the host registers for one kind of file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The name of the registration.
    pub name: String,
    /// The emulator's path on the host, when it was registered.
    pub interpreter: String,
    /// As in the kernel's documentation: some of `POCF`.
    pub flags: String,
    /// The kernel uses it.
    pub is_enabled: bool,
    /// Which machine's programs it is for, as in a platform; `None` for something else.
    pub architecture: Option<&'static str>,
}

impl HostEntry {
    /// Says whether steps can use it: it works without being in their root file system, and keeps `argv[0]`.
    pub fn serves_steps(&self) -> bool {
        self.is_enabled && self.flags.contains('F') && self.flags.contains('P')
    }
}

/// Returns what the host registers, by name; nothing where binfmt_misc is not mounted.
pub fn host_entries() -> Vec<HostEntry> {
    let Ok(entries) = fs::read_dir(HOST) else { return Vec::new() };
    let entry = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        parse(&entry.file_name().to_string_lossy(), &text)
    };
    let mut entries: Vec<HostEntry> = entries.flatten().filter_map(entry).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Says whether the host registers an emulator for the machine with the flags that a step needs.
pub fn host_runs(machine: &Machine) -> bool {
    host_entries().iter().any(|entry| entry.architecture == Some(machine.architecture) && entry.serves_steps())
}

/// Reads an entry as the kernel prints it: `enabled`, `interpreter …`, `flags: …`, `offset …`, `magic …`, `mask …`.
/// `None` for what is no entry: `status`, `register`.
fn parse(name: &str, text: &str) -> Option<HostEntry> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let interpreter = value("interpreter ")?.to_owned();
    let magic = value("magic ").unwrap_or_default();
    let is_for = |machine: &&Machine| {
        let (wanted, _) = pattern(machine);
        let number: String = wanted[18..].iter().map(|byte| format!("{byte:02x}")).collect();
        magic.starts_with(&format!("7f454c46{:02x}{:02x}", machine.class, machine.data))
            && magic.get(36..40) == Some(number.as_str())
    };
    Some(HostEntry {
        name: name.to_owned(),
        interpreter,
        flags: value("flags:").unwrap_or_default().to_owned(),
        is_enabled: text.starts_with("enabled"),
        architecture: MACHINES.iter().find(is_for).map(|machine| machine.architecture),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn machine(name: &str) -> &'static Machine {
        MACHINES.iter().find(|machine| machine.architecture == name).expect("known")
    }

    #[test]
    fn lines_are_the_kernels() {
        expect![[r":bake-arm64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:POCF"]]
            .assert_eq(&line(machine("arm64"), Path::new("/q")));
        assert!(line(machine("arm"), Path::new("/a:b")).starts_with("|bake-arm|M|0|"));
        let (magic, mask) = pattern(machine("s390x"));
        assert_eq!((&magic[16..], &mask[16..]), (&[0, 2, 0, 22][..], &[0xff, 0xfe, 0xff, 0xff][..]));
    }

    #[test]
    fn a_host_entry_counts_only_with_its_flags() {
        let entry = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\nmagic \
                     7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let parsed = |text: &str| parse("qemu-aarch64", text).expect("an entry");
        assert_eq!(parsed(entry).architecture, Some("arm64"));
        assert!(parsed(entry).serves_steps());
        assert!(!parsed(&entry.replace("POCF", "OCF")).serves_steps());
        assert!(!parsed(&entry.replace("enabled", "disabled")).serves_steps());
        assert_eq!(parsed(&entry.replace("7f454c46", "cafebabe")).architecture, None);
        assert_eq!(parse("status", "enabled\n"), None);
    }
}
