//! What the last build of each target was made of: kept after a build that changed it, read by what explains a build.
//!
//! A target is known by the directory of its bakefile, its name and the platform. Nothing is written by a build that is
//! made of the same steps as the one before; then it costs one small read a target.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::contexts::Contexts;
use super::file::FileError;
use crate::digest::{Digest, FieldHasher};
use crate::graph::{Definition, LocalSource, Op, SourceOp, VertexId};
use crate::platform::Platform;
use crate::solver::explain::{Change, Evidence, Explainer, State, states};
use crate::solver::key::Selection;
use crate::solver::listing::{FileChanges, Listing};
use crate::solver::lookups::Lookups;
use crate::solver::trace::Trace;
use crate::store::{Store, StoreError};

/// The last builds of one project's targets.
pub struct History<'a> {
    /// Where they are kept.
    pub store: &'a Store,
    /// The user's directories, for the files that there are now.
    pub contexts: &'a Contexts,
    /// The directory of the bakefile, absolute.
    pub project: PathBuf,
}

/// A step with its state, and what is other about it than in the last build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Which.
    pub vertex: VertexId,
    /// Whether it has to run.
    pub state: State,
    /// Empty for a step that is as it was.
    pub changes: Vec<Change>,
}

impl History<'_> {
    /// Keeps what `root`, the result of a target for a platform, was made of, unless that is known.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn record(
        &self,
        definition: &Definition,
        (target, platform): (&str, &Platform),
        root: VertexId,
        lookups: &Lookups,
    ) -> Result<(), StoreError> {
        let name = self.name(target, platform);
        let mark = Trace::mark(definition, root, lookups);
        if self.store.trace(&name).is_some_and(|(known, _)| known == mark) {
            return Ok(());
        }
        let (trace, _) = Trace::of(definition, root, lookups);
        let text = serde_json::to_vec(&trace).expect("a trace has only text keys");
        self.store.put_trace(&name, &mark, &text)
    }

    /// Returns what the last build of a target was made of.
    pub fn last(&self, target: &str, platform: &Platform) -> Option<Trace> {
        let (_, text) = self.store.trace(&self.name(target, platform))?;
        serde_json::from_slice(&text).ok()
    }

    /// Explains every step that `root` reads; `failures` are those whose key could not be computed.
    pub fn explain(
        &self,
        definition: &Definition,
        root: VertexId,
        last: Option<&Trace>,
        lookups: &Lookups,
        failures: &BTreeMap<VertexId, String>,
    ) -> Vec<Explained> {
        self.with_explainer(definition, root, last, lookups, |explainer| {
            let explained = |(vertex, state)| Explained { vertex, state, changes: explainer.changes(vertex) };
            states(definition, root, lookups, failures).into_iter().map(explained).collect()
        })
    }

    /// Returns what is other about one step that `root` reads.
    pub fn changes(
        &self,
        definition: &Definition,
        root: VertexId,
        last: &Trace,
        lookups: &Lookups,
        step: VertexId,
    ) -> Vec<Change> {
        self.with_explainer(definition, root, Some(last), lookups, |explainer| explainer.changes(step))
    }

    fn with_explainer<T>(
        &self,
        definition: &Definition,
        root: VertexId,
        last: Option<&Trace>,
        lookups: &Lookups,
        work: impl FnOnce(&Explainer<'_>) -> T,
    ) -> T {
        let record = |key: &Digest| self.store.record(key).map(|record| record.ingredients);
        let files = |input: VertexId, selection: &Selection, old: &Digest| match &definition.vertex(input).op {
            Op::Source(SourceOp::Local(source)) => self.changed_files(source, selection, old).ok().flatten(),
            _ => None,
        };
        work(&Explainer::new(&Evidence { definition, lookups, last, record: &record, files: &files }, root))
    }

    /// Returns how the files that are selected differ from those that had the digest `old`; `None` where that is not known.
    fn changed_files(
        &self,
        source: &LocalSource,
        selection: &Selection,
        old: &Digest,
    ) -> Result<Option<FileChanges>, FileError> {
        let name = self.contexts.listing_name(source, selection);
        let Some(old) = self.store.listing(&name, old).and_then(|bytes| Listing::from_bytes(&bytes)) else {
            return Ok(None);
        };
        let (_, now) = self.contexts.listing(source, selection)?;
        let shown = |path: String| match source.path.trim_start_matches("./").trim_end_matches('/') {
            "" | "." => path,
            directory => format!("{directory}/{path}"),
        };
        Ok(Some(now.changes_since(&old).into_iter().map(|(path, change)| (shown(path), change)).collect()))
    }

    fn name(&self, target: &str, platform: &Platform) -> Digest {
        let mut hasher = FieldHasher::new("bake.history.v1");
        hasher.field("project", self.project.as_os_str().as_encoded_bytes());
        hasher.field("target", target).field("platform", platform.to_string());
        hasher.finish()
    }
}
