//! `bake`'s side of a step: starts the runner, passes its output on, stops it.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};

use super::wire::{self, Report, Request, RequestMount, RequestNetwork, RequestSource};
use super::{Exit, Mount, MountSource, Network, SandboxError, Spec, Stream, has_own_user_namespace, rlimits, trees};
use crate::sys::cancel::CancelToken;

/// The runner's `argv[0]`.
pub(super) const RUNNER: &str = "bake-step-runner";

/// How often the token is looked at while nothing happens.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The program that becomes the runner: `bake` itself.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    /// What `program` leads to.
    _tree: Option<OwnedFd>,
}

impl Launcher {
    /// Prepares `program`, which calls [`become_runner_if_asked`](super::become_runner_if_asked) first of all. To be
    /// called after [`enter`](super::enter).
    pub fn new(program: &Path) -> io::Result<Launcher> {
        // A step can reach the file that it was started from (`#!/proc/self/exe`), and root's step owns it. Started
        // through a mount that refuses writes, that file cannot be changed.
        let file = rustix::fs::openat(CWD, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let read_only = trees::clone_of(&file).and_then(|tree| trees::set_read_only(&tree).map(|()| tree));
        Ok(match read_only {
            Ok(tree) => {
                let number = std::os::fd::AsRawFd::as_raw_fd(&tree);
                Launcher { program: PathBuf::from(format!("/proc/self/fd/{number}")), _tree: Some(tree) }
            }
            // Without a mount namespace of our own there is no step either: `run` will say so.
            Err(_) => Launcher { program: program.to_owned(), _tree: None },
        })
    }

    /// Starts the program under another `argv[0]`, with nothing of ours: no environment, no descriptor but the socket and
    /// its outputs, a process group of its own so that a Ctrl-C in the terminal reaches `bake` alone.
    pub(super) fn start(&self, name: &str) -> io::Result<(UnixStream, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .arg0(name)
            .env_clear()
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok((ours, child))
    }
}

/// Runs a process and waits for its end. `on_output` gets what it writes as it comes, in pieces of any size, on this
/// thread; while it does not return, the process waits. Cancelling kills the process and everything it started.
///
/// # Errors
/// See [`SandboxError`]; a process that ran and failed is no error.
pub fn run(
    launcher: &Launcher,
    spec: &Spec<'_>,
    on_output: &(dyn Fn(Stream, &[u8]) + Sync),
    cancel: &CancelToken,
) -> Result<Exit, SandboxError> {
    let failed = SandboxError::setup("starting the step's runner");
    let (request, fds) = request(spec)?;
    let (socket, mut child) = launcher.start(RUNNER).map_err(failed)?;
    let mut said = Vec::new();
    let talked =
        wire::send(&socket, &request, &fds).and_then(|()| listen(&socket, &mut child, &mut said, on_output, cancel));
    // Closed, it ends the runner in any case.
    drop(socket);
    let waited = child.wait();
    if cancel.is_cancelled() {
        return Err(SandboxError::Cancelled);
    }
    talked.and(waited).map_err(SandboxError::setup("talking to the step's runner"))?;
    match serde_json::from_slice(&said) {
        Ok(Report::Exited(code)) => Ok(Exit::Code(code)),
        Ok(Report::Signaled(signal)) => Ok(Exit::Signal(signal)),
        Ok(Report::Failed(failure)) => Err(failure.into()),
        Err(_) => {
            let reason = "it ended without a word (killed, or out of memory)".to_owned();
            Err(SandboxError::Setup { what: "the step's runner".to_owned(), reason })
        }
    }
}

fn request<'fd>(spec: &'fd Spec<'fd>) -> Result<(Request, Vec<BorrowedFd<'fd>>), SandboxError> {
    if spec.is_privileged && !has_own_user_namespace() {
        let reason = "this host gives bake no user namespace, so the step would be root of the host".to_owned();
        return Err(SandboxError::Setup { what: "starting a privileged step".to_owned(), reason });
    }
    let mut fds = vec![spec.root];
    let own = [("/etc/hosts", &spec.hosts), ("/etc/resolv.conf", &spec.resolv_conf)];
    let mut mounts: Vec<RequestMount> = own.into_iter().map(|(target, text)| own_file(target, text)).collect();
    for mount in &spec.mounts {
        mounts.push(request_mount(mount, &mut fds));
    }
    let network = match spec.network {
        Network::Host => RequestNetwork::Host,
        Network::Loopback => RequestNetwork::Loopback,
        Network::Namespace(fd) => {
            fds.push(fd);
            RequestNetwork::Namespace
        }
    };
    fds.extend(&spec.cgroups);
    if fds.len() > wire::MAX_FDS {
        let n_others = fds.len() - spec.mounts.len();
        let reason = format!("{} mounts, and {} are possible", spec.mounts.len(), wire::MAX_FDS - n_others);
        return Err(SandboxError::Setup { what: "mounts of the step".to_owned(), reason });
    }
    let request = Request {
        args: spec.args.clone(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        user: spec.user.clone(),
        hostname: spec.hostname.clone(),
        network,
        is_privileged: spec.is_privileged,
        mounts,
        limits: rlimits::request(&spec.ulimits),
        n_cgroups: spec.cgroups.len(),
        processors: spec.processors.clone(),
    };
    Ok((request, fds))
}

fn own_file(target: &str, text: &str) -> RequestMount {
    let source = RequestSource::File { content: text.as_bytes().to_vec(), mode: 0o644, uid: 0, gid: 0 };
    RequestMount { target: target.to_owned(), is_read_only: true, is_optional: true, source }
}

fn request_mount<'fd>(mount: &'fd Mount<'fd>, fds: &mut Vec<BorrowedFd<'fd>>) -> RequestMount {
    let source = match &mount.source {
        MountSource::Tree(fd) => {
            fds.push(*fd);
            RequestSource::Tree
        }
        MountSource::Tmpfs { size } => RequestSource::Tmpfs { size: *size },
        MountSource::File { content, mode, uid, gid } => {
            RequestSource::File { content: content.clone(), mode: *mode, uid: *uid, gid: *gid }
        }
    };
    RequestMount { target: mount.target.clone(), is_read_only: mount.is_read_only, is_optional: false, source }
}

/// Passes on what comes until all three ends are closed.
fn listen(
    mut socket: &UnixStream,
    child: &mut Child,
    said: &mut Vec<u8>,
    on_output: &(dyn Fn(Stream, &[u8]) + Sync),
    cancel: &CancelToken,
) -> io::Result<()> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut is_open = true;
    let mut buffer = vec![0; 64 << 10];
    while is_open || stdout.is_some() || stderr.is_some() {
        let ends =
            [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd), is_open.then(|| socket.as_fd())];
        let ready = wait_for(ends)?;
        if cancel.is_cancelled() {
            // The runner takes the end of our side as the order to kill the step; its outputs then come to an end.
            _ = socket.shutdown(std::net::Shutdown::Write);
        }
        if ready[0] {
            pass_on(&mut stdout, &mut buffer, &|bytes| on_output(Stream::Stdout, bytes))?;
        }
        if ready[1] {
            pass_on(&mut stderr, &mut buffer, &|bytes| on_output(Stream::Stderr, bytes))?;
        }
        if ready[2] {
            let n_read = socket.read(&mut buffer)?;
            said.extend_from_slice(&buffer[..n_read]);
            is_open = n_read > 0;
        }
    }
    Ok(())
}

fn wait_for(ends: [Option<BorrowedFd<'_>>; 3]) -> io::Result<[bool; 3]> {
    let mut polled: Vec<PollFd<'_>> =
        ends.iter().flatten().map(|end| PollFd::from_borrowed_fd(*end, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&PATIENCE)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut results = polled.iter().map(|end| !end.revents().is_empty());
    Ok(ends.map(|end| end.is_some() && results.next().unwrap_or(false)))
}

fn pass_on(end: &mut Option<impl Read>, buffer: &mut [u8], on_output: &dyn Fn(&[u8])) -> io::Result<()> {
    let n_read = match end.as_mut().map(|end| end.read(buffer)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        Some(result) => result?,
        None => 0,
    };
    match n_read {
        0 => *end = None,
        n => on_output(&buffer[..n]),
    }
    Ok(())
}
