//! OCI documents: bytes ↔ values.
//!
//! Descriptors, manifests, indexes and media types are `oci-spec`'s own types, re-exported here. The image config is
//! ours: Docker's superset of OCI's (Healthcheck, OnBuild, Shell, ArgsEscaped), as BuildKit writes it.

mod config;
mod document;

pub use config::{Created, Healthcheck, HistoryEntry, ImageConfig, RootFs, RuntimeConfig};
pub use document::{Document, descriptor, digest_of, image_index, image_manifest};
pub use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
