//! Small texts by digest.

use std::fs;

use bake::digest::{DiffId, Digest};
use bake::store::CacheRecord;

use super::support::Fixture;

#[test]
fn records_memos_and_states_are_read_back_and_a_broken_one_is_none() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let key = Digest::of(b"key");
    assert_eq!((store.record(&key), store.memo(&key), store.read_state("stat")), (None, None, None));
    let record = CacheRecord {
        diff_ids: vec![DiffId(key)],
        ingredients: vec![("command".to_owned(), "make \"all\"".to_owned())],
        duration_ms: 7,
        name: "RUN x".to_owned(),
    };
    store.put_record(&key, &record).expect("kept");
    store.put_memo(&key, "text").expect("kept");
    store.write_state("stat", b"bytes").expect("kept");
    assert_eq!(store.record(&key), Some(record));
    assert_eq!((store.memo(&key).as_deref(), store.read_state("stat").as_deref()), (Some("text"), Some(&b"bytes"[..])));
    fs::write(fixture.path(&format!("records/{}", key.hex())), "{\"diff_ids\":").expect("written");
    assert_eq!(store.record(&key), None);
}
