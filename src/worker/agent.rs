//! Leads a step to the user's SSH agent, for signing alone.
//!
//! The step gets a socket of its own, with the owner and mode that its mount asks for; the user's is never in its sight.
//! What comes over it is read request by request ([draft-ietf-sshm-ssh-agent], section 5): listing keys and signing are
//! passed on, all else (adding, removing, locking, extensions) is answered with a failure, as BuildKit does. When the
//! step is over, every connection is.
//!
//! [draft-ietf-sshm-ssh-agent]: https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};

use crate::graph::SecretFile;

/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const PASSED_ON: [u8; 2] = [11, 13];

/// `SSH_AGENT_FAILURE`, with its length.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// Bytes of one message; OpenSSH's own limit.
const MAX_MESSAGE: u32 = 256 << 10;

/// Connections at once; a step that wants more is refused them.
const MAX_CONNECTIONS: usize = 64;

const NAME: &str = "agent";

/// A socket that leads to an agent for as long as this is there.
pub struct Forwarder {
    /// An open path.
    socket: OwnedFd,
    listener: Arc<UnixListener>,
    connections: Arc<Mutex<Connections>>,
    acceptor: Option<JoinHandle<()>>,
    /// Removed at the end.
    _directory: tempfile::TempDir,
}

/// The mutex protects that nothing is added once it is over.
#[derive(Default)]
struct Connections {
    is_over: bool,
    next: u64,
    /// Both ends of each, to be shut down.
    open: BTreeMap<u64, [UnixStream; 2]>,
}

impl Forwarder {
    /// Begins to lead connections to the socket `agent`. The step's socket is in `directory`, which nobody else may enter.
    ///
    /// # Errors
    /// The operating system refuses; `InvalidInput` where this user has no such owner to give.
    pub fn start(agent: &Path, file: &SecretFile, directory: tempfile::TempDir) -> io::Result<Forwarder> {
        let open = rustix::fs::openat(CWD, directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        // A socket's path may have 107 bytes, a store's is as long as it likes.
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd()))?;
        if (file.uid, file.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
            rustix::fs::chownat(&open, NAME, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::chmodat(&open, NAME, Mode::from_raw_mode(file.mode & 0o777), AtFlags::empty())?;
        let socket = rustix::fs::openat(&open, NAME, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let (listener, connections) = (Arc::new(listener), Arc::new(Mutex::new(Connections::default())));
        let (theirs, shared, agent) = (Arc::clone(&listener), Arc::clone(&connections), agent.to_owned());
        let accept = move || accept(&theirs, &shared, &agent);
        let acceptor = thread::Builder::new().name("ssh agent".to_owned()).spawn(accept)?;
        Ok(Forwarder { socket, listener, connections, acceptor: Some(acceptor), _directory: directory })
    }

    /// Returns the socket, to be mounted.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Ends the waiting for connections.
        _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let mut connections = lock(&self.connections);
        connections.is_over = true;
        for stream in connections.open.values().flatten() {
            _ = stream.shutdown(Shutdown::Both);
        }
        drop(connections);
        if let Some(acceptor) = self.acceptor.take() {
            _ = acceptor.join();
        }
    }
}

fn lock(connections: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &UnixListener, connections: &Mutex<Connections>, agent: &PathBuf) {
    thread::scope(|scope| {
        while let Ok((step, _)) = listener.accept() {
            // Refused by closing it.
            let Ok(agent) = UnixStream::connect(agent) else { continue };
            let (Ok(ours), Ok(theirs)) = (step.try_clone(), agent.try_clone()) else { continue };
            let mut all = lock(connections);
            if all.is_over {
                break;
            }
            if all.open.len() >= MAX_CONNECTIONS {
                continue;
            }
            let number = all.next;
            all.next += 1;
            all.open.insert(number, [ours, theirs]);
            drop(all);
            scope.spawn(move || {
                // Whoever hangs up ends it for both.
                _ = serve(&step, &agent);
                lock(connections).open.remove(&number);
            });
        }
    });
}

/// Answers the requests of one connection until an end of it is closed.
fn serve(mut step: impl Read + Write, mut agent: impl Read + Write) -> io::Result<()> {
    loop {
        let request = message(&mut step)?;
        let is_passed_on = request.get(4).is_some_and(|kind| PASSED_ON.contains(kind));
        if is_passed_on {
            agent.write_all(&request)?;
            step.write_all(&message(&mut agent)?)?;
        } else {
            step.write_all(&FAILURE)?;
        }
    }
}

/// Reads a message with its length.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = u32::from_be_bytes(length);
    if size > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message larger than any of an agent"));
    }
    let mut message = length.to_vec();
    from.take(size.into()).read_to_end(&mut message)?;
    match message.len() == size as usize + length.len() {
        true => Ok(message),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// An agent that answers each request with its kind plus one, and says which came.
    fn agent(path: &Path) -> JoinHandle<Vec<u8>> {
        let listener = UnixListener::bind(path).expect("bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut kinds = Vec::new();
            while let Ok(request) = message(&mut stream) {
                kinds.push(request[4]);
                stream.write_all(&[0, 0, 0, 1, request[4] + 1]).expect("answered");
            }
            kinds
        })
    }

    fn ask(stream: &mut UnixStream, kind: u8) -> u8 {
        stream.write_all(&[0, 0, 0, 3, kind, 1, 2]).expect("asked");
        message(stream).expect("answered")[4]
    }

    #[test]
    fn only_listing_and_signing_reach_the_agent_and_the_end_closes_all() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("host");
        let agent = agent(&path);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join(NAME);
        let file = SecretFile { id: String::new(), uid: 0, gid: 0, mode: 0o620, is_optional: false };
        let forwarder = Forwarder::start(&path, &file, directory).expect("started");
        let metadata = std::fs::symlink_metadata(&socket).expect("there");
        assert_eq!((metadata.mode() & 0o777, metadata.permissions().mode() & 0o170_000), (0o620, 0o140_000));
        let mut step = UnixStream::connect(&socket).expect("connected");
        let answers: Vec<u8> = [11, 17, 13, 19, 27, 22, 11].map(|kind| ask(&mut step, kind)).to_vec();
        assert_eq!(answers, [12, 5, 14, 5, 5, 5, 12]);
        drop(forwarder);
        assert_eq!(step.read(&mut [0; 1]).expect("the end"), 0);
        assert_eq!(agent.join().expect("ended"), [11, 13, 11]);
        assert!(!socket.exists());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_unread() {
        let mut large: &[u8] = &[0xff, 0xff, 0xff, 0xff, 11];
        assert_eq!(message(&mut large).expect_err("refused").kind(), io::ErrorKind::InvalidData);
        let mut short: &[u8] = &[0, 0, 0, 9, 11];
        assert_eq!(message(&mut short).expect_err("refused").kind(), io::ErrorKind::UnexpectedEof);
    }
}
