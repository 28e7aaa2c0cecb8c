//! Trials: does a step for a machine run here? One is run, as a build runs its own: a fresh root file system of the
//! store, the sandbox with all its name spaces and its system call filter, and whatever emulator is registered.
//!
//! The step's only program is a tiny one for that machine (see `program`). It is looked up in `PATH`, so that its path is
//! not its `argv[0]`: an emulator that is registered without the flag `P` gives the path, and is found out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};

use super::sandbox::elf::Machine;
use super::sandbox::{self, Exit, Launcher, Network, SandboxError, Spec, Stream};
use crate::store::{Store, StoreError};
use crate::sys::cancel::CancelToken;

mod program;

/// Why a trial did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The store gave no root file system.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox could not run it.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its root file system could not be written.
    #[error("cannot write to a step's root file system: {0}")]
    Write(io::Error),
    /// It ran, and not to its end.
    #[error("a tiny program ended with {0}")]
    Ended(String),
    /// It ran, and its name was another's.
    #[error("programs do not get their `argv[0]`: one that was started as `bake-trial` found `{0}`")]
    Name(String),
    /// There is no program for that machine.
    #[error("no tiny program is known for {0}")]
    NoProgram(&'static str),
}

/// Runs a step for `machine`, whose emulator is registered where it needs one.
///
/// # Errors
/// See [`TrialError`].
pub fn run(store: &Store, launcher: &Launcher, machine: &Machine, cancel: &CancelToken) -> Result<(), TrialError> {
    let program = program::program(machine).ok_or(TrialError::NoProgram(machine.architecture))?;
    let snapshot = store.prepare(&[])?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = snapshot.root().open_at(Path::new(program::NAME), flags, Mode::from_raw_mode(0o755));
    file.and_then(|file| File::from(file).write_all(&program)).map_err(TrialError::Write)?;
    let spec = Spec {
        args: vec![program::NAME.to_owned()],
        // Found in a directory, so that its path is not its name.
        env: vec![("PATH".to_owned(), "/.".to_owned())],
        cwd: "/".to_owned(),
        user: String::new(),
        hostname: "bake".to_owned(),
        network: Network::Loopback,
        is_privileged: false,
        root: snapshot.mount_fd(),
        mounts: Vec::new(),
        hosts: String::new(),
        resolv_conf: String::new(),
        ulimits: Vec::new(),
        cgroups: Vec::new(),
        processors: BTreeSet::new(),
    };
    // Guards what the step printed; nothing is done under it but adding.
    let printed = Mutex::new(Vec::new());
    let on_output = |stream: Stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        }
    };
    let exit = sandbox::run(launcher, &spec, &on_output, cancel)?;
    let printed = printed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match exit {
        Exit::Code(0) if printed == program::NAME.as_bytes() => Ok(()),
        Exit::Code(0) => Err(TrialError::Name(String::from_utf8_lossy(&printed).into_owned())),
        Exit::Code(code) => Err(TrialError::Ended(format!("exit code {code}"))),
        Exit::Signal(signal) => Err(TrialError::Ended(format!("signal {signal}"))),
    }
}
