//! Removes temporaries that nobody needs any more beside what the build does, on a thread that the first of them starts.
//!
//! Each directory may have to wait for the disk: a file system without a journal that is mounted with `discard` tells the
//! disk of the blocks of each before `rmdir` returns, about a millisecond, and overlayfs makes four for each step.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::sys::tree;

/// Takes directories away, in the order in which they are given.
#[derive(Debug, Default)]
pub(super) struct Discard {
    /// Protects the start and the end of the thread.
    remover: Mutex<Option<Remover>>,
}

#[derive(Debug)]
struct Remover {
    paths: Sender<PathBuf>,
    thread: JoinHandle<()>,
}

impl Discard {
    /// Removes `path` with all below it some time before [`Discard::finish`] returns. Best effort: what stays is below this
    /// process's temporaries, and goes with them.
    pub(super) fn take(&self, path: PathBuf) {
        let mut remover = self.remover.lock().unwrap_or_else(PoisonError::into_inner);
        if remover.is_none() {
            *remover = Remover::start();
        }
        let left = match &*remover {
            Some(remover) => remover.paths.send(path).map_err(|unsent| unsent.0),
            None => Err(path),
        };
        drop(remover);
        if let Err(path) = left {
            _ = tree::remove(&path);
        }
    }

    /// Waits until all that was taken is removed.
    pub(super) fn finish(&self) {
        let remover = self.remover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Remover { paths, thread }) = remover {
            drop(paths);
            _ = thread.join();
        }
    }
}

impl Remover {
    /// `None` where the system has no thread to give.
    fn start() -> Option<Remover> {
        let (paths, given) = mpsc::channel();
        let thread = thread::Builder::new().name("discard".to_owned()).spawn(move || remove_all(&given)).ok()?;
        Some(Remover { paths, thread })
    }
}

fn remove_all(given: &Receiver<PathBuf>) {
    for path in given {
        _ = tree::remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_at_the_end_and_more_may_come_after_it() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let discard = Discard::default();
        for round in 0..2 {
            for n in 0..20 {
                let path = home.path().join(format!("{round}-{n}"));
                std::fs::create_dir_all(path.join("work/incompat")).expect("made");
                discard.take(path);
            }
            discard.take(home.path().join("never there"));
            discard.finish();
            assert_eq!(std::fs::read_dir(home.path()).expect("read").count(), 0);
        }
        discard.finish();
    }
}
