//! A network namespace with a way out: made by `bake`, wired by a user-mode network (`pasta`, `slirp4netns`).
//!
//! Three processes stand behind one, none of which sees a step:
//! 1. the *holder*: this program again, which `bake` talks to over a socket. When the socket closes (dropped, or `bake` was
//!    killed) it ends everything below;
//! 2. process 1 of a pid namespace of its own, which dies with the holder whatever happens, and all in it with it;
//! 3. the user-mode network, which may change its identity, fork, or go to the background as it likes.
//!
//! The namespace itself is a descriptor. A step enters it; nothing is started for one.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, wait, waitpid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::wire;
use super::{Launcher, SandboxError, privileges};

/// The holder's `argv[0]`.
pub(super) const HOLDER: &str = "bake-network-holder";

/// The device that interfaces of a user-mode network are made with; everybody's on most hosts.
pub const INTERFACES: &str = "/dev/net/tun";

/// The interface that leads out of a namespace.
pub const INTERFACE: &str = "tap0";

/// How long a user-mode network may take until it is ready.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How a user-mode network is started for a network namespace.
pub struct Uplink {
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments, `argv[0]` included. In them, [`Uplink::NAMESPACE`] stands for the path of the network namespace and
    /// [`Uplink::READY`] for the number of a descriptor.
    pub args: Vec<String>,
    /// How it says that it is ready.
    pub ready: Ready,
}

impl Uplink {
    /// See [`Uplink::args`].
    pub const NAMESPACE: &str = "{namespace}";
    /// See [`Uplink::args`].
    pub const READY: &str = "{ready}";
}

/// How a user-mode network says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// It goes to the background: what was started ends with code 0.
    Background,
    /// It writes to the descriptor [`Uplink::READY`].
    Descriptor,
}

/// What the holder is told; the network namespace is attached.
#[derive(Serialize, Deserialize)]
struct Order {
    program: String,
    args: Vec<String>,
    ready: Ready,
}

/// What the holder says once.
#[derive(Serialize, Deserialize)]
enum Said {
    Ready,
    Failed(String),
}

/// A network namespace and its way out, for as long as this is there.
pub struct NetworkNamespace {
    namespace: OwnedFd,
    /// `None` once it is closed, which ends the holder.
    socket: Option<UnixStream>,
    holder: Child,
}

impl NetworkNamespace {
    /// Makes a network namespace and waits until `uplink` has wired it.
    ///
    /// # Errors
    /// The host refuses one, or the user-mode network does not start: the reason has what it said.
    pub fn start(launcher: &Launcher, uplink: &Uplink) -> Result<NetworkNamespace, SandboxError> {
        let namespace = make().map_err(SandboxError::setup("making a network namespace"))?;
        let failed = || SandboxError::setup(format!("starting {}", uplink.program));
        let (socket, holder) = launcher.start(HOLDER).map_err(failed())?;
        let network = NetworkNamespace { namespace, socket: Some(socket), holder };
        let Uplink { program, args, ready } = uplink;
        let order = Order { program: program.clone(), args: args.clone(), ready: *ready };
        match network.talk(&order).map_err(failed())? {
            Said::Ready => Ok(network),
            Said::Failed(reason) => Err(failed()(io::Error::other(reason))),
        }
    }

    fn talk(&self, order: &Order) -> io::Result<Said> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        wire::send(socket, order, &[self.namespace.as_fd()])?;
        Ok(wire::receive(socket)?.0)
    }

    /// Says whether its way out is still there. Without one it cannot be mended.
    pub fn is_alive(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut events = [PollFd::new(socket, PollFlags::IN | PollFlags::RDHUP)];
        // The holder says nothing more; what comes is its end.
        poll(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n_ready| n_ready == 0)
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl NetworkNamespace {
    /// Lets the way out go, and does not wait for its end as dropping does: of several, all are let go before one is dropped.
    pub fn release(&mut self) {
        self.socket = None;
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        self.release();
        _ = self.holder.wait();
    }
}

/// Makes a network namespace of our user namespace, with its loopback interface up and [`INTERFACE`] for the way out.
fn make() -> io::Result<OwnedFd> {
    // Entering one is for good, so a thread of its own does.
    let made = std::thread::Builder::new().name("network namespace".to_owned()).spawn(|| {
        // SAFETY: `CLONE_FILES` is not among the flags: only this thread's network changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        bring_loopback_up()?;
        make_interface()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?)
    })?;
    made.join().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
}

/// Brings the loopback interface of this thread's network namespace up.
pub(super) fn bring_loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the call reads an `ifreq`, which `request` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the interface that the user-mode network will attach to, in this thread's network namespace. One that it made itself
/// would be taken down when it ends, for which everyone waits tens of milliseconds; this one goes with the namespace, for
/// which nobody does.
fn make_interface() -> io::Result<()> {
    let mode = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::openat(CWD, INTERFACES, mode, Mode::empty())?;
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(INTERFACE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the first call reads and writes an `ifreq`, which `request` is; the second takes a number.
    let is_made = unsafe {
        libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) == 0
            && libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST as _, 1) == 0
    };
    if is_made { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Is the holder, until the socket or the user-mode network comes to an end.
pub(super) fn hold(socket: UnixStream) -> io::Result<()> {
    let (order, fds): (Order, Vec<OwnedFd>) = wire::receive(&socket)?;
    let Some(namespace) = fds.into_iter().next() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut words = File::from(rustix::fs::memfd_create("words", MemfdFlags::CLOEXEC)?);
    let (first, mut ready) = start(&order, &namespace, &words)?;
    let is_ready = wait_for_byte(&mut ready);
    if !is_ready {
        _ = kill_process(first, Signal::KILL);
        _ = waitpid(Some(first), WaitOptions::empty());
        return wire::send(&socket, &Said::Failed(last_words(&mut words)), &[]);
    }
    wire::send(&socket, &Said::Ready, &[])?;
    // The pipe's other ends are in the pid namespace: it is closed when all is over there.
    let mut events = [PollFd::new(&socket, PollFlags::IN | PollFlags::RDHUP), PollFd::new(&ready, PollFlags::empty())];
    while poll(&mut events, None) == Err(rustix::io::Errno::INTR) {}
    _ = kill_process(first, Signal::KILL);
    waitpid(Some(first), WaitOptions::empty())?;
    Ok(())
}

/// Waits until the user-mode network is ready; it is not when the pipe is closed, or patience is over.
fn wait_for_byte(ready: &mut io::PipeReader) -> bool {
    let mut events = [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)];
    match poll(&mut events, Some(&PATIENCE)) {
        Ok(1) => ready.read(&mut [0]).is_ok_and(|n_read| n_read == 1),
        _ => false,
    }
}

/// Returns the last line that a program wrote and that says something.
fn last_words(words: &mut File) -> String {
    let mut text = Vec::new();
    _ = words.rewind().and_then(|()| words.take(64 << 10).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    // Where there is no system logger, pasta says so after each of its words; slirp4netns has a child of its own.
    let says_nothing = |line: &str| {
        line.is_empty()
            || line.ends_with("to syslog")
            || line.starts_with("WARNING")
            || line.starts_with("child failed")
    };
    text.lines().map(str::trim).rfind(|line| !says_nothing(line)).unwrap_or("it ended without a word").to_owned()
}

/// Starts process 1 of a new pid namespace, and in it the user-mode network. The pipe tells when that is ready.
fn start(order: &Order, namespace: &OwnedFd, words: &File) -> io::Result<(Pid, io::PipeReader)> {
    let (ready, say) = io::pipe()?;
    let namespace = shared(namespace)?;
    // SAFETY: a null stack makes this a fork; this process has one thread, so the child may run any code.
    match unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWPID | libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ready);
            let Err(error) = be_first(order, namespace.as_raw_fd(), words, say);
            // That nothing is left to wait for is its ordinary end.
            if error.raw_os_error() != Some(libc::ECHILD) {
                _ = writeln!(&*words, "{error}");
            }
            // SAFETY: ends the child without running what the holder registered for its own end.
            unsafe { libc::_exit(1) }
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel's process ids are positive");
            Ok((pid, ready))
        }
    }
}

/// Returns a copy of a descriptor that stays open in programs.
fn shared(fd: &impl AsFd) -> io::Result<OwnedFd> {
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
    Ok(copy)
}

/// Is process 1: starts the user-mode network, reaps what it leaves, and ends when nothing is left.
fn be_first(order: &Order, namespace: RawFd, words: &File, say: io::PipeWriter) -> io::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let say_fd = shared(&say)?;
    // SAFETY: this process has one thread, so the child may run any code.
    let program = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let error = become_program(order, namespace, say_fd.as_raw_fd(), words);
            _ = writeln!(&*words, "{}: {error}", order.program);
            // SAFETY: as above.
            unsafe { libc::_exit(127) }
        }
        pid => pid,
    };
    // The holder waits for the end of this pipe, which the program must not outlive alone.
    drop(say_fd);
    let mut say = Some(say);
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else { continue };
        if pid.as_raw_pid() != program || order.ready == Ready::Descriptor {
            continue;
        }
        match (&mut say, status.exit_status()) {
            (Some(say), Some(0)) => say.write_all(b"1")?,
            _ => say = None,
        }
    }
}

/// Starts the user-mode network; returns why that was not possible.
fn become_program(order: &Order, namespace: RawFd, ready: RawFd, words: &File) -> io::Error {
    let arg = |arg: &String| {
        let arg = arg.replace(Uplink::NAMESPACE, &format!("/proc/self/fd/{namespace}"));
        CString::new(arg.replace(Uplink::READY, &ready.to_string()))
    };
    let args: Result<Vec<CString>, _> = order.args.iter().map(arg).collect();
    let (Ok(program), Ok(args)) = (CString::new(order.program.as_str()), args) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let output = rustix::stdio::dup2_stdout(words).and_then(|()| rustix::stdio::dup2_stderr(words));
    if let Err(error) = output {
        return error.into();
    }
    let pointers: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    privileges::forget_signals();
    let no_environment = [std::ptr::null()];
    // SAFETY: the path and both lists end in zero, and what they point to lives through the call.
    unsafe { libc::execve(program.as_ptr(), pointers.as_ptr(), no_environment.as_ptr()) };
    io::Error::last_os_error()
}
