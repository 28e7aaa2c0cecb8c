//! Against Debian's docker-registry, with and without TLS.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bake::digest::Digest;
use bake::reference::Reference;
use bake::registry::{Client, Options, Pushed};

use super::{MANIFEST, blob_descriptor, client_with_config, fetch, manifest, opener, quick};

const BLOB: &[u8] = b"a layer";

/// A running docker-registry; killed at the end.
pub struct RealRegistry {
    child: Child,
    pub host: String,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Starts docker-registry with its storage in `directory`; `more` are lines that continue its `http` section. Says why and returns
/// `None` where it is not installed.
pub fn start(directory: &Path, more: &str) -> Option<RealRegistry> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback has a free port").port();
    let storage = directory.join("storage");
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
        storage.display()
    );
    let path = directory.join("config.yml");
    std::fs::write(&path, config).expect("written");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("skipped: docker-registry is not installed");
        return None;
    };
    let registry = RealRegistry { child, host: format!("127.0.0.1:{port}") };
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(&registry.host).is_err() {
        assert!(Instant::now() < deadline, "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(registry)
}

fn round_trip(client: &Client, host: &str) {
    let name: Reference = format!("{host}/team/api:1").parse().expect("a name");
    let other: Reference = format!("{host}/team/web:1").parse().expect("a name");
    let push = |name: &Reference, from: &[Reference], bytes: &'static [u8]| {
        client.push_blob(name, &blob_descriptor(bytes), from, &opener(bytes), &|_| {}).expect("pushed")
    };
    assert!(!client.has_blob(&name, Digest::of(BLOB)).expect("asked"));
    assert_eq!(push(&name, &[], BLOB), Pushed::Sent);
    assert_eq!(push(&name, &[], BLOB), Pushed::Exists);
    assert_eq!(push(&other, std::slice::from_ref(&name), BLOB), Pushed::Mounted);
    assert_eq!(push(&name, &[], b"{}"), Pushed::Sent);
    assert_eq!(fetch(client, &other, BLOB).expect("fetched"), BLOB);

    let digest = client.push_manifest(&name, MANIFEST, &manifest()).expect("pushed");
    assert_eq!(client.resolve(&name).map(|d| d.digest().to_string()).expect("resolved"), digest.to_string());
    assert_eq!(client.fetch_manifest(&name.with_digest(digest)).expect("fetched").1, manifest());
    assert!(client.has_manifest(&name, digest).expect("asked"));
    assert!(!client.has_manifest(&name, Digest::of(b"x")).expect("asked"));
}

#[test]
fn a_real_registry_takes_and_gives() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(registry) = start(directory.path(), "") else { return };
    round_trip(&super::client(), &registry.host);
}

#[test]
fn a_real_registry_with_passwords_is_logged_in_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("users");
    // bcrypt of `s3cret`.
    std::fs::write(&users, "user:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n").expect("written");
    let more = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display());
    let Some(registry) = start(directory.path(), &more) else { return };
    let config = |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host);
    round_trip(&client_with_config(directory.path(), &config("dXNlcjpzM2NyZXQ=")), &registry.host);

    let name: Reference = format!("{}/team/api:1", registry.host).parse().expect("a name");
    // `user:wrong`.
    let client = client_with_config(directory.path(), &config("dXNlcjp3cm9uZw=="));
    let error = client.push_manifest(&name, MANIFEST, &manifest()).expect_err("refused");
    let expected = format!(
        "{} refused to push \"team/api\": 401 unauthorized: authentication required [UNAUTHORIZED] (scope pull,push)",
        registry.host
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_loopback_registry_with_tls_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]).arg(&key);
    openssl.arg("-out").arg(&certificate).stderr(Stdio::null());
    if !openssl.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
    let Some(registry) = start(directory.path(), &tls) else { return };
    let extra_roots = std::fs::read(&certificate).expect("a certificate");
    round_trip(&Client::new(Options { extra_roots, ..quick() }), &registry.host);

    let name: Reference = format!("{}/team/api:1", registry.host).parse().expect("a name");
    let error = super::client().resolve(&name).expect_err("nobody vouches for it");
    assert!(error.to_string().contains("cannot be reached: invalid peer certificate"), "{error}");
}
