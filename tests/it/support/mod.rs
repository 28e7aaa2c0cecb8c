//! Fixtures that several subjects share.

pub mod fake_registry;
