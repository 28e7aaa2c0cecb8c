//! What several tests share.

pub mod conformance;
