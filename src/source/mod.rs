//! Brings inputs in: resolves images by name, reads OCI layouts.

pub mod image;
mod layout;
