//! Signatures of images in cosign's format (*Signature Specification*): a manifest under the tag `sha256-HEX.sig`, each layer
//! of which is a text that names the image's digest, with the signature of that text as its annotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::key::{PrivateKey, PublicKey};
use crate::digest::Digest;
use crate::oci::{Blob, MediaType};
use crate::reference::Reference;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const TYPE: &str = "cosign container image signature";

/// The signatures of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// What is signed, one text for each signature that was made here.
    pub payload: Blob,
    /// An image config for nothing.
    pub config: Blob,
    /// Names all signatures.
    pub manifest: Blob,
}

/// Returns the tag under which the signatures of `image` are.
pub fn tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// Signs `image` of the repository of `name`. `before` is the manifest of the signatures that are there already; they stay.
/// `None` where this one is among them.
pub fn sign(name: &Reference, image: &Digest, key: &PrivateKey, before: Option<&Value>) -> Option<Signed> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": name.name() },
            "image": { "docker-manifest-digest": image.to_string() },
            "type": TYPE,
        },
        "optional": null,
    });
    let payload = Blob::new(MediaType::from(SIMPLE_SIGNING), payload.to_string().into_bytes());
    let signature = STANDARD.encode(key.sign(&payload.bytes));
    let layer = json!({
        "mediaType": SIMPLE_SIGNING,
        "size": payload.descriptor.size(),
        "digest": payload.digest().to_string(),
        "annotations": { SIGNATURE: signature },
    });
    let mut layers: Vec<Value> = before.and_then(|before| before["layers"].as_array()).cloned().unwrap_or_default();
    let is_same = |known: &Value| {
        known["digest"] == layer["digest"] && known["annotations"][SIGNATURE] == layer["annotations"][SIGNATURE]
    };
    if layers.iter().any(is_same) {
        return None;
    }
    layers.push(layer);
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = Blob::new(MediaType::ImageConfig, config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": {
            "mediaType": MediaType::ImageConfig.to_string(),
            "size": config.descriptor.size(),
            "digest": config.digest().to_string(),
        },
        "layers": layers,
    });
    let manifest = Blob::new(MediaType::ImageManifest, manifest.to_string().into_bytes());
    Some(Signed { payload, config, manifest })
}

/// Returns the signature that a layer of a manifest of signatures has, in DER; `None` for other layers.
pub fn signature_of(layer: &crate::oci::Descriptor) -> Option<Vec<u8>> {
    let is_ours = layer.media_type().as_ref() == SIMPLE_SIGNING;
    let text = layer.annotations().as_ref()?.get(SIGNATURE).filter(|_| is_ours)?;
    STANDARD.decode(text).ok()
}

/// Says whether `payload` names `image`, and `signature` is one of it by `key`.
pub fn verifies(payload: &[u8], signature: &[u8], image: &Digest, key: &PublicKey) -> bool {
    let Ok(document) = serde_json::from_slice::<Value>(payload) else { return false };
    let critical = &document["critical"];
    critical["type"] == TYPE
        && critical["image"]["docker-manifest-digest"] == image.to_string().as_str()
        && key.verifies(payload, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::parse_manifest;

    #[test]
    fn a_signature_is_added_once_and_verified() {
        let key = PrivateKey::parse(include_str!("../../tests/fixtures/attest/plain.key"), None).expect("a key");
        let public = PublicKey::parse(include_str!("../../tests/fixtures/attest/cosign.pub")).expect("a key");
        let (name, image): (Reference, _) = ("h.test/team/web:1".parse().expect("a name"), Digest::of(b"image"));
        let signed = sign(&name, &image, &key, None).expect("new");
        let text = String::from_utf8_lossy(&signed.payload.bytes);
        assert!(
            text.starts_with(r#"{"critical":{"identity":{"docker-reference":"h.test/team/web"},"image":{"#),
            "{text}"
        );
        let manifest: Value = serde_json::from_slice(&signed.manifest.bytes).expect("JSON");
        assert_eq!(sign(&name, &image, &key, Some(&manifest)), None);
        let parsed = parse_manifest(&signed.manifest.bytes).expect("a manifest");
        let signature = signature_of(&parsed.layers()[0]).expect("a signature");
        assert!(verifies(&signed.payload.bytes, &signature, &image, &public));
        // A good signature of another image says nothing of this one.
        assert!(!verifies(&signed.payload.bytes, &signature, &Digest::of(b"other"), &public));
        let other: Reference = "h.test/team/other".parse().expect("a name");
        let two = sign(&other, &image, &key, Some(&manifest)).expect("another text");
        assert_eq!(parse_manifest(&two.manifest.bytes).expect("a manifest").layers().len(), 2);
        assert_eq!(tag(&image), format!("sha256-{}.sig", image.hex()));
    }
}
