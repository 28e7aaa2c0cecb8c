//! Signatures beside images in registries: in place before any tag moves.

use serde_json::Value;

use super::image::ExportError;
use super::push::Publication;
use crate::attest::key::PrivateKey;
use crate::attest::signature::{self, Signed};
use crate::digest::Digest;
use crate::oci::Blob;
use crate::reference::Reference;
use crate::registry::{self, Client};

/// Signs what each publication's tags will name, in each of its repositories. What is signed already is left alone;
/// signatures by other keys stay. Two that sign one image at once may lose one of the signatures: the format has one manifest
/// for all.
///
/// # Errors
/// A registry fails.
pub(super) fn push_signatures(
    client: &Client,
    publications: &[Publication<'_>],
    key: &PrivateKey,
) -> Result<(), ExportError> {
    let mut done: Vec<(String, Digest)> = Vec::new();
    for publication in publications {
        let image = publication.image.root().digest();
        for name in publication.names {
            let one = (name.name(), image);
            if !done.contains(&one) {
                push_signature(client, name, &image, key)?;
                done.push(one);
            }
        }
    }
    Ok(())
}

fn push_signature(client: &Client, name: &Reference, image: &Digest, key: &PrivateKey) -> Result<(), ExportError> {
    let tagged = Reference { tag: Some(signature::tag(image)), digest: None, ..name.clone() };
    let before: Option<Value> = match client.fetch_manifest_upstream(&tagged) {
        Ok((_, bytes)) => serde_json::from_slice(&bytes).ok(),
        Err(registry::Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(Signed { payload, config, manifest }) = signature::sign(name, image, key, before.as_ref()) else {
        return Ok(());
    };
    for blob in [&payload, &config] {
        push_blob(client, name, blob)?;
    }
    client.push_manifest(&tagged, manifest.descriptor.media_type().as_ref(), &manifest.bytes)?;
    Ok(())
}

fn push_blob(client: &Client, name: &Reference, blob: &Blob) -> Result<(), ExportError> {
    let open =
        || -> std::io::Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(std::io::Cursor::new(blob.bytes.clone()))) };
    client.push_blob(name, &blob.descriptor, &[], &open, &|_| {}).map(drop).map_err(Into::into)
}
