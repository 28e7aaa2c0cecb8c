//! Resolves image names: to the platform's manifest and config, through the pins first.
//!
//! Layers are not fetched here. The store is told which registry has them, so that a step that needs their files, and only
//! that, brings them in.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::frontend::{Need, ResolvedImage};
use crate::oci::{self, Descriptor, ImageConfig, ImageIndex, ImageManifest, digest_of};
use crate::plan::ImageSource;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::solver::activity::Activities;
use crate::store::{Store, StoreError};

/// Why an image could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry refused, or could not be reached.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the lockfile pins a name to is no longer in its registry.
    #[error("the registry of `{image}` no longer has {digest}, which the lockfile pins it to")]
    PinGone {
        /// As the user wrote it.
        image: String,
        /// The pin.
        digest: Digest,
    },
    /// There is an image, but not for that platform.
    #[error("`{image}` has no image for {platform}")]
    NoPlatform {
        /// As the user wrote it.
        image: String,
        /// What was asked for.
        platform: Platform,
        /// What there is, in the index's order.
        available: Vec<String>,
    },
    /// A document is not what its media type says.
    #[error("`{image}` is no image that can be built on: {reason}")]
    Malformed {
        /// As the user wrote it.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// An OCI layout directory could not be read.
    #[error("cannot read the OCI layout {path}: {reason}")]
    Layout {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a name stood for, to be written to the lockfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPin {
    /// The name as resolved.
    pub reference: Reference,
    /// What it named: an index or a manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The platform that was asked for.
    pub platform: Platform,
    /// That platform's manifest.
    pub manifest: Digest,
}

/// Resolves images.
pub struct ImageResolver<'a> {
    /// Keeps documents by digest.
    pub store: &'a Store,
    /// Asks registries.
    pub client: &'a Client,
    /// What names stand for without asking.
    pub pins: &'a BTreeMap<String, Digest>,
    /// The directory that layout paths are relative to.
    pub directory: PathBuf,
    /// Tells the user.
    pub activities: &'a Activities<'a>,
    /// What names were found to stand for in this run.
    pub resolved: ResolvedNames,
}

/// What names were found to stand for. A name is asked for once in a run, so that a tag that moves meanwhile cannot give
/// one build two images.
#[derive(Default)]
pub struct ResolvedNames {
    /// One cell for each name, held while it is asked for. The outer mutex protects the map alone.
    names: Mutex<BTreeMap<String, Arc<Mutex<Option<Digest>>>>>,
}

/// Where a document's bytes come from.
enum Origin<'a> {
    Registry(&'a Reference),
    Layout(PathBuf),
}

impl ImageResolver<'_> {
    /// Resolves one image for one platform. A pin is only made for a name in a registry.
    ///
    /// # Errors
    /// The image, or its platform, is not there; or the network fails and the store does not have its documents.
    pub fn resolve(&self, need: &Need) -> Result<(ResolvedImage, Option<ResolvedPin>), ResolveError> {
        match &need.image {
            ImageSource::Registry(reference) => self.resolve_registry(reference, &need.platform),
            ImageSource::Layout { path, selector } => {
                let image = self.resolve_layout(path, selector.as_deref(), &need.platform)?;
                Ok((image, None))
            }
        }
    }

    fn resolve_registry(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(ResolvedImage, Option<ResolvedPin>), ResolveError> {
        let pinned = reference.digest.or_else(|| self.pins.get(&reference.to_string()).copied());
        let digest = pinned.map_or_else(|| self.ask(reference), Ok)?;
        let name = reference.familiar();
        let origin = Origin::Registry(reference);
        let root = self.document(&origin, &name, digest).map_err(|error| match error {
            ResolveError::Registry(registry::Error::NotFound { .. })
                if reference.digest.is_none() && pinned.is_some() =>
            {
                ResolveError::PinGone { image: name.clone(), digest }
            }
            error => error,
        })?;
        let (manifest_digest, manifest, media_type) = self.select(&origin, &name, digest, &root, platform)?;
        let image = self.image(&origin, &name, manifest_digest, &manifest)?;
        let (reference, platform) = (reference.clone(), platform.clone());
        let pin = ResolvedPin { reference, digest, media_type, platform, manifest: manifest_digest };
        Ok((image, Some(pin)))
    }

    /// Asks the registry what a name stands for, or returns what it said before.
    fn ask(&self, reference: &Reference) -> Result<Digest, ResolveError> {
        let cell = {
            let mut names = self.resolved.names.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(names.entry(reference.to_string()).or_default())
        };
        let mut known = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = *known {
            return Ok(digest);
        }
        let activity = self.activities.start(&format!("resolve {}", reference.familiar()));
        let descriptor = self.client.resolve(reference)?;
        let digest = digest_of(&descriptor).map_err(|_| malformed(reference, "its digest is not SHA-256"))?;
        activity.finish(&digest.to_string());
        Ok(*known.insert(digest))
    }

    fn resolve_layout(
        &self,
        path: &str,
        selector: Option<&str>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let directory = self.directory.join(path);
        let layout_error = |reason: String| ResolveError::Layout { path: path.to_owned(), reason };
        let digest = super::layout::select(&directory, selector).map_err(layout_error)?;
        let origin = Origin::Layout(directory);
        let root = self.document(&origin, path, digest)?;
        let (manifest_digest, manifest, _) = self.select(&origin, path, digest, &root, platform)?;
        self.image(&origin, path, manifest_digest, &manifest)
    }

    /// Follows an index to the platform's manifest; a manifest stands for itself. Returns the media type of `root`.
    fn select(
        &self,
        origin: &Origin<'_>,
        name: &str,
        digest: Digest,
        root: &[u8],
        platform: &Platform,
    ) -> Result<(Digest, ImageManifest, String), ResolveError> {
        let malformed = |reason: String| ResolveError::Malformed { image: name.to_owned(), reason };
        match oci::parse_document(root, None).map_err(|error| malformed(error.to_string()))? {
            oci::Document::Manifest(manifest) => {
                let media_type = manifest.media_type().as_ref().map_or_else(String::new, ToString::to_string);
                Ok((digest, manifest, media_type))
            }
            oci::Document::Index(index) => {
                let chosen = oci::select(&index, platform).ok_or_else(|| no_platform(name, platform, &index))?;
                let digest = digest_of(&chosen).map_err(|_| malformed("its digest is not SHA-256".to_owned()))?;
                let bytes = self.document(origin, name, digest)?;
                let media_type = index.media_type().as_ref().map_or_else(String::new, ToString::to_string);
                match oci::parse_document(&bytes, None).map_err(|error| malformed(error.to_string()))? {
                    oci::Document::Manifest(manifest) => Ok((digest, manifest, media_type)),
                    oci::Document::Index(_) => Err(malformed("its index names another index".to_owned())),
                }
            }
        }
    }

    /// Reads the config and tells the store where the layers are.
    fn image(
        &self,
        origin: &Origin<'_>,
        name: &str,
        digest: Digest,
        manifest: &ImageManifest,
    ) -> Result<ResolvedImage, ResolveError> {
        let malformed = |reason: String| ResolveError::Malformed { image: name.to_owned(), reason };
        let config = self.config(origin, name, manifest.config())?;
        let config = ImageConfig::parse(&config).map_err(|error| malformed(format!("its config: {error}")))?;
        let (n_layers, n_diff_ids) = (manifest.layers().len(), config.rootfs.diff_ids.len());
        if n_layers != n_diff_ids {
            return Err(malformed(format!("its manifest has {n_layers} layers and its config {n_diff_ids}")));
        }
        for (layer, diff_id) in manifest.layers().iter().zip(&config.rootfs.diff_ids) {
            match origin {
                Origin::Registry(reference) => {
                    self.store.put_layer_blob(diff_id, layer, Some(&reference.name()))?;
                }
                Origin::Layout(directory) => {
                    super::layout::import(self.store, directory, layer).map_err(malformed)?;
                    self.store.put_layer_blob(diff_id, layer, None)?;
                }
            }
        }
        Ok(ResolvedImage { manifest: digest, config })
    }

    /// Returns a manifest's or index's bytes: from the store, else from where it is; kept in the store.
    fn document(&self, origin: &Origin<'_>, name: &str, digest: Digest) -> Result<Vec<u8>, ResolveError> {
        if let Some(bytes) = self.here(&digest)? {
            return Ok(bytes);
        }
        let bytes = match origin {
            Origin::Registry(reference) => self.client.fetch_manifest(&reference.with_digest(digest))?.1,
            Origin::Layout(directory) => super::layout::read(directory, digest)
                .map_err(|reason| ResolveError::Layout { path: name.to_owned(), reason })?,
        };
        self.store.put_blob(&bytes)?;
        Ok(bytes)
    }

    /// Returns a document that the store has; one that is damaged is as good as none.
    fn here(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ResolveError> {
        match self.store.read_blob(digest) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            // Whether it is there by now says nothing: another thread may have brought it since.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn config(&self, origin: &Origin<'_>, name: &str, descriptor: &Descriptor) -> Result<Vec<u8>, ResolveError> {
        let malformed = |reason: &str| ResolveError::Malformed { image: name.to_owned(), reason: reason.to_owned() };
        let digest = digest_of(descriptor).map_err(|_| malformed("its digest is not SHA-256"))?;
        if let Some(bytes) = self.here(&digest)? {
            return Ok(bytes);
        }
        if descriptor.size() > MAX_CONFIG_SIZE {
            return Err(malformed("its config is larger than 8 MiB"));
        }
        match origin {
            Origin::Registry(reference) => {
                let mut bytes = Vec::new();
                self.client.fetch_blob(reference, descriptor, &mut bytes)?;
                self.store.put_blob(&bytes)?;
                Ok(bytes)
            }
            Origin::Layout(_) => self.document(origin, name, digest),
        }
    }
}

/// No real config comes near it; a hostile one must not fill the memory.
const MAX_CONFIG_SIZE: u64 = 8 << 20;

fn malformed(reference: &Reference, reason: &str) -> ResolveError {
    ResolveError::Malformed { image: reference.familiar(), reason: reason.to_owned() }
}

fn no_platform(name: &str, platform: &Platform, index: &ImageIndex) -> ResolveError {
    let available = index
        .manifests()
        .iter()
        .filter_map(oci::platform_of)
        .map(|platform| platform.to_string())
        .filter(|text| text != "unknown/unknown")
        .collect();
    ResolveError::NoPlatform { image: name.to_owned(), platform: platform.clone(), available }
}
