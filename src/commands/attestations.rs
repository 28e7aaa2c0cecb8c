//! What is attested of a target: its documents, and the manifest that carries them beside its image.

use std::collections::BTreeMap;

use super::solve::Lowered;
use crate::attest::materials::{self, Known, Materials};
use crate::attest::provenance::{self, Build};
use crate::attest::{Document, Subject, purl};
use crate::diagnostic::SourceMap;
use crate::digest::Digest;
use crate::export::image::PlatformImage;
use crate::frontend::compiled;
use crate::graph::SourceOp;
use crate::oci::AttestationManifest;
use crate::plan::{BuildContext, Output, PlannedTarget, ProvenanceRequest, TargetPlan};
use crate::platform::Platform;
use crate::reference::Reference;

/// Everything that documents are made of.
pub(super) struct Attesting<'a> {
    pub(super) lowered: &'a Lowered,
    /// The Dockerfiles' texts.
    pub(super) sources: &'a SourceMap,
    /// What decides each result, by target and platform.
    pub(super) inputs: &'a BTreeMap<(String, Platform), Digest>,
    /// What sources on the network were: commits, or `algorithm:hex`.
    pub(super) identities: &'a BTreeMap<SourceOp, String>,
    /// The same of contexts that were brought in, by the path that stands for each in the plan.
    pub(super) context_identities: &'a BTreeMap<String, String>,
}

impl Attesting<'_> {
    /// Puts attestations beside `images`, which are those of `target` for its platforms in their order, or none; returns
    /// the documents for each platform.
    pub(super) fn attest(&self, target: &TargetPlan, images: &mut [PlatformImage]) -> Vec<Vec<Document>> {
        if target.attestations.is_empty() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (index, planned) in target.platforms.iter().enumerate() {
            let image = images.get_mut(index);
            let documents = self.documents(target, planned, image.as_deref());
            if let Some(image) = image.filter(|_| !documents.is_empty()) {
                let subjects = subjects(target, image);
                let statements: Vec<_> = documents.iter().map(|document| document.statement(&subjects)).collect();
                image.attestation = Some(AttestationManifest::new(&image.manifest.descriptor, &statements));
            }
            all.push(documents);
        }
        all
    }

    fn documents(&self, target: &TargetPlan, planned: &PlannedTarget, image: Option<&PlatformImage>) -> Vec<Document> {
        let provenance = target.attestations.provenance.as_ref();
        provenance.and_then(|request| self.provenance(request, planned, image)).into_iter().collect()
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
        Output::Push(names) => &names[..],
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
