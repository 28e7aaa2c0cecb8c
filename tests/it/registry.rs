//! The real client against a fake registry on loopback, with faults on demand, and against Debian's docker-registry.

mod auth;
mod login;
mod mirrors;
mod pull;
mod push;
mod real;
mod trust;
mod upload;

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bake::digest::Digest;
use bake::oci::{Descriptor, descriptor};
use bake::reference::Reference;
use bake::registry::{Client, Options};

use crate::support::fake_registry::FakeRegistry;

const OCTETS: &str = "application/octet-stream";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A client that pauses a millisecond where others pause longer.
fn client() -> Client {
    Client::new(quick())
}

fn quick() -> Options {
    Options {
        first_pause: Duration::from_millis(1),
        read_timeout: Duration::from_secs(10),
        attempts: 4,
        ..Options::default()
    }
}

/// A client with this text as Docker's config.json.
fn client_with_config(directory: &Path, config: &str) -> Client {
    std::fs::write(directory.join("config.json"), config).expect("written");
    Client::new(Options { docker_config: Some(directory.to_owned()), ..quick() })
}

fn reference(registry: &FakeRegistry, rest: &str) -> Reference {
    format!("{}/{rest}", registry.host).parse().expect("a name")
}

fn blob_descriptor(bytes: &[u8]) -> Descriptor {
    descriptor(OCTETS, bytes.len() as u64, Digest::of(bytes))
}

fn fetch(client: &Client, name: &Reference, bytes: &[u8]) -> Result<Vec<u8>, bake::registry::Error> {
    let mut out = Vec::new();
    client.fetch_blob(name, &blob_descriptor(bytes), &mut out).map(|()| out)
}

/// Opens bytes as an upload reads them.
fn opener(bytes: &'static [u8]) -> impl Fn() -> io::Result<Box<dyn Read + Send>> {
    move || Ok(Box::new(bytes) as Box<dyn Read + Send>)
}

/// A manifest with an empty config and no layers.
fn manifest() -> Vec<u8> {
    let config = Digest::of(b"{}");
    let media_type = "application/vnd.oci.image.config.v1+json";
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{media_type}","digest":"{config}","size":2}},"layers":[]}}"#
    )
    .into_bytes()
}
