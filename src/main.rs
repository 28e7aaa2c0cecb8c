//! The `bake` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: a step's sandbox starts this program again under another name, before anything else is set up.
    bake::worker::sandbox::become_runner_if_asked();
    bake::cli::run()
}
