//! What a build amounted to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Item, Names};
use crate::graph::VertexId;
use crate::solver::notice::{Listener, Notice, Outcome};

/// Counts what ran and what the cache had.
#[derive(Default)]
pub struct Summary(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    running: BTreeMap<VertexId, (Duration, IsEmulated)>,
    n_ran: usize,
    n_emulated: usize,
    n_cached: usize,
    /// Sum over the emulated steps; more than the clock shows where they ran side by side.
    emulated: Duration,
    /// Those that took long, and how long.
    slow: Vec<(Duration, VertexId)>,
    names: Names,
}

type IsEmulated = bool;

/// Emulated steps that took this long are named, the longest first, so that people know what to move to the machine's own
/// processor.
const SLOW: Duration = Duration::from_secs(1);

/// How many are named.
const N_SLOW: usize = 5;

impl Summary {
    /// Returns the last lines of a build that made `n_images` images in `total`; of these, `n_locked` were there as the
    /// lockfile said. Steps that failed or were stopped count as
    /// ones that ran.
    ///
    /// ```text
    /// built 3 images: 12 steps ran (8 emulated, 41.2 s), 15 cached, in 12.3 s
    /// emulated 30.1 s: [linux/arm64 3/5] RUN make
    /// ```
    pub fn text(&self, n_images: usize, n_locked: usize, total: Duration) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("built {}: {} ran", count(n_images, "image"), count(counts.n_ran, "step"));
        if counts.n_emulated > 0 {
            _ = write!(text, " ({} emulated, {:.1} s)", counts.n_emulated, counts.emulated.as_secs_f64());
        }
        _ = write!(text, ", {} cached", counts.n_cached);
        if n_locked > 0 {
            _ = write!(text, ", {} locked", count(n_locked, "image"));
        }
        _ = write!(text, ", in {:.1} s", total.as_secs_f64());
        let mut slow = counts.slow.clone();
        slow.sort_by_key(|(took, vertex)| (std::cmp::Reverse(*took), *vertex));
        for (took, vertex) in slow.iter().take(N_SLOW) {
            _ = write!(text, "\nemulated {:.1} s: {}", took.as_secs_f64(), counts.names.of(Item::Step(*vertex)));
        }
        if slow.len() > N_SLOW {
            _ = write!(text, "\nemulated for a second or more: {} further steps", slow.len() - N_SLOW);
        }
        text
    }

    /// Returns how many steps ran.
    pub fn n_ran(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).n_ran
    }

    /// Returns for how many steps the cache had the result.
    pub fn n_cached(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).n_cached
    }
}

impl Listener for Summary {
    fn on_notice(&self, at: Duration, notice: Notice<'_>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            // A build that began again counts anew.
            Notice::Planned { definition, .. } => {
                *counts = Counts::default();
                counts.names.definition = Some(definition.clone());
            }
            Notice::Started { vertex, is_emulated } => {
                counts.running.insert(vertex, (at, is_emulated));
            }
            Notice::Finished { outcome: Outcome::Hit, .. } => counts.n_cached += 1,
            Notice::Finished { vertex, .. } => {
                let Some((began, is_emulated)) = counts.running.remove(&vertex) else { return };
                counts.n_ran += 1;
                if is_emulated {
                    let took = at.saturating_sub(began);
                    counts.n_emulated += 1;
                    counts.emulated += took;
                    counts.slow.extend((took >= SLOW).then_some((took, vertex)));
                }
            }
            _ => {}
        }
    }
}

fn count(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}
