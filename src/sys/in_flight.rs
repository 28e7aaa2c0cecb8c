//! Work that must not be done twice at once: one lock for each thing that is worked on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Locks by key. The outer mutex protects the table alone; whoever works holds only the lock of its key.
pub struct InFlight<K>(Mutex<BTreeMap<K, Arc<Mutex<()>>>>);

impl<K> Default for InFlight<K> {
    fn default() -> InFlight<K> {
        InFlight(Mutex::default())
    }
}

impl<K: Ord> InFlight<K> {
    /// Does `work` while nobody else does work of that key; whoever comes second waits.
    pub fn alone<T>(&self, key: K, work: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn work_of_one_key_is_never_done_twice_at_once() {
        let (in_flight, n_now, n_done) = (InFlight::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    in_flight.alone("key", || {
                        assert_eq!(n_now.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        n_now.fetch_sub(1, Ordering::SeqCst);
                        n_done.fetch_add(1, Ordering::SeqCst)
                    })
                });
            }
        });
        assert_eq!(n_done.into_inner(), 8);
    }
}
