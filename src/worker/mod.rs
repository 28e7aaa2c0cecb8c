//! Runs one op.

mod agent;
pub mod answers;
mod bound;
mod cache_mount;
pub mod cgroup;
pub mod contexts;
pub mod emulation;
mod exec;
pub mod fetched;
pub mod file;
pub mod history;
pub mod host;
pub mod layers;
pub mod local;
pub mod network;
pub mod platforms;
mod recopy;
mod remembered;
pub mod sandbox;
pub mod secrets;
pub mod trial;
mod unsupported;

pub use unsupported::unsupported;
