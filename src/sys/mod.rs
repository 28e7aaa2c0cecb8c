//! The operating system's edge.

pub mod beneath;
pub mod cancel;
pub mod child;
pub mod existing;
pub mod files;
pub mod in_flight;
pub mod interrupt;
pub mod memory;
pub mod overlay;
pub mod placed;
pub mod replace;
pub mod root;
pub mod threads;
pub mod tree;
