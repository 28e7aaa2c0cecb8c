//! Cache records and memos by digest.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, read_sealed};
use crate::digest::{DiffId, Digest};

/// What a step made, by its cache key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Its root file system, oldest layer first.
    pub diff_ids: Vec<DiffId>,
    /// What its key was made of: name and value, in the key's order.
    pub ingredients: Vec<(String, String)>,
    /// How long it ran.
    pub duration_ms: u64,
}

impl Store {
    /// Returns what the step with that key made.
    pub fn record(&self, key: &Digest) -> Option<CacheRecord> {
        serde_json::from_slice(&read_sealed(&self.path.join("records").join(key.hex()))?).ok()
    }

    /// Keeps what a step made.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_record(&self, key: &Digest, record: &CacheRecord) -> Result<(), StoreError> {
        let text = serde_json::to_vec(record).expect("a record has only text keys");
        self.write_file(&self.path.join("records").join(key.hex()), &text)
    }

    /// Returns the layer that the copy of a large directory named `name` made the last time, and what it was made of.
    pub fn copied(&self, name: &Digest) -> Option<(DiffId, Vec<u8>)> {
        let bytes = read_sealed(&self.path.join("copies").join(name.hex()))?;
        let (diff_id, entries) = bytes.split_at_checked(32)?;
        Some((DiffId(Digest::from_bytes(diff_id.try_into().ok()?)), entries.to_vec()))
    }

    /// Keeps what a copy made, in place of what it made before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_copied(&self, name: &Digest, diff_id: DiffId, entries: &[u8]) -> Result<(), StoreError> {
        let bytes = [diff_id.0.as_bytes().as_slice(), entries].concat();
        self.write_file(&self.path.join("copies").join(name.hex()), &bytes)
    }

    /// Returns a text that was kept under `key`.
    pub fn memo(&self, key: &Digest) -> Option<String> {
        String::from_utf8(read_sealed(&self.path.join("memos").join(key.hex()))?).ok()
    }

    /// Keeps a text under `key`; what the key is made of decides it for good.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_memo(&self, key: &Digest, text: &str) -> Result<(), StoreError> {
        self.write_file(&self.path.join("memos").join(key.hex()), text.as_bytes())
    }
}
