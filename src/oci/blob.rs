//! Making documents: image manifest and index as BuildKit writes them (two-space indent), with their descriptors.

use std::collections::BTreeMap;

use oci_spec::image::{
    Arch, Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder,
};
use serde_json::{Value, json};

use super::{LayerCompression, MediaTypes, descriptor, os_version};
use crate::digest::Digest;
use crate::platform::Platform;

/// A small blob in memory, a document that bake made, with the descriptor that names its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Names `bytes`.
    pub fn new(media_type: MediaType, bytes: Vec<u8>) -> Blob {
        Blob { descriptor: descriptor(media_type, bytes.len() as u64, Digest::of(&bytes)), bytes }
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

impl MediaTypes {
    fn manifest(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::ImageManifest,
            MediaTypes::Docker => MediaType::from("application/vnd.docker.distribution.manifest.v2+json"),
        }
    }

    fn index(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::ImageIndex,
            MediaTypes::Docker => MediaType::from("application/vnd.docker.distribution.manifest.list.v2+json"),
        }
    }

    /// Returns the media type of image configs.
    pub fn config(self) -> MediaType {
        match self {
            MediaTypes::Oci => MediaType::ImageConfig,
            MediaTypes::Docker => MediaType::from("application/vnd.docker.container.image.v1+json"),
        }
    }

    /// Returns how a manifest names a layer. Those that came from an image with the other media types have the same bytes.
    fn layer(self, layer: &Descriptor) -> Descriptor {
        const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
        let name = layer.media_type().as_ref();
        let is_distributable = !name.contains("nondistributable") && !name.contains(".foreign.");
        let media_type = match (self, LayerCompression::of_media_type(name).filter(|_| is_distributable)) {
            (MediaTypes::Oci, Some(packed)) => MediaType::from(packed.media_type()),
            (MediaTypes::Docker, Some(LayerCompression::None)) => MediaType::from(DOCKER),
            (MediaTypes::Docker, Some(LayerCompression::Gzip)) => MediaType::from(&*format!("{DOCKER}.gzip")),
            (MediaTypes::Docker, Some(LayerCompression::Zstd)) => MediaType::from(&*format!("{DOCKER}.zstd")),
            (_, None) => layer.media_type().clone(),
        };
        Descriptor::new(media_type, layer.size(), layer.digest().clone())
    }
}

/// Makes an image manifest; `layers` are oldest first.
pub fn image_manifest(
    config: &Descriptor,
    layers: &[Descriptor],
    media_types: MediaTypes,
    annotations: &BTreeMap<String, String>,
) -> Blob {
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(media_types.manifest())
        .config(config.clone())
        .layers(layers.iter().map(|layer| media_types.layer(layer)).collect::<Vec<_>>())
        .build()
        .expect("all fields are given");
    let mut manifest = serde_json::to_value(&manifest).expect("a manifest has only text keys");
    annotate(&mut manifest, annotations);
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest has only text keys");
    Blob::new(media_types.manifest(), bytes)
}

/// Returns a manifest that bake made with one more annotation, name and value.
pub fn annotated(manifest: &Blob, (name, value): &(String, String)) -> Blob {
    let mut document: Value = serde_json::from_slice(&manifest.bytes).expect("bake made the manifest");
    document["annotations"][name] = json!(value);
    // In the order of the names, whichever was there first.
    document["annotations"].as_object_mut().expect("it has one at least").sort_keys();
    let bytes = serde_json::to_vec_pretty(&document).expect("a manifest has only text keys");
    Blob::new(manifest.descriptor.media_type().clone(), bytes)
}

/// Makes an image index; `manifests` are in the order in which they are to stand, with their platforms ([`with_platform`]).
pub fn image_index(
    manifests: Vec<Descriptor>,
    media_types: MediaTypes,
    annotations: &BTreeMap<String, String>,
) -> Blob {
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(media_types.index())
        .manifests(manifests)
        .build()
        .expect("all fields are given");
    let mut index = serde_json::to_value(&index).expect("an index has only text keys");
    os_version::as_written(&mut index);
    annotate(&mut index, annotations);
    for descriptor in index["manifests"].as_array_mut().into_iter().flatten() {
        if let Some(Value::Object(annotations)) = descriptor.get_mut("annotations") {
            annotations.sort_keys();
        }
    }
    let bytes = serde_json::to_vec_pretty(&index).expect("an index has only text keys");
    Blob::new(media_types.index(), bytes)
}

/// Writes annotations, sorted, at a document's end; nothing where there are none.
fn annotate(document: &mut Value, annotations: &BTreeMap<String, String>) {
    if !annotations.is_empty() {
        document["annotations"] = json!(annotations);
    }
}

/// Returns `descriptor` with annotations; without the field where there are none.
pub fn with_annotations(mut descriptor: Descriptor, annotations: BTreeMap<String, String>) -> Descriptor {
    let annotations = (!annotations.is_empty()).then(|| annotations.into_iter().collect());
    descriptor.set_annotations(annotations);
    descriptor
}

/// Returns `descriptor` with the platform that its content is for.
pub fn with_platform(descriptor: &Descriptor, platform: &Platform) -> Descriptor {
    DescriptorBuilder::default()
        .media_type(descriptor.media_type().clone())
        .digest(descriptor.digest().clone())
        .size(descriptor.size())
        .platform(oci_platform(platform))
        .build()
        .expect("all fields are given")
}

fn oci_platform(platform: &Platform) -> oci_spec::image::Platform {
    let mut builder = PlatformBuilder::default()
        .os(Os::from(platform.os.as_str()))
        .architecture(Arch::from(platform.architecture.as_str()));
    if let Some(variant) = &platform.variant {
        builder = builder.variant(variant.clone());
    }
    if let Some(version) = &platform.os_version {
        builder = builder.os_version(version.clone());
    }
    builder.build().expect("os and architecture are given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_index_names_each_platform() {
        let config = Blob::new(MediaType::ImageConfig, b"{}".to_vec());
        let manifest = image_manifest(&config.descriptor, &[], MediaTypes::Oci, &BTreeMap::new());
        let platform: Platform = "linux/arm/v7".parse().expect("known");
        let index =
            image_index(vec![with_platform(&manifest.descriptor, &platform)], MediaTypes::Oci, &BTreeMap::new());
        expect![[r#"
            {
              "schemaVersion": 2,
              "mediaType": "application/vnd.oci.image.index.v1+json",
              "manifests": [
                {
                  "mediaType": "application/vnd.oci.image.manifest.v1+json",
                  "digest": "sha256:0e97a42f190d34e4711542bb089876fe24410f98ef9cd002d3d4568f46028eb3",
                  "size": 284,
                  "platform": {
                    "architecture": "arm",
                    "os": "linux",
                    "variant": "v7"
                  }
                }
              ]
            }"#]]
        .assert_eq(&String::from_utf8(index.bytes).expect("text"));
    }
}
