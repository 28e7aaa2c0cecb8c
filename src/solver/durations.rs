//! How long steps take on this machine: remembered from earlier runs, guessed for new ones.
//!
//! A step is known again by what it does, for whom and on which platform ([`StepName`]), not by its content: after an edit
//! the same command takes about as long as before. What is remembered decides only the order of steps, never a result.
//!
//! The bytes that are kept between runs (version 1; anything else is taken as empty):
//! ```text
//! "bake-durations-1\n"
//! record*, sorted by name, integers little-endian
//!   name 16 bytes · milliseconds u32 · runs without use u16
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use crate::digest::FieldHasher;
use crate::graph::{Definition, FileAction, Op, VertexId};

const MAGIC: &[u8] = b"bake-durations-1\n";
const RECORD: usize = 16 + 4 + 2;

/// Steps that are remembered at most: those of twenty thousand targets; 440 KB.
const MAX_RECORDS: usize = 20_000;

/// What a step is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepName([u8; 16]);

impl StepName {
    /// Names a step by its command or the destinations of its file actions, its platform, and the first target that wants
    /// it: the same command of two teams takes as long as each team's sources want. Arguments and environment are left out,
    /// because a release's version is among them.
    pub fn of(definition: &Definition, id: VertexId) -> StepName {
        let vertex = definition.vertex(id);
        let mut hasher = FieldHasher::new("bake.step.name.v1");
        hasher.field("target", definition.targets_of(id).next().unwrap_or(""));
        match &vertex.op {
            Op::Exec(exec) => {
                hasher.field("platform", exec.platform.to_string()).field("cwd", &exec.cwd);
                hasher.list("args", exec.args.iter());
            }
            Op::File(file) => {
                let paths = file.actions.iter().map(|action| match action {
                    FileAction::Copy(copy) => format!("{} {}", copy.source, copy.dest),
                    FileAction::Mkdir { path, .. } | FileAction::Mkfile { path, .. } => path.clone(),
                    FileAction::Rm { path, .. } | FileAction::Symlink { path, .. } => path.clone(),
                });
                let platform = vertex.metadata.platform.as_ref().map(ToString::to_string);
                hasher.field("platform", platform.unwrap_or_default()).list("paths", paths);
            }
            Op::Source(_) | Op::Merge(_) | Op::Diff(_) => _ = hasher.field("other", vertex.digest.0.as_bytes()),
        }
        let mut name = [0; 16];
        name.copy_from_slice(&hasher.finish().as_bytes()[..16]);
        StepName(name)
    }
}

/// What a scheduler expects of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// How long it runs.
    pub duration: Duration,
    /// Its binaries run under emulation.
    pub is_emulated: bool,
}

/// Steps that take about as long as one another, as far as nothing is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    /// Copies files or lays layers over each other.
    Files,
    Native,
    Emulated,
}

impl Sort {
    fn of(op: &Op, is_emulated: bool) -> Option<Sort> {
        match op {
            Op::Source(_) => None,
            Op::File(_) | Op::Merge(_) | Op::Diff(_) => Some(Sort::Files),
            Op::Exec(_) if is_emulated => Some(Sort::Emulated),
            Op::Exec(_) => Some(Sort::Native),
        }
    }

    /// What is guessed where no step of the sort is known: emulation is five times as slow, roughly.
    fn guess(self) -> Duration {
        match self {
            Sort::Files => Duration::from_millis(20),
            Sort::Native => Duration::from_secs(2),
            Sort::Emulated => Duration::from_secs(10),
        }
    }
}

/// The durations of earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    records: BTreeMap<StepName, Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    milliseconds: u32,
    /// Runs in which other steps ran and this one did not.
    age: u16,
}

impl Durations {
    /// Reads what [`Durations::to_bytes`] wrote; of bytes that are not understood nothing is known.
    pub fn from_bytes(bytes: &[u8]) -> Durations {
        let records = bytes.strip_prefix(MAGIC).filter(|rest| rest.len().is_multiple_of(RECORD)).unwrap_or_default();
        let record = |bytes: &[u8]| {
            let name = StepName(bytes[..16].try_into().ok()?);
            let milliseconds = u32::from_le_bytes(bytes[16..20].try_into().ok()?);
            Some((name, Record { milliseconds, age: u16::from_le_bytes(bytes[20..].try_into().ok()?) }))
        };
        Durations { records: records.chunks_exact(RECORD).filter_map(record).collect() }
    }

    /// Returns the bytes to keep for the next run.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, record) in &self.records {
            bytes.extend(name.0);
            bytes.extend(record.milliseconds.to_le_bytes());
            bytes.extend(record.age.to_le_bytes());
        }
        bytes
    }

    /// Notes what ran in a run and how long, half of it what was known before: one slow day is soon forgotten. What was not
    /// of use for longest goes where there is too much.
    pub fn note(&mut self, ran: impl IntoIterator<Item = (StepName, Duration)>) {
        for record in self.records.values_mut() {
            record.age = record.age.saturating_add(1);
        }
        for (name, duration) in ran {
            let new = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
            let old = self.records.get(&name).map_or(new, |record| record.milliseconds);
            self.records.insert(name, Record { milliseconds: old / 2 + new / 2 + (old & new & 1), age: 0 });
        }
        let n_excess = self.records.len().saturating_sub(MAX_RECORDS);
        if n_excess > 0 {
            let mut by_age: Vec<(u16, StepName)> =
                self.records.iter().map(|(name, record)| (record.age, *name)).collect();
            by_age.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
            by_age[..n_excess].iter().for_each(|(_, name)| _ = self.records.remove(name));
        }
    }

    /// Returns what to expect of `steps`, sources apart: what is remembered; for new steps the median of those of
    /// their sort that are remembered, or a guess.
    pub fn expected(
        &self,
        definition: &Definition,
        steps: &[VertexId],
        is_emulated: &dyn Fn(VertexId) -> bool,
    ) -> BTreeMap<VertexId, Expected> {
        let (mut known, mut unknown) = (BTreeMap::new(), Vec::new());
        let mut sorts: BTreeMap<Sort, Vec<u32>> = BTreeMap::new();
        for id in steps {
            let is_emulated = is_emulated(*id);
            let Some(sort) = Sort::of(&definition.vertex(*id).op, is_emulated) else { continue };
            match self.records.get(&StepName::of(definition, *id)) {
                Some(Record { milliseconds, .. }) => {
                    sorts.entry(sort).or_default().push(*milliseconds);
                    let duration = Duration::from_millis(u64::from(*milliseconds));
                    known.insert(*id, Expected { duration, is_emulated });
                }
                None => unknown.push((*id, sort)),
            }
        }
        for (id, sort) in unknown {
            let median = sorts.get_mut(&sort).map(|all| {
                let middle = all.len() / 2;
                Duration::from_millis(u64::from(*all.select_nth_unstable(middle).1))
            });
            let duration = median.unwrap_or(sort.guess());
            known.insert(id, Expected { duration, is_emulated: sort == Sort::Emulated });
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> StepName {
        let mut name = [0; 16];
        name[..4].copy_from_slice(&n.to_le_bytes());
        StepName(name)
    }

    fn seconds(durations: &Durations, n: u32) -> Option<f64> {
        durations.records.get(&name(n)).map(|record| f64::from(record.milliseconds) / 1000.0)
    }

    #[test]
    fn what_is_known_survives_a_run_and_moves_half_way() {
        let mut durations = Durations::default();
        durations.note([(name(1), Duration::from_secs(4)), (name(2), Duration::from_secs(1))]);
        let mut again = Durations::from_bytes(&durations.to_bytes());
        assert_eq!(again, durations);
        again.note([(name(1), Duration::from_secs(8))]);
        assert_eq!((seconds(&again, 1), seconds(&again, 2)), (Some(6.0), Some(1.0)));
        again.note([(name(3), Duration::from_secs(u64::MAX))]);
        assert_eq!(seconds(&again, 3), Some(f64::from(u32::MAX) / 1000.0));
    }

    #[test]
    fn other_bytes_are_nothing_known() {
        for bytes in [&b""[..], b"bake-durations-2\n", b"bake-durations-1\nshort"] {
            assert_eq!(Durations::from_bytes(bytes), Durations::default());
        }
    }

    #[test]
    fn what_is_of_no_use_goes_first() {
        let mut durations = Durations::default();
        durations.note([(name(0), Duration::from_secs(1))]);
        let most = u32::try_from(MAX_RECORDS).expect("fits");
        durations.note((1..=most).map(|n| (name(n), Duration::from_secs(2))));
        assert_eq!((durations.records.len(), seconds(&durations, 0)), (MAX_RECORDS, None));
    }
}
