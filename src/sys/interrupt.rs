//! Ctrl-C (SIGINT), SIGTERM and SIGHUP: everything stops at once, whatever it is waiting for, and cleans up.
//!
//! 1. The first signal sets the [`CancelToken`]. Work that looks at it stops, and the process ends as it always does.
//! 2. Not all work can look: a server says nothing, nobody writes to standard input, somebody else holds a lock. So after
//!    a short grace the signal handler *replaces* this process by a fresh start of this program (`execve`, which the kernel lets
//!    a handler do). That ends every other thread and closes every descriptor: connections, locks, detached mounts.
//! 3. The fresh program is still the parent of all children. [`finish_if_asked`] waits for them, kills those that stay, removes
//!    what was [noted](Leftover) as temporary, and leaves with [`EXIT_CODE`].
//!
//! A second signal only skips the grace; nobody needs it. A signal that was ignored when bake began (`nohup`) stays ignored.

#![expect(clippy::disallowed_methods, reason = "becomes another program before `cli` is reached")]

use std::ffi::{CStr, CString, OsString, c_char};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use super::cancel::CancelToken;
use super::tree;

/// What a command that was interrupted ends with, whatever the signal.
pub const EXIT_CODE: u8 = 130;

/// Until then work that looks at the token has stopped.
const GRACE: Duration = Duration::from_millis(300);

/// How long children may take to end by themselves: a step's runner first kills the step and takes its mount points away.
const PATIENCE: Duration = Duration::from_millis(500);

/// The `argv[0]` of the program that cleans up; paths to remove follow.
const NAME: &CStr = c"bake-interrupted";

const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Temporaries that exist at once: the store's directory and, for each file that is being written, one.
const N_NOTED: usize = 64;

/// What is to be removed. A text is never freed, because a handler may be reading it.
static NOTED: [AtomicPtr<c_char>; N_NOTED] = [const { AtomicPtr::new(ptr::null_mut()) }; N_NOTED];

/// The process that listens; one that it forked is not to clean up.
static LISTENER: AtomicI32 = AtomicI32::new(0);

/// A file or directory that is to be gone when this process is interrupted, until this is dropped.
#[derive(Debug)]
pub struct Leftover(Option<usize>);

impl Leftover {
    /// Notes `path`, absolute, with all that is below it.
    pub fn note(path: &Path) -> Leftover {
        let Ok(text) = CString::new(path.as_os_str().as_bytes()) else { return Leftover(None) };
        let text = text.into_raw();
        let is_taken = |slot: &AtomicPtr<c_char>| {
            slot.compare_exchange(ptr::null_mut(), text, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        Leftover(NOTED.iter().position(is_taken))
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(index) = self.0 {
            NOTED[index].store(ptr::null_mut(), Ordering::SeqCst);
        }
    }
}

/// Has the signals set `cancel` and, where that is not enough, end this process.
///
/// # Errors
/// The system does not let this process listen.
pub fn listen(cancel: &CancelToken) -> io::Result<()> {
    LISTENER.store(own_id(), Ordering::SeqCst);
    // SAFETY: the handler replaces the process and touches nothing else.
    unsafe { signal_hook::low_level::register(libc::SIGALRM, replace) }?;
    for signal in SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)) {
        let (asked, interruptible) = (cancel.flag(), cancel.interruptible_flag());
        let on_signal = move || {
            if asked.swap(true, Ordering::SeqCst) || interruptible.load(Ordering::SeqCst) {
                replace();
            }
            set_alarm();
        };
        // SAFETY: the handler uses atomics and system calls alone: no memory is allocated and no lock is taken.
        unsafe { signal_hook::low_level::register(signal, on_signal) }?;
    }
    Ok(())
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all-zero is a valid `sigaction`; the call only reads the signal's current one into it.
    let current = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut current);
        current
    };
    current.sa_sigaction == libc::SIG_IGN
}

/// Runs in a signal handler.
fn set_alarm() {
    let once = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: GRACE.subsec_micros().into() },
    };
    // SAFETY: reads the value given and touches no memory of ours.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const once, ptr::null_mut()) };
}

/// Runs in a signal handler. Does not return.
fn replace() {
    let mut arguments = [ptr::null::<c_char>(); N_NOTED + 2];
    arguments[0] = NAME.as_ptr();
    let noted = NOTED.iter().map(|slot| slot.load(Ordering::SeqCst).cast_const()).filter(|text| !text.is_null());
    arguments[1..=N_NOTED].iter_mut().zip(noted).for_each(|(argument, text)| *argument = text);
    let environment = [ptr::null::<c_char>()];
    // SAFETY: only functions that a handler may call; the lists end in null and their texts are never freed. The mask
    // survives the call: nobody shall interrupt the cleaning.
    unsafe {
        if own_id() == LISTENER.load(Ordering::SeqCst) {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
            libc::execve(c"/proc/self/exe".as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        libc::_exit(EXIT_CODE.into());
    }
}

fn own_id() -> libc::pid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// Cleans up and ends the process if it took the place of one that was interrupted. To be called first of all in `main`.
pub fn finish_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name.as_bytes() != NAME.to_bytes()) {
        return;
    }
    end_children();
    arguments.for_each(remove);
    _ = io::stderr().write_all(b"error: interrupted\n");
    std::process::exit(EXIT_CODE.into());
}

fn end_children() {
    if wait_for_children(PATIENCE) {
        return;
    }
    for child in children() {
        // Those that lead a group take it with them.
        _ = rustix::process::kill_process_group(child, Signal::KILL);
        _ = rustix::process::kill_process(child, Signal::KILL);
    }
    wait_for_children(PATIENCE);
}

/// Waits until no child is left, or for `longest`; says which.
fn wait_for_children(longest: Duration) -> bool {
    let begin = Instant::now();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if begin.elapsed() < longest => thread::sleep(Duration::from_millis(2)),
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn children() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| parent_of(*id) == Some(own_id())).filter_map(Pid::from_raw).collect()
}

fn parent_of(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything: proc(5).
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Best effort: a step that is only now dying may still write.
fn remove(path: OsString) {
    let path = Path::new(&path);
    for _ in 0..20 {
        if tree::remove(path).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted() -> Vec<String> {
        let texts = NOTED.iter().map(|slot| slot.load(Ordering::SeqCst)).filter(|text| !text.is_null());
        // SAFETY: a noted text ends in zero and is never freed.
        texts.map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_is_noted_is_forgotten_when_its_guard_goes() {
        let path = "/nowhere/what_is_noted_is_forgotten_when_its_guard_goes".to_owned();
        let guard = Leftover::note(Path::new(&path));
        assert!(noted().contains(&path));
        drop(guard);
        assert!(!noted().contains(&path));
    }

    #[test]
    fn the_parent_is_the_fourth_field_whatever_the_name() {
        assert_eq!(parent_of(own_id()), i32::try_from(std::os::unix::process::parent_id()).ok());
    }
}
