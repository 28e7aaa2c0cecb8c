//! Runs one op.

mod agent;
mod bound;
mod cache_mount;
pub mod cgroup;
pub mod contexts;
pub mod emulation;
mod exec;
pub mod fetched;
pub mod file;
pub mod layers;
pub mod local;
pub mod network;
pub mod platforms;
mod recopy;
pub mod sandbox;
pub mod secrets;
mod unsupported;

pub use unsupported::unsupported;
