//! The real binary against a real registry (Debian's docker-registry on loopback) with real emulators.
//!
//! Needs what `tests/run` installs. On a machine that lacks it, each test says why it is skipped; with `CI` set that is a
//! failure.
#![allow(clippy::disallowed_methods, reason = "tests read and write temporary files")]
#![allow(clippy::print_stderr, reason = "tests say why they are skipped")]

mod add;
mod affected;
mod attestations;
mod build;
mod cache;
mod caches;
mod checks;
mod container;
mod content;
mod copy;
mod crash;
mod damage;
mod dockerfile;
mod doctor;
mod emulators;
mod entitlements;
mod epoch;
mod failure;
mod faults;
mod host;
mod hostile;
mod image_files;
mod include;
mod interrupt;
mod keep_going;
mod language;
mod link;
mod load;
mod local_files;
mod locked;
mod login;
mod mirrors;
mod mounts;
mod network;
mod output;
mod places;
mod push;
mod readers;
mod recopy;
mod release;
mod remote;
mod resources;
mod rights;
mod rootless;
mod secrets;
mod shape;
mod sign;
mod ssh;
mod stdin;
mod support;
mod verify;
mod why;
