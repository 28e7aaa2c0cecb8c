//! Whole builds of the pure scheduler on a clock that is counted, not waited for.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use bake::digest::{DiffId, Digest};
use bake::graph::{Definition, FileAction, FileOp, Op, VertexId, VertexMetadata};
use bake::solver::durations::Expected;
use bake::solver::key::{CacheKey, Content};
use bake::solver::notice::Outcome;
use bake::solver::scheduler::{Action, Event, OnFailure, Scheduler, Verdict};

use crate::support::Numbers;

/// What is to be built: for each step what it reads, and how long it takes.
struct Work {
    inputs: Vec<Vec<u32>>,
    durations: Vec<u64>,
}

impl Work {
    fn definition(&self) -> Definition {
        let mut definition = Definition::default();
        for (n, inputs) in self.inputs.iter().enumerate() {
            let action = FileAction::Mkdir { path: format!("/{n}"), mode: 0o755, owner: None };
            let op = Op::File(FileOp { root: None, actions: vec![action] });
            definition.add(op, inputs.iter().map(|i| VertexId(*i)).collect(), VertexMetadata::default());
        }
        definition
    }

    /// For each step the longest way before it begins, and the longest after it ended.
    fn heads_and_tails(&self) -> Vec<(u64, u64)> {
        let mut ways = vec![(0, 0); self.inputs.len()];
        for (step, inputs) in self.inputs.iter().enumerate() {
            let end = |input: &u32| ways[*input as usize].0 + self.durations[*input as usize];
            ways[step].0 = inputs.iter().map(end).max().unwrap_or(0);
        }
        for (step, inputs) in self.inputs.iter().enumerate().rev() {
            let after = ways[step].1 + self.durations[step];
            inputs.iter().for_each(|input| ways[*input as usize].1 = ways[*input as usize].1.max(after));
        }
        ways
    }

    /// No schedule is shorter: the longest way through the graph, and all work shared evenly.
    fn lower_bound(&self, n_slots: u64) -> u64 {
        let ways = self.heads_and_tails();
        let through = ways.iter().zip(&self.durations).map(|((head, tail), duration)| head + duration + tail);
        through.max().unwrap_or(0).max(self.durations.iter().sum::<u64>().div_ceil(n_slots))
    }

    /// No schedule is shorter than this either: the steps that cannot begin before some time and leave some time behind
    /// them share what is between evenly. Where a graph is narrow at its ends, the simple bound cannot be reached.
    fn tight_bound(&self, n_slots: u64) -> u64 {
        let ways = self.heads_and_tails();
        let between = |(first, last): (u64, u64)| {
            let inside = ways.iter().zip(&self.durations).filter(|((head, tail), _)| *head >= first && *tail >= last);
            first + inside.map(|(_, duration)| duration).sum::<u64>().div_ceil(n_slots) + last
        };
        let pairs = ways.iter().flat_map(|(head, _)| ways.iter().map(|(_, tail)| (*head, *tail)));
        pairs.map(between).max().unwrap_or(0).max(self.lower_bound(n_slots))
    }
}

fn content(vertex: VertexId) -> Content {
    Content::Rootfs(vec![DiffId(Digest::of(&vertex.0.to_le_bytes()))])
}

fn miss(vertex: VertexId) -> Event {
    let key = CacheKey { digest: Digest::of(&vertex.0.to_le_bytes()), ingredients: Vec::new() };
    Event::Probed { vertex, verdict: Verdict::Miss(key) }
}

/// Runs all of `work`, where every step is a miss, and returns when the last one ends. `expects` is what the scheduler is
/// told of each step.
fn makespan(work: &Work, n_slots: usize, expects: &dyn Fn(usize) -> u64) -> u64 {
    let definition = work.definition();
    let wanted: Vec<VertexId> = definition.ids().collect();
    let expected =
        |id: VertexId| Expected { duration: Duration::from_millis(expects(id.0 as usize)), is_emulated: false };
    let mut scheduler = Scheduler::new(&definition, &wanted, n_slots, OnFailure::Stop).expecting(&expected);
    let (mut now, mut running, mut n_ran) = (0, BinaryHeap::new(), 0);
    let mut actions = scheduler.on_event(Event::Begin);
    loop {
        // Asking the cache takes no time here; all that is ready is known before the clock moves.
        let mut more = Vec::new();
        let mut asked = false;
        for action in actions {
            match action {
                Action::Probe(vertex) => {
                    asked = true;
                    more.extend(scheduler.on_event(miss(vertex)));
                }
                Action::Execute(vertex) => {
                    n_ran += 1;
                    running.push(Reverse((now + work.durations[vertex.0 as usize], vertex)));
                    assert!(running.len() <= n_slots);
                }
                Action::Tell(_, outcome) => assert_eq!(outcome, Outcome::Done),
                Action::Stop => panic!("nothing failed"),
            }
        }
        if asked || !more.is_empty() {
            actions = more;
            continue;
        }
        let Some(Reverse((end, vertex))) = running.pop() else { break };
        now = end;
        actions = scheduler.on_event(Event::Executed { vertex, content: Some(content(vertex)) });
    }
    assert!(scheduler.is_finished());
    assert_eq!(n_ran, work.inputs.len());
    now
}

/// Steps of a monorepo: chains on a few bases, some of which read another's result.
fn chains(numbers: &mut Numbers, n: usize) -> Work {
    let mut inputs: Vec<Vec<u32>> = Vec::new();
    let mut ends: Vec<u32> = Vec::new();
    while inputs.len() < n {
        let mut last = ends.get(numbers.below(2 * ends.len() + 1)).copied().filter(|_| numbers.below(3) == 0);
        for _ in 0..2 + numbers.below(6) {
            let mut reads: Vec<u32> = last.into_iter().collect();
            if numbers.below(6) == 0 && !inputs.is_empty() {
                reads.push(numbers.below(inputs.len()) as u32);
            }
            reads.dedup();
            last = Some(inputs.len() as u32);
            inputs.push(reads);
        }
        ends.extend(last);
    }
    inputs.truncate(n);
    let durations = (0..n).map(|_| 50 + numbers.below(2_000) as u64).collect();
    Work { inputs, durations }
}

/// Any earlier step may be read.
fn any(numbers: &mut Numbers, n: usize) -> Work {
    let reads = |numbers: &mut Numbers, v: usize| -> Vec<u32> {
        let n_reads = numbers.below(4).min(v);
        (0..n_reads).map(|_| numbers.below(v) as u32).collect::<BTreeSet<u32>>().into_iter().collect()
    };
    let inputs = (0..n).map(|v| reads(numbers, v)).collect();
    // Most are short, few are long.
    let durations = (0..n).map(|_| 10 << numbers.below(8)).collect();
    Work { inputs, durations }
}

/// Stages, each of which waits for all of the one before.
fn layers(numbers: &mut Numbers, n: usize) -> Work {
    let mut inputs: Vec<Vec<u32>> = Vec::new();
    let mut before: Vec<u32> = Vec::new();
    while inputs.len() < n {
        let first = inputs.len() as u32;
        let width = 20 + numbers.below(30);
        (0..width).for_each(|_| inputs.push(before.clone()));
        before = (first..first + width as u32).collect();
    }
    inputs.truncate(n);
    let durations = (0..n).map(|_| 100 + numbers.below(900) as u64).collect();
    Work { inputs, durations }
}

type Shape = fn(&mut Numbers, usize) -> Work;

/// Nine hundred builds. Hardly one takes a tenth longer than the simple bound, and each of those is near the tight one.
#[test]
fn two_hundred_steps_take_hardly_longer_than_they_must() {
    let shapes: [(&str, Shape); 3] = [("chains", chains), ("any", any), ("layers", layers)];
    let (mut ratios, mut n_over) = (Vec::new(), 0);
    for (shape, make) in shapes {
        for seed in 0..60 {
            let work = make(&mut Numbers(seed), 200);
            for n_slots in [1, 2, 3, 4, 8] {
                let took = makespan(&work, n_slots, &|step| work.durations[step]) as f64;
                let ratio = took / work.lower_bound(n_slots as u64) as f64;
                if ratio > 1.1 {
                    n_over += 1;
                    let ratio = took / work.tight_bound(n_slots as u64) as f64;
                    assert!(ratio <= 1.1, "{shape}, seed {seed}, {n_slots} slots: {ratio:.3} of what must be");
                }
                ratios.push(ratio);
            }
        }
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean < 1.01 && n_over * 250 < ratios.len(), "mean {mean:.4}, {n_over} over");
}

/// What is remembered of earlier runs is a little off, and that does not matter; that nothing is known costs something.
#[test]
fn durations_that_are_off_by_a_third_do_as_well() {
    let (mut known, mut off, mut unknown) = (0, 0, 0);
    for seed in 0..40 {
        let work = chains(&mut Numbers(seed), 200);
        let numbers = &mut Numbers(seed + 1_000);
        let guesses: Vec<u64> = work.durations.iter().map(|d| d * (67 + numbers.below(67) as u64) / 100).collect();
        known += makespan(&work, 8, &|step| work.durations[step]);
        off += makespan(&work, 8, &|step| guesses[step]);
        unknown += makespan(&work, 8, &|_| 1_000);
    }
    assert!(off * 100 < known * 101, "{known} {off}");
    assert!(known < unknown, "{known} {unknown}");
}
