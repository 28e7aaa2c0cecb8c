//! Filling caches, beside the build: what a step made is sent as soon as it ended, while others run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Backend, CacheError, CachedLayer, Entry};
use crate::digest::{DiffId, Digest};
use crate::graph::VertexId;
use crate::solver::activity::Activities;
use crate::store::{Compression, Store};

/// Steps' results that are sent at once. Each mostly waits for the network.
const N_SENDERS: usize = 4;

/// A cache that a build fills.
pub struct Sink<'a> {
    /// Where it is.
    pub backend: Box<dyn Backend + 'a>,
    /// The steps whose results it gets.
    pub steps: BTreeSet<VertexId>,
    /// How layers that are not compressed yet are.
    pub compression: Compression,
    /// That it cannot be filled is no failure of the build.
    pub ignores_errors: bool,
}

/// A cache that could not be filled.
#[derive(Debug)]
pub struct Unsent {
    /// As messages name it.
    pub name: String,
    /// Why.
    pub error: CacheError,
    /// The build succeeds all the same.
    pub is_ignored: bool,
}

/// The caches that a build fills.
pub struct Exports<'a> {
    store: &'a Store,
    activities: &'a Activities<'a>,
    sinks: Vec<Sink<'a>>,
    /// The first error of each sink; after it nothing more is sent there. The mutex protects the list alone.
    errors: Mutex<BTreeMap<usize, CacheError>>,
    /// Nothing more is to be sent.
    is_stopped: AtomicBool,
}

/// What a step made, on its way.
struct Parcel {
    vertex: VertexId,
    key: Digest,
    stack: Vec<DiffId>,
    has_layer: bool,
}

/// Takes what steps made; never waits, for the queue is as long as it has to be: it holds digests alone.
pub struct Outbox<'a> {
    sinks: &'a [Sink<'a>],
    sender: Sender<Parcel>,
    /// Steps that were taken; a step's result goes out once.
    taken: Mutex<BTreeSet<VertexId>>,
}

impl Outbox<'_> {
    /// Takes the result of a step: the layers of its root file system, of which the last one is its own where it
    /// `has_layer`.
    pub fn put(&self, vertex: VertexId, key: Digest, stack: &[DiffId], has_layer: bool) {
        let is_wanted = self.sinks.iter().any(|sink| sink.steps.contains(&vertex));
        if is_wanted && self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex) {
            // Nobody listens any more only when the build has ended.
            _ = self.sender.send(Parcel { vertex, key, stack: stack.to_vec(), has_layer });
        }
    }
}

impl<'a> Exports<'a> {
    /// Fills `sinks` from `store`.
    pub fn new(store: &'a Store, activities: &'a Activities<'a>, sinks: Vec<Sink<'a>>) -> Exports<'a> {
        Exports { store, activities, sinks, errors: Mutex::default(), is_stopped: AtomicBool::new(false) }
    }

    /// Does `work`, sends what it puts into its outbox meanwhile, and after it the rest; then returns what `work` did, with
    /// the caches that could not be filled. Where `work` failed, what was not sent yet stays here.
    pub fn beside<T, E>(
        &'a self,
        work: impl FnOnce(Option<&Outbox<'a>>) -> Result<T, E>,
    ) -> (Result<T, E>, Vec<Unsent>) {
        if self.sinks.is_empty() {
            return (work(None), Vec::new());
        }
        let (sender, queue) = mpsc::channel();
        let queue = Mutex::new(queue);
        let result = thread::scope(|scope| {
            for n in 0..N_SENDERS {
                let send = || self.send_all(&queue);
                thread::Builder::new().name(format!("cache-{n}")).spawn_scoped(scope, send).expect("threads start");
            }
            let outbox = Outbox { sinks: &self.sinks, sender, taken: Mutex::default() };
            let result = work(Some(&outbox));
            self.is_stopped.store(result.is_err(), Ordering::Relaxed);
            result
        });
        if result.is_ok() {
            (0..self.sinks.len()).for_each(|index| self.finish(index));
        }
        (result, self.unsent())
    }

    fn send_all(&self, queue: &Mutex<Receiver<Parcel>>) {
        loop {
            let next = queue.lock().expect("no thread panics while it takes a parcel").recv();
            let Ok(parcel) = next else { return };
            for (index, sink) in self.sinks.iter().enumerate() {
                let is_over = self.is_stopped.load(Ordering::Relaxed) || self.errors().contains_key(&index);
                if !is_over
                    && sink.steps.contains(&parcel.vertex)
                    && let Err(error) = self.send(sink, &parcel)
                {
                    self.errors().entry(index).or_insert(error);
                }
            }
        }
    }

    fn send(&self, sink: &Sink<'_>, parcel: &Parcel) -> Result<(), CacheError> {
        if !parcel.has_layer {
            return sink.backend.put_entry(&Entry { key: parcel.key, layer: None });
        }
        let Some(diff_id) = parcel.stack.last() else { return Ok(()) };
        let Some(layer) = self.layer(&parcel.stack, sink.compression)? else { return Ok(()) };
        let descriptor = layer.descriptor();
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(self.store.open_blob(&layer.digest)?)) };
        let activity = self.activities.start(&format!("cache {} {}", sink.backend.name(), diff_id.0.short()));
        sink.backend.put_layer(&descriptor, &open)?;
        sink.backend.put_entry(&Entry { key: parcel.key, layer: Some(layer) })?;
        activity.finish("");
        Ok(())
    }

    /// Returns the blob of the top layer of `stack`, made if need be; `None` where its bytes are not here: who has them is
    /// the cache that they were found in.
    fn layer(&self, stack: &[DiffId], compression: Compression) -> Result<Option<CachedLayer>, CacheError> {
        let Some(diff_id) = stack.last() else { return Ok(None) };
        let here = self.store.layer(diff_id).and_then(|layer| {
            layer.blobs.into_iter().map(|blob| blob.descriptor).find(|blob| self.store.has_blob_of(blob))
        });
        let descriptor = match here {
            Some(descriptor) => descriptor,
            None if self.store.has_snapshot_of(stack) || self.store.is_free(*diff_id) => {
                self.store.layer_blob(stack, compression)?
            }
            None => return Ok(None),
        };
        Ok(CachedLayer::new(*diff_id, &descriptor))
    }

    fn finish(&self, index: usize) {
        if self.errors().contains_key(&index) {
            return;
        }
        let backend = &self.sinks[index].backend;
        let activity = self.activities.start(&format!("cache {}", backend.name()));
        match backend.finish() {
            Ok(()) => activity.finish(""),
            Err(error) => _ = self.errors().insert(index, error),
        }
    }

    fn unsent(&self) -> Vec<Unsent> {
        let errors = std::mem::take(&mut *self.errors());
        let unsent = errors.into_iter().map(|(index, error)| {
            let sink = &self.sinks[index];
            Unsent { name: sink.backend.name(), error, is_ignored: sink.ignores_errors }
        });
        unsent.collect()
    }

    fn errors(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, CacheError>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
