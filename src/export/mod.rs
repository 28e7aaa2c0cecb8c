//! Results to images, layouts and files.

pub mod archive;
pub mod daemon;
pub mod error;
pub mod file;
pub mod image;
pub mod layout;
pub mod local;
pub mod mirror;
pub mod push;
mod tree;
mod whole;
