//! Reading caches: entries when a key is missed in the store, layers when somebody needs their files.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Backend, CacheError, CachedLayer, Entry};
use crate::digest::{DiffId, Digest};
use crate::oci::Descriptor;
use crate::worker::layers::Elsewhere;

/// The caches that a build reads. One that fails in any way is left alone from then on, with one warning.
#[derive(Default)]
pub struct Imports<'a> {
    backends: Vec<Imported<'a>>,
    /// What entries said: which blob holds a layer, and which cache has it.
    layers: Mutex<BTreeMap<DiffId, (CachedLayer, usize)>>,
    warnings: Mutex<Vec<String>>,
    /// A layer that an entry had promised could not be had.
    is_broken: AtomicBool,
}

struct Imported<'a> {
    backend: Box<dyn Backend + 'a>,
    is_off: AtomicBool,
}

impl<'a> Imports<'a> {
    /// Reads from `backends`, which are known by their index from here on.
    pub fn new(backends: Vec<Box<dyn Backend + 'a>>) -> Imports<'a> {
        let backends = backends.into_iter().map(|backend| Imported { backend, is_off: AtomicBool::new(false) });
        Imports { backends: backends.collect(), ..Imports::default() }
    }

    /// Returns what the first of the caches `among` that knows `key` says of it. Asks over the network.
    pub fn find(&self, key: &Digest, among: &[usize]) -> Option<Entry> {
        among.iter().find_map(|index| {
            let cache = &self.backends[*index];
            if cache.is_off.load(Ordering::Relaxed) {
                return None;
            }
            match cache.backend.entry(key) {
                Ok(entry) => {
                    let entry = entry?;
                    if let Some(layer) = &entry.layer {
                        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
                        layers.insert(layer.diff_id, (layer.clone(), *index));
                    }
                    Some(entry)
                }
                Err(error) => {
                    self.turn_off(*index, &error);
                    None
                }
            }
        })
    }

    /// Returns what there is to say of caches that could not be used.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether, since this was asked last, a layer could not be had that an entry had promised: what failed for want
    /// of it is worth another attempt, without that cache.
    pub fn broke(&self) -> bool {
        self.is_broken.swap(false, Ordering::Relaxed)
    }

    fn turn_off(&self, index: usize, error: &CacheError) {
        let cache = &self.backends[index];
        if !cache.is_off.swap(true, Ordering::Relaxed) {
            let warning = format!("the cache in {} is not used: {error}", cache.backend.name());
            self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        }
    }
}

impl Elsewhere for Imports<'_> {
    fn blob(&self, diff_id: &DiffId) -> Option<Descriptor> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let (layer, index) = layers.get(diff_id)?;
        (!self.backends[*index].is_off.load(Ordering::Relaxed)).then(|| layer.descriptor())
    }

    fn name(&self, diff_id: &DiffId) -> String {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.get(diff_id).map_or_else(String::new, |(_, index)| self.backends[*index].backend.name())
    }

    fn fetch(&self, diff_id: &DiffId, out: &mut dyn Write) -> bool {
        let known = self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(diff_id).cloned();
        let Some((layer, index)) = known else { return false };
        let fetched = self.backends[index].backend.fetch(&layer.descriptor(), out);
        if let Err(error) = &fetched {
            self.turn_off(index, error);
            self.is_broken.store(true, Ordering::Relaxed);
        }
        fetched.is_ok()
    }

    fn refuse(&self, diff_id: &DiffId, reason: &str) {
        let known = self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(diff_id).map(|(_, index)| *index);
        if let Some(index) = known {
            self.turn_off(index, &CacheError::Malformed(format!("layer {diff_id} {reason}")));
            self.is_broken.store(true, Ordering::Relaxed);
        }
    }
}
