//! Waiting on many things at once, for work that blocks on the network or the disk. CPU work is rayon's.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Calls `work` for each item on at most `n_threads` threads and returns the results in the items' order.
///
/// # Errors
/// The error of the first item, in order, that failed; items that have not begun by then are not begun.
pub fn map<T, R, E>(items: Vec<T>, n_threads: usize, work: impl Fn(T) -> Result<R, E> + Sync) -> Result<Vec<R>, E>
where
    T: Send,
    R: Send,
    E: Send,
{
    let n_items = items.len();
    if n_items <= 1 || n_threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    // Protects the queue of items; held only to take the next one.
    let queue = Mutex::new(items.into_iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(n_items));
    let has_failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..n_threads.min(n_items) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let next = queue.lock().expect("taking an item does not panic").next();
                    let Some((index, item)) = next else { return };
                    let result = work(item);
                    has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    results.lock().expect("pushing does not panic").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panicked");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let doubled = map((0..100).collect(), 7, |n| Ok::<_, ()>(n * 2));
        assert_eq!(doubled, Ok((0..100).map(|n| n * 2).collect()));
    }

    #[test]
    fn an_error_is_returned() {
        assert_eq!(map((0..100).collect(), 3, |n| if n == 40 { Err(n) } else { Ok(n) }), Err(40));
    }
}
