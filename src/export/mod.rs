//! Results to images, layouts and files.

pub mod archive;
pub mod error;
pub mod file;
pub mod layout;
pub mod local;
mod tar_writer;
mod tree;
