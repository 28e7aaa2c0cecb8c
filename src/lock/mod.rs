//! `bake.lock` as a value: what the build reads, pinned, and what it made.
//!
//! In: the text of a lockfile, or pins and results as a run finds them. Out: the same as a [`Lockfile`], its canonical
//! text, and the [`Change`]s between two. Knows nothing of registries, of the bakefile, or of where the file is.
//!
//! ```toml
//! version = 1
//!
//! [image."docker.io/library/alpine:3.20"]          # a pin: one table for each image name that is read
//! digest = "sha256:…"                              # of the index, or of the manifest of an image without one
//! media_type = "application/vnd.oci.image.index.v1+json"
//! platform."linux/amd64" = "sha256:…"              # manifests that were used
//!
//! [target.api]                                     # what the tags name
//! digest = "sha256:…"
//! tags = [
//!     "registry.example.com/team/api:1.2",
//! ]
//!
//! [target.api.platform."linux/amd64"]              # a result
//! inputs = "sha256:…"
//! manifest = "sha256:…"
//! config = "sha256:…"
//! layers = [
//!     { diff_id = "sha256:…", digest = "sha256:…", size = 1024, media_type = "…" },
//! ]
//! ```
//!
//! Tables are sorted and a table stands for one thing, so that two branches that touch different things merge without a
//! conflict. Git commits and downloads will have tables of their own beside `image`. A key that this version does not know
//! is refused, because dropping it would lose a pin; so a new key means a new `version`, and an older bake that meets
//! that says so and stops.
//!
//! Invariants: equal values have equal texts, and a text that was printed parses to the value that was printed. Image
//! names are kept with `:latest` written out where nothing else was.

mod diff;
mod parse;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{DiffId, Digest};
use crate::oci::MediaType;
use crate::platform::Platform;
use crate::reference::Reference;

pub use diff::{Change, diff};

/// The version of the format that this bake writes, and the only one it reads.
pub const VERSION: u64 = 1;

/// Pinned inputs and recorded results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockfile {
    pins: BTreeMap<Reference, ImagePin>,
    targets: BTreeMap<String, LockedTarget>,
}

/// What an image name stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePin {
    /// Digest of the document that the name resolved to: an index, or a manifest.
    pub digest: Digest,
    /// That document's media type.
    pub media_type: MediaType,
    /// Manifests that were used, by the platform they were asked for.
    pub platforms: BTreeMap<Platform, Digest>,
}

/// What the tags of a target name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedImage {
    /// Digest of the index, or of the manifest of a target that has one platform and no index.
    pub digest: Digest,
    /// Names it was given.
    pub tags: BTreeSet<Reference>,
}

/// What a target for one platform became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedResult {
    /// Digest of everything that decided the result; absent where that is not known.
    pub inputs: Option<Digest>,
    /// Digest of the image manifest.
    pub manifest: Digest,
    /// Digest of the image config.
    pub config: Digest,
    /// Oldest first; may be empty.
    pub layers: Vec<LockedLayer>,
}

/// A layer of a [`LockedResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// The blob's media type, compression included.
    pub media_type: MediaType,
}

/// A target's entry; never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LockedTarget {
    image: Option<LockedImage>,
    results: BTreeMap<Platform, LockedResult>,
}

impl LockedTarget {
    fn is_empty(&self) -> bool {
        self.image.is_none() && self.results.is_empty()
    }
}

impl Lockfile {
    /// Says whether it holds nothing, so that no file need be written.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.targets.is_empty()
    }

    /// Returns what `reference` is pinned to. `alpine` and `alpine:latest` are one name.
    pub fn pin(&self, reference: &Reference) -> Option<&ImagePin> {
        self.pins.get(&normal(reference))
    }

    /// Returns the pinned manifest of `reference` for `platform`.
    pub fn pinned_manifest(&self, reference: &Reference, platform: &Platform) -> Option<Digest> {
        self.pin(reference)?.platforms.get(platform).copied()
    }

    /// Returns all pins, sorted by name.
    pub fn pins(&self) -> impl Iterator<Item = (&Reference, &ImagePin)> {
        self.pins.iter()
    }

    /// Pins `reference`, in place of what it was pinned to.
    pub fn set_pin(&mut self, reference: &Reference, pin: ImagePin) {
        self.pins.insert(normal(reference), pin);
    }

    /// Adds the manifest that was used of `reference` for `platform`. A pin that stands for another document is replaced,
    /// its manifests included; one that stands for the same keeps its other platforms.
    pub fn add_pin(
        &mut self,
        reference: &Reference,
        digest: Digest,
        media_type: MediaType,
        platform: &Platform,
        manifest: Digest,
    ) {
        let fresh = || ImagePin { digest, media_type: media_type.clone(), platforms: BTreeMap::new() };
        let pin = self.pins.entry(normal(reference)).or_insert_with(fresh);
        if pin.digest != digest || pin.media_type != media_type {
            *pin = fresh();
        }
        pin.platforms.insert(platform.clone(), manifest);
    }

    /// Returns the names of the targets that have an entry, sorted.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// Returns what the tags of `target` name.
    pub fn image(&self, target: &str) -> Option<&LockedImage> {
        self.targets.get(target)?.image.as_ref()
    }

    /// Records what the tags of `target` name.
    pub fn set_image(&mut self, target: &str, image: LockedImage) {
        let tags = image.tags.iter().map(normal).collect();
        self.targets.entry(target.to_owned()).or_default().image = Some(LockedImage { tags, ..image });
    }

    /// Returns what `target` became for `platform`.
    pub fn result(&self, target: &str, platform: &Platform) -> Option<&LockedResult> {
        self.targets.get(target)?.results.get(platform)
    }

    /// Returns what `target` became, by platform, sorted.
    pub fn results(&self, target: &str) -> impl Iterator<Item = (&Platform, &LockedResult)> {
        self.targets.get(target).into_iter().flat_map(|target| &target.results)
    }

    /// Records what `target` became for `platform`.
    pub fn set_result(&mut self, target: &str, platform: &Platform, result: LockedResult) {
        self.targets.entry(target.to_owned()).or_default().results.insert(platform.clone(), result);
    }

    /// Drops the pins of names that `keep` denies: those that no Dockerfile reads any more.
    pub fn retain_pins(&mut self, keep: impl Fn(&Reference) -> bool) {
        self.pins.retain(|reference, _| keep(reference));
    }

    /// Drops the entries of targets that `keep` denies: those that the bakefile no longer has.
    pub fn retain_targets(&mut self, keep: impl Fn(&str) -> bool) {
        self.targets.retain(|name, _| keep(name));
    }

    /// Drops the results of `target` for platforms that `keep` denies.
    pub fn retain_platforms(&mut self, target: &str, keep: impl Fn(&Platform) -> bool) {
        if let Some(entry) = self.targets.get_mut(target) {
            entry.results.retain(|platform, _| keep(platform));
        }
        self.targets.retain(|_, target| !target.is_empty());
    }
}

/// Writes `:latest` out, so that equal names are equal values.
fn normal(reference: &Reference) -> Reference {
    Reference { tag: reference.tag_or_latest().map(str::to_owned), ..reference.clone() }
}

#[cfg(test)]
mod tests;
