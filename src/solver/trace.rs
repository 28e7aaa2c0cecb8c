//! What the last build of a target for a platform was made of, and which of its steps is which of today's.
//!
//! A cache key says whether a step is the same, not which step it was before somebody edited the Dockerfile. That is found
//! by what people see of it: the stage and the text of the instruction, and where no text is equal, the place after a step
//! that was found. So a line that is put in between makes one new step, and a line that is edited stays the same step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lookups::Lookups;
use super::scheduler::reachable;
use crate::digest::{Digest, FieldHasher};
use crate::graph::{Definition, Op, SourceOp, VertexId};
use crate::remote::redacted;

/// The steps of one target for one platform, inputs before their readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Those and the sources that they read.
    pub steps: Vec<TracedStep>,
}

/// A step, or a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedStep {
    /// The stage that it stands in; empty for what stands in none.
    pub stage: String,
    /// The instruction as it is written, passwords in URLs apart, or the step's name where there is none.
    pub text: String,
    /// What it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// Indices in [`Trace::steps`], in the vertex's order.
    pub inputs: Vec<usize>,
}

/// By what a step or source is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// A step, by its cache key.
    Key(Digest),
    /// An image, by the digest of its manifest.
    Image {
        /// The name that it was asked for by, without a digest.
        name: String,
        /// Of the platform's manifest.
        manifest: Digest,
    },
    /// Files from the network, by their content.
    Fetched {
        /// The URL, without what may be secret of it.
        name: String,
        /// Of what came.
        content: Digest,
    },
    /// A directory of the user's: what is selected of it is in its readers' keys.
    Local,
}

impl Trace {
    /// Returns the steps that `root` reads and `root` itself, and which vertex each of them is. A key that is not known,
    /// because a step before has to run, is the digest of nothing.
    pub fn of(definition: &Definition, root: VertexId, lookups: &Lookups) -> (Trace, Vec<VertexId>) {
        let ids = reachable(definition, &[root]);
        let index: BTreeMap<VertexId, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let step = |id: &VertexId| {
            let vertex = definition.vertex(*id);
            let metadata = &vertex.metadata;
            let text = if metadata.command.is_empty() { &metadata.name } else { &metadata.command };
            TracedStep {
                stage: metadata.stage.clone(),
                text: redacted(text),
                identity: identity(definition, *id, lookups),
                inputs: vertex.inputs.iter().map(|input| index[input]).collect(),
            }
        };
        (Trace { steps: ids.iter().map(step).collect() }, ids)
    }

    /// Returns what is equal for two traces of the same keys, without making them.
    pub fn mark(definition: &Definition, root: VertexId, lookups: &Lookups) -> Digest {
        let mut hasher = FieldHasher::new("bake.trace.v1");
        for id in reachable(definition, &[root]) {
            let digest =
                lookups.key(id).or_else(|| lookups.fetched.get(&id).copied()).unwrap_or(definition.vertex(id).digest.0);
            hasher.field("step", digest.as_bytes());
        }
        hasher.finish()
    }
}

fn identity(definition: &Definition, id: VertexId, lookups: &Lookups) -> Identity {
    let vertex = definition.vertex(id);
    let nothing = || Digest::of(&[]);
    match &vertex.op {
        Op::Source(SourceOp::Image { manifest, .. }) => {
            let name = vertex.metadata.source_name.split('@').next().unwrap_or("").to_owned();
            Identity::Image { name, manifest: *manifest }
        }
        Op::Source(SourceOp::Local(_)) => Identity::Local,
        Op::Source(SourceOp::Git(_) | SourceOp::Http(_)) => Identity::Fetched {
            name: vertex.metadata.name.clone(),
            content: lookups.fetched.get(&id).copied().unwrap_or_else(nothing),
        },
        Op::Exec(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => {
            Identity::Key(lookups.key(id).unwrap_or_else(nothing))
        }
    }
}

/// Returns for each step of `new` which step of `old` it was: one with the same text in the same stage, else with the same
/// text anywhere, else the one at its place in the stage if that is an instruction of the same name. No step of `old` is
/// named twice.
pub fn align(new: &[TracedStep], old: &[TracedStep]) -> Vec<Option<usize>> {
    let mut matches = vec![None; new.len()];
    let mut is_taken = vec![false; old.len()];
    for is_same_stage in [true, false] {
        let key = |step: &TracedStep| (is_same_stage.then(|| step.stage.clone()), step.text.clone());
        let mut by_text: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, step) in old.iter().enumerate().rev().filter(|(index, _)| !is_taken[*index]) {
            by_text.entry(key(step)).or_default().push(index);
        }
        for (index, step) in new.iter().enumerate() {
            if matches[index].is_none()
                && let Some(found) = by_text.get_mut(&key(step)).and_then(Vec::pop)
            {
                matches[index] = Some(found);
                is_taken[found] = true;
            }
        }
    }
    // By place, in order: what an edited step was found to be is the place that the next one counts from.
    let mut last_in_stage: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for (index, step) in new.iter().enumerate() {
        let last = last_in_stage.entry(&step.stage).or_default();
        if matches[index].is_none() {
            let after = last.map_or(0, |last| last + 1);
            let next =
                (after..old.len()).find(|at| old[*at].stage == step.stage && is_step(&old[*at]) == is_step(step));
            let next = next.filter(|at| !is_taken[*at] && word(&old[*at].text).eq_ignore_ascii_case(word(&step.text)));
            if let Some(found) = next {
                matches[index] = Some(found);
                is_taken[found] = true;
            }
        }
        if matches[index].is_some_and(|at| old[at].stage == step.stage) {
            *last = matches[index];
        }
    }
    matches
}

fn is_step(step: &TracedStep) -> bool {
    matches!(step.identity, Identity::Key(_))
}

fn word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(texts: &[&str]) -> Vec<TracedStep> {
        let step = |text: &&str| {
            let (stage, text) = text.split_once(": ").unwrap_or(("", text));
            let identity = Identity::Key(Digest::of(text.as_bytes()));
            TracedStep { stage: stage.to_owned(), text: text.to_owned(), identity, inputs: Vec::new() }
        };
        texts.iter().map(step).collect()
    }

    #[test]
    fn a_step_is_known_again_across_edits() {
        let old = ["a: FROM x", "a: RUN 1", "a: RUN 2", "a: COPY . .", "b: RUN 1", "b: RUN 3"];
        let cases: [(&[&str], &[Option<usize>]); 6] = [
            (&old, &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)]),
            // A line is put in: it alone is new.
            (
                &["a: FROM x", "a: RUN new", "a: RUN 1", "a: RUN 2", "a: COPY . .", "b: RUN 1", "b: RUN 3"],
                &[Some(0), None, Some(1), Some(2), Some(3), Some(4), Some(5)],
            ),
            // Lines are edited: they stay what they were.
            (
                &["a: FROM y", "a: RUN 7", "a: RUN 8", "a: COPY src .", "b: RUN 3"],
                &[Some(0), Some(1), Some(2), Some(3), Some(5)],
            ),
            // A line is taken out, others change places.
            (&["a: FROM x", "a: COPY . .", "a: RUN 1"], &[Some(0), Some(3), Some(1)]),
            // The stage has another name.
            (&["z: FROM x", "z: RUN 2", "z: RUN other"], &[Some(0), Some(2), None]),
            // An instruction of another name at the place is another step.
            (
                &["a: FROM x", "a: RUN 1", "a: RUN 2", "a: ADD . .", "b: WORKDIR /x"],
                &[Some(0), Some(1), Some(2), None, None],
            ),
        ];
        for (new, expected) in cases {
            assert_eq!(align(&steps(new), &steps(&old)), expected, "{new:?}");
        }
    }

    #[test]
    fn equal_lines_are_known_by_their_order() {
        let old = steps(&["RUN make", "RUN true", "RUN make"]);
        assert_eq!(align(&old, &old), [Some(0), Some(1), Some(2)]);
        assert_eq!(align(&steps(&["RUN make", "RUN make"]), &old), [Some(0), Some(2)]);
    }
}
