//! OCI documents: bytes ↔ values.
//!
//! Descriptors, manifests, indexes and media types are `oci-spec`'s own types, re-exported here. The image config is
//! ours: Docker's superset of OCI's (Healthcheck, OnBuild, Shell, ArgsEscaped), as BuildKit writes it.

mod attestation;
mod blob;
pub mod compare;
mod compression;
mod config;
mod document;
mod layer;
mod os_version;
mod select;
pub mod tar;
pub mod untar;

pub use attestation::{AttestationManifest, attestation_of, predicate_type, with_attestations};
pub use blob::{Blob, annotated, image_index, image_manifest, with_annotations, with_platform};
pub use compression::{Compression, MediaTypes};
pub use config::{Created, Healthcheck, HistoryEntry, ImageConfig, RootFs, RuntimeConfig};
pub use document::{
    DOCUMENT_MEDIA_TYPES, Document, DocumentKind, InvalidDocument, MAX_DOCUMENT_SIZE, descriptor, digest_of,
    document_media_type, parse_document, parse_index, parse_manifest,
};
pub use layer::LayerCompression;
pub use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
pub use select::{is_attestation, is_image, platform_of, select};
