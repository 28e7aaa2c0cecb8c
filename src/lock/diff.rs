//! What differs between two lockfiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{ImagePin, LockedImage, LockedResult, Lockfile};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::Reference;

/// One entry that differs. `old` and `new` are never equal; `None` where the entry is not there. `Display` gives one line
/// for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What an image name stands for.
    Pin {
        /// The name.
        reference: Reference,
        /// Before.
        old: Option<ImagePin>,
        /// After.
        new: Option<ImagePin>,
    },
    /// What a target's tags name, or which tags there are.
    Image {
        /// The target.
        target: String,
        /// Before.
        old: Option<LockedImage>,
        /// After.
        new: Option<LockedImage>,
    },
    /// What a target became for a platform.
    Result {
        /// The target.
        target: String,
        /// The platform.
        platform: Platform,
        /// Before.
        old: Option<LockedResult>,
        /// After.
        new: Option<LockedResult>,
    },
}

/// Returns what differs, pins first, each sorted by name; empty exactly if the two are equal.
pub fn diff(old: &Lockfile, new: &Lockfile) -> Vec<Change> {
    let mut changes = Vec::new();
    for (reference, old, new) in differing(&old.pins, &new.pins) {
        changes.push(Change::Pin { reference: reference.clone(), old, new });
    }
    for (target, old, new) in differing(&old.targets, &new.targets) {
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        for (platform, old, new) in differing(&old.results, &new.results) {
            changes.push(Change::Result { target: target.clone(), platform: platform.clone(), old, new });
        }
        if old.image != new.image {
            changes.push(Change::Image { target: target.clone(), old: old.image, new: new.image });
        }
    }
    changes
}

fn differing<'a, K: Ord, V: Clone + PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> Vec<(&'a K, Option<V>, Option<V>)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let both = keys.into_iter().map(|key| (key, old.get(key), new.get(key)));
    both.filter(|(_, old, new)| old != new).map(|(key, old, new)| (key, old.cloned(), new.cloned())).collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Pin { reference, old, new } => {
                write!(f, "pin {}: ", reference.familiar())?;
                match (old, new) {
                    (Some(old), Some(new)) if old.digest == new.digest => write_platforms(f, old, new),
                    (old, new) => write_move(f, old.as_ref().map(|p| p.digest), new.as_ref().map(|p| p.digest)),
                }
            }
            Change::Image { target, old, new } => {
                write!(f, "target {target}: ")?;
                match (old, new) {
                    (Some(old), Some(new)) if old.digest == new.digest => write_tags(f, old, new),
                    (old, new) => write_move(f, old.as_ref().map(|i| i.digest), new.as_ref().map(|i| i.digest)),
                }
            }
            Change::Result { target, platform, old, new } => {
                write!(f, "target {target}, {platform}: ")?;
                match (old, new) {
                    (Some(old), Some(new)) if old.manifest == new.manifest => f.write_str("other inputs, same image"),
                    (old, new) => write_move(f, old.as_ref().map(|r| r.manifest), new.as_ref().map(|r| r.manifest)),
                }
            }
        }
    }
}

fn write_move(f: &mut fmt::Formatter<'_>, old: Option<Digest>, new: Option<Digest>) -> fmt::Result {
    match (old, new) {
        (None, Some(new)) => write!(f, "added {new:?}"),
        (Some(old), None) => write!(f, "removed {old:?}"),
        (Some(old), Some(new)) => write!(f, "{old:?} → {new:?}"),
        (None, None) => Ok(()),
    }
}

fn write_platforms(f: &mut fmt::Formatter<'_>, old: &ImagePin, new: &ImagePin) -> fmt::Result {
    let platforms = differing(&old.platforms, &new.platforms);
    if platforms.is_empty() {
        return write!(f, "media type {} → {}", old.media_type, new.media_type);
    }
    write_list(f, platforms.into_iter().map(|(platform, old, new)| (platform.to_string(), old, new)))
}

fn write_tags(f: &mut fmt::Formatter<'_>, old: &LockedImage, new: &LockedImage) -> fmt::Result {
    let as_map = |image: &LockedImage| image.tags.iter().map(|tag| (tag.clone(), ())).collect::<BTreeMap<_, _>>();
    let (old, new) = (as_map(old), as_map(new));
    let tags = differing(&old, &new);
    write_list(f, tags.into_iter().map(|(tag, old, new)| (tag.familiar(), old, new)))
}

/// `added a, removed b, other c`.
fn write_list<V>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = (String, Option<V>, Option<V>)>,
) -> fmt::Result {
    for (index, (name, old, new)) in items.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let word = match (old, new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "other",
        };
        write!(f, "{comma}{word} {name}")?;
    }
    Ok(())
}
