//! Attestations: documents that tell how a result was made and what is in it.
//!
//! In: what is known of a build, or the packages found in a root file system. Out: the bytes of in-toto statements. Nothing
//! here knows a clock or draws an id, and no list is in an order of chance: equal builds have equal documents, so the digest
//! of an image's index stays when nothing changed.
//!
//! | document | predicate type | made by |
//! |---|---|---|
//! | how it was made | `https://slsa.dev/provenance/v1`, `…/v0.2` | [`provenance`], of what [`materials`] finds in the graph |
//! | what is in it | `https://spdx.dev/Document`, `https://cyclonedx.org/bom` | [`sbom`], of the [`package`]s that [`found`] reads |
//! | an image's digest, signed | none: cosign's *simple signing* | [`signature`], with a [`key`] |
//!
//! The shapes are the peer's (BuildKit, `solver/llbsolver/provenance`, `exporter/attestation`), so that what reads its
//! attestations reads these.

pub mod found;
pub mod key;
mod license;
pub mod materials;
pub mod package;
pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod signature;

use serde_json::{Value, json};

use crate::digest::Digest;

/// A predicate and what it is called where it is a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// `predicateType`.
    pub predicate_type: &'static str,
    /// The predicate.
    pub predicate: Value,
    /// Its name beside files.
    pub filename: String,
    /// It goes into images, and not beside files.
    pub is_inline_only: bool,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// A purl of an image, or a file's path.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
}

impl Document {
    /// Returns the in-toto statement (v1) that the predicate holds for `subjects`.
    pub fn statement(&self, subjects: &[Subject]) -> Value {
        let subjects: Vec<Value> = subjects
            .iter()
            .map(|subject| json!({ "name": subject.name, "digest": { "sha256": subject.digest.hex() } }))
            .collect();
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": self.predicate_type,
            "subject": subjects,
            "predicate": self.predicate,
        })
    }
}
