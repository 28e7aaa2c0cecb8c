//! What goes over the socket between [`run`](super::run) and the runner: a request with file descriptors, one report back.
//!
//! Request: 8 bytes of length (little endian) with all descriptors attached, then that much JSON. Report: JSON up to
//! the end of the stream. Both ends are the same program, so there is no version.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SandboxError;

/// The kernel's limit of descriptors in one message (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// [`Spec`](super::Spec) without its descriptors: those come in order, the root first, then those
/// of the mounts, of the network, of the cgroups.
#[derive(Serialize, Deserialize)]
pub struct Request {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: String,
    pub hostname: String,
    pub network: RequestNetwork,
    pub is_privileged: bool,
    pub mounts: Vec<RequestMount>,
    pub limits: Vec<RequestLimit>,
    /// How many descriptors of cgroups there are.
    pub n_cgroups: usize,
    pub processors: BTreeSet<u32>,
}

/// [`Network`](super::Network) without its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestNetwork {
    Host,
    Loopback,
    Namespace,
}

/// A limit of a process; `None` for no limit.
#[derive(Serialize, Deserialize)]
pub struct RequestLimit {
    pub name: String,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub struct RequestMount {
    pub target: String,
    pub is_read_only: bool,
    /// Without it the step runs all the same: the engine's own files, where the image has no place for them.
    pub is_optional: bool,
    pub source: RequestSource,
}

#[derive(Serialize, Deserialize)]
pub enum RequestSource {
    /// The next descriptor.
    Tree,
    Tmpfs {
        size: Option<u64>,
    },
    File {
        content: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// How it went.
#[derive(Serialize, Deserialize)]
pub enum Report {
    Exited(i32),
    Signaled(i32),
    Failed(Failure),
}

/// A [`SandboxError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// The program, the user, or what was attempted.
    pub subject: String,
    /// Why; for [`FailureKind::NoEmulator`] the architecture.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    NotFound,
    NotExecutable,
    NoEmulator,
    User,
    Setup,
}

impl Failure {
    pub fn new(kind: FailureKind, subject: impl Into<String>, reason: impl ToString) -> Failure {
        Failure { kind, subject: subject.into(), reason: reason.to_string() }
    }

    /// For `map_err`: the part of the setup that failed.
    pub fn setup<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
        let what = what.into();
        move |error| Failure::new(FailureKind::Setup, what, error.into())
    }
}

impl From<Failure> for SandboxError {
    fn from(Failure { kind, subject, reason }: Failure) -> SandboxError {
        match kind {
            FailureKind::NotFound => SandboxError::NotFound { program: subject, reason },
            FailureKind::NotExecutable => SandboxError::NotExecutable { program: subject, reason },
            FailureKind::NoEmulator => SandboxError::NoEmulator { program: subject, architecture: reason },
            FailureKind::User => SandboxError::User { user: subject, reason },
            FailureKind::Setup => SandboxError::Setup { what: subject, reason },
        }
    }
}

/// Sends a request and at most [`MAX_FDS`] descriptors.
pub fn send(mut socket: &UnixStream, request: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let json = serde_json::to_vec(request)?;
    let length = (json.len() as u64).to_le_bytes();
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(fds).size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many mounts"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&json)
}

/// Receives a request; the descriptors close on exec.
pub fn receive<T: DeserializeOwned>(mut socket: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut length = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let n_received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    socket.read_exact(&mut length[n_received..])?;
    let mut json = Vec::new();
    let length = u64::from_le_bytes(length);
    socket.take(length).read_to_end(&mut json)?;
    Ok((serde_json::from_slice(&json)?, fds))
}
