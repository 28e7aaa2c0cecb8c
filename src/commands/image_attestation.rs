//! `bake image sbom` and `bake image provenance`: the documents that lie beside an image in its registry.

use super::build::client_options;
use super::project::build_platform;
use super::{Failure, Host, Kind};
use crate::oci::{
    Descriptor, Document, attestation_of, digest_of, is_image, parse_manifest, platform_of, predicate_type, select,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{Client, Error};

/// Bytes of a statement; the peer takes 40 MiB.
const MAX_STATEMENT: u64 = 40 << 20;

/// Which documents are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttestationKind {
    /// How it was built.
    Provenance,
    /// What is in it.
    Sbom,
}

impl AttestationKind {
    /// Returns what the user calls it.
    fn name(self) -> &'static str {
        match self {
            AttestationKind::Provenance => "provenance",
            AttestationKind::Sbom => "SBOM",
        }
    }

    /// Says whether documents of that type are of this kind.
    fn is_of(self, predicate_type: &str) -> bool {
        match self {
            AttestationKind::Provenance => predicate_type.starts_with("https://slsa.dev/provenance/"),
            AttestationKind::Sbom => {
                matches!(predicate_type, "https://spdx.dev/Document" | "https://cyclonedx.org/bom")
            }
        }
    }
}

/// What is asked of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRequest {
    /// The image's name.
    pub name: String,
    /// Of which of its images; that for this machine where absent.
    pub platform: Option<String>,
    /// Which documents.
    pub kind: AttestationKind,
}

/// Prints the predicates as JSON, one after the other.
///
/// # Errors
/// The name or platform is none, the registry does not give the image, or there are no such documents beside it.
pub fn run(request: &AttestationRequest, host: &Host) -> Result<String, Failure> {
    let name: Reference = request.name.parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let platform: Option<Platform> = request.platform.as_deref().map(str::parse).transpose().map_err(usage)?;
    let client = Client::new(client_options(host));
    let (_, _, document) = client.fetch_document(&name).map_err(|error| remote(&error))?;
    let kind = request.kind.name();
    let Document::Index(index) = document else {
        return Err(Failure::new(
            Kind::Remote,
            format!("{name} has no {kind}: it is a single manifest, with nothing beside it"),
        )
        .hint("build it with `--provenance=true` or `--sbom=true`"));
    };
    let wanted = platform.clone().unwrap_or_else(build_platform);
    // An image for one platform is meant wherever one asks from.
    let only = index.manifests().iter().filter(|entry| is_image(entry)).collect::<Vec<_>>();
    let image = match (&only[..], &platform) {
        ([only], None) => Some((*only).clone()),
        _ => select(&index, &wanted),
    };
    let image = image.ok_or_else(|| {
        let available: Vec<String> =
            only.iter().filter_map(|entry| platform_of(entry)).map(|platform| platform.to_string()).collect();
        Failure::new(Kind::Usage, format!("{name} has no image for {wanted}"))
            .note(format!("it has {}", available.join(", ")))
            .hint("name one of them with --platform")
    })?;
    let attestation = attestation_of(&index, image.digest().as_ref());
    let mut text = String::new();
    if let Some(attestation) = attestation {
        for statement in statements(&client, &name, attestation, request.kind)? {
            text.push_str(&format!("{:#}\n", statement["predicate"]));
        }
    }
    if text.is_empty() {
        return Err(Failure::new(Kind::Remote, format!("{name} has no {kind} for the image {}", image.digest())));
    }
    Ok(text)
}

/// Fetches the statements of the wanted kind that the attestation manifest names.
fn statements(
    client: &Client,
    name: &Reference,
    attestation: &Descriptor,
    kind: AttestationKind,
) -> Result<Vec<serde_json::Value>, Failure> {
    let malformed = |what: String| Failure::new(Kind::Remote, format!("the attestations of {name} are broken: {what}"));
    let digest = digest_of(attestation).map_err(|error| malformed(error.to_string()))?;
    let by_digest = Reference { tag: None, ..name.with_digest(digest) };
    let (_, bytes) = client.fetch_manifest(&by_digest).map_err(|error| remote(&error))?;
    let manifest = parse_manifest(&bytes).map_err(|error| malformed(error.to_string()))?;
    let of_kind = manifest.layers().iter().filter(|layer| predicate_type(layer).is_some_and(|it| kind.is_of(it)));
    let fetched = of_kind.map(|layer| {
        if layer.size() > MAX_STATEMENT {
            return Err(malformed(format!("a document of {} bytes is too large", layer.size())));
        }
        let mut bytes = Vec::new();
        client.fetch_blob(&by_digest, layer, &mut bytes).map_err(|error| remote(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
    });
    fetched.collect()
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Usage, error)
}

pub(super) fn remote(error: &Error) -> Failure {
    Failure::caused(Kind::Remote, error).hints(error.hint())
}
