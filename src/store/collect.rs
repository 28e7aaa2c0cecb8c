//! Garbage collection: what was not used for the longest time goes first, and never what a running bake uses.
//!
//! [`decide`] is pure: items in, verdicts out, in the order in which they go. An item is as young as the youngest that
//! refers to it, so what refers to others is always gone before them; a process that is killed in between leaves items that
//! nothing refers to, and none that refers to nothing.
//!
//! 1. The collector takes the gate alone: nobody can begin to use anything.
//! 2. It lists the store, reads the leases of all running processes and decides.
//! 3. Files are removed; directories are renamed into its temporaries, which whoever opens the store next removes if it is
//!    killed.
//! 4. It writes a new ledger, opens the gate, and removes the directories.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::inventory::{Inventory, Item, Sizes};
use super::item::{ItemId, ItemKey, ItemKind};
use super::lease::Gate;
use super::ledger::Entered;
use super::limit::StoreLimit;
use super::{Store, StoreError};
use crate::sys::tree;

/// What a collection is asked.
pub struct Wish<'a> {
    /// Nothing goes any more once the store is this small; bytes.
    pub keep: u64,
    /// Says why an item is not meant; `None` if it is.
    pub spares: &'a dyn Fn(&Item) -> Option<String>,
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is removed.
    Goes,
    /// A running bake uses it.
    InUse,
    /// An item that stays needs it.
    Needed(ItemId),
    /// It is not meant.
    Spared(String),
    /// A checkout has the same file.
    Linked,
    /// The store is small enough without that.
    Fits,
}

/// An item and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its position in the inventory.
    pub index: usize,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What a collection did.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What there was.
    pub inventory: Inventory,
    /// In the order in which they were taken.
    pub decisions: Vec<Decision>,
    /// Bytes that were freed.
    pub freed: u64,
}

/// Decides for each item, those that go first before the others. `n_bytes` is the size of the store.
pub fn decide(items: &[Item], n_bytes: u64, wish: &Wish<'_>) -> Vec<Decision> {
    let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    for (index, item) in items.iter().enumerate() {
        item.refs.iter().for_each(|&referent| referrers[referent].push(index));
    }
    let depth = |index: usize| {
        let on =
            |index: usize| items[index].refs.iter().copied().find(|&over| items[over].id.kind == ItemKind::Snapshot);
        match items[index].id.kind {
            // Nothing refers to itself through others: a chain id is made of those below it.
            ItemKind::Snapshot => std::iter::successors(on(index), |&over| on(over)).take(items.len()).count(),
            _ => 0,
        }
    };
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|&index| {
        let item = &items[index];
        (item.last_used, item.id.kind, std::cmp::Reverse(depth(index)), item.id.name.clone())
    });
    let mut left = n_bytes;
    let mut goes = vec![false; items.len()];
    let mut decisions = Vec::with_capacity(items.len());
    for index in order {
        let item = &items[index];
        let needed = || referrers[index].iter().find(|&&referrer| !goes[referrer]);
        let verdict = if item.is_in_use {
            Verdict::InUse
        } else if let Some(why) = (wish.spares)(item) {
            Verdict::Spared(why)
        } else if let Some(&referrer) = needed() {
            Verdict::Needed(items[referrer].id.clone())
        } else if item.is_linked {
            Verdict::Linked
        } else if left <= wish.keep {
            Verdict::Fits
        } else {
            left = left.saturating_sub(item.size);
            goes[index] = true;
            Verdict::Goes
        };
        decisions.push(Decision { index, verdict });
    }
    decisions
}

impl Store {
    /// Makes room for an item of `size` bytes, counts and leases it. Called before it is put in place.
    ///
    /// # Errors
    /// [`StoreError::Full`]: what running bakes use, with this, is more than the limit.
    pub(super) fn admit(&self, key: ItemKey, size: u64) -> Result<(), StoreError> {
        self.count_once()?;
        let limit = self.limit();
        let failed = |error| StoreError::io("count", &self.item_path(key), error);
        let enter = || {
            self.gate.inside(|| {
                self.leases.add(key)?;
                self.ledger.enter(key, size, limit.saturating_sub(self.overhead()))
            })
        };
        if enter().map_err(failed)? == Entered::Yes {
            return Ok(());
        }
        self.make_room(size)?;
        match enter().map_err(failed)? {
            Entered::Yes => Ok(()),
            Entered::Full(n_used) => Err(StoreError::Full { limit, n_used: n_used + self.overhead(), n_wanted: size }),
        }
    }

    /// Makes room for `size` bytes that are about to come, if that can be done.
    ///
    /// # Errors
    /// [`StoreError::Full`]: it cannot.
    pub fn reserve(&self, size: u64) -> Result<(), StoreError> {
        self.count_once()?;
        let limit = self.limit();
        let total = || self.ledger.total().map_err(|error| StoreError::io("count", &self.path, error));
        if total()?.saturating_add(size).saturating_add(self.overhead()) <= limit {
            return Ok(());
        }
        self.make_room(size)?;
        let n_used = total()? + self.overhead();
        match n_used.saturating_add(size) <= limit {
            true => Ok(()),
            false => Err(StoreError::Full { limit, n_used, n_wanted: size }),
        }
    }

    /// Forgets an item that this process removed.
    pub(super) fn dismiss(&self, key: ItemKey) {
        self.leases.forget(key);
        // The sum is too large then, and the next collection puts it right.
        _ = self.gate.inside(|| self.ledger.correct(&[(key, 0)]));
    }

    /// Collects what `wish` does not spare, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn collect(&self, wish: &Wish<'_>) -> Result<Collected, StoreError> {
        let mut graves = Vec::new();
        let collected = self.collect_into(wish, &mut graves);
        for grave in graves {
            tree::remove(&grave).map_err(|error| StoreError::io("remove", &grave, error))?;
        }
        collected.map_err(|error| StoreError::io("collect garbage in", &self.path, error))
    }

    fn collect_into(&self, wish: &Wish<'_>, graves: &mut Vec<PathBuf>) -> io::Result<Collected> {
        let _alone = Gate::alone(&self.path)?;
        let inventory = self.scan(Sizes::Ledger)?;
        let mut decisions = decide(&inventory.items, inventory.total(), wish);
        let (mut freed, mut is_gone) = (0, vec![false; inventory.items.len()]);
        for decision in decisions.iter_mut().filter(|decision| decision.verdict == Verdict::Goes) {
            let item = &inventory.items[decision.index];
            match self.bury(&item.id, graves)? {
                true => (freed, is_gone[decision.index]) = (freed + item.size, true),
                // Somebody took it since.
                false => decision.verdict = Verdict::InUse,
            }
        }
        let left = inventory.items.iter().zip(&is_gone).filter(|(_, is_gone)| !**is_gone);
        // See `overhead`.
        let left = left.filter(|(item, _)| item.id.kind != ItemKind::State);
        self.ledger.replace(&self.temporary(), left.map(|(item, _)| (item.id.key(), item.size)))?;
        Ok(Collected { inventory, decisions, freed })
    }

    /// Takes an item out of the store; `false` if it is in use after all.
    pub(super) fn bury(&self, id: &ItemId, graves: &mut Vec<PathBuf>) -> io::Result<bool> {
        let path = id.path(&self.path);
        let lock = self.own_lock(id).and_then(|path| File::open(path).ok());
        if lock.as_ref().is_some_and(|lock| lock.try_lock().is_err()) {
            return Ok(false);
        }
        let is_there = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        if id.kind == ItemKind::Blob {
            is_there(std::fs::remove_file(self.path.join("members").join(&id.name)))?;
        }
        if id.kind.is_tree() {
            let grave = self.temporary();
            is_there(std::fs::rename(&path, &grave))?;
            graves.push(grave);
            _ = std::fs::remove_file(self.use_mark(id.key()));
        } else {
            is_there(std::fs::remove_file(&path))?;
        }
        self.leases.forget(id.key());
        Ok(true)
    }

    /// Returns the file whose lock says that an item is in use, of those kinds that have one.
    pub(super) fn own_lock(&self, id: &ItemId) -> Option<PathBuf> {
        let path = id.path(&self.path);
        match id.kind {
            ItemKind::CacheMount => {
                let (hex, number) = id.name.split_once('.').unwrap_or((&id.name, "0"));
                Some(path.with_file_name(format!("{hex}.{number}.lock")))
            }
            ItemKind::Git => Some(path.with_extension("lock")),
            _ => None,
        }
    }

    /// Collects so much that `size` bytes have room, and then some, so that not every step collects.
    fn make_room(&self, size: u64) -> Result<(), StoreError> {
        let limit = self.limit();
        let Some(keep) = limit.checked_sub(size) else { return Ok(()) };
        // A later run starts from it, or explains itself by it, and it is small.
        let is_small = |kind| matches!(kind, ItemKind::State | ItemKind::History | ItemKind::Listing);
        let spares = |item: &Item| is_small(item.id.kind).then(String::new);
        self.collect(&Wish { keep: keep.min(limit / 10 * 9), spares: &spares }).map(drop)
    }

    /// Counts a store that an earlier bake made.
    fn count_once(&self) -> Result<(), StoreError> {
        if self.is_counted.get().is_none() {
            if !self.ledger.is_there() {
                self.collect(&Wish { keep: u64::MAX, spares: &|_| None })?;
            }
            _ = self.is_counted.set(());
        }
        Ok(())
    }

    /// Returns how large the store may become, bytes.
    pub fn limit(&self) -> u64 {
        *self.limit.get_or_init(|| StoreLimit::bytes(self.given_limit, &self.path))
    }

    /// Returns the bytes that are free on the store's disk for this user.
    pub fn free_space(&self) -> u64 {
        rustix::fs::statvfs(&self.path).map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Returns the bytes of what is not in the ledger: the directories, and the states.
    pub(super) fn overhead(&self) -> u64 {
        *self.overhead.get_or_init(|| {
            let size =
                |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| super::inventory::blocks(&metadata));
            let directories = super::LAYOUT.iter().map(|name| size(self.path.join(name)));
            let states = std::fs::read_dir(self.path.join("state")).into_iter().flatten().flatten();
            directories.sum::<u64>() + states.map(|entry| size(entry.path())).sum::<u64>() + size(self.path.clone())
        })
    }
}
