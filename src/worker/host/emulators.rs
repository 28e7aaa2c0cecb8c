//! Which platforms' steps run here, and through what.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::platform::Platform;
use crate::worker::emulation::{self, CanRun, EmulationError, Emulators, Registration};
use crate::worker::sandbox::elf::Machine;
use crate::worker::sandbox::has_own_user_namespace;
use crate::worker::trial::TrialError;

/// How steps for a platform run here.
#[derive(Debug)]
pub enum Use {
    /// By the processor itself.
    Native,
    /// By an emulator that is registered for this process's user namespace alone: its path.
    Private(PathBuf),
    /// By what the host registers.
    Host,
    /// Not at all.
    Nothing(EmulationError),
}

/// A platform, how its steps run, and whether one did.
#[derive(Debug)]
pub struct PlatformUse {
    /// Which.
    pub platform: Platform,
    /// Through what.
    pub through: Use,
    /// What came of the trial; `Ok` where none was made.
    pub ran: Result<(), TrialError>,
}

/// Registers emulators for `platforms` and runs `trial` for each machine. Those that only the host can run come first: a
/// private registration hides the host's. Returned in the order of `platforms`.
pub fn survey(
    platforms: &[Platform],
    search: &[PathBuf],
    trial: &dyn Fn(&'static Machine) -> Result<(), TrialError>,
) -> Vec<PlatformUse> {
    let mut emulators = Emulators::probe(search);
    let mut order: Vec<usize> = (0..platforms.len()).collect();
    order.sort_by_key(|index| emulators.program(&platforms[*index].architecture).is_some());
    let mut uses: Vec<(usize, PlatformUse)> = order
        .into_iter()
        .map(|index| {
            let platform = platforms[index].clone();
            let through = through(&mut emulators, &platform);
            let machine = emulation::machine(&platform.architecture);
            let ran = match (&through, machine) {
                (Use::Nothing(_), _) | (_, None) => Ok(()),
                (_, Some(machine)) => trial(machine),
            };
            (index, PlatformUse { platform, through, ran })
        })
        .collect();
    uses.sort_by_key(|(index, _)| *index);
    uses.into_iter().map(|(_, used)| used).collect()
}

fn through(emulators: &mut Emulators, platform: &Platform) -> Use {
    let architecture = platform.architecture.as_str();
    match emulators.can_run(platform) {
        CanRun::Native => return Use::Native,
        CanRun::No { reason, hint } => {
            return Use::Nothing(EmulationError { architecture: architecture.to_owned(), reason, hint });
        }
        CanRun::Emulated => {}
    }
    if let Err(error) = emulators.register(&[architecture.to_owned()]) {
        return Use::Nothing(error);
    }
    match (emulators.registration(architecture), emulators.program(architecture)) {
        (Some(Registration::Private), Some(program)) => Use::Private(program.to_owned()),
        _ => Use::Host,
    }
}

/// Returns this machine's own kind.
pub(super) fn native_machine() -> Option<&'static Machine> {
    emulation::machine(&Platform::new("linux", std::env::consts::ARCH, None).architecture)
}

pub(super) fn try_platforms(
    platforms: &[Platform],
    search: &[PathBuf],
    trial: &dyn Fn(&'static Machine) -> Result<(), TrialError>,
) -> Vec<Finding> {
    survey(platforms, search, trial).iter().map(|used| finding(used, search)).collect()
}

fn finding(used: &PlatformUse, search: &[PathBuf]) -> Finding {
    let platform = used.platform.to_string();
    let (works, fails) = match &used.through {
        Use::Nothing(error) => {
            let text = format!("{}: its steps cannot run", error.reason);
            return Finding::missing(&platform, text).mend(install(&platform));
        }
        Use::Native => ("its steps run on this processor".to_owned(), "this processor"),
        Use::Private(program) => {
            let whose = if search.first().is_some_and(|own| program.starts_with(own)) { ", bake's own" } else { "" };
            (format!("emulated by {}{whose}, registered for builds alone", program.display()), "its emulator")
        }
        Use::Host => ("emulated by what the host registers".to_owned(), "what the host registers"),
    };
    match (&used.ran, &used.through) {
        (Ok(()), _) => Finding::ok(platform, works),
        (Err(error), Use::Native) => {
            let text = format!("{fails} was to run its steps, and did not: {error}");
            Finding::missing(platform, text).mend("boot a kernel that runs such programs, or leave the platform out")
        }
        (Err(error), _) => {
            let text = format!("{fails} does not run its steps: {error}");
            let mend = format!("take another emulator: {}", install(&platform));
            Finding::missing(platform, text).mend(mend)
        }
    }
}

/// Returns the command that installs an emulator with the rights of who asks.
fn install(platform: &str) -> String {
    match rustix::process::getuid().is_root() && Path::new("/usr/bin/apt-get").exists() {
        true => format!("bake emulator install {platform}"),
        false => format!("bake emulator install {platform} --image"),
    }
}

/// Tries whether registrations can be private. To be called last: it hides the host's.
pub(super) fn binfmt() -> Finding {
    match emulation::private_registration() {
        Ok(()) => Finding::ok("binfmt_misc", "per user namespace: emulators are registered for builds alone"),
        Err(error) => {
            let text = format!("not per user namespace ({error}): only what the host registers can emulate");
            let finding = Finding::limited("binfmt_misc", text);
            match has_own_user_namespace() {
                true => finding.mend(
                    "boot Linux 6.7 or later; until then, as root: apt-get install qemu-user-static binfmt-support",
                ),
                false => finding.mend("let bake have a user namespace: see above"),
            }
        }
    }
}
