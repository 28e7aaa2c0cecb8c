//! Keys that sign images: ECDSA on the curve P-256, as cosign makes and reads them.
//!
//! ```text
//! -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----      (older: ENCRYPTED COSIGN PRIVATE KEY)
//! base64 of {"kdf": {"name": "scrypt", "params": {"N", "r", "p"}, "salt"},
//!            "cipher": {"name": "nacl/secretbox", "nonce"}, "ciphertext"}
//! ```
//! What is encrypted is the key in PKCS #8. Keys that are not encrypted are PKCS #8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE
//! KEY`), as `openssl` writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;

/// The most memory that opening a key may take, in bytes: scrypt's 128·N·r. cosign's keys take 64 MiB.
const MAX_MEMORY: u64 = 1 << 30;

/// Bytes of a Poly1305 tag, which stands before what is encrypted.
const TAG: usize = 16;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is encrypted, and no password is given.
    #[error("the key is encrypted")]
    Encrypted,
    /// The password is not the key's, or the key is damaged.
    #[error("the password does not open the key")]
    Password,
    /// It is another kind of key, or none.
    #[error("there is no ECDSA key on the curve P-256 in PEM")]
    Kind,
    /// It is encrypted in another way.
    #[error("the key is encrypted in another way than cosign does")]
    Encryption,
}

/// A key that signs.
pub struct PrivateKey(SigningKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// Reads a key from PEM; `password` opens an encrypted one. That takes a tenth of a second and 64 MiB.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(pem: &str, password: Option<&[u8]>) -> Result<PrivateKey, KeyError> {
        let key = if let Some(bytes) = body(pem, &["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"]) {
            let plain = decrypt(&bytes, password.ok_or(KeyError::Encrypted)?)?;
            SecretKey::from_pkcs8_der(&plain).map_err(|_| KeyError::Kind)
        } else if let Some(bytes) = body(pem, &["PRIVATE KEY"]) {
            SecretKey::from_pkcs8_der(&bytes).map_err(|_| KeyError::Kind)
        } else if let Some(bytes) = body(pem, &["EC PRIVATE KEY"]) {
            SecretKey::from_sec1_der(&bytes).map_err(|_| KeyError::Kind)
        } else {
            Err(KeyError::Kind)
        };
        key.map(|key| PrivateKey(SigningKey::from(key)))
    }

    /// Returns the signature of `message`'s SHA-256 in DER: the same for the same message (RFC 6979).
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }
}

/// A key that says whether another one signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key from PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(pem: &str) -> Result<PublicKey, KeyError> {
        let bytes = body(pem, &["PUBLIC KEY"]).ok_or(KeyError::Kind)?;
        VerifyingKey::from_public_key_der(&bytes).map(PublicKey).map_err(|_| KeyError::Kind)
    }

    /// Says whether `signature`, in DER, is one of `message` by the private key of this one.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

/// Returns the bytes of the first block of PEM that has one of these labels; what stands around it does not count.
fn body(pem: &str, labels: &[&str]) -> Option<Vec<u8>> {
    let inner = labels.iter().find_map(|label| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        rest.split_once(&format!("-----END {label}-----")).map(|(inner, _)| inner)
    })?;
    let text: String = inner.split_whitespace().collect();
    STANDARD.decode(text).ok()
}

/// An encrypted key; bytes are in base64.
#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn decrypt(bytes: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let other = KeyError::Encryption;
    let sealed: Sealed = serde_json::from_slice(bytes).map_err(|_| other)?;
    let Cost { n, r, p } = sealed.kdf.params;
    let is_affordable =
        n.is_power_of_two() && n.saturating_mul(u64::from(r)).saturating_mul(128) <= MAX_MEMORY && p <= 16;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" || !is_affordable {
        return Err(other);
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| other);
    let (salt, nonce, ciphertext) =
        (bytes(&sealed.kdf.salt)?, bytes(&sealed.cipher.nonce)?, bytes(&sealed.ciphertext)?);
    let cost = scrypt::Params::new(u8::try_from(n.trailing_zeros()).map_err(|_| other)?, r, p).map_err(|_| other)?;
    let mut key = [0; 32];
    scrypt::scrypt(password, &salt, &cost, &mut key).map_err(|_| other)?;
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| other)?;
    open(&ciphertext, &key, &nonce).ok_or(KeyError::Password)
}

/// Opens NaCl's secretbox: the first 32 bytes of XSalsa20's stream are the key of the Poly1305 tag in front.
fn open(sealed: &[u8], key: &[u8; 32], nonce: &[u8; 24]) -> Option<Vec<u8>> {
    let (tag, ciphertext) = sealed.split_at_checked(TAG)?;
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut tag_key = [0; 32];
    stream.apply_keystream(&mut tag_key);
    let found = Poly1305::new((&tag_key).into()).compute_unpadded(ciphertext);
    // Every byte is looked at, so that the time says nothing.
    let difference = found.iter().zip(tag).fold(0, |sum, (found, expected)| sum | (found ^ expected));
    let mut plain = ciphertext.to_vec();
    stream.apply_keystream(&mut plain);
    (difference == 0).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One key in three forms, made by Go's own libraries; the encrypted one by the library that cosign uses, with the
    /// password `correct horse`.
    const ENCRYPTED: &str = include_str!("../../tests/fixtures/attest/cosign.key");
    const PLAIN: &str = include_str!("../../tests/fixtures/attest/plain.key");
    const SEC1: &str = include_str!("../../tests/fixtures/attest/sec1.key");
    const PUBLIC: &str = include_str!("../../tests/fixtures/attest/cosign.pub");

    #[test]
    fn a_key_in_any_form_signs_the_same_bytes() {
        let public = PublicKey::parse(PUBLIC).expect("a key");
        let keys = [(ENCRYPTED, Some(&b"correct horse"[..])), (PLAIN, None), (SEC1, None)];
        let signatures = keys.map(|(pem, password)| PrivateKey::parse(pem, password).expect("a key").sign(b"message"));
        assert!(signatures.iter().all(|signature| *signature == signatures[0]));
        assert!(public.verifies(b"message", &signatures[0]));
        assert!(!public.verifies(b"another", &signatures[0]));
        let mut changed = signatures[0].clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert!(!public.verifies(b"message", &changed) && !public.verifies(b"message", b""));
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let failed = |pem: &str, password: Option<&[u8]>| PrivateKey::parse(pem, password).err();
        assert_eq!(failed(ENCRYPTED, None), Some(KeyError::Encrypted));
        assert_eq!(failed(ENCRYPTED, Some(b"wrong")), Some(KeyError::Password));
        assert_eq!(failed(PUBLIC, None), Some(KeyError::Kind));
        assert_eq!(failed("", None), Some(KeyError::Kind));
        let sealed = |text: &str| {
            let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
            failed(&format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(text)), Some(b""))
        };
        let costly = r#"{"kdf":{"name":"scrypt","params":{"N":1073741824,"r":8,"p":1},"salt":""},
            "cipher":{"name":"nacl/secretbox","nonce":""},"ciphertext":""}"#;
        assert_eq!((sealed(costly), sealed("{")), (Some(KeyError::Encryption), Some(KeyError::Encryption)));
        assert_eq!(PublicKey::parse(PLAIN), Err(KeyError::Kind));
    }
}
