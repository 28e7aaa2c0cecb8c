//! `bake cache verify`: is everything what it is known by?

use super::super::{Failure, Host, Kind};
use super::{StoreRequest, open, store_failure};
use crate::store::{Damage, ItemKind, Verified};

/// What `bake cache verify` is asked.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// Which store.
    pub store: StoreRequest,
    /// What is damaged is removed.
    pub repairs: bool,
}

/// Reads the whole store and returns a line for each damage.
///
/// # Errors
/// Something is damaged and stays so, or the store cannot be read.
pub fn verify(request: &VerifyRequest, host: &Host) -> Result<String, Failure> {
    let store = open(&request.store, host)?;
    let failed = |error| store_failure(&error, host);
    let mut rounds = Vec::new();
    let mut verified = store.verify(&host.cancel).map_err(failed)?;
    host.talk.line(&summary(&verified));
    let mut text = lines(&verified.damages);
    if verified.damages.is_empty() {
        return Ok(text);
    }
    let count = |n: usize| if n == 1 { "1 item is damaged".to_owned() } else { format!("{n} items are damaged") };
    if !request.repairs {
        let failure = Failure::new(Kind::Build, count(verified.damages.len())).data(text);
        return Err(failure.hint("bake cache verify --repair removes them, and the next build makes them again"));
    }
    // What needed a thing that was damaged is damaged without it.
    while !verified.damages.is_empty() && rounds.len() < MAX_ROUNDS {
        let kept = store.repair(&verified.damages).map_err(failed)?;
        if !kept.is_empty() {
            let failure =
                Failure::new(Kind::Environment, format!("{}, and a running bake uses some", count(kept.len())));
            return Err(failure.data(text).hint("run it again when that bake has ended"));
        }
        rounds.push(verified.damages.len());
        verified = store.verify(&host.cancel).map_err(failed)?;
        text.push_str(&lines(&verified.damages));
    }
    if !verified.damages.is_empty() {
        return Err(Failure::new(Kind::Environment, "what is damaged comes back: the disk may be failing").data(text));
    }
    let n_removed: usize = rounds.iter().sum();
    host.talk.line(&format!("removed {n_removed} damaged; the next build makes or fetches them again"));
    Ok(text)
}

/// Removing one thing shows others at most so many times over.
const MAX_ROUNDS: usize = 8;

fn lines(damages: &[Damage]) -> String {
    damages.iter().map(|damage| format!("{} {}: {}\n", damage.id.kind.name(), damage.id.name, damage.what)).collect()
}

fn summary(verified: &Verified) -> String {
    let counts = |counts: &std::collections::BTreeMap<ItemKind, usize>| {
        let count = |(kind, n): (&ItemKind, &usize)| format!("{n} {}{}", kind.name(), if *n == 1 { "" } else { "s" });
        counts.iter().filter(|(_, n)| **n > 0).map(count).collect::<Vec<_>>().join(", ")
    };
    let checked = counts(&verified.n_checked);
    match verified.n_unchecked.values().sum::<usize>() {
        0 => format!("checked {checked}"),
        _ => format!(
            "checked {checked}; not checked, as nothing says what they should be: {}",
            counts(&verified.n_unchecked)
        ),
    }
}
