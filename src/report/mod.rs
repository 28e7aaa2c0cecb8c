//! What a build tells people while it runs and when it ends.
//!
//! In: [`Notice`]s, each with the time since the command began. Out: text on a writer that the caller gives; nothing here
//! knows where that leads. [`Plain`] is for logs, [`Live`] for terminals, [`Quiet`] for neither; [`Tail`] keeps what a
//! failed step printed last; [`Summary`] counts; [`Fanout`] tells several.
//!
//! Invariant: what a step prints is shown as text. It never steers the terminal ([`clean`]), and its bytes are bounded in
//! memory whatever it prints.

mod clean;
mod lines;
mod live;
mod plain;
mod summary;
mod tail;
mod view;
pub mod why;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::graph::{Definition, VertexId};
use crate::solver::notice::{ActivityId, Listener, Notice};

pub use clean::clean;
pub use live::{Live, TerminalSize};
pub use plain::Plain;
pub use summary::Summary;
pub use tail::Tail;

/// Whether text may carry color. The caller decides (`NO_COLOR`, a terminal or not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// ANSI colors.
    On,
    /// None.
    Off,
}

/// Says nothing.
#[derive(Debug)]
pub struct Quiet;

impl Listener for Quiet {
    fn on_notice(&self, _: Duration, _: Notice<'_>) {}
}

/// Tells each notice to several listeners, in order.
#[derive(Default)]
pub struct Fanout(pub Vec<Arc<dyn Listener>>);

impl Listener for Fanout {
    fn on_notice(&self, at: Duration, notice: Notice<'_>) {
        for listener in &self.0 {
            listener.on_notice(at, notice);
        }
    }
}

/// Something that has a line of its own: a step or an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Step(VertexId),
    Activity(ActivityId),
}

/// The names of steps and activities, on one line each.
#[derive(Default)]
struct Names {
    definition: Option<Arc<Definition>>,
    activities: BTreeMap<ActivityId, String>,
}

impl Names {
    fn of(&self, item: Item) -> String {
        match item {
            Item::Activity(id) => self.activities.get(&id).cloned().unwrap_or_default(),
            Item::Step(id) => match &self.definition {
                Some(definition) if (id.0 as usize) < definition.len() => {
                    one_line(&definition.vertex(id).metadata.name)
                }
                _ => format!("step {}", id.0),
            },
        }
    }
}

/// Joins the lines of `text` (a heredoc's, say) with blanks, and makes it harmless.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    clean(lines.join(" ").as_bytes())
}

/// Shows seconds with one decimal: `3.2s`, `184.0s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}s", self.0.as_secs_f64())
    }
}

/// Shows a number of bytes in decimal units, as registries count: `512 B`, `4.1 MB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut unit = 0;
        // 999.95 would be shown as 1000.0.
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Shows how far an activity is: `1.0 MB / 4.1 MB`.
fn progress(current: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} / {}", Bytes(current), Bytes(total)),
        None => Bytes(current).to_string(),
    }
}

#[cfg(test)]
mod tests;
