//! Flags of `image sbom`, `image provenance` and `image verify`.

use clap::Args;

use crate::commands::image_attestation::{AttestationKind, AttestationRequest};
use crate::commands::sign::VerifyRequest;

/// Flags of `sbom` and `provenance`.
#[derive(Debug, Args)]
pub struct AttestationFlags {
    /// Image name: REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: String,
    /// Platform of the image [default: this machine's, or the only one]
    #[arg(long)]
    platform: Option<String>,
}

impl AttestationFlags {
    /// Returns what is asked for.
    pub fn request(self, kind: AttestationKind) -> AttestationRequest {
        AttestationRequest { name: self.reference, platform: self.platform, kind }
    }
}

/// Flags of `verify`.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// Image name: REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: String,
    /// Public key in PEM
    #[arg(long, value_name = "PATH")]
    key: String,
}

impl VerifyFlags {
    /// Returns what is asked for.
    pub fn request(self) -> VerifyRequest {
        VerifyRequest { name: self.reference, key: self.key }
    }
}
