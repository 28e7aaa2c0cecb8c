//! What the outside is told while a build runs.

use std::sync::Arc;
use std::time::Duration;

use crate::graph::{Definition, VertexId};

/// Listens to a build. Called from several threads; must not block for long.
pub trait Listener: Send + Sync {
    /// Is told `notice`, `at` after the command began.
    fn on_notice(&self, at: Duration, notice: Notice<'_>);
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// The steps that the build may run are known, sources apart; each is named in the definition. Comes once, before any step's notice.
    Planned {
        /// All steps.
        definition: &'a Arc<Definition>,
        /// Those that are wanted, inputs before their readers.
        wanted: &'a [VertexId],
    },
    /// A step runs now: the cache did not have it.
    Started {
        /// Which.
        vertex: VertexId,
        /// Its binaries run under emulation.
        is_emulated: bool,
    },
    /// What of a step that runs is other than in the last build of its target, in a few words.
    Missed {
        /// Which.
        vertex: VertexId,
        /// `src/main.c changed`.
        reason: &'a str,
    },
    /// A running step printed something; not necessarily whole lines, nor valid UTF-8.
    Output {
        /// Which.
        vertex: VertexId,
        /// Where it printed.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// A step ended. A hit has no `Started` before it.
    Finished {
        /// Which.
        vertex: VertexId,
        /// How.
        outcome: Outcome,
    },
    /// Work that is no step began: resolving a name, fetching or pushing a blob, writing an archive.
    ActivityStarted {
        /// Distinct in the run.
        activity: ActivityId,
        /// As people read it: `push 127.0.0.1:5000/hello:1`.
        name: &'a str,
    },
    /// How far an activity is, in bytes.
    ActivityProgress {
        /// Which.
        activity: ActivityId,
        /// Bytes so far.
        current: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
    },
    /// An activity ended.
    ActivityFinished {
        /// Which.
        activity: ActivityId,
        /// What came of it, for people: `exists`, `mounted`, `4.1 MB sent`; empty for nothing to say, `None` where it
        /// failed.
        result: Option<&'a str>,
    },
}

/// Names an activity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId(pub u64);

/// Where a process printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cache had its result.
    Hit,
    /// It ran and succeeded.
    Done,
    /// It ran and failed.
    Failed,
    /// It was stopped, or never started, because another failed or the user asked.
    Cancelled,
}
