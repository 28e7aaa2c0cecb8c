//! What runs next, and what is a hit.

pub mod notice;
