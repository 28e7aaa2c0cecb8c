//! The operating system's edge.

pub mod files;
pub mod root;
