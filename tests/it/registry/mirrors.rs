//! Mirrors: what is asked of whom, and what they never see.

use std::path::{Path, PathBuf};

use bake::digest::Digest;
use bake::registry::{Client, Error, Options};
use tempfile::TempDir;

use super::{MANIFEST, fetch, manifest, opener, quick, reference};
use crate::support::fake_registry::{FakeRegistry, Login, Response};

const BLOB: &[u8] = b"a layer of some length";

/// A registry and a mirror of it, which both have an image and a layer; the mirror below `/hub`.
struct Pair {
    registry: FakeRegistry,
    mirror: FakeRegistry,
    directory: TempDir,
}

impl Pair {
    fn start() -> Pair {
        let (registry, mirror) = (FakeRegistry::start(), FakeRegistry::start());
        for (server, repository) in [(&registry, "team/api"), (&mirror, "hub/team/api"), (&mirror, "team/api")] {
            server.put_blob(repository, BLOB);
            server.put_manifest(repository, "1", MANIFEST, &manifest());
        }
        Pair { registry, mirror, directory: tempfile::tempdir().expect("a directory") }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("created");
        let text = text.replace("REGISTRY", &self.registry.host).replace("MIRROR", &self.mirror.host);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A client with this `registries.conf`.
    fn with_conf(&self, text: &str) -> Options {
        Options { registries_conf: vec![self.write("registries.conf", text)], ..quick() }
    }

    /// A client with this `hosts.toml` for the registry.
    fn with_hosts(&self, text: &str) -> Options {
        self.write(&format!("certs.d/{}/hosts.toml", self.registry.host), text);
        Options { certificate_directories: vec![self.directory.path().join("certs.d")], ..quick() }
    }

    /// Asks for the image by tag, and for its layer.
    fn pull(&self, options: Options) -> Result<(), Error> {
        let (client, name) = (Client::new(options), reference(&self.registry, "team/api:1"));
        let descriptor = client.resolve(&name)?;
        assert_eq!(descriptor.digest().to_string(), Digest::of(&manifest()).to_string());
        client.fetch_manifest(&name.with_digest(Digest::of(&manifest())))?;
        assert_eq!(fetch(&client, &name, BLOB)?, BLOB);
        Ok(())
    }
}

const CONF: &str = "[[registry]]\nlocation = \"REGISTRY\"\n[[registry.mirror]]\nlocation = \"MIRROR/hub\"\n";

fn blob_path(prefix: &str) -> String {
    format!("GET /v2/{prefix}team/api/blobs/{}", Digest::of(BLOB))
}

fn lines_of_a_pull(prefix: &str) -> Vec<String> {
    let manifests = format!("/v2/{prefix}team/api/manifests");
    let by_digest = format!("GET {manifests}/{}", Digest::of(&manifest()));
    vec![format!("HEAD {manifests}/1"), by_digest, blob_path(prefix)]
}

#[test]
fn a_mirror_is_asked_in_place_of_the_registry() {
    let pair = Pair::start();
    pair.pull(pair.with_conf(CONF)).expect("pulled");
    assert_eq!(pair.mirror.lines(), lines_of_a_pull("hub/"));
    assert_eq!(pair.registry.lines(), Vec::<String>::new());
}

#[test]
fn what_a_mirror_lacks_or_fails_at_comes_from_the_registry() {
    for status in [404, 403, 500, 503, 429] {
        let pair = Pair::start();
        pair.mirror.fault(move |_, _| Some(Response::new(status).header("Retry-After", 30)));
        pair.pull(pair.with_conf(CONF)).expect("pulled");
        // Each question once: the registry has the answer.
        assert_eq!(pair.mirror.lines(), lines_of_a_pull("hub/"), "{status}");
        assert_eq!(pair.registry.lines(), lines_of_a_pull(""), "{status}");
    }
}

#[test]
fn a_mirror_that_is_not_there_is_asked_once() {
    let pair = Pair::start();
    let conf = CONF.replace("MIRROR", "127.0.0.1:1");
    pair.pull(pair.with_conf(&conf)).expect("pulled");
    assert_eq!(pair.registry.lines(), lines_of_a_pull(""));
}

#[test]
fn a_download_that_a_mirror_broke_off_goes_on_at_the_registry() {
    let pair = Pair::start();
    let cut = Response::new(200).header("Content-Length", BLOB.len()).body(BLOB).cut_after(7);
    pair.mirror.fail_times(1, &blob_path("hub/"), cut);
    pair.pull(pair.with_conf(CONF)).expect("pulled");
    let asked: Vec<_> =
        pair.registry.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(asked, [Some("bytes=7-".to_owned())]);
}

#[test]
fn a_mirror_with_other_bytes_is_named() {
    let pair = Pair::start();
    let other = b"a layer of some lengtH".to_vec();
    pair.mirror.fail_times(9, &blob_path("hub/"), Response::new(200).body(other));
    let error = pair.pull(pair.with_conf(CONF)).expect_err("corrupt").to_string();
    assert!(error.contains(&format!("in {} is corrupt", pair.mirror.host)), "{error}");
    // A manifest is not written anywhere before it is verified, so the registry's is as good.
    pair.mirror.fail_times(9, "GET /v2/hub/team/api/manifests", Response::new(200).body("{}"));
    let name = reference(&pair.registry, "team/api:1").with_digest(Digest::of(&manifest()));
    Client::new(pair.with_conf(CONF)).fetch_manifest(&name).expect("fetched");
}

#[test]
fn pushes_go_to_the_registry_itself() {
    let pair = Pair::start();
    let (client, name) = (Client::new(pair.with_conf(CONF)), reference(&pair.registry, "team/web:1"));
    let descriptor = super::blob_descriptor(BLOB);
    let _ = client.push_blob(&name, &descriptor, &[], &opener(BLOB), &|_| {}).expect("pushed");
    let digest = client.push_manifest(&name, MANIFEST, &manifest()).expect("pushed");
    assert!(client.has_manifest(&name, digest).expect("asked"));
    client.resolve_upstream(&name).expect("resolved");
    assert_eq!(pair.mirror.lines(), Vec::<String>::new());
}

#[test]
fn each_server_gets_its_own_credentials() {
    let pair = Pair::start();
    pair.registry.require(Login::Basic { user: "user", password: "s3cret" });
    pair.mirror.require(Login::Basic { user: "mirror", password: "m1rror" });
    let logins = |mirror: &str| {
        // `user:s3cret`.
        pair.write("config.json", &format!(r#"{{"auths":{{"REGISTRY":{{"auth":"dXNlcjpzM2NyZXQ="}}{mirror}}}}}"#));
    };
    let docker_config = Some(pair.directory.path().to_owned());
    let options = || Options { docker_config: docker_config.clone(), ..pair.with_conf(CONF) };
    let authorizations = |server: &FakeRegistry| -> Vec<String> {
        let mut all: Vec<String> =
            server.requests().iter().filter_map(|request| request.header("authorization").map(str::to_owned)).collect();
        all.dedup();
        all
    };
    logins("");
    pair.pull(options()).expect("the registry takes the login");
    assert_eq!(authorizations(&pair.mirror), Vec::<String>::new());
    assert_eq!(authorizations(&pair.registry), ["Basic dXNlcjpzM2NyZXQ="]);
    // `mirror:m1rror`.
    logins(r#","MIRROR":{"auth":"bWlycm9yOm0xcnJvcg=="}"#);
    pair.pull(options()).expect("the mirror takes its own");
    assert_eq!(authorizations(&pair.mirror), ["Basic bWlycm9yOm0xcnJvcg=="]);
}

#[test]
fn hosts_toml_says_what_a_mirror_is_asked() {
    let pair = Pair::start();
    let options = pair.with_hosts(
        "[host.\"http://MIRROR\"]\ncapabilities = [\"pull\"]\n[host.\"http://MIRROR\".header]\nx-token = \"s3cret\"\n",
    );
    pair.pull(options).expect("pulled");
    // It does not say what tags are, and is told whose content is wanted.
    assert_eq!(pair.mirror.lines(), lines_of_a_pull("")[1..]);
    assert_eq!(pair.registry.lines(), lines_of_a_pull("")[..1]);
    let query = format!("?ns={}", pair.registry.host.replace(':', "%3A"));
    for request in pair.mirror.requests() {
        assert!(request.target.ends_with(&query), "{}", request.target);
        assert_eq!(request.header("x-token"), Some("s3cret"));
    }
    assert!(pair.registry.requests().iter().all(|request| request.header("x-token").is_none()));
}

#[test]
fn a_path_of_hosts_toml_is_the_root_of_the_api() {
    let pair = Pair::start();
    // The fake registry knows nothing but `/v2/`, so that is where the roots lead.
    let toml = "[host.\"http://MIRROR/none\"]\n[host.\"http://MIRROR/v2/hub\"]\noverride_path = true\n";
    pair.pull(pair.with_hosts(toml)).expect("pulled");
    let expected: Vec<String> =
        lines_of_a_pull("hub/").into_iter().flat_map(|line| [line.replace("/v2/hub/", "/none/v2/"), line]).collect();
    assert_eq!(pair.mirror.lines(), expected);
}

#[test]
fn a_redirect_of_a_mirror_carries_neither_its_headers_nor_its_login() {
    let (pair, other) = (Pair::start(), FakeRegistry::start());
    other.put_blob("team/api", BLOB);
    pair.mirror.require(Login::Basic { user: "mirror", password: "m1rror" });
    pair.write("config.json", r#"{"auths":{"MIRROR":{"auth":"bWlycm9yOm0xcnJvcg=="}}}"#);
    let target = format!("http://{}/v2/team/api/blobs/{}?sig=s3cret", other.host, Digest::of(BLOB));
    pair.mirror.fault(move |request, _| {
        let is_logged_in = request.header("authorization").is_some() && request.path().contains("/blobs/");
        is_logged_in.then(|| Response::new(307).header("Location", &target))
    });
    let options = pair.with_hosts("[host.\"http://MIRROR\"]\n[host.\"http://MIRROR\".header]\nx-token = \"s3cret\"\n");
    let options = Options { docker_config: Some(pair.directory.path().to_owned()), ..options };
    pair.pull(options).expect("pulled");
    let requests = other.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].header("authorization"), requests[0].header("x-token")), (None, None));
}

#[test]
fn what_is_blocked_is_not_talked_to() {
    let pair = Pair::start();
    let options = pair.with_conf("[[registry]]\nlocation = \"REGISTRY\"\nblocked = true\n");
    let path = options.registries_conf[0].clone();
    let error = pair.pull(options).expect_err("blocked").to_string();
    assert_eq!(error, format!("registry {} is blocked by {}", pair.registry.host, path.display()));
    assert_eq!(pair.registry.lines(), Vec::<String>::new());
}

#[test]
fn a_prefix_that_moved_is_pulled_from_where_it_is() {
    let pair = Pair::start();
    let conf = "[[registry]]\nprefix = \"REGISTRY/team\"\nlocation = \"MIRROR/hub/team\"\n";
    pair.pull(pair.with_conf(conf)).expect("pulled");
    assert_eq!((pair.mirror.lines(), pair.registry.lines()), (lines_of_a_pull("hub/"), Vec::new()));
}

#[test]
fn files_that_are_dropped_in_count_in_the_order_of_their_names() {
    let pair = Pair::start();
    let directory = pair.write("d/10.conf", CONF);
    pair.write("d/20.conf", "[[registry]]\nlocation = \"REGISTRY\"\n");
    pair.write("d/30.txt", "not TOML");
    let directories = vec![directory.parent().map(Path::to_owned).expect("a directory")];
    let none = vec![pair.directory.path().join("none.conf")];
    let options = Options { registries_conf: none, registries_conf_directories: directories, ..quick() };
    pair.pull(options).expect("pulled");
    assert_eq!(pair.mirror.lines(), Vec::<String>::new());
}
