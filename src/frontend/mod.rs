//! Lowers a planned target and its Dockerfile into the graph.
//!
//! In: a [`PlannedTarget`](crate::plan::PlannedTarget), its files, and what is [`Resolved`] so far. Out: the steps, added
//! to the [`Definition`](crate::graph::Definition), and the image config; or what it [`Need`]s to go on. Does no IO.
//!
//! `load` reads and parses; `stages` finds which stages are reached and what they come from; `lower` walks their
//! instructions, with `run` and `copy` for those that make steps, `metadata` for those that only change the config, and
//! `history` for the words that BuildKit uses about them. [`lint`] says what is questionable in a Dockerfile, and what it takes.

pub mod compiled;
mod copy;
mod cycles;
mod epoch;
mod history;
pub mod lint;
mod load;
mod lower;
mod metadata;
mod mounts;
mod paths;
mod remote;
mod run;
mod stages;
mod syntax;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Span;
use crate::digest::Digest;
use crate::graph::{SourceOp, VertexId};
use crate::oci::ImageConfig;
use crate::plan::ImageSource;
use crate::platform::Platform;

pub use load::{Ignore, Loaded, load, read};
pub use lower::lower;
pub use syntax::foreign_frontend;

/// The time in configs and history where SOURCE_DATE_EPOCH is not given: the first that zip files can hold.
pub const DEFAULT_EPOCH: &str = "1980-01-01T00:00:00Z";

/// How far lowering came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lowering {
    /// These images have to be resolved first, each with a place that asks for it; non-empty. Nothing was added to the
    /// definition.
    Needs(BTreeMap<Need, Span>),
    /// It has to be known when this source was changed. Nothing was added to the definition.
    NeedsTime(SourceOp),
    /// The target's steps are in the definition.
    Done(LoweredTarget),
}

/// What lowering has to know before it can go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// Which image.
    pub image: ImageSource,
    /// For which platform.
    pub platform: Platform,
}

/// What is known so far.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Images that were asked for.
    pub images: BTreeMap<Need, ResolvedImage>,
    /// Targets that were lowered before, by name and platform; `target:` contexts read those of their own platform.
    pub targets: BTreeMap<(String, Platform), LoweredTarget>,
    /// When remote contexts were changed, seconds since 1970, by the path that stands for each in the plan; those that say
    /// nothing of it are not there.
    pub context_times: BTreeMap<String, i64>,
    /// When the sources were changed that were asked for; `None` for what says nothing of it.
    pub source_times: BTreeMap<SourceOp, Option<i64>>,
}

impl Resolved {
    /// Returns the result of the target called `name` for `platform`.
    pub fn target(&self, name: &str, platform: &Platform) -> Option<&LoweredTarget> {
        self.targets.get(&(name.to_owned(), platform.clone()))
    }
}

/// An image as its registry has it now, or as the lockfile pins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Its config; `rootfs.diff_ids` are its layers.
    pub config: ImageConfig,
}

/// A target's steps and image config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoweredTarget {
    /// The step whose result is the root file system; `None` for an image without layers.
    pub root: Option<VertexId>,
    /// The config with its whole history; `rootfs.diff_ids` is filled when the layers are known.
    pub config: ImageConfig,
    /// The paths that the reached stages name of the main context, cleaned, absolute; with `/` among them, all of it.
    pub context_paths: BTreeSet<String>,
    /// SOURCE_DATE_EPOCH, where it is given and stands for a time: seconds since 1970.
    pub epoch: Option<i64>,
}
