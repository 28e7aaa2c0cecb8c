//! Journals: files in `state` that grow by whole lines, for what a killed process leaves to the one after it.
//!
//! ```text
//! line*: CRC-32 of the text, 8 hexadecimal digits · " " · text without line breaks · "\n"
//! ```
//! A line is written at once and counts only if it is whole; what follows the first that is not was never written. One
//! process has a journal at a time, and holds a lock on it while it does.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::{Store, StoreError, is_unlinked};

/// A journal that this process has.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Store {
    /// Opens the journal `name` and returns it with its lines; makes it if it is not there. `None` while another process
    /// has it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn journal(&self, name: &str) -> Result<Option<(Journal, Vec<String>)>, StoreError> {
        let path = self.path.join("state").join(name);
        let failed = |verb| move |error| StoreError::io(verb, &self.path.join("state").join(name), error);
        loop {
            let mut options = File::options();
            options.read(true).append(true).create(true).mode(0o600);
            let mut file = options.open(&path).map_err(failed("open"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
            }
            // Whoever had it may have removed it just now.
            if is_unlinked(&file) {
                continue;
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed("read"))?;
            let (lines, length) = whole_lines(&bytes);
            if length < bytes.len() {
                file.set_len(length as u64).map_err(failed("shorten"))?;
            }
            return Ok(Some((Journal { path, file }, lines)));
        }
    }

    /// Says whether there is a journal of that name.
    pub fn has_journal(&self, name: &str) -> bool {
        self.path.join("state").join(name).exists()
    }
}

impl Journal {
    /// Adds a line; any number of threads may.
    ///
    /// # Errors
    /// The disk is full, for one.
    pub fn append(&self, text: &str) -> io::Result<()> {
        debug_assert!(!text.contains('\n'), "{text:?}");
        // One call, so that the lines of two threads never mix.
        (&self.file).write_all(format!("{} {text}\n", sum(text)).as_bytes())
    }

    /// Takes all lines away.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Removes it. Best effort: what cannot be removed is cleared by who opens it next.
    pub fn remove(&self) {
        _ = std::fs::remove_file(&self.path);
    }
}

/// Returns the lines that are whole and how many bytes they take.
fn whole_lines(bytes: &[u8]) -> (Vec<String>, usize) {
    let (mut lines, mut length) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) else { break };
        let Some((seal, text)) = text.split_once(' ') else { break };
        if seal != sum(text) {
            break;
        }
        lines.push(text.to_owned());
        length += line.len();
    }
    (lines, length)
}

fn sum(text: &str) -> String {
    format!("{:08x}", libdeflater::crc32(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path()).expect("a store");
        (directory, store)
    }

    fn open(store: &Store) -> (Journal, Vec<String>) {
        store.journal("test").expect("readable").expect("nobody has it")
    }

    #[test]
    fn what_was_written_whole_is_read_again_and_gone_on_with() {
        let (_directory, store) = store();
        let (journal, lines) = open(&store);
        assert_eq!(lines, Vec::<String>::new());
        for line in ["one", "", "three four"] {
            journal.append(line).expect("written");
        }
        let path = journal.path.clone();
        drop(journal);
        let whole = std::fs::read(&path).expect("there");
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let (journal, lines) = open(&store);
            let n_whole = whole[..length].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines, ["one", "", "three four"][..n_whole], "{length}");
            journal.append("more").expect("written");
            drop(journal);
            assert_eq!(open(&store).1.last().map(String::as_str), Some("more"), "{length}");
        }
    }

    #[test]
    fn a_line_that_changed_ends_it() {
        let (_directory, store) = store();
        let (journal, _) = open(&store);
        ["one", "two", "three"].iter().for_each(|line| journal.append(line).expect("written"));
        let path = journal.path.clone();
        drop(journal);
        let text = std::fs::read_to_string(&path).expect("there");
        std::fs::write(&path, text.replace("two", "tWo")).expect("written");
        assert_eq!(open(&store).1, ["one"]);
    }

    #[test]
    fn one_has_it_at_a_time_and_a_removed_one_is_made_anew() {
        let (_directory, store) = store();
        let (journal, _) = open(&store);
        assert!(store.journal("test").expect("readable").is_none());
        journal.append("one").expect("written");
        journal.remove();
        assert!(!store.has_journal("test"));
        assert_eq!(open(&store).1, Vec::<String>::new());
    }
}
