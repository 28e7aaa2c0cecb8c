//! Brings root file systems in: fetches layers that the store lacks and unpacks them, once, and only when a step, a copy
//! or an export needs their files.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use crate::digest::{ChainId, DiffId, Digest, Hasher, chain_id, chain_ids};
use crate::oci::{Descriptor, LayerCompression, digest_of};
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::solver::activity::Activities;
use crate::store::unpack::decompress;
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

/// Has layers that neither the store nor a registry that the store knows has: a cache that other machines filled. What it
/// gives is verified by whoever asks.
pub trait Elsewhere: Sync {
    /// Returns the blob that is said to hold a layer.
    fn blob(&self, diff_id: &DiffId) -> Option<Descriptor>;

    /// Names whoever has the layer, for people.
    fn name(&self, diff_id: &DiffId) -> String;

    /// Writes that blob to `out`; says whether it could. At most the descriptor's size is written.
    fn fetch(&self, diff_id: &DiffId, out: &mut dyn Write) -> bool;

    /// Is told that what it gave is not the layer, and why.
    fn refuse(&self, diff_id: &DiffId, reason: &str);
}

/// Bytes that a layer from elsewhere may become: 256 GiB.
const MAX_LAYER_SIZE: u64 = 256 << 30;

/// Fetches and unpacks layers; shared by all threads of a run.
pub struct Layers<'a> {
    store: &'a Store,
    client: &'a Client,
    elsewhere: Option<&'a dyn Elsewhere>,
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
        let (in_flight, available) = (InFlight::default(), Mutex::default());
        Layers { store, client, elsewhere: None, activities, in_flight, available }
    }

    /// Fetches from `elsewhere` too.
    pub fn and(self, elsewhere: &'a dyn Elsewhere) -> Layers<'a> {
        Layers { elsewhere: Some(elsewhere), ..self }
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
                || self.store.is_free(*layer)
                || self.elsewhere(layer).is_some();
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

    /// Brings the layers of `stack` in that only caches of other machines have, so that an image can be made of them.
    ///
    /// # Errors
    /// As [`Layers::materialise`].
    pub fn bring_in(&self, stack: &[DiffId]) -> Result<(), LayerError> {
        let is_known = |top: usize| {
            let blobs = self.store.layer(&stack[top]).map_or_else(Vec::new, |layer| layer.blobs);
            let has_blob =
                blobs.iter().any(|blob| !blob.sources.is_empty() || self.store.has_blob_of(&blob.descriptor));
            has_blob || self.store.has_snapshot_of(&stack[..=top]) || self.store.is_free(stack[top])
        };
        let missing = |top: &usize| self.elsewhere(&stack[*top]).is_some() && !is_known(*top);
        let missing: Vec<usize> = (0..stack.len()).filter(missing).collect();
        threads::map(missing, N_DOWNLOADS, |top| self.fetch_any(&stack[top]).map(drop))?;
        Ok(())
    }

    fn elsewhere(&self, diff_id: &DiffId) -> Option<Descriptor> {
        self.elsewhere?.blob(diff_id)
    }

    /// Fetches a layer's blob from a cache of other machines. What it is has only been said so far, so the layer's own digest
    /// is verified as well.
    fn fetch_elsewhere(&self, diff_id: &DiffId) -> Result<Descriptor, LayerError> {
        let lost = || LayerError::Lost { diff_id: *diff_id };
        let (elsewhere, descriptor) = self.elsewhere.zip(self.elsewhere(diff_id)).ok_or_else(lost)?;
        let digest = digest_of(&descriptor).map_err(|_| lost())?;
        self.in_flight.alone(digest, || {
            if !self.store.has_blob_of(&descriptor) {
                self.store.reserve(descriptor.size())?;
                let activity = self.activities.start(&format!("pull {} {}", elsewhere.name(diff_id), digest.short()));
                let mut writer = self.store.blob_writer()?;
                if !elsewhere.fetch(diff_id, &mut writer) {
                    return Err(lost());
                }
                match writer.commit(Some(digest)) {
                    Err(StoreError::DigestMismatch { actual, .. }) => {
                        elsewhere
                            .refuse(diff_id, &format!("is not there: the bytes of {digest} are those of {actual}"));
                        return Err(lost());
                    }
                    committed => _ = committed?,
                }
                activity.finish("");
            }
            if let Err(reason) = self.check_layer(diff_id, &digest, &descriptor) {
                elsewhere.refuse(diff_id, &format!("is not in the blob {digest}: {reason}"));
                return Err(lost());
            }
            Ok(self.store.put_layer_blob(diff_id, &descriptor, None)?)
        })?;
        Ok(descriptor)
    }

    /// Says why a blob does not hold a layer.
    fn check_layer(&self, diff_id: &DiffId, digest: &Digest, descriptor: &Descriptor) -> Result<(), String> {
        let compression = LayerCompression::of_media_type(descriptor.media_type().as_ref());
        let compression = compression.ok_or("it is no layer")?;
        let text = |error: io::Error| error.to_string();
        let mut blob = self.store.open_blob(digest).map_err(text)?;
        let mut tar = decompress(compression, &mut blob).map_err(text)?.take(MAX_LAYER_SIZE);
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match tar.read(&mut buffer).map_err(text)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        match hasher.finish() {
            actual if actual == diff_id.0 => Ok(()),
            actual => Err(format!("that holds {actual}")),
        }
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
        match self.elsewhere(diff_id) {
            Some(_) => self.fetch_elsewhere(diff_id),
            None => Err(last),
        }
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
