//! How many steps run at once, and in which order: what the machine has, and what earlier runs took.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use crate::graph::{Definition, VertexId};
use crate::solver::durations::{Durations, Expected, StepName};
use crate::solver::scheduler::Memory;
use crate::store::Store;
use crate::sys;

/// The name of the durations in the store's state directory.
const DURATIONS: &str = "durations";

/// Of so many bytes that are available, one step may run.
const MEMORY_PER_STEP: u64 = 256 << 20;

/// Steps beyond the number of processors: while some wait for the network, for the kernel to take a mount away or for a
/// process to start, others compute. With none, a third of two processors' time was idle where steps are short.
const N_BEYOND: usize = 2;

/// `--jobs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jobs {
    /// Two more than the processors that this process may use, fewer where there is little memory; and no further step
    /// begins while memory is short.
    #[default]
    Auto,
    /// So many, whatever the machine has.
    Exactly(NonZeroUsize),
}

impl FromStr for Jobs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Jobs, &'static str> {
        match text {
            "auto" => Ok(Jobs::Auto),
            text => text.parse().map(Jobs::Exactly).map_err(|_| "it is `auto`, or a number from 1 on"),
        }
    }
}

impl Jobs {
    /// Returns how many steps run at once.
    pub fn n_slots(self) -> usize {
        match self {
            Jobs::Exactly(n) => n.into(),
            Jobs::Auto => {
                let n_processors = std::thread::available_parallelism().map_or(2, Into::into);
                n_fitting(n_processors, sys::memory::Memory::now().map(|memory| memory.available))
            }
        }
    }

    /// Says whether another step may begin beside those that run.
    pub fn memory(self) -> Memory {
        match self {
            Jobs::Auto if sys::memory::Memory::now().is_some_and(|memory| memory.is_short()) => Memory::Short,
            Jobs::Auto | Jobs::Exactly(_) => Memory::Ample,
        }
    }
}

/// Returns how many steps a machine takes at once; `available` is its memory in bytes, where that is known.
fn n_fitting(n_processors: usize, available: Option<u64>) -> usize {
    let n_most = n_processors.saturating_add(N_BEYOND);
    let n_fitting = available.and_then(|bytes| usize::try_from(bytes / MEMORY_PER_STEP).ok());
    n_fitting.map_or(n_most, |n| n.clamp(1, n_most))
}

/// Returns how long the steps of a build are expected to take.
pub fn expected(
    store: &Store,
    definition: &Definition,
    is_emulated: &dyn Fn(VertexId) -> bool,
) -> BTreeMap<VertexId, Expected> {
    let steps: Vec<VertexId> = definition.ids().collect();
    known(store).expected(definition, &steps, is_emulated)
}

/// Keeps for later builds what steps took. Where another bake does so at the same time, one of the two notes may be lost; a
/// failure costs only a better order.
pub fn remember(store: &Store, definition: &Definition, ran: &[(VertexId, Duration)]) {
    if ran.is_empty() {
        return;
    }
    let mut durations = known(store);
    durations.note(ran.iter().map(|(id, duration)| (StepName::of(definition, *id), *duration)));
    _ = store.write_state(DURATIONS, &durations.to_bytes());
}

fn known(store: &Store) -> Durations {
    Durations::from_bytes(&store.read_state(DURATIONS).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_takes_what_its_processors_and_its_memory_allow() {
        const GIB: u64 = 1 << 30;
        assert_eq!(n_fitting(2, Some(16 * GIB)), 4);
        assert_eq!(n_fitting(64, Some(2 * GIB)), 8);
        assert_eq!(n_fitting(8, Some(GIB / 100)), 1);
        assert_eq!(n_fitting(8, None), 10);
    }

    #[test]
    fn a_number_is_exact() {
        let jobs = |text: &str| text.parse::<Jobs>();
        assert_eq!(jobs("300").map(Jobs::n_slots), Ok(300));
        assert_eq!(jobs("auto"), Ok(Jobs::Auto));
        assert!(jobs("0").is_err() && jobs("-1").is_err() && jobs("many").is_err());
    }
}
