//! Files over HTTP: downloaded into the store's blobs, and asked for anew only as far as the server says they changed.
//!
//! A user and password in a URL go to that URL's origin and nowhere else; no redirect leads from HTTPS to HTTP, to another
//! scheme, or to a URL with a user in it. What was downloaded before is remembered in the store's state `http-HEX`, by the
//! URL's digest, as JSON: entity tag, digest, file name and modification time.

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED,
    LOCATION,
};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::context::{ContextError, ContextFiles, context_files, newest_file};
use crate::digest::Digest;
use crate::remote::HttpUrl;
use crate::store::{Store, StoreError};
use crate::sys::cancel::CancelToken;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// The longest time without a byte.
const QUIET: Duration = Duration::from_secs(60);
/// The longest time for a whole file: one that drips must end too.
const LONGEST: Duration = Duration::from_secs(3600);
const CHUNK: usize = 128 << 10;

/// Why a file could not be downloaded. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It is no URL of a host.
    #[error("{url} is no URL that can be read: {reason}")]
    Url {
        /// What was asked for.
        url: HttpUrl,
        /// Why.
        reason: String,
    },
    /// No answer, or one that broke off.
    #[error("cannot read {url}: {reason}")]
    Network {
        /// What was asked for.
        url: HttpUrl,
        /// Why.
        reason: String,
    },
    /// The server said no.
    #[error("cannot read {url}: {status}")]
    Status {
        /// What was asked for.
        url: HttpUrl,
        /// What it said.
        status: StatusCode,
    },
    /// The server leads elsewhere, where bake does not go.
    #[error("cannot read {url}: it leads to {target}: {reason}")]
    Redirect {
        /// What was asked for.
        url: HttpUrl,
        /// Where it leads.
        target: HttpUrl,
        /// Why not there.
        reason: &'static str,
    },
    /// It is larger than it may be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: HttpUrl,
        /// The limit.
        limit: u64,
    },
    /// Its bytes are not the expected ones.
    #[error("{url} has the checksum {}, but {} was expected", actual.0, expected.0)]
    Checksum {
        /// What was asked for.
        url: HttpUrl,
        /// What was expected.
        expected: Checksum,
        /// What came.
        actual: Checksum,
    },
    /// It is an archive that cannot be unpacked.
    #[error("cannot unpack {url}: {reason}")]
    Archive {
        /// What was asked for.
        url: HttpUrl,
        /// Why.
        reason: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The value of the header `Authorization`, which goes to the URL's own origin and nowhere else, and is shown nowhere.
#[derive(Clone)]
pub struct Authorization(pub String);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(***)")
    }
}

/// A downloaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFile {
    /// Its blob in the store.
    pub digest: Digest,
    /// The server's name for it, without directories; the URL's last part where it says none, else `download`.
    pub filename: String,
    /// When the server says it was changed, seconds since 1970.
    pub modified: Option<i64>,
}

/// A downloaded file as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpContext {
    /// What was in the archive, or the one file [`SINGLE_FILE`](crate::remote::SINGLE_FILE); in the store, never changed.
    pub directory: PathBuf,
    /// It was an archive.
    pub is_archive: bool,
    /// The file's digest: the input's identity.
    pub digest: Digest,
    /// See [`HttpSource::changed`].
    pub modified: Option<i64>,
}

/// What is remembered of a URL.
#[derive(Serialize, Deserialize)]
struct Known {
    etag: Option<String>,
    digest: Digest,
    filename: String,
    modified: Option<i64>,
}

impl Known {
    fn file(&self) -> HttpFile {
        HttpFile { digest: self.digest, filename: self.filename.clone(), modified: self.modified }
    }
}

/// Downloads files.
pub struct HttpSource<'a> {
    pub(super) store: &'a Store,
    cancel: &'a CancelToken,
    /// The largest file in bytes.
    max_size: u64,
    /// Through the proxies that the environment names; made at the first need, for the system's certificates take a while
    /// to load.
    client: OnceLock<Result<Client, String>>,
    /// For this machine: without proxies and certificates.
    plain: OnceLock<Result<Client, String>>,
}

impl<'a> HttpSource<'a> {
    /// Downloads files of at most `max_size` bytes into `store`.
    pub fn new(store: &'a Store, cancel: &'a CancelToken, max_size: u64) -> HttpSource<'a> {
        HttpSource { store, cancel, max_size, client: OnceLock::new(), plain: OnceLock::new() }
    }

    /// Brings the file at `url` into the store. With a checksum that a file from there had before, no server is asked.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn fetch(&self, url: &HttpUrl, checksum: Option<Digest>) -> Result<HttpFile, HttpError> {
        self.fetch_as(url, checksum, None)
    }

    /// As [`HttpSource::fetch`], for one who may read it.
    pub(super) fn fetch_as(
        &self,
        url: &HttpUrl,
        checksum: Option<Digest>,
        authorization: Option<&Authorization>,
    ) -> Result<HttpFile, HttpError> {
        let state = format!("http-{}", Digest::of(url.0.as_bytes()).hex());
        let known = self.store.read_state(&state).and_then(|bytes| serde_json::from_slice::<Known>(&bytes).ok());
        let known = known.filter(|known| self.store.has_blob(&known.digest));
        if let Some(known) = known.as_ref().filter(|known| checksum == Some(known.digest)) {
            return Ok(known.file());
        }
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        let response = self.get(url, etag, authorization)?;
        let file = match (response.status(), &known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => known.file(),
            (StatusCode::OK, _) => {
                let headers = response.headers().clone();
                let filename = filename(&headers, url);
                let digest = self.receive(response, url)?;
                let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
                let known = Known { etag, digest, filename, modified: modified(&headers) };
                let bytes = serde_json::to_vec(&known).expect("a record has only text keys");
                self.store.write_state(&state, &bytes)?;
                known.file()
            }
            (status, _) => return Err(HttpError::Status { url: url.clone(), status }),
        };
        match checksum.filter(|checksum| *checksum != file.digest) {
            Some(expected) => {
                let (expected, actual) = (Checksum(expected.to_string()), Checksum(file.digest.to_string()));
                Err(HttpError::Checksum { url: url.clone(), expected, actual })
            }
            None => Ok(file),
        }
    }

    /// Brings the file at `url` in as a build context: an archive's files, or the file itself.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn context(&self, url: &HttpUrl) -> Result<HttpContext, HttpError> {
        let file = self.fetch(url, None)?;
        let failed = |error| context_failure(url, error);
        let ContextFiles { directory, is_archive } = context_files(self.store, file.digest).map_err(failed)?;
        let modified = self.changed(url, file.digest, file.modified)?;
        Ok(HttpContext { directory, is_archive, digest: file.digest, modified })
    }

    /// Returns when a downloaded file was changed, seconds since 1970: `modified` where the server said it, else the time of
    /// the newest file in it if it is an archive.
    ///
    /// # Errors
    /// The file is not in the store any more.
    pub fn changed(&self, url: &HttpUrl, digest: Digest, modified: Option<i64>) -> Result<Option<i64>, HttpError> {
        if modified.is_some() {
            return Ok(modified);
        }
        newest_file(self.store, digest).map_err(|error| context_failure(url, error))
    }

    /// Asks for `url` and follows redirects.
    fn get(
        &self,
        url: &HttpUrl,
        etag: Option<&str>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, HttpError> {
        let wrong = |reason: &str| HttpError::Url { url: url.clone(), reason: reason.to_owned() };
        let mut current = Url::parse(&url.0).map_err(|error| wrong(&error.to_string()))?;
        let (origin, has_user) = (current.origin(), !current.username().is_empty());
        let authorization = authorization.filter(|_| !has_user).map(|Authorization(text)| {
            let mut value = HeaderValue::from_str(text).map_err(|_| wrong("the secret for it is no header's value"))?;
            value.set_sensitive(true);
            Ok::<_, HttpError>(value)
        });
        let authorization = authorization.transpose()?;
        for _ in 0..=MAX_REDIRECTS {
            if self.cancel.is_cancelled() {
                return Err(HttpError::Cancelled);
            }
            let mut request = self.client_for(&current, url)?.get(current.clone());
            if let Some(etag) = etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(value) = authorization.as_ref().filter(|_| current.origin() == origin) {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().map_err(|error| network(url, &error))?;
            if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
                return Ok(response);
            }
            current = redirect(url, &current, &response)?;
        }
        Err(HttpError::Network { url: url.clone(), reason: format!("more than {MAX_REDIRECTS} redirects") })
    }

    /// Copies the body into a blob.
    fn receive(&self, mut response: Response, url: &HttpUrl) -> Result<Digest, HttpError> {
        let too_large = || HttpError::TooLarge { url: url.clone(), limit: self.max_size };
        if response.content_length().is_some_and(|length| length > self.max_size) {
            return Err(too_large());
        }
        let broken = |reason: String| HttpError::Network { url: url.clone(), reason };
        let (begin, mut size, mut chunk) = (Instant::now(), 0, vec![0; CHUNK]);
        let mut writer = self.store.blob_writer()?;
        loop {
            if self.cancel.is_cancelled() {
                return Err(HttpError::Cancelled);
            }
            if begin.elapsed() > LONGEST {
                return Err(broken(format!("no end within {LONGEST:?}")));
            }
            let n = response.read(&mut chunk).map_err(|error| broken(error.to_string()))?;
            if n == 0 {
                return Ok(writer.commit(None)?.0);
            }
            size += n as u64;
            if size > self.max_size {
                return Err(too_large());
            }
            writer.write_all(&chunk[..n]).map_err(|error| broken(error.to_string()))?;
        }
    }

    fn client_for(&self, target: &Url, url: &HttpUrl) -> Result<&Client, HttpError> {
        let builder = || {
            // An error means that it is installed already.
            _ = rustls::crypto::ring::default_provider().install_default();
            Client::builder()
                .user_agent(concat!("bake/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(Duration::from_secs(30))
                .timeout(QUIET)
        };
        let is_here = target.host_str().is_some_and(|host| {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        });
        let client = match is_here && target.scheme() == "http" {
            true => self.plain.get_or_init(|| {
                let tls = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
                let builder = builder().no_proxy().tls_backend_preconfigured(tls.with_no_client_auth());
                builder.build().map_err(|error| reason_of(&error))
            }),
            false => self.client.get_or_init(|| builder().build().map_err(|error| reason_of(&error))),
        };
        client.as_ref().map_err(|reason| HttpError::Network { url: url.clone(), reason: reason.clone() })
    }
}

fn context_failure(url: &HttpUrl, error: ContextError) -> HttpError {
    match error {
        ContextError::Archive(reason) => HttpError::Archive { url: url.clone(), reason },
        ContextError::Store(error) => HttpError::Store(error),
    }
}

/// Returns where an answer leads.
fn redirect(url: &HttpUrl, current: &Url, response: &Response) -> Result<Url, HttpError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| current.join(location).ok());
    let Some(target) = target else {
        return Err(HttpError::Network { url: url.clone(), reason: "it leads nowhere".to_owned() });
    };
    let is_plain = current.scheme() == "https" && target.scheme() == "http";
    let reason = match () {
        () if !matches!(target.scheme(), "http" | "https") => "only HTTP is followed",
        () if is_plain => "that is not HTTPS any more",
        () if !target.username().is_empty() || target.password().is_some() => "that has a user in it",
        () => return Ok(target),
    };
    Err(HttpError::Redirect { url: url.clone(), target: HttpUrl(target.into()), reason })
}

fn network(url: &HttpUrl, error: &reqwest::Error) -> HttpError {
    HttpError::Network { url: url.clone(), reason: reason_of(error) }
}

/// Returns the innermost cause, which says most; the outer ones repeat the URL, query and all.
fn reason_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {QUIET:?}");
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request is wrong".to_owned(), ToString::to_string)
}

fn filename(headers: &HeaderMap, url: &HttpUrl) -> String {
    let base = |name: &str| {
        let name = name.rsplit(['/', '\\']).next().unwrap_or("");
        let is_name = !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control);
        is_name.then(|| name.to_owned())
    };
    let disposition = header(headers, CONTENT_DISPOSITION).unwrap_or_default();
    let given = disposition.split(';').filter_map(|field| field.trim().split_once('='));
    let given = given.filter(|(key, _)| key.trim().eq_ignore_ascii_case("filename"));
    let given = given.map(|(_, value)| value.trim().trim_matches('"')).next();
    let of_url = || Url::parse(&url.0).ok().and_then(|url| base(url.path()));
    given.and_then(base).or_else(of_url).unwrap_or_else(|| "download".to_owned())
}

fn modified(headers: &HeaderMap) -> Option<i64> {
    let text = header(headers, LAST_MODIFIED)?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second())
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_server_then_by_the_url() {
        let named = |disposition: Option<&str>, url: &str| {
            let mut headers = HeaderMap::new();
            if let Some(disposition) = disposition {
                headers.insert(CONTENT_DISPOSITION, disposition.parse().expect("a header"));
            }
            filename(&headers, &HttpUrl(url.to_owned()))
        };
        assert_eq!(named(Some("attachment; filename=\"a.tgz\""), "http://h/x"), "a.tgz");
        assert_eq!(named(Some("attachment; filename=\"../../etc/passwd\""), "http://h/x"), "passwd");
        assert_eq!(named(Some("attachment; filename=\"..\""), "http://h/x/y.bin?z=1"), "y.bin");
        assert_eq!(named(None, "http://h/"), "download");
    }

    #[test]
    fn a_modification_time_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_MODIFIED, "Tue, 15 Nov 1994 12:45:26 GMT".parse().expect("a header"));
        assert_eq!(modified(&headers), Some(784_903_526));
    }
}
