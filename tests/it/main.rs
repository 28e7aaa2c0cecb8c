//! Behavior of the library through its public modules, on fixtures.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures and write temporary files")]

mod bakefile;
mod dockerfile;
mod file_ops;
mod frontend;
mod registry;
mod solver;
mod support;
