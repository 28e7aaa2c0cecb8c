//! Logins, and where credentials do not go.

use bake::registry::{Client, Error, Login as Sent, Options, Ping};

use super::{MANIFEST, blob_descriptor, client, client_with_config, fetch, manifest, opener, quick, reference};
use crate::support::fake_registry::{FakeRegistry, Login, Response};

const BLOB: &[u8] = b"a layer";

/// `user:s3cret`.
const AUTH: &str = "dXNlcjpzM2NyZXQ=";

fn basic_config(registry: &FakeRegistry) -> String {
    format!(r#"{{"auths":{{"{}":{{"auth":"{AUTH}"}}}}}}"#, registry.host)
}

#[test]
fn basic_credentials_are_sent_when_asked_for() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Basic { user: "user", password: "s3cret" });
    registry.put_blob("team/api", BLOB);
    let client = client_with_config(directory.path(), &basic_config(&registry));
    let name = reference(&registry, "team/api");
    for _ in 0..2 {
        assert_eq!(fetch(&client, &name, BLOB).expect("fetched"), BLOB);
    }
    let shown: Vec<bool> = registry.requests().iter().map(|r| r.header("authorization").is_some()).collect();
    // Asked once, remembered after that.
    assert_eq!(shown, [false, true, true]);
}

#[test]
fn a_refusal_names_the_scope_and_hides_the_password() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Basic { user: "user", password: "another" });
    let name = reference(&registry, "team/api:1");
    let push = |client: &Client| {
        client.push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &|_| {}).expect_err("denied")
    };
    let error = push(&client());
    let expected = format!("{} refused to push \"team/api\": 401 unauthorized (scope pull,push)", registry.host);
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.hint(), Some(format!("run \"bake login {}\"", registry.host)));

    let error = push(&client_with_config(directory.path(), &basic_config(&registry)));
    assert!(matches!(error, Error::Denied { login: Sent::Sent, .. }), "{error}");
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("s3cret"));
}

#[test]
fn tokens_are_asked_for_each_scope_and_remembered() {
    let registry = FakeRegistry::start();
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    registry.put_blob("team/api", BLOB);
    let (client, name) = (client(), reference(&registry, "team/api:1"));
    assert_eq!(fetch(&client, &name, BLOB).expect("fetched"), BLOB);
    assert_eq!(fetch(&client, &name, BLOB).expect("fetched"), BLOB);
    let _ = client.push_manifest(&name, MANIFEST, &manifest()).expect("pushed");
    let tokens: Vec<String> =
        registry.requests().iter().filter(|r| r.path() == "/token").map(|r| r.target.clone()).collect();
    assert_eq!(
        tokens,
        [
            "/token?service=fake&scope=repository%3Ateam%2Fapi%3Apull",
            "/token?service=fake&scope=repository%3Ateam%2Fapi%3Apull%2Cpush",
        ]
    );
}

#[test]
fn a_token_server_that_is_busy_is_asked_again() {
    let registry = FakeRegistry::start();
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    registry.put_blob("team/api", BLOB);
    registry.fail_times(2, "GET /token", Response::new(503));
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    registry.fail_times(9, "GET /token", Response::new(503));
    let error = fetch(&client(), &reference(&registry, "team/api"), BLOB).expect_err("always busy");
    let expected = format!("GET http://{}/token answered 503 service unavailable", registry.host);
    assert_eq!(error.to_string(), expected);
    assert_eq!(registry.lines().iter().filter(|line| *line == "GET /token").count(), 3 + 4);
}

#[test]
fn a_mount_asks_for_both_repositories() {
    let registry = FakeRegistry::start();
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    registry.put_blob("base/debian", BLOB);
    let sources = [reference(&registry, "base/debian")];
    let name = reference(&registry, "team/api:1");
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &sources, &opener(BLOB), &|_| {}).expect("pushed");
    assert_eq!(pushed, bake::registry::Pushed::Mounted);
    let token = registry.requests().iter().rfind(|r| r.path() == "/token").expect("a token").target.clone();
    assert!(token.ends_with("api%3Apull%2Cpush&scope=repository%3Abase%2Fdebian%3Apull"), "{token}");
}

#[test]
fn an_identity_token_is_exchanged_and_not_sent_to_the_registry() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    registry.put_blob("team/api", BLOB);
    registry.fail_times(
        1,
        "POST /token",
        Response::new(200).body(r#"{"access_token":"token-for-repository:team/api:pull"}"#),
    );
    let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"refresh-me"}}}}}}"#, registry.host);
    let client = client_with_config(directory.path(), &config);
    assert_eq!(fetch(&client, &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    let requests = registry.requests();
    let post = requests.iter().find(|r| r.path() == "/token").expect("a token request");
    assert_eq!(
        String::from_utf8_lossy(&post.body),
        "grant_type=refresh_token&client_id=bake&service=fake&scope=repository%3Ateam%2Fapi%3Apull\
         &refresh_token=refresh-me"
    );
    let shown = |r: &&crate::support::fake_registry::Request| format!("{r:?}").contains("refresh-me");
    assert_eq!(requests.iter().filter(|r| r.path() != "/token").find(shown).map(|r| r.line()), None);
}

#[test]
fn a_credential_helper_is_asked() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Basic { user: "user", password: "s3cret" });
    registry.put_blob("team/api", BLOB);
    let helper = directory.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread server\n[ \"$1\" = get ] && printf '{\"ServerURL\":\"%s\",\"Username\":\"user\",\"Secret\":\"s3cret\"}' \"$server\"\n";
    std::fs::write(&helper, script).expect("written");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let config = format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.host);
    std::fs::write(directory.path().join("config.json"), config).expect("written");
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let options = Options { docker_config: Some(directory.path().to_owned()), path: Some(path.into()), ..quick() };
    assert_eq!(fetch(&Client::new(options), &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
}

#[test]
fn a_redirect_to_another_host_carries_no_credentials() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    let elsewhere = FakeRegistry::start();
    registry.require(Login::Basic { user: "user", password: "s3cret" });
    let digest = elsewhere.put_blob("team/api", BLOB);
    let target = format!("http://{}/v2/team/api/blobs/{digest}", elsewhere.host);
    registry.fault(move |request, _| {
        let is_meant = request.path().contains("/blobs/") && request.header("authorization").is_some();
        is_meant.then(|| Response::new(307).header("Location", &target))
    });
    let client = client_with_config(directory.path(), &basic_config(&registry));
    assert_eq!(fetch(&client, &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    let received: Vec<Option<String>> =
        elsewhere.requests().iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(received, [None]);
}

#[test]
fn a_challenge_of_another_host_is_not_answered() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    let elsewhere = FakeRegistry::start();
    elsewhere.require(Login::Bearer { realm: format!("http://{}/token", elsewhere.host) });
    let target = format!("http://{}/v2/team/api/blobs/x", elsewhere.host);
    registry.fail_times(9, "GET", Response::new(307).header("Location", &target));
    let client = client_with_config(directory.path(), &basic_config(&registry));
    let error = fetch(&client, &reference(&registry, "team/api"), BLOB).expect_err("refused there");
    assert!(matches!(error, Error::Status { status: 401, .. }), "{error}");
    assert_eq!(elsewhere.lines(), ["GET /v2/team/api/blobs/x"]);
    assert_eq!(elsewhere.requests()[0].header("authorization"), None);
}

#[test]
fn an_upload_elsewhere_carries_no_credentials() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    let elsewhere = FakeRegistry::start();
    registry.require(Login::Basic { user: "user", password: "s3cret" });
    let target = format!("http://{}/v2/team/api/blobs/uploads/9?signature=s", elsewhere.host);
    registry.fault(move |request, _| {
        let is_meant = request.method == "POST" && request.header("authorization").is_some();
        is_meant.then(|| Response::new(202).header("Location", &target))
    });
    let client = client_with_config(directory.path(), &basic_config(&registry));
    let name = reference(&registry, "team/api:1");
    let pushed = client.push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &|_| {}).expect("pushed");
    assert_eq!(pushed, bake::registry::Pushed::Sent);
    let received = elsewhere.requests();
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].header("authorization"), &received[0].body[..]), (None, BLOB));
}

#[test]
fn a_redirect_to_plain_http_on_another_machine_is_not_followed() {
    let registry = FakeRegistry::start();
    // 192.0.2.0/24 is for documentation; nothing answers there, and nothing may be sent.
    registry.fail_times(1, "GET", Response::new(302).header("Location", "http://192.0.2.1/blob?token=s3cret"));
    let error = fetch(&client(), &reference(&registry, "team/api"), BLOB).expect_err("refused");
    assert!(error.to_string().ends_with("it leads to 192.0.2.1, which is not HTTPS"), "{error}");
}

#[test]
fn a_token_server_on_another_machine_needs_https() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Bearer { realm: "http://192.0.2.1/token".to_owned() });
    let client = client_with_config(directory.path(), &basic_config(&registry));
    let error = fetch(&client, &reference(&registry, "team/api"), BLOB).expect_err("refused");
    assert!(error.to_string().contains("its token server is not at a safe address"), "{error}");
}

#[test]
fn a_token_server_that_redirects_is_not_followed() {
    let (registry, directory) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    let elsewhere = FakeRegistry::start();
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    registry.fail_times(
        9,
        "GET /token",
        Response::new(307).header("Location", format!("http://{}/token", elsewhere.host)),
    );
    let client = client_with_config(directory.path(), &basic_config(&registry));
    assert!(fetch(&client, &reference(&registry, "team/api"), BLOB).is_err());
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

#[test]
fn a_registry_is_there_or_not() {
    let registry = FakeRegistry::start();
    assert_eq!(client().ping(&registry.host).expect("it is there"), Ping::Open);
    let nobody = client().ping("127.0.0.1:1").expect_err("nobody listens");
    assert_eq!(nobody.to_string(), "registry 127.0.0.1:1 cannot be reached: connection refused");
}
