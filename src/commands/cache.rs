//! `bake cache`: what the store holds, and what is to be done about it.

mod age;
mod du;
mod filter;
mod mount;
mod prune;
mod verify;

use std::path::PathBuf;

use super::build::environment;
use super::{Failure, Host, Kind, project};
use crate::store::{Item, Store, StoreError, StoreLimit};
use crate::worker::sandbox;

pub use du::{DuRequest, du};
pub use filter::Filter;
pub use mount::{MountName, export, import, list};
pub use prune::{PruneRequest, prune};
pub use verify::{VerifyRequest, verify};

/// Which store.
#[derive(Clone, Debug, Default)]
pub struct StoreRequest {
    /// `--store`.
    pub path: Option<PathBuf>,
    /// `--store-limit`.
    pub limit: Option<StoreLimit>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Opens the store as a build would, so that files of all owners can be read. No thread runs yet.
fn open(request: &StoreRequest, host: &Host) -> Result<Store, Failure> {
    sandbox::enter().map_err(|error| environment(&error))?;
    project::open_store(request.path.as_deref(), request.limit, host)
}

/// Says why the store could not do what a command wanted.
fn store_failure(error: &StoreError, host: &Host) -> Failure {
    match host.cancel.is_cancelled() {
        true => Failure::new(Kind::Interrupted, "interrupted"),
        false => super::store_failure::store_failure(error),
    }
}

/// Returns the short name of an item, as tables show it.
fn short(item: &Item) -> String {
    let name = &item.id.name;
    match name.split_once('.') {
        Some((hex, number)) if hex.len() > 12 => format!("{}.{number}", &hex[..12]),
        _ if name.len() == 64 => name[..12].to_owned(),
        _ => name.clone(),
    }
}

/// Lays rows out in columns, two blanks apart; the first row is the heading.
fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Keeps a description to one line of a table.
fn one_line(text: &str) -> String {
    const WIDTH: usize = 72;
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.chars().count() > WIDTH {
        true => plain.chars().take(WIDTH - 1).chain(['…']).collect(),
        false => plain,
    }
}
