//! From a solved root file system to an image: config, layers, manifest, index.

use crate::attest::Document;
use crate::digest::{DiffId, Digest};
use crate::oci::{
    AttestationManifest, Blob, Descriptor, ImageConfig, InvalidDocument, MediaType, image_index, image_manifest,
    parse_manifest, with_attestations, with_platform,
};
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
    /// A base image's manifest in the store is damaged.
    #[error("a base image's manifest in the store is damaged: {0}")]
    Manifest(#[from] InvalidDocument),
    /// A layer could not be brought in.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// What became of a target: its root file systems and, where the plan wants one, its image.
#[derive(Clone, Debug)]
pub struct TargetResult {
    /// Layers of the root file system, oldest first, for each platform, in the order in which the target lists them.
    pub stacks: Vec<(Platform, Vec<DiffId>)>,
    /// Its image.
    pub image: Option<TargetImage>,
    /// What goes beside its files: documents about each of `stacks`, in that order; empty where there are none.
    pub documents: Vec<Vec<Document>>,
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
    /// What is attested of it.
    pub attestation: Option<AttestationManifest>,
}

/// A target's image for all its platforms.
#[derive(Clone, Debug)]
pub struct TargetImage {
    /// The target's name.
    pub name: String,
    /// In the order in which the target lists its platforms; non-empty.
    pub images: Vec<PlatformImage>,
    /// Where there are several platforms, or attestations.
    pub index: Option<Blob>,
}

impl TargetImage {
    /// Puts the platforms' images together: an index if there are several, or attestations.
    pub fn new(name: String, images: Vec<PlatformImage>) -> TargetImage {
        let entries = images.iter().map(|image| (&image.platform, &image.manifest.descriptor));
        let attestations = || images.iter().filter_map(|image| image.attestation.as_ref());
        let index = match (images.len() > 1, attestations().next().is_some()) {
            (_, true) => Some(with_attestations(image_index(entries), attestations())),
            (true, false) => Some(image_index(entries)),
            (false, false) => None,
        };
        TargetImage { name, images, index }
    }

    /// Returns the manifests, and the index where there is one.
    pub fn documents(&self) -> impl Iterator<Item = &Blob> {
        let attestations = self.images.iter().filter_map(|image| Some(&image.attestation.as_ref()?.manifest));
        self.images.iter().map(|image| &image.manifest).chain(attestations).chain(&self.index)
    }

    /// Returns what names the image's document: with its platform where there is one alone.
    pub fn root_descriptor(&self) -> Descriptor {
        match (&self.index, &self.images[..]) {
            (None, [only]) => with_platform(&only.manifest.descriptor, &only.platform),
            _ => self.root().descriptor.clone(),
        }
    }

    /// Returns the document that a tag names: the index, or the only manifest.
    pub fn root(&self) -> &Blob {
        self.index.as_ref().unwrap_or(&self.images[0].manifest)
    }
}

/// Returns the layers of an image whose manifest is in the store, oldest first.
///
/// # Errors
/// The manifest is not there, or is none.
pub fn layers(store: &Store, manifest: &Digest) -> Result<Vec<Descriptor>, ExportError> {
    let manifest = parse_manifest(&store.read_blob(manifest)?)?;
    Ok(manifest.layers().clone())
}

/// Makes the image of a root file system. `base` are the layers of the image that it was built on, oldest first, as that
/// image's manifest has them: they keep their bytes, whatever other blob of such a layer the store happens to know.
/// Compresses the layers that were never compressed.
///
/// # Errors
/// The store lacks a layer, or cannot be written.
pub fn assemble(
    store: &Store,
    platform: &Platform,
    config: &ImageConfig,
    base: &[Descriptor],
    stack: &[DiffId],
) -> Result<PlatformImage, ExportError> {
    let mut layers = base.to_vec();
    layers.truncate(stack.len());
    for (index, diff_id) in stack.iter().enumerate().skip(layers.len()) {
        // A blob that is neither here nor known to be elsewhere is made anew.
        let is_there = |blob: &LayerBlob| !blob.sources.is_empty() || store.has_blob_of(&blob.descriptor);
        let known = store.layer(diff_id).and_then(|layer| layer.blobs.into_iter().find(is_there));
        layers.push(match known {
            Some(blob) => blob.descriptor,
            None => store.layer_blob(&stack[..=index], Compression::default())?,
        });
    }
    Ok(of_layers(platform, config, layers, stack))
}

/// Makes the image whose compressed layers are `layers`, one for each of `stack`, oldest first.
pub fn of_layers(
    platform: &Platform,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    stack: &[DiffId],
) -> PlatformImage {
    let mut config = config.clone();
    config.rootfs.diff_ids = stack.to_vec();
    let config = Blob::new(MediaType::ImageConfig, config.to_bytes());
    let manifest = image_manifest(&config.descriptor, &layers);
    PlatformImage { platform: platform.clone(), stack: stack.to_vec(), layers, config, manifest, attestation: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::descriptor;

    #[test]
    fn a_base_layer_is_the_one_that_the_base_image_names() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path()).expect("a store");
        let layer = DiffId(Digest::of(b"layer"));
        let blob = |text: &str| descriptor(MediaType::ImageLayerGzip, 7, Digest::of(text.as_bytes()));
        for text in ["another image's", "the base's"] {
            store.put_layer_blob(&layer, &blob(text), Some("registry.test/base")).expect("noted");
        }
        let platform = "linux/amd64".parse().expect("known");
        let base = [blob("the base's")];
        let image = assemble(&store, &platform, &ImageConfig::default(), &base, &[layer]).expect("known layers");
        assert_eq!(image.layers, base);
    }
}
