//! Runs one op.

pub mod emulation;
pub mod sandbox;
