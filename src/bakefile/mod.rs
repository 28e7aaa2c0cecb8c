//! The bakefile model: targets, groups and variables, merged, overridden and expanded.
