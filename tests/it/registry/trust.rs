//! Certificates, plain HTTP and proxies, with servers that are not on loopback by their name.
//!
//! A forward proxy leads the names to Debian's docker-registry on loopback.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bake::reference::Reference;
use bake::registry::{Client, Error, Options, Proxies};

use super::real::{RealRegistry, start};
use super::{MANIFEST, manifest, quick};
use crate::support::fake_registry::FakeRegistry;
use crate::support::forward_proxy::ForwardProxy;

/// A certificate authority, and what it vouches for.
struct Authority<'a>(&'a Path);

impl Authority<'_> {
    /// Makes it; `None` without openssl.
    fn make(directory: &Path) -> Option<Authority<'_>> {
        let (key, certificate) = (directory.join("ca.key"), directory.join("ca.crt"));
        openssl(
            &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA", "-keyout"],
            |c| {
                c.arg(&key).arg("-out").arg(&certificate);
            },
        )?;
        Some(Authority(directory))
    }

    /// Makes `NAME.cert` and `NAME.key`.
    fn vouch(&self, name: &str, more: &str) -> Option<(PathBuf, PathBuf)> {
        let at = |end: &str| self.0.join(format!("{name}.{end}"));
        std::fs::write(at("ext"), format!("basicConstraints=CA:FALSE\n{more}\n")).expect("written");
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout"], |c| {
            c.arg(at("key")).arg("-out").arg(at("csr"));
        })?;
        openssl(&["x509", "-req", "-days", "2", "-CAcreateserial", "-in"], |c| {
            c.arg(at("csr")).arg("-CA").arg(self.0.join("ca.crt")).arg("-CAkey").arg(self.0.join("ca.key"));
            c.arg("-extfile").arg(at("ext")).arg("-out").arg(at("cert"));
        })?;
        Some((at("cert"), at("key")))
    }
}

fn openssl(arguments: &[&str], more: impl Fn(&mut Command)) -> Option<()> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    more(&mut command);
    let is_made = command.status().is_ok_and(|status| status.success());
    if !is_made {
        eprintln!("skipped: openssl is not installed");
    }
    is_made.then_some(())
}

/// `registry.test`, a docker-registry with a certificate that nobody but `ca.crt` vouches for.
struct Secured {
    registry: RealRegistry,
    proxy: ForwardProxy,
    directory: tempfile::TempDir,
}

impl Secured {
    /// Starts it; with `wants_clients` it wants to know who asks.
    fn start(wants_clients: bool) -> Option<Secured> {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::make(directory.path())?;
        let (certificate, key) = authority.vouch("server", "subjectAltName=DNS:registry.test")?;
        authority.vouch("client", "extendedKeyUsage=clientAuth")?;
        let clients = format!("    clientcas: [{}/ca.crt]\n", directory.path().display());
        let clients = if wants_clients { clients.as_str() } else { "" };
        let tls = format!("  tls:\n    certificate: {}\n    key: {}\n{clients}", certificate.display(), key.display());
        let registry = start(directory.path(), &tls)?;
        let proxy = ForwardProxy::start(Some(&registry.host));
        Some(Secured { registry, proxy, directory })
    }

    /// Goes through the proxy, with `certs.d/HOST/` as these files and as this `registries.conf`.
    fn options(&self, files: &[(&str, &str)], conf: &str) -> Options {
        let certs_d = tempfile::tempdir_in(self.directory.path()).expect("a directory").keep();
        for (name, file) in files {
            let path = certs_d.join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("created");
            match self.directory.path().join(file).exists() {
                true => std::fs::copy(self.directory.path().join(file), path).map(drop).expect("copied"),
                false => std::fs::write(path, file).expect("written"),
            }
        }
        let registries_conf = certs_d.join("registries.conf");
        std::fs::write(&registries_conf, conf).expect("written");
        let proxies = Proxies { https: Some(self.proxy.host.clone()), ..Proxies::default() };
        let (registries_conf, certificate_directories) = (vec![registries_conf], vec![certs_d]);
        Options { proxies, registries_conf, certificate_directories, attempts: 1, ..quick() }
    }
}

fn push(options: Options) -> Result<(), Error> {
    let name: Reference = "registry.test/team/api:1".parse().expect("a name");
    let client = Client::new(options);
    let config = super::blob_descriptor(b"{}");
    let _ = client.push_blob(&name, &config, &[], &super::opener(b"{}"), &|_| {})?;
    client.push_manifest(&name, MANIFEST, &manifest())?;
    client.fetch_manifest(&name).map(drop)
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_a_file_says_so() {
    let Some(secured) = Secured::start(false) else { return };
    let error = push(secured.options(&[], "")).expect_err("nobody vouches for it");
    assert!(error.to_string().contains("registry.test cannot be reached: invalid peer certificate"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("certs.d")));
    push(secured.options(&[("registry.test/ca.crt", "ca.crt")], "")).expect("docker's directory");
    let hosts = [("registry.test/hosts.toml", "ca = \"own.crt\"\n"), ("registry.test/own.crt", "ca.crt")];
    push(secured.options(&hosts, "")).expect("containerd's directory");
    // Of another host it says nothing.
    push(secured.options(&[("other.test/ca.crt", "ca.crt")], "")).expect_err("another host's");
    let unreadable = push(secured.options(&[("registry.test/ca.crt", "no PEM")], "")).expect_err("no certificate");
    assert!(
        unreadable.to_string().ends_with("registry.test/ca.crt is wrong: it has no certificate in PEM"),
        "{unreadable}"
    );
    assert!(secured.proxy.asked().iter().all(|line| line == "CONNECT registry.test:443"));
    drop(secured.registry);
}

#[test]
fn a_certificate_is_not_verified_where_a_file_says_so() {
    let Some(secured) = Secured::start(false) else { return };
    push(secured.options(&[], "[[registry]]\nlocation = \"registry.test\"\ninsecure = true\n"))
        .expect("registries.conf");
    push(secured.options(&[("registry.test/hosts.toml", "skip_verify = true\n")], "")).expect("hosts.toml");
    push(secured.options(&[], "[[registry]]\nlocation = \"registry.test/other\"\ninsecure = true\n"))
        .expect_err("other repositories");
}

#[test]
fn a_registry_that_wants_to_know_who_asks_is_told() {
    let Some(secured) = Secured::start(true) else { return };
    let ca = ("registry.test/ca.crt", "ca.crt");
    push(secured.options(&[ca], "")).expect_err("it does not know us");
    let files = [ca, ("registry.test/us.cert", "client.cert"), ("registry.test/us.key", "client.key")];
    push(secured.options(&files, "")).expect("docker's directory");
    let toml = "ca = \"ca.crt\"\nclient = [[\"us.cert\", \"us.key\"]]\n";
    let files = [&files[..], &[("registry.test/hosts.toml", toml)]].concat();
    push(secured.options(&files, "")).expect("containerd's directory");
    let lonely = [ca, ("registry.test/us.cert", "client.cert")];
    let error = push(secured.options(&lonely, "")).expect_err("no key").to_string();
    assert!(error.contains("us.cert is wrong: it has no key beside it"), "{error}");
}

#[test]
fn plain_http_elsewhere_is_for_what_is_configured() {
    let registry = FakeRegistry::start();
    let proxy = ForwardProxy::start(Some(&registry.host));
    let name: Reference = "plain.test:5000/team/api:1".parse().expect("a name");
    registry.put_manifest("team/api", "1", MANIFEST, &manifest());
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("registries.conf");
    std::fs::write(&conf, "[[registry]]\nlocation = \"plain.test:5000\"\ninsecure = true\n").expect("written");
    let options = |registries_conf: Vec<PathBuf>| {
        let proxies = Proxies { http: Some(format!("http://user:s3cret@{}", proxy.host)), ..Proxies::default() };
        Options { registries_conf, proxies, attempts: 1, ..quick() }
    };
    Client::new(options(vec![conf.clone()])).fetch_manifest(&name).expect("fetched");
    let asked = proxy.asked();
    assert_eq!(asked[0], "GET http://plain.test:5000/v2/ as Basic dXNlcjpzM2NyZXQ=");
    // The registry does not get the proxy's password.
    assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
    // HTTPS is tried where nothing is configured; that name does not exist.
    let error = Client::new(options(Vec::new())).fetch_manifest(&name).expect_err("no such host");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(proxy.asked(), asked);
    let excepted = Proxies { exceptions: "plain.test:5000".to_owned(), ..options(Vec::new()).proxies };
    let error = Client::new(Options { proxies: excepted, ..options(vec![conf]) }).fetch_manifest(&name);
    assert!(matches!(error, Err(Error::Unreachable { .. })));
    assert_eq!(proxy.asked(), asked);
}

#[test]
fn a_proxy_that_refuses_is_told_without_its_password() {
    let proxy = ForwardProxy::start(None);
    let proxies = Proxies { https: Some(format!("http://user:s3cret@{}", proxy.host)), ..Proxies::default() };
    let name: Reference = "registry.test/team/api:1".parse().expect("a name");
    let error = Client::new(Options { proxies, attempts: 1, ..quick() }).fetch_manifest(&name).expect_err("refused");
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(!text.contains("s3cret") && !text.contains("dXNl"), "{text}");
    assert!(text.contains("proxy"), "{text}");
}
