//! What is known of a layer: the blobs that hold it, and who has them.

use std::collections::BTreeMap;
use std::fs::File;

use serde::{Deserialize, Serialize};

use super::item::{ItemKey, ItemKind};
use super::{Store, StoreError, read_sealed};
use crate::digest::DiffId;
use crate::oci::{Compression, Descriptor, LayerCompression};

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The blobs that hold it, in the order in which they became known.
    pub blobs: Vec<LayerBlob>,
    /// Blobs that were made of it because an output asked for one like that, by the text of their [`Compression`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked_for: BTreeMap<String, Descriptor>,
}

impl LayerRecord {
    /// Returns the blobs that stand for the layer where nothing is said of its compression. Others may be larger, or for
    /// readers of a newer kind.
    pub fn plain(&self) -> impl Iterator<Item = &LayerBlob> {
        self.blobs.iter().filter(|blob| {
            let packed = LayerCompression::of_media_type(blob.descriptor.media_type().as_ref());
            let was_asked_for = self.asked_for.values().any(|asked| asked.digest() == blob.descriptor.digest());
            packed == Some(LayerCompression::Gzip) && !was_asked_for
        })
    }
}

/// A blob that holds a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Repositories, as `registry/repository`, that are known to have it; in the order in which they became known.
    pub sources: Vec<String>,
}

impl Store {
    /// Returns what is known of a layer.
    pub fn layer(&self, diff_id: &DiffId) -> Option<LayerRecord> {
        serde_json::from_slice(&read_sealed(&self.path.join("layers").join(diff_id.0.hex()))?).ok()
    }

    /// Notes that `descriptor` holds the layer and, where given, that the repository `source` has it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_layer_blob(
        &self,
        diff_id: &DiffId,
        descriptor: &Descriptor,
        source: Option<&str>,
    ) -> Result<(), StoreError> {
        let is_known = |layer: &LayerRecord| {
            let same = layer.blobs.iter().find(|blob| blob.descriptor.digest() == descriptor.digest());
            same.is_some_and(|blob| source.is_none_or(|source| blob.sources.iter().any(|s| s == source)))
        };
        let key = ItemKey::new(ItemKind::Layer, diff_id.0);
        if self.layer(diff_id).is_some_and(|layer| is_known(&layer)) && self.lease(key) {
            return Ok(());
        }
        self.change_layer(diff_id, |layer| {
            let index = layer.blobs.iter().position(|blob| blob.descriptor.digest() == descriptor.digest());
            let index = index.unwrap_or_else(|| {
                layer.blobs.push(LayerBlob { descriptor: descriptor.clone(), sources: Vec::new() });
                layer.blobs.len() - 1
            });
            let sources = &mut layer.blobs[index].sources;
            if let Some(source) = source.filter(|source| !sources.iter().any(|s| s == source)) {
                sources.push(source.to_owned());
            }
        })
    }

    /// Notes that `descriptor` is what a compression makes of the layer.
    pub(super) fn put_made_blob(
        &self,
        diff_id: &DiffId,
        compression: Compression,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        if compression == Compression::default() {
            return self.put_layer_blob(diff_id, descriptor, None);
        }
        self.change_layer(diff_id, |layer| {
            layer.asked_for.insert(compression.to_string(), descriptor.clone());
        })
    }

    fn change_layer(&self, diff_id: &DiffId, change: impl FnOnce(&mut LayerRecord)) -> Result<(), StoreError> {
        let key = ItemKey::new(ItemKind::Layer, diff_id.0);
        // Two that add at once must not lose each other's addition.
        let path = self.path.join("layers/lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock =
            lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(|error| StoreError::io("lock", &path, error))?;
        let mut layer = self.layer(diff_id).unwrap_or_default();
        change(&mut layer);
        let text = serde_json::to_vec(&layer).expect("a layer has only text keys");
        let result = self.write_item(key, &text);
        drop(lock);
        result
    }
}
