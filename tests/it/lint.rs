//! Build checks, outlines and targets of Dockerfiles: each rule, and the peer's own answers.

mod command;
mod peer;
mod rules;
