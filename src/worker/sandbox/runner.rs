//! The runner: starts one step, watches over it, cleans up after it.

#![expect(clippy::disallowed_methods, reason = "becomes another program before `cli` is reached")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::launch::RUNNER;
use super::stubs::{self, Stub, StubKind};
use super::wire::{self, Failure, FailureKind, Report, Request, RequestNetwork, RequestSource};
use super::{network, step, trees};
use crate::sys::root::Root;

/// What the step needs that had to be prepared in `bake`'s mount namespace.
pub struct Stage {
    pub request: Request,
    /// Detached; becomes `/`.
    pub root: OwnedFd,
    /// For each mount of the request, in order; `None` for what the step makes itself.
    pub trees: Vec<Option<OwnedFd>>,
    pub network: Option<OwnedFd>,
    /// The files `cgroup.procs` of its cgroups.
    pub cgroups: Vec<OwnedFd>,
}

/// Becomes the runner of a step or the holder of a network if this process was started as one, and then does not return.
/// The first thing that `main` calls: it must find one thread and no descriptor but the first three.
pub fn become_runner_if_asked() {
    let serve = match std::env::args_os().next() {
        Some(name) if name == RUNNER => serve,
        Some(name) if name == network::HOLDER => network::hold,
        _ => return,
    };
    std::process::exit(match socket().and_then(serve) {
        Ok(()) => 0,
        Err(_) => 70,
    });
}

/// Takes the socket from standard input, which becomes empty.
fn socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

fn serve(socket: UnixStream) -> io::Result<()> {
    let report = run(&socket).unwrap_or_else(Report::Failed);
    (&socket).write_all(&serde_json::to_vec(&report)?)
}

fn run(socket: &UnixStream) -> Result<Report, Failure> {
    // SAFETY: takes a number.
    unsafe { libc::umask(0o022) };
    let (request, fds) = wire::receive(socket).map_err(Failure::setup("receiving the step"))?;
    let stage = stage(request, fds)?;
    let stubs = make_stubs(&stage)?;
    let report = start(stage).and_then(|step| watch(socket, step));
    stubs::remove(stubs);
    report
}

fn stage(request: Request, fds: Vec<OwnedFd>) -> Result<Stage, Failure> {
    let mut fds = fds.into_iter();
    let mut next =
        || fds.next().ok_or_else(|| Failure::new(FailureKind::Setup, "receiving the step", "a descriptor is missing"));
    let mut next_tree = || {
        let fd = next()?;
        // Of what hangs in our mount namespace, a copy. What cannot be copied (kernels before 6.15) is detached already.
        Ok(trees::clone_of(&fd).unwrap_or(fd))
    };
    let root = next_tree()?;
    let tree = |source: &RequestSource| matches!(source, RequestSource::Tree).then(&mut next_tree).transpose();
    let trees = request.mounts.iter().map(|mount| &mount.source).map(tree).collect::<Result<_, Failure>>()?;
    let network = (request.network == RequestNetwork::Namespace).then(&mut next).transpose()?;
    let cgroups = (0..request.n_cgroups).map(|_| next()).collect::<Result<_, Failure>>()?;
    Ok(Stage { request, root, trees, network, cgroups })
}

/// Makes places for the mounts in the root. Those inside another mount are the step's to make.
fn make_stubs(stage: &Stage) -> Result<Vec<Stub>, Failure> {
    let root = Root::from_fd(stage.root.try_clone().map_err(Failure::setup("opening the root file system"))?);
    // These stay: they are part of what a container leaves behind, in every builder.
    for kept in ["/dev", "/proc", "/sys"] {
        stubs::open_or_make(&root, kept, StubKind::Directory, &mut Vec::new()).map_err(Failure::setup(kept))?;
    }
    let mut made = Vec::new();
    let mut covered = vec!["/dev", "/proc", "/sys"];
    for (mount, tree) in stage.request.mounts.iter().zip(&stage.trees) {
        let target = mount.target.as_str();
        let is_inside = covered.iter().any(|outer| std::path::Path::new(target).starts_with(outer));
        covered.push(target);
        let kind = kind_of(&mount.source, tree.as_ref());
        if is_inside {
            continue;
        }
        if let Err(error) = stubs::open_or_make(&root, target, kind, &mut made)
            && !mount.is_optional
        {
            stubs::remove(made);
            return Err(Failure::setup(format!("making a place for the mount {target}"))(error));
        }
    }
    Ok(made)
}

/// Returns what has to be at the target for this source.
pub fn kind_of(source: &RequestSource, tree: Option<&OwnedFd>) -> StubKind {
    let is_directory = match (source, tree) {
        (RequestSource::File { .. }, _) => false,
        (_, Some(tree)) => {
            rustix::fs::fstat(tree).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        }
        _ => true,
    };
    if is_directory { StubKind::Directory } else { StubKind::File }
}

/// A step that runs.
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    /// Closed by the step's exec; what comes before is a [`Failure`].
    failure: File,
}

fn start(stage: Stage) -> Result<Running, Failure> {
    let failed = || Failure::setup("starting the step");
    let (failure, mut say) = io::pipe().map_err(failed())?;
    if let Some(network) = &stage.network {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Failure::setup("entering the step's network"))?;
    }
    let is_new = stage.request.network == RequestNetwork::Loopback;
    let new_network = if is_new { libc::CLONE_NEWNET } else { 0 };
    let spaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    let flags = spaces | new_network | libc::SIGCHLD;
    // SAFETY: a null stack makes this a fork; this process has one thread, so the child may run any code.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(Failure::setup("making the step's name spaces")(io::Error::last_os_error())),
        0 => {
            drop(failure);
            let failure = step::become_step(stage);
            _ = say.write_all(&serde_json::to_vec(&failure).unwrap_or_default());
            // SAFETY: ends the child without running what the runner registered for its own end.
            unsafe { libc::_exit(1) }
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel's process ids are positive");
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(Failure::setup("starting the step"))?;
            Ok(Running { pid, pidfd, failure: File::from(OwnedFd::from(failure)) })
        }
    }
}

/// Waits for the step's end; kills it when the socket closes. When its first process is gone, the kernel has killed and
/// reaped all others of its pid namespace.
fn watch(socket: &UnixStream, mut step: Running) -> Result<Report, Failure> {
    let failed = || Failure::setup("waiting for the step");
    let mut events = [
        PollFd::from_borrowed_fd(step.pidfd.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN | PollFlags::RDHUP),
    ];
    loop {
        match poll(&mut events, None) {
            Ok(_) if !events[0].revents().is_empty() => break,
            Ok(_) => {
                _ = pidfd_send_signal(&step.pidfd, Signal::KILL);
                break;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    let status = waitpid(Some(step.pid), WaitOptions::empty()).map_err(failed())?.map(|(_, status)| status);
    let mut failure = Vec::new();
    step.failure.read_to_end(&mut failure).map_err(Failure::setup("waiting for the step"))?;
    if !failure.is_empty() {
        let unreadable = |error: serde_json::Error| Failure::setup("waiting for the step")(io::Error::from(error));
        return Ok(Report::Failed(serde_json::from_slice(&failure).map_err(unreadable)?));
    }
    let signal = status.and_then(|status| status.terminating_signal());
    let code = status.and_then(|status| status.exit_status());
    Ok(signal.map_or(Report::Exited(code.unwrap_or(1)), Report::Signaled))
}
