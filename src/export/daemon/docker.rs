//! A Docker daemon and its API (Engine API: `GET /info`, `GET /images/NAME/json`, `POST /images/load`). Paths without a version mean the daemon's own.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::{Address, Endpoint};
use super::http::{self, Connection, Response};
use super::wire::Wire;
use super::{LoadError, WriteArchive, outcome, tls};
use crate::digest::Digest;
use crate::export::error::FileExportError;
use crate::sys::cancel::CancelToken;

/// How long a daemon may take to say who it is. Through ssh it takes as long as that needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// A daemon that answered.
#[derive(Debug)]
pub struct Docker {
    pub(super) endpoint: Endpoint,
    pub(super) takes_index: bool,
}

impl Docker {
    /// Asks the daemon what it is.
    pub(super) fn ask(endpoint: Endpoint, cancel: &CancelToken) -> io::Result<Docker> {
        let (status, text) = get(&endpoint, "/info", cancel)?;
        if status != 200 {
            return Err(io::Error::other(message(&text, status)));
        }
        Ok(Docker { takes_index: takes_index(&text), endpoint })
    }

    /// Returns the id of the image that has this name there; `None` where there is none or the daemon does not say.
    pub(super) fn image(&self, name: &str, cancel: &CancelToken) -> Option<Digest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            id: String,
        }
        let (_, text) = get(&self.endpoint, &format!("/images/{name}/json"), cancel).ok()?;
        serde_json::from_str::<Image>(&text).ok()?.id.parse().ok()
    }

    pub(super) fn load(
        &self,
        write: WriteArchive<'_>,
        cancel: &CancelToken,
        refused: impl Fn(String) -> LoadError,
    ) -> Result<(), LoadError> {
        let unreachable = |source| LoadError::Unreachable { endpoint: self.endpoint.clone(), source };
        let stream = connect(&self.endpoint, None, cancel).map_err(unreachable)?;
        let body = Some(|out: &mut dyn Write| -> Result<(), FileExportError> { write(out) });
        let (mut response, written) =
            http::request(stream, "POST", "/images/load?quiet=1", body).map_err(unreachable)?;
        let text = text(&mut response).map_err(unreachable)?;
        let answer = match response.status {
            200 => reported(&text).map_or(Ok(()), Err),
            status => Err(message(&text, status)),
        };
        outcome(written, answer, refused)
    }
}

/// Returns the status and the text of what is at `path`.
fn get(endpoint: &Endpoint, path: &str, cancel: &CancelToken) -> io::Result<(u16, String)> {
    let limit = (!matches!(endpoint.address, Address::Ssh { .. })).then_some(PATIENCE);
    let nothing = None::<fn(&mut dyn Write) -> io::Result<()>>;
    let (mut response, _) = http::request(connect(endpoint, limit, cancel)?, "GET", path, nothing)?;
    Ok((response.status, text(&mut response)?))
}

fn connect(endpoint: &Endpoint, limit: Option<Duration>, cancel: &CancelToken) -> io::Result<Box<dyn Connection>> {
    let mut wire = match &endpoint.address {
        Address::Unix(path) => Wire::new(OwnedFd::from(UnixStream::connect(path)?), cancel)?,
        Address::Tcp(host) => Wire::new(OwnedFd::from(dial(host)?), cancel)?,
        Address::Ssh { host, port } => through_ssh(host, port.as_deref(), cancel)?,
    };
    wire.set_limit(limit);
    match (&endpoint.tls, &endpoint.address) {
        (Some(tls), Address::Tcp(host)) => Ok(Box::new(tls::wrap(wire, host, tls)?)),
        _ => Ok(Box::new(wire)),
    }
}

fn dial(host: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Docker's own command connects the streams of `ssh` with the daemon there, as it does itself.
fn through_ssh(host: &str, port: Option<&str>, cancel: &CancelToken) -> io::Result<Wire> {
    let mut command = Command::new("ssh");
    if let Some(port) = port {
        command.args(["-p", port]);
    }
    command.args(["-o", "ConnectTimeout=30", "-T", "--", host, "docker", "system", "dial-stdio"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("ssh has no streams"));
    };
    Ok(Wire::of_two(stdout.into(), stdin.into(), cancel)?.with_child(child))
}

fn text(response: &mut Response) -> io::Result<String> {
    let mut bytes = Vec::new();
    response.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what an error answer says.
fn message(text: &str, status: u16) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_str::<Message>(text) {
        Ok(said) => said.message,
        Err(_) => format!("it answers with status {status}"),
    }
}

/// Says whether the daemon keeps its images in containerd's store, which takes indexes. The older one takes one platform.
fn takes_index(info: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        driver_status: Option<Vec<Vec<String>>>,
    }
    let status = serde_json::from_str::<Info>(info).ok().and_then(|info| info.driver_status).unwrap_or_default();
    status.iter().any(|pair| *pair == ["driver-type", "io.containerd.snapshotter.v1"])
}

/// Returns the error that the daemon reports while it loads: one JSON document after the other, in an answer that began well.
fn reported(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Report {
        error: Option<String>,
    }
    let reports = serde_json::Deserializer::from_str(text).into_iter::<Report>();
    reports.map_while(Result::ok).find_map(|report| report.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containerds_store_takes_an_index() {
        let containerd = r#"{"ID":"x","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],"Images":0}"#;
        let older = r#"{"DriverStatus":[["Backing Filesystem","extfs"],["Supports d_type","true"]]}"#;
        assert!(takes_index(containerd));
        assert!([older, r#"{"DriverStatus":null}"#, "{}", ""].iter().all(|info| !takes_index(info)));
    }

    #[test]
    fn an_error_in_a_good_answer_is_found() {
        let good = "{\"stream\":\"Loaded image: a:1\\n\"}\r\n{\"stream\":\"Loaded image: b:1\\n\"}\r\n";
        assert_eq!(reported(good), None);
        let bad = "{\"stream\":\"x\"}\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\n";
        assert_eq!(reported(bad), Some("no space".to_owned()));
        assert_eq!(message("{\"message\":\"no such file\"}", 500), "no such file");
        assert_eq!(message("<html>", 502), "it answers with status 502");
    }
}
