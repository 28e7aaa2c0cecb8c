//! The `bake` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: a step's sandbox starts this program again under another name, before anything else is set up; and so does the
    // end of an interrupted one.
    bake::worker::sandbox::become_runner_if_asked();
    bake::sys::interrupt::finish_if_asked();
    bake::cli::run()
}
