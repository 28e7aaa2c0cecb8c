//! Does `bake compile` say of real Dockerfiles what the peer does? `tests/conformance/dockerfile` compares; the numbers
//! reached are held here.

use std::process::Command;

use crate::support::conformance;

/// What agrees of each kind; fewer is a step back. The book's "Compiled Dockerfiles" says what differs, and why.
const HELD: [(&str, usize); 8] = [
    ("parse", 317),
    ("config", 1454),
    ("steps", 1446),
    ("lint", 317),
    ("outline", 935),
    ("targets", 317),
    ("warnings", 1591),
    ("errors", 137),
];

#[test]
fn the_peers_answers_are_ours() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let output = Command::new("tests/conformance/dockerfile")
        .arg(&corpus.directory)
        .args(["--show", "20"])
        .env("BAKE", env!("CARGO_BIN_EXE_bake"))
        .output()
        .expect("python3 runs the comparison");
    let text = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for (kind, held) in HELD {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{kind} ")));
        let n_equal: Option<usize> = line.and_then(|rest| rest.split(' ').next()?.parse().ok());
        assert!(n_equal.is_some_and(|n| n >= held), "fewer than {held} of {kind} agree:\n{text}{stderr}");
    }
}
