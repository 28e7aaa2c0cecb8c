//! Cache records and memos by digest.

use serde::{Deserialize, Serialize};

use super::item::{ItemKey, ItemKind};
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
    /// The step, as progress names it; empty in records of an earlier bake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl Store {
    /// Returns what the step with that key made; it and all that it needs stay there for as long as this process runs.
    pub fn record(&self, key: &Digest) -> Option<CacheRecord> {
        let key = ItemKey::new(ItemKind::Record, *key);
        let record = serde_json::from_slice(&read_sealed(&self.item_path(key))?).ok()?;
        self.lease(key).then_some(record)
    }

    /// Keeps what a step made.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_record(&self, key: &Digest, record: &CacheRecord) -> Result<(), StoreError> {
        let text = serde_json::to_vec(record).expect("a record has only text keys");
        self.write_item(ItemKey::new(ItemKind::Record, *key), &text)
    }

    /// Returns the layer that the copy of a large directory named `name` made the last time, and what it was made of.
    pub fn copied(&self, name: &Digest) -> Option<(DiffId, Vec<u8>)> {
        let key = ItemKey::new(ItemKind::Copy, *name);
        let bytes = read_sealed(&self.item_path(key))?;
        self.note_read(key);
        let (diff_id, entries) = bytes.split_at_checked(32)?;
        Some((DiffId(Digest::from_bytes(diff_id.try_into().ok()?)), entries.to_vec()))
    }

    /// Keeps what a copy made, in place of what it made before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_copied(&self, name: &Digest, diff_id: DiffId, entries: &[u8]) -> Result<(), StoreError> {
        let bytes = [diff_id.0.as_bytes().as_slice(), entries].concat();
        self.write_item(ItemKey::new(ItemKind::Copy, *name), &bytes)
    }

    /// Returns a text that was kept under `key`.
    pub fn memo(&self, key: &Digest) -> Option<String> {
        let key = ItemKey::new(ItemKind::Memo, *key);
        let text = String::from_utf8(read_sealed(&self.item_path(key))?).ok()?;
        self.note_read(key);
        Some(text)
    }

    /// Keeps a text under `key`; what the key is made of decides it for good.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_memo(&self, key: &Digest, text: &str) -> Result<(), StoreError> {
        self.write_item(ItemKey::new(ItemKind::Memo, *key), text.as_bytes())
    }
}
