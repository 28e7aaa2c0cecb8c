//! Hostile bakefiles, through the binary and with little memory: each ends with an error that names the limit.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// Kibibytes of address space. Whoever needs more dies of it, and no test passes on a signal.
const MEMORY: usize = 2 << 20;

/// Bytes of all output; a message that repeats its input is longer.
const MAX_OUTPUT: usize = 20_000;

/// Runs `bake ARGS` on a file of this name and text.
fn bake(name: &str, text: &str, args: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(name), text).expect("written");
    run(directory.path(), &[args, &["-f", name]].concat())
}

fn run(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_bake")]);
    command.args(args).current_dir(directory).env_clear().env("HOME", directory).output().expect("sh runs")
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.len() < MAX_OUTPUT, "{} bytes of messages: {}", text.len(), &text[..200]);
    text
}

/// `print` of the file fails in the way of a wrong file, with `message` in its error.
#[track_caller]
fn refused(name: &str, text: &str, message: &str) {
    let output = bake(name, text, &["print"]);
    let errors = stderr(&output);
    assert!(errors.contains(message), "no {message:?} in: {errors}");
    assert_eq!(output.status.code(), Some(3), "{errors}");
}

/// `print` of the file succeeds.
#[track_caller]
fn printed(name: &str, text: &str) -> String {
    let output = bake(name, text, &["print"]);
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `n` blocks that `block` writes from their number.
fn blocks(n: usize, block: impl Fn(usize) -> String) -> String {
    (0..n).map(block).collect()
}

/// Variables `v0` to `vN`, each made of the one before it by `step`; a target that has `used` as an argument.
fn doubling(n: usize, first: &str, step: impl Fn(&str) -> String, used: &str) -> String {
    let mut text = format!("variable \"v0\" {{ default = {first} }}\n");
    for i in 1..=n {
        _ = writeln!(text, "variable \"v{i}\" {{ default = {} }}", step(&format!("v{}", i - 1)));
    }
    text + &target(used)
}

fn target(value: &str) -> String {
    format!("target \"default\" {{\n  args = {{ X = {value} }}\n}}\n")
}

#[test]
fn parents_of_parents_are_taken_once() {
    let levels = |body: &str| {
        let level = |i| format!("target \"t{i}\" {{\n  inherits = [\"t{0}\", \"t{0}\"]\n  {body}\n}}\n", i + 1);
        blocks(40, level) + "target \"t40\" {\n  args = { A = \"1\" }\n  policy = [{ filename = \"p\" }]\n}\n"
    };
    let all = "group \"default\" { targets = [\"t0\"] }\n";
    refused("build.hcl", &(levels("") + all), "the targets are more than 512 MiB together, all inherited");
    let without_policy = levels("").replace("  policy = [{ filename = \"p\" }]\n", "");
    assert!(printed("build.hcl", &(without_policy + all)).contains("\"A\": \"1\""));
}

#[test]
fn long_chains_of_parents_are_cheap_and_what_adds_up_is_bounded() {
    let chain = |n: usize, body: &dyn Fn(usize) -> String| {
        let link = |i| format!("target \"t{i}\" {{\n  inherits = [\"t{}\"]\n  {}\n}}\n", i + 1, body(i));
        blocks(n, link) + &format!("target \"t{n}\" {{}}\ngroup \"default\" {{ targets = [\"t0\"] }}\n")
    };
    printed("build.hcl", &chain(20_000, &|_| String::new()));
    let each_adds = chain(8_000, &|i| format!("args = {{ A{i} = \"{i}\" }}"));
    refused("build.hcl", &each_adds, "the targets are more than 512 MiB together");
}
