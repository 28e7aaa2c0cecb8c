//! Making documents: image manifest and index as BuildKit writes them (two-space indent), with their descriptors.

use oci_spec::image::{
    Arch, Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder,
};

use super::{descriptor, os_version};
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

/// Makes an image manifest; `layers` are oldest first.
pub fn image_manifest(config: &Descriptor, layers: &[Descriptor]) -> Blob {
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config.clone())
        .layers(layers.iter().map(with_oci_media_type).collect::<Vec<_>>())
        .build()
        .expect("all fields are given");
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest has only text keys");
    Blob::new(MediaType::ImageManifest, bytes)
}

/// Makes an image index; `manifests` are in the order in which they are to stand.
pub fn image_index<'a>(manifests: impl Iterator<Item = (&'a Platform, &'a Descriptor)>) -> Blob {
    let manifests: Vec<Descriptor> =
        manifests.map(|(platform, descriptor)| with_platform(descriptor, platform)).collect();
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .expect("all fields are given");
    let mut index = serde_json::to_value(&index).expect("an index has only text keys");
    os_version::as_written(&mut index);
    let bytes = serde_json::to_vec_pretty(&index).expect("an index has only text keys");
    Blob::new(MediaType::ImageIndex, bytes)
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

/// An OCI manifest names OCI's media types also for layers that came from an image with Docker's: the bytes are the same.
fn with_oci_media_type(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type().as_ref() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => MediaType::ImageLayerGzip,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::ImageLayerZstd,
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::ImageLayer,
        _ => layer.media_type().clone(),
    };
    Descriptor::new(media_type, layer.size(), layer.digest().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_index_names_each_platform() {
        let config = Blob::new(MediaType::ImageConfig, b"{}".to_vec());
        let manifest = image_manifest(&config.descriptor, &[]);
        let platform: Platform = "linux/arm/v7".parse().expect("known");
        let index = image_index([(&platform, &manifest.descriptor)].into_iter());
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
