//! What a cache says of a step, as text. Everything that is read here may come from anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{DiffId, Digest};
use crate::oci::{Descriptor, LayerCompression, MediaType, descriptor, digest_of};

/// Entries that an index holds at most: a registry takes manifests of 4 MiB, and each layer takes some 200 bytes of that.
pub const MAX_ENTRIES: usize = 8000;

/// Bytes of an index at most.
pub(super) const MAX_INDEX_SIZE: u64 = 8 << 20;

/// Bytes of an entry at most.
pub(super) const MAX_ENTRY_SIZE: u64 = 4 << 10;

/// Bytes of a layer at most: 256 GiB.
const MAX_LAYER_SIZE: u64 = 256 << 30;

/// The format's number; what has another one is passed over.
const VERSION: u32 = 1;

/// The annotation of an image's manifest that holds the entries of the steps that made it (`type=inline`).
const INLINE: &str = "bake.cache";

/// Says which layer a step makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The step's cache key.
    pub key: Digest,
    /// The layer that it adds to its input; absent where it only lays inputs over one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<CachedLayer>,
}

/// A layer, and the blob that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CachedLayer {
    /// Digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// How the blob is compressed.
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

impl CachedLayer {
    /// The layer that `blob` holds; `None` where that has no SHA-256 digest.
    pub fn new(diff_id: DiffId, blob: &Descriptor) -> Option<CachedLayer> {
        let digest = digest_of(blob).ok()?;
        Some(CachedLayer { diff_id, media_type: blob.media_type().to_string(), digest, size: blob.size() })
    }

    /// Returns the layer's blob.
    pub fn descriptor(&self) -> Descriptor {
        descriptor(MediaType::from(self.media_type.as_str()), self.size, self.digest)
    }

    fn is_sound(&self) -> bool {
        LayerCompression::of_media_type(&self.media_type).is_some() && self.size <= MAX_LAYER_SIZE
    }
}

/// Entries by key, those that were used last first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    order: Vec<Digest>,
    entries: BTreeMap<Digest, Entry>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written<T> {
    version: u32,
    entries: T,
}

impl Entry {
    /// Returns the entry's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&Written { version: VERSION, entries: [self] }).expect("an entry has only text keys")
    }

    /// Reads the entry of `key`; `None` where the text is something else.
    pub fn parse(bytes: &[u8], key: &Digest) -> Option<Entry> {
        Index::parse(bytes)?.get(key).cloned()
    }
}

impl Index {
    /// Returns the entries in that order, each key once, the first of it; as many as an index may hold.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Index {
        let mut index = Index::default();
        for entry in entries {
            if index.order.len() < MAX_ENTRIES && !index.entries.contains_key(&entry.key) {
                index.order.push(entry.key);
                index.entries.insert(entry.key, entry);
            }
        }
        index
    }

    /// Reads an index; `None` where the text is none. Entries that cannot be right are passed over.
    pub fn parse(bytes: &[u8]) -> Option<Index> {
        if bytes.len() as u64 > MAX_INDEX_SIZE {
            return None;
        }
        let written: Written<Vec<Entry>> = serde_json::from_slice(bytes).ok()?;
        let is_sound = |entry: &Entry| entry.layer.as_ref().is_none_or(CachedLayer::is_sound);
        (written.version == VERSION).then(|| Index::new(written.entries.into_iter().filter(is_sound)))
    }

    /// Returns the index's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries: Vec<&Entry> = self.iter().collect();
        serde_json::to_vec(&Written { version: VERSION, entries }).expect("an index has only text keys")
    }

    /// Returns the entry of `key`.
    pub fn get(&self, key: &Digest) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Returns all entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().map(|key| &self.entries[key])
    }

    /// Says whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Says whether it has all keys of `other`.
    pub fn has_keys_of(&self, other: &Index) -> bool {
        other.order.iter().all(|key| self.entries.contains_key(key))
    }

    /// Returns the union; of a key that both have, the entry here is kept. What is here comes first.
    pub fn union(&self, other: &Index) -> Index {
        Index::new(self.iter().chain(other.iter()).cloned())
    }

    /// Returns each layer's blob once, in order.
    pub fn layers(&self) -> Vec<Descriptor> {
        let mut seen = std::collections::BTreeSet::new();
        let layers = self.iter().filter_map(|entry| entry.layer.as_ref());
        layers.filter(|layer| seen.insert(layer.digest)).map(CachedLayer::descriptor).collect()
    }
}

/// Returns the annotation that holds `entries` in an image's manifest: name and value.
pub fn inline_annotation(entries: &Index) -> (String, String) {
    (INLINE.to_owned(), String::from_utf8(entries.to_bytes()).expect("JSON is UTF-8"))
}

/// Returns the entries in the annotations of an image's manifest.
pub(super) fn of_annotations<'a>(mut annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Index> {
    Index::parse(annotations.find(|(name, _)| *name == INLINE)?.1.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn entry(text: &str) -> Entry {
        let layer = CachedLayer {
            diff_id: DiffId(Digest::of(text.as_bytes())),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            digest: Digest::of(format!("{text}.gz").as_bytes()),
            size: 7,
        };
        Entry { key: Digest::of(format!("key of {text}").as_bytes()), layer: Some(layer) }
    }

    #[test]
    fn an_index_is_read_as_it_was_written_and_a_union_loses_nothing() {
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let one = Index::new([b.clone(), a.clone()]);
        assert_eq!(Index::parse(&one.to_bytes()), Some(one.clone()));
        let two = Index::new([c.clone(), Entry { key: a.key, layer: None }]);
        let both = two.union(&one);
        assert_eq!(both.iter().map(|entry| entry.key).collect::<Vec<_>>(), [c.key, a.key, b.key]);
        assert!(both.has_keys_of(&one) && both.has_keys_of(&two) && !one.has_keys_of(&two));
        assert_eq!(Entry::parse(&a.to_bytes(), &a.key), Some(a.clone()));
        assert_eq!(Entry::parse(&a.to_bytes(), &b.key), None, "the entry of another key is none");
    }

    #[test]
    fn what_cannot_be_right_is_passed_over() {
        let mut huge = entry("huge");
        huge.layer.as_mut().expect("a layer").size = u64::MAX;
        let mut strange = entry("strange");
        strange.layer.as_mut().expect("a layer").media_type = "text/plain".to_owned();
        let good = entry("good");
        let text = Index::new([huge, strange, good.clone()]).to_bytes();
        assert_eq!(Index::parse(&text), Some(Index::new([good])));
        for garbage in
            ["", "{}", "[]", "{\"version\":2,\"entries\":[]}", "{\"version\":1,\"entries\":[{\"key\":\"x\"}]}"]
        {
            assert_eq!(Index::parse(garbage.as_bytes()), None, "{garbage}");
        }
        assert_eq!(Index::parse(&text[..text.len() - 9]), None, "truncated");
    }
}
