//! What a failed step printed last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clean::truncate;
use super::lines::OutputLines;
use crate::graph::VertexId;
use crate::solver::notice::{Listener, Notice, Outcome};

/// Columns that are kept of a line.
const LONGEST_LINE: usize = 2000;

/// Keeps the last lines of each running or failed step, for the error report. What a step printed is forgotten when it
/// succeeds.
pub struct Tail {
    n_lines: usize,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    output: OutputLines,
    last: BTreeMap<VertexId, VecDeque<String>>,
}

impl Tail {
    /// Keeps `n_lines` lines a step; 20 is what the error report shows.
    pub fn new(n_lines: usize) -> Tail {
        Tail { n_lines, steps: Mutex::default() }
    }

    /// Returns the last lines that a failed step printed, oldest first, clean. Empty for a step that succeeded or printed
    /// nothing.
    pub fn lines(&self, vertex: VertexId) -> Vec<String> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.last.get(&vertex).into_iter().flatten().cloned().collect()
    }
}

impl Steps {
    fn keep(&mut self, vertex: VertexId, lines: Vec<String>, n_lines: usize) {
        let last = self.last.entry(vertex).or_default();
        last.extend(lines.into_iter().map(|line| truncate(&line, LONGEST_LINE)));
        last.drain(..last.len().saturating_sub(n_lines));
    }
}

impl Listener for Tail {
    fn on_notice(&self, _: Duration, notice: Notice<'_>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Output { vertex, stream, bytes } => {
                let lines = steps.output.push(vertex, stream, bytes);
                steps.keep(vertex, lines, self.n_lines);
            }
            Notice::Finished { vertex, outcome: Outcome::Failed } => {
                let lines = steps.output.finish(vertex);
                steps.keep(vertex, lines, self.n_lines);
            }
            Notice::Finished { vertex, .. } => {
                steps.output.finish(vertex);
                steps.last.remove(&vertex);
            }
            _ => {}
        }
    }
}
