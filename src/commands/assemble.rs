//! From solved steps to the targets' results: their images with attestations, and what decided each.

use std::collections::BTreeMap;

use super::attestations::Attesting;
use super::build::Build;
use super::locked::LockedImages;
use super::solve::Lowered;
use super::{Failure, Kind, caches, release};
use crate::digest::{DiffId, Digest};
use crate::export::image::{self, ExportError, PlatformImage, TargetImage, TargetResult};
use crate::frontend::LoweredTarget;
use crate::graph::VertexId;
use crate::plan::PlannedTarget;
use crate::platform::Platform;
use crate::solver::inputs::Inputs;
use crate::solver::key::Content;
use crate::sys::threads;
use crate::worker::contexts::Contexts;

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
                return Ok(TargetResult { stacks, image: Some(image.clone()), documents: Vec::new() });
            }
            let stacks: Vec<(Platform, Vec<DiffId>)> =
                target.platforms.iter().map(|p| (p.platform.clone(), stack(&p.name, &p.platform))).collect();
            let images = target.platforms.iter().zip(&stacks).map(|(planned, (_, stack))| {
                attesting.layers.bring_in(stack)?;
                let mut image = self.image(lowered, planned, stack)?;
                caches::put_inline(target, &mut image, lowered, attesting.answers);
                Ok::<_, ExportError>(image)
            });
            let images = target.has_image().then(|| images.collect::<Result<Vec<_>, _>>()).transpose();
            let mut images = images.map_err(|error| release::export_failure(&error))?;
            let documents = attesting.attest(target, &stacks, images.as_deref_mut().unwrap_or_default())?;
            let image = images.map(|images| TargetImage::new(target.name.clone(), images));
            Ok::<_, Failure>(TargetResult { stacks, image, documents })
        })
    }

    /// Puts together the image of a target for one platform, whose root file system is `stack`.
    pub(super) fn image(
        &self,
        lowered: &Lowered,
        target: &PlannedTarget,
        stack: &[DiffId],
    ) -> Result<PlatformImage, ExportError> {
        let platform = &target.platform;
        let target = &lowered.targets[&(target.name.clone(), platform.clone())];
        let base = target.root.and_then(|root| lowered.definition.base_image(root));
        let base = base.map_or_else(|| Ok(Vec::new()), |manifest| image::layers(self.store, &manifest))?;
        image::assemble(self.store, platform, &target.config, &base, stack)
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
            Ok((key.clone(), inputs.digest(target.root, &target.config)?))
        };
        let digests: Result<_, crate::worker::file::FileError> = lowered.targets.iter().map(digest).collect();
        digests.map_err(|error| Failure::new(Kind::Build, error))
    }
}
