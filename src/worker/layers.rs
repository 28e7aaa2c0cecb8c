//! Brings root file systems in: fetches layers that the store lacks and unpacks them, once, and only when a step, a copy
//! or an export needs their files.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::digest::{ChainId, DiffId, Digest, chain_id, chain_ids};
use crate::oci::{Descriptor, digest_of};
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::solver::activity::Activities;
use crate::store::{Store, StoreError};
use crate::sys::in_flight::InFlight;
use crate::sys::threads;

/// Blobs of one image that are fetched at once.
const N_DOWNLOADS: usize = 4;

/// Why a layer could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Nobody is known to have it.
    #[error("layer {diff_id} is neither in the store nor in a registry that is known to have it")]
    Lost {
        /// Which.
        diff_id: DiffId,
    },
    /// The registry that has it did not give it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// It could not be stored or unpacked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fetches and unpacks layers; shared by all threads of a run.
pub struct Layers<'a> {
    store: &'a Store,
    client: &'a Client,
    activities: &'a Activities<'a>,
    /// One lock for each blob and each snapshot under way, so that none is fetched or unpacked twice at once.
    in_flight: InFlight<Digest>,
    /// Tops of stacks, by chain id, whose layers were found to be available. What a record that was found needs stays, so
    /// this stays right for as long as this process runs.
    available: Mutex<BTreeSet<ChainId>>,
}

impl<'a> Layers<'a> {
    /// Fetches from `client` into `store`.
    pub fn new(store: &'a Store, client: &'a Client, activities: &'a Activities<'a>) -> Layers<'a> {
        Layers { store, client, activities, in_flight: InFlight::default(), available: Mutex::default() }
    }

    /// Says whether the layers of `stack` are here or known to be in a registry, so that [`Layers::materialise`] can
    /// succeed.
    pub fn is_available(&self, stack: &[DiffId]) -> bool {
        let is_layer_known = |diff_id: &DiffId| {
            let blobs = self.store.layer(diff_id).map_or_else(Vec::new, |layer| layer.blobs);
            blobs.iter().any(|blob| !blob.sources.is_empty() || self.store.has_blob_of(&blob.descriptor))
        };
        let known = || self.available.lock().unwrap_or_else(PoisonError::into_inner);
        let chains: Vec<ChainId> = chain_ids(stack).collect();
        (0..stack.len()).rev().all(|top| {
            let layer = &stack[top];
            let is_available = known().contains(&chains[top])
                || is_layer_known(layer)
                || self.store.has_snapshot_of(&stack[..=top])
                || self.store.is_free(*layer);
            if is_available {
                known().insert(chains[top]);
            }
            is_available
        })
    }

    /// Makes the snapshots of all of `stack` (oldest first), fetching and unpacking what is missing.
    ///
    /// # Errors
    /// A layer is lost, the registry fails, or the bytes are not what their digest says.
    pub fn materialise(&self, stack: &[DiffId]) -> Result<(), LayerError> {
        let missing = self.store.missing_snapshots(stack);
        if missing.is_empty() {
            return Ok(());
        }
        let (laid, fetched): (Vec<usize>, Vec<usize>) =
            missing.iter().partition(|top| **top > 0 && self.store.is_free(stack[**top]));
        threads::map(fetched, N_DOWNLOADS, |top| self.fetch_any(&stack[top]).map(drop))?;
        for top in missing {
            let chain = chain_id(&stack[..=top]).expect("non-empty");
            self.in_flight.alone(chain_key(chain), || {
                if self.store.has_snapshot_of(&stack[..=top]) {
                    return Ok(());
                }
                match laid.contains(&top) {
                    true => Ok(self.store.lay(&stack[..top], stack[top])?),
                    false => self.unpack(&stack[..top], &stack[top]),
                }
            })?;
        }
        Ok(())
    }

    /// Makes sure that the blob `descriptor` of a layer is in the store.
    ///
    /// # Errors
    /// As [`Layers::materialise`].
    pub fn fetch(&self, diff_id: &DiffId, descriptor: &Descriptor) -> Result<(), LayerError> {
        let digest = digest_of(descriptor).map_err(|_| LayerError::Lost { diff_id: *diff_id })?;
        self.in_flight.alone(digest, || {
            if self.store.has_blob_of(descriptor) {
                return Ok(());
            }
            self.store.reserve(descriptor.size())?;
            let mut last = LayerError::Lost { diff_id: *diff_id };
            for source in self.sources(diff_id, descriptor) {
                let activity = self.activities.start(&format!("pull {} {}", source.name(), digest.short()));
                let mut writer = self.store.blob_writer()?;
                match self.client.fetch_blob(&source, descriptor, &mut writer) {
                    Ok(()) => {
                        writer.commit(Some(digest))?;
                        activity.finish("");
                        return Ok(());
                    }
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        })
    }

    /// Returns the repositories that are known to have a layer's blob.
    pub fn sources(&self, diff_id: &DiffId, descriptor: &Descriptor) -> Vec<Reference> {
        let blobs = self.store.layer(diff_id).map_or_else(Vec::new, |layer| layer.blobs);
        let blob = blobs.into_iter().find(|blob| blob.descriptor.digest() == descriptor.digest());
        blob.map_or_else(Vec::new, |blob| blob.sources.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Fetches some blob of a layer and returns it.
    fn fetch_any(&self, diff_id: &DiffId) -> Result<Descriptor, LayerError> {
        let blobs = self.store.layer(diff_id).map_or_else(Vec::new, |layer| layer.blobs);
        let here = blobs.iter().find(|blob| self.store.has_blob_of(&blob.descriptor));
        if let Some(blob) = here {
            return Ok(blob.descriptor.clone());
        }
        let mut last = LayerError::Lost { diff_id: *diff_id };
        for blob in blobs {
            match self.fetch(diff_id, &blob.descriptor) {
                Ok(()) => return Ok(blob.descriptor),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Unpacks a layer; one whose blob turns out to be damaged is fetched once more.
    fn unpack(&self, parent: &[DiffId], diff_id: &DiffId) -> Result<(), LayerError> {
        match self.unpack_here(parent, diff_id) {
            Err(LayerError::Store(StoreError::Damaged { .. })) => self.unpack_here(parent, diff_id),
            result => result,
        }
    }

    fn unpack_here(&self, parent: &[DiffId], diff_id: &DiffId) -> Result<(), LayerError> {
        let descriptor = self.fetch_any(diff_id)?;
        let digest = digest_of(&descriptor).map_err(|_| LayerError::Lost { diff_id: *diff_id })?;
        let activity = self.activities.start(&format!("unpack {}", digest.short()));
        let mut blob = self.store.open_blob(&digest).map_err(|_| LayerError::Lost { diff_id: *diff_id })?;
        if let Err(error) = self.store.unpack_layer(parent, *diff_id, descriptor.media_type(), &mut blob) {
            self.store.check_blob(&digest)?;
            return Err(error.into());
        }
        activity.finish("");
        Ok(())
    }
}

/// A snapshot's lock must differ from its lowest layer's blob lock, which may have the same digest when uncompressed.
fn chain_key(chain: ChainId) -> Digest {
    Digest::of(chain.0.as_bytes())
}
