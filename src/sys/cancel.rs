//! A request to stop, shared by everything that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, never unset. Long work looks at it at least once per chunk; work that has nothing to clean up is
/// [interruptible](CancelToken::interruptible) instead.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    is_asked: Arc<AtomicBool>,
    is_interruptible: Arc<AtomicBool>,
}

impl CancelToken {
    /// Asks everyone who holds this token to stop.
    pub fn cancel(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
    }

    /// Says whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    /// Returns the flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_asked)
    }

    /// Returns the flag that says, for a signal handler, whether the process may end where it is.
    pub fn interruptible_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_interruptible)
    }

    /// Does work that never looks at the token and leaves nothing behind wherever it is cut off: a signal ends the process
    /// without any grace.
    pub fn interruptible<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_interruptible.store(true, Ordering::SeqCst);
        let done = work();
        self.is_interruptible.store(false, Ordering::SeqCst);
        done
    }
}
