//! The scheduler: a pure state machine over the wanted part of a [`Definition`].
//!
//! 1. A vertex whose inputs are all done is *probed*: the worker computes its cache key and asks the store.
//! 2. A hit is done. A miss is ready to run, or *follows* an equal step (same key) that runs already.
//! 3. Of the ready vertices the one with the longest way to the end runs first, as long as there is a free slot and memory
//!    for one more. Of two ways that are as long, the native step's comes before the emulated one's.
//! 4. A failure cancels what depends on it, and everything else too unless the build keeps going.
//!
//! It never waits and does no IO: `fn on_event(&mut self, Event) -> Vec<Action>`. It does not know what an op does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::durations::Expected;
use super::key::{CacheKey, Content};
use super::notice::Outcome;
use crate::digest::Digest;
use crate::graph::{Definition, VertexId};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The build begins; comes first and once.
    Begin,
    /// The cache was asked.
    Probed {
        /// For which vertex.
        vertex: VertexId,
        /// Its answer.
        verdict: Verdict,
    },
    /// A step that ran ended.
    Executed {
        /// Which.
        vertex: VertexId,
        /// Its result; `None` where it failed or was stopped.
        content: Option<Content>,
    },
    /// Memory is short, or is so no more.
    Memory(Memory),
    /// The user asked to stop.
    Interrupted,
}

/// Whether more steps may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// As many as there are slots.
    #[default]
    Ample,
    /// None while one runs: another would make all of them slow, or have one killed.
    Short,
}

/// What the cache says of a step.
#[derive(Debug)]
pub enum Verdict {
    /// Its result is known.
    Hit(Content),
    /// It has to run.
    Miss(CacheKey),
    /// Its key could not be computed; the step counts as failed.
    Failed,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Compute the key of a vertex and ask the cache; ends with [`Event::Probed`].
    Probe(VertexId),
    /// Run a step; ends with [`Event::Executed`].
    Execute(VertexId),
    /// Stop all that runs; each still ends with its event.
    Stop,
    /// Tell the listener that a vertex ended.
    Tell(VertexId, Outcome),
}

/// What a failure does to the steps that do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are cancelled.
    #[default]
    Stop,
    /// They go on.
    KeepGoing,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Some inputs are not done; how many distinct ones.
    Waiting(usize),
    /// The worker computes its key and asks the cache.
    Probing,
    /// A miss; waits for a slot.
    Ready,
    /// A miss; an equal step runs, whose result it takes.
    Following,
    /// A slot is taken.
    Running,
    /// Its content is known.
    Done(Content),
    /// It, or something it needs, failed; or it was cancelled.
    Ended,
}

/// Decides what runs next.
#[derive(Debug)]
pub struct Scheduler {
    states: BTreeMap<VertexId, State>,
    readers: BTreeMap<VertexId, Vec<VertexId>>,
    /// How urgent each vertex is.
    priorities: BTreeMap<VertexId, Priority>,
    /// Ready vertices, the one to run next last.
    ready: BTreeSet<(Priority, Reverse<VertexId>)>,
    keys: BTreeMap<VertexId, CacheKey>,
    /// Which vertex with that key runs or waits for a slot, and who follows it.
    leaders: BTreeMap<Digest, (VertexId, Vec<VertexId>)>,
    n_running: usize,
    n_probing: usize,
    n_slots: usize,
    memory: Memory,
    on_failure: OnFailure,
    is_stopping: bool,
}

/// Greater is more urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    /// Longest way from a vertex to the end, itself included, in microseconds.
    height: u64,
    is_native: bool,
}

impl Scheduler {
    /// Makes a scheduler for `wanted` and all that it reads; at most `n_slots` steps run at once (at least one). All steps
    /// count as taking the same time.
    pub fn new(definition: &Definition, wanted: &[VertexId], n_slots: usize, on_failure: OnFailure) -> Scheduler {
        let reachable = reachable(definition, wanted);
        let mut readers: BTreeMap<VertexId, Vec<VertexId>> = BTreeMap::new();
        let mut states = BTreeMap::new();
        for id in &reachable {
            let inputs: BTreeSet<VertexId> = definition.vertex(*id).inputs.iter().copied().collect();
            states.insert(*id, State::Waiting(inputs.len()));
            for input in inputs {
                readers.entry(input).or_default().push(*id);
            }
        }
        let scheduler = Scheduler {
            states,
            readers,
            priorities: BTreeMap::new(),
            ready: BTreeSet::new(),
            keys: BTreeMap::new(),
            leaders: BTreeMap::new(),
            n_running: 0,
            n_probing: 0,
            n_slots: n_slots.max(1),
            memory: Memory::Ample,
            on_failure,
            is_stopping: false,
        };
        let same = Expected { duration: Duration::from_secs(1), is_emulated: false };
        scheduler.expecting(&|_| same)
    }

    /// Says how long each step is expected to take; before the first event.
    pub fn expecting(mut self, expected: &dyn Fn(VertexId) -> Expected) -> Scheduler {
        // A reader's id is greater than its inputs'.
        for id in self.states.keys().rev() {
            let above = self.readers.get(id).into_iter().flatten().map(|reader| self.priorities[reader].height).max();
            let Expected { duration, is_emulated } = expected(*id);
            let own = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            // A step that takes no time is still one more to begin.
            let height = above.unwrap_or(0).saturating_add(own).saturating_add(1);
            self.priorities.insert(*id, Priority { height, is_native: !is_emulated });
        }
        self
    }

    /// Takes an event and returns what is to be done, in order.
    pub fn on_event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => {
                let begin: Vec<VertexId> =
                    self.states.iter().filter(|(_, s)| **s == State::Waiting(0)).map(|(id, _)| *id).collect();
                for id in begin {
                    self.probe(id, &mut actions);
                }
            }
            Event::Probed { vertex, verdict } => {
                self.n_probing -= 1;
                match verdict {
                    Verdict::Hit(content) => self.finish(vertex, content, Outcome::Hit, &mut actions),
                    Verdict::Failed => self.fail(vertex, Outcome::Failed, &mut actions),
                    Verdict::Miss(_) if self.is_stopping => self.fail(vertex, Outcome::Cancelled, &mut actions),
                    Verdict::Miss(key) => self.enqueue(vertex, key),
                }
            }
            Event::Executed { vertex, content } => {
                self.n_running -= 1;
                let followers = self.release(vertex);
                match content {
                    Some(content) => {
                        self.finish(vertex, content.clone(), Outcome::Done, &mut actions);
                        for follower in followers {
                            self.finish(follower, content.clone(), Outcome::Hit, &mut actions);
                        }
                    }
                    None => {
                        let outcome = if self.is_stopping { Outcome::Cancelled } else { Outcome::Failed };
                        self.fail(vertex, outcome, &mut actions);
                        for follower in followers {
                            self.fail(follower, Outcome::Cancelled, &mut actions);
                        }
                    }
                }
            }
            Event::Memory(memory) => self.memory = memory,
            Event::Interrupted => self.stop(&mut actions),
        }
        self.fill_slots(&mut actions);
        actions
    }

    /// Says whether a step runs.
    pub fn is_running(&self) -> bool {
        self.n_running > 0
    }

    /// Says whether nothing runs and nothing is left that could.
    pub fn is_finished(&self) -> bool {
        let is_ended = |state: &State| matches!(state, State::Done(_) | State::Ended);
        self.n_running == 0 && self.n_probing == 0 && self.states.values().all(is_ended)
    }

    /// Returns a done vertex's content.
    pub fn content(&self, vertex: VertexId) -> Option<&Content> {
        match self.states.get(&vertex) {
            Some(State::Done(content)) => Some(content),
            _ => None,
        }
    }

    /// Returns the key that a vertex was found not to be in the cache under.
    pub fn key(&self, vertex: VertexId) -> Option<&CacheKey> {
        self.keys.get(&vertex)
    }

    fn probe(&mut self, vertex: VertexId, actions: &mut Vec<Action>) {
        self.states.insert(vertex, State::Probing);
        self.n_probing += 1;
        actions.push(Action::Probe(vertex));
    }

    fn enqueue(&mut self, vertex: VertexId, key: CacheKey) {
        let digest = key.digest;
        self.keys.insert(vertex, key);
        if let Some((_, followers)) = self.leaders.get_mut(&digest) {
            followers.push(vertex);
            self.states.insert(vertex, State::Following);
            return;
        }
        self.leaders.insert(digest, (vertex, Vec::new()));
        self.states.insert(vertex, State::Ready);
        self.ready.insert((self.priorities[&vertex], Reverse(vertex)));
    }

    fn release(&mut self, vertex: VertexId) -> Vec<VertexId> {
        let leader = self.keys.get(&vertex).and_then(|key| self.leaders.remove(&key.digest));
        leader.map_or_else(Vec::new, |(_, followers)| followers)
    }

    fn fill_slots(&mut self, actions: &mut Vec<Action>) {
        let n_slots = if self.memory == Memory::Short { 1 } else { self.n_slots };
        while self.n_running < n_slots && !self.is_stopping {
            let Some((_, Reverse(vertex))) = self.ready.pop_last() else { return };
            self.states.insert(vertex, State::Running);
            self.n_running += 1;
            actions.push(Action::Execute(vertex));
        }
    }

    fn finish(&mut self, vertex: VertexId, content: Content, outcome: Outcome, actions: &mut Vec<Action>) {
        self.states.insert(vertex, State::Done(content));
        actions.push(Action::Tell(vertex, outcome));
        for reader in self.readers.get(&vertex).cloned().unwrap_or_default() {
            if let Some(State::Waiting(n_missing)) = self.states.get_mut(&reader) {
                *n_missing -= 1;
                if *n_missing == 0 && !self.is_stopping {
                    self.probe(reader, actions);
                }
            }
        }
    }

    fn fail(&mut self, vertex: VertexId, outcome: Outcome, actions: &mut Vec<Action>) {
        self.states.insert(vertex, State::Ended);
        actions.push(Action::Tell(vertex, outcome));
        let mut queue = self.readers.get(&vertex).cloned().unwrap_or_default();
        while let Some(reader) = queue.pop() {
            if matches!(self.states[&reader], State::Waiting(_)) {
                self.states.insert(reader, State::Ended);
                actions.push(Action::Tell(reader, Outcome::Cancelled));
                queue.extend(self.readers.get(&reader).into_iter().flatten());
            }
        }
        if outcome == Outcome::Failed && self.on_failure == OnFailure::Stop {
            self.stop(actions);
        }
    }

    /// Cancels all that has not begun and asks what runs to stop.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        actions.push(Action::Stop);
        self.ready.clear();
        for (id, state) in &mut self.states {
            if matches!(state, State::Waiting(_) | State::Ready | State::Following) {
                *state = State::Ended;
                actions.push(Action::Tell(*id, Outcome::Cancelled));
            }
        }
        for (_, followers) in self.leaders.values_mut() {
            followers.clear();
        }
    }
}

/// Returns `wanted` and all that it reads, ascending: inputs before their readers.
pub fn reachable(definition: &Definition, wanted: &[VertexId]) -> Vec<VertexId> {
    let mut seen = BTreeSet::new();
    let mut queue = wanted.to_vec();
    while let Some(id) = queue.pop() {
        if seen.insert(id) {
            queue.extend(definition.vertex(id).inputs.iter().copied());
        }
    }
    seen.into_iter().collect()
}
