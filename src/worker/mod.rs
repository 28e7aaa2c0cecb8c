//! Runs one op.

pub mod contexts;
pub mod file;
pub mod layers;
