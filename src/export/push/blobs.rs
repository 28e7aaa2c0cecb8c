//! Blobs on their way: each at most once to a registry, mounted into what other repositories of it want it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::PoisonError;
use std::time::Duration;

use super::Publisher;
use crate::digest::{DiffId, Digest};
use crate::export::image::{ExportError, PlatformImage};
use crate::oci::{AttestationManifest, Blob, Descriptor, InvalidDocument, digest_of};
use crate::reference::Reference;
use crate::registry::{BlobUpload, Pushed};
use crate::sys::cancel::CancelToken;
use crate::sys::threads;

/// Bytes in the first request of a large blob, and how long a further one may take. What was acknowledged need not be sent
/// again when the connection breaks or bake is killed; but Debian's registry syncs its disk after each piece.
const PIECE: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(15);

/// A blob that a repository is to have.
struct WantedBlob<'a> {
    repository: &'a Reference,
    digest: Digest,
    descriptor: &'a Descriptor,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Layer(DiffId),
    Document(&'a Blob),
}

impl Publisher<'_> {
    /// Brings the blobs of images into their repositories, as far as these have not acknowledged them already. Breaks off
    /// once `stop` is set.
    pub(super) fn push_blobs<'p>(
        &self,
        images: impl Iterator<Item = (&'p Reference, &'p PlatformImage)>,
        n_connections: usize,
        stop: &CancelToken,
    ) -> Result<(), ExportError> {
        let mut blobs: BTreeMap<(String, Digest), WantedBlob<'p>> = BTreeMap::new();
        for (repository, image) in images {
            for (descriptor, content) in contents(image) {
                let digest = digest_of(descriptor).map_err(|error| InvalidDocument::Malformed(error.to_string()))?;
                let name = repository.name();
                if !self.journal.has_blob(&name, digest) {
                    blobs.entry((name, digest)).or_insert(WantedBlob { repository, digest, descriptor, content });
                }
            }
        }
        // Those that are mounted wait for the one that is sent, so all that are sent come first.
        let mut seen = BTreeSet::new();
        let is_first = |blob: &WantedBlob<'p>| seen.insert((blob.repository.registry.clone(), blob.digest));
        let (mut blobs, others): (Vec<_>, Vec<_>) = blobs.into_values().partition(is_first);
        blobs.extend(others);
        threads::map(blobs, n_connections, |blob| {
            let key = (blob.repository.registry.clone(), blob.digest);
            self.in_flight.alone(key, || self.push_blob(&blob, stop))
        })?;
        Ok(())
    }

    fn push_blob(&self, blob: &WantedBlob<'_>, stop: &CancelToken) -> Result<(), ExportError> {
        let WantedBlob { repository, digest, descriptor, content } = blob;
        let name = repository.name();
        if self.journal.has_blob(&name, *digest) {
            return Ok(());
        }
        let activity = self.activities.start(&format!("push {name} {}", digest.short()));
        let acknowledged = self.journal.repositories(*digest);
        let mut sources: Vec<Reference> = acknowledged.iter().filter_map(|name| name.parse().ok()).collect();
        let known = match content {
            Content::Layer(diff_id) => self.layers.sources(diff_id, descriptor),
            Content::Document(_) => Vec::new(),
        };
        let is_base = !known.is_empty();
        sources.extend(known);
        let upload = BlobUpload {
            descriptor,
            mount_from: &sources,
            open: &|offset| {
                let inner = self.open(descriptor, content, offset)?;
                Ok(Box::new(Stoppable { inner, stop: stop.clone() }))
            },
            on_progress: &|n_bytes| activity.progress(n_bytes, Some(descriptor.size())),
            piece: PIECE,
            patience: PATIENCE,
            resume: self.journal.upload(&name, *digest),
            on_point: &|point| self.journal.note_upload(&name, *digest, point),
        };
        let pushed = self.client.upload_blob(repository, &upload);
        if pushed.is_err() && matches!(content, Content::Layer(_)) && self.store.has_blob(digest) {
            // The registry may have refused what is not what its digest says.
            self.store.check_blob(digest)?;
        }
        let pushed = pushed?;
        self.journal.note_blob(&name, *digest);
        self.count(pushed, descriptor.size());
        if let (Content::Layer(diff_id), true) = (content, is_base && !is_near(&sources, repository)) {
            // What this registry has now need not come from elsewhere the next time.
            self.store.put_layer_blob(diff_id, descriptor, Some(&name))?;
        }
        activity.finish(match pushed {
            Pushed::Exists => "exists",
            Pushed::Mounted => "mounted",
            Pushed::Sent => "sent",
        });
        Ok(())
    }

    fn count(&self, pushed: Pushed, size: u64) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        match pushed {
            Pushed::Exists => {}
            Pushed::Mounted => published.n_mounted += 1,
            Pushed::Sent => {
                published.n_sent += 1;
                published.n_bytes += size;
            }
        }
    }

    /// Opens a blob's bytes from `offset` on; fetches a base layer that was never needed here.
    fn open(&self, descriptor: &Descriptor, content: &Content<'_>, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        match content {
            Content::Document(document) => {
                let mut bytes = io::Cursor::new(document.bytes.clone());
                bytes.set_position(offset);
                Ok(Box::new(bytes))
            }
            Content::Layer(diff_id) => {
                let digest = digest_of(descriptor).map_err(io::Error::other)?;
                self.layers.fetch(diff_id, descriptor).map_err(io::Error::other)?;
                let mut blob = self.store.open_blob(&digest)?;
                blob.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(blob))
            }
        }
    }
}

/// Says whether one of `sources` is in the registry of `repository`.
fn is_near(sources: &[Reference], repository: &Reference) -> bool {
    sources.iter().any(|source| source.registry == repository.registry)
}

/// Returns an image's blobs with what they are made of: layers, oldest first, then the config, then attestations.
fn contents(image: &PlatformImage) -> impl Iterator<Item = (&Descriptor, Content<'_>)> {
    let layers = image.layers.iter().zip(&image.stack).map(|(layer, diff_id)| (layer, Content::Layer(*diff_id)));
    let attested = image.attestation.iter().flat_map(AttestationManifest::blobs);
    let documents = [&image.config].into_iter().chain(attested);
    layers.chain(documents.map(|document| (&document.descriptor, Content::Document(document))))
}

/// Breaks off once it is to stop.
struct Stoppable<R> {
    inner: R,
    stop: CancelToken,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}
