//! The cases.
pub fn run(_filter: Option<&str>) {}
