//! Cache records and memos: small texts by digest.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, read_small};
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
        serde_json::from_str(&read_small(&self.path.join("records").join(key.hex()))?).ok()
    }

    /// Keeps what a step made.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_record(&self, key: &Digest, record: &CacheRecord) -> Result<(), StoreError> {
        let text = serde_json::to_vec(record).expect("a record has only text keys");
        self.write_file(&self.path.join("records").join(key.hex()), &text)
    }

    /// Returns a text that was kept under `key`.
    pub fn memo(&self, key: &Digest) -> Option<String> {
        read_small(&self.path.join("memos").join(key.hex()))
    }

    /// Keeps a text under `key`; what the key is made of decides it for good.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_memo(&self, key: &Digest, text: &str) -> Result<(), StoreError> {
        self.write_file(&self.path.join("memos").join(key.hex()), text.as_bytes())
    }
}
