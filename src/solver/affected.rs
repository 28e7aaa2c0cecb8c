//! Which change of its inputs makes a target another one: two definitions, compared step by step.
//!
//! In: what decides each step of a target, before and now ([`StepInputs`]). Out: the steps at which the difference begins.
//! What only reads a step that changed is no reason of its own, unless its own files changed too.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::graph::VertexId;

/// What decides a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInputs {
    /// The step in its definition.
    pub vertex: VertexId,
    /// As people know it.
    pub name: String,
    /// Digest of everything that decides its result, what it reads included.
    pub digest: Digest,
    /// The same of the steps that it reads.
    pub inputs: Vec<Digest>,
    /// Digests of what it selects of the user's directories, in the order of its selections.
    pub files: Vec<Digest>,
    /// What it reads may stand for something else at any time: a branch, a download without a checksum.
    pub moves: bool,
}

/// Where a difference begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There was no such step.
    New(VertexId),
    /// The step of the same name was another one.
    Changed {
        /// The step before.
        old: VertexId,
        /// And now.
        new: VertexId,
    },
    /// The step selects other files.
    Files {
        /// The step before.
        old: VertexId,
        /// And now.
        new: VertexId,
    },
    /// Nobody can know whether it is as it was.
    Moves(VertexId),
}

/// Returns where `new`, in the definition's order, begins to differ from `old`; empty where nothing differs.
pub fn differences(old: &[StepInputs], new: &[StepInputs]) -> Vec<Difference> {
    let known: BTreeSet<Digest> = old.iter().map(|step| step.digest).collect();
    let kept: BTreeSet<Digest> = new.iter().map(|step| step.digest).collect();
    // One that is still there is nobody's earlier form.
    let mut gone: BTreeMap<&str, &StepInputs> = BTreeMap::new();
    for step in old.iter().filter(|step| !kept.contains(&step.digest)) {
        gone.entry(&step.name).or_insert(step);
    }
    let mut found = Vec::new();
    for step in new {
        if step.moves {
            found.push(Difference::Moves(step.vertex));
        }
        if known.contains(&step.digest) {
            continue;
        }
        let before = gone.get(step.name.as_str());
        let is_cause = step.inputs.iter().all(|input| known.contains(input));
        match before {
            Some(before) if before.files.len() == step.files.len() && before.files != step.files => {
                found.push(Difference::Files { old: before.vertex, new: step.vertex });
            }
            Some(before) if is_cause => found.push(Difference::Changed { old: before.vertex, new: step.vertex }),
            None if is_cause => found.push(Difference::New(step.vertex)),
            Some(_) | None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Definition;

    fn step(name: &str, digest: &str, inputs: &[&str], files: &[&str]) -> StepInputs {
        let of = |texts: &[&str]| texts.iter().map(|text| Digest::of(text.as_bytes())).collect();
        // Any will do: what is compared are digests.
        let vertex = Definition::default().add(
            crate::graph::Op::Source(crate::graph::SourceOp::Local(crate::graph::LocalSource {
                path: String::new(),
                ignore: Vec::new(),
            })),
            Vec::new(),
            crate::graph::VertexMetadata::default(),
        );
        let digest = Digest::of(digest.as_bytes());
        StepInputs { vertex, name: name.to_owned(), digest, inputs: of(inputs), files: of(files), moves: false }
    }

    #[test]
    fn a_difference_is_told_where_it_begins() {
        let old = [step("base", "a", &[], &[]), step("copy", "b", &["a"], &["1"]), step("run", "c", &["b"], &[])];
        assert_eq!(differences(&old, &old), []);
        let new = [step("base", "a", &[], &[]), step("copy", "d", &["a"], &["2"]), step("run", "e", &["d"], &[])];
        assert!(matches!(differences(&old, &new)[..], [Difference::Files { .. }]));
        let new = [step("base", "x", &[], &[]), step("copy", "d", &["x"], &["2"]), step("run", "e", &["d"], &[])];
        assert!(matches!(differences(&old, &new)[..], [Difference::Changed { .. }, Difference::Files { .. }]));
        let new = [old[0].clone(), old[1].clone(), step("run more", "e", &["b"], &[])];
        assert!(matches!(differences(&old, &new)[..], [Difference::New(_)]));
    }

    #[test]
    fn what_may_stand_for_something_else_is_never_known_to_be_the_same() {
        let mut moving = step("download", "a", &[], &[]);
        moving.moves = true;
        assert!(matches!(differences(&[moving.clone()], &[moving])[..], [Difference::Moves(_)]));
    }
}
