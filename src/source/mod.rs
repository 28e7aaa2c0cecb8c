//! Brings inputs in: resolves images by name, reads OCI layouts, checks git repositories out, downloads files.

pub mod checksum;
pub mod context;
pub mod download;
pub mod git;
pub mod http;
pub mod image;
mod layout;
pub mod revision;
mod subdirectory;

pub use subdirectory::subdirectory;
