//! Programs of the host that bake runs, such as git: bounded in time and output, and gone when bake is.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use super::cancel::CancelToken;

/// How often a running program's end and the user's wish to stop are looked at.
const TICK: Duration = Duration::from_millis(5);

/// What a program did.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] io::Error),
    /// It was killed because it took too long.
    #[error("no end within {0:?}")]
    TimedOut(Duration),
    /// It was killed because the user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// It was killed because it wrote more than the limit.
    #[error("more than {0} bytes of output")]
    TooMuch(u64),
}

/// Runs `command` to its end, in a process group of its own that is killed at `timeout` or when `cancel` is set. Reads no
/// standard input; makes files with modes as of umask 022; dies when the thread that calls this does. Each output may have
/// `max_output` bytes.
///
/// # Errors
/// See [`ChildError`]; a program that failed is no error.
pub fn run(
    command: &mut Command,
    timeout: Duration,
    max_output: u64,
    cancel: &CancelToken,
) -> Result<Finished, ChildError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // The kernel closes our end whatever becomes of this process.
    let (watched, _alive) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    let end = watched.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            start_guard(end)
        });
    }
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read_limited(stdout, max_output));
        let stderr = scope.spawn(|| read_limited(stderr, max_output));
        let status = wait(&mut child, timeout, cancel, || stdout.is_finished() && stderr.is_finished());
        // Whatever it started that still runs holds the pipes open.
        kill_group(&child);
        let outputs = [stdout, stderr].map(|reader| reader.join().unwrap_or_default());
        let status = status?;
        if outputs.iter().any(|output| output.len() as u64 > max_output) {
            return Err(ChildError::TooMuch(max_output));
        }
        let [stdout, stderr] = outputs;
        Ok(Finished { status, stdout, stderr })
    })
}

/// Starts a process that kills the group of this one, itself included, once the pipe `watched` is closed at its other end. The
/// death signal reaches only the program itself, not what that has started.
///
/// # Safety
/// To be called between fork and exec: it forks again, and the guard does nothing but system calls.
unsafe fn start_guard(watched: RawFd) -> io::Result<()> {
    // SAFETY: only system calls that take numbers and memory of this frame.
    unsafe {
        let between = libc::fork();
        if between == -1 {
            return Err(io::Error::last_os_error());
        }
        if between > 0 {
            // The program that comes next shall find no child that it did not start.
            libc::waitpid(between, std::ptr::null_mut(), 0);
            return Ok(());
        }
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        // Neither our end of the pipe nor the program's outputs may stay open here.
        libc::dup2(watched, 0);
        libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0);
        let mut byte = 0_u8;
        libc::read(0, (&raw mut byte).cast(), 1);
        libc::kill(0, libc::SIGKILL);
        libc::_exit(0);
    }
}

/// Waits for the end of `child` and of its outputs; it is dead when this returns.
fn wait(
    child: &mut Child,
    timeout: Duration,
    cancel: &CancelToken,
    is_read: impl Fn() -> bool,
) -> Result<ExitStatus, ChildError> {
    let begin = Instant::now();
    let mut exited = None;
    loop {
        if exited.is_none() {
            exited = child.try_wait()?;
        }
        // A reader that has all it may have ends early; then the program is waiting for it in vain.
        match exited {
            Some(status) if is_read() => return Ok(status),
            None if is_read() => {
                kill_group(child);
                return Ok(child.wait()?);
            }
            _ => {}
        }
        let stop = match () {
            () if cancel.is_cancelled() => Some(ChildError::Cancelled),
            () if begin.elapsed() > timeout => Some(ChildError::TimedOut(timeout)),
            () => None,
        };
        if let Some(stop) = stop {
            kill_group(child);
            child.wait()?;
            return Err(stop);
        }
        std::thread::sleep(TICK);
    }
}

fn kill_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Reads at most one byte more than `max`.
fn read_limited(stream: Option<impl Read>, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before it broke is still worth showing.
        _ = stream.take(max + 1).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Finished, ChildError> {
        run(Command::new("sh").args(["-c", script]), timeout, 1000, &CancelToken::default())
    }

    #[test]
    fn outputs_status_and_umask_come_through() {
        let finished = shell("umask; echo no >&2; exit 3", Duration::from_secs(20)).expect("it ran");
        assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (&b"0022\n"[..], &b"no\n"[..]));
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn what_does_not_end_is_killed_with_what_it_started() {
        let error = shell("sleep 1000 & sleep 1000", Duration::from_millis(50)).expect_err("too long");
        assert!(matches!(error, ChildError::TimedOut(_)), "{error}");
    }

    #[test]
    fn nothing_is_left_of_a_program_that_ended() {
        let finished = shell("echo $$; sleep 1000 >/dev/null 2>&1 &", Duration::from_secs(20)).expect("it ran");
        let id: i32 = String::from_utf8(finished.stdout).expect("a number").trim().parse().expect("a number");
        let group = Pid::from_raw(id).expect("positive");
        let begin = Instant::now();
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(10), "the group is not empty");
            std::thread::sleep(TICK);
        }
    }

    #[test]
    fn endless_output_is_refused() {
        let error = shell("yes", Duration::from_secs(20)).expect_err("too much");
        assert!(matches!(error, ChildError::TooMuch(1000)), "{error}");
    }
}
