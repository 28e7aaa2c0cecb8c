//! Checksums that the user expects of files.

use std::fs::File;
use std::io::{self, Read as _};

use sha2::{Sha384, Sha512};

use crate::digest::Digest;

/// `algorithm:hex`: sha256, sha384 or sha512.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum(pub String);

impl Checksum {
    /// Returns the digest where it is one that blobs are named by.
    pub fn digest(&self) -> Option<Digest> {
        self.0.parse().ok()
    }

    /// Returns the checksum that `file` has, whose digest is known, by the algorithm of this one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of(&self, file: &mut File, digest: Digest) -> io::Result<Checksum> {
        let text = match self.0.split(':').next() {
            Some("sha384") => format!("sha384:{}", hash::<Sha384>(file)?),
            Some("sha512") => format!("sha512:{}", hash::<Sha512>(file)?),
            _ => digest.to_string(),
        };
        Ok(Checksum(text))
    }
}

fn hash<H: sha2::Digest>(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut buffer) = (H::new(), vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
