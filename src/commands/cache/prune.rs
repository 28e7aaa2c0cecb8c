//! `bake cache prune`: makes the store smaller.

use std::io::{BufRead, IsTerminal};

use super::super::{Failure, Host, Kind};
use super::age::ago;
use super::du::item_table;
use super::{Filter, StoreRequest, one_line, open, short, store_failure, table};
use crate::store::{Item, ItemKind, Size, Sizes, Store, Verdict, Wish, decide};

/// What `bake cache prune` is asked. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct PruneRequest {
    /// Which store.
    pub store: StoreRequest,
    /// All must pass.
    pub filters: Vec<Filter>,
    /// Cache mounts and what git keeps go as well.
    pub takes_all: bool,
    /// This much always stays.
    pub reserved_space: Option<u64>,
    /// No more than this stays.
    pub max_used_space: Option<u64>,
    /// So much is to be free on the disk afterwards.
    pub min_free_space: Option<u64>,
    /// Nothing is removed; each item is told with the reason why it would go or stay.
    pub is_dry_run: bool,
    /// Nobody is asked.
    pub is_forced: bool,
}

/// What can only be brought back over the network or by long work, and belongs to no result.
const KEPT_UNLESS_ALL: [ItemKind; 5] =
    [ItemKind::CacheMount, ItemKind::Git, ItemKind::State, ItemKind::History, ItemKind::Listing];

/// Removes what is asked for, the oldest first, and returns what it was.
///
/// # Errors
/// Nobody agreed, or the store cannot be read or written.
pub fn prune(request: &PruneRequest, host: &Host) -> Result<String, Failure> {
    let store = open(&request.store, host)?;
    let failed = |error| store_failure(&error, host);
    let now = i64::try_from(host.now.as_secs()).unwrap_or(i64::MAX);
    let spares = |item: &Item| spares(item, request, now);
    if request.is_dry_run {
        let inventory = store.inventory(Sizes::Disk).map_err(failed)?;
        let keep = keep(request, &store, inventory.total());
        let decisions = decide(&inventory.items, inventory.total(), &Wish { keep, spares: &spares });
        let rows = decisions.iter().map(|decision| {
            let item = &inventory.items[decision.index];
            let (what, why) = explained(item, &decision.verdict, &inventory.items, host);
            let kind = item.id.kind.name().to_owned();
            vec![what.to_owned(), short(item), kind, Size(item.size).to_string(), why, one_line(&item.description)]
        });
        let heading = ["", "ID", "TYPE", "SIZE", "WHY", "DESCRIPTION"].map(str::to_owned).to_vec();
        let freed: u64 = decisions
            .iter()
            .filter(|decision| decision.verdict == Verdict::Goes)
            .map(|decision| inventory.items[decision.index].size)
            .sum();
        let rows: Vec<_> = [heading].into_iter().chain(rows).collect();
        return Ok(format!("{}\nWould free: {}\n", table(&rows), Size(freed)));
    }
    agree(request, host)?;
    let keep = match request.max_used_space.or(request.min_free_space).or(request.reserved_space) {
        Some(_) => keep(request, &store, store.inventory(Sizes::Disk).map_err(failed)?.total()),
        None => 0,
    };
    let collected = store.collect(&Wish { keep, spares: &spares }).map_err(failed)?;
    let gone = collected.decisions.iter().filter(|decision| decision.verdict == Verdict::Goes);
    let gone: Vec<&Item> = gone.map(|decision| &collected.inventory.items[decision.index]).collect();
    let items = if gone.is_empty() { String::new() } else { format!("{}\n", item_table(&gone, host)) };
    Ok(format!("{items}Freed: {}\n", Size(collected.freed)))
}

/// Says why an item is not meant.
fn spares(item: &Item, request: &PruneRequest, now: i64) -> Option<String> {
    let kind = item.id.kind;
    if let Some(filter) = request.filters.iter().find(|filter| !filter.passes(item, now)) {
        return Some(format!("it is not among {}", filter.text()));
    }
    let is_named = request.takes_all || request.filters.iter().any(|filter| filter.names_kind(kind));
    (KEPT_UNLESS_ALL.contains(&kind) && !is_named)
        .then(|| format!("a {} goes with --all or its type alone", kind.name()))
}

/// Returns how many bytes may stay, as BuildKit reckons it.
fn keep(request: &PruneRequest, store: &Store, total: u64) -> u64 {
    let PruneRequest { reserved_space, max_used_space, min_free_space, .. } = request;
    if reserved_space.is_none() && max_used_space.is_none() && min_free_space.is_none() {
        return 0;
    }
    let excess = min_free_space.map_or(0, |wanted| wanted.saturating_sub(store.free_space()));
    let for_disk = match (min_free_space, excess) {
        (None, _) => None,
        (Some(_), 0) => Some(u64::MAX),
        (Some(_), excess) => Some(total.saturating_sub(excess)),
    };
    let most = match (max_used_space, for_disk) {
        (Some(used), Some(disk)) => (*used).min(disk),
        (used, disk) => used.or(disk).unwrap_or(0),
    };
    most.max(reserved_space.unwrap_or(0))
}

/// Says whether an item goes, and why.
fn explained(item: &Item, verdict: &Verdict, items: &[Item], host: &Host) -> (&'static str, String) {
    let used = ago(item.last_used, host);
    match verdict {
        Verdict::Goes => ("goes", format!("nobody uses it; last used {used}")),
        Verdict::InUse => ("stays", "a running bake uses it".to_owned()),
        Verdict::Needed(id) => {
            let referrer = items.iter().find(|other| other.id == *id);
            ("stays", referrer.map_or_else(String::new, |other| format!("{} needs it", other.id)))
        }
        Verdict::Spared(why) => ("stays", why.clone()),
        Verdict::Linked => ("stays", "a checkout has the same file".to_owned()),
        Verdict::Fits => ("stays", format!("the store is small enough without that; last used {used}")),
    }
}

/// Asks, where that is wanted and somebody can answer.
fn agree(request: &PruneRequest, host: &Host) -> Result<(), Failure> {
    if request.is_forced {
        return Ok(());
    }
    let what = if request.takes_all { "everything" } else { "everything but cache mounts and what git keeps" };
    let what = match request.filters.as_slice() {
        [] => what.to_owned(),
        filters => filters.iter().map(Filter::text).collect::<Vec<_>>().join(", "),
    };
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "nothing was removed: there is nobody to ask")
            .hint("give --force, or see with --dry-run what would go"));
    }
    host.talk.line(&format!("This removes from the store what no running bake uses: {what}. Go on? [y/N]"));
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    match is_read && !host.cancel.is_cancelled() && answer.trim().eq_ignore_ascii_case("y") {
        true => Ok(()),
        false => Err(Failure::new(Kind::Usage, "nothing was removed")),
    }
}
