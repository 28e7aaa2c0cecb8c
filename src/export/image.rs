//! From a solved root file system to an image: config, layers, manifest, index.

use crate::attest::Document;
use crate::digest::{DiffId, Digest};
use crate::oci::{
    AttestationManifest, Blob, Compression, Descriptor, ImageConfig, InvalidDocument, LayerCompression, annotated,
    image_index, image_manifest, parse_manifest, with_annotations, with_attestations, with_platform,
};
use crate::plan::{ImageShape, Output};
use crate::platform::Platform;
use crate::registry;
use crate::store::{LayerBlob, Store, StoreError};
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
    /// Its image; the first one, where outputs take several.
    pub image: Option<TargetImage>,
    /// The images of other shapes that outputs take.
    pub others: Vec<TargetImage>,
    /// What goes beside its files: documents about each of `stacks`, in that order; empty where there are none.
    pub documents: Vec<Vec<Document>>,
}

impl TargetResult {
    /// Puts together what was made of a target, with an image for each shape.
    pub fn new(
        stacks: Vec<(Platform, Vec<DiffId>)>,
        images: Vec<TargetImage>,
        documents: Vec<Vec<Document>>,
    ) -> TargetResult {
        let mut images = images.into_iter();
        TargetResult { stacks, image: images.next(), others: images.collect(), documents }
    }

    /// Returns the image that an output takes; `None` where it takes none.
    pub fn image_for(&self, output: &Output) -> Option<&TargetImage> {
        let shape = output.shape()?;
        self.image.iter().chain(&self.others).find(|image| image.shape == *shape)
    }
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

impl PlatformImage {
    /// Adds an annotation, name and value, to the manifest.
    pub fn annotate(&mut self, annotation: &(String, String)) {
        self.manifest = annotated(&self.manifest, annotation);
    }

    /// Returns what names its manifest: with its platform, and the annotations that are for it.
    fn descriptor(&self, shape: &ImageShape) -> Descriptor {
        let annotations = shape.annotations.manifest_descriptor(&self.platform);
        with_annotations(with_platform(&self.manifest.descriptor, &self.platform), annotations)
    }
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
    /// What decided its bytes besides its root file systems and configs.
    pub shape: ImageShape,
}

impl TargetImage {
    /// Puts the platforms' images, which have this shape, together: an index if there are several, or attestations.
    pub fn new(name: String, images: Vec<PlatformImage>, shape: ImageShape) -> TargetImage {
        let index = || {
            let manifests = images.iter().map(|image| image.descriptor(&shape)).collect();
            image_index(manifests, shape.media_types, &shape.annotations.index)
        };
        let attestations = || images.iter().filter_map(|image| image.attestation.as_ref());
        let index = match (images.len() > 1, attestations().next().is_some()) {
            (_, true) => Some(with_attestations(index(), attestations())),
            (true, false) => Some(index()),
            (false, false) => None,
        };
        TargetImage { name, images, index, shape }
    }

    /// Returns the manifests, and the index where there is one.
    pub fn documents(&self) -> impl Iterator<Item = &Blob> {
        let attestations = self.images.iter().filter_map(|image| Some(&image.attestation.as_ref()?.manifest));
        self.images.iter().map(|image| &image.manifest).chain(attestations).chain(&self.index)
    }

    /// Returns what names the image's document: with its platform where there is one alone.
    pub fn root_descriptor(&self) -> Descriptor {
        match (&self.index, &self.images[..]) {
            (None, [only]) => only.descriptor(&self.shape),
            _ => with_annotations(self.root().descriptor.clone(), self.shape.annotations.index_descriptor.clone()),
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

/// Makes images of one shape.
pub struct Assembly<'a> {
    /// Has the layers.
    pub store: &'a Store,
    /// Brings a blob of a layer into the store.
    pub fetch: &'a (dyn Fn(&DiffId, &Descriptor) -> Result<(), LayerError> + Sync),
    /// What decides the bytes.
    pub shape: &'a ImageShape,
}

impl Assembly<'_> {
    /// Makes the image of a root file system. `base` are the layers of the image that it was built on, oldest first, as that
    /// image's manifest has them: they keep their bytes, whatever other blob of such a layer the store happens to know, but
    /// where the shape forces its own compression on them. Compresses the layers that were never compressed in this way.
    ///
    /// # Errors
    /// The store lacks a layer, or cannot be written; a layer of the base that is to be compressed anew cannot be fetched.
    pub fn image(
        &self,
        platform: &Platform,
        config: &ImageConfig,
        base: &[Descriptor],
        stack: &[DiffId],
    ) -> Result<PlatformImage, ExportError> {
        let mut layers: Vec<Descriptor> =
            base.iter().zip(stack).map(|(layer, diff_id)| self.base_layer(diff_id, layer)).collect::<Result<_, _>>()?;
        for top in layers.len()..stack.len() {
            layers.push(self.layer(&stack[..=top])?);
        }
        Ok(of_layers(platform, config, layers, stack, self.shape))
    }

    fn base_layer(&self, diff_id: &DiffId, layer: &Descriptor) -> Result<Descriptor, ExportError> {
        let wanted = self.shape.compression.of_layer();
        let packed = LayerCompression::of_media_type(layer.media_type().as_ref());
        // As the peer: a layer that has the kind of compression keeps it, whatever its level.
        if !self.shape.is_forced || packed.is_none_or(|packed| packed == wanted) {
            return Ok(layer.clone());
        }
        self.anew(diff_id, layer)
    }

    fn layer(&self, stack: &[DiffId]) -> Result<Descriptor, ExportError> {
        let (diff_id, compression) = (stack.last().expect("a layer is on top"), self.shape.compression);
        // A blob that is neither here nor known to be elsewhere is made anew.
        let is_there = |blob: &&LayerBlob| !blob.sources.is_empty() || self.store.has_blob_of(&blob.descriptor);
        let record = self.store.layer(diff_id).unwrap_or_default();
        if compression == Compression::default()
            && let Some(known) = record.plain().find(is_there)
        {
            return Ok(known.descriptor.clone());
        }
        // Without its files it is made from whatever blob there is.
        match record.blobs.iter().find(is_there).filter(|_| !self.store.has_snapshot_of(stack)) {
            Some(other) => self.anew(diff_id, &other.descriptor),
            None => Ok(self.store.layer_blob(stack, compression)?),
        }
    }

    fn anew(&self, diff_id: &DiffId, from: &Descriptor) -> Result<Descriptor, ExportError> {
        (self.fetch)(diff_id, from)?;
        Ok(self.store.compress_anew(diff_id, from, self.shape.compression)?)
    }
}

/// Makes the image whose compressed layers are `layers`, one for each of `stack`, oldest first.
pub fn of_layers(
    platform: &Platform,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    stack: &[DiffId],
    shape: &ImageShape,
) -> PlatformImage {
    let mut config = config.clone();
    config.rootfs.diff_ids = stack.to_vec();
    let config = Blob::new(shape.media_types.config(), config.to_bytes());
    let annotations = shape.annotations.manifest(platform);
    let manifest = image_manifest(&config.descriptor, &layers, shape.media_types, &annotations);
    PlatformImage { platform: platform.clone(), stack: stack.to_vec(), layers, config, manifest, attestation: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{MediaType, descriptor};

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
        let fetch = |_: &DiffId, _: &Descriptor| unreachable!("nothing is fetched for it");
        let assembly = Assembly { store: &store, fetch: &fetch, shape: &ImageShape::default() };
        let image = assembly.image(&platform, &ImageConfig::default(), &base, &[layer]).expect("known layers");
        assert_eq!(image.layers, base);
    }
}
