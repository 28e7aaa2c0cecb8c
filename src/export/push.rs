//! The release transaction: blobs, then manifests by digest, then indexes by digest, then all tags.
//!
//! Nothing that a registry has is sent again, and where it has a target's whole image (its index and manifests by digest)
//! none of their blobs is even asked for. Tags move only when every document of every target is in place, so a failure
//! before that leaves all of them where they were.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use super::image::{ExportError, PlatformImage, TargetImage};
use super::sign::push_signatures;
use super::whole::WholeImages;
use crate::attest::key::PrivateKey;
use crate::digest::{DiffId, Digest};
use crate::oci::{AttestationManifest, Blob, Descriptor, digest_of};
use crate::reference::Reference;
use crate::registry::{self, Client, Pushed};
use crate::solver::activity::Activities;
use crate::store::Store;
use crate::sys::threads;
use crate::worker::layers::Layers;

/// Requests under way at once.
const N_CONNECTIONS: usize = 6;

/// How often a document is put whose content the registry does not know yet, and the first pause; it grows with each
/// attempt. While two push to one repository at once, Debian's registry denies for a moment what it has.
const N_ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be published: a target's image under its tags.
pub struct Publication<'a> {
    /// What.
    pub image: &'a TargetImage,
    /// Under which names; non-empty. One without a tag is published by digest alone.
    pub names: &'a [Reference],
}

/// What a publication did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Blobs that were sent.
    pub n_sent: usize,
    /// Bytes that were sent, blobs alone.
    pub n_bytes: u64,
    /// Blobs that the registry took from another of its repositories.
    pub n_mounted: usize,
    /// Tags that were moved or made.
    pub tags_moved: Vec<String>,
    /// Tags that named the image already.
    pub tags_unchanged: Vec<String>,
}

/// Sends images to registries.
pub struct Publisher<'a> {
    /// Talks to them.
    pub client: &'a Client,
    /// Has the blobs.
    pub store: &'a Store,
    /// Fetches base layers that were never needed here.
    pub layers: &'a Layers<'a>,
    /// Tells the user.
    pub activities: &'a Activities<'a>,
    /// Seconds since 1970.
    pub now: u64,
    /// Signs what tags will name.
    pub key: Option<&'a PrivateKey>,
}

/// A blob that a repository is to have.
struct WantedBlob<'a> {
    repository: &'a Reference,
    descriptor: &'a Descriptor,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Layer(DiffId),
    Document(&'a Blob),
}

impl Publisher<'_> {
    /// Publishes all of `publications`: tags last, and only if everything else succeeded.
    ///
    /// # Errors
    /// The first failure. Before the first tag moves, all tags are as they were.
    pub fn publish(&self, publications: &[Publication<'_>]) -> Result<Published, ExportError> {
        let missing = self.missing(publications)?;
        let mut published = self.push_content(&missing)?;
        if let Some(key) = self.key {
            push_signatures(self.client, publications, key)?;
        }
        self.move_tags(publications, &mut published)?;
        Ok(published)
    }

    /// Puts everything but tags in place. A blob that the registry had when it was asked, and then does not know, was
    /// collected as garbage in between: it is pushed again, once.
    fn push_content(&self, missing: &[(&Reference, &TargetImage)]) -> Result<Published, ExportError> {
        let published = self.push_blobs(missing)?;
        match self.push_manifests(missing) {
            Err(ExportError::Registry(error)) if lacks_content(&error) => {
                let published = self.push_blobs(missing)?;
                self.push_manifests(missing).map(|()| published)
            }
            result => result.map(|()| published),
        }
    }

    /// Returns each repository with the images that it does not have whole. An index is not whole without its manifests:
    /// registries let them be deleted, and some collect those that have no tag.
    fn missing<'p>(
        &self,
        publications: &[Publication<'p>],
    ) -> Result<Vec<(&'p Reference, &'p TargetImage)>, ExportError> {
        let mut seen = BTreeSet::new();
        let mut wanted = Vec::new();
        for publication in publications {
            for name in publication.names {
                if seen.insert((name.name(), publication.image.root().digest())) {
                    wanted.push((name, publication.image));
                }
            }
        }
        let mut whole = WholeImages::load(self.store, self.now);
        let mut documents: Vec<(usize, Digest)> = Vec::new();
        for (index, (name, image)) in wanted.iter().enumerate() {
            let is_whole = whole.contains(name, image);
            let asked = image.documents().filter(|document| !is_whole || document.digest() == image.root().digest());
            documents.extend(asked.map(|document| (index, document.digest())));
        }
        let absent = threads::map(documents, N_CONNECTIONS, |(index, digest)| {
            let is_there = self.client.has_manifest(wanted[index].0, digest)?;
            Ok::<_, ExportError>((!is_there).then_some(index))
        })?;
        let absent: BTreeSet<usize> = absent.into_iter().flatten().collect();
        let there = wanted.iter().enumerate().filter(|(index, _)| !absent.contains(index));
        there.for_each(|(_, (name, image))| whole.note(name, image));
        whole.save(self.store);
        Ok(absent.into_iter().map(|index| wanted[index]).collect())
    }

    fn push_blobs(&self, missing: &[(&Reference, &TargetImage)]) -> Result<Published, ExportError> {
        let mut blobs: BTreeMap<(String, String), WantedBlob<'_>> = BTreeMap::new();
        for (repository, target) in missing {
            for image in &target.images {
                for (descriptor, content) in contents(image) {
                    let key = (repository.name(), descriptor.digest().to_string());
                    blobs.entry(key).or_insert(WantedBlob { repository, descriptor, content });
                }
            }
        }
        let sent = threads::map(blobs.into_values().collect(), N_CONNECTIONS, |blob| self.push_blob(&blob))?;
        let mut published = Published::default();
        for (pushed, size) in sent {
            match pushed {
                Pushed::Exists => {}
                Pushed::Mounted => published.n_mounted += 1,
                Pushed::Sent => {
                    published.n_sent += 1;
                    published.n_bytes += size;
                }
            }
        }
        Ok(published)
    }

    fn push_blob(&self, blob: &WantedBlob<'_>) -> Result<(Pushed, u64), ExportError> {
        let WantedBlob { repository, descriptor, content } = blob;
        let size = descriptor.size();
        let short = digest_of(descriptor).map_or_else(|_| String::new(), |digest| digest.short());
        let activity = self.activities.start(&format!("push {} {short}", repository.name()));
        let sources = match content {
            Content::Layer(diff_id) => self.layers.sources(diff_id, descriptor),
            Content::Document(_) => Vec::new(),
        };
        let open = || self.open(descriptor, content);
        let on_progress = |n_bytes| activity.progress(n_bytes, Some(size));
        let pushed = self.client.push_blob(repository, descriptor, &sources, &open, &on_progress);
        if let (Err(_), Content::Layer(_), Ok(digest)) = (&pushed, content, digest_of(descriptor))
            && self.store.has_blob(&digest)
        {
            // The registry may have refused what is not what its digest says.
            self.store.check_blob(&digest)?;
        }
        let pushed = pushed?;
        activity.finish(match pushed {
            Pushed::Exists => "exists",
            Pushed::Mounted => "mounted",
            Pushed::Sent => "sent",
        });
        Ok((pushed, size))
    }

    /// Opens a blob's bytes; fetches a base layer that was never needed here.
    fn open(&self, descriptor: &Descriptor, content: &Content<'_>) -> io::Result<Box<dyn Read + Send>> {
        match content {
            Content::Document(document) => Ok(Box::new(io::Cursor::new(document.bytes.clone()))),
            Content::Layer(diff_id) => {
                let digest = digest_of(descriptor).map_err(io::Error::other)?;
                self.layers.fetch(diff_id, descriptor).map_err(io::Error::other)?;
                Ok(Box::new(self.store.open_blob(&digest)?))
            }
        }
    }

    /// Puts platform manifests, then indexes, each by its digest.
    fn push_manifests(&self, missing: &[(&Reference, &TargetImage)]) -> Result<(), ExportError> {
        let mut manifests: BTreeMap<(String, Digest), (&Reference, &Blob)> = BTreeMap::new();
        let mut indexes = manifests.clone();
        for (repository, target) in missing {
            for image in &target.images {
                let key = (repository.name(), image.manifest.digest());
                manifests.insert(key, (repository, &image.manifest));
                let attestation = image.attestation.as_ref().map(|attestation| &attestation.manifest);
                manifests.extend(attestation.map(|it| ((repository.name(), it.digest()), (*repository, it))));
            }
            if let Some(index) = &target.index {
                indexes.insert((repository.name(), index.digest()), (repository, index));
            }
        }
        for documents in [manifests, indexes] {
            threads::map(documents.into_values().collect(), N_CONNECTIONS, |(repository, document)| {
                let by_digest = Reference { tag: None, ..repository.with_digest(document.digest()) };
                self.push_document(&by_digest, document)
            })?;
        }
        Ok(())
    }

    /// Asks for all tags before any moves, so that a registry that is gone by now leaves those of the others alone.
    fn move_tags(&self, publications: &[Publication<'_>], published: &mut Published) -> Result<(), ExportError> {
        let tags: BTreeMap<String, (&Reference, &Blob)> = publications
            .iter()
            .flat_map(|publication| publication.names.iter().map(|name| (name, publication.image.root())))
            .map(|(name, document)| (name.to_string(), (name, document)))
            .collect();
        let states = threads::map(tags.into_iter().collect(), N_CONNECTIONS, |(text, (name, document))| {
            let current = match self.client.resolve(name) {
                Ok(descriptor) => digest_of(&descriptor).ok(),
                Err(registry::Error::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok((text, name, document, current == Some(document.digest())))
        })?;
        threads::map(
            states.iter().filter(|(.., is_there)| !is_there).collect(),
            N_CONNECTIONS,
            |(_, name, document, _)| self.push_document(name, document),
        )?;
        for (text, _, _, is_there) in states {
            if is_there { &mut published.tags_unchanged } else { &mut published.tags_moved }.push(text);
        }
        Ok(())
    }

    /// Puts a document. What it names was put before it, so a registry that does not know that yet is asked again.
    fn push_document(&self, name: &Reference, document: &Blob) -> Result<(), ExportError> {
        let media_type = document.descriptor.media_type().as_ref();
        let mut n_attempts = 1;
        loop {
            match self.client.push_manifest(name, media_type, &document.bytes) {
                Ok(_) => return Ok(()),
                Err(error) if lacks_content(&error) && n_attempts < N_ATTEMPTS => {
                    thread::sleep(PAUSE * n_attempts);
                    n_attempts += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Says whether a manifest was refused because what it names is not there (distribution-spec v1.1, *Error Codes*).
fn lacks_content(error: &registry::Error) -> bool {
    const UNKNOWN: [&str; 4] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "DIGEST_INVALID"];
    match error {
        registry::Error::Status { codes, .. } => codes.iter().any(|code| UNKNOWN.contains(&code.code.as_str())),
        _ => false,
    }
}

/// Returns an image's blobs with what they are made of: layers, oldest first, then the config, then attestations.
fn contents(image: &PlatformImage) -> impl Iterator<Item = (&Descriptor, Content<'_>)> {
    let layers = image.layers.iter().zip(&image.stack).map(|(layer, diff_id)| (layer, Content::Layer(*diff_id)));
    let attested = image.attestation.iter().flat_map(AttestationManifest::blobs);
    let documents = [&image.config].into_iter().chain(attested);
    layers.chain(documents.map(|document| (&document.descriptor, Content::Document(document))))
}
