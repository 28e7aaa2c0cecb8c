//! File digests known from an earlier run: a file that looks the same was not changed.
//!
//! The bytes that are kept between runs (version 1; anything else is taken as empty):
//! ```text
//! "bake-stat-1\n"
//! record*, sorted by device and inode, integers little-endian
//!   dev u64 · ino u64 · size u64 · mtime i64 + u32 · ctime i64 + u32 · runs without use u8 · digest 32 bytes
//! ```
//! A file is known by device and inode; its path says nothing more. Change time cannot be set by a program, so size and
//! times give a change away, unless it came within one tick of the clock: a file that was changed less than two seconds
//! before the run began is not remembered.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::select::Stamp;
use crate::digest::Digest;

const MAGIC: &[u8] = b"bake-stat-1\n";
const RECORD: usize = 3 * 8 + 2 * 12 + 1 + 32;
/// Runs after which an unused record is dropped.
const MAX_AGE: u8 = 50;
const RACY: Duration = Duration::from_secs(2);

/// Digests of files by what the file system says of them.
#[derive(Debug, Default)]
pub struct StatCache {
    /// Since 1970, at or before the first look at any file.
    now: Duration,
    /// All that is known; the mutex guards the whole map and is held for single look-ups.
    records: Mutex<BTreeMap<(u64, u64), Record>>,
}

#[derive(Debug, Clone)]
struct Record {
    stamp: Stamp,
    /// Runs since it was last of use.
    age: u8,
    digest: Digest,
}

impl StatCache {
    /// Reads what [`StatCache::to_bytes`] wrote; bytes that are not understood give an empty cache. `now` is the time
    /// since 1970 at which the run began.
    pub fn load(bytes: &[u8], now: Duration) -> StatCache {
        let mut records = BTreeMap::new();
        if let Some(rest) = bytes.strip_prefix(MAGIC).filter(|rest| rest.len() % RECORD == 0) {
            records
                .extend(rest.chunks_exact(RECORD).filter_map(Record::decode).map(|r| ((r.stamp.dev, r.stamp.ino), r)));
        }
        StatCache { now, records: Mutex::new(records) }
    }

    /// Returns the bytes to keep for the next run.
    pub fn to_bytes(&self) -> Vec<u8> {
        let records = self.records.lock().expect("no holder of the lock panics");
        let mut bytes = MAGIC.to_vec();
        for record in records.values().filter(|record| record.age <= MAX_AGE) {
            record.encode(&mut bytes);
        }
        bytes
    }

    /// Returns the digest of a file that looks like `stamp`.
    pub(crate) fn get(&self, stamp: &Stamp) -> Option<Digest> {
        let mut records = self.records.lock().expect("no holder of the lock panics");
        let record = records.get_mut(&(stamp.dev, stamp.ino)).filter(|record| record.stamp == *stamp)?;
        record.age = 0;
        Some(record.digest)
    }

    /// Remembers a digest, if a later change of the file is sure to show.
    pub(crate) fn insert(&self, stamp: Stamp, digest: Digest) {
        let limit = self.now.saturating_sub(RACY);
        let is_old = |(seconds, nanoseconds): (i64, u32)| {
            u64::try_from(seconds).map_or(true, |seconds| Duration::new(seconds, nanoseconds) < limit)
        };
        if is_old(stamp.mtime) && is_old(stamp.ctime) {
            let mut records = self.records.lock().expect("no holder of the lock panics");
            records.insert((stamp.dev, stamp.ino), Record { stamp, age: 0, digest });
        }
    }
}

impl Record {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let Stamp { dev, ino, size, mtime, ctime } = self.stamp;
        for number in [dev, ino, size] {
            bytes.extend(number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [mtime, ctime] {
            bytes.extend(seconds.to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
        }
        bytes.push(self.age.saturating_add(1));
        bytes.extend(self.digest.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Record> {
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let time_at = |at: usize| {
            let seconds = i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
            Some((seconds, u32::from_le_bytes(bytes.get(at + 8..at + 12)?.try_into().ok()?)))
        };
        let stamp =
            Stamp { dev: u64_at(0)?, ino: u64_at(8)?, size: u64_at(16)?, mtime: time_at(24)?, ctime: time_at(36)? };
        let digest = Digest::from_bytes(bytes.get(49..81)?.try_into().ok()?);
        Some(Record { stamp, age: *bytes.get(48)?, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ino: u64, seconds: i64) -> Stamp {
        Stamp { dev: 1, ino, size: 5, mtime: (seconds, 7), ctime: (seconds, 9) }
    }

    #[test]
    fn what_is_known_survives_a_run() {
        let cache = StatCache::load(b"", Duration::from_secs(1000));
        cache.insert(stamp(3, 900), Digest::of(b"x"));
        let again = StatCache::load(&cache.to_bytes(), Duration::from_secs(2000));
        assert_eq!(again.get(&stamp(3, 900)), Some(Digest::of(b"x")));
        assert_eq!(again.get(&Stamp { size: 6, ..stamp(3, 900) }), None);
        assert_eq!(again.get(&Stamp { ctime: (900, 10), ..stamp(3, 900) }), None);
        assert_eq!(again.get(&stamp(4, 900)), None);
    }

    #[test]
    fn a_fresh_change_is_not_trusted() {
        let cache = StatCache::load(b"", Duration::from_secs(1000));
        for seconds in [999, 1000, 5000] {
            cache.insert(stamp(3, seconds), Digest::of(b"x"));
            assert_eq!(cache.get(&stamp(3, seconds)), None, "{seconds}");
        }
    }

    #[test]
    fn other_bytes_and_unused_records_are_dropped() {
        assert_eq!(StatCache::load(b"bake-stat-1\nshort", Duration::ZERO).to_bytes(), MAGIC);
        assert_eq!(StatCache::load(b"bake-stat-2\n", Duration::ZERO).to_bytes(), MAGIC);
        let mut cache = StatCache::load(b"", Duration::from_secs(1000));
        cache.insert(stamp(3, 900), Digest::of(b"x"));
        for _ in 0..=MAX_AGE {
            cache = StatCache::load(&cache.to_bytes(), Duration::from_secs(1000));
        }
        assert_eq!(cache.to_bytes(), MAGIC);
    }
}
