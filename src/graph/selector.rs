//! What a step reads of an input.

use super::op::{CopyAction, SourceNaming};

/// Paths of a tree, and what of the files beneath them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Path in the tree, cleaned, absolute (`/` is all of it).
    pub source: String,
    /// How `source` is read.
    pub naming: SourceNaming,
    /// Paths left out: ignore patterns relative to the source.
    pub exclude: Vec<String>,
    /// Only these paths, with the directories on the way to them: patterns as those of `exclude`; all where empty.
    pub include: Vec<String>,
    /// Absolute paths that have to be there, though `include` may match nothing.
    pub required: Vec<String>,
}

impl Selector {
    /// Returns what selects one path as it stands, with all beneath it.
    pub fn path(path: impl Into<String>) -> Selector {
        Selector { source: path.into(), naming: SourceNaming::Literal, ..Selector::default() }
    }
}

impl CopyAction {
    /// Returns what is copied.
    pub fn selector(&self) -> Selector {
        Selector {
            source: self.source.clone(),
            naming: self.naming,
            exclude: self.exclude.clone(),
            include: self.include.clone(),
            required: self.required.clone(),
        }
    }
}
