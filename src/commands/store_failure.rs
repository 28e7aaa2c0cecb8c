//! What the user can do about a store that cannot be used.

use std::io;

use super::{Failure, Kind};
use crate::store::StoreError;

/// Describes what is wrong with the store, with the mend.
pub fn store_failure(error: &StoreError) -> Failure {
    let failure = Failure::new(Kind::Environment, error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Io { source, .. } => io_hint(source),
        StoreError::Damaged { .. } => Some("build again: what was damaged is gone and is made anew"),
        StoreError::NoSnapshot(_) | StoreError::DigestMismatch { .. } => Some("build again with --no-cache"),
        StoreError::Unusable { .. } => Some("name another directory with --store DIR, or remove that one"),
        StoreError::Unpack { .. } | StoreError::Full { .. } => None,
    }
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space for the store, or name another with --store DIR")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("make the store writable for you, or name another with --store DIR")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_has_its_mend() {
        let error = |kind: io::ErrorKind| StoreError::Io { verb: "write", path: "/store".into(), source: kind.into() };
        let text = |kind| store_failure(&error(kind)).to_string();
        assert!(
            text(io::ErrorKind::StorageFull)
                .ends_with("hint: free space for the store, or name another with --store DIR")
        );
        assert!(text(io::ErrorKind::ReadOnlyFilesystem).contains("hint: make the store writable"));
        assert!(!text(io::ErrorKind::NotADirectory).contains("hint"));
    }
}
