//! Why is a step a miss? The difference between what its key is made of and what that of the last build was.
//!
//! In: the steps of a target with what the cache said of them, and the [`Trace`] of its last build. Out: for each step its
//! [`State`], and [`Change`]s in the words of the user's files. Reads nothing: records and listings come through functions.
//!
//! A key says of an input only what it is, not where that came from. So where the root file system or files of another
//! stage differ, the inputs are followed to those whose own ingredients changed, and these are the reason.

mod difference;

use std::collections::{BTreeMap, BTreeSet};

use difference::{Difference, differences, paired, setting};
use serde::Serialize;

use super::key::{Selection, is_selection, selections};
use super::listing::{FileChange, FileChanges};
use super::lookups::{Found, Lookup, Lookups};
use super::scheduler::reachable;
use super::trace::{Identity, Trace, TracedStep, align};
use crate::digest::Digest;
use crate::graph::{Definition, InputIndex, Op, SourceOp, VertexId};

/// Whether a step has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its result is stored.
    Hit,
    /// It has to run, and nothing before it does.
    Miss,
    /// It cannot be known before these have run: equal bytes make it a hit.
    Behind(BTreeSet<VertexId>),
    /// Its key could not be computed.
    Unknown(String),
}

/// What is other than in the last build. Values are as keys have them; a secret's is in no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// The target was not built for the platform before, as far as the store knows.
    FirstBuild,
    /// The last build had no such step.
    NewStep,
    /// The instruction has another text.
    Instruction {
        /// Then.
        old: String,
        /// Now.
        new: String,
    },
    /// A build argument has another value; `None` where it was, or is, not declared.
    Argument {
        /// Its name.
        name: String,
        /// Then.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// An environment variable has another value.
    Environment {
        /// Its name.
        name: String,
        /// Then.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// A name stands for another image, or another name is there.
    BaseImage {
        /// Its name then.
        old_name: String,
        /// Its name now.
        name: String,
        /// Digest of the platform's manifest then.
        old: Digest,
        /// And now.
        new: Digest,
    },
    /// A URL gives other files.
    Remote {
        /// The URL, without what may be secret of it.
        name: String,
        /// Digest of all files then.
        old: Digest,
        /// And now.
        new: Digest,
    },
    /// One file that the step reads.
    File {
        /// Where it is, as the user would write it.
        path: String,
        /// What is other about it.
        #[serde(flatten)]
        change: FileChange,
    },
    /// Files that the step reads, where it is not known which.
    Files {
        /// What they are read for: `to /app/`.
        place: String,
        /// Digest of all of them then.
        old: String,
        /// And now.
        new: String,
    },
    /// Something else that decides the result: user, platform, working directory, the epoch.
    Setting {
        /// Which.
        name: String,
        /// Then.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// A step that is read has another result, and this is why.
    Result {
        /// The step's name.
        step: String,
        /// What is other about that step.
        changes: Vec<Change>,
    },
    /// A step that is read was run again as it was, and made other bytes.
    OtherBytes {
        /// The step's name.
        step: String,
    },
    /// It stood on another step.
    Parent {
        /// The text of the step before it then.
        old: String,
        /// And now.
        new: String,
    },
    /// The same variables or mounts in another order.
    Order,
    /// All is as it was, but the result is not in the store any more.
    Pruned,
    /// What it was made of is not in the store any more.
    Forgotten,
    /// The cache is not asked.
    NoCache,
}

/// Name and value of each ingredient of a key, in its order.
pub type Ingredients = Vec<(String, String)>;

/// What an explanation rests on.
pub struct Evidence<'a> {
    /// All steps.
    pub definition: &'a Definition,
    /// What the cache said.
    pub lookups: &'a Lookups,
    /// The last build of the target; `None` where there was none.
    pub last: Option<&'a Trace>,
    /// Returns the ingredients of a key that is in the store.
    pub record: &'a dyn Fn(&Digest) -> Option<Ingredients>,
    /// Returns how what is selected of a local directory, an input, differs from what had that digest; `None` where that
    /// is not known.
    pub files: &'a dyn Fn(VertexId, &Selection, &Digest) -> Option<FileChanges>,
}

/// Explains the steps of one target.
pub struct Explainer<'a> {
    evidence: &'a Evidence<'a>,
    /// The step's number in `now`.
    numbers: BTreeMap<VertexId, usize>,
    now: Trace,
    /// For each step of `now`, which step of the last build it was.
    matches: Vec<Option<usize>>,
}

/// Returns the state of each step, sources apart, that `root` reads, inputs before their readers; `failures` are those
/// whose key could not be computed.
pub fn states(
    definition: &Definition,
    root: VertexId,
    lookups: &Lookups,
    failures: &BTreeMap<VertexId, String>,
) -> Vec<(VertexId, State)> {
    let mut states: BTreeMap<VertexId, State> = BTreeMap::new();
    let ids = reachable(definition, &[root]);
    for id in &ids {
        let is_source = matches!(definition.vertex(*id).op, Op::Source(_));
        let found = lookups.steps.get(id).map(|lookup| lookup.found);
        let state = match (found, failures.get(id)) {
            (_, Some(why)) => State::Unknown(why.clone()),
            (Some(Found::Result), _) => State::Hit,
            (Some(_), _) => State::Miss,
            (None, _) if is_source => State::Hit,
            (None, _) => {
                let mut blockers = BTreeSet::new();
                for input in &definition.vertex(*id).inputs {
                    match &states[input] {
                        State::Hit => {}
                        State::Miss | State::Unknown(_) => _ = blockers.insert(*input),
                        State::Behind(others) => blockers.extend(others),
                    }
                }
                State::Behind(blockers)
            }
        };
        states.insert(*id, state);
    }
    let is_told = |(id, state): &(VertexId, State)| {
        !matches!(definition.vertex(*id).op, Op::Source(_)) || matches!(state, State::Unknown(_))
    };
    states.into_iter().filter(is_told).collect()
}

impl<'a> Explainer<'a> {
    /// Compares the steps that `root` reads with those of the last build.
    pub fn new(evidence: &'a Evidence<'a>, root: VertexId) -> Explainer<'a> {
        let (now, ids) = Trace::of(evidence.definition, root, evidence.lookups);
        let matches = evidence.last.map_or_else(|| vec![None; ids.len()], |last| align(&now.steps, &last.steps));
        let numbers = ids.into_iter().enumerate().map(|(number, id)| (id, number)).collect();
        Explainer { evidence, numbers, now, matches }
    }

    /// Returns what of a step is other than in the last build; empty where nothing is, or where its key is not known yet.
    pub fn changes(&self, vertex: VertexId) -> Vec<Change> {
        let Some(lookup) = self.evidence.lookups.steps.get(&vertex) else { return Vec::new() };
        if lookup.found == Found::NotAsked {
            return vec![Change::NoCache];
        }
        if self.evidence.last.is_none() {
            return vec![Change::FirstBuild];
        }
        let changes = self.since_last(vertex, lookup);
        match changes.is_empty() && lookup.found != Found::Result {
            true => vec![Change::Pruned],
            false => changes,
        }
    }

    fn since_last(&self, vertex: VertexId, lookup: &Lookup) -> Vec<Change> {
        let Some(old) = self.before(vertex) else { return vec![Change::NewStep] };
        let Identity::Key(old_key) = &old.identity else { return vec![Change::NewStep] };
        if *old_key == lookup.key.digest {
            return Vec::new();
        }
        let Some(record) = (self.evidence.record)(old_key) else { return vec![Change::Forgotten] };
        let differences = differences(&record, &lookup.key.ingredients);
        let mut changes = self.own_changes(vertex, old, &differences);
        changes.extend(self.changes_of_inputs(vertex, old, &differences));
        if changes.is_empty() {
            changes.push(Change::Order);
        }
        changes
    }

    /// Returns the step of the last build that `vertex` was.
    fn before(&self, vertex: VertexId) -> Option<&'a TracedStep> {
        let old = self.matches[*self.numbers.get(&vertex)?]?;
        self.evidence.last.map(|last| &last.steps[old])
    }

    /// Returns what changed of the step itself and of the user's files that it reads.
    fn own_changes(&self, vertex: VertexId, old: &TracedStep, differences: &[Difference]) -> Vec<Change> {
        let metadata = &self.evidence.definition.vertex(vertex).metadata;
        let text = &self.now.steps[self.numbers[&vertex]].text;
        let mut changes = Vec::new();
        let files: BTreeMap<usize, Vec<Change>> = differences
            .iter()
            .enumerate()
            .filter(|(_, difference)| difference.selection.is_some())
            .map(|(at, difference)| (at, self.file_changes(vertex, difference)))
            .collect();
        // Which files a copy reads may be other files because its text names others.
        let is_of_the_text = |at: usize, difference: &Difference| match files.get(&at) {
            Some(changes) => changes.iter().any(|change| matches!(change, Change::Files { .. })),
            None => difference.is_of_the_text(),
        };
        let mut numbered = differences.iter().enumerate();
        let is_edited = *text != old.text && numbered.any(|(at, difference)| is_of_the_text(at, difference));
        if is_edited {
            changes.push(Change::Instruction { old: old.text.clone(), new: text.clone() });
        }
        let mut one_sided: Vec<&Difference> = Vec::new();
        for (at, difference) in differences.iter().enumerate() {
            let Difference { name, old, new, .. } = difference;
            if let Some(name) = name.strip_prefix("env ") {
                let (name, old, new) = (name.to_owned(), old.clone(), new.clone());
                changes.push(match metadata.arguments.contains(&name) {
                    true => Change::Argument { name, old, new },
                    false => Change::Environment { name, old, new },
                });
            } else if name == "root" || is_edited && is_of_the_text(at, difference) {
                // What it stands on is explained by its inputs, and the rest by the new text.
            } else if is_selection(name) {
                changes.extend(files.get(&at).cloned().unwrap_or_default());
            } else if old.is_some() && new.is_some() {
                changes.push(setting(name, old.as_deref(), new.as_deref()));
            } else {
                one_sided.push(difference);
            }
        }
        changes.extend(paired(&one_sided));
        changes
    }

    /// Returns which files of the user's changed in one selection; nothing for files of other steps.
    fn file_changes(&self, vertex: VertexId, difference: &Difference) -> Vec<Change> {
        let (Some(selection), Some(old), Some(new)) = (difference.selection, &difference.old, &difference.new) else {
            return Vec::new();
        };
        let vertex = self.evidence.definition.vertex(vertex);
        let Some(selection) = selections(&vertex.op).into_iter().nth(selection) else { return Vec::new() };
        let input = vertex.inputs[selection.input.0 as usize];
        if !matches!(self.evidence.definition.vertex(input).op, Op::Source(SourceOp::Local(_))) {
            return Vec::new();
        }
        let known = old.parse().ok().and_then(|old| (self.evidence.files)(input, &selection, &old));
        match known.filter(|files| !files.is_empty()) {
            Some(files) => files.into_iter().map(|(path, change)| Change::File { path, change }).collect(),
            None => {
                let place = difference.name.split_once("files ").map_or("", |(_, place)| place).to_owned();
                vec![Change::Files { place, old: old.clone(), new: new.clone() }]
            }
        }
    }

    /// Returns what changed of the steps and images whose files the key has in another form than before.
    fn changes_of_inputs(&self, vertex: VertexId, old: &TracedStep, differences: &[Difference]) -> Vec<Change> {
        let op = &self.evidence.definition.vertex(vertex).op;
        let mut inputs: Vec<VertexId> = Vec::new();
        let mut is_on_other_root = false;
        let vertex = self.evidence.definition.vertex(vertex);
        for difference in differences {
            let index = match difference.selection {
                Some(selection) => selections(op).get(selection).map(|selection| selection.input),
                None if difference.name == "root" => {
                    is_on_other_root = true;
                    root(op, difference.occurrence)
                }
                None => None,
            };
            if let Some(input) = index.and_then(|index| vertex.inputs.get(index.0 as usize))
                && !inputs.contains(input)
            {
                inputs.push(*input);
            }
        }
        let mut changes: Vec<Change> = Vec::new();
        for change in inputs.iter().flat_map(|input| self.changes_of_input(*input)) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
        if changes.is_empty() && is_on_other_root {
            changes.extend(self.other_parent(inputs.first().copied(), old));
        }
        changes
    }

    /// Returns why a step or source that is read is another than in the last build; empty where it is the same.
    fn changes_of_input(&self, input: VertexId) -> Vec<Change> {
        let name = || self.evidence.definition.vertex(input).metadata.name.clone();
        let now = &self.now.steps[self.numbers[&input]];
        match (&now.identity, self.before(input).map(|step| &step.identity)) {
            (Identity::Image { name, manifest }, Some(Identity::Image { name: old_name, manifest: old })) => {
                let (old_name, name, old, new) = (old_name.clone(), name.clone(), *old, *manifest);
                (old != new).then_some(Change::BaseImage { old_name, name, old, new }).into_iter().collect()
            }
            (Identity::Fetched { name, content }, Some(Identity::Fetched { content: old, .. })) => {
                let (name, old, new) = (name.clone(), *old, *content);
                (old != new).then_some(Change::Remote { name, old, new }).into_iter().collect()
            }
            (Identity::Key(_), Some(Identity::Key(_))) => {
                let Some(lookup) = self.evidence.lookups.steps.get(&input) else { return Vec::new() };
                let changes = self.since_last(input, lookup);
                let is_handed_on = |change: &Change| {
                    matches!(change, Change::Result { .. } | Change::BaseImage { .. } | Change::Remote { .. })
                };
                match changes.is_empty() || changes.iter().all(is_handed_on) {
                    true => changes,
                    false => vec![Change::Result { step: name(), changes }],
                }
            }
            (Identity::Local, _) => Vec::new(),
            (_, _) => vec![Change::Result { step: name(), changes: vec![Change::NewStep] }],
        }
    }

    /// Says why a step stands on other files although no step before it changed.
    fn other_parent(&self, input: Option<VertexId>, old: &TracedStep) -> Option<Change> {
        let last = self.evidence.last?;
        let text = |step: &TracedStep| step.text.clone();
        let before = old.inputs.first().map(|index| &last.steps[*index]);
        let now = input.map(|input| &self.now.steps[self.numbers[&input]]);
        let is_same = input.and_then(|input| self.before(input)).map(std::ptr::from_ref);
        match (input, is_same.is_some() && is_same == before.map(std::ptr::from_ref)) {
            (Some(input), true) => {
                Some(Change::OtherBytes { step: self.evidence.definition.vertex(input).metadata.name.clone() })
            }
            _ => {
                let scratch = || "FROM scratch".to_owned();
                Some(Change::Parent { old: before.map_or_else(scratch, text), new: now.map_or_else(scratch, text) })
            }
        }
    }
}

/// Returns the input whose root file system the `occurrence`th `root` of a key is.
fn root(op: &Op, occurrence: usize) -> Option<InputIndex> {
    match op {
        Op::Exec(exec) => exec.root,
        Op::File(file) => file.root,
        Op::Merge(merge) => merge.layers.get(occurrence).copied(),
        Op::Diff(diff) => [diff.lower, diff.upper].get(occurrence).copied().flatten(),
        Op::Source(_) => None,
    }
}

#[cfg(test)]
mod tests;
