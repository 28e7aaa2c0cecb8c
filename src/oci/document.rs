//! Manifests and indexes from bytes that nobody vouches for yet.
//!
//! In: a document's bytes and the media type that its carrier declared. Out: a checked value, or why it is refused. A
//! document that could be read both as a manifest and as an index is refused (CVE-2021-41190): two readers would run
//! two different images under one digest. Docker's schema 2 media types are read like OCI's.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::os_version;
use crate::digest::{Digest, InvalidDigest};

/// Largest manifest or index that is read, in bytes (distribution-spec v1.1, *Pushing Manifests*, asks for 4 MiB).
pub const MAX_DOCUMENT_SIZE: u64 = 4 << 20;

/// Most layers that a manifest may have; overlayfs ends far below.
const MAX_LAYERS: usize = 1024;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The media types that [`parse_document`] reads, most wanted first.
pub const DOCUMENT_MEDIA_TYPES: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// One image: a config and layers.
    Manifest,
    /// A list of images, one for each platform.
    Index,
}

impl DocumentKind {
    /// Returns what `media_type` (without parameters) stands for; `None` for anything but the four document types.
    pub fn of_media_type(media_type: &str) -> Option<DocumentKind> {
        match media_type {
            OCI_MANIFEST | DOCKER_MANIFEST => Some(DocumentKind::Manifest),
            OCI_INDEX | DOCKER_INDEX => Some(DocumentKind::Index),
            _ => None,
        }
    }
}

/// A checked document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(ImageManifest),
    /// A list of images.
    Index(ImageIndex),
}

/// Says why bytes are no manifest or index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// It is not JSON of the right shape; the text says where.
    #[error("it is no image document: {0}")]
    Malformed(String),
    /// Its schema version is not 2.
    #[error("its schema version is {0}; only version 2 is read")]
    SchemaVersion(u64),
    /// It has the fields of a manifest and those of an index.
    #[error("it has the fields of a manifest and of an index; which one is meant cannot be told")]
    Ambiguous,
    /// Its own media type and the declared one, or its shape, do not agree.
    #[error("its media type is `{found}` where `{expected}` was declared")]
    MediaType {
        /// What the document says, or what its shape is.
        found: String,
        /// What was declared or asked for.
        expected: String,
    },
    /// A descriptor names its content with something else than a SHA-256 digest.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// More layers than any image has.
    #[error("it has {0} layers; at most {MAX_LAYERS} are read")]
    TooManyLayers(usize),
}

/// The top-level fields that tell a document's kind. Serde refuses a document that repeats one of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

impl Shape {
    fn kind(&self) -> Result<DocumentKind, InvalidDocument> {
        let has_manifest_fields = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        match (has_manifest_fields, self.manifests.is_some()) {
            (true, true) => Err(InvalidDocument::Ambiguous),
            (true, false) => Ok(DocumentKind::Manifest),
            (false, true) => Ok(DocumentKind::Index),
            (false, false) => Err(InvalidDocument::Malformed("neither `layers` nor `manifests` is there".to_owned())),
        }
    }
}

/// Returns the media type of the document `bytes` (one of [`DOCUMENT_MEDIA_TYPES`]), checked against its shape and
/// against `declared`, the carrier's content type without parameters. A declared type that is none of the four (some
/// servers send `application/json`) says nothing; without any word on it, the shape decides and OCI's name is returned.
///
/// # Errors
/// The document is malformed, ambiguous, or contradicts what was declared.
pub fn document_media_type(bytes: &[u8], declared: Option<&str>) -> Result<MediaType, InvalidDocument> {
    let shape: Shape = read(bytes)?;
    if shape.schema_version != 2 {
        return Err(InvalidDocument::SchemaVersion(shape.schema_version));
    }
    let kind = shape.kind()?;
    let declared = declared.filter(|declared| DocumentKind::of_media_type(declared).is_some());
    if let (Some(own), Some(declared)) = (&shape.media_type, declared)
        && own != declared
    {
        return Err(InvalidDocument::MediaType { found: own.clone(), expected: declared.to_owned() });
    }
    let shaped = match kind {
        DocumentKind::Manifest => OCI_MANIFEST,
        DocumentKind::Index => OCI_INDEX,
    };
    let media_type = shape.media_type.as_deref().or(declared).unwrap_or(shaped);
    if DocumentKind::of_media_type(media_type) != Some(kind) {
        return Err(InvalidDocument::MediaType { found: shaped.to_owned(), expected: media_type.to_owned() });
    }
    Ok(MediaType::from(media_type))
}

/// Reads a manifest or an index; `declared` as in [`document_media_type`].
///
/// # Errors
/// The document is malformed, ambiguous, contradicts what was declared, or names content by another algorithm.
pub fn parse_document(bytes: &[u8], declared: Option<&str>) -> Result<Document, InvalidDocument> {
    let media_type = document_media_type(bytes, declared)?.to_string();
    match DocumentKind::of_media_type(&media_type) {
        Some(DocumentKind::Index) => {
            let index = read_index(bytes)?;
            check_digests(index.manifests().iter().chain(index.subject()))?;
            Ok(Document::Index(index))
        }
        Some(DocumentKind::Manifest) | None => {
            let manifest: ImageManifest = read(bytes)?;
            let layers = manifest.layers();
            if layers.len() > MAX_LAYERS {
                return Err(InvalidDocument::TooManyLayers(layers.len()));
            }
            check_digests(layers.iter().chain([manifest.config()]).chain(manifest.subject()))?;
            Ok(Document::Manifest(manifest))
        }
    }
}

fn read_index(bytes: &[u8]) -> Result<ImageIndex, InvalidDocument> {
    if !os_version::may_be_in(bytes) {
        return read(bytes);
    }
    let mut value: serde_json::Value = read(bytes)?;
    os_version::as_read(&mut value);
    serde_json::from_value(value).map_err(|error| InvalidDocument::Malformed(error.to_string()))
}

/// Reads a manifest; all its descriptors have SHA-256 digests.
///
/// # Errors
/// As [`parse_document`]; an index is a [`InvalidDocument::MediaType`].
pub fn parse_manifest(bytes: &[u8]) -> Result<ImageManifest, InvalidDocument> {
    match parse_document(bytes, None)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => {
            Err(InvalidDocument::MediaType { found: OCI_INDEX.to_owned(), expected: OCI_MANIFEST.to_owned() })
        }
    }
}

/// Reads an index; all its descriptors have SHA-256 digests.
///
/// # Errors
/// As [`parse_document`]; a manifest is a [`InvalidDocument::MediaType`].
pub fn parse_index(bytes: &[u8]) -> Result<ImageIndex, InvalidDocument> {
    match parse_document(bytes, None)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => {
            Err(InvalidDocument::MediaType { found: OCI_MANIFEST.to_owned(), expected: OCI_INDEX.to_owned() })
        }
    }
}

/// Returns the digest of what `descriptor` points to.
///
/// # Errors
/// It is no SHA-256 digest. Cannot happen for descriptors out of [`parse_document`].
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, InvalidDigest> {
    descriptor.digest().as_ref().parse()
}

/// Returns a descriptor of `size` bytes under `digest`.
pub fn descriptor(media_type: impl Into<MediaType>, size: u64, digest: Digest) -> Descriptor {
    let digest: oci_spec::image::Sha256Digest = digest.hex().parse().expect("64 hex digits are a SHA-256 digest");
    Descriptor::new(media_type.into(), size, digest)
}

fn check_digests<'a>(mut descriptors: impl Iterator<Item = &'a Descriptor>) -> Result<(), InvalidDocument> {
    descriptors.try_for_each(|descriptor| digest_of(descriptor).map(drop)).map_err(InvalidDocument::from)
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, InvalidDocument> {
    serde_json::from_slice(bytes).map_err(|error| InvalidDocument::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(media_type: &str, more: &str) -> Vec<u8> {
        let digest = Digest::of(b"x");
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}",{more}
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":1}},
                "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":1}}]}}"#
        )
        .into_bytes()
    }

    #[test]
    fn both_families_of_media_types_are_read() {
        for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
            let bytes = manifest(media_type, "");
            assert_eq!(document_media_type(&bytes, None).map(|m| m.to_string()), Ok(media_type.to_owned()));
            assert_eq!(parse_manifest(&bytes).map(|m| m.layers().len()), Ok(1));
            assert!(matches!(parse_index(&bytes), Err(InvalidDocument::MediaType { .. })));
        }
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(parse_index(index).map(|i| i.manifests().len()), Ok(0));
        assert_eq!(document_media_type(index, Some("application/json")), Ok(MediaType::ImageIndex));
    }

    #[test]
    fn a_document_of_two_shapes_is_refused() {
        let bytes = manifest(OCI_MANIFEST, r#""manifests":[],"#);
        assert_eq!(parse_document(&bytes, Some(OCI_MANIFEST)), Err(InvalidDocument::Ambiguous));
        let index_with_config = br#"{"schemaVersion":2,"manifests":[],"config":{}}"#;
        assert_eq!(parse_index(index_with_config), Err(InvalidDocument::Ambiguous));
        let repeated = manifest(OCI_MANIFEST, r#""layers":[],"#);
        assert!(matches!(parse_document(&repeated, None), Err(InvalidDocument::Malformed(_))));
    }

    #[test]
    fn a_wrong_media_type_is_refused() {
        let bytes = manifest(OCI_MANIFEST, "");
        assert!(matches!(parse_document(&bytes, Some(OCI_INDEX)), Err(InvalidDocument::MediaType { .. })));
        let lying = manifest(OCI_INDEX, "");
        assert!(matches!(parse_document(&lying, None), Err(InvalidDocument::MediaType { .. })));
        let schema_1 = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert_eq!(parse_document(schema_1, None), Err(InvalidDocument::SchemaVersion(1)));
    }

    #[test]
    fn a_digest_that_is_no_sha256_is_refused() {
        let text = String::from_utf8(manifest(OCI_MANIFEST, "")).expect("text");
        let other = text.replace(&Digest::of(b"x").to_string(), &format!("sha512:{}", "0".repeat(128)));
        assert!(matches!(parse_document(other.as_bytes(), None), Err(InvalidDocument::Digest(_))));
        let path = text.replace(&Digest::of(b"x").to_string(), "sha256:../../x");
        assert!(parse_document(path.as_bytes(), None).is_err());
    }
}
