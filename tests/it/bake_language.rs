//! Does `bake build --print` and `--list` answer as the peer does, on real bakefiles and on tricky ones?
//!
//! The cases are other people's and not part of this repository: `BAKE_CONFORMANCE` names their directory, whose
//! `bake/run` compares and ends with `N of M`.

use std::path::{Path, PathBuf};
use std::process::Command;

use bake::diagnostic::SourceMap;
use bake::lang::{format_hcl, parse_hcl, shape};

/// Cases that answer as the peer does; fewer is a step back. The book's "Bakefile" chapter says which differ, and why.
const N_EQUAL: usize = 1269;

#[test]
fn the_peers_answers_are_ours() {
    let Some(runner) = runner() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let folders = ["real", "own"].map(|name| timeless(&runner.with_file_name(name), &scratch.path().join(name)));
    let output = Command::new(&runner)
        .arg(env!("CARGO_BIN_EXE_bake"))
        .args(folders)
        .args(["--show", "300"])
        .output()
        .expect("python3 runs the comparison");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let n_equal: Option<usize> = last.split_once(" of ").and_then(|(equal, _)| equal.parse().ok());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(n_equal.is_some_and(|n| n >= N_EQUAL), "fewer than {N_EQUAL} agree:\n{text}{stderr}");
}

/// The cases of `folder`, copied to `copy`, where a file that asks for the time is compared by the shape of its answer:
/// the peer's has the day on which it was asked.
fn timeless(folder: &Path, copy: &Path) -> PathBuf {
    std::fs::create_dir(copy).expect("a directory");
    for entry in std::fs::read_dir(folder).expect("a folder of cases") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut case: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let asks = case["files"].as_object().is_some_and(|files| {
            files.values().filter_map(serde_json::Value::as_str).any(|text| text.contains("timestamp()"))
        });
        if asks {
            for run in case["runs"].as_array_mut().expect("a list of runs") {
                run["nondeterministic"] = true.into();
            }
        }
        std::fs::write(copy.join(path.file_name().expect("a name")), case.to_string()).expect("written");
    }
    copy.to_owned()
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

/// Real bakefiles keep their meaning when they are formatted, and formatting twice is formatting once.
#[test]
fn formatting_keeps_the_meaning() {
    let Some(runner) = runner() else { return };
    let mut n_formatted = 0;
    let folders =
        ["real", "own"].map(|name| std::fs::read_dir(runner.with_file_name(name)).expect("a folder of cases"));
    for path in folders.into_iter().flatten() {
        let case = std::fs::read(path.expect("readable").path()).expect("readable");
        let case: serde_json::Value = serde_json::from_slice(&case).expect("JSON");
        for (name, text) in case["files"].as_object().expect("files by name") {
            let text = text.as_str().expect("a text");
            let mut sources = SourceMap::default();
            let (body, findings) = parse_hcl(sources.add(name, text), &sources);
            if !name.ends_with(".hcl") || findings.has_errors() {
                continue;
            }
            n_formatted += 1;
            let format = |text: &str, sources: &mut SourceMap| {
                format_hcl(name, text, sources).unwrap_or_else(|found| panic!("{name}: {found:?}\n{text}"))
            };
            let once = format(text, &mut sources);
            let again = parse_hcl(sources.add(name, once.as_str()), &sources).0;
            assert_eq!(shape(&again), shape(&body), "{name}");
            assert_eq!(format(&once, &mut sources), once, "{name}");
            let comments = |text: &str| text.matches('#').count();
            assert_eq!(comments(&once), comments(text), "{name}");
        }
    }
    assert!(n_formatted > 50, "only {n_formatted} files are HCL");
}

/// Runs bake in `directory` and returns its exit code, stdout and stderr.
fn bake(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
    let output = command.args(arguments).current_dir(directory).env_clear().output().expect("bake was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn lists_hide_private_targets_and_show_groups() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "variable \"TAG\" {\n  default = 1\n}\ntarget \"b\" {\n  description = \"B\"\n}\ntarget \"_p\" {}\ngroup \"g\" {\n  targets = [\"b\"]\n}\n";
    std::fs::write(directory.path().join("build.hcl"), text).expect("written");
    let (code, table, _) = bake(directory.path(), &["list"]);
    assert_eq!((code, table.as_str()), (Some(0), "TARGET\tDESCRIPTION\nb\tB\ng\tb\n"));
    let (_, json, _) = bake(directory.path(), &["build", "--list=type=variables,format=json"]);
    assert_eq!(json, "[\n  {\n    \"name\": \"TAG\",\n    \"value\": \"1\"\n  }\n]\n");
    assert_eq!(bake(directory.path(), &["build", "--list=targets", "--print"]).0, Some(2));
}

#[test]
fn check_reports_everything_and_what_is_our_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("build.hcl");
    std::fs::write(
        &path,
        "target \"a\" {\n  inherits = [\"x\"]\n}\ntarget \"b\" {\n  secret = [\"id=s,src=none\"]\n}\n",
    )
    .expect("written");
    let (code, _, stderr) = bake(directory.path(), &["check"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("build.hcl:2:15") && stderr.contains("`none`"), "{stderr}");
    std::fs::write(&path, "target \"a\" {}\n").expect("written");
    std::fs::write(directory.path().join("Dockerfile"), "FROM scratch\n").expect("written");
    let (code, stdout, _) = bake(directory.path(), &["check", "--compat"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("build.hcl: ") && stdout.contains("\nall: "), "{stdout}");
}

#[test]
fn fmt_changes_files_only_when_it_may() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("build.hcl");
    std::fs::write(&path, "target \"a\" {\ncontext=\".\"\n}\n").expect("written");
    let (code, _, stderr) = bake(directory.path(), &["fmt", "--check"]);
    assert!(code == Some(3) && stderr.contains("build.hcl"), "{stderr}");
    assert_eq!(bake(directory.path(), &["fmt"]).1, "build.hcl\n");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "target \"a\" {\n  context = \".\"\n}\n");
    assert_eq!(bake(directory.path(), &["fmt", "--check"]).0, Some(0));
    std::fs::write(&path, "a=1\r\n# why\r\nlonger=2\r\n").expect("written");
    assert_eq!(bake(directory.path(), &["fmt", "build.hcl"]).0, Some(0));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "a = 1\r\n# why\r\nlonger = 2\r\n");
    std::fs::write(&path, "target \"a\" {").expect("written");
    assert_eq!(bake(directory.path(), &["fmt"]).0, Some(3));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "target \"a\" {");
}

#[test]
fn fmt_takes_directories_several_files_and_standard_input() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().expect("a directory");
    let (wrong, right) = ("a=1\n", "a = 1\n");
    for name in ["top.hcl", "b/x.hcl", "b/y.txt", "b/deep/z.hcl", "b/.hidden/h.hcl", "c/w.hcl"] {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, wrong).expect("written");
    }
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("there");
    assert_eq!(bake(directory.path(), &["fmt", "--check", "-r"]).0, Some(3));
    assert_eq!(bake(directory.path(), &["fmt", "b"]).1, "b/x.hcl\n");
    assert_eq!(bake(directory.path(), &["fmt", "c/w.hcl", "top.hcl"]).1, "c/w.hcl\ntop.hcl\n");
    assert_eq!(bake(directory.path(), &["fmt", "-r"]).1, "b/deep/z.hcl\n");
    assert_eq!(
        (text("b/deep/z.hcl").as_str(), text("b/.hidden/h.hcl").as_str(), text("b/y.txt").as_str()),
        (right, wrong, wrong)
    );
    // One that is wrong keeps all as they are.
    std::fs::write(directory.path().join("b/x.hcl"), wrong).expect("written");
    std::fs::write(directory.path().join("b/bad.hcl"), "a = [\n").expect("written");
    assert_eq!(bake(directory.path(), &["fmt", "b"]).0, Some(3));
    assert_eq!(text("b/x.hcl"), wrong);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
    command.args(["fmt", "-"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("bake was built");
    child.stdin.take().expect("piped").write_all(wrong.as_bytes()).expect("read");
    assert_eq!(String::from_utf8_lossy(&child.wait_with_output().expect("it ends").stdout), right);
}
