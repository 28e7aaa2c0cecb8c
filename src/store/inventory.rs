//! All that the store holds: sizes, times, and what refers to what.
//!
//! ```text
//! record ──▶ snapshots of its stack, and of its layers on nothing ──▶ the snapshot that one says the differences to
//!        └─▶ layers of its stack ──▶ their blobs that are here
//! ```
//! Checkouts, cache mounts, git's repositories, memos and states refer to nothing and nothing refers to them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::item::{ItemId, ItemKey, ItemKind, digest_of_hex};
use super::lease::{LiveLeases, seconds};
use super::ledger::measure;
use super::{CacheRecord, LayerRecord, Store, StoreError};
use crate::digest::chain_ids;
use crate::oci::digest_of;

/// An item of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub id: ItemId,
    /// Bytes on disk.
    pub size: u64,
    /// Seconds since 1970.
    pub made: i64,
    /// Seconds since 1970; of what it is used through alone (a snapshot of a record) also that one's.
    pub last_used: i64,
    /// Positions of the items that it needs.
    pub refs: Vec<usize>,
    /// Items that need it.
    pub n_referrers: usize,
    /// A running bake uses it, itself or through another.
    pub is_in_use: bool,
    /// A checkout has the same file, so that removing it frees nothing.
    pub is_linked: bool,
    /// What people know it by: a step, a mount's id; empty where that is not known.
    pub description: String,
}

/// All items, by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The items.
    pub items: Vec<Item>,
    /// Bytes of the store's directories, locks and temporaries, which are no items.
    pub other_size: u64,
}

impl Inventory {
    /// Returns the bytes that the store takes of the disk.
    pub fn total(&self) -> u64 {
        self.items.iter().map(|item| item.size).sum::<u64>() + self.other_size
    }
}

/// Where the sizes of directories come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// From the ledger, as far as it has them.
    Ledger,
    /// From the disk.
    Disk,
}

/// What an item refers to, whether it is there or not.
#[derive(Default)]
struct Wanted {
    refs: Vec<ItemKey>,
    /// Those of them that its description is one of: a record is that of its top layer.
    described: Vec<ItemKey>,
}

/// How a scan goes on.
struct Scan<'a> {
    store: &'a Store,
    known: Option<HashMap<ItemKey, u64>>,
    items: Vec<Item>,
    /// What each item refers to.
    wanted: Vec<Wanted>,
    by_key: HashMap<ItemKey, usize>,
    other_size: u64,
}

impl Store {
    /// Lists everything, with what running processes use. With [`Sizes::Disk`] it walks the whole store, and corrects the
    /// ledger.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn inventory(&self, sizes: Sizes) -> Result<Inventory, StoreError> {
        let listed = super::lease::Gate::alone(&self.path).and_then(|_alone| self.scan(sizes));
        let inventory = listed.map_err(|error| StoreError::io("list", &self.path, error))?;
        if sizes == Sizes::Disk {
            self.write_ledger(&inventory).map_err(|error| StoreError::io("count", &self.path, error))?;
        }
        Ok(inventory)
    }

    /// Lists everything; the caller has the gate alone.
    pub(super) fn scan(&self, sizes: Sizes) -> io::Result<Inventory> {
        let known = match sizes {
            Sizes::Ledger if self.ledger.is_there() => Some(self.ledger.sizes()?),
            _ => None,
        };
        let (items, wanted, by_key) = (Vec::new(), Vec::new(), HashMap::new());
        let mut scan = Scan { store: self, known, items, wanted, by_key, other_size: 0 };
        for kind in ItemKind::ALL {
            scan.kind(kind)?;
        }
        scan.others(sizes)?;
        let Scan { mut items, wanted, by_key, other_size, .. } = scan;
        let there = |keys: &[ItemKey]| keys.iter().filter_map(|key| by_key.get(key).copied()).collect();
        for (item, wanted) in items.iter_mut().zip(&wanted) {
            item.refs = there(&wanted.refs);
        }
        describe(&mut items, &wanted.iter().map(|wanted| there(&wanted.described)).collect::<Vec<_>>());
        let live = LiveLeases::read(&self.path)?;
        for item in &mut items {
            item.is_in_use |= live.has_silent || live.keys.contains(&item.id.key());
        }
        spread(&mut items);
        Ok(Inventory { items, other_size })
    }

    /// Writes down the sizes that were found.
    fn write_ledger(&self, inventory: &Inventory) -> io::Result<()> {
        let sizes: Vec<(ItemKey, u64)> = inventory.items.iter().map(|item| (item.id.key(), item.size)).collect();
        let known = self.ledger.sizes()?;
        let found: HashMap<ItemKey, u64> = sizes.iter().copied().collect();
        // What another process puts in place meanwhile is in the ledger and not among what was found, and stays.
        let gone = known.keys().filter(|key| !found.contains_key(key) && !self.item_path(**key).exists());
        let sizes: Vec<_> = sizes.into_iter().chain(gone.map(|key| (*key, 0))).collect();
        self.gate.inside(|| self.ledger.correct(&sizes))
    }
}

impl Scan<'_> {
    fn kind(&mut self, kind: ItemKind) -> io::Result<()> {
        let directory = self.store.path.join(kind.directory());
        let mut entries: BTreeMap<String, DirEntry> = BTreeMap::new();
        let listed = match std::fs::read_dir(&directory) {
            // A store of an earlier bake.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        for entry in listed {
            let entry = entry?;
            entries.insert(entry.file_name().to_string_lossy().into_owned(), entry);
        }
        self.other_size += blocks(&std::fs::metadata(&directory)?);
        for (name, entry) in entries {
            // A running process may take its own away.
            let Ok(metadata) = entry.metadata() else { continue };
            if !is_item(kind, &name) {
                self.other_size += blocks(&metadata);
                continue;
            }
            let id = ItemId { kind, name };
            let wanted = self.look(&id, &metadata)?;
            self.wanted.push(wanted);
        }
        Ok(())
    }

    /// Adds an item and returns what it refers to.
    fn look(&mut self, id: &ItemId, metadata: &Metadata) -> io::Result<Wanted> {
        let (key, path) = (id.key(), id.path(&self.store.path));
        let mut item = Item {
            id: id.clone(),
            size: blocks(metadata),
            made: metadata.mtime(),
            last_used: metadata.mtime().max(metadata.atime()),
            refs: Vec::new(),
            n_referrers: 0,
            is_in_use: false,
            is_linked: id.kind == ItemKind::Blob && metadata.nlink() > 1,
            description: String::new(),
        };
        let mut wanted = Wanted::default();
        match id.kind {
            ItemKind::Record => {
                if let Some(record) = read_quietly::<CacheRecord>(&path) {
                    let layers = record.diff_ids.iter().map(|layer| ItemKey::new(ItemKind::Layer, layer.0));
                    let snapshots = chain_ids(&record.diff_ids).map(|chain| ItemKey::new(ItemKind::Snapshot, chain.0));
                    let (layers, snapshots): (Vec<_>, Vec<_>) = (layers.collect(), snapshots.collect());
                    wanted.described = layers.last().into_iter().chain(snapshots.last()).copied().collect();
                    // A layer may be here as it was made on nothing alone: see `merge`.
                    let alone = record.diff_ids.iter().map(|layer| ItemKey::new(ItemKind::Snapshot, layer.0)).collect();
                    wanted.refs = [layers, snapshots, alone].concat();
                    wanted.refs.sort();
                    wanted.refs.dedup();
                    item.description = record.name;
                }
            }
            ItemKind::Layer => {
                let layer = read_quietly::<LayerRecord>(&path).unwrap_or_default();
                let blobs = layer.blobs.iter().filter_map(|blob| digest_of(&blob.descriptor).ok());
                wanted.refs = blobs.map(|digest| ItemKey::new(ItemKind::Blob, digest)).collect();
                wanted.described.clone_from(&wanted.refs);
            }
            ItemKind::Blob => {
                let members = self.store.path.join("members").join(&id.name);
                item.size += std::fs::metadata(members).map_or(0, |members| blocks(&members));
            }
            ItemKind::Snapshot => {
                let over = super::read_small(&path.join("over")).and_then(|hex| digest_of_hex(&hex));
                wanted.refs = over.into_iter().map(|over| ItemKey::new(ItemKind::Snapshot, over)).collect();
                wanted.described.clone_from(&wanted.refs);
            }
            ItemKind::CacheMount => item.description = self.store.mount_id(&id.name).unwrap_or_default(),
            ItemKind::Copy | ItemKind::Memo | ItemKind::State | ItemKind::History => {}
            ItemKind::Listing | ItemKind::Checkout | ItemKind::Git => {}
        }
        if id.kind.is_tree() {
            item.made = metadata.ctime();
            let known = self.known.as_ref().and_then(|known| known.get(&key).copied());
            item.size = known.map_or_else(|| measure(&path), Ok)?;
            let (used, is_in_use) = self.tree_use(id, key);
            item.last_used = used.unwrap_or(item.made);
            item.is_in_use = is_in_use;
        }
        self.by_key.insert(key, self.items.len());
        self.items.push(item);
        Ok(wanted)
    }

    /// Returns when a tree was used last, and whether it is now, as far as it has a lock of its own.
    fn tree_use(&self, id: &ItemId, key: ItemKey) -> (Option<i64>, bool) {
        let mark = self.store.own_lock(id).unwrap_or_else(|| self.store.use_mark(key));
        let used = std::fs::metadata(&mark).and_then(|metadata| metadata.modified()).ok().map(seconds);
        let is_locked = |mark: &Path| File::open(mark).is_ok_and(|file| file.try_lock().is_err());
        (used, self.store.own_lock(id).is_some_and(|mark| is_locked(&mark)))
    }

    /// Counts what is no item.
    fn others(&mut self, sizes: Sizes) -> io::Result<()> {
        let is_counted = |name: &str| ItemKind::ALL.iter().any(|kind| kind.directory() == name);
        for entry in std::fs::read_dir(&self.store.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            self.other_size += match name.as_str() {
                name if is_counted(name) => 0,
                // Its files are counted with the blobs, and its one directory is.
                "members" | "blobs" => blocks(&entry.metadata()?),
                // A few large files.
                "emulators" => measure(&entry.path())?,
                _ if sizes == Sizes::Disk => measure(&entry.path())?,
                _ => blocks(&entry.metadata()?),
            };
        }
        self.other_size += blocks(&std::fs::metadata(&self.store.path)?);
        Ok(())
    }
}

/// Says whether an entry of a kind's directory is an item, and not a lock or the like.
fn is_item(kind: ItemKind, name: &str) -> bool {
    match kind {
        ItemKind::State => true,
        ItemKind::CacheMount => {
            let (hex, number) = name.split_once('.').unwrap_or((name, "0"));
            digest_of_hex(hex).is_some() && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => digest_of_hex(name).is_some(),
    }
}

/// Gives an item's description to what it describes; `described` has the positions of that for each item. The kinds stand
/// in such an order that once is enough, but for snapshots that name others.
fn describe(items: &mut [Item], described: &[Vec<usize>]) {
    for (index, referents) in described.iter().enumerate() {
        let description = items[index].description.clone();
        for &referent in referents.iter().filter(|_| !description.is_empty()) {
            if items[referent].description.is_empty() {
                items[referent].description.clone_from(&description);
            }
        }
    }
}

/// What an item needs is used when it is.
fn spread(items: &mut [Item]) {
    // Referrers come before what they refer to, but for snapshots among themselves.
    for _ in 0..items.len() {
        let mut is_settled = true;
        for index in 0..items.len() {
            let (refs, last_used, is_in_use) =
                (items[index].refs.clone(), items[index].last_used, items[index].is_in_use);
            for referent in refs {
                let referent = &mut items[referent];
                if referent.last_used < last_used || (is_in_use && !referent.is_in_use) {
                    referent.last_used = referent.last_used.max(last_used);
                    referent.is_in_use |= is_in_use;
                    is_settled = false;
                }
            }
        }
        if is_settled {
            break;
        }
    }
    let refs: Vec<usize> = items.iter().flat_map(|item| item.refs.iter().copied()).collect();
    refs.into_iter().for_each(|referent| items[referent].n_referrers += 1);
}

/// Bytes of a file itself on disk.
pub(super) fn blocks(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

/// Reads a small document without counting as a use of it.
pub(super) fn read_quietly<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let no_atime = i32::try_from(rustix::fs::OFlags::NOATIME.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(no_atime).open(path).or_else(|_| File::open(path)).ok()?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::BufReader::new(file), &mut bytes).ok()?;
    serde_json::from_slice(&super::seal::unseal(bytes)?).ok()
}
