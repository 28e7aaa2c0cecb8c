//! HTTP for caches that are no registries. What can be repeated is, at 429, 5xx and broken connections. No redirect is
//! followed, and no query is shown: some are credentials.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder, Response};

use super::CacheError;

/// How often a request is sent.
const N_ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// For an answer to begin, and for each piece of it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes per second of an upload at least.
const SLOWEST_UPLOAD: u64 = 64 << 10;

/// Characters of an error's text that are shown.
const N_SHOWN: usize = 200;

/// Talks to a service; making one costs nothing.
#[derive(Default)]
pub struct Web {
    client: OnceLock<Result<Client, String>>,
    /// Set by whoever stops the build.
    cancelled: Arc<AtomicBool>,
}

impl Web {
    /// Gives up soon after `cancelled` is set.
    pub fn new(cancelled: Arc<AtomicBool>) -> Web {
        Web { client: OnceLock::new(), cancelled }
    }

    /// Sends the request that `make` makes, anew for each attempt. The answer may have any status below 500 but 429; `what`
    /// names the request.
    pub(super) fn send(
        &self,
        what: &str,
        make: &dyn Fn(&Client) -> Result<RequestBuilder, CacheError>,
    ) -> Result<Response, CacheError> {
        let unreachable = |reason: String| CacheError::Unreachable { what: what.to_owned(), reason };
        let client = self.client.get_or_init(client).as_ref().map_err(|reason| unreachable(reason.clone()))?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(unreachable("stopped".to_owned()));
            }
            let last = attempt == N_ATTEMPTS;
            match make(client)?.send() {
                Ok(response) if response.status().as_u16() == 429 || response.status().is_server_error() => {
                    if last {
                        return Err(refusal(what, response));
                    }
                }
                Ok(response) => return Ok(response),
                Err(error) if last || error.is_builder() => return Err(unreachable(reason(&error))),
                Err(_) => {}
            }
            thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }
}

fn client() -> Result<Client, String> {
    // An error means that it is installed already.
    _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("bake/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .timeout(TIMEOUT);
    client.build().map_err(|error| reason(&error))
}

/// Returns the innermost cause: the outer ones name the URL.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(std::ptr::from_ref(cause).cast::<u8>(), std::ptr::from_ref(error).cast::<u8>()) {
        return "the request could not be sent".to_owned();
    }
    cause.to_string()
}

/// Returns how long an upload may take.
pub(super) fn upload_time(size: u64) -> Duration {
    TIMEOUT + Duration::from_secs(size / SLOWEST_UPLOAD)
}

/// Names a request, without query.
pub(super) fn shown(method: &str, url: &Url) -> String {
    let (host, port) = (url.host_str().unwrap_or(""), url.port().map_or(String::new(), |port| format!(":{port}")));
    format!("{method} {}://{host}{port}{}", url.scheme(), url.path())
}

/// Returns the error that an answer without success stands for.
pub(super) fn refusal(what: &str, response: Response) -> CacheError {
    let status = response.status().as_u16();
    let mut text = Vec::new();
    _ = response.take(4 << 10).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    // S3 says its reason in XML, the others in JSON or plain text.
    let reason = text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    let reason = reason.map_or(&*text, |(message, _)| message);
    let detail = reason.chars().filter(|c| !c.is_control()).take(N_SHOWN).collect();
    CacheError::Status { what: what.to_owned(), status, detail }
}

/// Returns an answer's body, which may have `limit` bytes.
pub(super) fn body(what: &str, response: Response, limit: u64) -> Result<Vec<u8>, CacheError> {
    let mut bytes = Vec::new();
    let broken = |error: io::Error| CacheError::Unreachable { what: what.to_owned(), reason: error.to_string() };
    response.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > limit {
        return Err(CacheError::Malformed(format!("{what} answered more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Writes at most `size` bytes of an answer's body to `out`.
pub(super) fn copy(what: &str, response: Response, size: u64, out: &mut dyn Write) -> Result<(), CacheError> {
    let broken = |error: io::Error| CacheError::Unreachable { what: what.to_owned(), reason: error.to_string() };
    io::copy(&mut response.take(size), out).map(drop).map_err(broken)
}
