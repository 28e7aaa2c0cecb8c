//! One file per verb: a short recipe over the rows below. Data is returned, talk goes to the host's talk stream.

mod added;
pub mod affected;
mod ahead;
mod assemble;
mod attestations;
pub mod build;
mod build_warnings;
pub mod cache;
mod caches;
mod call;
pub mod check;
pub mod compile;
pub mod convert;
pub mod definition;
pub mod doctor;
mod emulated_steps;
pub mod emulator;
mod engine;
pub mod entitlements;
mod failure;
mod findings;
pub mod fmt;
pub mod image_attestation;
mod image_id;
pub mod image_inspect;
mod input;
pub mod jobs;
mod keep_going;
pub mod list;
mod load;
mod locked;
mod lockfile;
pub mod login;
mod metadata;
mod outputs;
pub mod print;
pub mod project;
mod publish;
mod registry_options;
mod release;
mod remotes;
mod rights;
pub mod sign;
mod solve;
mod stdin;
mod step_failure;
mod store_failure;
pub mod verify;
pub mod why;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use failure::{Failure, Kind};

use crate::sys::cancel::CancelToken;

/// What a command knows of where it runs; made by `cli`, which alone asks the operating system for it.
#[derive(Clone)]
pub struct Host {
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The directory that the command runs in.
    pub directory: PathBuf,
    /// When the command began.
    pub begin: Instant,
    /// The same on the calendar: since 1970. Only what the user asks the time for, the stat cache, and what signs
    /// requests may use it.
    pub now: Duration,
    /// Random bytes, for `uuidv4()` and the salt of `bcrypt()` in bakefiles alone.
    pub seed: [u8; 32],
    /// This program, to be started again as a step's first process.
    pub program: PathBuf,
    /// Where talk goes (standard error).
    pub talk: Talk,
    /// How talk is shown.
    pub progress: Progress,
    /// Talk may be colored.
    pub is_colored: bool,
    /// Set when the user asks to stop.
    pub cancel: CancelToken,
}

impl Host {
    /// Returns a variable of the environment; an empty one counts as unset.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns how long ago the command began.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// How talk is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A live view of the terminal.
    Live,
    /// Lines.
    Plain,
    /// Errors and warnings alone.
    Quiet,
}

/// A stream for people, shared by everything that talks. The mutex protects only the writing of one piece.
#[derive(Clone)]
pub struct Talk(Arc<Mutex<Box<dyn Write + Send>>>);

impl Talk {
    /// Talks to `stream`.
    pub fn new(stream: Box<dyn Write + Send>) -> Talk {
        Talk(Arc::new(Mutex::new(stream)))
    }

    /// Writes a line; a stream that is gone is no reason to fail.
    pub fn line(&self, text: &str) {
        let mut stream = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        _ = writeln!(stream, "{text}");
    }
}

impl Write for Talk {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).flush()
    }
}
