//! Runs one op.
