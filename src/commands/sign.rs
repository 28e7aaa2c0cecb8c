//! `--sign` of a build, and `bake image verify`.

use std::path::Path;

use super::build::client_options;
use super::image_attestation::remote;
use super::{Failure, Host, Kind};
use crate::attest::key::{KeyError, PrivateKey, PublicKey};
use crate::attest::signature;
use crate::oci::{digest_of, parse_manifest};
use crate::plan::{Output, Plan};
use crate::reference::Reference;
use crate::registry::{Client, Error};
use crate::sys::files::{DiskFiles, Files as _};

/// Bytes of a text that is signed; cosign's have 250.
const MAX_PAYLOAD: u64 = 1 << 20;

/// Reads the key that `spec` names: `key=PATH`. An encrypted one is opened with COSIGN_PASSWORD.
///
/// # Errors
/// It names none, it cannot be read or opened, or `plan` publishes nothing.
pub(super) fn key(spec: &str, plan: &Plan, host: &Host) -> Result<PrivateKey, Failure> {
    let path = spec.strip_prefix("key=").filter(|path| !path.is_empty()).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("--sign {spec} names no key")).hint("write --sign key=PATH")
    })?;
    let is_push = |output: &Output| matches!(output, Output::Push(..) | Output::PushByDigest(..));
    if !plan.targets.iter().flat_map(|target| &target.outputs).any(is_push) {
        return Err(Failure::new(Kind::Usage, "--sign signs what is pushed, and nothing is").hint("add --push"));
    }
    let password = host.var("COSIGN_PASSWORD").map(str::as_bytes);
    PrivateKey::parse(&read(path, host)?, password).map_err(|error| {
        let failure = Failure::new(Kind::Usage, format!("cannot sign with {path}: {error}"));
        match error {
            KeyError::Encrypted | KeyError::Password => failure.hint("set COSIGN_PASSWORD to the key's password"),
            KeyError::Kind | KeyError::Encryption => {
                failure.hint("make one with `cosign generate-key-pair`, or with openssl")
            }
        }
    })
}

/// What is to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The image's name.
    pub name: String,
    /// The file of the public key.
    pub key: String,
}

/// Runs `bake image verify`: prints the image's name with its digest if the key signed that.
///
/// # Errors
/// The name or key is none, the registry does not give the image, or there is no signature of it by the key.
pub fn verify(request: &VerifyRequest, host: &Host) -> Result<String, Failure> {
    let name: Reference = request.name.parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let key = PublicKey::parse(&read(&request.key, host)?)
        .map_err(|error| Failure::new(Kind::Usage, format!("cannot verify with {}: {error}", request.key)))?;
    let client = Client::new(client_options(host));
    // The document itself and not what the registry says of it, whose digest is checked.
    let (descriptor, _) = client.fetch_manifest(&name).map_err(|error| remote(&error))?;
    let image = digest_of(&descriptor).map_err(|error| Failure::new(Kind::Remote, error))?;
    let tagged = Reference { tag: Some(signature::tag(&image)), digest: None, ..name.clone() };
    let unsigned = |why: String| {
        Failure::new(
            Kind::Remote,
            format!("{} is not signed by the key {}: {why}", name.with_digest(image), request.key),
        )
    };
    let bytes = match client.fetch_manifest(&tagged) {
        Ok((_, bytes)) => bytes,
        Err(Error::NotFound { .. }) => return Err(unsigned("it has no signatures".to_owned())),
        Err(error) => return Err(remote(&error)),
    };
    let manifest = parse_manifest(&bytes).map_err(|error| unsigned(error.to_string()))?;
    let mut n_signatures = 0;
    for layer in manifest.layers().iter().filter(|layer| layer.size() <= MAX_PAYLOAD) {
        let Some(signature) = signature::signature_of(layer) else { continue };
        n_signatures += 1;
        let mut payload = Vec::new();
        client.fetch_blob(&tagged, layer, &mut payload).map_err(|error| remote(&error))?;
        if signature::verifies(&payload, &signature, &image, &key) {
            return Ok(format!("{}\n", name.with_digest(image)));
        }
    }
    Err(unsigned(match n_signatures {
        0 => "it has no signatures".to_owned(),
        n => format!("it has {n}, by other keys or of other images"),
    }))
}

fn read(path: &str, host: &Host) -> Result<String, Failure> {
    let bytes = DiskFiles::new(&host.directory).read(Path::new(path));
    let bytes = bytes.map_err(|error| Failure::new(Kind::Usage, format!("cannot read {path}: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
