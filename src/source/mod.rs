//! Brings inputs in.
