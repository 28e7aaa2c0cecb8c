//! Does `bake build --print` and `--list` answer as the peer does, on real bakefiles and on tricky ones?
//!
//! The cases are other people's and not part of this repository: `BAKE_CONFORMANCE` names their directory, whose
//! `bake/run` compares and ends with `N of M`.

use std::path::PathBuf;
use std::process::Command;

/// Cases that answer as the peer does; fewer is a step back. The book's "Bakefile" chapter says which differ, and why.
const N_EQUAL: usize = 1154;

#[test]
fn the_peers_answers_are_ours() {
    let Some(runner) = runner() else { return };
    let output = Command::new(&runner)
        .arg(env!("CARGO_BIN_EXE_bake"))
        .args(["--show", "300"])
        .output()
        .expect("python3 runs the comparison");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let n_equal: Option<usize> = last.split_once(" of ").and_then(|(equal, _)| equal.parse().ok());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(n_equal.is_some_and(|n| n >= N_EQUAL), "fewer than {N_EQUAL} agree:\n{text}{stderr}");
}

#[allow(clippy::print_stdout, reason = "tests say what they skip")]
fn runner() -> Option<PathBuf> {
    let runner = std::env::var_os("BAKE_CONFORMANCE").map(|root| PathBuf::from(root).join("bake/run"));
    let found = runner.filter(|runner| runner.is_file());
    if found.is_none() {
        println!("skipped: BAKE_CONFORMANCE names no directory with bakefiles");
    }
    found
}
