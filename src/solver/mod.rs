//! What runs next, and what is a hit: pure but for [`drive`], its one thread.

pub mod activity;
pub mod affected;
pub mod drive;
pub mod durations;
pub mod explain;
pub mod inputs;
pub mod key;
pub mod listing;
pub mod lookups;
pub mod notice;
pub mod scheduler;
pub mod trace;
