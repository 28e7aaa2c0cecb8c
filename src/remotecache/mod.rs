//! Caches that builds on several machines share: `cache-from` and `cache-to`.
//!
//! A cache holds entries and layers. An [`Entry`] says which layer the step with a cache key makes; it is a few hundred
//! bytes, never changes once written, and stands alone. Layers are blobs under their digests. So two builds that fill one
//! cache at once only ever add to it. Where a backend has no way to keep an entry by itself (a registry), the entries of all
//! builds are in one document that is replaced by its union with what is new.
//!
//! | backend | an entry is | a layer is |
//! |---|---|---|
//! | `registry` | a member of the manifest's config | a blob of the manifest |
//! | inline | a member of an annotation of the image's manifest | a layer of the image |
//! | `local` | a file `bake/KEY` | a file `blobs/sha256/DIGEST` |
//! | `s3` | an object `MANIFESTS_PREFIX NAME/bake/KEY` | an object `BLOBS_PREFIX DIGEST` |
//! | `gha` | an entry of the service, `bake-SCOPE-KEY` | an entry `bake-blob-DIGEST` |
//!
//! What a cache is trusted with: that a step's layer is what the entry of its key says. Nothing else is believed: a layer
//! has to have the blob digest and the diff id that its entry names, or the cache is left alone for the rest of the build
//! ([`Imports`]) and the build begins again without it. The layers below are never taken from an entry: they are those of
//! the step's own input.

mod entry;
mod export;
mod gha;
mod http;
mod import;
mod local;
mod registry;
mod s3;
mod signature;

use std::io::{self, Read, Write};

pub use entry::{CachedLayer, Entry, Index, MAX_ENTRIES, inline_annotation};
pub use export::{Exports, Outbox, Sink, Unsent};
pub use gha::{GhaCache, GhaSettings};
pub use http::Web;
pub use import::Imports;
pub use local::LocalCache;
pub use registry::RegistryCache;
pub use s3::{Credentials, S3Cache, S3Settings, profile_credentials};

use crate::digest::Digest;
use crate::oci::Descriptor;

/// Why a cache could not be read or filled.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The registry refused or could not be reached.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// A layer that is to be sent cannot be read or made.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A file could not be read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted on what.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A service answered with another status than the request can deal with.
    #[error("{what} answered {status}{}", if detail.is_empty() { String::new() } else { format!(": {detail}") })]
    Status {
        /// `PUT https://host/path`, without query.
        what: String,
        /// The status.
        status: u16,
        /// What the service said, shortened.
        detail: String,
    },
    /// A service could not be reached, or the connection broke.
    #[error("{what}: {reason}")]
    Unreachable {
        /// `PUT https://host/path`, without query.
        what: String,
        /// What the connection said.
        reason: String,
    },
    /// What the cache holds is not what it has to be.
    #[error("{0}")]
    Malformed(String),
}

/// Opens a blob's bytes from the start; may be called several times.
pub type Open<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync + 'a;

/// One place that holds a cache. Used from several threads at once.
pub trait Backend: Send + Sync {
    /// Names it in messages; nothing secret is in the name.
    fn name(&self) -> String;

    /// Returns the entry of `key`. Nothing there is no error, nor is that the whole cache is not there yet.
    ///
    /// # Errors
    /// It cannot be reached, or holds what is no entry of `key`.
    fn entry(&self, key: &Digest) -> Result<Option<Entry>, CacheError>;

    /// Writes a layer's blob to `out`: at most `layer`'s size. The bytes need not be right; the caller verifies them.
    ///
    /// # Errors
    /// It cannot be reached or does not have it; `out` cannot be written.
    fn fetch(&self, layer: &Descriptor, out: &mut dyn Write) -> Result<(), CacheError>;

    /// Makes sure that it has a layer's blob.
    ///
    /// # Errors
    /// It cannot be reached or refuses; the bytes cannot be read.
    fn put_layer(&self, layer: &Descriptor, open: &Open<'_>) -> Result<(), CacheError>;

    /// Makes sure that it has an entry, whose layer it has, now or after [`Backend::finish`].
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    fn put_entry(&self, entry: &Entry) -> Result<(), CacheError>;

    /// Makes what was put visible, beside what others put meanwhile.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    fn finish(&self) -> Result<(), CacheError> {
        Ok(())
    }
}
