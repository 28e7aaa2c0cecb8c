//! Attestations of an image: a manifest beside it in the index, whose layers are in-toto statements (BuildKit,
//! `docs/attestations/attestation-storage.md`).

use serde_json::{Value, json};

use super::select::{REFERENCE_DIGEST, REFERENCE_TYPE, is_attestation};
use super::{Blob, Descriptor, ImageIndex, MediaType};

/// The media type of in-toto statements.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The annotation that says what a statement's predicate is.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// The attestations of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct AttestationManifest {
    /// The image's manifest.
    pub image: Descriptor,
    /// The manifest that names the others.
    pub manifest: Blob,
    /// An image config for nothing, which registries expect.
    pub config: Blob,
    /// The statements.
    pub statements: Vec<Blob>,
}

impl AttestationManifest {
    /// Makes the manifest of statements about the image whose manifest is `image`; non-empty.
    pub fn new(image: &Descriptor, statements: &[Value]) -> AttestationManifest {
        let made = |value: &Value| Blob::new(MediaType::from(IN_TOTO), value.to_string().into_bytes());
        let blobs: Vec<Blob> = statements.iter().map(made).collect();
        let diff_ids: Vec<String> = blobs.iter().map(|blob| blob.digest().to_string()).collect();
        let config = json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(MediaType::ImageConfig, config.to_string().into_bytes());
        let layer = |(blob, statement): (&Blob, &Value)| {
            let mut layer = entry(&blob.descriptor);
            layer["annotations"] = json!({ PREDICATE_TYPE: statement["predicateType"] });
            layer
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": entry(&config.descriptor),
            "layers": blobs.iter().zip(statements).map(layer).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(MediaType::ImageManifest, format!("{manifest:#}").into_bytes());
        AttestationManifest { image: image.clone(), manifest, config, statements: blobs }
    }

    /// Returns what the manifest names.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.statements.iter().chain([&self.config])
    }
}

/// Returns `index` with attestations after its images.
pub fn with_attestations<'a>(index: Blob, attestations: impl Iterator<Item = &'a AttestationManifest>) -> Blob {
    let mut document: Value = serde_json::from_slice(&index.bytes).expect("an index is JSON");
    let manifests = document["manifests"].as_array_mut().expect("an index has manifests");
    for attestation in attestations {
        let mut entry = entry(&attestation.manifest.descriptor);
        entry["annotations"] = json!({
            REFERENCE_DIGEST: attestation.image.digest().to_string(),
            REFERENCE_TYPE: "attestation-manifest",
        });
        entry["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        manifests.push(entry);
    }
    Blob::new(index.descriptor.media_type().clone(), format!("{document:#}").into_bytes())
}

/// Returns the entry of `index` that has the attestations of the image whose manifest's digest is `image`.
pub fn attestation_of<'i>(index: &'i ImageIndex, image: &str) -> Option<&'i Descriptor> {
    index.manifests().iter().find(|entry| {
        let named = entry.annotations().as_ref().and_then(|annotations| annotations.get(REFERENCE_DIGEST));
        is_attestation(entry) && named.is_some_and(|digest| digest == image)
    })
}

/// Returns the type of the predicate of a statement that an attestation manifest names.
pub fn predicate_type(layer: &Descriptor) -> Option<&str> {
    layer.annotations().as_ref()?.get(PREDICATE_TYPE).map(String::as_str)
}

fn entry(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type().to_string(),
        "digest": descriptor.digest().to_string(),
        "size": descriptor.size(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::oci::{MediaTypes, image_index, image_manifest, with_platform};
    use expect_test::expect;

    #[test]
    fn an_index_names_the_attestations_of_each_image_after_the_images() {
        let image_config = Blob::new(MediaType::ImageConfig, b"{}".to_vec());
        let image = image_manifest(&image_config.descriptor, &[], MediaTypes::Oci, &BTreeMap::new());
        let statement = json!({ "predicateType": "https://slsa.dev/provenance/v1" });
        let attestation = AttestationManifest::new(&image.descriptor, &[statement]);
        let platform = "linux/amd64".parse().expect("known");
        let index = image_index(vec![with_platform(&image.descriptor, &platform)], MediaTypes::Oci, &BTreeMap::new());
        let index = with_attestations(index, [&attestation].into_iter());
        let texts =
            [&attestation.config, &attestation.manifest, &index].map(|blob| String::from_utf8_lossy(&blob.bytes));
        expect![[r#"
            {"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:e99b7bc902792783927722f1ea3a6327ac936611d40bb1484e89e606314b5649"]}}
            {
              "schemaVersion": 2,
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": "sha256:fc551e4351a4c4726d3188598369cb590864a1847dde1072b885939c5e740f7d",
                "size": 167
              },
              "layers": [
                {
                  "mediaType": "application/vnd.in-toto+json",
                  "digest": "sha256:e99b7bc902792783927722f1ea3a6327ac936611d40bb1484e89e606314b5649",
                  "size": 50,
                  "annotations": {
                    "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"
                  }
                }
              ]
            }
            {
              "schemaVersion": 2,
              "mediaType": "application/vnd.oci.image.index.v1+json",
              "manifests": [
                {
                  "mediaType": "application/vnd.oci.image.manifest.v1+json",
                  "digest": "sha256:0e97a42f190d34e4711542bb089876fe24410f98ef9cd002d3d4568f46028eb3",
                  "size": 284,
                  "platform": {
                    "architecture": "amd64",
                    "os": "linux"
                  }
                },
                {
                  "mediaType": "application/vnd.oci.image.manifest.v1+json",
                  "digest": "sha256:307ab6032e20cdbcdcb8b445252df8c41637692f97fc5a021abd975b49b82ea3",
                  "size": 562,
                  "annotations": {
                    "vnd.docker.reference.digest": "sha256:0e97a42f190d34e4711542bb089876fe24410f98ef9cd002d3d4568f46028eb3",
                    "vnd.docker.reference.type": "attestation-manifest"
                  },
                  "platform": {
                    "architecture": "unknown",
                    "os": "unknown"
                  }
                }
              ]
            }"#]]
        .assert_eq(&texts.join("\n"));
        assert!(attestation.blobs().all(|blob| blob.descriptor.size() == blob.bytes.len() as u64));
    }
}
