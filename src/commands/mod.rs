//! One file per verb.

pub mod image_inspect;
