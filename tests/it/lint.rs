//! Build checks, outlines and targets of Dockerfiles.

mod command;
mod rules;
