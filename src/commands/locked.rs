//! What `bake.lock` already knows: a target whose inputs are those that the lockfile has a result for is not built, though
//! the store has nothing of it. A fresh clone on a fresh machine runs no step and fetches no layer for what did not change.
//!
//! Nothing is believed that can be computed: config, manifest and index are made again from the target and the layers that
//! the lockfile names, and have to be the very documents whose digests it names. What is published has to be in its
//! repository already, or it is built.

use std::collections::BTreeMap;

use super::Failure;
use super::build::Build;
use super::release::export_failure;
use super::solve::Lowered;
use crate::digest::{DiffId, Digest};
use crate::export::image::{self, ExportError, PlatformImage, TargetImage};
use crate::frontend::LoweredTarget;
use crate::lock::{LockedResult, Lockfile};
use crate::oci::{Descriptor, descriptor};
use crate::plan::{ImageShape, NoCache, Output, PlannedTarget, TargetPlan};
use crate::platform::Platform;
use crate::registry::{self, Client};
use crate::store::Store;
use crate::sys::threads;
use crate::worker::layers::Layers;

/// Requests under way at once.
const N_CONNECTIONS: usize = 6;

/// Images by the name of their target, with the layers of the root file system by platform.
pub(super) type LockedImages = BTreeMap<String, TargetImage>;

/// Looks for targets that need not be built.
pub(super) struct Locked<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) lowered: &'a Lowered,
    pub(super) lock: &'a Lockfile,
    pub(super) layers: &'a Layers<'a>,
}

impl Locked<'_> {
    /// Returns the images of the targets whose inputs are what `inputs` says and have a result in the lockfile. Those whose
    /// layers the store can give are not among them: they are cached, and being asked for they stay so.
    ///
    /// # Errors
    /// Inputs cannot be computed; a registry that something is to be published to fails.
    pub(super) fn images(
        &self,
        inputs: &mut dyn FnMut(&LoweredTarget) -> Result<Digest, Failure>,
    ) -> Result<LockedImages, Failure> {
        let mut found = Vec::new();
        for target in &self.build.plan.targets {
            if let Some(results) = self.candidate(target)
                && let Some(image) = self.image(target, &results, inputs)?
            {
                found.push((target, image));
            }
        }
        let checked = threads::map(found, N_CONNECTIONS, |(target, image)| {
            Ok::<_, registry::Error>(is_published(self.build.client, target, &image)?.then_some((target, image)))
        });
        let checked = checked.map_err(|error| export_failure(&ExportError::from(error)))?;
        Ok(checked.into_iter().flatten().map(|(target, image)| (target.name.clone(), image)).collect())
    }

    /// Returns a target's results, in the order of its platforms, if they may stand for a build.
    fn candidate<'t>(&self, target: &'t TargetPlan) -> Option<Vec<(&'t PlannedTarget, &LockedResult)>> {
        let takes_digest = |output: &Output| match output {
            Output::Push(..) | Output::PushByDigest(..) | Output::Image(_) | Output::CacheOnly => true,
            Output::File(_) | Output::Load { .. } | Output::Local { .. } | Output::Tar { .. } => false,
        };
        // What was attested of the result is not in the lockfile, and may need the files.
        let is_one = target.shapes().len() == 1 && target.attestations.is_empty();
        if !is_one || !target.outputs.iter().all(takes_digest) {
            return None;
        }
        let results = target.platforms.iter().map(|planned| {
            let result = self.lock.result(&planned.name, &planned.platform)?;
            (planned.no_cache == NoCache::Off && result.inputs.is_some()).then_some((planned, result))
        });
        let results: Vec<_> = results.collect::<Option<_>>()?;
        let is_cached = |result: &LockedResult| self.layers.is_available(&stack(result));
        (!results.iter().all(|(_, result)| is_cached(result))).then_some(results)
    }

    fn image(
        &self,
        target: &TargetPlan,
        results: &[(&PlannedTarget, &LockedResult)],
        inputs: &mut dyn FnMut(&LoweredTarget) -> Result<Digest, Failure>,
    ) -> Result<Option<TargetImage>, Failure> {
        let [shape] = &target.shapes()[..] else { return Ok(None) };
        let mut images = Vec::new();
        for (planned, result) in results {
            let Some(lowered) = self.lowered.targets.get(&(planned.name.clone(), planned.platform.clone())) else {
                return Ok(None);
            };
            if Some(self.build.shaped(&target.name, inputs(lowered)?)) != result.inputs {
                return Ok(None);
            }
            let base = lowered.root.and_then(|root| self.lowered.definition.base_image(root));
            match again(self.build.store, (&planned.platform, shape), lowered, base.as_ref(), result) {
                Some(image) => images.push(image),
                None => return Ok(None),
            }
        }
        Ok(Some(TargetImage::new(target.name.clone(), images, (*shape).clone())))
    }
}

impl Lowered {
    /// Leaves the targets out that need not be built.
    pub(super) fn without(&self, locked: &LockedImages) -> Lowered {
        let targets = self.targets.iter().filter(|((name, _), _)| !locked.contains_key(name));
        Lowered {
            definition: self.definition.clone(),
            targets: targets.map(|(key, target)| (key.clone(), target.clone())).collect(),
            pins: self.pins.clone(),
            warnings: self.warnings.clone(),
            alone: BTreeMap::new(),
        }
    }
}

fn stack(result: &LockedResult) -> Vec<DiffId> {
    result.layers.iter().map(|layer| layer.diff_id).collect()
}

/// Makes the image again that a result is of; `None` where it would be another one.
fn again(
    store: &Store,
    (platform, shape): (&Platform, &ImageShape),
    target: &LoweredTarget,
    base: Option<&Digest>,
    result: &LockedResult,
) -> Option<PlatformImage> {
    let locked = result.layers.iter().map(|layer| descriptor(layer.media_type.clone(), layer.size, layer.digest));
    // The base's own descriptors may say more than the lockfile keeps. Those that were made anew say no more.
    let base = base.filter(|_| !shape.is_forced);
    let mut layers: Vec<Descriptor> = base.map_or_else(Vec::new, |base| image::layers(store, base).unwrap_or_default());
    layers.truncate(result.layers.len());
    layers.extend(locked.skip(layers.len()).collect::<Vec<_>>());
    let image = image::of_layers(platform, &target.config, layers, &stack(result), shape);
    let is_same = image.manifest.digest() == result.manifest && Digest::of(&image.config.bytes) == result.config;
    is_same.then_some(image)
}

/// Says whether each repository that the target is to be in has its image whole.
fn is_published(client: &Client, target: &TargetPlan, image: &TargetImage) -> Result<bool, registry::Error> {
    let mut repositories = BTreeMap::new();
    for output in &target.outputs {
        if let Output::Push(names, _) | Output::PushByDigest(names, _) = output {
            repositories.extend(names.iter().map(|name| (name.name(), name)));
        }
    }
    for name in repositories.into_values() {
        for document in image.documents() {
            if !client.has_manifest(name, document.digest())? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
