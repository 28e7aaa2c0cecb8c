//! From solved steps to the targets' results: their images with attestations, and what decided each.

use std::collections::BTreeMap;

use super::attestations::Attesting;
use super::build::Build;
use super::locked::LockedImages;
use super::solve::Lowered;
use super::{Failure, Kind, caches, release};
use crate::digest::{DiffId, Digest};
use crate::export::image::{self, Assembly, ExportError, PlatformImage, TargetImage, TargetResult};
use crate::frontend::LoweredTarget;
use crate::graph::VertexId;
use crate::oci::Descriptor;
use crate::plan::{ImageShape, PlannedTarget};
use crate::platform::Platform;
use crate::solver::inputs::Inputs;
use crate::solver::key::Content;
use crate::sys::threads;
use crate::worker::contexts::Contexts;
use crate::worker::layers::Layers;

/// Images that are assembled at once; the compression inside uses all processors.
const N_ASSEMBLERS: usize = 4;

impl Build<'_> {
    /// Returns what became of each target, in the plan's order. Those of `locked` are what the lockfile says.
    ///
    /// # Errors
    /// An image cannot be put together, or not be attested.
    pub(super) fn assemble(
        &self,
        lowered: &Lowered,
        contents: &BTreeMap<VertexId, Content>,
        locked: &LockedImages,
        attesting: &Attesting<'_>,
    ) -> Result<Vec<TargetResult>, Failure> {
        let stack = |name: &str, platform: &Platform| -> Vec<DiffId> {
            let root = lowered.targets[&(name.to_owned(), platform.clone())].root;
            match root.and_then(|root| contents.get(&root)) {
                Some(Content::Rootfs(stack)) => stack.clone(),
                Some(Content::Local | Content::Fetched(_)) | None => Vec::new(),
            }
        };
        threads::map(self.plan.targets.iter().collect(), N_ASSEMBLERS, |target| {
            if let Some(image) = locked.get(&target.name) {
                let stacks = image.images.iter().map(|image| (image.platform.clone(), image.stack.clone())).collect();
                return Ok(TargetResult::new(stacks, vec![image.clone()], Vec::new()));
            }
            let stacks: Vec<(Platform, Vec<DiffId>)> =
                target.platforms.iter().map(|p| (p.platform.clone(), stack(&p.name, &p.platform))).collect();
            let of_shape = |shape: &ImageShape| {
                let images = target.platforms.iter().zip(&stacks).map(|(planned, (_, stack))| {
                    attesting.layers.bring_in(stack)?;
                    let mut image = self.image((lowered, attesting.layers), planned, stack, shape)?;
                    caches::put_inline(target, &mut image, lowered, attesting.answers);
                    Ok(image)
                });
                images.collect::<Result<Vec<_>, ExportError>>().map_err(|error| release::export_failure(&error))
            };
            let shapes = target.shapes();
            let (mut images, mut documents) = (Vec::new(), Vec::new());
            if shapes.is_empty() {
                documents = attesting.attest(target, &stacks, &mut [])?;
            }
            for shape in shapes {
                let mut of_platforms = of_shape(shape)?;
                documents = attesting.attest(target, &stacks, &mut of_platforms)?;
                images.push(TargetImage::new(target.name.clone(), of_platforms, shape.clone()));
            }
            Ok::<_, Failure>(TargetResult::new(stacks, images, documents))
        })
    }

    /// Puts together the image of a target for one platform, whose root file system is `stack`.
    pub(super) fn image(
        &self,
        (lowered, layers): (&Lowered, &Layers<'_>),
        target: &PlannedTarget,
        stack: &[DiffId],
        shape: &ImageShape,
    ) -> Result<PlatformImage, ExportError> {
        let platform = &target.platform;
        let target = &lowered.targets[&(target.name.clone(), platform.clone())];
        let base = target.root.and_then(|root| lowered.definition.base_image(root));
        let base = base.map_or_else(|| Ok(Vec::new()), |manifest| image::layers(self.store, &manifest))?;
        let fetch = |diff_id: &DiffId, layer: &Descriptor| layers.fetch(diff_id, layer);
        Assembly { store: self.store, fetch: &fetch, shape }.image(platform, &target.config, &base, stack)
    }

    /// Returns the inputs digest of a target's image from that of its steps and config: the image's shape is another input.
    pub(super) fn shaped(&self, name: &str, inputs: Digest) -> Digest {
        let target = self.plan.targets.iter().find(|target| target.name == name);
        let identity = target.and_then(|target| target.shapes().first().map(|shape| shape.identity()));
        match identity.unwrap_or_default().as_str() {
            "" => inputs,
            identity => Digest::of(format!("{inputs} {identity}").as_bytes()),
        }
    }

    pub(super) fn inputs(
        &self,
        lowered: &Lowered,
        contexts: &Contexts,
        contents: &BTreeMap<VertexId, Content>,
        epoch: i64,
    ) -> Result<BTreeMap<(String, Platform), Digest>, Failure> {
        let local_digest = |source: &_, selection: &_| contexts.digest(source, selection);
        let mut inputs = Inputs::new(&lowered.definition, epoch, &local_digest, contents);
        let digest = |(key, target): (&(String, Platform), &LoweredTarget)| {
            Ok((key.clone(), self.shaped(&key.0, inputs.digest(target.root, &target.config)?)))
        };
        let digests: Result<_, crate::worker::file::FileError> = lowered.targets.iter().map(digest).collect();
        digests.map_err(|error| Failure::new(Kind::Build, error))
    }
}
