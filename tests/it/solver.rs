//! The scheduler against lists of events, and against a naive model on random graphs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bake::digest::{DiffId, Digest};
use bake::graph::{Definition, FileAction, FileOp, Op, VertexId, VertexMetadata};
use bake::solver::drive::{Drive, Step, Worker};
use bake::solver::durations::Expected;
use bake::solver::key::{CacheKey, Content};
use bake::solver::notice::{Listener, Notice, Outcome};
use bake::solver::scheduler::{Action, Event, Memory, OnFailure, Scheduler, Verdict};
use bake::sys::cancel::CancelToken;

use crate::support::Numbers;

/// Makes a graph: one entry a vertex, naming the vertices it reads.
fn graph(inputs: &[&[u32]]) -> Definition {
    let mut definition = Definition::default();
    for (n, inputs) in inputs.iter().enumerate() {
        let action = FileAction::Mkdir { path: format!("/{n}"), mode: 0o755, owner: None };
        let op = Op::File(FileOp { root: None, actions: vec![action] });
        definition.add(op, inputs.iter().map(|i| VertexId(*i)).collect(), VertexMetadata::default());
    }
    definition
}

fn content(name: &str) -> Content {
    Content::Rootfs(vec![DiffId(Digest::of(name.as_bytes()))])
}

fn miss(vertex: u32, key: &str) -> Event {
    let key = CacheKey { digest: Digest::of(key.as_bytes()), ingredients: Vec::new() };
    Event::Probed { vertex: VertexId(vertex), verdict: Verdict::Miss(key) }
}

fn hit(vertex: u32) -> Event {
    Event::Probed { vertex: VertexId(vertex), verdict: Verdict::Hit(content("hit")) }
}

fn executed(vertex: u32) -> Event {
    Event::Executed { vertex: VertexId(vertex), content: Some(content("ran")) }
}

fn failed(vertex: u32) -> Event {
    Event::Executed { vertex: VertexId(vertex), content: None }
}

fn probe(vertex: u32) -> Action {
    Action::Probe(VertexId(vertex))
}

fn execute(vertex: u32) -> Action {
    Action::Execute(VertexId(vertex))
}

fn tell(vertex: u32, outcome: Outcome) -> Action {
    Action::Tell(VertexId(vertex), outcome)
}

#[test]
fn a_hit_lets_its_readers_be_probed_and_nothing_runs() {
    let definition = graph(&[&[], &[0]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(1)], 2, OnFailure::Stop);
    assert_eq!(scheduler.on_event(Event::Begin), [probe(0)]);
    assert_eq!(scheduler.on_event(hit(0)), [tell(0, Outcome::Hit), probe(1)]);
    assert!(!scheduler.is_finished());
    assert_eq!(scheduler.on_event(hit(1)), [tell(1, Outcome::Hit)]);
    assert!(scheduler.is_finished());
}

#[test]
fn only_what_is_wanted_is_probed() {
    let definition = graph(&[&[], &[], &[0]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(2)], 2, OnFailure::Stop);
    assert_eq!(scheduler.on_event(Event::Begin), [probe(0)]);
}

#[test]
fn with_one_slot_the_longest_way_runs_first() {
    // 0 and 1 are both ready; 1 has two more steps behind it.
    let definition = graph(&[&[], &[], &[1], &[2]]);
    let wanted = [VertexId(0), VertexId(3)];
    let mut scheduler = Scheduler::new(&definition, &wanted, 1, OnFailure::Stop);
    assert_eq!(scheduler.on_event(Event::Begin), [probe(0), probe(1)]);
    // Nothing else is known yet, so the slot is not kept empty.
    assert_eq!(scheduler.on_event(miss(0, "0")), [execute(0)]);
    assert_eq!(scheduler.on_event(miss(1, "1")), []);
    assert_eq!(scheduler.on_event(executed(0)), [tell(0, Outcome::Done), execute(1)]);

    // 2 takes the slot; of 0 and 1, which wait for it, 1 has more behind it.
    let definition = graph(&[&[], &[], &[], &[1], &[3]]);
    let wanted = [VertexId(0), VertexId(2), VertexId(4)];
    let mut busy = Scheduler::new(&definition, &wanted, 1, OnFailure::Stop);
    busy.on_event(Event::Begin);
    assert_eq!(busy.on_event(miss(2, "2")), [execute(2)]);
    assert_eq!(busy.on_event(miss(0, "0")), []);
    assert_eq!(busy.on_event(miss(1, "1")), []);
    assert_eq!(busy.on_event(executed(2)), [tell(2, Outcome::Done), execute(1)]);
}

#[test]
fn the_way_that_takes_longest_runs_first_and_native_before_emulated() {
    // 0 takes the slot. Then 1, alone, takes longer than 2 and 3 together; 4 and 5 take as long as one another.
    let definition = graph(&[&[], &[], &[], &[2], &[], &[]]);
    let wanted: Vec<VertexId> = definition.ids().collect();
    let expected = |id: VertexId| Expected {
        duration: Duration::from_secs([1, 9, 4, 4, 2, 2][id.0 as usize]),
        is_emulated: id.0 == 4,
    };
    let mut scheduler = Scheduler::new(&definition, &wanted, 1, OnFailure::Stop).expecting(&expected);
    scheduler.on_event(Event::Begin);
    assert_eq!(scheduler.on_event(miss(0, "0")), [execute(0)]);
    for vertex in [1, 2, 4, 5] {
        assert_eq!(scheduler.on_event(miss(vertex, &vertex.to_string())), []);
    }
    assert_eq!(scheduler.on_event(executed(0)), [tell(0, Outcome::Done), execute(1)]);
    assert_eq!(scheduler.on_event(executed(1)), [tell(1, Outcome::Done), execute(2)]);
    assert_eq!(scheduler.on_event(executed(2)), [tell(2, Outcome::Done), probe(3), execute(5)]);
    assert_eq!(scheduler.on_event(miss(3, "3")), []);
    assert_eq!(scheduler.on_event(executed(5)), [tell(5, Outcome::Done), execute(3)]);
    assert_eq!(scheduler.on_event(executed(3)), [tell(3, Outcome::Done), execute(4)]);
}

#[test]
fn where_memory_is_short_one_step_runs_and_never_none() {
    let definition = graph(&[&[], &[], &[]]);
    let wanted: Vec<VertexId> = definition.ids().collect();
    let mut scheduler = Scheduler::new(&definition, &wanted, 3, OnFailure::Stop);
    scheduler.on_event(Event::Begin);
    assert_eq!(scheduler.on_event(Event::Memory(Memory::Short)), []);
    assert_eq!(scheduler.on_event(miss(0, "0")), [execute(0)]);
    assert_eq!(scheduler.on_event(miss(1, "1")), []);
    assert_eq!(scheduler.on_event(miss(2, "2")), []);
    assert_eq!(scheduler.on_event(executed(0)), [tell(0, Outcome::Done), execute(1)]);
    assert_eq!(scheduler.on_event(Event::Memory(Memory::Ample)), [execute(2)]);
}

#[test]
fn an_equal_step_follows_the_one_that_runs() {
    let definition = graph(&[&[], &[], &[1]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(0), VertexId(2)], 2, OnFailure::Stop);
    scheduler.on_event(Event::Begin);
    assert_eq!(scheduler.on_event(miss(0, "same")), [execute(0)]);
    assert_eq!(scheduler.on_event(miss(1, "same")), []);
    let actions = scheduler.on_event(executed(0));
    assert_eq!(actions, [tell(0, Outcome::Done), tell(1, Outcome::Hit), probe(2)]);
    assert_eq!(scheduler.content(VertexId(1)), Some(&content("ran")));
}

#[test]
fn a_failure_stops_the_rest_and_waits_for_what_runs() {
    let definition = graph(&[&[], &[], &[0], &[1]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(2), VertexId(3)], 2, OnFailure::Stop);
    scheduler.on_event(Event::Begin);
    scheduler.on_event(miss(0, "0"));
    scheduler.on_event(miss(1, "1"));
    let actions = scheduler.on_event(failed(0));
    let expected = [tell(0, Outcome::Failed), tell(2, Outcome::Cancelled), Action::Stop, tell(3, Outcome::Cancelled)];
    assert_eq!(actions, expected);
    assert!(!scheduler.is_finished());
    assert_eq!(scheduler.on_event(failed(1)), [tell(1, Outcome::Cancelled)]);
    assert!(scheduler.is_finished());
}

#[test]
fn keep_going_cancels_only_what_depends_on_the_failure() {
    let definition = graph(&[&[], &[], &[0], &[1]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(2), VertexId(3)], 2, OnFailure::KeepGoing);
    scheduler.on_event(Event::Begin);
    scheduler.on_event(miss(0, "0"));
    scheduler.on_event(miss(1, "1"));
    assert_eq!(scheduler.on_event(failed(0)), [tell(0, Outcome::Failed), tell(2, Outcome::Cancelled)]);
    assert_eq!(scheduler.on_event(executed(1)), [tell(1, Outcome::Done), probe(3)]);
    assert_eq!(scheduler.on_event(hit(3)), [tell(3, Outcome::Hit)]);
    assert!(scheduler.is_finished());
}

#[test]
fn an_interrupt_during_a_probe_runs_nothing_more() {
    let definition = graph(&[&[], &[0]]);
    let mut scheduler = Scheduler::new(&definition, &[VertexId(1)], 2, OnFailure::Stop);
    scheduler.on_event(Event::Begin);
    assert_eq!(scheduler.on_event(Event::Interrupted), [Action::Stop, tell(1, Outcome::Cancelled)]);
    assert!(!scheduler.is_finished());
    assert_eq!(scheduler.on_event(miss(0, "0")), [tell(0, Outcome::Cancelled)]);
    assert!(scheduler.is_finished());
}

#[test]
fn random_graphs_end_as_the_naive_model_says() {
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let n = 1 + numbers.below(14);
        let inputs: Vec<Vec<u32>> =
            (0..n).map(|v| (0..v).filter(|_| numbers.below(3) == 0).map(|i| i as u32).collect()).collect();
        let definition = graph(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let is_bad: Vec<bool> = (0..n).map(|_| numbers.below(8) == 0).collect();
        let wanted: Vec<VertexId> = definition.ids().collect();
        let n_slots = 1 + numbers.below(3);
        let mut scheduler = Scheduler::new(&definition, &wanted, n_slots, OnFailure::KeepGoing);
        let mut pending = scheduler.on_event(Event::Begin);
        let mut n_executed: BTreeMap<VertexId, usize> = BTreeMap::new();
        let mut told: BTreeMap<VertexId, Outcome> = BTreeMap::new();
        let mut n_running = 0;
        while !pending.is_empty() {
            let memory = if numbers.below(2) == 0 { Memory::Short } else { Memory::Ample };
            let more = scheduler.on_event(Event::Memory(memory));
            n_running += more.iter().filter(|a| matches!(a, Action::Execute(_))).count();
            pending.extend(more);
            let event = match pending.swap_remove(numbers.below(pending.len())) {
                Action::Probe(v) if numbers.below(4) == 0 && !is_bad[v.0 as usize] => hit(v.0),
                Action::Probe(v) => miss(v.0, &v.0.to_string()),
                Action::Execute(v) => {
                    *n_executed.entry(v).or_default() += 1;
                    n_running -= 1;
                    if is_bad[v.0 as usize] { failed(v.0) } else { executed(v.0) }
                }
                Action::Tell(v, outcome) => {
                    assert_eq!(told.insert(v, outcome), None, "told once, seed {seed}");
                    continue;
                }
                Action::Stop => panic!("keeps going, seed {seed}"),
            };
            let actions = scheduler.on_event(event);
            n_running += actions.iter().filter(|a| matches!(a, Action::Execute(_))).count();
            assert!(n_running <= n_slots, "seed {seed}");
            pending.extend(actions);
        }
        assert!(scheduler.is_finished(), "seed {seed}");
        assert!(n_executed.values().all(|n| *n == 1), "seed {seed}");
        let mut is_done = vec![false; n];
        for v in 0..n {
            is_done[v] = !is_bad[v] && inputs[v].iter().all(|i| is_done[*i as usize]);
            let is_told_done = matches!(told[&VertexId(v as u32)], Outcome::Done | Outcome::Hit);
            assert_eq!(is_told_done, is_done[v], "vertex {v}, seed {seed}");
        }
    }
}

/// Runs nothing, counts, and can be told to fail or to wait for the cancel token.
#[derive(Default)]
struct FakeWorker {
    n_executed: AtomicUsize,
    fails: BTreeSet<VertexId>,
    waits: BTreeSet<VertexId>,
}

impl Worker for FakeWorker {
    type Error = String;

    fn probe(&self, vertex: VertexId, _inputs: &[Content]) -> Result<Verdict, String> {
        let key = CacheKey { digest: Digest::of(&vertex.0.to_le_bytes()), ingredients: Vec::new() };
        Ok(Verdict::Miss(key))
    }

    fn execute(&self, step: &Step<'_>) -> Result<Content, String> {
        self.n_executed.fetch_add(1, Ordering::SeqCst);
        if self.fails.contains(&step.vertex) {
            return Err("exit code 1".to_owned());
        }
        while self.waits.contains(&step.vertex) {
            if step.cancel.is_cancelled() {
                return Err("stopped".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(content("ran"))
    }

    fn is_emulated(&self, _vertex: VertexId) -> bool {
        false
    }
}

#[derive(Default)]
struct Outcomes(Mutex<BTreeMap<VertexId, Outcome>>);

impl Listener for Outcomes {
    fn on_notice(&self, _at: Duration, notice: Notice<'_>) {
        if let Notice::Finished { vertex, outcome } = notice {
            self.0.lock().expect("not poisoned").insert(vertex, outcome);
        }
    }
}

fn drive(worker: &FakeWorker, definition: Definition, cancel: &CancelToken) -> (usize, Vec<VertexId>, Outcomes) {
    let definition = Arc::new(definition);
    let wanted: Vec<VertexId> = definition.ids().collect();
    let listener = Outcomes::default();
    let drive = Drive {
        definition: &definition,
        wanted: &wanted,
        n_slots: 3,
        expected: &BTreeMap::new(),
        memory: &|| Memory::Ample,
        on_failure: OnFailure::Stop,
        listener: &listener,
        begin: Instant::now(),
        cancel,
        stop: &CancelToken::default(),
    };
    let solved = drive.run(worker);
    (solved.contents.len(), solved.failures.iter().map(|f| f.vertex).collect(), listener)
}

#[test]
fn a_drive_runs_each_step_once() {
    let worker = FakeWorker::default();
    let inputs: Vec<Vec<u32>> = (0..200u32).map(|n| (n.saturating_sub(3)..n).collect()).collect();
    let definition = graph(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (n_done, failures, _) = drive(&worker, definition, &CancelToken::default());
    assert_eq!((n_done, failures.len(), worker.n_executed.into_inner()), (200, 0, 200));
}

#[test]
fn a_failure_stops_a_step_that_would_never_end_and_is_the_only_one_reported() {
    let worker = FakeWorker { fails: [VertexId(1)].into(), waits: [VertexId(0)].into(), ..FakeWorker::default() };
    let (n_done, failures, outcomes) = drive(&worker, graph(&[&[], &[], &[0]]), &CancelToken::default());
    assert_eq!((n_done, failures), (0, vec![VertexId(1)]));
    let outcomes = outcomes.0.into_inner().expect("not poisoned");
    let expected =
        [(VertexId(0), Outcome::Cancelled), (VertexId(1), Outcome::Failed), (VertexId(2), Outcome::Cancelled)];
    assert_eq!(outcomes, expected.into());
}

#[test]
fn an_interrupted_drive_ends_without_failures() {
    let worker = FakeWorker { waits: [VertexId(0)].into(), ..FakeWorker::default() };
    let cancel = CancelToken::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while worker.n_executed.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            cancel.cancel();
        });
        let (n_done, failures, _) = drive(&worker, graph(&[&[], &[0]]), &cancel);
        assert_eq!((n_done, failures.len()), (0, 0));
    });
}

/// Panics at a vertex, while it is probed or while it runs; others run until they are stopped.
struct PanickingWorker {
    in_probe: bool,
}

impl Worker for PanickingWorker {
    type Error = String;

    fn probe(&self, vertex: VertexId, inputs: &[Content]) -> Result<Verdict, String> {
        assert!(!(self.in_probe && vertex == VertexId(0)), "on purpose");
        FakeWorker::default().probe(vertex, inputs)
    }

    fn execute(&self, step: &Step<'_>) -> Result<Content, String> {
        assert!(step.vertex != VertexId(0), "on purpose");
        while !step.cancel.is_cancelled() {
            std::thread::yield_now();
        }
        Err("stopped".to_owned())
    }

    fn is_emulated(&self, _vertex: VertexId) -> bool {
        false
    }
}

#[test]
fn a_worker_that_panics_ends_the_drive_with_its_panic() {
    for in_probe in [true, false] {
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let definition = Arc::new(graph(&[&[], &[], &[0]]));
            let (wanted, listener) = ([VertexId(1), VertexId(2)], Outcomes::default());
            let drive = Drive {
                definition: &definition,
                wanted: &wanted,
                n_slots: 2,
                expected: &BTreeMap::new(),
                memory: &|| Memory::Ample,
                on_failure: OnFailure::KeepGoing,
                listener: &listener,
                begin: Instant::now(),
                cancel: &CancelToken::default(),
                stop: &CancelToken::default(),
            };
            let run = std::panic::AssertUnwindSafe(|| drive.run(&PanickingWorker { in_probe }));
            let payload = std::panic::catch_unwind(run).expect_err("the worker panicked");
            _ = sender.send(payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        });
        let text = ended.recv_timeout(Duration::from_secs(20)).expect("the drive ends");
        assert_eq!(text.as_deref(), Some("on purpose"), "in probe: {in_probe}");
    }
}
