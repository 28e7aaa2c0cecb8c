//! Sends the blobs of what is built while other steps still run. Nobody sees them until the release names them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::build::Build;
use super::failure::with_causes;
use super::solve::Lowered;
use crate::digest::DiffId;
use crate::export::image::ExportError;
use crate::export::push::Publisher;
use crate::graph::VertexId;
use crate::plan::{ImageShape, Output, PlannedTarget};
use crate::reference::Reference;
use crate::solver::drive::Solved;
use crate::solver::key::Content;
use crate::sys::cancel::CancelToken;

/// Images that are put together and sent at once, beside the steps.
const N_THREADS: usize = 2;

/// Is told of each step that ran and what it made.
pub(super) type OnMade<'a> = dyn Fn(VertexId, &Content) + Sync + 'a;

/// What is sent ahead.
pub(super) struct Ahead<'a> {
    build: &'a Build<'a>,
    lowered: &'a Lowered,
    publisher: &'a Publisher<'a>,
    /// Ends what is being sent, and all that would follow.
    stop: CancelToken,
}

/// An image that is to be pushed, where to, and in which shape.
type Wanted<'a> = (&'a PlannedTarget, &'a [Reference], &'a ImageShape);

impl<'a> Ahead<'a> {
    /// Sends through `publisher`.
    pub(super) fn new(build: &'a Build<'a>, lowered: &'a Lowered, publisher: &'a Publisher<'a>) -> Ahead<'a> {
        Ahead { build, lowered, publisher, stop: CancelToken::default() }
    }

    /// Does `solve`, and sends meanwhile what the steps that it tells of have made. Returns when all of that is sent; if
    /// `solve` failed, what is under way is broken off, unless some of it is to be published all the same.
    pub(super) fn beside<E, F>(&self, solve: impl FnOnce(&OnMade<'_>) -> Result<Solved<E>, F>) -> Result<Solved<E>, F> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return solve(&|_, _| {});
        }
        let (sender, made) = mpsc::channel::<(VertexId, Vec<DiffId>)>();
        let made = Mutex::new(made);
        let (made, wanted) = (&made, &wanted);
        thread::scope(|scope| {
            let sent = move |vertex: VertexId, content: &Content| {
                if let (true, Content::Rootfs(stack)) = (wanted.contains_key(&vertex), content) {
                    _ = sender.send((vertex, stack.clone()));
                }
            };
            for n in 0..N_THREADS {
                let thread = thread::Builder::new().name(format!("send-{n}"));
                thread.spawn_scoped(scope, || self.serve(made, wanted)).expect("threads start");
            }
            let solved = solve(&sent);
            let is_for_nothing = match &solved {
                Ok(solved) => !solved.failures.is_empty() && !self.build.request.publish_partial,
                Err(_) => true,
            };
            if is_for_nothing || self.build.host.cancel.is_cancelled() {
                self.stop.cancel();
            }
            // The threads end when its queue is empty.
            drop(sent);
            solved
        })
    }

    /// Returns the images that are pushed, by the step that completes each.
    fn wanted(&self) -> BTreeMap<VertexId, Vec<Wanted<'_>>> {
        let mut wanted: BTreeMap<VertexId, Vec<Wanted<'_>>> = BTreeMap::new();
        for target in &self.build.plan.targets {
            let pushed = target.outputs.iter().filter_map(|output| match output {
                Output::Push(names, shape) | Output::PushByDigest(names, shape) => Some((&names[..], shape)),
                _ => None,
            });
            for (names, shape) in pushed {
                for planned in &target.platforms {
                    if let Some(root) = self.lowered.root(planned) {
                        wanted.entry(root).or_default().push((planned, names, shape));
                    }
                }
            }
        }
        wanted
    }

    /// Sends until the queue has ended, or something failed. The mutex protects only the queue's receiving end.
    fn serve(&self, made: &Mutex<Receiver<(VertexId, Vec<DiffId>)>>, wanted: &BTreeMap<VertexId, Vec<Wanted<'_>>>) {
        loop {
            let next = made.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((vertex, stack)) = next else { return };
            if self.stop.is_cancelled() {
                continue;
            }
            for (target, names, shape) in &wanted[&vertex] {
                if let Err(error) = self.send(target, names, &stack, shape) {
                    self.give_up(&error);
                    break;
                }
            }
        }
    }

    fn send(
        &self,
        target: &PlannedTarget,
        names: &[Reference],
        stack: &[DiffId],
        shape: &ImageShape,
    ) -> Result<(), ExportError> {
        let image = self.build.image((self.lowered, self.publisher.layers), target, stack, shape)?;
        self.publisher.send_ahead(&image, names, &self.stop)
    }

    /// Sends nothing more ahead. What failed is tried again at the end, and is an error only then.
    fn give_up(&self, error: &ExportError) {
        if !self.stop.is_cancelled() {
            self.stop.cancel();
            let note = format!("note: {}; it is tried again when all is built", with_causes(error));
            self.build.activities.start(&note).finish("");
        }
    }
}
