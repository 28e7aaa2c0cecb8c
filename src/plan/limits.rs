//! `ulimits`, `shm-size` and `resources`: what RUN steps may use.

use std::collections::BTreeMap;

use crate::bakefile::{Resources, Swap, Target, Ulimit, size_in_bytes};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Returns a target's limits by name; of two with the same name the last counts.
pub(super) fn ulimits(target: &Target, found: &mut Diagnostics) -> Vec<Ulimit> {
    let mut limits = BTreeMap::new();
    for written in &target.ulimits {
        match written.value.parse::<Ulimit>() {
            Ok(limit) => _ = limits.insert(limit.name.clone(), limit),
            Err(wrong) => found.push(wrong.diagnostic(written.span)),
        }
    }
    limits.into_values().collect()
}

/// Returns the size of `/dev/shm` in bytes; 0 and nothing are the engine's own.
pub(super) fn shm_size(target: &Target, found: &mut Diagnostics) -> Option<u64> {
    let written = target.shm_size.as_ref().filter(|size| !size.value.is_empty())?;
    let size = size_in_bytes(&written.value);
    if size.is_none() {
        found.push(Diagnostic::error(written.span, format!("`{}` is no size", written.value)));
    }
    size.filter(|size| *size > 0)
}

/// Returns what the steps of a target may use.
pub(super) fn resources(target: &Target, found: &mut Diagnostics) -> Resources {
    let mut resources = Resources::default();
    let mut wrong = |span, why| {
        found.push(Diagnostic::error(span, format!("`resources` of target \"{}\": {why}", target.name)));
    };
    for (name, written) in &target.resources {
        if let Err(why) = resources.set(name, &written.value) {
            wrong(written.span, format!("`{name}`: {why}"));
        }
    }
    if let (Some(why), Some(written)) = (wrong_swap(&resources), target.resources.get("memory-swap")) {
        wrong(written.span, why.to_owned());
    }
    resources
}

/// Says what is wrong with the two limits of memory.
fn wrong_swap(resources: &Resources) -> Option<&'static str> {
    match (resources.memory, resources.memory_swap) {
        (None, Some(Swap::WithMemory(_))) => {
            Some("`memory-swap` counts memory and swap together and needs `memory` beside it")
        }
        (Some(memory), Some(Swap::WithMemory(both))) if both < memory => {
            Some("`memory-swap` counts memory and swap together and is less than `memory`")
        }
        _ => None,
    }
}
