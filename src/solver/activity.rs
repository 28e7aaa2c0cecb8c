//! Work that is no step, as the listener hears of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::notice::{ActivityId, Listener, Notice};

/// Gives activities their ids and tells the listener of them.
pub struct Activities<'a> {
    listener: &'a dyn Listener,
    clock: &'a (dyn Fn() -> Duration + Sync),
    next: AtomicU64,
}

impl<'a> Activities<'a> {
    /// Tells `listener`; `clock` says how long ago the command began.
    pub fn new(listener: &'a dyn Listener, clock: &'a (dyn Fn() -> Duration + Sync)) -> Activities<'a> {
        Activities { listener, clock, next: AtomicU64::new(0) }
    }

    /// Begins an activity; it ends when [`Activity::finish`] is called, and has failed when it is dropped before.
    pub fn start(&self, name: &str) -> Activity<'_> {
        let id = ActivityId(self.next.fetch_add(1, Ordering::Relaxed));
        self.tell(Notice::ActivityStarted { activity: id, name });
        Activity { activities: self, id, is_finished: false }
    }

    fn tell(&self, notice: Notice<'_>) {
        self.listener.on_notice((self.clock)(), notice);
    }
}

/// An activity under way.
pub struct Activity<'a> {
    activities: &'a Activities<'a>,
    id: ActivityId,
    is_finished: bool,
}

impl Activity<'_> {
    /// Says how far it is, in bytes.
    pub fn progress(&self, current: u64, total: Option<u64>) {
        self.activities.tell(Notice::ActivityProgress { activity: self.id, current, total });
    }

    /// Ends it; `result` is for people.
    pub fn finish(mut self, result: &str) {
        self.is_finished = true;
        self.activities.tell(Notice::ActivityFinished { activity: self.id, result: Some(result) });
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.activities.tell(Notice::ActivityFinished { activity: self.id, result: None });
        }
    }
}
