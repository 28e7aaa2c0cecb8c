//! Reading from a registry (distribution-spec v1.1, *Pull*).

use std::io::{self, Read, Write};

use reqwest::Method;
use reqwest::blocking::Response;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};

use super::auth::Access;
use super::error::Action;
use super::hosts::{Role, Source};
use super::push::push;
use super::transport::{Answer, Call};
use super::{Client, Error, blob_name, manifest_key, manifest_name};
use crate::digest::{Digest, Hasher};
use crate::oci::{
    DOCUMENT_MEDIA_TYPES, Descriptor, Document, DocumentKind, MAX_DOCUMENT_SIZE, descriptor, digest_of,
    document_media_type, parse_document,
};
use crate::reference::Reference;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// How many bytes are read, hashed and written at once.
const CHUNK: usize = 128 << 10;

impl Client {
    /// Returns what a reference stands for now: its digest where it has one, else the tag's. Asks by HEAD; falls back
    /// to GET, which verifies, where the answer is incomplete.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`], and what connections do.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        self.ask_sources(reference, |source| self.resolve_at(source, reference))
    }

    /// As [`Client::resolve`], by the registry itself and no mirror of it: what a push is about to change.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub fn resolve_upstream(&self, reference: &Reference) -> Result<Descriptor, Error> {
        self.resolve_at(&self.upstream(reference)?, reference)
    }

    fn resolve_at(&self, source: &Source, reference: &Reference) -> Result<Descriptor, Error> {
        let access = pull(source);
        let call = self.manifest_call(Method::HEAD, source, reference)?;
        let answer = self.send(&access, &call)?;
        let status = answer.response.status();
        let is_other_asked = source.site.role == Role::Mirror && !status.is_success();
        if status.as_u16() == 404 || is_other_asked {
            return Err(self.refusal(&access, &call, answer, &manifest_name(reference)));
        }
        let head = status.is_success().then(|| head_descriptor(&answer.response)).flatten();
        match head {
            Some((found, digest)) if reference.digest.is_none_or(|wanted| wanted == digest) => Ok(found),
            // HEAD has no error text, and some registries do not serve it.
            _ => self.fetch_document_at(source, reference).map(|(descriptor, ..)| descriptor),
        }
    }

    /// Returns a manifest or index, by digest if the reference has one, else by tag. The bytes are at most
    /// [`MAX_DOCUMENT_SIZE`], have the descriptor's digest, and pass [`parse_document`].
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], [`Error::Document`], [`Error::NotFound`], [`Error::Denied`], and what connections do.
    pub fn fetch_manifest(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), Error> {
        self.fetch_document(reference).map(|(descriptor, bytes, _)| (descriptor, bytes))
    }

    /// As [`Client::fetch_manifest`], from the registry itself and no mirror of it: what a push is about to change.
    ///
    /// # Errors
    /// As [`Client::fetch_manifest`].
    pub fn fetch_manifest_upstream(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), Error> {
        let found = self.fetch_document_at(&self.upstream(reference)?, reference);
        found.map(|(descriptor, bytes, _)| (descriptor, bytes))
    }

    /// As [`Client::fetch_manifest`], with the document parsed.
    ///
    /// # Errors
    /// As [`Client::fetch_manifest`].
    pub fn fetch_document(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>, Document), Error> {
        self.ask_sources(reference, |source| self.fetch_document_at(source, reference))
    }

    fn fetch_document_at(
        &self,
        source: &Source,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>, Document), Error> {
        let (access, what) = (pull(source), manifest_name(reference));
        let registry = || source.site.name.clone();
        let call = self.manifest_call(Method::GET, source, reference)?;
        let mut attempt = 0;
        let (bytes, content_type, said) = loop {
            let answer = self.send(&access, &call)?;
            if !answer.response.status().is_success() {
                return Err(self.refusal(&access, &call, answer, &what));
            }
            let content_type = header(&answer.response, &CONTENT_TYPE).map(without_parameters);
            let said = header(&answer.response, &CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
            match read_document(answer, access.registry, &what) {
                Err(Failed::ByConnection(reason)) => {
                    attempt += 1;
                    self.pause_or_pass(source, attempt, || interrupted(&call, &reason))?;
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Ok(bytes) => break (bytes, content_type, said),
            }
        };
        let actual = Digest::of(&bytes);
        if let Some(expected) = reference.digest.or(said).filter(|expected| *expected != actual) {
            return Err(Error::DigestMismatch { registry: registry(), what, expected, actual });
        }
        let refused = |source| Error::Document { registry: registry(), what: what.clone(), source };
        let media_type = document_media_type(&bytes, content_type.as_deref()).map_err(refused)?;
        let document = parse_document(&bytes, content_type.as_deref()).map_err(refused)?;
        Ok((descriptor(media_type, bytes.len() as u64, actual), bytes, document))
    }

    /// Writes a blob of `name`'s repository to `out`. Reads at most the descriptor's size, continues where a broken
    /// connection ended, with the next server where that was a mirror's, and verifies the digest. What was written before
    /// an error is not to be used.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], [`Error::Size`], [`Error::Local`] from `out`, [`Error::NotFound`], [`Error::Denied`],
    /// and what connections do.
    pub fn fetch_blob(&self, name: &Reference, descriptor: &Descriptor, out: &mut dyn Write) -> Result<(), Error> {
        let digest = checked_digest(name, descriptor)?;
        let mut fetch = Fetch { out, hasher: Hasher::default(), written: 0, size: descriptor.size() };
        let mut last = name.registry.clone();
        let by_digest = name.with_digest(digest);
        self.ask_sources(&by_digest, |source| {
            last.clone_from(&source.site.name);
            self.fetch_rest(source, name, digest, &mut fetch)
        })?;
        let actual = fetch.hasher.finish();
        if actual != digest {
            let what = blob_name(name, digest);
            return Err(Error::DigestMismatch { registry: last, what, expected: digest, actual });
        }
        Ok(())
    }

    /// Fetches what `fetch` lacks.
    fn fetch_rest(
        &self,
        source: &Source,
        name: &Reference,
        digest: Digest,
        fetch: &mut Fetch<'_>,
    ) -> Result<(), Error> {
        let (access, what) = (pull(source), blob_name(name, digest));
        let mut failures = 0;
        loop {
            let mut call = Call::new(Method::GET, self.url_at(source, &["blobs", &digest.to_string()])?);
            if fetch.written > 0 {
                call = call.header(RANGE, format!("bytes={}-", fetch.written));
            }
            let answer = self.send(&access, &call)?;
            if !answer.response.status().is_success() {
                return Err(self.refusal(&access, &call, answer, &what));
            }
            let before = fetch.written;
            match fetch.copy(answer, || self.transport.check_cancelled()) {
                Ok(()) => return Ok(()),
                Err(Failed::ByConnection(reason)) => {
                    // Only attempts that brought nothing count.
                    failures = if fetch.written > before { 1 } else { failures + 1 };
                    self.pause_or_pass(source, failures, || interrupted(&call, &reason))?;
                }
                Err(Failed::ForGood(error)) => return Err(error.about(access.registry, &what)),
            }
        }
    }

    /// Pauses before another attempt; fails where there was the last one, or somebody else may be asked.
    fn pause_or_pass(&self, source: &Source, failures: u32, error: impl FnOnce() -> Error) -> Result<(), Error> {
        match source.site.role {
            Role::Mirror => Err(error()),
            Role::Registry => self.transport.pause_or_give_up(failures, error),
        }
    }

    /// Returns the registry itself as a place to pull from.
    fn upstream(&self, name: &Reference) -> Result<Source, Error> {
        let site = self.hosts.registry(&name.registry, &name.repository)?;
        Ok(Source { site, repository: name.repository.clone() })
    }

    /// Says whether `name`'s repository has a blob.
    ///
    /// # Errors
    /// [`Error::Denied`], and what connections do.
    pub fn has_blob(&self, name: &Reference, digest: Digest) -> Result<bool, Error> {
        let call = Call::new(Method::HEAD, self.url(name, &["blobs", &digest.to_string()])?);
        self.exists(&pull(&self.upstream(name)?), &call, &blob_name(name, digest))
    }

    /// Says whether `name`'s repository has a manifest or index under `digest`. Asked before a push, and with the right
    /// to push: one login serves for all of it, and a refusal names what the user wanted.
    ///
    /// # Errors
    /// [`Error::Denied`], and what connections do.
    pub fn has_manifest(&self, name: &Reference, digest: Digest) -> Result<bool, Error> {
        let reference = name.with_digest(digest);
        let call = self.manifest_call(Method::HEAD, &self.upstream(&reference)?, &reference)?;
        self.exists(&push(name, None), &call, &manifest_name(&reference))
    }

    pub(super) fn exists(&self, access: &Access<'_>, call: &Call<'_>, what: &str) -> Result<bool, Error> {
        let answer = self.send(access, call)?;
        match answer.response.status().as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refusal(access, call, answer, what)),
        }
    }

    fn manifest_call(&self, method: Method, source: &Source, name: &Reference) -> Result<Call<'static>, Error> {
        let url = self.url_at(source, &["manifests", &manifest_key(name)])?;
        Ok(Call::new(method, url).header(ACCEPT, DOCUMENT_MEDIA_TYPES.join(", ")))
    }
}

/// Why the body of an answer is not there.
enum Failed<E> {
    /// The connection broke; another attempt may do.
    ByConnection(String),
    /// Another attempt would end the same.
    ForGood(E),
}

/// A blob on its way; what was written and hashed so far survives a broken connection.
struct Fetch<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    written: u64,
    size: u64,
}

/// What is wrong with a blob's bytes, before it is known which blob it is.
enum Wrong {
    TooLong { size: u64 },
    OtherRange,
    Write(io::Error),
    Stopped(Error),
}

impl Wrong {
    fn about(self, registry: &str, what: &str) -> Error {
        let (registry, what) = (registry.to_owned(), what.to_owned());
        match self {
            Wrong::TooLong { size } => {
                Error::Size { registry, what, expected: size.to_string(), actual: format!("more than {size}") }
            }
            Wrong::OtherRange => Error::Size {
                registry,
                what,
                expected: "the asked range".to_owned(),
                actual: "another range's".to_owned(),
            },
            Wrong::Write(source) => Error::Local { verb: "write", what, source },
            Wrong::Stopped(error) => error,
        }
    }
}

impl Fetch<'_> {
    /// Copies the rest of the blob from an answer that holds it from `written` on (206) or from its start (200).
    fn copy(&mut self, answer: Answer, check: impl Fn() -> Result<(), Error>) -> Result<(), Failed<Wrong>> {
        let mut body = answer.response;
        let mut to_skip = match body.status().as_u16() {
            206 if range_start(&body) == Some(self.written) => 0,
            206 => return Err(Failed::ForGood(Wrong::OtherRange)),
            _ => self.written,
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            check().map_err(|error| Failed::ForGood(Wrong::Stopped(error)))?;
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::ByConnection(read_reason(&error))),
            };
            if n == 0 {
                break;
            }
            let skipped = to_skip.min(n as u64);
            to_skip -= skipped;
            self.write(&buffer[skipped as usize..n])?;
        }
        match self.written == self.size {
            true => Ok(()),
            false => Err(Failed::ByConnection(format!("{} of {} bytes came", self.written, self.size))),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed<Wrong>> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(Failed::ForGood(Wrong::TooLong { size: self.size }));
        }
        self.out.write_all(bytes).map_err(|error| Failed::ForGood(Wrong::Write(error)))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }
}

fn read_document(answer: Answer, registry: &str, what: &str) -> Result<Vec<u8>, Failed<Error>> {
    let mut bytes = Vec::new();
    let mut body = answer.response.take(MAX_DOCUMENT_SIZE + 1);
    body.read_to_end(&mut bytes).map_err(|error| Failed::ByConnection(read_reason(&error)))?;
    if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
        return Err(Failed::ForGood(Error::Size {
            registry: registry.to_owned(),
            what: what.to_owned(),
            expected: format!("at most {MAX_DOCUMENT_SIZE}"),
            actual: "more".to_owned(),
        }));
    }
    Ok(bytes)
}

/// Returns the descriptor that a HEAD's headers make, if they are all there.
fn head_descriptor(response: &Response) -> Option<(Descriptor, Digest)> {
    let media_type = without_parameters(header(response, &CONTENT_TYPE)?);
    DocumentKind::of_media_type(&media_type)?;
    let size: u64 = header(response, &CONTENT_LENGTH)?.parse().ok()?;
    let digest: Digest = header(response, &CONTENT_DIGEST)?.parse().ok()?;
    Some((descriptor(media_type.as_str(), size, digest), digest))
}

/// Returns the first byte's offset of a partial answer: `bytes 10-19/20`.
fn range_start(response: &Response) -> Option<u64> {
    let range = header(response, &CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Returns a content type's type without `; charset=…`.
fn without_parameters(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns why reading a body failed. The library's own text would hold the URL.
fn read_reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    inner.map_or_else(|| error.kind().to_string(), super::error::reason_of)
}

fn interrupted(call: &Call<'_>, reason: &str) -> Error {
    Error::Interrupted { method: call.method.clone(), url: (&call.url).into(), reason: reason.to_owned() }
}

pub(super) fn checked_digest(name: &Reference, descriptor: &Descriptor) -> Result<Digest, Error> {
    digest_of(descriptor).map_err(|error| Error::Document {
        registry: name.registry.clone(),
        what: format!("a blob of \"{}\"", name.repository),
        source: error.into(),
    })
}

fn pull(source: &Source) -> Access<'_> {
    let Source { site, repository } = source;
    Access { registry: &site.name, repository, action: Action::Pull, mount_from: None, site: Some(site) }
}
