//! An S3 service with one bucket and the cache service of GitHub Actions, on loopback. Both refuse what is not signed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bake::digest::Digest;

pub const ACCESS_KEY: &str = "AKIDTEST";
pub const SECRET_KEY: &str = "very/secret+key";
pub const SESSION_TOKEN: &str = "session-token-of-the-test";
pub const RUNTIME_TOKEN: &str = "runtime-token-of-the-test";

/// A running service; its thread ends with the process.
#[derive(Clone)]
pub struct Bucket {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// By path; entries of the cache service under their keys.
    pub objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// What was wrong with requests.
    pub complaints: Arc<Mutex<Vec<String>>>,
    /// Keys that the cache service has promised to somebody.
    reserved: Arc<Mutex<Vec<String>>>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type Reply = (u16, Vec<u8>);

impl Bucket {
    pub fn start() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let bucket = Bucket { host, objects: Arc::default(), complaints: Arc::default(), reserved: Arc::default() };
        let server = bucket.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // A client that goes away is no failure of the server.
                std::thread::spawn(move || while server.serve(&stream).is_some() {});
            }
        });
        bucket
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let size = headers.get("content-length").map_or(0, |size| size.parse().expect("a number"));
        let mut body = vec![0; size];
        reader.read_exact(&mut body).ok()?;
        let request = Request { method, path, headers, body };
        let (status, body) = self.answer(&request);
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut out = stream;
        out.write_all(head.as_bytes()).ok()?;
        if request.method != "HEAD" {
            out.write_all(&body).ok()?;
        }
        Some(())
    }

    fn complain(&self, what: String) -> Reply {
        self.complaints.lock().expect("unpoisoned").push(what.clone());
        (403, format!("<Error><Message>{what}</Message></Error>").into_bytes())
    }

    fn answer(&self, request: &Request) -> Reply {
        if let Some(method) = request.path.strip_prefix("/twirp/github.actions.results.api.v1.CacheService/") {
            return self.service(method, request);
        }
        if let Some(key) = request.path.strip_prefix("/signed/") {
            return self.signed(key, request);
        }
        if let Some(wrong) = wrong_signature(request) {
            return self.complain(wrong);
        }
        let mut objects = self.objects.lock().expect("unpoisoned");
        match request.method.as_str() {
            "PUT" => {
                objects.insert(request.path.clone(), request.body.clone());
                (200, Vec::new())
            }
            _ => objects.get(&request.path).map_or((404, Vec::new()), |bytes| (200, bytes.clone())),
        }
    }

    fn service(&self, method: &str, request: &Request) -> Reply {
        if request.headers.get("authorization") != Some(&format!("Bearer {RUNTIME_TOKEN}")) {
            return self.complain("no token".to_owned());
        }
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let (key, objects) = (asked["key"].as_str().expect("a key"), self.objects.lock().expect("unpoisoned"));
        let url = format!("http://{}/signed/{key}?sig=hidden", self.host);
        let answer = match method {
            "CreateCacheEntry" => {
                let mut reserved = self.reserved.lock().expect("unpoisoned");
                if reserved.iter().any(|other| other == key) {
                    return (409, br#"{"code":"already_exists"}"#.to_vec());
                }
                reserved.push(key.to_owned());
                serde_json::json!({ "ok": true, "signed_upload_url": url })
            }
            "FinalizeCacheEntryUpload" => {
                let size = objects.get(key).map_or(0, Vec::len).to_string();
                serde_json::json!({ "ok": asked["size_bytes"] == size, "entry_id": "1" })
            }
            // As the service does, with what only begins like that.
            "GetCacheEntryDownloadURL" => {
                match objects.keys().find(|known| known.starts_with(&key[..key.len() - 60])) {
                    Some(_) if objects.contains_key(key) => {
                        serde_json::json!({ "ok": true, "signed_download_url": url, "matched_key": key })
                    }
                    Some(other) => serde_json::json!({ "ok": true, "signed_download_url": url, "matched_key": other }),
                    None => serde_json::json!({ "ok": false }),
                }
            }
            _ => return self.complain(format!("no method {method}")),
        };
        (200, answer.to_string().into_bytes())
    }

    fn signed(&self, key: &str, request: &Request) -> Reply {
        let Some(key) = key.strip_suffix("?sig=hidden") else { return self.complain("not signed".to_owned()) };
        if request.headers.contains_key("authorization") {
            return self.complain("the token went to the blob store".to_owned());
        }
        let mut objects = self.objects.lock().expect("unpoisoned");
        if request.method != "PUT" {
            return objects.get(key).map_or((404, Vec::new()), |bytes| (200, bytes.clone()));
        }
        if request.headers.get("x-ms-blob-type").map(String::as_str) != Some("BlockBlob") {
            return self.complain("no kind of blob".to_owned());
        }
        objects.insert(key.to_owned(), request.body.clone());
        (201, Vec::new())
    }
}

/// Says what is wrong with the signature of a request, by what the service's manual says of it.
fn wrong_signature(request: &Request) -> Option<String> {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    if header("x-amz-content-sha256") != Digest::of(&request.body).hex() {
        return Some("the payload is not the one that was signed".to_owned());
    }
    if header("x-amz-security-token") != SESSION_TOKEN {
        return Some("no session token".to_owned());
    }
    let signed = "host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
    let lines: String = signed.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let payload = Digest::of(&request.body).hex();
    let canonical = format!("{}\n{}\n\n{lines}\n{signed}\n{payload}", request.method, request.path);
    let (time, day) = (header("x-amz-date"), header("x-amz-date").get(..8).unwrap_or(""));
    let scope = format!("{day}/test-region/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()).hex());
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes());
    }
    let signature: String = hmac(&key, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let expected =
        format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope},SignedHeaders={signed},Signature={signature}");
    (header("authorization") != expected).then(|| format!("{} {} is not signed", request.method, request.path))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let block = |with: u8| -> Vec<u8> { (0..64).map(|n| key.get(n).copied().unwrap_or(0) ^ with).collect() };
    let inner = Digest::of(&[block(0x36), text.to_vec()].concat());
    Digest::of(&[block(0x5c), inner.as_bytes().to_vec()].concat()).as_bytes().to_vec()
}
