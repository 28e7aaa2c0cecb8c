//! Which images a registry was found to have whole a short while ago: index and manifests.
//!
//! A registry that has an index need not have what it names: manifests can be deleted, and some registries collect those
//! without a tag. To ask for each of them at each push would take longer than the rest of a push that has nothing to send, so
//! what was found whole counts as that for [`WINDOW`] seconds; the index itself is asked for every time.
//!
//! ```text
//! state/whole-images: one line each, SECONDS-SINCE-1970 REGISTRY/REPOSITORY@DIGEST
//! ```

use std::collections::BTreeMap;

use super::image::TargetImage;
use crate::reference::Reference;
use crate::store::Store;

const STATE: &str = "whole-images";

/// Seconds for which a finding counts.
const WINDOW: u64 = 600;

/// What was found lately.
pub(super) struct WholeImages {
    /// Seconds since 1970.
    now: u64,
    /// When each was found.
    found: BTreeMap<String, u64>,
    is_changed: bool,
}

impl WholeImages {
    /// Reads what earlier runs found; `now` is in seconds since 1970.
    pub(super) fn load(store: &Store, now: u64) -> WholeImages {
        let text = store.read_state(STATE).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let line = |line: &str| {
            let (time, name) = line.split_once(' ')?;
            let time = time.parse().ok().filter(|time| (now.saturating_sub(WINDOW)..=now).contains(time))?;
            Some((name.to_owned(), time))
        };
        WholeImages { now, found: text.lines().filter_map(line).collect(), is_changed: false }
    }

    pub(super) fn contains(&self, repository: &Reference, image: &TargetImage) -> bool {
        self.found.contains_key(&key(repository, image))
    }

    /// Notes an image all of whose documents were found; what is known keeps its time.
    pub(super) fn note(&mut self, repository: &Reference, image: &TargetImage) {
        let WholeImages { found, now, is_changed } = self;
        found.entry(key(repository, image)).or_insert_with(|| {
            *is_changed = true;
            *now
        });
    }

    /// Keeps it for later runs. Best effort: without it they only ask more.
    pub(super) fn save(self, store: &Store) {
        if self.is_changed {
            let text: String = self.found.iter().map(|(name, time)| format!("{time} {name}\n")).collect();
            _ = store.write_state(STATE, text.as_bytes());
        }
    }
}

fn key(repository: &Reference, image: &TargetImage) -> String {
    format!("{}@{}", repository.name(), image.root().digest())
}
