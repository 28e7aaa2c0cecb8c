//! What the last builds were made of: read by nothing that decides a result, only by what explains one.

#![expect(clippy::disallowed_methods, reason = "this row owns its files")]

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::item::{ItemId, ItemKey, ItemKind};
use super::{Store, StoreError, read_sealed};
use crate::digest::Digest;

/// Listings that are kept of one selection; each may be of another target's last build.
const N_LISTINGS: usize = 16;

/// Bytes of them together, once there are two.
const MAX_LISTINGS: u64 = 8 << 20;

impl Store {
    /// Returns the trace of the last build called `name`, and its mark.
    pub fn trace(&self, name: &Digest) -> Option<(Digest, Vec<u8>)> {
        let bytes = read_sealed(&self.path.join("history").join(name.hex()))?;
        let (mark, trace) = bytes.split_at_checked(32)?;
        Some((Digest::from_bytes(mark.try_into().ok()?), trace.to_vec()))
    }

    /// Keeps the trace of a build in place of that of the one before; `mark` is equal for equal traces.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_trace(&self, name: &Digest, mark: &Digest, trace: &[u8]) -> Result<(), StoreError> {
        self.write_item(ItemKey::new(ItemKind::History, *name), &[mark.as_bytes().as_slice(), trace].concat())
    }

    /// Returns what the selection called `name` held when its digest was `content`.
    pub fn listing(&self, name: &Digest, content: &Digest) -> Option<Vec<u8>> {
        read_sealed(&self.path.join("listings").join(name.hex()).join(content.hex()))
    }

    /// Keeps what a selection held, and drops what was written longest ago if there are many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_listing(&self, name: &Digest, content: &Digest, listing: &[u8]) -> Result<(), StoreError> {
        let directory = self.path.join("listings").join(name.hex());
        std::fs::create_dir_all(&directory).map_err(|error| StoreError::io("create", &directory, error))?;
        self.write_file(&directory.join(content.hex()), listing)?;
        drop_oldest(&directory);
        self.grows(ItemId::new(ItemKind::Listing, name));
        Ok(())
    }
}

/// Leaves the newest files of a directory, within the bounds. What another process removes meanwhile is gone as well.
fn drop_oldest(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let look = |entry: std::fs::DirEntry| -> std::io::Result<(SystemTime, PathBuf, u64)> {
        let metadata = entry.metadata()?;
        Ok((metadata.modified()?, entry.path(), metadata.len()))
    };
    let mut listings: Vec<_> = entries.flatten().filter_map(|entry| look(entry).ok()).collect();
    listings.sort_unstable_by(|one, other| other.cmp(one));
    let mut total = 0;
    for (n_newer, (_, path, size)) in listings.into_iter().enumerate() {
        total += size;
        if n_newer >= N_LISTINGS || n_newer >= 2 && total > MAX_LISTINGS {
            _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_replace_each_other_and_listings_are_bounded() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("opens");
        let name = Digest::of(b"name");
        assert_eq!(store.trace(&name), None);
        for text in [b"one", b"two"] {
            store.put_trace(&name, &Digest::of(text), text).expect("written");
        }
        assert_eq!(store.trace(&name), Some((Digest::of(b"two"), b"two".to_vec())));
        let contents: Vec<Digest> = (0..20_u8).map(|n| Digest::of(&[n])).collect();
        for content in &contents {
            store.put_listing(&name, content, content.as_bytes()).expect("written");
        }
        let n_kept = contents.iter().filter(|content| store.listing(&name, content).is_some()).count();
        assert_eq!(n_kept, N_LISTINGS);
    }
}
