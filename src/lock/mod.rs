//! The lockfile as a value.
