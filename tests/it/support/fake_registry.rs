//! A registry on 127.0.0.1 that keeps blobs and manifests in memory, records requests, and fails on demand.
//!
//! It speaks as much of distribution-spec v1.1 as a client needs. One thread for each connection; they end with the test
//! process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bake::digest::Digest;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// `METHOD /path`, without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after this many bytes of the body, whatever its length is said to be.
    pub cut_after: Option<usize>,
}

impl Response {
    pub fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new(), cut_after: None }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Response {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    pub fn cut_after(mut self, n: usize) -> Response {
        self.cut_after = Some(n);
        self
    }
}

/// What a client has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    Nobody,
    Basic {
        user: &'static str,
        password: &'static str,
    },
    /// Tokens come from `realm`, which answers as this registry's own `/token` does.
    Bearer {
        realm: String,
    },
}

type Fault = Box<dyn FnMut(&Request, &mut Storage) -> Option<Response> + Send>;

/// What the registry holds.
#[derive(Default)]
pub struct Storage {
    /// By repository and digest.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest: media type and bytes.
    pub manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// By repository: what its only upload has so far.
    pub uploads: BTreeMap<String, Vec<u8>>,
}

struct State {
    storage: Storage,
    requests: Vec<Request>,
    faults: Vec<Fault>,
    login: Login,
}

/// The registry. Dropping it leaves the port open until the process ends; tests are short.
#[derive(Clone)]
pub struct FakeRegistry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    /// Starts an empty registry that anyone may use.
    pub fn start() -> FakeRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let host = listener.local_addr().expect("bound").to_string();
        let (storage, login) = (Storage::default(), Login::Nobody);
        let state = Arc::new(Mutex::new(State { storage, requests: Vec::new(), faults: Vec::new(), login }));
        let registry = FakeRegistry { host, state };
        let server = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        registry
    }

    pub fn require(&self, login: Login) {
        self.state().login = login;
    }

    /// Adds a fault. Before the registry answers, each fault may answer instead; the first that does wins.
    pub fn fault(&self, fault: impl FnMut(&Request, &mut Storage) -> Option<Response> + Send + 'static) {
        self.state().faults.push(Box::new(fault));
    }

    /// Answers the first `n` requests whose line starts with `line` by `response`.
    pub fn fail_times(&self, n: usize, line: &str, response: Response) {
        let (mut left, line) = (n, line.to_owned());
        self.fault(move |request, _| {
            let is_meant = left > 0 && request.line().starts_with(&line);
            left -= usize::from(is_meant);
            is_meant.then(|| response.clone())
        });
    }

    /// The requests so far, without the client's question which protocol is spoken.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.iter().filter(|request| request.path() != "/v2/").cloned().collect()
    }

    /// Their lines.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }

    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().storage.blobs.insert((repository.to_owned(), digest.to_string()), bytes.to_vec());
        digest
    }

    pub fn blob(&self, repository: &str, digest: Digest) -> Option<Vec<u8>> {
        self.state().storage.blobs.get(&(repository.to_owned(), digest.to_string())).cloned()
    }

    /// Puts a manifest under a tag and under its digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for key in [tag.to_owned(), digest.to_string()] {
            let value = (media_type.to_owned(), bytes.to_vec());
            self.state().storage.manifests.insert((repository.to_owned(), key), value);
        }
        digest
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Serves one connection until the client closes it.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader, &mut writer) {
            let response = self.answer(&request);
            let is_cut = response.cut_after.is_some();
            if write_response(&mut writer, &request, &response).is_none() || is_cut {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> Response {
        let state = &mut *self.state();
        state.requests.push(request.clone());
        let storage = &mut state.storage;
        // The question which protocol is spoken is always answered: faults count what tests ask for.
        if request.path() == "/v2/" {
            let here = Response::new(200).header("Docker-Distribution-Api-Version", "registry/2.0");
            return challenge(&state.login, request).unwrap_or(here);
        }
        if let Some(response) = state.faults.iter_mut().find_map(|fault| fault(request, storage)) {
            return response;
        }
        if request.path() == "/token" {
            return token(request);
        }
        match challenge(&state.login, request) {
            Some(refusal) => refusal,
            None => route(request, storage),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.contains_key("expect") {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let size = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; size];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body })
}

fn write_response(writer: &mut TcpStream, request: &Request, response: &Response) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} x\r\n", response.status);
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !response.headers.iter().any(|(name, _)| name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", response.body.len());
    }
    let mut message = format!("{head}\r\n").into_bytes();
    if request.method != "HEAD" {
        let end = response.cut_after.unwrap_or(response.body.len()).min(response.body.len());
        message.extend_from_slice(&response.body[..end]);
    }
    writer.write_all(&message).ok()
}

/// Gives out a token that says what it is for.
fn token(request: &Request) -> Response {
    let scopes: Vec<&str> = request.target.split(['?', '&']).filter_map(|pair| pair.strip_prefix("scope=")).collect();
    let scopes = scopes.join("+").replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let body = format!(r#"{{"token":"token-for-{scopes}","expires_in":300}}"#);
    Response::new(200).header("Content-Type", "application/json").body(body)
}

/// Returns the refusal of a request that does not show what it has to.
fn challenge(login: &Login, request: &Request) -> Option<Response> {
    let shown = request.header("authorization").unwrap_or_default();
    let refusal =
        Response::new(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#);
    match login {
        Login::Nobody => None,
        Login::Basic { user, password } => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            (shown != format!("Basic {text}")).then(|| refusal.header("WWW-Authenticate", "Basic realm=\"fake\""))
        }
        Login::Bearer { realm } => {
            let words: Vec<&str> = request.path().trim_start_matches("/v2/").split('/').collect();
            let end = words.iter().position(|w| ["blobs", "manifests"].contains(w)).unwrap_or(0);
            let repository = words[..end].join("/");
            let actions = if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "pull,push" };
            let scope = format!("repository:{repository}:{actions}");
            let (scope, named) = match request.path() {
                "/v2/" => (String::new(), String::new()),
                _ => (scope.clone(), format!(",scope=\"{scope}\"")),
            };
            let is_enough = shown.starts_with("Bearer token-for-") && shown.contains(&scope);
            let header = format!("Bearer realm=\"{realm}\",service=\"fake\"{named}");
            (!is_enough).then(|| refusal.header("WWW-Authenticate", header))
        }
    }
}

fn route(request: &Request, storage: &mut Storage) -> Response {
    let Some(path) = request.path().strip_prefix("/v2/") else { return not_found("NAME_UNKNOWN") };
    let split = |by: &str| path.split_once(by).map(|(repository, key)| (repository.to_owned(), key.to_owned()));
    if let Some((repository, session)) = split("/blobs/uploads/") {
        return upload(request, storage, &repository, &session);
    }
    if let Some(key) = split("/blobs/") {
        return match storage.blobs.get(&key) {
            Some(bytes) => content(request, bytes, "application/octet-stream"),
            None => not_found("BLOB_UNKNOWN"),
        };
    }
    let Some(key) = split("/manifests/") else { return not_found("NAME_UNKNOWN") };
    if request.method == "PUT" {
        let digest = Digest::of(&request.body).to_string();
        let value = (request.header("content-type").unwrap_or_default().to_owned(), request.body.clone());
        storage.manifests.insert((key.0.clone(), digest.clone()), value.clone());
        storage.manifests.insert(key, value);
        return Response::new(201).header("Docker-Content-Digest", digest);
    }
    match storage.manifests.get(&key) {
        Some((media_type, bytes)) => {
            content(request, bytes, media_type).header("Docker-Content-Digest", Digest::of(bytes))
        }
        None => not_found("MANIFEST_UNKNOWN"),
    }
}

fn upload(request: &Request, storage: &mut Storage, repository: &str, session: &str) -> Response {
    match (request.method.as_str(), session) {
        ("POST", "") => {
            if let (Some(digest), Some(from)) = (request.query("mount"), request.query("from"))
                && let Some(bytes) = storage.blobs.get(&(from, digest.clone())).cloned()
            {
                storage.blobs.insert((repository.to_owned(), digest), bytes);
                return Response::new(201);
            }
            storage.uploads.insert(repository.to_owned(), Vec::new());
            upload_stands(202, repository, 0)
        }
        ("PATCH" | "PUT", _) => {
            if request.method == "PATCH" && !storage.uploads.contains_key(repository) {
                return not_found("BLOB_UPLOAD_UNKNOWN");
            }
            let upload = storage.uploads.entry(repository.to_owned()).or_default();
            match request.header("content-range").map(|range| range.split('-').next().unwrap_or("").parse()) {
                Some(begin) if begin != Ok(upload.len()) => return upload_stands(416, repository, upload.len()),
                None if !request.body.is_empty() => upload.clear(),
                _ => {}
            }
            upload.extend_from_slice(&request.body);
            if request.method == "PATCH" {
                return upload_stands(202, repository, upload.len());
            }
            let (digest, bytes) = (request.query("digest").unwrap_or_default(), storage.uploads.remove(repository));
            let bytes = bytes.unwrap_or_default();
            if Digest::of(&bytes).to_string() != digest {
                return Response::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"wrong digest"}]}"#);
            }
            storage.blobs.insert((repository.to_owned(), digest), bytes);
            Response::new(201)
        }
        ("GET", _) => match storage.uploads.get(repository) {
            Some(upload) => upload_stands(204, repository, upload.len()),
            None => not_found("BLOB_UPLOAD_UNKNOWN"),
        },
        ("DELETE", _) => Response::new(204),
        _ => Response::new(405),
    }
}

/// Says how much an upload has.
fn upload_stands(status: u16, repository: &str, n_bytes: usize) -> Response {
    let location = format!("/v2/{repository}/blobs/uploads/1?_state=secret-state");
    Response::new(status).header("Location", location).header("Range", format!("0-{}", n_bytes.saturating_sub(1)))
}

/// Serves bytes, or a part of them from an offset on.
pub fn content(request: &Request, bytes: &[u8], media_type: &str) -> Response {
    let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, start): (u16, usize) = start.map_or((200, 0), |start: usize| (206, start.min(bytes.len())));
    let response = Response::new(status).header("Content-Type", media_type);
    let length = bytes.len() - start;
    let response = response.header("Content-Length", length).body(&bytes[start..]);
    match status {
        206 => response.header("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        _ => response,
    }
}

fn not_found(code: &str) -> Response {
    Response::new(404).body(format!(r#"{{"errors":[{{"code":"{code}","message":"unknown"}}]}}"#))
}
