//! The release transaction: blobs, then manifests by digest, then indexes by digest, then all tags.
//!
//! 1. While steps run, the blobs of what is built already are sent ([`Publisher::send_ahead`]): nobody sees them, for nothing
//!    names them.
//! 2. Nothing that a registry has is sent again; where it has a target's whole image (its index and manifests by digest)
//!    none of their blobs is even asked for. What one repository of a registry has, the others mount.
//! 3. Tags move only when every document of every target is in place, so a failure before that leaves all of them where
//!    they were. A failure between two tags says which have moved.
//! 4. Whatever a registry acknowledged is noted in a [`journal`], so that a process that was killed can be gone on with.

mod blobs;
pub mod journal;
pub mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::image::{ExportError, PlatformImage, TargetImage};
use super::sign::push_signatures;
use super::whole::WholeImages;
use crate::attest::key::PrivateKey;
use crate::digest::Digest;
use crate::oci::Blob;
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::solver::activity::Activities;
use crate::store::Store;
use crate::sys::cancel::CancelToken;
use crate::sys::in_flight::InFlight;
use crate::sys::threads;
use crate::worker::layers::Layers;

use journal::ReleaseJournal;
use tags::TagState;

/// Requests under way at once.
const N_CONNECTIONS: usize = 6;

/// Blobs of one image that are sent at once while steps run.
const N_AHEAD: usize = 3;

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

/// Why a release did not end.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Not everything came into its place. All tags are as they were.
    #[error(transparent)]
    Content(#[from] ExportError),
    /// Somebody else moved a tag since the release was begun. All others are as they were found.
    #[error("{tag} was moved by somebody else since this release was begun: it names {} now", shown(.current))]
    Overtaken {
        /// The tag.
        tag: String,
        /// What it names; `None` if it is gone.
        current: Option<Digest>,
    },
    /// A tag could not be set.
    #[error("{source}")]
    Tags {
        /// What became of each.
        tags: Vec<TagState>,
        /// Why.
        source: Box<registry::Error>,
    },
}

/// Sends images to registries.
pub struct Publisher<'a> {
    client: &'a Client,
    store: &'a Store,
    pub(crate) layers: &'a Layers<'a>,
    activities: &'a Activities<'a>,
    journal: &'a ReleaseJournal<'a>,
    /// Seconds since 1970.
    now: u64,
    /// Signs what tags will name.
    key: Option<&'a PrivateKey>,
    /// By registry and digest: one blob is sent to one registry once, however many of its repositories want it.
    in_flight: InFlight<(String, Digest)>,
    /// What was sent so far; protects the value alone.
    published: Mutex<Published>,
}

impl<'a> Publisher<'a> {
    /// Sends from `store` through `client`, and fetches base layers that were never needed here from `layers`. `now` is
    /// in seconds since 1970. With a `key`, what tags will name is signed.
    pub fn new(
        client: &'a Client,
        store: &'a Store,
        layers: &'a Layers<'a>,
        activities: &'a Activities<'a>,
        journal: &'a ReleaseJournal<'a>,
        now: u64,
        key: Option<&'a PrivateKey>,
    ) -> Publisher<'a> {
        let (in_flight, published) = Default::default();
        Publisher { client, store, layers, activities, journal, now, key, in_flight, published }
    }

    /// Sends the blobs of an image that will be published under `names`, which nobody can see until then. Breaks off once
    /// `stop` is set.
    ///
    /// # Errors
    /// The first failure. What publishes it comes upon it again.
    pub fn send_ahead(
        &self,
        image: &PlatformImage,
        names: &[Reference],
        stop: &CancelToken,
    ) -> Result<(), ExportError> {
        self.push_blobs(names.iter().map(|name| (name, image)), N_AHEAD, stop)
    }

    /// Publishes all of `publications`: tags last, and only if everything else succeeded.
    ///
    /// # Errors
    /// The first failure. Before the first tag moves, all tags are as they were.
    pub fn publish(&self, publications: &[Publication<'_>]) -> Result<Published, PublishError> {
        let missing = self.missing(publications)?;
        self.push_content(&missing)?;
        if let Some(key) = self.key {
            push_signatures(self.client, publications, key)?;
        }
        let tags = self.move_tags(publications)?;
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (published.tags_moved, published.tags_unchanged) = tags;
        Ok(published)
    }

    /// Removes what was noted for a process that goes on with this release: it is complete.
    pub fn finish(&self) {
        self.journal.finish();
    }

    /// Puts everything but tags in place. A blob that the registry had when it was asked, and then does not know, was
    /// collected as garbage in between: it is pushed again, once.
    fn push_content(&self, missing: &[(&Reference, &TargetImage)]) -> Result<(), ExportError> {
        let blobs = || {
            let images = missing.iter().flat_map(|(name, target)| target.images.iter().map(|image| (*name, image)));
            self.push_blobs(images, N_CONNECTIONS, &CancelToken::default())
        };
        blobs()?;
        match self.push_manifests(missing) {
            Err(ExportError::Registry(error)) if lacks_content(&error) => {
                self.journal.distrust();
                blobs()?;
                self.push_manifests(missing)
            }
            result => result,
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
            let asked =
                image.documents().map(Blob::digest).filter(|digest| !is_whole || *digest == image.root().digest());
            let asked = asked.filter(|digest| !self.journal.has_manifest(&name.name(), *digest));
            documents.extend(asked.map(|digest| (index, digest)));
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
            let documents =
                documents.into_iter().filter(|((name, digest), _)| !self.journal.has_manifest(name, *digest));
            threads::map(documents.collect(), N_CONNECTIONS, |((name, digest), (repository, document))| {
                let by_digest = Reference { tag: None, ..repository.with_digest(digest) };
                self.push_document(&by_digest, document)?;
                self.journal.note_manifest(&name, digest);
                Ok::<_, ExportError>(())
            })?;
        }
        Ok(())
    }

    /// Puts a document. What it names was put before it, so a registry that does not know that yet is asked again.
    fn push_document(&self, name: &Reference, document: &Blob) -> Result<(), registry::Error> {
        let media_type = document.descriptor.media_type().as_ref();
        let mut n_attempts = 1;
        loop {
            match self.client.push_manifest(name, media_type, &document.bytes) {
                Ok(_) => return Ok(()),
                Err(error) if lacks_content(&error) && n_attempts < N_ATTEMPTS => {
                    thread::sleep(PAUSE * n_attempts);
                    n_attempts += 1;
                }
                Err(error) => return Err(error),
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

fn shown(digest: &Option<Digest>) -> String {
    digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
}
