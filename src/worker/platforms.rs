//! Which platforms' steps run here; registers emulators when the first step needs one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::emulation::{CanRun, Emulators};
use super::local::WorkerError;
use crate::graph::{Definition, Op};
use crate::platform::Platform;

/// The platforms of a run. Looking for emulators and registering them waits until a step is for another processor.
pub struct Platforms {
    search: Vec<PathBuf>,
    wanted: BTreeSet<Platform>,
    emulators: OnceLock<Registered>,
}

struct Registered {
    emulators: Emulators,
    failure: Option<(String, String)>,
}

impl Platforms {
    /// Will look in the directories of `search`, for the platforms of the steps of `definition`.
    pub fn new(search: Vec<PathBuf>, definition: &Definition) -> Platforms {
        let platform = |id| match &definition.vertex(id).op {
            Op::Exec(exec) => Some(exec.platform.clone()),
            Op::Source(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => None,
        };
        Platforms { search, wanted: definition.ids().filter_map(platform).collect(), emulators: OnceLock::new() }
    }

    /// Says whether steps for `platform` run under emulation.
    pub fn is_emulated(&self, platform: &Platform) -> bool {
        self.registered().emulators.can_run(platform) == CanRun::Emulated
    }

    /// Makes sure that steps for `platform` can run.
    ///
    /// # Errors
    /// There is no emulator, or it cannot be registered.
    pub fn require(&self, platform: &Platform) -> Result<(), WorkerError> {
        let failed = |reason: &str, hint: &str| WorkerError::NoEmulator {
            platform: platform.clone(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        };
        let registered = self.registered();
        match registered.emulators.can_run(platform) {
            CanRun::Native => Ok(()),
            CanRun::No { reason, hint } => Err(failed(&reason, &hint)),
            CanRun::Emulated => match &registered.failure {
                Some((reason, hint)) if registered.emulators.registration(&platform.architecture).is_none() => {
                    Err(failed(reason, hint))
                }
                _ => Ok(()),
            },
        }
    }

    fn registered(&self) -> &Registered {
        self.emulators.get_or_init(|| {
            let mut emulators = Emulators::probe(&self.search);
            let can_emulate = |platform: &&Platform| emulators.can_run(platform) == CanRun::Emulated;
            let architectures: BTreeSet<String> =
                self.wanted.iter().filter(can_emulate).map(|platform| platform.architecture.clone()).collect();
            let architectures: Vec<String> = architectures.into_iter().collect();
            let failure = emulators.register(&architectures).err();
            Registered { emulators, failure: failure.map(|error| (error.to_string(), error.hint)) }
        })
    }
}
