//! Which members the layers hold that were compressed earlier.
//!
//! `members/HEX`, by the digest of a blob (any other bytes are as good as none):
//! ```text
//! "bake-members-2 COMPRESSION\n", for example `gzip 4`
//! record*, in the blob's order, integers little-endian
//!   digest of the raw bytes 32 · CRC-32 of the compressed bytes u32 · length of those u32
//! ```

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::member;
use crate::digest::Digest;
use crate::oci::Compression;
use crate::store::{Store, StoreError};

/// Layers of fewer members are compressed faster than they are looked up.
const MIN_MEMBERS: usize = 4;

/// Bytes of a record.
const RECORD: usize = 32 + 4 + 4;

/// A member of the layer that is being compressed.
pub(super) struct Member {
    raw: Digest,
    /// CRC-32 of `bytes`.
    sum: u32,
    /// What stands in the blob.
    pub(super) bytes: Vec<u8>,
}

/// Where a member stands.
#[derive(Clone, Copy)]
struct Place {
    blob: Digest,
    offset: u64,
    length: usize,
    /// CRC-32 of what stands there.
    sum: u32,
}

/// Compresses members, or takes them from earlier layers; remembers those of the new layer.
pub(super) struct MemberIndex<'a> {
    store: &'a Store,
    compression: Compression,
    /// Read when the first layer turns out to be large.
    known: OnceLock<BTreeMap<Digest, Place>>,
    /// The records of the layer under way.
    records: Vec<u8>,
}

impl<'a> MemberIndex<'a> {
    pub(super) fn new(store: &'a Store, compression: Compression) -> MemberIndex<'a> {
        MemberIndex { store, compression, known: OnceLock::new(), records: Vec::new() }
    }

    /// Returns what `members` are compressed, in their order.
    pub(super) fn compress(&self, members: &[Vec<u8>]) -> io::Result<Vec<Member>> {
        if members.len() < MIN_MEMBERS || self.compression == Compression::Uncompressed {
            return members.iter().map(|raw| self.make(raw, None)).collect();
        }
        let known = self.known.get_or_init(|| self.load());
        members.par_iter().map(|raw| self.make(raw, Some(known))).collect()
    }

    /// Notes a member of the new layer; in their order.
    pub(super) fn add(&mut self, member: &Member) {
        self.records.extend(member.raw.as_bytes());
        self.records.extend(member.sum.to_le_bytes());
        self.records.extend(u32::try_from(member.bytes.len()).unwrap_or(0).to_le_bytes());
    }

    /// Keeps the members of the new layer, whose blob is there.
    pub(super) fn save(self, blob: &Digest) -> Result<(), StoreError> {
        if self.records.len() < MIN_MEMBERS * RECORD || self.compression == Compression::Uncompressed {
            return Ok(());
        }
        let bytes = [self.magic().as_bytes(), &self.records].concat();
        self.store.put_members(blob, &bytes)
    }

    fn make(&self, raw: &[u8], known: Option<&BTreeMap<Digest, Place>>) -> io::Result<Member> {
        let digest = Digest::of(raw);
        let place = known.and_then(|known| known.get(&digest));
        if let Some(bytes) = place.and_then(|place| self.read(place)) {
            return Ok(Member { raw: digest, sum: libdeflater::crc32(&bytes), bytes });
        }
        let bytes = member(self.compression, raw)?;
        Ok(Member { raw: digest, sum: libdeflater::crc32(&bytes), bytes })
    }

    /// Reads a member of another blob; `None` if it is not what was written.
    fn read(&self, place: &Place) -> Option<Vec<u8>> {
        let mut bytes = vec![0; place.length];
        self.store.open_blob(&place.blob).ok()?.read_exact_at(&mut bytes, place.offset).ok()?;
        (libdeflater::crc32(&bytes) == place.sum).then_some(bytes)
    }

    fn load(&self) -> BTreeMap<Digest, Place> {
        let directory = self.store.path().join("members");
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let blob = format!("sha256:{}", entry.file_name().to_string_lossy()).parse::<Digest>();
            let Ok(blob) = blob else { continue };
            // Looking is not using it.
            if !self.store.blob_path(&blob).exists() {
                _ = std::fs::remove_file(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let Some(records) = bytes.strip_prefix(self.magic().as_bytes()) else { continue };
            let mut offset = 0;
            for record in records.chunks_exact(RECORD) {
                let number = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
                let raw = Digest::from_bytes(record[..32].try_into().expect("32 bytes"));
                let (sum, length) = (number(32), number(36));
                known.insert(raw, Place { blob, offset, length: length as usize, sum });
                offset += u64::from(length);
            }
        }
        known
    }

    fn magic(&self) -> String {
        format!("bake-members-2 {}\n", self.compression)
    }
}
