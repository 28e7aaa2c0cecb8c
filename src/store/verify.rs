//! Checks that everything is what it is known by: bytes against digests, references against what is there.
//!
//! | item | what is checked |
//! |---|---|
//! | blob | its bytes against its name |
//! | snapshot of a layer that was made here | its canonical tar against the diff id |
//! | snapshot of another's layer | against what its blob, or the same layer on nothing, unpacks to |
//! | record | it can be read, and each of its layers is here or known to be in a registry |
//! | layer, copy | it can be read |
//! | memo, state, checkout, cache mount, git | nothing: their content has no name |
//!
//! Which stack a snapshot is the top of is known from records and image configs. One that neither names is not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use rayon::prelude::*;

use super::inventory::{Inventory, Item, Sizes, read_quietly};
use super::item::{ItemId, ItemKind, digest_of_hex};
use super::lease::{Gate, LiveLeases};
use super::snapshot::ActiveSnapshot;
use super::{CacheRecord, LayerRecord, Store, StoreError, diff};
use crate::digest::{DiffId, Digest, Hashing, chain_ids};
use crate::oci::{ImageConfig, MediaType, digest_of};
use crate::sys::cancel::CancelToken;
use crate::sys::tree;

/// An item that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Which.
    pub id: ItemId,
    /// What is wrong with it, one phrase.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// By kind and name.
    pub damages: Vec<Damage>,
    /// Items of each kind that were checked.
    pub n_checked: BTreeMap<ItemKind, usize>,
    /// Items of each kind whose content has no name to check it against, or whose stack is not known.
    pub n_unchecked: BTreeMap<ItemKind, usize>,
}

/// What became of the check of one item.
enum Finding {
    Right,
    Wrong(String),
    Unknown,
}

/// What is known while a store is checked.
struct Check<'a> {
    store: &'a Store,
    inventory: &'a Inventory,
    /// By chain id, the stacks whose snapshots there are.
    stacks: BTreeMap<Digest, Vec<DiffId>>,
    /// What was found damaged so far.
    damaged: BTreeSet<ItemId>,
}

impl Store {
    /// Checks everything; reads the whole store. What is checked stays while it is.
    ///
    /// # Errors
    /// The store cannot be read, or `cancel` is set: `Interrupted`.
    pub fn verify(&self, cancel: &CancelToken) -> Result<Verified, StoreError> {
        let inventory = self.inventory(Sizes::Ledger)?;
        let mut check = Check { store: self, inventory: &inventory, stacks: BTreeMap::new(), damaged: BTreeSet::new() };
        let mut verified = Verified::default();
        // What others need is looked at before them.
        let order = [ItemKind::Blob, ItemKind::Layer, ItemKind::Snapshot, ItemKind::Copy, ItemKind::Record];
        for kind in order {
            if kind == ItemKind::Snapshot {
                check.stacks = check.known_stacks();
            }
            let items: Vec<&Item> = inventory.items.iter().filter(|item| item.id.kind == kind).collect();
            let look = |item: &&Item| (!cancel.is_cancelled()).then(|| check.look(&item.id));
            let found: Vec<Option<Finding>> = match kind {
                ItemKind::Blob => items.par_iter().map(look).collect(),
                _ => items.iter().map(look).collect(),
            };
            for (item, finding) in items.into_iter().zip(found) {
                let counts = match finding {
                    None => return Err(StoreError::io("check", &self.path, io::ErrorKind::Interrupted.into())),
                    Some(Finding::Unknown) => &mut verified.n_unchecked,
                    Some(Finding::Right) => &mut verified.n_checked,
                    Some(Finding::Wrong(what)) => {
                        check.damaged.insert(item.id.clone());
                        verified.damages.push(Damage { id: item.id.clone(), what });
                        &mut verified.n_checked
                    }
                };
                *counts.entry(kind).or_default() += 1;
            }
        }
        for item in inventory.items.iter().filter(|item| !order.contains(&item.id.kind)) {
            *verified.n_unchecked.entry(item.id.kind).or_default() += 1;
        }
        verified.damages.sort();
        Ok(verified)
    }

    /// Removes what is damaged, so that the next build makes it or fetches it again. Returns what another running bake
    /// uses, which stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn repair(&self, damages: &[Damage]) -> Result<Vec<ItemId>, StoreError> {
        let mut graves = Vec::new();
        let repaired = self.bury_damaged(damages, &mut graves);
        for grave in graves {
            tree::remove(&grave).map_err(|error| StoreError::io("remove", &grave, error))?;
        }
        repaired.map_err(|error| StoreError::io("repair", &self.path, error))
    }

    fn bury_damaged(&self, damages: &[Damage], graves: &mut Vec<PathBuf>) -> io::Result<Vec<ItemId>> {
        let _alone = Gate::alone(&self.path)?;
        let own = self.temporaries.with_extension("lock");
        let others = LiveLeases::read_but(&self.path, Some(&own))?;
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        // In the order of kinds: what refers to others goes before them.
        for Damage { id, .. } in damages {
            let is_used = others.has_silent || others.keys.contains(&id.key());
            match !is_used && self.bury(id, graves)? {
                true => gone.push((id.key(), 0)),
                false => kept.push(id.clone()),
            }
        }
        self.ledger.correct(&gone)?;
        Ok(kept)
    }
}

impl Check<'_> {
    fn look(&self, id: &ItemId) -> Finding {
        let path = id.path(&self.store.path);
        // Gone since it was listed.
        if !self.store.lease(id.key()) {
            return Finding::Unknown;
        }
        match id.kind {
            ItemKind::Blob => self.blob(id),
            ItemKind::Snapshot => self.snapshot(id),
            ItemKind::Record => match read_quietly::<CacheRecord>(&path) {
                Some(record) => self.record(&record),
                None => Finding::Wrong("it is no record".to_owned()),
            },
            ItemKind::Layer if read_quietly::<LayerRecord>(&path).is_none() => {
                Finding::Wrong("it says nothing that can be read".to_owned())
            }
            ItemKind::Copy if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() < 32) => {
                Finding::Wrong("it was cut short".to_owned())
            }
            _ => Finding::Right,
        }
    }

    fn blob(&self, id: &ItemId) -> Finding {
        let Some(expected) = digest_of_hex(&id.name) else { return Finding::Unknown };
        let hashed = self.store.open_blob(&expected).and_then(|mut file| {
            let mut hashing = Hashing::new(io::sink());
            io::copy(&mut file, &mut hashing)?;
            Ok(hashing.finish())
        });
        match hashed {
            Ok((_, actual, _)) if actual == expected => Finding::Right,
            Ok((_, actual, size)) => Finding::Wrong(format!("its {size} bytes are those of {actual}")),
            Err(error) => Finding::Wrong(format!("it cannot be read: {error}")),
        }
    }

    /// Returns the stacks that records and image configs name.
    fn known_stacks(&self) -> BTreeMap<Digest, Vec<DiffId>> {
        let mut stacks = BTreeMap::new();
        let mut add = |stack: &[DiffId]| {
            for (top, chain) in chain_ids(stack).enumerate() {
                stacks.entry(chain.0).or_insert_with(|| stack[..=top].to_vec());
            }
        };
        for item in &self.inventory.items {
            let path = item.id.path(&self.store.path);
            match item.id.kind {
                ItemKind::Record => {
                    if let Some(record) = read_quietly::<CacheRecord>(&path) {
                        add(&record.diff_ids);
                    }
                }
                // A chain of one layer has that one's own digest.
                ItemKind::Layer => {
                    digest_of_hex(&item.id.name).into_iter().for_each(|digest| add(&[DiffId(digest)]));
                }
                ItemKind::Blob if item.size < MAX_CONFIG => {
                    let config = std::fs::read(&path).ok().and_then(|bytes| ImageConfig::parse(&bytes).ok());
                    if let Some(config) = config {
                        add(&config.rootfs.diff_ids);
                    }
                }
                _ => {}
            }
        }
        stacks
    }

    fn record(&self, record: &CacheRecord) -> Finding {
        let chains: Vec<_> = chain_ids(&record.diff_ids).collect();
        for (top, layer) in record.diff_ids.iter().enumerate() {
            let snapshot = ItemId::new(ItemKind::Snapshot, &chains[top].0);
            let is_here = !self.damaged.contains(&snapshot) && self.store.has_snapshot_of(&record.diff_ids[..=top]);
            if !is_here && !self.is_layer_known(layer) && !self.is_whole_alone(*layer) {
                return Finding::Wrong(format!("its layer {} is neither here nor known to be in a registry", layer.0));
            }
        }
        Finding::Right
    }

    fn is_layer_known(&self, layer: &DiffId) -> bool {
        let blobs = self.store.layer(layer).map_or_else(Vec::new, |layer| layer.blobs);
        blobs.iter().any(|blob| {
            let is_here = |digest: &Digest| {
                self.store.has_blob(digest) && !self.damaged.contains(&ItemId::new(ItemKind::Blob, digest))
            };
            !blob.sources.is_empty() || digest_of(&blob.descriptor).is_ok_and(|digest| is_here(&digest))
        })
    }

    /// Says whether the layer is here as it was made on nothing.
    fn is_whole_alone(&self, layer: DiffId) -> bool {
        !self.damaged.contains(&ItemId::new(ItemKind::Snapshot, &layer.0)) && self.store.is_free(layer)
    }

    fn snapshot(&self, id: &ItemId) -> Finding {
        let over = id.path(&self.store.path).join("over");
        if let Some(text) = super::read_small(&over) {
            let below = digest_of_hex(&text).map(|digest| ItemId::new(ItemKind::Snapshot, &digest));
            match below {
                Some(below) if below.path(&self.store.path).exists() => {}
                Some(below) => {
                    return Finding::Wrong(format!("it says the differences to {below}, which is not there"));
                }
                None => return Finding::Wrong("what it says the differences to cannot be read".to_owned()),
            }
        }
        let stack = digest_of_hex(&id.name).and_then(|chain| self.stacks.get(&chain));
        let Some(stack) = stack else { return Finding::Unknown };
        if !self.store.has_snapshot_of(stack) {
            return Finding::Wrong("its files are missing".to_owned());
        }
        match self.compare(stack) {
            Ok(finding) => finding,
            // Without what it stands on nobody can say.
            Err(StoreError::NoSnapshot(_)) => Finding::Unknown,
            Err(error) => Finding::Wrong(error.to_string()),
        }
    }

    fn compare(&self, stack: &[DiffId]) -> Result<Finding, StoreError> {
        let (top, parent) = stack.split_last().expect("a stack is not empty");
        let lowers = self.store.lowers(parent)?;
        let changes = self.store.changes(stack)?;
        let actual = tar_of(&changes.path, &lowers)?;
        if actual == top.0 {
            return Ok(Finding::Right);
        }
        let wrong = || Finding::Wrong(format!("its files are not those of its layer {}", top.0));
        let Some(fresh) = self.unpacked(parent, *top)? else {
            // A layer that is known to have blobs may be another's, whose tar is not the canonical one.
            let is_anothers = self.store.layer(top).is_some_and(|layer| !layer.blobs.is_empty());
            return Ok(if is_anothers { Finding::Unknown } else { wrong() });
        };
        let fresh = tar_of(&fresh.changes(), &lowers)?;
        Ok(match actual == fresh {
            true => Finding::Right,
            false => wrong(),
        })
    }

    /// Unpacks a layer once more: from a blob, or as it was made on nothing.
    fn unpacked(&self, parent: &[DiffId], layer: DiffId) -> Result<Option<ActiveSnapshot<'_>>, StoreError> {
        let blobs = self.store.layer(&layer).map_or_else(Vec::new, |layer| layer.blobs);
        for descriptor in blobs.into_iter().map(|blob| blob.descriptor) {
            let Ok(digest) = digest_of(&descriptor) else { continue };
            if self.damaged.contains(&ItemId::new(ItemKind::Blob, &digest)) || !self.store.has_blob(&digest) {
                continue;
            }
            let mut blob =
                self.store.open_blob(&digest).map_err(|error| StoreError::io("open", &self.store.path, error))?;
            return self.store.unpack(parent, layer, descriptor.media_type(), &mut blob).map(Some);
        }
        if parent.is_empty() || !self.is_whole_alone(layer) {
            return Ok(None);
        }
        let changes = self.store.changes(&[layer])?;
        let mut tar = tempfile::tempfile_in(&self.store.temporaries)
            .map_err(|error| StoreError::io("write", &self.store.temporaries, error))?;
        let failed = |error| StoreError::io("read", &changes.path, error);
        diff::write_layer(&changes.path, &[], i64::MAX, &mut tar).map_err(failed)?;
        io::Seek::rewind(&mut tar).map_err(failed)?;
        self.store.unpack(parent, layer, &MediaType::from(super::merge::TAR), &mut tar).map(Some)
    }
}

/// No config is larger.
const MAX_CONFIG: u64 = 8 << 20;

fn tar_of(changes: &std::path::Path, lowers: &[PathBuf]) -> Result<Digest, StoreError> {
    let mut tar = Hashing::new(io::sink());
    diff::write_layer(changes, lowers, i64::MAX, &mut tar).map_err(|error| StoreError::io("read", changes, error))?;
    Ok(tar.finish().1)
}
