//! What the store keeps, item by item: the unit in which it is counted, leased, collected and checked.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Store;
use crate::digest::Digest;

/// A kind of item. The order is that in which items of one age go: what refers to others before what it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// What a step made; refers to its layers and their snapshots.
    Record,
    /// What a COPY of a large directory made last.
    Copy,
    /// A small text that was costly to find.
    Memo,
    /// What a later run starts from.
    State,
    /// Which steps the last build of a target was made of.
    History,
    /// What selections of the user's directories held.
    Listing,
    /// Which blobs hold a layer; refers to those that are here.
    Layer,
    /// A layer's files over its stack; may refer to another one.
    Snapshot,
    /// Files of a git commit or an archive, or a downloaded file.
    Checkout,
    /// A cache mount's directory.
    CacheMount,
    /// What git knows of a remote.
    Git,
    /// A document, a compressed layer or a downloaded file, with the index of its members.
    Blob,
}

impl ItemKind {
    /// All kinds, in order.
    pub const ALL: [ItemKind; 12] = [
        ItemKind::Record,
        ItemKind::Copy,
        ItemKind::Memo,
        ItemKind::State,
        ItemKind::History,
        ItemKind::Listing,
        ItemKind::Layer,
        ItemKind::Snapshot,
        ItemKind::Checkout,
        ItemKind::CacheMount,
        ItemKind::Git,
        ItemKind::Blob,
    ];

    /// Returns the word for it in tables, filters and JSON.
    pub fn name(self) -> &'static str {
        match self {
            ItemKind::Record => "record",
            ItemKind::Copy => "copy",
            ItemKind::Memo => "memo",
            ItemKind::State => "state",
            ItemKind::History => "history",
            ItemKind::Listing => "listing",
            ItemKind::Layer => "layer",
            ItemKind::Snapshot => "snapshot",
            ItemKind::Checkout => "checkout",
            ItemKind::CacheMount => "mount",
            ItemKind::Git => "git",
            ItemKind::Blob => "blob",
        }
    }

    /// Returns the directory of the store that has its items.
    pub(super) fn directory(self) -> &'static str {
        match self {
            ItemKind::Record => "records",
            ItemKind::Copy => "copies",
            ItemKind::Memo => "memos",
            ItemKind::State => "state",
            ItemKind::History => "history",
            ItemKind::Listing => "listings",
            ItemKind::Layer => "layers",
            ItemKind::Snapshot => "snapshots",
            ItemKind::Checkout => "checkouts",
            ItemKind::CacheMount => "mounts",
            ItemKind::Git => "git",
            ItemKind::Blob => "blobs/sha256",
        }
    }

    /// Says whether its items are directories.
    pub(super) fn is_tree(self) -> bool {
        use ItemKind::{CacheMount, Checkout, Git, Listing, Snapshot};
        matches!(self, Snapshot | Checkout | CacheMount | Git | Listing)
    }

    /// Returns the byte that stands for it in files of the store; never changed once given.
    pub(super) fn code(self) -> u8 {
        match self {
            ItemKind::Record => 1,
            ItemKind::Copy => 2,
            ItemKind::Memo => 3,
            ItemKind::State => 4,
            ItemKind::Layer => 5,
            ItemKind::Snapshot => 6,
            ItemKind::Checkout => 7,
            ItemKind::CacheMount => 8,
            ItemKind::Git => 9,
            ItemKind::Blob => 10,
            ItemKind::History => 11,
            ItemKind::Listing => 12,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<ItemKind> {
        ItemKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What an item is known by in the files that count and lease: its digest, or that of its name where it has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ItemKey {
    pub(super) kind: ItemKind,
    pub(super) digest: Digest,
}

impl ItemKey {
    /// Bytes of a key in a file.
    pub(super) const SIZE: usize = 33;

    pub(super) fn new(kind: ItemKind, digest: Digest) -> ItemKey {
        ItemKey { kind, digest }
    }

    /// Returns the key of the entry `name` in the kind's directory.
    pub(super) fn of_name(kind: ItemKind, name: &str) -> ItemKey {
        let digest = digest_of_hex(name);
        ItemKey { kind, digest: digest.unwrap_or_else(|| Digest::of(name.as_bytes())) }
    }

    pub(super) fn to_bytes(self) -> [u8; ItemKey::SIZE] {
        let mut bytes = [self.kind.code(); ItemKey::SIZE];
        bytes[1..].copy_from_slice(self.digest.as_bytes());
        bytes
    }

    /// `None` for what no bake of this version wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<ItemKey> {
        let (code, digest) = bytes.split_first()?;
        Some(ItemKey { kind: ItemKind::of_code(*code)?, digest: Digest::from_bytes(digest.try_into().ok()?) })
    }
}

/// An item by its kind and its name in the kind's directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// What it is.
    pub kind: ItemKind,
    /// 64 hex digits, for a cache mount's double with `.N`; a state's own name.
    pub name: String,
}

impl ItemId {
    pub(super) fn new(kind: ItemKind, digest: &Digest) -> ItemId {
        ItemId { kind, name: digest.hex() }
    }

    pub(super) fn key(&self) -> ItemKey {
        ItemKey::of_name(self.kind, &self.name)
    }

    pub(super) fn path(&self, store: &Path) -> PathBuf {
        store.join(self.kind.directory()).join(&self.name)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name.get(..12).unwrap_or(&self.name))
    }
}

impl Store {
    pub(super) fn item_path(&self, key: ItemKey) -> PathBuf {
        self.path.join(key.kind.directory()).join(key.digest.hex())
    }
}

impl Store {
    /// Returns the item that is at `path`, if it is one.
    pub(super) fn item_at(&self, path: &Path) -> Option<ItemId> {
        let directory = path.parent()?.strip_prefix(&self.path).ok()?;
        let kind = ItemKind::ALL.into_iter().find(|kind| directory == Path::new(kind.directory()))?;
        Some(ItemId { kind, name: path.file_name()?.to_str()?.to_owned() })
    }
}

/// Reads the 64 hex digits of a file's name.
pub(super) fn digest_of_hex(name: &str) -> Option<Digest> {
    format!("sha256:{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        for kind in ItemKind::ALL {
            let key = ItemKey::new(kind, Digest::of(kind.name().as_bytes()));
            assert_eq!(ItemKey::from_bytes(&key.to_bytes()), Some(key));
            assert_eq!(ItemKey::of_name(kind, &key.digest.hex()), key);
        }
        assert_eq!(ItemKey::from_bytes(&[0; ItemKey::SIZE]), None);
        assert_eq!(ItemKey::from_bytes(&[1; 7]), None);
    }
}
