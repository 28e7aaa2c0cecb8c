//! Writing to a registry (distribution-spec v1.1, *Push*).
//!
//! A blob's upload: HEAD says whether it is there; POST with `mount` asks to take it from another repository; POST
//! opens an upload and answers where to; one PUT there sends all bytes and names the digest. An upload that broke is
//! begun anew: what an open upload has of it cannot be trusted after that.

use std::io::{self, Read};

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, Url};

use super::auth::Access;
use super::error::Action;
use super::pull::checked_digest;
use super::transport::{Call, Payload, location};
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

/// A blob on its way.
struct Upload<'a> {
    name: &'a Reference,
    digest: Digest,
    size: u64,
    open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    on_progress: &'a dyn Fn(u64),
}

impl Client {
    /// Brings a blob into `name`'s repository. `mount_from` are images that have it; those of another registry are
    /// passed over. `open` returns its bytes from the start, and may be called several times. `on_progress` gets the number of
    /// bytes sent so far, on the calling thread; it starts again from 0 where an upload is begun anew.
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
        let digest = checked_digest(name, descriptor)?;
        let upload = Upload { name, digest, size: descriptor.size(), open, on_progress };
        if self.has_blob_to_push(&upload)? {
            return Ok(Pushed::Exists);
        }
        let is_near = |from: &&Reference| from.registry == name.registry && from.repository != name.repository;
        for from in mount_from.iter().filter(is_near) {
            if self.mount(&upload, &from.repository)? {
                return Ok(Pushed::Mounted);
            }
        }
        let mut failures = 0;
        loop {
            match self.upload(&upload) {
                Ok(()) => return Ok(Pushed::Sent),
                Err(error) if error.is_transient() => {
                    failures += 1;
                    self.transport.pause_or_give_up(failures, || error)?;
                    // The answer may have been lost, and not the bytes.
                    if self.has_blob_to_push(&upload)? {
                        return Ok(Pushed::Sent);
                    }
                }
                Err(error) => return Err(error),
            }
        }
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
    fn has_blob_to_push(&self, upload: &Upload<'_>) -> Result<bool, Error> {
        let call = Call::new(Method::HEAD, self.url(upload.name, &["blobs", &upload.digest.to_string()])?);
        self.exists(&push(upload.name, None), &call, &blob_name(upload.name, upload.digest))
    }

    /// Asks the registry to take the blob from another repository; `false` where it does not.
    fn mount(&self, upload: &Upload<'_>, from: &str) -> Result<bool, Error> {
        let access = push(upload.name, Some(from));
        let mut url = self.url(upload.name, &["blobs", "uploads"])?;
        url.query_pairs_mut().append_pair("mount", &upload.digest.to_string()).append_pair("from", from);
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

    /// Opens an upload and sends the bytes, once.
    fn upload(&self, upload: &Upload<'_>) -> Result<(), Error> {
        let (access, what) = (push(upload.name, None), blob_name(upload.name, upload.digest));
        let post = Call::new(Method::POST, self.url(upload.name, &["blobs", "uploads"])?);
        let answer = self.send(&access, &post)?;
        if answer.response.status().as_u16() != 202 {
            return Err(self.refusal(&access, &post, answer, &what));
        }
        let target = with_digest(location(&post, &answer.response)?, upload.digest);
        let put = Call::new(Method::PUT, target)
            .header(CONTENT_TYPE, "application/octet-stream")
            .payload(Payload::Stream { open: upload.open, size: upload.size, on_progress: upload.on_progress });
        let named = |error| match error {
            Error::Local { verb, source, .. } => Error::Local { verb, what: what.clone(), source },
            other => other,
        };
        let answer = self.send_logged_in(&access, &put).map_err(named)?;
        match answer.response.status().as_u16() {
            201 | 204 => Ok(()),
            _ => Err(self.refusal(&access, &put, answer, &what)),
        }
    }
}

/// Adds the digest to an upload's URL and keeps the query that the registry put there byte for byte.
fn with_digest(mut url: Url, digest: Digest) -> Url {
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={digest}"),
        _ => format!("digest={digest}"),
    };
    url.set_query(Some(&query));
    url
}

pub(super) fn push<'a>(name: &'a Reference, mount_from: Option<&'a str>) -> Access<'a> {
    Access { registry: &name.registry, repository: &name.repository, action: Action::Push, mount_from }
}
