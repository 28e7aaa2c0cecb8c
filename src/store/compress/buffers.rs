//! Buffers that go round: memory that the kernel gave once is not asked for again with each member.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most that are kept; what is more, goes back to the allocator.
const MOST: usize = 64;

/// Empty buffers, to be taken and given back by any thread. The mutex protects the list alone.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Returns an empty buffer, one with room where there is one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.list().pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut list = self.list();
        if list.len() < MOST {
            list.push(buffer);
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
