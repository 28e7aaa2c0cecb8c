//! Waiting for a file's lock without being deaf to a request to stop.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use crate::sys::cancel::CancelToken;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockMode {
    /// With others who share it.
    Shared,
    /// By nobody else.
    Alone,
}

/// The pauses between two attempts grow up to this: shorter than anybody notices, and longer than costs anything.
const MAX_PAUSE: Duration = Duration::from_millis(16);

/// Takes a lock; waits while others have it. The kernel's own waiting ends only with a signal that this thread need not be
/// the one to get.
///
/// # Errors
/// `Interrupted` if `cancel` is set while it waits, or what the operating system says.
pub(super) fn wait_for(lock: &File, mode: LockMode, cancel: &CancelToken) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        let taken = match mode {
            LockMode::Shared => lock.try_lock_shared(),
            LockMode::Alone => lock.try_lock(),
        };
        match taken {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if cancel.is_cancelled() => return Err(io::ErrorKind::Interrupted.into()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_request_to_stop_ends_the_waiting() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let held = file.reopen().expect("opened");
        held.lock().expect("locked");
        let (waiting, cancel) = (file.reopen().expect("opened"), CancelToken::default());
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for(&waiting, LockMode::Alone, &cancel));
            cancel.cancel();
            let error = waiter.join().expect("ended").expect_err("nobody let go");
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        });
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(held);
        wait_for(&waiting, LockMode::Shared, &cancel).expect("it is free");
    }
}
