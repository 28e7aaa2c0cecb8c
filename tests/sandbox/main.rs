//! Steps really run: namespaces, mounts, privileges, emulation.
//!
//! A process can enter its namespaces only while it has one thread, which cargo's test harness never has. So this
//! program is its own harness: without arguments it runs the cases, and each case starts it again as `drive`, which
//! enters and runs one step. `bench N` measures. Where the host cannot do it, a case prints `skipped: reason`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program"
)]

mod bench;
mod cases;
mod drive;
mod isolation;
mod probe;

fn main() {
    bake::worker::sandbox::become_runner_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("drive") => std::process::exit(drive::drive(&args[1])),
        Some("probe") => probe::probe(args[1].parse().unwrap()),
        Some("bench") => bench::bench(&args[1], args.get(2).and_then(|n| n.parse().ok()).unwrap_or(200)),
        _ => cases::run(args.iter().find(|arg| !arg.starts_with('-')).map(String::as_str)),
    }
}
