//! What is attested of a target: its documents, and the manifest that carries them beside its image.

use std::collections::BTreeMap;

use super::solve::Lowered;
use super::store_failure::store_failure;
use super::{Failure, release};
use crate::attest::materials::{self, Known, Materials};
use crate::attest::package::Installed;
use crate::attest::provenance::{self, Build};
use crate::attest::sbom::{self, Contents};
use crate::attest::{Document, Subject, purl};
use crate::diagnostic::SourceMap;
use crate::digest::{DiffId, Digest, FieldHasher};
use crate::export::image::PlatformImage;
use crate::export::scan::scan;
use crate::frontend::{DEFAULT_EPOCH, compiled};
use crate::graph::SourceOp;
use crate::oci::AttestationManifest;
use crate::plan::{BuildContext, Output, PlannedTarget, ProvenanceRequest, SbomFormat, TargetPlan};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::solver::activity::Activities;
use crate::store::Store;
use crate::sys::root::Root;
use crate::worker::answers::Answers;
use crate::worker::layers::Layers;

/// Everything that documents are made of.
pub(super) struct Attesting<'a> {
    pub(super) lowered: &'a Lowered,
    /// The Dockerfiles' texts.
    pub(super) sources: &'a SourceMap,
    /// What decides each result, by target and platform.
    pub(super) inputs: &'a BTreeMap<(String, Platform), Digest>,
    /// What the cache was asked and answered.
    pub(super) answers: &'a Answers,
    /// What sources on the network were: commits, or `algorithm:hex`.
    pub(super) identities: &'a BTreeMap<SourceOp, String>,
    /// The same of contexts that were brought in, by the path that stands for each in the plan.
    pub(super) context_identities: &'a BTreeMap<String, String>,
    /// Has the root file systems, and what was found in them before.
    pub(super) store: &'a Store,
    /// Brings layers in that were never needed here.
    pub(super) layers: &'a Layers<'a>,
    /// Tells the user.
    pub(super) activities: &'a Activities<'a>,
}

impl Attesting<'_> {
    /// Puts attestations beside `images`, which are those of `target` for its platforms in their order, or none; returns
    /// the documents for each platform. `stacks` are the layers of the root file systems in that order, oldest first.
    ///
    /// # Errors
    /// A root file system is not there and cannot be brought in.
    pub(super) fn attest(
        &self,
        target: &TargetPlan,
        stacks: &[(Platform, Vec<DiffId>)],
        images: &mut [PlatformImage],
    ) -> Result<Vec<Vec<Document>>, Failure> {
        if target.attestations.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for (index, planned) in target.platforms.iter().enumerate() {
            let image = images.get_mut(index);
            let mut documents = Vec::new();
            if let Some(request) = &target.attestations.provenance {
                documents.extend(self.provenance(request, planned, image.as_deref()));
            }
            if let (Some(format), Some((_, stack))) = (target.attestations.sbom, stacks.get(index)) {
                documents.push(self.sbom(format, planned, stack)?);
            }
            if let Some(image) = image.filter(|_| !documents.is_empty()) {
                let subjects = subjects(target, image);
                let statements: Vec<_> = documents.iter().map(|document| document.statement(&subjects)).collect();
                image.attestation = Some(AttestationManifest::new(&image.manifest.descriptor, &statements));
            }
            all.push(documents);
        }
        Ok(all)
    }

    fn sbom(&self, format: SbomFormat, target: &PlannedTarget, stack: &[DiffId]) -> Result<Document, Failure> {
        let installed = self.installed(target, stack)?;
        let lowered = &self.lowered.targets[&(target.name.clone(), target.platform.clone())];
        let created = lowered.config.created.as_deref().unwrap_or(DEFAULT_EPOCH);
        Ok(sbom::document(&Contents { name: &target.name, created, installed: &installed }, format))
    }

    /// Returns what is installed in a root file system. What was found in one is kept: it is a matter of its bytes alone, and
    /// of what [`scan`] knows; the key's name is another when that changes.
    fn installed(&self, target: &PlannedTarget, stack: &[DiffId]) -> Result<Installed, Failure> {
        let mut key = FieldHasher::new("bake.installed.v1");
        key.list("layers", stack.iter().map(|layer| *layer.0.as_bytes()));
        let key = key.finish();
        let known = self.store.memo(&key).and_then(|text| serde_json::from_str(&text).ok());
        if let Some(installed) = known {
            return Ok(installed);
        }
        let activity = self.activities.start(&format!("[{} {}] find packages", target.name, target.platform));
        self.layers.materialise(stack).map_err(|error| release::layer_failure(&error))?;
        let view = self.store.view(stack).map_err(|error| store_failure(&error))?;
        let installed = scan(&Root::from_fd(view));
        let text = serde_json::to_string(&installed).unwrap_or_default();
        // What cannot be kept costs only another look.
        _ = self.store.put_memo(&key, &text);
        activity.finish(&format!("{} packages", installed.packages.len()));
        Ok(installed)
    }

    fn provenance(
        &self,
        request: &ProvenanceRequest,
        target: &PlannedTarget,
        image: Option<&PlatformImage>,
    ) -> Option<Document> {
        let key = (target.name.clone(), target.platform.clone());
        let alone = self.lowered.alone.get(&key)?;
        let known = Known {
            index_of: &|reference, manifest| self.index_of(reference, manifest),
            identity_of: &|source| match source {
                SourceOp::Local(local) => self.context_identities.get(&local.path).cloned(),
                source => self.identities.get(source).cloned(),
            },
        };
        let materials = alone.lowered.root.map(|root| materials::collect(&alone.definition, root, &known));
        let compiled = compiled::target(&alone.definition, &alone.lowered, self.sources);
        let context = match &target.context {
            BuildContext::Local(path) => self.context_identities.get_key_value(path),
            _ => None,
        };
        Some(provenance::document(&Build {
            request,
            target,
            materials: &materials.unwrap_or_else(Materials::default),
            remote_context: context.map(|(uri, identity)| (uri.as_str(), identity.as_str())),
            inputs: *self.inputs.get(&key)?,
            dockerfile: self.sources.text(alone.dockerfile),
            steps: compiled["llb"]["ops"].as_array().map_or(&[], Vec::as_slice),
            layers: image.map_or(&[], |image| &image.layers),
        }))
    }

    /// Returns the index that a base image's name stood for, whose manifest for a platform is `manifest`.
    fn index_of(&self, reference: &Reference, manifest: &Digest) -> Option<Digest> {
        let pin = self.lowered.pins.iter().find(|pin| {
            let name = Reference { digest: None, ..pin.reference.clone() };
            pin.manifest == *manifest && name.to_string() == reference.to_string()
        });
        pin.map(|pin| pin.digest)
    }
}

/// Returns what statements of an image are about: its manifest, under the name of each repository that it is for.
fn subjects(target: &TargetPlan, image: &PlatformImage) -> Vec<Subject> {
    let pushed = target.outputs.iter().flat_map(|output| match output {
        Output::Push(names, _) | Output::PushByDigest(names, _) => &names[..],
        _ => &[],
    });
    let names = target.tags.iter().chain(pushed).map(|name| purl::repository(name, &image.platform));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        // in-toto's name for what has none.
        names.push("_".to_owned());
    }
    let digest = image.manifest.digest();
    names.into_iter().map(|name| Subject { name, digest }).collect()
}
