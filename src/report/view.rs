//! The live view's content: what is running now, and what ended since it was last asked.

use std::mem;
use std::time::Duration;

use super::clean::{truncate, width};
use super::lines::OutputLines;
use super::{Color, Item, Names, Seconds, TerminalSize, one_line, progress};
use crate::solver::notice::{Notice, Outcome};

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// What the terminal is to show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Lines that stay, each longer than a row perhaps.
    pub(super) scrollback: Vec<String>,
    /// Rows that the next frame replaces.
    pub(super) rows: Vec<Row>,
}

/// A row, not longer than the terminal is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// With color.
    pub(super) text: String,
    /// In columns.
    pub(super) width: usize,
}

/// Follows the notices of a build; pure: time and size come in.
pub(super) struct View {
    color: Color,
    names: Names,
    output: OutputLines,
    /// In the order in which they began.
    running: Vec<Running>,
    scrollback: Vec<String>,
    n_wanted: usize,
    n_finished: usize,
    n_cached: usize,
}

struct Running {
    item: Item,
    name: String,
    began: Duration,
    /// The last line that a step printed, or how far an activity is.
    last: String,
}

impl View {
    pub(super) fn new(color: Color) -> View {
        View {
            color,
            names: Names::default(),
            output: OutputLines::default(),
            running: Vec::new(),
            scrollback: Vec::new(),
            n_wanted: 0,
            n_finished: 0,
            n_cached: 0,
        }
    }

    pub(super) fn on_notice(&mut self, at: Duration, notice: Notice<'_>) {
        match notice {
            Notice::Planned { definition, wanted } => {
                self.names.definition = Some(definition.clone());
                self.n_wanted = wanted.len();
            }
            Notice::Started { vertex, is_emulated } => {
                let item = Item::Step(vertex);
                let suffix = if is_emulated { " (emulated)" } else { "" };
                let name = format!("{}{suffix}", self.names.of(item));
                self.running.push(Running { item, name, began: at, last: String::new() });
            }
            Notice::Missed { vertex, reason } => self.set_last(Item::Step(vertex), Some(one_line(reason))),
            Notice::Output { vertex, stream, bytes } => {
                let lines = self.output.push(vertex, stream, bytes);
                let shown = lines.into_iter().rfind(|line| !line.trim().is_empty());
                self.set_last(Item::Step(vertex), shown);
            }
            Notice::Finished { vertex, outcome } => {
                self.n_finished += 1;
                self.n_cached += usize::from(outcome == Outcome::Hit);
                self.output.finish(vertex);
                let word = match outcome {
                    Outcome::Hit | Outcome::Done => "DONE",
                    Outcome::Failed => "ERROR",
                    Outcome::Cancelled => "CANCELED",
                };
                self.end(at, Item::Step(vertex), word, "");
            }
            Notice::ActivityStarted { activity, name } => {
                let item = Item::Activity(activity);
                self.running.push(Running { item, name: one_line(name), began: at, last: String::new() });
            }
            Notice::ActivityProgress { activity, current, total } => {
                self.set_last(Item::Activity(activity), Some(progress(current, total)));
            }
            Notice::ActivityFinished { activity, result } => {
                let word = if result.is_some() { "DONE" } else { "ERROR" };
                self.end(at, Item::Activity(activity), word, result.unwrap_or(""));
            }
        }
    }

    fn set_last(&mut self, item: Item, last: Option<String>) {
        if let Some(running) = self.running.iter_mut().find(|running| running.item == item) {
            running.last = last.unwrap_or(mem::take(&mut running.last));
        }
    }

    /// Moves a line from what runs to what stays.
    fn end(&mut self, at: Duration, item: Item, word: &str, result: &str) {
        let Some(index) = self.running.iter().position(|running| running.item == item) else { return };
        let Running { name, began, .. } = self.running.remove(index);
        let took = Seconds(at.saturating_sub(began)).to_string();
        let result = if result.is_empty() { String::new() } else { format!(", {}", one_line(result)) };
        let line = format!("{word:<8} {took:>8} {name}{result}");
        self.scrollback.push(if word == "ERROR" { self.paint(RED, &line) } else { line });
    }

    /// Returns what ended since the last frame and what runs `now`.
    pub(super) fn frame(&mut self, now: Duration, size: TerminalSize) -> Frame {
        let (columns, rows) = (usize::from(size.columns), usize::from(size.rows));
        // One row for the header, one for the cursor.
        let n_fitting = rows.saturating_sub(2).max(1);
        let is_cut = self.running.len() > n_fitting;
        let n_shown = if is_cut { n_fitting - 1 } else { self.running.len() };
        let mut lines = vec![self.header(now, columns)];
        lines.extend(self.running[..n_shown].iter().map(|running| self.row(running, now, columns)));
        if is_cut {
            let text = truncate(&format!("{:>17} … and {} more", "", self.running.len() - n_shown), columns);
            lines.push(Row { width: width(&text), text });
        }
        Frame { scrollback: mem::take(&mut self.scrollback), rows: lines }
    }

    /// Returns what ended since the last frame, for the end: nothing runs any more.
    pub(super) fn last_frame(&mut self) -> Frame {
        Frame { scrollback: mem::take(&mut self.scrollback), rows: Vec::new() }
    }

    fn header(&self, now: Duration, columns: usize) -> Row {
        let cached = if self.n_cached > 0 { format!(", {} cached", self.n_cached) } else { String::new() };
        let counts = format!("({}/{}{cached})", self.n_finished, self.n_wanted);
        let text = truncate(&format!("[+] building {} {counts}", Seconds(now)), columns);
        Row { width: width(&text), text: self.paint(BOLD, &text) }
    }

    fn row(&self, running: &Running, now: Duration, columns: usize) -> Row {
        let elapsed = Seconds(now.saturating_sub(running.began)).to_string();
        // A long name leaves up to a third of the row to what the step says; a narrow row is the name's alone.
        let is_wide = columns >= 60 && !running.last.is_empty();
        let n_for_last = if is_wide { (width(&running.last) + 2).min(columns / 3) } else { 0 };
        let n_for_name = columns - n_for_last;
        let text = truncate(&format!("{:<8} {elapsed:>8} {}", "", running.name), n_for_name);
        let left = columns.saturating_sub(width(&text) + 2);
        // A few columns of output say nothing.
        if running.last.is_empty() || left < 8 {
            return Row { width: width(&text), text };
        }
        let last = truncate(&running.last, left);
        Row { width: width(&text) + 2 + width(&last), text: format!("{text}  {}", self.paint(DIM, &last)) }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        match self.color {
            Color::On => format!("{style}{text}{RESET}"),
            Color::Off => text.to_owned(),
        }
    }
}
