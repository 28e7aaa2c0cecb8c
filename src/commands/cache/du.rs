//! `bake cache du`: what takes how much room.

use serde_json::json;

use super::super::{Failure, Host};
use super::age::ago;
use super::{Filter, ListForm, StoreRequest, one_line, open, short, store_failure, table};
use crate::store::{Inventory, Item, ItemKind, Size, Sizes};

/// What `bake cache du` is asked.
#[derive(Clone, Debug)]
pub struct DuRequest {
    /// Which store.
    pub store: StoreRequest,
    /// All must pass.
    pub filters: Vec<Filter>,
    /// Every item, and not the kinds alone.
    pub is_verbose: bool,
    /// How it is written.
    pub form: ListForm,
}

/// Walks the store and returns what is in it.
///
/// # Errors
/// The store cannot be read.
pub fn du(request: &DuRequest, host: &Host) -> Result<String, Failure> {
    let store = open(&request.store, host)?;
    let inventory = store.inventory(Sizes::Disk).map_err(|error| store_failure(&error, host))?;
    let now = i64::try_from(host.now.as_secs()).unwrap_or(i64::MAX);
    let passes = |item: &&Item| request.filters.iter().all(|filter| filter.passes(item, now));
    let items: Vec<&Item> = inventory.items.iter().filter(passes).collect();
    let limit = Some(store.limit()).filter(|limit| *limit < u64::MAX);
    Ok(match (request.form, request.is_verbose || !request.filters.is_empty()) {
        (ListForm::Json, _) => as_json(&inventory, &items, limit),
        (ListForm::Table, true) => format!("{}{}", item_table(&items, host), totals(&inventory, &items, limit)),
        (ListForm::Table, false) => format!("{}{}", kind_table(&inventory), totals(&inventory, &items, limit)),
    })
}

/// Returns a row for each of `items`, the one that was used last first.
pub fn item_table(items: &[&Item], host: &Host) -> String {
    let heading = ["ID", "TYPE", "SIZE", "LAST USED", "USED BY", "RECLAIMABLE", "DESCRIPTION"];
    let mut items = items.to_vec();
    items.sort_by_key(|item| (std::cmp::Reverse(item.last_used), item.id.clone()));
    let row = |item: &&Item| {
        vec![
            short(item),
            item.id.kind.name().to_owned(),
            Size(item.size).to_string(),
            ago(item.last_used, host),
            item.n_referrers.to_string(),
            if item.is_in_use { "no" } else { "yes" }.to_owned(),
            one_line(&item.description),
        ]
    };
    let rows: Vec<_> = [heading.map(str::to_owned).to_vec()].into_iter().chain(items.iter().map(row)).collect();
    table(&rows)
}

fn kind_table(inventory: &Inventory) -> String {
    let heading = ["TYPE", "ITEMS", "SIZE", "RECLAIMABLE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for kind in ItemKind::ALL {
        let of_kind = || inventory.items.iter().filter(move |item| item.id.kind == kind);
        let free: u64 = of_kind().filter(|item| !item.is_in_use).map(|item| item.size).sum();
        let size: u64 = of_kind().map(|item| item.size).sum();
        if of_kind().next().is_some() {
            let count = of_kind().count().to_string();
            rows.push(vec![kind.name().to_owned(), count, Size(size).to_string(), Size(free).to_string()]);
        }
    }
    let other = Size(inventory.other_size).to_string();
    rows.push(vec!["other".to_owned(), String::new(), other, Size(0).to_string()]);
    table(&rows)
}

fn totals(inventory: &Inventory, items: &[&Item], limit: Option<u64>) -> String {
    let free: u64 = items.iter().filter(|item| !item.is_in_use).map(|item| item.size).sum();
    let shown: u64 = items.iter().map(|item| item.size).sum();
    let mut rows = vec![vec!["Reclaimable:".to_owned(), Size(free).to_string()]];
    if items.len() < inventory.items.len() {
        rows.push(vec!["Shown:".to_owned(), Size(shown).to_string()]);
    }
    rows.push(vec!["Total:".to_owned(), Size(inventory.total()).to_string()]);
    rows.push(vec!["Limit:".to_owned(), limit.map_or("none".to_owned(), |limit| Size(limit).to_string())]);
    format!("\n{}", table(&rows))
}

fn as_json(inventory: &Inventory, items: &[&Item], limit: Option<u64>) -> String {
    let item = |item: &&Item| {
        json!({
            "id": item.id.name,
            "type": item.id.kind.name(),
            "size": item.size,
            "createdAt": item.made,
            "lastUsedAt": item.last_used,
            "usedBy": item.n_referrers,
            "reclaimable": !item.is_in_use,
            "description": item.description,
        })
    };
    let document = json!({
        "total": inventory.total(),
        "other": inventory.other_size,
        "limit": limit,
        "items": items.iter().map(item).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
