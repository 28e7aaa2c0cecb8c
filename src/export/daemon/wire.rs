//! A byte stream to a daemon or program: bounded in time, and given up when the user asks to stop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::sys::cancel::CancelToken;

/// How often the user's wish to stop is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Two descriptors, which may be those of one socket, and the process at the other end, if there is one: it is killed with
/// the wire.
pub(super) struct Wire {
    input: File,
    output: File,
    cancel: CancelToken,
    deadline: Option<Instant>,
    child: Option<Child>,
}

impl Wire {
    /// Reads from and writes to one descriptor, which may be the end of a pipe that does only one of them.
    pub(super) fn new(end: OwnedFd, cancel: &CancelToken) -> io::Result<Wire> {
        Wire::of_two(end.try_clone()?, end, cancel)
    }

    /// Reads from `input` and writes to `output`.
    pub(super) fn of_two(input: OwnedFd, output: OwnedFd, cancel: &CancelToken) -> io::Result<Wire> {
        for end in [&input, &output] {
            let flags = rustix::fs::fcntl_getfl(end)?;
            rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)?;
        }
        Ok(Wire { input: input.into(), output: output.into(), cancel: cancel.clone(), deadline: None, child: None })
    }

    /// Gives the process at the other end, which ends with the wire.
    pub(super) fn with_child(mut self, child: Child) -> Wire {
        self.child = Some(child);
        self
    }

    /// Gives up after `limit` from now; `None` waits as long as it takes.
    pub(super) fn set_limit(&mut self, limit: Option<Duration>) {
        self.deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// Does `step` on a descriptor that is ready for it.
    fn when_ready(
        &self,
        end: &File,
        flags: PollFlags,
        mut step: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match step() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("interrupted"));
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
            match poll(&mut [PollFd::from_borrowed_fd(end.as_fd(), flags)], Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_ready(&self.input, PollFlags::IN, || (&self.input).read(buffer))
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.when_ready(&self.output, PollFlags::OUT, || (&self.output).write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}
