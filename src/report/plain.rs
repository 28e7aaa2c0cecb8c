//! One line for each thing that happens, for logs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{Display, Write as _};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::lines::OutputLines;
use super::{Item, Names, Seconds, one_line, progress};
use crate::solver::notice::{Listener, Notice, Outcome};

/// Time between two progress lines of one activity.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Writes a line for each event. A step or activity has a number from its first line on; lines of different steps do not
/// mix:
///
/// ```text
/// #1 [linux/arm64 2/4] RUN make (emulated)
/// #1 1.204 cc -o app app.c
/// #1 DONE 3.2s (emulated)
/// ```
pub struct Plain {
    /// Guards the writer too: a line that is written under the lock stays whole. A writer that fails is left alone: the
    /// build is worth more than its log.
    log: Mutex<Log>,
}

struct Log {
    out: Box<dyn Write + Send>,
    names: Names,
    output: OutputLines,
    numbers: BTreeMap<Item, Numbered>,
}

#[derive(Clone, Copy)]
struct Numbered {
    number: usize,
    began: Duration,
    is_emulated: bool,
    /// When progress was last written.
    told: Duration,
}

impl Plain {
    /// Writes to `out`, and flushes it after each event.
    pub fn new(out: Box<dyn Write + Send>) -> Plain {
        let log = Log { out, names: Names::default(), output: OutputLines::default(), numbers: BTreeMap::new() };
        Plain { log: Mutex::new(log) }
    }
}

impl Listener for Plain {
    fn on_notice(&self, at: Duration, notice: Notice<'_>) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let text = log.text(at, notice);
        if !text.is_empty() {
            _ = log.out.write_all(text.as_bytes()).and_then(|()| log.out.flush());
        }
    }
}

impl Log {
    /// Returns the lines that `notice` causes.
    fn text(&mut self, at: Duration, notice: Notice<'_>) -> String {
        let mut text = String::new();
        match notice {
            Notice::Planned { definition, .. } => self.names.definition = Some(definition.clone()),
            Notice::Started { vertex, is_emulated } => {
                self.number(&mut text, at, Item::Step(vertex), is_emulated);
            }
            Notice::Missed { vertex, reason } => {
                let numbered = self.number(&mut text, at, Item::Step(vertex), false);
                push(&mut text, numbered, format_args!("miss: {}", one_line(reason)));
            }
            Notice::Output { vertex, stream, bytes } => {
                let numbered = self.number(&mut text, at, Item::Step(vertex), false);
                let lines = self.output.push(vertex, stream, bytes);
                push_output(&mut text, at, numbered, &lines);
            }
            // It never ran and nobody heard of it: a line would be noise next to the error.
            Notice::Finished { vertex, outcome: Outcome::Cancelled }
                if !self.numbers.contains_key(&Item::Step(vertex)) => {}
            Notice::Finished { vertex, outcome } => {
                let numbered = self.number(&mut text, at, Item::Step(vertex), false);
                let lines = self.output.finish(vertex);
                push_output(&mut text, at, numbered, &lines);
                let took = Seconds(at.saturating_sub(numbered.began));
                let mark = mark(numbered.is_emulated);
                match outcome {
                    Outcome::Hit => push(&mut text, numbered, "CACHED"),
                    Outcome::Done => push(&mut text, numbered, format_args!("DONE {took}{mark}")),
                    Outcome::Failed => push(&mut text, numbered, format_args!("ERROR {took}{mark}")),
                    Outcome::Cancelled => push(&mut text, numbered, format_args!("CANCELED {took}{mark}")),
                }
            }
            Notice::ActivityStarted { activity, name } => {
                self.names.activities.insert(activity, one_line(name));
                self.number(&mut text, at, Item::Activity(activity), false);
            }
            Notice::ActivityProgress { activity, current, total } => {
                if let Some(numbered) = self.numbers.get_mut(&Item::Activity(activity))
                    && at.saturating_sub(numbered.told) >= PROGRESS_INTERVAL
                {
                    numbered.told = at;
                    push(&mut text, *numbered, progress(current, total));
                }
            }
            Notice::ActivityFinished { activity, result } => {
                let numbered = self.number(&mut text, at, Item::Activity(activity), false);
                let took = Seconds(at.saturating_sub(numbered.began));
                match result {
                    None => push(&mut text, numbered, format_args!("ERROR {took}")),
                    Some("") => push(&mut text, numbered, format_args!("DONE {took}")),
                    Some(result) => push(&mut text, numbered, format_args!("DONE {took}, {}", one_line(result))),
                }
                self.names.activities.remove(&activity);
            }
        }
        text
    }

    /// Returns the number of `item`; where it has none yet, gives it one and adds the line that names it.
    fn number(&mut self, text: &mut String, at: Duration, item: Item, is_emulated: bool) -> Numbered {
        let number = self.numbers.len() + 1;
        match self.numbers.entry(item) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let numbered = *entry.insert(Numbered { number, began: at, is_emulated, told: at });
                push(text, numbered, format_args!("{}{}", self.names.of(item), mark(is_emulated)));
                numbered
            }
        }
    }
}

fn mark(is_emulated: bool) -> &'static str {
    if is_emulated { " (emulated)" } else { "" }
}

fn push(text: &mut String, numbered: Numbered, what: impl Display) {
    _ = writeln!(text, "#{} {what}", numbered.number);
}

fn push_output(text: &mut String, at: Duration, numbered: Numbered, lines: &[String]) {
    let since = at.saturating_sub(numbered.began).as_secs_f64();
    for line in lines {
        push(text, numbered, format_args!("{since:.3} {line}"));
    }
}
