//! A proxy before a registry: it counts what is sent, and spoils what a script says.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and with the pause in seconds that the client is to make; the registry never
    /// hears of it.
    Status(u16, Option<u64>),
    /// The connection ends before the registry hears of it.
    Reset,
    /// The connection ends in the middle of the request's body; the registry gets that half.
    CutRequest,
    /// The registry does what it is asked, and its answer is lost.
    LoseAnswer,
    /// The body, of request and answer, comes in drops.
    Slow,
    /// The answer's body ends in its middle.
    CutAnswer,
    /// The answer has another byte in its middle, and another digest in its header.
    Spoil,
    /// The token that it comes with is no longer good.
    Expire,
    /// Nothing is answered until the client goes away.
    Hang,
}

/// A request, as scripts and tests see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Bytes of its body.
    pub length: u64,
}

impl Asked {
    /// Says whether it carries (a part of) a blob to the registry.
    pub fn is_upload(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "PATCH") && self.path.contains("/blobs/uploads/")
    }

    /// Says whether it sets a tag.
    pub fn is_tag(&self) -> bool {
        self.method == "PUT" && self.path.contains("/manifests/") && !self.path.contains("/manifests/sha256:")
    }

    /// `METHOD /path` without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }

    /// Repository and digest of the blob that it completes.
    fn completes(&self) -> Option<String> {
        let repository = self.path.strip_prefix("/v2/")?.split_once("/blobs/uploads/")?.0;
        let digest = self.path.rsplit_once("digest=")?.1.replace("%3A", ":");
        (self.method == "PUT").then(|| format!("{repository} {digest}"))
    }
}

type Script = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    asked: Vec<Asked>,
    /// Blobs whose `201 Created` the client got.
    acknowledged: BTreeSet<String>,
    /// Those that it sent again all the same.
    sent_again: Vec<String>,
    n_faults: usize,
    /// How many tokens were given out, where one is wanted.
    n_tokens: Option<usize>,
    /// Those that are no longer good.
    expired: BTreeSet<String>,
}

/// A running proxy; its threads end with the process.
#[derive(Clone)]
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    upstream: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Starts one before the registry at `upstream`.
    pub fn start(upstream: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let proxy = Proxy { host, upstream: upstream.to_owned(), state: Arc::default() };
        let server = proxy.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // Whoever goes away is no failure of the proxy.
                std::thread::spawn(move || _ = server.serve(&stream));
            }
        });
        proxy
    }

    /// Lets `script` say what happens to each request from now on; the question which protocol is spoken is left out.
    pub fn script(&self, script: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        self.state().script = Some(Box::new(script));
    }

    /// Spoils nothing from now on.
    pub fn calm(&self) {
        self.state().script = None;
    }

    /// Wants a token for everything, which it gives to all who ask.
    pub fn require_tokens(&self) {
        self.state().n_tokens = Some(0);
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Blobs that were sent although their arrival had been acknowledged, by repository and digest.
    pub fn sent_again(&self) -> Vec<String> {
        self.state().sent_again.clone()
    }

    pub fn n_faults(&self) -> usize {
        self.state().n_faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn serve(&self, client: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 16, client);
        let Some(request) = Head::read(&mut reader)? else { return Ok(()) };
        let mut words = request.lines[0].split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let asked = Asked { method, path, length: request.length };
        if asked.path.starts_with("/token") {
            return self.give_token(client);
        }
        if !self.has_token(&request) {
            return self.refuse(client, &mut reader);
        }
        let fault = self.note(&asked);
        match fault {
            Some(Fault::Reset) => return client.shutdown(Shutdown::Both),
            Some(Fault::Hang) => return std::io::copy(&mut reader, &mut std::io::sink()).map(drop),
            Some(Fault::Status(status, pause)) => {
                let pause = pause.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
                return answer(client, &mut reader, &format!("{status} No\r\n{pause}"), "");
            }
            Some(Fault::Expire) => {
                self.state().expired.extend(request.token().map(str::to_owned));
                return self.refuse(client, &mut reader);
            }
            _ => {}
        }
        let registry = TcpStream::connect(&self.upstream)?;
        request.write(&mut &registry, "Connection: close")?;
        let length = if fault == Some(Fault::CutRequest) { request.length / 2 } else { request.length };
        pass(&mut (&mut reader).take(length), &mut &registry, fault)?;
        if fault == Some(Fault::CutRequest) {
            registry.shutdown(Shutdown::Both)?;
            return client.shutdown(Shutdown::Both);
        }
        self.answer_from(&registry, client, &asked, fault)
    }

    /// Passes the registry's answer on.
    fn answer_from(
        &self,
        registry: &TcpStream,
        mut client: &TcpStream,
        asked: &Asked,
        fault: Option<Fault>,
    ) -> std::io::Result<()> {
        let mut reader = BufReader::new(registry);
        let Some(mut head) = Head::read(&mut reader)? else { return client.shutdown(Shutdown::Both) };
        let mut body = Vec::new();
        if asked.method != "HEAD" {
            reader.read_to_end(&mut body)?;
        }
        match fault {
            Some(Fault::LoseAnswer) => return client.shutdown(Shutdown::Both),
            Some(Fault::Spoil) => {
                let middle = body.len() / 2;
                body.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
                head.lines.retain(|line| !line.to_lowercase().starts_with("docker-content-digest"));
                head.lines.push(format!("Docker-Content-Digest: sha256:{}", "0".repeat(64)));
            }
            Some(Fault::CutAnswer) => body.truncate(body.len() / 2),
            _ => {}
        }
        head.write(&mut client, "Connection: close")?;
        pass(&mut &body[..], &mut client, fault)?;
        if head.lines[0].contains(" 201 ")
            && let Some(blob) = asked.completes()
        {
            self.state().acknowledged.insert(blob);
        }
        client.shutdown(Shutdown::Both)
    }

    /// Notes a request and returns what is to happen to it.
    fn note(&self, asked: &Asked) -> Option<Fault> {
        let state = &mut *self.state();
        if asked.path == "/v2/" {
            return None;
        }
        state.asked.push(asked.clone());
        if let Some(blob) = asked.completes().filter(|blob| state.acknowledged.contains(blob)) {
            state.sent_again.push(blob);
        }
        let fault = state.script.as_mut().and_then(|script| script(asked));
        state.n_faults += usize::from(fault.is_some());
        fault
    }

    fn give_token(&self, mut client: &TcpStream) -> std::io::Result<()> {
        let mut state = self.state();
        let n = state.n_tokens.as_mut().map_or(0, |given| {
            *given += 1;
            *given
        });
        drop(state);
        let body = format!("{{\"token\":\"token-{n}\",\"expires_in\":300}}");
        write!(client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn has_token(&self, request: &Head) -> bool {
        let state = self.state();
        let token = request.token();
        state.n_tokens.is_none() || token.is_some_and(|token| !state.expired.contains(token))
    }

    fn refuse(&self, client: &TcpStream, reader: &mut impl BufRead) -> std::io::Result<()> {
        let scope = "scope=\"repository:any:pull,push\"";
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"test\",{scope}", self.host);
        answer(client, reader, &format!("401 Unauthorized\r\n{challenge}\r\n"), "{}")
    }
}

/// Answers as Go's server does: what the client is still sending is read for a moment, so that it sees the answer.
fn answer(mut client: &TcpStream, reader: &mut impl BufRead, status: &str, body: &str) -> std::io::Result<()> {
    write!(client, "HTTP/1.1 {status}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(Duration::from_millis(500)))?;
    _ = std::io::copy(&mut reader.take(256 << 10), &mut std::io::sink());
    Ok(())
}

/// Copies all of `from`; in drops, if it is to be slow.
fn pass(from: &mut impl Read, to: &mut impl Write, fault: Option<Fault>) -> std::io::Result<()> {
    if fault != Some(Fault::Slow) {
        return std::io::copy(from, to).map(drop);
    }
    let mut drop = [0; 64 << 10];
    loop {
        let n = from.read(&mut drop)?;
        if n == 0 {
            return Ok(());
        }
        for part in drop[..n].chunks(n.div_ceil(4)) {
            to.write_all(part)?;
            to.flush()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The first line and the headers of a request or answer.
struct Head {
    lines: Vec<String>,
    /// Bytes of the body.
    length: u64,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
        let mut head = Head { lines: Vec::new(), length: 0 };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                head.length = head.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
                return Ok(Some(head));
            }
            head.lines.push(line.trim_end().to_owned());
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.lines.iter().skip(1).filter_map(|line| line.split_once(':'));
        headers.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// Writes it with `more` in place of what it says of the connection.
    fn write(&self, to: &mut impl Write, more: &str) -> std::io::Result<()> {
        let lines = self.lines.iter().filter(|line| !line.to_lowercase().starts_with("connection:"));
        let text: String = lines.map(|line| format!("{line}\r\n")).collect();
        to.write_all(format!("{text}{more}\r\n\r\n").as_bytes())
    }
}
