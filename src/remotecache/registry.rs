//! A cache in a registry: an image manifest whose config lists the entries and whose layers are theirs, so that the
//! registry keeps them. The same lists are read out of the annotation of an image that was built with `type=inline`.
//!
//! Registries have no way to replace a tag only if it is still what was read. So after a manifest was put it is read
//! again, twice, the second time after a pause longer than it took to put it: what another build overwrote meanwhile is
//! put once more. Both builds do so, and the union grows until nothing of either is missing.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::entry::{MAX_INDEX_SIZE, of_annotations};
use super::{Backend, CacheError, Entry, Index, Open};
use crate::digest::Digest;
use crate::oci::{Blob, Descriptor, Document, ImageManifest, MediaType, MediaTypes, digest_of, image_manifest};
use crate::reference::Reference;
use crate::registry::{self, Client};

/// The media type of the config of a cache's manifest.
const CONFIG: &str = "application/vnd.bake.cache.config.v1+json";

/// How often a union is put before giving up; each time another build was faster.
const N_ATTEMPTS: u32 = 20;

/// The shortest pause before a manifest is read again.
const PAUSE: Duration = Duration::from_millis(200);

/// Images of an index whose annotations are read at most.
const MAX_PLATFORMS: usize = 64;

/// A cache in a registry.
pub struct RegistryCache<'a> {
    client: &'a Client,
    name: Reference,
    /// What was there when the first entry was asked for.
    found: OnceLock<Result<Index, String>>,
    added: Mutex<Vec<Entry>>,
}

impl<'a> RegistryCache<'a> {
    /// The cache that goes by `name`.
    pub fn new(client: &'a Client, name: Reference) -> RegistryCache<'a> {
        RegistryCache { client, name, found: OnceLock::new(), added: Mutex::default() }
    }

    /// Returns the entries that are there now.
    fn load(&self) -> Result<Index, CacheError> {
        let document = match self.client.fetch_document(&self.name) {
            Err(registry::Error::NotFound { .. }) => return Ok(Index::default()),
            document => document?.2,
        };
        match document {
            Document::Manifest(manifest) => self.of_manifest(&manifest),
            Document::Index(index) => {
                let mut all = Index::default();
                for entry in index.manifests().iter().take(MAX_PLATFORMS) {
                    let digest = digest_of(entry).map_err(|error| CacheError::Malformed(error.to_string()))?;
                    if let (_, _, Document::Manifest(manifest)) =
                        self.client.fetch_document(&self.name.with_digest(digest))?
                    {
                        all = all.union(&self.of_manifest(&manifest)?);
                    }
                }
                Ok(all)
            }
        }
    }

    fn of_manifest(&self, manifest: &ImageManifest) -> Result<Index, CacheError> {
        let config = manifest.config();
        if config.media_type().as_ref() != CONFIG {
            let annotations = manifest.annotations().iter().flatten();
            let annotations = annotations.map(|(name, value)| (name.as_str(), value.as_str()));
            return Ok(of_annotations(annotations).unwrap_or_default());
        }
        if config.size() > MAX_INDEX_SIZE {
            return Err(CacheError::Malformed("its list of entries is too large".to_owned()));
        }
        let mut bytes = Vec::new();
        self.client.fetch_blob(&self.name, config, &mut bytes)?;
        Index::parse(&bytes).ok_or_else(|| CacheError::Malformed("its list of entries is damaged".to_owned()))
    }

    fn put(&self, index: &Index) -> Result<(), CacheError> {
        let config = Blob::new(MediaType::from(CONFIG), index.to_bytes());
        let open = || -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(std::io::Cursor::new(config.bytes.clone())))
        };
        _ = self.client.push_blob(&self.name, &config.descriptor, &[], &open, &|_| {})?;
        let manifest = image_manifest(&config.descriptor, &index.layers(), MediaTypes::Oci, &BTreeMap::new());
        self.client.push_manifest(&self.name, manifest.descriptor.media_type().as_ref(), &manifest.bytes)?;
        Ok(())
    }
}

impl Backend for RegistryCache<'_> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn entry(&self, key: &Digest) -> Result<Option<Entry>, CacheError> {
        let found = self.found.get_or_init(|| self.load().map_err(|error| error.to_string()));
        let found = found.as_ref().map_err(|error| CacheError::Malformed(error.clone()))?;
        Ok(found.get(key).cloned())
    }

    fn fetch(&self, layer: &Descriptor, out: &mut dyn std::io::Write) -> Result<(), CacheError> {
        Ok(self.client.fetch_blob(&self.name, layer, out)?)
    }

    fn put_layer(&self, layer: &Descriptor, open: &Open<'_>) -> Result<(), CacheError> {
        _ = self.client.push_blob(&self.name, layer, &[], &|| open(), &|_| {})?;
        Ok(())
    }

    fn put_entry(&self, entry: &Entry) -> Result<(), CacheError> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        Ok(())
    }

    fn finish(&self) -> Result<(), CacheError> {
        let mut added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        added.sort_by_key(|entry| entry.key);
        let added = Index::new(added);
        if added.is_empty() {
            return Ok(());
        }
        let mut n_seen = 0;
        let mut longest = PAUSE;
        for _ in 0..N_ATTEMPTS {
            let begin = Instant::now();
            // What is damaged there is replaced.
            let current = match self.load() {
                Err(CacheError::Malformed(_) | CacheError::Registry(registry::Error::NotFound { .. })) => {
                    Index::default()
                }
                current => current?,
            };
            if current.has_keys_of(&added) {
                // What was there before this build began needs no second look.
                if n_seen != 1 {
                    return Ok(());
                }
                n_seen = 2;
                thread::sleep(longest);
                continue;
            }
            match self.put(&added.union(&current)) {
                // The registry lost layers of earlier builds.
                Err(CacheError::Registry(registry::Error::Status { status: 400 | 404, .. })) => self.put(&added)?,
                put => put?,
            }
            n_seen = 1;
            longest = longest.max(begin.elapsed() * 2);
        }
        Err(CacheError::Malformed(format!("other builds replaced it {N_ATTEMPTS} times at once")))
    }
}
