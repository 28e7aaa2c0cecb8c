//! Fixtures that several subjects share.

pub mod conformance;
pub mod fake_registry;
