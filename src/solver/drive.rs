//! Drives a [`Scheduler`]: one thread owns it and never waits on work; named threads probe and execute.
//!
//! Work items go out on unbounded queues (the scheduler bounds what runs), events come back on one that never blocks the
//! sender. This is the one part of the solver that sees threads and the clock.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::durations::Expected;
use super::key::{CacheKey, Content};
use super::notice::{Listener, Notice, Stream};
use super::scheduler::{Action, Event, Memory, OnFailure, Scheduler, Verdict, reachable};
use crate::graph::{Definition, Op, SourceOp, VertexId};
use crate::sys::cancel::CancelToken;

/// Does the work of vertices.
pub trait Worker: Sync {
    /// Why a step failed.
    type Error: Send;

    /// Computes a vertex's key and asks the cache.
    fn probe(&self, vertex: VertexId, inputs: &[Content]) -> Result<Verdict, Self::Error>;

    /// Runs a step and stores its result under `key`. Gives up soon after `cancel` is set.
    fn execute(&self, step: &Step<'_>) -> Result<Content, Self::Error>;

    /// Says whether the step's binaries run under emulation.
    fn is_emulated(&self, vertex: VertexId) -> bool;
}

/// A step that is to run.
pub struct Step<'a> {
    /// Which.
    pub vertex: VertexId,
    /// The content of its inputs, in their order.
    pub inputs: &'a [Content],
    /// What its result is stored under.
    pub key: &'a CacheKey,
    /// Where its output goes; may wait for the listener.
    pub on_output: &'a (dyn Fn(Stream, &[u8]) + Sync),
    /// When to give up.
    pub cancel: &'a CancelToken,
}

/// How to drive.
pub struct Drive<'a> {
    /// The steps.
    pub definition: &'a Arc<Definition>,
    /// The vertices whose content is asked for.
    pub wanted: &'a [VertexId],
    /// How many steps run at once.
    pub n_slots: usize,
    /// How long steps are expected to take.
    pub expected: &'a BTreeMap<VertexId, Expected>,
    /// Says whether memory is short; asked while steps run. Steps that are ready wait then.
    pub memory: &'a (dyn Fn() -> Memory + Sync),
    /// What a failure does to the rest.
    pub on_failure: OnFailure,
    /// Is told what happens.
    pub listener: &'a dyn Listener,
    /// When the command began; notices count from here.
    pub begin: Instant,
    /// When to give up.
    pub cancel: &'a CancelToken,
    /// Is set when all that runs is to stop: the user asked, or something failed.
    pub stop: &'a CancelToken,
}

/// What came of a drive.
#[derive(Debug)]
pub struct Solved<E> {
    /// Content of every vertex that is done.
    pub contents: BTreeMap<VertexId, Content>,
    /// What failed, in the order in which it failed; cancelled steps are not among them.
    pub failures: Vec<StepFailure<E>>,
    /// What ran to its end, and how long.
    pub ran: Vec<(VertexId, Duration)>,
}

/// A step that failed.
#[derive(Debug)]
pub struct StepFailure<E> {
    /// Which.
    pub vertex: VertexId,
    /// How long it ran.
    pub after: Duration,
    /// Why.
    pub error: E,
}

struct Work {
    vertex: VertexId,
    inputs: Vec<Content>,
    key: Option<CacheKey>,
}

enum Report<E> {
    Probed(VertexId, Caught<Verdict, E>),
    Executed(VertexId, Duration, Caught<Content, E>),
}

/// What the workers' reports amount to so far.
struct Told<E> {
    failures: Vec<StepFailure<E>>,
    ran: Vec<(VertexId, Duration)>,
    panic: Option<Panic>,
}

/// What a worker returned, or the payload of its panic.
type Caught<T, E> = Result<Result<T, E>, Panic>;

type Panic = Box<dyn Any + Send>;

/// Probing is short and mostly waits for the disk; hashing inside it is rayon's.
const N_PROBERS: usize = 4;

/// How often memory is looked at while steps run.
const MEMORY_PERIOD: Duration = Duration::from_millis(100);

/// Files from the network that are brought in at once, beside what else is probed.
const N_FETCHERS: usize = 8;

impl Drive<'_> {
    /// Runs all that is wanted and returns when nothing runs any more.
    ///
    /// # Panics
    /// If the worker does; but first all that runs is stopped.
    pub fn run<W: Worker>(&self, worker: &W) -> Solved<W::Error> {
        let wanted = reachable(self.definition, self.wanted);
        let steps: Vec<VertexId> = wanted.iter().copied().filter(|id| !self.is_source(*id)).collect();
        self.tell(Notice::Planned { definition: self.definition, wanted: &steps });
        let stop = self.stop;
        thread::scope(|scope| {
            let (reports, inbox) = mpsc::channel();
            let (probes, probe_queue) = mpsc::channel();
            let (steps, step_queue) = mpsc::channel();
            let (probe_queue, step_queue) = (Arc::new(Mutex::new(probe_queue)), Arc::new(Mutex::new(step_queue)));
            for n in 0..(N_PROBERS + self.n_fetchers(&wanted)).min(wanted.len()) {
                let (queue, reports) = (Arc::clone(&probe_queue), reports.clone());
                let prober = move || serve(&queue, |work| self.probe(worker, work, &reports));
                thread::Builder::new().name(format!("probe-{n}")).spawn_scoped(scope, prober).expect("threads start");
            }
            for n in 0..self.n_slots.clamp(1, wanted.len().max(1)) {
                let (queue, reports) = (Arc::clone(&step_queue), reports.clone());
                let runner = move || serve(&queue, |work| self.execute(worker, work, stop, &reports));
                thread::Builder::new().name(format!("step-{n}")).spawn_scoped(scope, runner).expect("threads start");
            }
            drop(reports);
            self.schedule(&inbox, &probes, &steps, stop)
        })
    }

    fn schedule<E: Send>(
        &self,
        inbox: &Receiver<Report<E>>,
        probes: &Sender<Work>,
        steps: &Sender<Work>,
        stop: &CancelToken,
    ) -> Solved<E> {
        let expected = |id: VertexId| self.expected.get(&id).copied().unwrap_or_default();
        let scheduler = Scheduler::new(self.definition, self.wanted, self.n_slots, self.on_failure);
        let mut scheduler = scheduler.expecting(&expected);
        let mut told = Told { failures: Vec::new(), ran: Vec::new(), panic: None };
        let mut actions = scheduler.on_event(Event::Begin);
        let (mut is_interrupted, mut looked) = (false, None::<Instant>);
        loop {
            for action in actions {
                self.act(&scheduler, action, probes, steps, stop);
            }
            if scheduler.is_finished() {
                break;
            }
            // Asked before each event, so that a build with much to report stops as soon as an idle one.
            if !is_interrupted && (self.cancel.is_cancelled() || told.panic.is_some()) {
                is_interrupted = true;
                actions = scheduler.on_event(Event::Interrupted);
                continue;
            }
            if scheduler.is_running() && looked.is_none_or(|at| at.elapsed() >= MEMORY_PERIOD) {
                looked = Some(Instant::now());
                actions = scheduler.on_event(Event::Memory((self.memory)()));
                if !actions.is_empty() {
                    continue;
                }
            }
            actions = match inbox.recv_timeout(Duration::from_millis(50)) {
                Ok(report) => scheduler.on_event(self.event(report, stop, &mut told)),
                Err(mpsc::RecvTimeoutError::Timeout) => Vec::new(),
                Err(mpsc::RecvTimeoutError::Disconnected) => unreachable!("workers live as long as their queues"),
            };
        }
        let Told { failures, ran, panic } = told;
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        let contents = reachable(self.definition, self.wanted)
            .into_iter()
            .filter_map(|id| Some((id, scheduler.content(id)?.clone())))
            .collect();
        Solved { contents, failures, ran }
    }

    fn event<E>(&self, report: Report<E>, stop: &CancelToken, told: &mut Told<E>) -> Event {
        let Told { failures, ran, panic } = told;
        let mut fail = |vertex, after, error| {
            // What was stopped did not fail by itself.
            if !stop.is_cancelled() && !self.cancel.is_cancelled() {
                failures.push(StepFailure { vertex, after, error });
            }
        };
        match report {
            Report::Probed(vertex, Ok(Ok(verdict))) => Event::Probed { vertex, verdict },
            Report::Probed(vertex, Ok(Err(error))) => {
                fail(vertex, Duration::ZERO, error);
                Event::Probed { vertex, verdict: Verdict::Failed }
            }
            Report::Executed(vertex, after, Ok(Ok(content))) => {
                ran.push((vertex, after));
                Event::Executed { vertex, content: Some(content) }
            }
            Report::Executed(vertex, after, Ok(Err(error))) => {
                fail(vertex, after, error);
                Event::Executed { vertex, content: None }
            }
            Report::Probed(vertex, Err(payload)) => {
                panic.get_or_insert(payload);
                Event::Probed { vertex, verdict: Verdict::Failed }
            }
            Report::Executed(vertex, _, Err(payload)) => {
                panic.get_or_insert(payload);
                Event::Executed { vertex, content: None }
            }
        }
    }

    fn act(
        &self,
        scheduler: &Scheduler,
        action: Action,
        probes: &Sender<Work>,
        steps: &Sender<Work>,
        stop: &CancelToken,
    ) {
        let work = |vertex| {
            let inputs = self.definition.vertex(vertex).inputs.iter();
            let inputs = inputs.map(|id| scheduler.content(*id).expect("inputs are done").clone()).collect();
            Work { vertex, inputs, key: scheduler.key(vertex).cloned() }
        };
        match action {
            Action::Probe(vertex) => _ = probes.send(work(vertex)),
            Action::Execute(vertex) => _ = steps.send(work(vertex)),
            Action::Stop => stop.cancel(),
            // What is only named, and brought in by those that read it, is no step.
            Action::Tell(vertex, _) if self.is_source(vertex) => {}
            Action::Tell(vertex, outcome) => self.tell(Notice::Finished { vertex, outcome }),
        }
    }

    fn probe<W: Worker>(&self, worker: &W, work: Work, reports: &Sender<Report<W::Error>>) {
        // A thread that died unheard would leave its vertex under way for ever.
        let verdict = catch_unwind(AssertUnwindSafe(|| worker.probe(work.vertex, &work.inputs)));
        _ = reports.send(Report::Probed(work.vertex, verdict));
    }

    fn execute<W: Worker>(&self, worker: &W, work: Work, stop: &CancelToken, reports: &Sender<Report<W::Error>>) {
        let vertex = work.vertex;
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.tell(Notice::Started { vertex, is_emulated: worker.is_emulated(vertex) });
            let on_output = |stream, bytes: &[u8]| self.tell(Notice::Output { vertex, stream, bytes });
            let key = work.key.as_ref().expect("a step runs after a miss");
            worker.execute(&Step { vertex, inputs: &work.inputs, key, on_output: &on_output, cancel: stop })
        }));
        _ = reports.send(Report::Executed(vertex, began.elapsed(), result));
    }

    /// Returns how many threads may wait for the network while others probe.
    fn n_fetchers(&self, wanted: &[VertexId]) -> usize {
        let is_fetched = |id: &&VertexId| {
            matches!(self.definition.vertex(**id).op, Op::Source(SourceOp::Git(_) | SourceOp::Http(_)))
        };
        wanted.iter().filter(is_fetched).count().min(N_FETCHERS)
    }

    fn is_source(&self, vertex: VertexId) -> bool {
        matches!(self.definition.vertex(vertex).op, Op::Source(_))
    }

    fn tell(&self, notice: Notice<'_>) {
        self.listener.on_notice(self.begin.elapsed(), notice);
    }
}

/// Takes work until the queue's sender is gone. The mutex protects only the queue's receiving end.
fn serve(queue: &Mutex<Receiver<Work>>, mut work: impl FnMut(Work)) {
    loop {
        let next = queue.lock().expect("no thread panics while it takes work").recv();
        match next {
            Ok(item) => work(item),
            Err(mpsc::RecvError) => return,
        }
    }
}
