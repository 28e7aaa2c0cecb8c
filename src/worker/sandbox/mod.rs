//! Runs one process in a root file system of its own: name spaces, mounts, capabilities, system call filter.
//!
//! The process model has three levels:
//! 1. `bake` calls [`enter`] first of all. From then on it lives in a user namespace and a mount namespace of its own,
//!    in which the store unpacks, copies and mounts; rootful and rootless builds are the same code above this line.
//! 2. [`run`] starts the *runner*: this program again under another `argv[0]`, single-threaded, because Rust code
//!    between fork and exec of a threaded process may deadlock. It stays in `bake`'s name spaces and gets its orders
//!    over a socket. When the socket closes (cancelled, or `bake` was killed) it kills the step.
//! 3. The runner clones the *step*: process 1 of a new pid, mount, ipc, uts, cgroup (and network) namespace. It
//!    arranges its mounts, gives up what a step must not have, and becomes the user's program. When it ends, the kernel
//!    kills whatever it left running.
//!
//! Knows nothing of images, snapshots or the graph: a root file system is a file descriptor.
//!
//! Invariants: no path of the image is resolved except by the kernel beneath the root (`openat2`), no descriptor but
//! 0, 1 and 2 reaches the step, and nothing of a step is left when [`run`] returns: no process, mount or temporary file.
//!
//! Which network namespace a step has and which cgroups it is in is decided above ([`network`](super::network),
//! [`cgroup`](super::cgroup)); here it enters them.

pub mod elf;
mod enter;
mod launch;
mod network;
mod privileges;
mod rlimits;
mod runner;
mod seccomp;
mod step;
mod stubs;
mod trees;
mod users;
mod wire;

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

pub use crate::graph::Ulimit;
pub use crate::solver::notice::Stream;
pub use enter::{IdMapping, enter, has_own_user_namespace};
pub use launch::{Launcher, run};
pub use network::{INTERFACE, INTERFACES, NetworkNamespace, Ready, Uplink};
pub use runner::become_runner_if_asked;

/// A process and what it sees. No `Debug`: environment and files may hold secrets.
pub struct Spec<'fd> {
    /// Program and arguments; never empty. A name without `/` is looked up in `env`'s PATH inside the root.
    pub args: Vec<String>,
    /// All of the environment; `HOME` is added from the root's passwd if it is not there.
    pub env: Vec<(String, String)>,
    /// Working directory, relative to the root's top; made, owned by the user, if it is not there.
    pub cwd: String,
    /// `user[:group]` by name or number, resolved in the root's passwd and group; empty for root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Which network namespace it is in.
    pub network: Network<'fd>,
    /// All capabilities of the user namespace, no system call filter, nothing of `/proc` and `/sys` hidden or write-protected.
    /// Where `bake` is run by root, such a process can change the settings of the host. Refused without a user namespace.
    pub is_privileged: bool,
    /// A detached mount (of `fsmount` or `open_tree`) or a directory. Directories `dev`, `proc` and `sys` are made in it.
    pub root: BorrowedFd<'fd>,
    /// What is mounted over the root, in order.
    pub mounts: Vec<Mount<'fd>>,
    /// Content of `/etc/hosts` while the process runs.
    pub hosts: String,
    /// Content of `/etc/resolv.conf` while the process runs.
    pub resolv_conf: String,
    /// Limits of each of its processes, in place of `bake`'s own.
    pub ulimits: Vec<Ulimit>,
    /// The files `cgroup.procs` of the cgroups that it is moved to, open for writing.
    pub cgroups: Vec<BorrowedFd<'fd>>,
    /// Numbers of the processors that it runs on; empty for all. It may choose others itself.
    pub processors: BTreeSet<u32>,
}

/// A network namespace to run in.
#[derive(Clone, Copy)]
pub enum Network<'fd> {
    /// The host's: its interfaces, what listens on its loopback, its abstract Unix sockets.
    Host,
    /// A new one with loopback alone.
    Loopback,
    /// This one, which belongs to our user namespace.
    Namespace(BorrowedFd<'fd>),
}

/// Something mounted over the root.
pub struct Mount<'fd> {
    /// Path in the root. Made if it is not there, and taken away after the step if it is still empty.
    pub target: String,
    /// Writes are refused.
    pub is_read_only: bool,
    /// What is there.
    pub source: MountSource<'fd>,
}

/// What a [`Mount`] shows.
pub enum MountSource<'fd> {
    /// A detached mount, or a directory or file of the host, with the mounts below it.
    Tree(BorrowedFd<'fd>),
    /// An empty directory in memory.
    Tmpfs {
        /// Limit in bytes; half of the machine's memory where absent.
        size: Option<u64>,
    },
    /// A file in memory, for secrets: it touches no disk.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner inside.
        uid: u32,
        /// Group inside.
        gid: u32,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code; 0 is success.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// Returns the code as a shell would show it: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Says why a process did not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The host refuses what the engine is made of.
    #[error("cannot create a user namespace on this host: {reason}")]
    NoNamespaces {
        /// What the host said or which setting forbids it.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// The program is not in the root file system (a shell's 127).
    #[error("program `{program}` not found in the root file system: {reason}")]
    NotFound {
        /// As in [`Spec::args`].
        program: String,
        /// Where it was looked for, or what of it is missing.
        reason: String,
    },
    /// The program is there and cannot be run (a shell's 126).
    #[error("program `{program}` cannot be executed: {reason}")]
    NotExecutable {
        /// As in [`Spec::args`].
        program: String,
        /// Why.
        reason: String,
    },
    /// The program is for another architecture and nothing emulates it (a shell's 126).
    #[error("program `{program}` is for {architecture}, and no emulator is registered for it")]
    NoEmulator {
        /// As in [`Spec::args`].
        program: String,
        /// As in a platform: `arm64`.
        architecture: String,
    },
    /// [`Spec::user`] names nobody, or an id that this host cannot give.
    #[error("cannot run as user `{user}`: {reason}")]
    User {
        /// As in [`Spec::user`].
        user: String,
        /// Why.
        reason: String,
    },
    /// The token said so; the process is gone.
    #[error("the step was cancelled")]
    Cancelled,
    /// A part of the sandbox could not be set up.
    #[error("sandbox: {what}: {reason}")]
    Setup {
        /// What was attempted on what.
        what: String,
        /// What the kernel said.
        reason: String,
    },
}

/// Makes a file system by the new mount API, as each step does, and drops it. To be called after [`enter`].
///
/// # Errors
/// What the kernel said.
pub fn try_mount() -> std::io::Result<()> {
    trees::new("tmpfs", &[], rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID).map(drop)
}

impl SandboxError {
    /// Returns the exit code that a shell gives for this, for those errors that are about the step's program.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            SandboxError::NotFound { .. } => Some(127),
            SandboxError::NotExecutable { .. } | SandboxError::NoEmulator { .. } => Some(126),
            _ => None,
        }
    }

    fn setup(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> SandboxError {
        let what = what.into();
        |error| SandboxError::Setup { what, reason: error.to_string() }
    }
}
