//! Runs one op.

pub mod file;
