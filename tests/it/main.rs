//! Behavior of the library through its public modules, on fixtures.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures and write temporary files")]

mod additions;
mod architecture;
mod bake_language;
mod bakefile;
mod book;
mod compile;
mod compose;
mod convert;
mod diagnostics;
mod dockerfile;
mod dockerfile_conformance;
mod file_ops;
mod frontend;
mod functions;
mod fuzz;
mod hostile;
mod include;
mod lint;
mod makespan;
mod registry;
mod schemas;
mod solver;
mod store;
mod support;
