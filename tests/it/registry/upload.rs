//! Blobs that are sent piece by piece, and gone on with.

use std::cell::RefCell;
use std::io::Read;
use std::time::{Duration, Instant};

use bake::digest::Digest;
use bake::registry::{BlobUpload, Error, Pushed, UploadPoint};

use super::{blob_descriptor, client, reference};
use crate::support::fake_registry::{FakeRegistry, Response};

const BLOB: &[u8] = b"a layer of thirty-one bytes ...";

/// What was told of an upload.
#[derive(Default)]
struct Told {
    points: RefCell<Vec<UploadPoint>>,
}

/// Sends [`BLOB`] in pieces of ten bytes.
fn upload(registry: &FakeRegistry, resume: Option<UploadPoint>, told: &Told) -> Result<Pushed, Error> {
    upload_within(Duration::ZERO, registry, resume, told)
}

/// Sends [`BLOB`] in pieces that take about so long, the first of ten bytes.
fn upload_within(
    patience: Duration,
    registry: &FakeRegistry,
    resume: Option<UploadPoint>,
    told: &Told,
) -> Result<Pushed, Error> {
    let upload = BlobUpload {
        descriptor: &blob_descriptor(BLOB),
        mount_from: &[],
        open: &|offset| Ok(Box::new(&BLOB[offset as usize..]) as Box<dyn Read + Send>),
        on_progress: &|_| {},
        piece: 10,
        patience,
        resume,
        on_point: &|point| told.points.borrow_mut().push(point.clone()),
    };
    client().upload_blob(&reference(registry, "team/api:1"), &upload)
}

fn stored(registry: &FakeRegistry) -> Option<Vec<u8>> {
    registry.blob("team/api", Digest::of(BLOB))
}

/// The methods of all requests, and the ranges of those that had one.
fn trace(registry: &FakeRegistry) -> Vec<String> {
    let shown = |request: &crate::support::fake_registry::Request| match request.header("content-range") {
        Some(range) => format!("{} {range}", request.method),
        None => request.method.clone(),
    };
    registry.requests().iter().map(shown).collect()
}

fn point(registry: &FakeRegistry, offset: u64) -> UploadPoint {
    UploadPoint { location: format!("http://{}/v2/team/api/blobs/uploads/1?_state=old", registry.host), offset }
}

#[test]
fn a_large_blob_goes_piece_by_piece_and_each_is_told() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
    assert_eq!(stored(&registry).as_deref(), Some(BLOB));
    assert_eq!(trace(&registry), ["HEAD", "POST", "PATCH 0-9", "PATCH 10-19", "PATCH 20-29", "PUT 30-30"]);
    let offsets: Vec<u64> = told.points.borrow().iter().map(|point| point.offset).collect();
    assert_eq!(offsets, [10, 20, 30]);
    assert!(told.points.borrow()[0].location.ends_with("/v2/team/api/blobs/uploads/1?_state=secret-state"));
}

#[test]
fn a_fast_registry_gets_the_rest_at_once() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    assert_eq!(upload_within(Duration::from_secs(9), &registry, None, &told).expect("sent"), Pushed::Sent);
    assert_eq!(trace(&registry), ["HEAD", "POST", "PATCH 0-9", "PUT 10-30"]);
}

#[test]
fn an_upload_that_broke_goes_on_where_the_registry_says_that_it_stands() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    let mut n_pieces = 0;
    registry.fault(move |request, storage| {
        n_pieces += usize::from(request.method == "PATCH");
        // Half of the second piece arrives.
        (request.method == "PATCH" && n_pieces == 2).then(|| {
            storage.uploads.get_mut("team/api").expect("begun").extend_from_slice(&request.body[..5]);
            Response::new(502)
        })
    });
    assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
    assert_eq!(stored(&registry).as_deref(), Some(BLOB));
    let expected = ["HEAD", "POST", "PATCH 0-9", "PATCH 10-19", "HEAD", "GET", "PATCH 15-24", "PUT 25-30"];
    assert_eq!(trace(&registry), expected);
}

#[test]
fn an_earlier_process_s_upload_is_gone_on_with() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fault(|_, storage| {
        storage.uploads.entry("team/api".to_owned()).or_insert_with(|| BLOB[..20].to_vec());
        None
    });
    let point = point(&registry, 20);
    assert_eq!(upload(&registry, Some(point), &told).expect("sent"), Pushed::Sent);
    assert_eq!(trace(&registry), ["HEAD", "GET", "PATCH 20-29", "PUT 30-30"]);
    assert_eq!(stored(&registry).as_deref(), Some(BLOB));
}

#[test]
fn an_earlier_upload_that_lacks_only_its_end_gets_that() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fault(|_, storage| {
        storage.uploads.entry("team/api".to_owned()).or_insert_with(|| BLOB.to_vec());
        None
    });
    assert_eq!(upload(&registry, Some(point(&registry, 30)), &told).expect("sent"), Pushed::Sent);
    assert_eq!(trace(&registry), ["HEAD", "GET", "PUT"]);
}

#[test]
fn an_earlier_upload_that_is_gone_or_has_other_bytes_is_begun_anew() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    assert_eq!(upload(&registry, Some(point(&registry, 20)), &told).expect("sent"), Pushed::Sent);
    assert_eq!(stored(&registry).as_deref(), Some(BLOB));
    let (registry, mut is_begun) = (FakeRegistry::start(), false);
    registry.fault(move |_, storage| {
        if !std::mem::replace(&mut is_begun, true) {
            storage.uploads.insert("team/api".to_owned(), vec![0; 20]);
        }
        None
    });
    assert_eq!(upload(&registry, Some(point(&registry, 20)), &told).expect("sent"), Pushed::Sent);
    assert_eq!(stored(&registry).as_deref(), Some(BLOB));
}

#[test]
fn a_registry_that_takes_no_pieces_gets_the_blob_in_one() {
    for status in [400, 404, 405, 413, 416] {
        let (registry, told) = (FakeRegistry::start(), Told::default());
        registry.fail_times(9, "PATCH", Response::new(status));
        assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
        assert_eq!(trace(&registry), ["HEAD", "POST", "PATCH 0-9", "POST", "PUT"], "{status}");
        assert_eq!(stored(&registry).as_deref(), Some(BLOB));
    }
}

#[test]
fn the_least_that_a_registry_takes_at_once_is_sent() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fault(|request, storage| {
        (request.method == "POST").then(|| {
            storage.uploads.insert("team/api".to_owned(), Vec::new());
            let location = "/v2/team/api/blobs/uploads/1";
            Response::new(202).header("Location", location).header("OCI-Chunk-Min-Length", 16)
        })
    });
    assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
    assert_eq!(trace(&registry), ["HEAD", "POST", "PATCH 0-15", "PUT 16-30"]);
}

#[test]
fn a_failure_that_lasts_ends_it_and_one_after_progress_does_not() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fail_times(99, "PATCH", Response::new(503));
    assert!(upload(&registry, None, &told).is_err());
    // Every other piece fails: more often in all than one may.
    let (registry, mut n) = (FakeRegistry::start(), 0);
    registry.fault(move |request, _| {
        n += usize::from(request.method == "PATCH");
        (request.method == "PATCH" && n % 2 == 1).then(|| Response::new(503))
    });
    assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
}

#[test]
fn bytes_that_are_not_the_descriptors_are_refused_once() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fault(|request, storage| {
        if request.method == "PUT" {
            storage.uploads.get_mut("team/api").expect("begun")[0] ^= 1;
        }
        None
    });
    let error = upload(&registry, None, &told).expect_err("the digest is wrong");
    assert!(error.to_string().contains("[DIGEST_INVALID]"), "{error}");
    assert_eq!(trace(&registry).iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[test]
fn the_pause_that_a_registry_asks_for_is_made() {
    let (registry, told) = (FakeRegistry::start(), Told::default());
    registry.fail_times(1, "PATCH", Response::new(429).header("Retry-After", 1));
    let begin = Instant::now();
    assert_eq!(upload(&registry, None, &told).expect("sent"), Pushed::Sent);
    assert!(begin.elapsed() >= Duration::from_secs(1));
}
