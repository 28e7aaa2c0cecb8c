//! Reads an OCI image layout directory (image-spec v1.1, image-layout.md).

#![expect(clippy::disallowed_methods, reason = "this row reads the user's directories")]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::digest::Digest;
use crate::oci::{Descriptor, ImageIndex, digest_of};
use crate::store::Store;

/// The annotation that names an image in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A document of a layout is read whole; a larger one is refused.
const MAX_DOCUMENT_SIZE: u64 = 8 << 20;

/// Returns the digest of the image that `selector` names: a digest, a tag, or the only image where absent.
pub(super) fn select(directory: &Path, selector: Option<&str>) -> Result<Digest, String> {
    let digest_text = selector.map(|text| text.strip_prefix('@').unwrap_or(text));
    if let Some(Ok(digest)) = digest_text.map(str::parse) {
        return Ok(digest);
    }
    let bytes = read_limited(&directory.join("index.json")).map_err(|error| format!("index.json: {error}"))?;
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| format!("index.json: {error}"))?;
    let is_named = |descriptor: &&Descriptor| match (selector, descriptor.annotations()) {
        (Some(tag), Some(annotations)) => annotations.get(REF_NAME).is_some_and(|name| name == tag),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let named: Vec<&Descriptor> = index.manifests().iter().filter(is_named).collect();
    match named[..] {
        [descriptor] => digest_of(descriptor).map_err(|error| error.to_string()),
        [] => Err(format!("it has no image{}", selector.map_or(String::new(), |tag| format!(" named `{tag}`")))),
        _ => Err("it has several images; name one with `:tag` or `@digest`".to_owned()),
    }
}

/// Returns a document's bytes; they are what the digest says.
pub(super) fn read(directory: &Path, digest: Digest) -> Result<Vec<u8>, String> {
    let bytes = read_limited(&blob_path(directory, digest)).map_err(|error| format!("{digest}: {error}"))?;
    if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(format!("{digest}: its bytes have another digest")) }
}

/// Copies a layer's blob into the store.
pub(super) fn import(store: &Store, directory: &Path, layer: &Descriptor) -> Result<(), String> {
    let digest = digest_of(layer).map_err(|error| error.to_string())?;
    if store.has_blob_of(layer) {
        return Ok(());
    }
    let mut file = File::open(blob_path(directory, digest)).map_err(|error| format!("{digest}: {error}"))?;
    let mut writer = store.blob_writer().map_err(|error| error.to_string())?;
    io::copy(&mut file, &mut writer).map_err(|error| format!("{digest}: {error}"))?;
    writer.commit(Some(digest)).map_err(|error| error.to_string())?;
    Ok(())
}

fn blob_path(directory: &Path, digest: Digest) -> std::path::PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_DOCUMENT_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 8 MiB"));
    }
    Ok(bytes)
}
