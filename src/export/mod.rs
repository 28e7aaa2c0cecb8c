//! Results to images, layouts and files.

pub mod archive;
pub mod beside;
pub mod daemon;
pub mod error;
pub mod file;
pub mod image;
pub mod layout;
pub mod local;
pub mod mirror;
pub mod push;
pub mod scan;
mod sign;
mod tree;
mod whole;
