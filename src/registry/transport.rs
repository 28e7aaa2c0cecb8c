//! One HTTP request at a time, with the rules that keep credentials where they belong.
//!
//! In: a [`Call`]. Out: an answer with its status, or why there is none. Redirects are followed here and not by the
//! HTTP library: `Authorization` goes to the origin (scheme, host, port) it was made for and nowhere else, and no redirect
//! leads from HTTPS to HTTP, nor to HTTP on another machine. Knows nothing of registries.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use reqwest::blocking::{Body, Client as HttpClient, ClientBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Identity, Method, Proxy, Url};

use super::error::{NO_SUCH_HOST, is_transient_status, reason_of};
use super::hosts::{Site, Tls};
use super::{Error, Options, Proxies};

pub(super) use super::error::authority;

/// Most redirects that are followed for one call.
const MAX_REDIRECTS: usize = 5;

/// Longest time that is waited between two attempts, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Most bytes of a file with certificates.
const MAX_PEM_SIZE: u64 = 16 << 20;

/// Slowest upload that is waited for, bytes in a second; slower means broken.
const SLOWEST_UPLOAD: u64 = 16 << 10;

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    /// Nothing.
    None,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A stream that can be opened again for another attempt.
    Stream { open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>, size: u64, on_progress: &'a dyn Fn(u64) },
}

/// A request before its credentials.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload<'a>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: Url) -> Call<'a> {
        Call { method, url, headers: Vec::new(), payload: Payload::None }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Call<'a> {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn payload(mut self, payload: Payload<'a>) -> Call<'a> {
        self.payload = payload;
        self
    }

    /// Returns an error about what the server did.
    pub(super) fn protocol_error(&self, reason: impl Into<String>) -> Error {
        Error::Protocol { method: self.method.clone(), url: (&self.url).into(), reason: reason.into() }
    }
}

/// An answer and the server that gave it.
pub(super) struct Answer {
    pub(super) response: Response,
    /// The URL that answered, after redirects.
    pub(super) url: Url,
}

/// Reads the first 64 KiB of a body, as far as they come.
pub(super) fn read_start(answer: Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before the connection broke is still worth showing.
    _ = answer.response.take(64 << 10).read_to_end(&mut bytes);
    bytes
}

/// Why there is nobody to send a call by.
#[derive(Clone)]
enum Unusable {
    /// A file with a certificate or key is wrong.
    File(PathBuf, String),
    /// The HTTP library gives up.
    Other(String),
}

/// Sends calls. Connections are kept and shared by all threads.
pub(super) struct Transport {
    user_agent: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    attempts: u32,
    first_pause: Duration,
    extra_roots: Vec<u8>,
    proxies: Proxies,
    cancelled: Arc<AtomicBool>,
    /// For plain HTTP on this machine: without TLS, so that no certificate is ever loaded.
    plain: OnceLock<Result<HttpClient, String>>,
    /// For everything else, made at the first need: the system's certificates take a while to load.
    others: Mutex<BTreeMap<Tls, Arc<Made>>>,
}

/// A client, made at the first need; or why it cannot be.
type Made = OnceLock<Result<HttpClient, Unusable>>;

impl Transport {
    pub(super) fn new(options: &Options) -> Transport {
        Transport {
            user_agent: options.user_agent.clone(),
            connect_timeout: options.connect_timeout,
            read_timeout: options.read_timeout,
            attempts: options.attempts.max(1),
            first_pause: options.first_pause,
            extra_roots: options.extra_roots.clone(),
            proxies: options.proxies.clone(),
            cancelled: Arc::clone(&options.cancelled),
            plain: OnceLock::new(),
            others: Mutex::default(),
        }
    }

    /// Fails once the user has stopped the build.
    pub(super) fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Repeats `attempt` while its answer or error is transient and attempts are left. Returns the last one's.
    pub(super) fn retrying(&self, mut attempt: impl FnMut() -> Result<Answer, Error>) -> Result<Answer, Error> {
        let mut failures = 0;
        loop {
            let result = attempt();
            let asked = match &result {
                Ok(answer) if is_transient_status(answer.response.status().as_u16()) => retry_after(&answer.response),
                Err(error) if error.is_transient() => None,
                _ => return result,
            };
            failures += 1;
            if failures >= self.attempts {
                return result;
            }
            // A body that was read to its end frees its connection for the next attempt.
            _ = result.map(read_start);
            self.pause(asked.unwrap_or_else(|| self.pause_after(failures)))?;
        }
    }

    /// Pauses after the failure number `failures` (1 for the first); fails with `error` if that was the last attempt.
    pub(super) fn pause_or_give_up(&self, failures: u32, error: impl FnOnce() -> Error) -> Result<(), Error> {
        self.pause_as_asked(failures, None, error)
    }

    /// As [`Transport::pause_or_give_up`], for as long as the server `asked` for, if it did.
    pub(super) fn pause_as_asked(
        &self,
        failures: u32,
        asked: Option<Duration>,
        error: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        if failures >= self.attempts {
            return Err(error());
        }
        self.pause(asked.unwrap_or_else(|| self.pause_after(failures)))
    }

    fn pause_after(&self, failures: u32) -> Duration {
        self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
    }

    /// Sleeps, in slices short enough to stop soon.
    fn pause(&self, duration: Duration) -> Result<(), Error> {
        const SLICE: Duration = Duration::from_millis(50);
        let mut left = duration;
        while !left.is_zero() {
            self.check_cancelled()?;
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
        self.check_cancelled()
    }

    /// Sends `call` as it is done with `site` and follows redirects. `authorization` goes to the origin of `call.url` alone.
    pub(super) fn send(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
        site: &Site,
    ) -> Result<Answer, Error> {
        let origin = call.url.origin();
        let mut call = call.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send_once(&call, authorization.filter(|_| call.url.origin() == origin), site)?;
            let Some(target) = redirect_target(&call, &answer, site)? else { return Ok(answer) };
            call.url = target;
        }
        Err(call.protocol_error(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Sends `call` and returns the answer as it is, a redirect included.
    pub(super) fn send_once(
        &self,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
        site: &Site,
    ) -> Result<Answer, Error> {
        self.check_cancelled()?;
        if !is_allowed(&call.url) && !site.allows_plain(&call.url) {
            return Err(call.protocol_error("plain HTTP is used on this machine and where it is configured only"));
        }
        let mut request = self.client_for(&call.url, site)?.request(call.method.clone(), call.url.clone());
        for (name, value) in site.headers.iter().filter(|_| site.is_at(&call.url)) {
            if authorization.is_none() || name != AUTHORIZATION {
                request = request.header(name, value);
            }
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let result = match call.payload {
            // A server may insist on the length of a body that is not there.
            Payload::None if matches!(call.method, Method::POST | Method::PUT) => {
                request.header(CONTENT_LENGTH, "0").send()
            }
            Payload::None => request.send(),
            Payload::Bytes(bytes) => request.body(bytes.to_vec()).send(),
            Payload::Stream { open, size, on_progress } => {
                let reader =
                    open().map_err(|source| Error::Local { verb: "read", what: "a blob".to_owned(), source })?;
                let (sender, progress) = mpsc::channel();
                let cancelled = Arc::clone(&self.cancelled);
                // A source that is longer than it said would make the library write past the length it announced.
                let inner = BufReader::with_capacity(256 << 10, reader.take(size));
                let reader = Reporting { inner, sent: 0, sender, cancelled };
                let timeout = self.read_timeout + Duration::from_secs(size / SLOWEST_UPLOAD);
                let request = request.body(Body::sized(reader, size)).timeout(timeout);
                // The library keeps the sending thread busy; this one tells the progress until the body is dropped.
                std::thread::scope(|scope| {
                    let sending = scope.spawn(|| request.send());
                    progress.iter().for_each(on_progress);
                    sending.join().expect("the HTTP library does not panic")
                })
            }
        };
        self.check_cancelled()?;
        let response = result.map_err(|error| self.failure(call, &error))?;
        Ok(Answer { url: call.url.clone(), response })
    }

    fn failure(&self, call: &Call<'_>, error: &reqwest::Error) -> Error {
        let reason = match reason_of(error).as_str() {
            "timed out" if error.is_connect() => format!("no connection within {:?}", self.connect_timeout),
            "timed out" => format!("no answer within {:?}", self.read_timeout),
            other => other.to_owned(),
        };
        if error.is_connect() || error.is_timeout() {
            let is_refused_here = error.is_connect() && is_loopback(&call.url);
            let is_lasting = is_refused_here || reason == NO_SUCH_HOST || reason.contains("certificate");
            return Error::Unreachable { registry: authority(&call.url), reason, is_lasting };
        }
        Error::Interrupted { method: call.method.clone(), url: (&call.url).into(), reason }
    }

    fn client_for(&self, url: &Url, site: &Site) -> Result<HttpClient, Error> {
        let client = if url.scheme() == "http" && is_loopback(url) {
            self.plain.get_or_init(|| self.plain_client()).clone().map_err(Unusable::Other)
        } else {
            let tls = site.tls(url);
            let slot = {
                let mut others = self.others.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                Arc::clone(others.entry(tls.clone()).or_default())
            };
            slot.get_or_init(|| self.tls_client(&tls)).clone()
        };
        client.map_err(|why| match why {
            Unusable::File(path, reason) => Error::Settings { path, reason },
            Unusable::Other(reason) => Error::Unreachable { registry: authority(url), reason, is_lasting: true },
        })
    }

    fn builder(&self) -> ClientBuilder {
        HttpClient::builder()
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .timeout(self.read_timeout)
            .tcp_nodelay(true)
    }

    fn plain_client(&self) -> Result<HttpClient, String> {
        install_crypto();
        let tls = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
        // No proxy can reach what listens on this machine.
        let builder = self.builder().no_proxy().tls_backend_preconfigured(tls.with_no_client_auth());
        builder.build().map_err(|error| reason_of(&error))
    }

    fn tls_client(&self, tls: &Tls) -> Result<HttpClient, Unusable> {
        install_crypto();
        let other = |error: reqwest::Error| Unusable::Other(reason_of(&error));
        let mut roots = Certificate::from_pem_bundle(&self.extra_roots).map_err(other)?;
        for path in &tls.roots {
            let found = Certificate::from_pem_bundle(&read_pem(path)?).unwrap_or_default();
            if found.is_empty() {
                return Err(Unusable::File(path.clone(), "it has no certificate in PEM".to_owned()));
            }
            roots.extend(found);
        }
        let proxies = self.proxies.clone();
        let mut builder = self.builder().no_proxy().proxy(Proxy::custom(move |url| proxies.of(url)));
        for root in roots {
            builder = builder.add_root_certificate(root);
        }
        if let Some((certificate, key)) = &tls.identity {
            let pem = [read_pem(certificate)?, read_pem(key)?].join(&b'\n');
            let wrong = |_| Unusable::File(certificate.clone(), "it and its key are no certificate in PEM".to_owned());
            builder = builder.identity(Identity::from_pem(&pem).map_err(wrong)?);
        }
        builder.danger_accept_invalid_certs(tls.is_unverified).build().map_err(other)
    }
}

/// Reads a file with certificates or a key.
fn read_pem(path: &Path) -> Result<Vec<u8>, Unusable> {
    let wrong = |error: io::Error| Unusable::File(path.to_owned(), error.to_string());
    #[expect(clippy::disallowed_methods, reason = "this row may read files; these are the host's, not the build's")]
    let file = std::fs::File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(MAX_PEM_SIZE).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

/// Returns the pause that an answer asks for: in seconds, or up to a date, which counts from the date that the answer itself
/// has. No clock is looked at.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let asked = header(RETRY_AFTER)?.trim();
    let pause = match asked.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let [until, now] = [Some(asked), header(DATE)].map(|text| jiff::fmt::rfc2822::parse(text?).ok());
            let seconds = until?.timestamp().as_second() - now?.timestamp().as_second();
            Duration::from_secs(seconds.try_into().unwrap_or(0))
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

fn install_crypto() {
    // An error means that it is installed already.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// Says whether a URL may be talked to at all: HTTPS, or HTTP on this machine.
pub(super) fn is_allowed(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Says whether a URL's host is this machine by name or address; no name is looked up.
pub(super) fn is_loopback(url: &Url) -> bool {
    match address(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

/// Returns a URL's host if it is an address and not a name.
pub(super) fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Returns where an answer redirects to; `None` if it does not, or if its method may not be repeated there.
fn redirect_target(call: &Call<'_>, answer: &Answer, site: &Site) -> Result<Option<Url>, Error> {
    let is_read = matches!(call.method, Method::GET | Method::HEAD);
    match answer.response.status().as_u16() {
        307 | 308 => {}
        301..=303 if is_read => {}
        _ => return Ok(None),
    }
    let target = location(call, &answer.response)?;
    if target.scheme() == "http" && !is_allowed(&target) && !site.allows_plain(&target) {
        return Err(call.protocol_error(format!("it leads to {}, which is not HTTPS", authority(&target))));
    }
    Ok(Some(target))
}

/// Returns the checked `Location` of an answer, resolved against the URL that was asked.
pub(super) fn location(call: &Call<'_>, response: &Response) -> Result<Url, Error> {
    let header = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let header = header.ok_or_else(|| call.protocol_error("the answer has no Location"))?;
    let mut target = call.url.join(header).map_err(|_| call.protocol_error("the answer's Location is no URL"))?;
    // Some registries behind a proxy name themselves with the wrong scheme; the right one is known.
    if target.scheme() == "http" && call.url.scheme() == "https" && target.host() == call.url.host() {
        let is_default_port = target.port_or_known_default() == Some(80);
        _ = target.set_scheme("https");
        if is_default_port {
            _ = target.set_port(call.url.port());
        }
    }
    let is_downgrade = call.url.scheme() == "https" && target.scheme() != "https";
    // From plain HTTP elsewhere, which somebody configured, it goes no further than that host.
    if is_downgrade || (!is_allowed(&target) && target.host() != call.url.host()) {
        return Err(call.protocol_error(format!("it leads to {}, which is not HTTPS", authority(&target))));
    }
    // A user name in a Location is not ours to send.
    if !target.username().is_empty() || target.password().is_some() {
        return Err(call.protocol_error("it leads to a URL with credentials in it"));
    }
    Ok(target)
}

/// Tells how many bytes have been read so far.
struct Reporting<R> {
    inner: BufReader<R>,
    sent: u64,
    sender: mpsc::Sender<u64>,
    cancelled: Arc<AtomicBool>,
}

impl<R: Read> Read for Reporting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let n = self.inner.read(buffer)?;
        // Nobody listening any more is no reason to stop sending.
        self.sent += n as u64;
        _ = self.sender.send(self.sent);
        Ok(n)
    }
}
