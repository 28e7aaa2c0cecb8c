//! Sending a blob's bytes (distribution-spec v1.1, *Pushing blobs*).
//!
//! ```text
//! POST uploads/ ─▶ LOCATION ─▶ PATCH a piece ─▶ 202, LOCATION ─▶ … ─▶ PUT the last piece?digest= ─▶ 201
//!                     ▲                │ broke
//!                     └── 204, Range ──┴─▶ GET LOCATION ─▶ anything else: POST again
//! ```
//! A blob of at most one piece is one PUT. The first piece is small; the others are as large as goes in a given time, so
//! that about so much time is lost when the connection breaks. A piece counts once the registry acknowledged it. An upload that broke is gone
//! on with where the registry says that it stands; one that it no longer knows, or that turned out to have other bytes,
//! is begun anew. A registry that takes no pieces gets the blob in one.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Method, Url};

use super::push::push;
use super::transport::{Answer, Call, Payload, location, retry_after};
use super::{Client, Error, blob_name};
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::reference::Reference;

/// A blob that is to be brought into a repository.
pub struct BlobUpload<'a> {
    /// Its digest and size.
    pub descriptor: &'a Descriptor,
    /// Images that have it; those of another registry are passed over.
    pub mount_from: &'a [Reference],
    /// Returns its bytes from an offset on, which is 0 if [`piece`](BlobUpload::piece) is `u64::MAX`; may be called several
    /// times.
    pub open: &'a dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>,
    /// Gets the number of bytes sent so far, on the calling thread.
    pub on_progress: &'a dyn Fn(u64),
    /// Most bytes in the first request, unless the registry wants more.
    pub piece: u64,
    /// How long a further piece may take, as fast as those before it went; it is never smaller than the first. A registry
    /// needs a moment for each, so a fast connection gets large ones.
    pub patience: Duration,
    /// Where an earlier upload of the same bytes to the same repository stood.
    pub resume: Option<UploadPoint>,
    /// Gets where the upload stands, each time that the registry acknowledged a piece.
    pub on_point: &'a dyn Fn(&UploadPoint),
}

/// Where an upload stands: so much of it the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPoint {
    /// Where to go on: a URL, whose query may be the registry's secret. Not to be shown.
    pub location: String,
    /// Bytes that were acknowledged.
    pub offset: u64,
}

/// A blob on its way.
pub(super) struct Upload<'a> {
    pub(super) name: &'a Reference,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) blob: &'a BlobUpload<'a>,
}

/// What is known of the attempts so far.
struct Attempts {
    /// Where to go on.
    point: Option<UploadPoint>,
    /// Most bytes in one request.
    piece: u64,
    /// How long the registry asked to wait.
    asked: Cell<Option<Duration>>,
    /// Failures since something was acknowledged last.
    failures: u32,
}

impl Client {
    /// Sends a blob's bytes.
    pub(super) fn send_blob(&self, upload: &Upload<'_>) -> Result<(), Error> {
        let BlobUpload { piece, resume, .. } = upload.blob;
        let mut attempts = Attempts { point: resume.clone(), piece: *piece, asked: Cell::default(), failures: 0 };
        let mut is_resumed = resume.is_some();
        loop {
            let before = attempts.reached();
            let Err(error) = self.try_to_send(upload, &mut attempts) else { return Ok(()) };
            if error.is_transient() {
                attempts.failures = if attempts.reached() > before { 1 } else { attempts.failures + 1 };
                self.transport.pause_as_asked(attempts.failures, attempts.asked.take(), || error)?;
                // The answer may have been lost, and not the bytes.
                if self.has_blob_to_push(upload.name, upload.digest)? {
                    return Ok(());
                }
            } else if !matches!(error, Error::Status { .. } | Error::NotFound { .. }) {
                return Err(error);
            } else if std::mem::take(&mut is_resumed) {
                // What an earlier process sent may be something else, or gone.
                attempts.point = None;
            } else if upload.size > attempts.piece && !is_other_digest(&error) {
                attempts = Attempts { piece: u64::MAX, point: None, ..attempts };
            } else {
                return Err(error);
            }
        }
    }

    /// Goes on with an upload, or opens one, and sends what is left.
    fn try_to_send(&self, upload: &Upload<'_>, attempts: &mut Attempts) -> Result<(), Error> {
        let resumed = match &attempts.point {
            Some(point) => self.where_it_stands(upload, point)?,
            None => None,
        };
        let (mut point, least) = match resumed {
            Some(point) => (point, 0),
            None => self.open_upload(upload, attempts)?,
        };
        attempts.point = Some(point.clone()).filter(|_| upload.size > attempts.piece);
        let mut piece = attempts.piece.max(least);
        while upload.size - point.offset > piece {
            let begin = Instant::now();
            point = self.send_piece(upload, &point, piece, attempts)?;
            piece = piece.max(within(upload.blob.patience, piece, begin.elapsed()));
            (upload.blob.on_point)(&point);
            attempts.point = Some(point.clone());
        }
        self.send_last(upload, &point, attempts)
    }

    /// Opens an upload; returns where it begins, and the least that the registry takes at once.
    fn open_upload(&self, upload: &Upload<'_>, attempts: &Attempts) -> Result<(UploadPoint, u64), Error> {
        const LEAST: HeaderName = HeaderName::from_static("oci-chunk-min-length");
        let access = push(upload.name, None);
        let post = Call::new(Method::POST, self.url(upload.name, &["blobs", "uploads"])?);
        let answer = self.send(&access, &post)?;
        if answer.response.status().as_u16() != 202 {
            return Err(self.refused(upload, &post, answer, attempts));
        }
        let least = answer.response.headers().get(LEAST).and_then(|value| value.to_str().ok()?.parse().ok());
        let location = location(&post, &answer.response)?.into();
        Ok((UploadPoint { location, offset: 0 }, least.unwrap_or(0)))
    }

    /// Asks how much the registry has of an upload; `None` if it no longer knows it.
    fn where_it_stands(&self, upload: &Upload<'_>, point: &UploadPoint) -> Result<Option<UploadPoint>, Error> {
        let Ok(url) = Url::parse(&point.location) else { return Ok(None) };
        let call = Call::new(Method::GET, url);
        let answer = self.send_logged_in(&push(upload.name, None), &call)?;
        if answer.response.status().as_u16() != 204 {
            return Ok(None);
        }
        // `0-0` is what nothing at all looks like, too.
        let range = answer.response.headers().get(RANGE).and_then(|range| range.to_str().ok());
        let end: Option<u64> =
            range.and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-")?.parse().ok());
        let offset = end.map_or(0, |end| if end == 0 { 0 } else { end + 1 });
        let location = location(&call, &answer.response).map_or_else(|_| point.location.clone(), Into::into);
        Ok(Some(UploadPoint { location, offset }).filter(|point| point.offset <= upload.size))
    }

    fn send_piece(
        &self,
        upload: &Upload<'_>,
        point: &UploadPoint,
        length: u64,
        attempts: &Attempts,
    ) -> Result<UploadPoint, Error> {
        let (begin, end) = (point.offset, point.offset + length);
        let call = |url| Call::new(Method::PATCH, url).header(CONTENT_RANGE, format!("{begin}-{}", end - 1));
        let (call, answer) = self.send_bytes(upload, point, length, call)?;
        if answer.response.status().as_u16() != 202 {
            return Err(self.refused(upload, &call, answer, attempts));
        }
        Ok(UploadPoint { location: location(&call, &answer.response)?.into(), offset: end })
    }

    /// Sends what is left and names the digest.
    fn send_last(&self, upload: &Upload<'_>, point: &UploadPoint, attempts: &Attempts) -> Result<(), Error> {
        let UploadPoint { offset, .. } = *point;
        let call = |url| {
            let put = Call::new(Method::PUT, with_digest(url, upload.digest));
            let range = || format!("{offset}-{}", upload.size - 1);
            if (1..upload.size).contains(&offset) { put.header(CONTENT_RANGE, range()) } else { put }
        };
        let (call, answer) = self.send_bytes(upload, point, upload.size - offset, call)?;
        match answer.response.status().as_u16() {
            201 | 204 => Ok(()),
            _ => Err(self.refused(upload, &call, answer, attempts)),
        }
    }

    /// Sends `length` bytes from where the upload stands by the request that `call` makes of its URL.
    fn send_bytes<'u>(
        &self,
        upload: &Upload<'_>,
        point: &UploadPoint,
        length: u64,
        call: impl Fn(Url) -> Call<'u>,
    ) -> Result<(Call<'u>, Answer), Error> {
        let post = self.url(upload.name, &["blobs", "uploads"])?;
        let url = Url::parse(&point.location)
            .map_err(|_| Call::new(Method::POST, post).protocol_error("the answer's Location is no URL"))?;
        let call = call(url).header(CONTENT_TYPE, "application/octet-stream");
        let open = || (upload.blob.open)(point.offset);
        let on_progress = |sent: u64| (upload.blob.on_progress)(point.offset + sent);
        let payload = Payload::Stream { open: &open, size: length, on_progress: &on_progress };
        let answer = self.send_logged_in(&push(upload.name, None), &call.clone().payload(payload));
        let answer = answer.map_err(|error| match error {
            Error::Local { verb, source, .. } => {
                Error::Local { verb, what: blob_name(upload.name, upload.digest), source }
            }
            other => other,
        })?;
        Ok((call, answer))
    }

    fn refused(&self, upload: &Upload<'_>, call: &Call<'_>, answer: Answer, attempts: &Attempts) -> Error {
        attempts.asked.set(retry_after(&answer.response));
        self.refusal(&push(upload.name, None), call, answer, &blob_name(upload.name, upload.digest))
    }
}

/// Returns how many bytes go in `time` where `n_bytes` took `took`.
fn within(time: Duration, n_bytes: u64, took: Duration) -> u64 {
    (n_bytes as f64 * time.as_secs_f64() / took.as_secs_f64().max(1e-3)) as u64
}

impl Attempts {
    fn reached(&self) -> u64 {
        self.point.as_ref().map_or(0, |point| point.offset)
    }
}

/// Says whether the registry got all bytes and found that they are others than the digest says.
fn is_other_digest(error: &Error) -> bool {
    matches!(error, Error::Status { codes, .. } if codes.iter().any(|code| code.code == "DIGEST_INVALID"))
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
