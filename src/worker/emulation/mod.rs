//! Runs foreign binaries through QEMU, registered for this build alone.
//!
//! Since Linux 6.7 binfmt_misc belongs to a user namespace: [`Emulators::register`] makes an instance for the one that
//! [`sandbox::enter`](super::sandbox::enter) made, and the host is not touched. On older kernels the host's own
//! registration is used if it is right. Flags, always: `P` keeps `argv[0]`, without which multi-call binaries do not
//! know their name; `O` and `C` hand over the opened binary with its credentials; `F` opens the emulator at once, so
//! that it need not be in the root file system (and must therefore be static).

#![expect(clippy::disallowed_methods, reason = "looks for the host's emulators")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::sandbox::elf::{self, MACHINES, Machine};
use crate::platform::Platform;

pub mod candidates;
mod kernel;
pub mod package;

pub use kernel::{HostEntry, host_entries};

/// Where distributions put emulators.
pub const SEARCH: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/libexec/qemu-binfmt"];

/// The platforms that people build for, in the order in which they are shown.
pub const PLATFORMS: [&str; 8] = [
    "linux/amd64",
    "linux/386",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
];

/// The emulators of this host, by architecture.
#[derive(Debug)]
pub struct Emulators {
    /// Architecture as in a platform → static emulator.
    programs: BTreeMap<&'static str, PathBuf>,
    /// What binaries of `architecture` on this host run without help.
    native: Vec<&'static str>,
    registered: BTreeMap<&'static str, Registration>,
    /// The instance for private registrations, which live as long as it; `None` before the first is needed.
    instance: Option<io::Result<OwnedFd>>,
}

/// Who registered an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// This build, in its own user namespace.
    Private,
    /// The host, before.
    Host,
}

/// Whether and how a platform's binaries run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanRun {
    /// By the processor itself.
    Native,
    /// Through QEMU.
    Emulated,
    /// Not at all.
    No {
        /// One phrase.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

/// Says why an emulator could not be registered.
#[derive(Debug, thiserror::Error)]
#[error("cannot register an emulator for {architecture}: {reason}")]
pub struct EmulationError {
    /// As in a platform.
    pub architecture: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Emulators {
    /// Looks for static emulators (`qemu-ARCH-static`, then `qemu-ARCH`) in the directories of `search`, in order. Reads
    /// some headers; starts nothing.
    pub fn probe(search: &[PathBuf]) -> Emulators {
        let found = |machine: &Machine| Some((machine.architecture, find(search, machine)?));
        let programs = MACHINES.iter().filter_map(found).collect();
        Emulators { programs, native: native(), registered: BTreeMap::new(), instance: None }
    }

    /// Registers the emulators of `architectures` (as in a platform) for this process's user namespace; native ones are
    /// passed over. To be called after [`enter`](super::sandbox::enter) and before the first step. The host's own
    /// registrations count only as long as nothing is registered privately: an instance of one's own hides them.
    ///
    /// # Errors
    /// The first architecture that cannot be emulated here, with the package or setting that is missing; the others are
    /// registered.
    pub fn register(&mut self, architectures: &[String]) -> Result<(), EmulationError> {
        let mut wanted: Vec<Machine> = Vec::new();
        for architecture in architectures.iter().filter(|name| !self.native.contains(&name.as_str())) {
            wanted.push(*machine(architecture).ok_or_else(|| unknown(architecture))?);
        }
        let lacks_program = |machine: &Machine| !self.programs.contains_key(machine.architecture);
        if self.instance.is_none() && wanted.iter().any(lacks_program) && wanted.iter().all(kernel::host_runs) {
            self.registered.extend(wanted.iter().map(|machine| (machine.architecture, Registration::Host)));
            return Ok(());
        }
        let mut first = Ok(());
        for machine in wanted {
            match self.register_one(&machine) {
                Ok(registration) => _ = self.registered.insert(machine.architecture, registration),
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    fn register_one(&mut self, machine: &Machine) -> Result<Registration, EmulationError> {
        let architecture = machine.architecture;
        if let Some(registration) = self.registered.get(architecture) {
            return Ok(*registration);
        }
        match (self.instance.get_or_insert_with(kernel::private_instance), self.programs.get(architecture)) {
            (Ok(instance), Some(program)) => match kernel::register(&*instance, machine, program) {
                Ok(()) => Ok(Registration::Private),
                Err(error) => Err(refused(architecture, &error)),
            },
            (Ok(_), None) => Err(missing(architecture)),
            (Err(_), _) if kernel::host_runs(machine) => Ok(Registration::Host),
            (Err(error), _) => Err(no_instance(architecture, error)),
        }
    }

    /// Says whether binaries for `platform` run here, now or once its architecture is registered.
    pub fn can_run(&self, platform: &Platform) -> CanRun {
        let architecture = platform.architecture.as_str();
        if platform.os != "linux" {
            let reason = format!("steps for {platform} cannot run on Linux");
            return CanRun::No { reason, hint: "use a base image for linux".to_owned() };
        }
        if is_native(platform) {
            return CanRun::Native;
        }
        if self.programs.contains_key(architecture) || self.registered.contains_key(architecture) {
            return CanRun::Emulated;
        }
        let known = machine(architecture);
        if known.is_some_and(kernel::host_runs) {
            return CanRun::Emulated;
        }
        let error = if known.is_some() { missing(architecture) } else { unknown(architecture) };
        CanRun::No { reason: error.reason, hint: error.hint }
    }

    /// Returns who registered the emulator of an architecture; `None` before that.
    pub fn registration(&self, architecture: &str) -> Option<Registration> {
        self.registered.get(architecture).copied()
    }

    /// Returns the emulator found for an architecture.
    pub fn program(&self, architecture: &str) -> Option<&Path> {
        self.programs.get(architecture).map(PathBuf::as_path)
    }
}

/// Returns the directories in which emulators are looked for: bake's own, those of `path` (as in PATH), and those of the
/// distributions.
pub fn search(own: &Path, path: &str) -> Vec<PathBuf> {
    let listed = path.split(':').filter(|part| part.starts_with('/')).map(PathBuf::from);
    [own.to_owned()].into_iter().chain(listed).chain(SEARCH.map(PathBuf::from)).collect()
}

/// Says whether this machine's processor runs the platform's programs.
pub fn is_native(platform: &Platform) -> bool {
    platform.os == "linux" && native().contains(&platform.architecture.as_str())
}

/// Returns how programs for an architecture (as in a platform) look; `None` where that is not known.
pub fn machine(architecture: &str) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.architecture == architecture)
}

/// Returns all machines that emulators are known for.
pub fn machines() -> impl Iterator<Item = &'static Machine> {
    MACHINES.iter()
}

/// Makes sure that registrations can be private here: Linux 6.7, and a user namespace of bake's own. From then on the
/// host's registrations are hidden from this process and its steps.
///
/// # Errors
/// What the kernel said.
pub fn private_registration() -> io::Result<()> {
    kernel::private_instance().map(drop)
}

/// Returns the architectures whose binaries this processor runs.
fn native() -> Vec<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => vec!["amd64", "386"],
        "aarch64" => vec!["arm64"],
        "powerpc64" if cfg!(target_endian = "little") => vec!["ppc64le"],
        "loongarch64" => vec!["loong64"],
        other => MACHINES.iter().map(|machine| machine.architecture).filter(|name| *name == other).collect(),
    }
}

/// Returns QEMU's word for an architecture (as in a platform): its emulator is `qemu-WORD`.
pub fn qemu_name(architecture: &str) -> &str {
    match architecture {
        "386" => "i386",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "loong64" => "loongarch64",
        "mips64le" => "mips64el",
        other => other,
    }
}

fn find(search: &[PathBuf], machine: &Machine) -> Option<PathBuf> {
    let name = qemu_name(machine.architecture);
    let candidates =
        search.iter().flat_map(|dir| [dir.join(format!("qemu-{name}-static")), dir.join(format!("qemu-{name}"))]);
    let is_usable = |path: &PathBuf| -> io::Result<bool> {
        // A FIFO would block.
        Ok(fs::metadata(path)?.is_file() && elf::is_static(&File::open(path)?)?)
    };
    candidates.into_iter().find(|path| is_usable(path).unwrap_or(false))
}

fn error(architecture: &str, reason: String, hint: &str) -> EmulationError {
    EmulationError { architecture: architecture.to_owned(), reason, hint: hint.to_owned() }
}

fn missing(architecture: &str) -> EmulationError {
    let reason = format!("no static `qemu-{}` found", qemu_name(architecture));
    error(architecture, reason, "install it: apt-get install qemu-user-static")
}

fn unknown(architecture: &str) -> EmulationError {
    error(architecture, format!("no emulator is known for `{architecture}`"), "leave the platform out")
}

fn refused(architecture: &str, cause: &io::Error) -> EmulationError {
    error(architecture, format!("the kernel refused it: {cause}"), "see `dmesg`, or leave the platform out")
}

fn no_instance(architecture: &str, cause: &io::Error) -> EmulationError {
    let reason = format!(
        "no private binfmt_misc (it needs Linux 6.7: {cause}), and the host registers no emulator with the flags F and P"
    );
    error(architecture, reason, "as root: apt-get install qemu-user-static binfmt-support")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Emulators {
        Emulators { programs: BTreeMap::new(), native: native(), registered: BTreeMap::new(), instance: None }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_x86_host_runs_both_its_widths() {
        for text in ["linux/amd64", "linux/386"] {
            assert_eq!(none().can_run(&text.parse().expect("a platform")), CanRun::Native, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let Err(error) = none().register(&["weird".to_owned()]) else { panic!("no such machine") };
        assert_eq!(error.to_string(), "cannot register an emulator for weird: no emulator is known for `weird`");
        assert_eq!(missing("arm64").reason, "no static `qemu-aarch64` found");
        let windows: Platform = "windows/amd64".parse().expect("a platform");
        assert!(matches!(none().can_run(&windows), CanRun::No { .. }));
    }

    #[test]
    fn a_script_is_no_emulator() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("qemu-riscv64-static"), "#!/bin/sh\n").expect("written");
        let emulators = Emulators::probe(&[directory.path().to_owned()]);
        assert_eq!(emulators.program("riscv64"), None);
    }
}
