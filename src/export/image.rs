//! From a solved root file system to an image: config, layers, manifest, index.

use crate::digest::DiffId;
use crate::oci::{Blob, Descriptor, ImageConfig, MediaType, digest_of, image_index, image_manifest};
use crate::platform::Platform;
use crate::registry;
use crate::store::{Compression, LayerBlob, Store, StoreError};
use crate::worker::layers::LayerError;

/// Why an image could not be put together or sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not give or take bytes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A registry refused or could not be reached.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A layer could not be brought in.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// A target's image for one platform.
#[derive(Clone, Debug)]
pub struct PlatformImage {
    /// The platform it is for.
    pub platform: Platform,
    /// Its root file system, oldest layer first.
    pub stack: Vec<DiffId>,
    /// Its compressed layers, oldest first, one for each of `stack`.
    pub layers: Vec<Descriptor>,
    /// The config document.
    pub config: Blob,
    /// The manifest that names both.
    pub manifest: Blob,
}

/// A target's image for all its platforms.
#[derive(Clone, Debug)]
pub struct TargetImage {
    /// The target's name.
    pub name: String,
    /// In the order in which the target lists its platforms; non-empty.
    pub images: Vec<PlatformImage>,
    /// Where there are several platforms.
    pub index: Option<Blob>,
}

impl TargetImage {
    /// Puts the platforms' images together: an index if there are several.
    pub fn new(name: String, images: Vec<PlatformImage>) -> TargetImage {
        let entries = images.iter().map(|image| (&image.platform, &image.manifest.descriptor));
        let index = (images.len() > 1).then(|| image_index(entries));
        TargetImage { name, images, index }
    }

    /// Returns the document that a tag names: the index, or the only manifest.
    pub fn root(&self) -> &Blob {
        self.index.as_ref().unwrap_or(&self.images[0].manifest)
    }
}

/// Makes the image of a root file system. Compresses the layers that were never compressed; layers that came compressed
/// from a registry keep their bytes.
///
/// # Errors
/// The store lacks a layer, or cannot be written.
pub fn assemble(
    store: &Store,
    platform: &Platform,
    config: &ImageConfig,
    stack: &[DiffId],
) -> Result<PlatformImage, ExportError> {
    let mut layers = Vec::with_capacity(stack.len());
    for (index, diff_id) in stack.iter().enumerate() {
        // A blob that is neither here nor known to be elsewhere is made anew.
        let is_there = |blob: &LayerBlob| {
            !blob.sources.is_empty() || digest_of(&blob.descriptor).is_ok_and(|digest| store.has_blob(&digest))
        };
        let known = store.layer(diff_id).and_then(|layer| layer.blobs.into_iter().find(is_there));
        layers.push(match known {
            Some(blob) => blob.descriptor,
            None => store.layer_blob(&stack[..=index], Compression::default())?,
        });
    }
    let mut config = config.clone();
    config.rootfs.diff_ids = stack.to_vec();
    let config = Blob::new(MediaType::ImageConfig, config.to_bytes());
    let manifest = image_manifest(&config.descriptor, &layers);
    Ok(PlatformImage { platform: platform.clone(), stack: stack.to_vec(), layers, config, manifest })
}
