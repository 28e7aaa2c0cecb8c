//! Reading: verified, resumed, bounded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bake::digest::Digest;
use bake::oci::descriptor;
use bake::registry::{Client, Error, Options};

use super::{MANIFEST, OCTETS, blob_descriptor, client, fetch, manifest, quick, reference};
use crate::support::fake_registry::{FakeRegistry, Response, content};

#[test]
fn a_tag_resolves_by_head_alone() {
    let registry = FakeRegistry::start();
    let digest = registry.put_manifest("team/api", "1", MANIFEST, &manifest());
    let found = client().resolve(&reference(&registry, "team/api:1")).expect("resolved");
    assert_eq!(found, descriptor(MANIFEST, manifest().len() as u64, digest));
    assert_eq!(registry.lines(), ["HEAD /v2/team/api/manifests/1"]);
}

#[test]
fn a_head_without_a_digest_is_followed_by_a_verified_get() {
    let registry = FakeRegistry::start();
    let digest = registry.put_manifest("team/api", "1", MANIFEST, &manifest());
    registry.fail_times(1, "HEAD", Response::new(200).header("Content-Type", MANIFEST));
    let found = client().resolve(&reference(&registry, "team/api:1")).expect("resolved");
    assert_eq!(found, descriptor(MANIFEST, manifest().len() as u64, digest));
    assert_eq!(registry.lines(), ["HEAD /v2/team/api/manifests/1", "GET /v2/team/api/manifests/1"]);
}

#[test]
fn a_manifest_is_fetched_by_digest_and_verified() {
    let registry = FakeRegistry::start();
    let digest = registry.put_manifest("team/api", "1", MANIFEST, &manifest());
    let pinned = reference(&registry, "team/api:1").with_digest(digest);
    let (found, bytes) = client().fetch_manifest(&pinned).expect("fetched");
    assert_eq!((found.size(), bytes), (manifest().len() as u64, manifest()));
    assert_eq!(registry.lines(), [format!("GET /v2/team/api/manifests/{digest}")]);

    let mut changed = manifest();
    *changed.last_mut().expect("not empty") = b' ';
    registry.fail_times(1, "GET", Response::new(200).header("Content-Type", MANIFEST).body(changed.clone()));
    let error = client().fetch_manifest(&pinned).expect_err("other bytes");
    let expected = format!(
        "\"team/api@{digest}\" in {} is corrupt: its bytes have digest {}, not {digest}",
        registry.host,
        Digest::of(&changed)
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_document_of_two_shapes_is_refused() {
    let registry = FakeRegistry::start();
    let text = String::from_utf8(manifest()).expect("text").replace("\"layers\":[]", "\"layers\":[],\"manifests\":[]");
    registry.put_manifest("team/api", "1", MANIFEST, text.as_bytes());
    let error = client().fetch_manifest(&reference(&registry, "team/api:1")).expect_err("ambiguous");
    assert!(matches!(error, Error::Document { .. }), "{error}");
}

#[test]
fn a_manifest_beyond_the_limit_is_refused() {
    let registry = FakeRegistry::start();
    registry.put_manifest("team/api", "1", MANIFEST, &vec![b' '; (4 << 20) + 1]);
    let error = client().fetch_manifest(&reference(&registry, "team/api:1")).expect_err("too long");
    assert_eq!(
        error.to_string(),
        format!("\"team/api:1\" in {} has more bytes, expected at most 4194304", registry.host)
    );
}

#[test]
fn what_is_not_there_is_said_plainly() {
    let registry = FakeRegistry::start();
    let error = client().resolve(&reference(&registry, "team/api:9")).expect_err("unknown");
    assert_eq!(error.to_string(), format!("\"team/api:9\" was not found in {}", registry.host));
    let error = client().fetch_manifest(&reference(&registry, "team/api:9")).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        format!("\"team/api:9\" was not found in {}: unknown [MANIFEST_UNKNOWN]", registry.host)
    );
    assert!(!client().has_blob(&reference(&registry, "team/api"), Digest::of(b"x")).expect("asked"));
    assert!(!client().has_manifest(&reference(&registry, "team/api"), Digest::of(b"x")).expect("asked"));
}

#[test]
fn an_unreachable_registry_is_one_clear_line() {
    // Port 1 (tcpmux) is open on no machine that runs tests.
    let error = client().resolve(&"127.0.0.1:1/a".parse().expect("a name")).expect_err("nobody listens");
    assert_eq!(error.to_string(), "registry 127.0.0.1:1 cannot be reached: connection refused");
    assert_eq!(error.hint().as_deref(), Some("check the registry's name and port, and the network"));
}

#[test]
fn a_silent_registry_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let host = listener.local_addr().expect("bound").to_string();
    // The kernel accepts the connection; nobody ever reads it.
    let client = Client::new(Options { read_timeout: Duration::from_millis(50), attempts: 2, ..quick() });
    let error = client.resolve(&format!("{host}/a").parse().expect("a name")).expect_err("nobody answers");
    assert_eq!(error.to_string(), format!("registry {host} cannot be reached: no answer within 50ms"));
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let registry = FakeRegistry::start();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let digest = registry.put_blob("team/api", &bytes);
    let line = format!("GET /v2/team/api/blobs/{digest}");
    let (mut n_cuts, meant) = (0, line.clone());
    registry.fault(move |request, storage| {
        let bytes = storage.blobs.get(&("team/api".to_owned(), digest.to_string()))?;
        n_cuts += 1;
        let is_cut = request.line() == meant && n_cuts <= 2;
        is_cut.then(|| content(request, bytes, OCTETS).cut_after(100_000))
    });
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), &bytes).expect("fetched"), bytes);
    let ranges: Vec<Option<String>> =
        registry.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=200000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_is_read_again_from_the_start() {
    let registry = FakeRegistry::start();
    let bytes = vec![7; 1000];
    registry.put_blob("team/api", &bytes);
    registry.fail_times(1, "GET", Response::new(200).body(bytes.clone()).cut_after(600));
    registry.fail_times(1, "GET", Response::new(200).body(bytes.clone()));
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), &bytes).expect("fetched"), bytes);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_download_that_never_comes_ends() {
    let registry = FakeRegistry::start();
    registry.fail_times(100, "GET", Response::new(200).body(vec![7; 1000]).cut_after(0));
    let error = fetch(&client(), &reference(&registry, "team/api"), &[7; 1000]).expect_err("cut each time");
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert_eq!(registry.requests().len(), 4);
}

#[test]
fn wrong_bytes_are_refused() {
    let registry = FakeRegistry::start();
    registry.fail_times(1, "GET", Response::new(200).body("evil"));
    let error = fetch(&client(), &reference(&registry, "team/api"), b"good").expect_err("other bytes");
    assert!(matches!(error, Error::DigestMismatch { actual, .. } if actual == Digest::of(b"evil")), "{error}");
}

#[test]
fn no_more_than_the_descriptors_size_is_written() {
    let registry = FakeRegistry::start();
    registry.fail_times(1, "GET", Response::new(200).body(vec![1; 1 << 20]));
    let mut out = Vec::new();
    let name = reference(&registry, "team/api");
    let error = client().fetch_blob(&name, &blob_descriptor(b"good"), &mut out).expect_err("too long");
    let what = format!("blob {} of \"team/api\"", Digest::of(b"good"));
    assert_eq!(error.to_string(), format!("{what} in {} has more than 4 bytes, expected 4", registry.host));
    assert!(out.len() <= 4);
}

#[test]
fn busy_and_broken_answers_are_repeated() {
    let registry = FakeRegistry::start();
    let bytes = b"blob";
    registry.put_blob("team/api", bytes);
    registry.fail_times(1, "GET", Response::new(429).header("Retry-After", 0));
    registry.fail_times(2, "GET", Response::new(500));
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), bytes).expect("fetched"), bytes);
    assert_eq!(registry.requests().len(), 4);
}

#[test]
fn errors_do_not_show_queries_or_control_characters() {
    let registry = FakeRegistry::start();
    let message = r#"{"errors":[{"code":"UNKNOWN","message":"no\u001b[31m"}]}"#;
    registry.fail_times(1, "GET /v2/team/api/blobs", Response::new(307).header("Location", "/elsewhere?token=s3cret"));
    registry.fail_times(1, "GET /elsewhere", Response::new(418).body(message));
    let error = fetch(&client(), &reference(&registry, "team/api"), b"x").expect_err("a teapot");
    let expected = format!("GET http://{}/elsewhere answered 418 i'm a teapot: no[31m [UNKNOWN]", registry.host);
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_stopped_build_sends_nothing() {
    let registry = FakeRegistry::start();
    let client = Client::new(Options { cancelled: Arc::new(AtomicBool::new(true)), ..quick() });
    let error = client.resolve(&reference(&registry, "team/api:1")).expect_err("stopped");
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(registry.lines(), Vec::<String>::new());
}

#[test]
fn a_pause_up_to_a_date_counts_from_the_answers_own() {
    let registry = FakeRegistry::start();
    registry.put_blob("team/api", b"a layer");
    let busy = |date: &str, until: &str| Response::new(429).header("Date", date).header("Retry-After", until);
    let now = "Sun, 06 Nov 1994 08:49:37 GMT";
    registry.fail_times(1, "GET ", busy(now, "Sun, 06 Nov 1994 08:49:38 GMT"));
    let begin = std::time::Instant::now();
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), b"a layer").expect("fetched"), b"a layer");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    // A date that has passed, or that is none, is no reason to wait long.
    for until in ["Sun, 06 Nov 1994 08:49:30 GMT", "tomorrow"] {
        registry.fail_times(1, "GET ", busy(now, until));
        let begin = std::time::Instant::now();
        assert_eq!(fetch(&client(), &reference(&registry, "team/api"), b"a layer").expect("fetched"), b"a layer");
        assert!(begin.elapsed() < Duration::from_secs(1), "{until}");
    }
}
