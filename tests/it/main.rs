//! Behavior of the library through its public modules, on fixtures.
#![allow(clippy::disallowed_methods, reason = "tests read fixtures and write temporary files")]

mod bakefile;
