//! Writing to a registry (distribution-spec v1.1, *Push*): whole blobs and manifests.
//!
//! A blob: HEAD says whether it is there; POST with `mount` asks to take it from another repository; else its bytes are
//! sent (see `upload`).

use std::io::{self, Read};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName};

use super::auth::Access;
use super::error::Action;
use super::pull::checked_digest;
use super::transport::{Call, Payload, location};
use super::upload::{BlobUpload, Upload};
use super::{Client, Error, blob_name, manifest_key, manifest_name};
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::reference::Reference;

/// How a blob came to be in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry took it from another of its repositories.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

impl Client {
    /// Brings a blob into `name`'s repository, its bytes in one request. `mount_from` are images that have it; those of
    /// another registry are passed over. `open` returns its bytes from the start, and may be called several times.
    /// `on_progress` gets the number of bytes sent so far, on the calling thread; it starts again from 0 where an upload
    /// is begun anew.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Local`] from `open`, and what connections do.
    pub fn push_blob(
        &self,
        name: &Reference,
        descriptor: &Descriptor,
        mount_from: &[Reference],
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        on_progress: &dyn Fn(u64),
    ) -> Result<Pushed, Error> {
        let open = |_| open();
        let (piece, patience, resume, on_point) = (u64::MAX, Duration::ZERO, None, &|_: &_| {});
        let blob = BlobUpload { descriptor, mount_from, open: &open, on_progress, piece, patience, resume, on_point };
        self.upload_blob(name, &blob)
    }

    /// Brings a blob into `name`'s repository. A large one is sent piece by piece, and where that broke off, goes on behind
    /// the last piece that the registry has.
    ///
    /// # Errors
    /// As [`Client::push_blob`].
    pub fn upload_blob(&self, name: &Reference, blob: &BlobUpload<'_>) -> Result<Pushed, Error> {
        let digest = checked_digest(name, blob.descriptor)?;
        let upload = Upload { name, digest, size: blob.descriptor.size(), blob };
        if self.has_blob_to_push(name, digest)? {
            return Ok(Pushed::Exists);
        }
        let is_near = |from: &&Reference| from.registry == name.registry && from.repository != name.repository;
        for from in blob.mount_from.iter().filter(is_near) {
            if self.mount(name, digest, &from.repository)? {
                return Ok(Pushed::Mounted);
            }
        }
        self.send_blob(&upload).map(|()| Pushed::Sent)
    }

    /// Puts a manifest or index under the reference's digest, or under its tag if it has none.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the registry stored other bytes, or the reference's digest is not that of `bytes`;
    /// [`Error::Denied`]; [`Error::Status`] if the registry does not like it; what connections do.
    pub fn push_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest, Error> {
        const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
        let (access, what) = (push(reference, None), manifest_name(reference));
        let actual = Digest::of(bytes);
        let mismatch = |expected, actual| Error::DigestMismatch {
            registry: reference.registry.clone(),
            what: what.clone(),
            expected,
            actual,
        };
        if let Some(expected) = reference.digest.filter(|expected| *expected != actual) {
            return Err(mismatch(expected, actual));
        }
        let call = Call::new(Method::PUT, self.url(reference, &["manifests", &manifest_key(reference)])?)
            .header(CONTENT_TYPE, media_type)
            .payload(Payload::Bytes(bytes));
        let answer = self.send(&access, &call)?;
        if !answer.response.status().is_success() {
            return Err(self.refusal(&access, &call, answer, &what));
        }
        let stored = answer.response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        match stored.filter(|stored| *stored != actual) {
            Some(stored) => Err(mismatch(actual, stored)),
            None => Ok(actual),
        }
    }

    /// Asks with the rights to push, so that one token serves for all that follows.
    pub(super) fn has_blob_to_push(&self, name: &Reference, digest: Digest) -> Result<bool, Error> {
        let call = Call::new(Method::HEAD, self.url(name, &["blobs", &digest.to_string()])?);
        self.exists(&push(name, None), &call, &blob_name(name, digest))
    }

    /// Asks the registry to take the blob from another repository; `false` where it does not.
    fn mount(&self, name: &Reference, digest: Digest, from: &str) -> Result<bool, Error> {
        let access = push(name, Some(from));
        let mut url = self.url(name, &["blobs", "uploads"])?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        let call = Call::new(Method::POST, url);
        let answer = match self.send(&access, &call) {
            // No right to read the other repository is no reason not to send the bytes.
            Err(Error::Denied { .. }) => return Ok(false),
            other => other?,
        };
        match answer.response.status().as_u16() {
            201 => return Ok(true),
            202 => {}
            _ => return Ok(false),
        }
        // It opened an upload instead. This one is given back, for the bytes go through an upload of their own rights.
        if let Ok(target) = location(&call, &answer.response) {
            _ = self.send_logged_in(&access, &Call::new(Method::DELETE, target));
        }
        Ok(false)
    }
}

pub(super) fn push<'a>(name: &'a Reference, mount_from: Option<&'a str>) -> Access<'a> {
    Access { registry: &name.registry, repository: &name.repository, action: Action::Push, mount_from, site: None }
}
