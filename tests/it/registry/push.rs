//! Writing: exists, mounted, sent.

use std::cell::RefCell;

use bake::digest::Digest;
use bake::registry::{Error, Pushed};

use super::{MANIFEST, blob_descriptor, client, manifest, opener, reference};
use crate::support::fake_registry::{FakeRegistry, Response};

const BLOB: &[u8] = b"a layer";

#[test]
fn a_blob_that_is_there_is_not_sent() {
    let registry = FakeRegistry::start();
    registry.put_blob("team/api", BLOB);
    let name = reference(&registry, "team/api:1");
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &|_| {});
    assert_eq!(pushed.expect("pushed"), Pushed::Exists);
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_blob_of_the_same_registry_is_mounted() {
    let registry = FakeRegistry::start();
    let digest = registry.put_blob("base/debian", BLOB);
    let name = reference(&registry, "team/api:1");
    let elsewhere = "other.example/base/debian".parse().expect("a name");
    let sources = [elsewhere, reference(&registry, "base/debian:12")];
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &sources, &opener(BLOB), &|_| {});
    assert_eq!(pushed.expect("pushed"), Pushed::Mounted);
    assert_eq!(registry.blob("team/api", digest).as_deref(), Some(BLOB));
    assert_eq!(
        registry.requests()[1].target,
        format!("/v2/team/api/blobs/uploads/?mount=sha256%3A{}&from=base%2Fdebian", digest.hex())
    );
}

#[test]
fn a_mount_that_is_not_granted_becomes_an_upload() {
    let registry = FakeRegistry::start();
    let name = reference(&registry, "team/api:1");
    let sources = [reference(&registry, "base/debian:12")];
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &sources, &opener(BLOB), &|_| {});
    assert_eq!(pushed.expect("pushed"), Pushed::Sent);
    let digest = Digest::of(BLOB);
    assert_eq!(registry.blob("team/api", digest).as_deref(), Some(BLOB));
    let expected = [
        format!("HEAD /v2/team/api/blobs/{digest}"),
        "POST /v2/team/api/blobs/uploads/".to_owned(),
        "DELETE /v2/team/api/blobs/uploads/1".to_owned(),
        "POST /v2/team/api/blobs/uploads/".to_owned(),
        "PUT /v2/team/api/blobs/uploads/1".to_owned(),
    ];
    assert_eq!(registry.lines(), expected);
}

#[test]
fn an_upload_keeps_the_registrys_state_and_tells_its_progress() {
    let registry = FakeRegistry::start();
    let name = reference(&registry, "team/api:1");
    let progress = RefCell::new(Vec::new());
    let on_progress = |sent| progress.borrow_mut().push(sent);
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &on_progress);
    assert_eq!(pushed.expect("pushed"), Pushed::Sent);
    let put = registry.requests().pop().expect("a PUT");
    assert_eq!(put.target, format!("/v2/team/api/blobs/uploads/1?_state=secret-state&digest={}", Digest::of(BLOB)));
    assert_eq!(put.header("content-length"), Some("7"));
    assert_eq!(progress.borrow().last(), Some(&7));
}

#[test]
fn an_upload_that_broke_is_begun_anew() {
    let registry = FakeRegistry::start();
    registry.fail_times(2, "PUT", Response::new(500));
    let name = reference(&registry, "team/api:1");
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &|_| {});
    assert_eq!(pushed.expect("pushed"), Pushed::Sent);
    let n_posts = registry.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!((n_posts, registry.blob("team/api", Digest::of(BLOB)).as_deref()), (3, Some(BLOB)));
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_twice() {
    let registry = FakeRegistry::start();
    let mut is_first = true;
    registry.fault(move |request, storage| {
        let is_meant = request.method == "PUT" && std::mem::take(&mut is_first);
        is_meant.then(|| {
            let key = ("team/api".to_owned(), Digest::of(BLOB).to_string());
            storage.blobs.insert(key, request.body.clone());
            Response::new(201).header("Content-Length", 5).cut_after(0).header("X", "\u{0}")
        })
    });
    let name = reference(&registry, "team/api:1");
    let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &[], &opener(BLOB), &|_| {});
    assert_eq!(pushed.expect("pushed"), Pushed::Sent);
    assert_eq!(registry.lines().iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[test]
fn bytes_that_are_not_the_descriptors_are_not_stored() {
    let registry = FakeRegistry::start();
    let name = reference(&registry, "team/api:1");
    let error = client()
        .push_blob(&name, &blob_descriptor(BLOB), &[], &opener(b"another"), &|_| {})
        .expect_err("the digest is wrong");
    let expected = format!(
        "PUT http://{}/v2/team/api/blobs/uploads/1 answered 400 bad request: wrong digest [DIGEST_INVALID]",
        registry.host
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_source_that_cannot_be_read_is_our_side() {
    let registry = FakeRegistry::start();
    let name = reference(&registry, "team/api:1");
    let open = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let error = client().push_blob(&name, &blob_descriptor(BLOB), &[], &open, &|_| {}).expect_err("no source");
    assert!(matches!(error, Error::Local { verb: "read", .. }), "{error}");
    let expected = format!("cannot read blob {} of \"team/api\": entity not found", Digest::of(BLOB));
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_source_of_another_length_is_not_stored() {
    let registry = FakeRegistry::start();
    let name = reference(&registry, "team/api:1");
    for source in [&b"a la"[..], b"a layer and more"] {
        let pushed = client().push_blob(&name, &blob_descriptor(BLOB), &[], &opener(source), &|_| {});
        let stored = registry.blob("team/api", Digest::of(BLOB));
        // The longer one begins with the blob's bytes, and no more than these are sent.
        assert_eq!((pushed.is_ok(), stored.is_some()), (source.len() > BLOB.len(), source.len() > BLOB.len()));
    }
}

#[test]
fn a_manifest_is_pushed_by_digest_and_by_tag() {
    let registry = FakeRegistry::start();
    let (client, bytes) = (client(), manifest());
    let digest = Digest::of(&bytes);
    let name = reference(&registry, "team/api:1");
    assert_eq!(client.push_manifest(&name.with_digest(digest), MANIFEST, &bytes).expect("pushed"), digest);
    assert_eq!(client.push_manifest(&name, MANIFEST, &bytes).expect("pushed"), digest);
    let expected = [format!("PUT /v2/team/api/manifests/{digest}"), "PUT /v2/team/api/manifests/1".to_owned()];
    assert_eq!(registry.lines(), expected);
    assert!(client.has_manifest(&name, digest).expect("asked"));
    assert_eq!(client.fetch_manifest(&name).expect("fetched").1, bytes);

    let other = name.with_digest(Digest::of(b"other"));
    assert!(matches!(client.push_manifest(&other, MANIFEST, &bytes), Err(Error::DigestMismatch { .. })));
}

#[test]
fn a_registry_that_stored_something_else_is_noticed() {
    let registry = FakeRegistry::start();
    registry.fail_times(1, "PUT", Response::new(201).header("Docker-Content-Digest", Digest::of(b"other")));
    let error = client().push_manifest(&reference(&registry, "team/api:1"), MANIFEST, &manifest());
    assert!(matches!(error, Err(Error::DigestMismatch { .. })));
}

#[test]
fn many_threads_share_a_client() {
    let registry = FakeRegistry::start();
    let client = client();
    let blobs: Vec<Vec<u8>> = (0..8u8).map(|n| vec![n; 10_000]).collect();
    std::thread::scope(|scope| {
        for blob in &blobs {
            let (client, name) = (&client, reference(&registry, "team/api"));
            scope.spawn(move || {
                let bytes = blob.clone();
                let open = move || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn std::io::Read + Send>);
                client.push_blob(&name, &blob_descriptor(blob), &[], &open, &|_| {}).expect("pushed")
            });
        }
    });
    for blob in &blobs {
        assert_eq!(registry.blob("team/api", Digest::of(blob)).as_deref(), Some(&blob[..]));
    }
}
