//! A small HTTP server on loopback: files, redirects, bodies without end, and git repositories through `git http-backend`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a path answers.
#[derive(Clone)]
pub enum Answer {
    /// These bytes, with an entity tag.
    File(Vec<u8>),
    /// What is in this file now, with an entity tag and this `Last-Modified`.
    Changing(PathBuf, &'static str),
    /// These bytes, to those who send this `Authorization`.
    Private(Vec<u8>, String),
    /// This location.
    Redirect(String),
    /// Bytes without end.
    Endless,
    /// The repositories in this directory, to those who send this `Authorization`, if any.
    Git(PathBuf, Option<String>),
}

/// A running server; its thread ends with the process.
pub struct Http {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// What was asked for: method, path, and `Authorization`.
    asked: Arc<Mutex<Vec<String>>>,
    /// Bytes of changing files that were sent.
    sent: Arc<AtomicUsize>,
}

impl Http {
    /// Serves the first answer whose path the request's begins with.
    pub fn start(answers: Vec<(&'static str, Answer)>) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answers) = (Arc::clone(&asked), Arc::new(answers));
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answers, count) = (Arc::clone(&log), Arc::clone(&answers), Arc::clone(&count));
                // A client that goes away is no failure of the server.
                std::thread::spawn(move || _ = serve(&stream, &answers, &log, &count));
            }
        });
        Http { host, asked, sent }
    }

    /// Returns how many bytes of changing files were sent so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns what was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

fn serve(
    mut stream: &TcpStream,
    answers: &[(&str, Answer)],
    log: &Mutex<Vec<String>>,
    sent: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) => _ = headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        }
    }
    let authorization = headers.get("authorization").cloned();
    let shown = authorization.as_ref().map_or(String::new(), |value| format!(" {value}"));
    log.lock().expect("nobody panics").push(format!("{method} {path}{shown}"));
    match answers.iter().find(|(start, _)| path.starts_with(start)).map(|(_, answer)| answer) {
        Some(Answer::File(bytes)) => {
            let etag = format!("\"{}\"", bytes.len());
            if headers.get("if-none-match") == Some(&etag) {
                return write!(stream, "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
            }
            let length = bytes.len();
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: {etag}\r\nContent-Length: {length}\r\n\r\n")?;
            stream.write_all(bytes)
        }
        Some(Answer::Changing(path, modified)) => {
            let bytes = std::fs::read(path)?;
            let etag =
                format!("\"{:x}\"", bytes.iter().fold(7_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte)));
            if headers.get("if-none-match") == Some(&etag) {
                return write!(stream, "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
            }
            let length = bytes.len();
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: {etag}\r\nLast-Modified: {modified}\r\n")?;
            write!(stream, "Content-Disposition: attachment; filename=other\r\nContent-Length: {length}\r\n\r\n")?;
            sent.fetch_add(length, Ordering::Relaxed);
            stream.write_all(&bytes)
        }
        Some(Answer::Private(_, wanted)) if authorization.as_ref() != Some(wanted) => {
            write!(stream, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        Some(Answer::Private(bytes, _)) => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len())?;
            stream.write_all(bytes)
        }
        Some(Answer::Redirect(to)) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}{}\r\nContent-Length: 0\r\n\r\n",
            path.split_once("+").map_or("", |(_, rest)| rest)
        ),
        Some(Answer::Endless) => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'#'; 65536])?;
            }
        }
        Some(Answer::Git(_, Some(wanted))) if authorization.as_ref() != Some(wanted) => write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        ),
        Some(Answer::Git(root, _)) => git(stream, &mut reader, root, &method, &path, &headers),
        None => write!(stream, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    }
}

/// Answers by CGI (`git-http-backend(1)`).
fn git(
    mut stream: &TcpStream,
    reader: &mut impl BufRead,
    root: &Path,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let mut body = Vec::new();
    match header("content-length").parse() {
        Ok(length) => _ = reader.take(length).read_to_end(&mut body)?,
        Err(_) if header("transfer-encoding") == "chunked" => loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            reader.take(length).read_to_end(&mut body)?;
            reader.read_line(&mut line)?;
            if length == 0 {
                break;
            }
        },
        Err(_) => {}
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .envs([("GIT_PROJECT_ROOT", root.as_os_str())])
        .envs([("PATH_INFO", path), ("QUERY_STRING", query), ("REQUEST_METHOD", method)])
        .envs([("CONTENT_TYPE", header("content-type")), ("HTTP_CONTENT_ENCODING", header("content-encoding"))])
        .envs([("GIT_PROTOCOL", header("git-protocol")), ("GIT_HTTP_EXPORT_ALL", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("piped").write_all(&body)?;
    let output = child.wait_with_output()?.stdout;
    let status = match output.starts_with(b"Status: ") {
        true => String::from_utf8_lossy(&output[8..11]).into_owned(),
        false => "200".to_owned(),
    };
    write!(stream, "HTTP/1.1 {status} From CGI\r\nConnection: close\r\n")?;
    stream.write_all(&output)
}

/// A git repository with files; each change is a commit.
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes `root/NAME`, a repository with a branch `main`.
    pub fn new(root: &Path, name: &str) -> Repository {
        let path = root.join(name);
        std::fs::create_dir_all(&path).expect("created");
        let repository = Repository { path };
        repository.git(&["init", "--quiet", "-b", "main"]);
        repository
    }

    /// Writes files and commits them; returns the commit.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.path.join(name);
            std::fs::create_dir_all(path.parent().expect("below the repository")).expect("created");
            match text.strip_prefix("-> ") {
                Some(to) => std::os::unix::fs::symlink(to, path).expect("linked"),
                None => std::fs::write(path, text).expect("written"),
            }
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .current_dir(&self.path)
            .output()
            .expect("git starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
