//! Does a bakefile mean the same in every notation?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bake::bakefile::{self, Bakefile, InputFile, ListFormat, Options};
use bake::diagnostic::SourceMap;
use bake::lang::Notation;
use bake::platform::Platform;
use bake::sys::files::MemoryFiles;

const NOTATIONS: [(Notation, &str); 3] = [(Notation::Hcl, "hcl"), (Notation::Json, "json"), (Notation::Toml, "toml")];

/// Returns all that commands show of a bakefile; `None` where it has errors.
fn meaning(input: &InputFile) -> Option<Vec<String>> {
    let mut sources = SourceMap::default();
    let options = Options {
        finds_additions: true,
        env: &|_| None,
        vars: &[],
        overrides: &[],
        wanted: None,
        local_platform: Platform::new("linux", "amd64", None),
        cmd_context: "cwd://",
        seed: [0; 32],
        home: None,
        now: 1_700_000_000,
        files: &MemoryFiles::default(),
    };
    let bakefile: Bakefile = bakefile::load(std::slice::from_ref(input), &options, &mut sources).0?;
    let targets = bakefile.targets().iter().map(|target| target.name.clone());
    let groups = bakefile.groups().iter().map(|group| group.name.clone());
    let mut shown: Vec<String> = targets
        .chain(groups)
        .map(|name| bakefile.resolve(&[name]).map_or("an error".to_owned(), |found| bakefile::print_json(&found)))
        .collect();
    shown.push(bakefile::list_targets(&bakefile, ListFormat::Json));
    shown.push(bakefile::list_variables(&bakefile, ListFormat::Json));
    Some(shown)
}

/// Converts; `None` where something would be lost.
fn converted(input: &InputFile, (to, ending): (Notation, &str)) -> Option<InputFile> {
    let mut sources = SourceMap::default();
    let emitted = bakefile::convert(input, to, &mut sources)
        .unwrap_or_else(|found| panic!("{} to {ending}: {}", input.name, found.render(&sources)));
    let is_whole = emitted.losses.iter().all(|loss| loss.message.contains("comment"));
    is_whole.then(|| InputFile { name: format!("{}.{ending}", input.name), text: emitted.text })
}

/// Converts a file to every notation and back to HCL; returns how many conversions were not refused.
fn check(input: &InputFile) -> usize {
    let expected = meaning(input);
    if expected != meaning(input) {
        return 0;
    }
    let mut n = 0;
    for notation in NOTATIONS {
        let Some(other) = converted(input, notation) else { continue };
        assert_eq!(meaning(&other), expected, "{}\n{}\nas\n{}", input.name, input.text, other.text);
        let again = converted(&other, NOTATIONS[0]).unwrap_or_else(|| panic!("{}\n{}", other.name, other.text));
        assert_eq!(meaning(&again), expected, "{} as\n{}\nand back\n{}", input.name, other.text, again.text);
        n += 1;
    }
    n
}

pub(crate) fn bakefiles(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            bakefiles(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "hcl" || ending == "json" || ending == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn examples_and_fixtures_mean_the_same_in_every_notation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for directory in ["examples", "tests/fixtures/bakefile"] {
        bakefiles(&root.join(directory), &mut paths);
    }
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("readable");
        let input = InputFile { name: path.display().to_string(), text };
        assert_eq!(check(&input), 3, "{}", path.display());
    }
}

/// The bakefiles of other people, where `BAKE_CONFORMANCE` names them.
#[test]
fn real_bakefiles_mean_the_same_in_every_notation() {
    let Some(root) = std::env::var_os("BAKE_CONFORMANCE") else { return };
    let (mut seen, mut n, mut n_read) = (BTreeSet::new(), 0, 0);
    for folder in ["bake/real", "bake/own"] {
        for case in std::fs::read_dir(Path::new(&root).join(folder)).expect("listed") {
            let case = std::fs::read(case.expect("listed").path()).expect("readable");
            let case: serde_json::Value = serde_json::from_slice(&case).expect("JSON");
            for (name, text) in case["files"].as_object().expect("files by name") {
                let input = InputFile { name: name.clone(), text: text.as_str().expect("a text").to_owned() };
                let is_bakefile = name.ends_with(".hcl") || name.ends_with(".json");
                if !is_bakefile || !seen.insert(input.text.clone()) {
                    continue;
                }
                let mut sources = SourceMap::default();
                if bakefile::convert(&input, Notation::Hcl, &mut sources).is_ok() {
                    n_read += 1;
                    n += check(&input);
                }
            }
        }
    }
    assert!(n > 2 * n_read && n_read > 50, "{n} conversions of {n_read} files");
}

/// Runs bake in `directory` and returns its exit code, stdout and stderr.
fn bake(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
    let output = command.args(arguments).current_dir(directory).env_clear().output().expect("bake was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const COMMENTED: &str = "# head\nvariable \"TAG\" { # why\n  default = 1 # one\n  # the end\n}\n\ntarget \"a\" {\n  # names\n  tags = [\n    # first\n    \"x:${TAG}\", # second\n  ]\n}\n# last\n";

#[test]
fn comments_are_kept_where_both_notations_have_them() {
    let input = InputFile { name: "build.hcl".into(), text: COMMENTED.into() };
    let mut sources = SourceMap::default();
    let toml = bakefile::convert(&input, Notation::Toml, &mut sources).expect("it is HCL");
    assert!(toml.losses.is_empty(), "{}", toml.losses.render(&sources));
    expect_test::expect![[r##"
        # head
        [variable.TAG] # why
        default = 1 # one
        # the end

        [target.a]
        # names
        tags = [
          # first
          "x:${TAG}", # second
        ]
        # last
    "##]]
    .assert_eq(&toml.text);
    let input = InputFile { name: "build.toml".into(), text: toml.text };
    let hcl = bakefile::convert(&input, Notation::Hcl, &mut sources).expect("it is TOML");
    assert!(hcl.losses.is_empty(), "{}", hcl.losses.render(&sources));
    for comment in ["# head", "# why", "# one", "# the end", "# names", "# first", "# second", "# last"] {
        assert_eq!(hcl.text.matches(comment).count(), 1, "{comment}\n{}", hcl.text);
    }
}

#[test]
fn what_would_be_lost_is_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "# why\ntarget = 1\nother \"x\" {}\ntarget \"a\" {}\n";
    std::fs::write(directory.path().join("build.hcl"), text).expect("written");
    let (code, stdout, stderr) = bake(directory.path(), &["convert", "--to", "json", "-o", "out.json"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    for place in ["build.hcl:1:1", "build.hcl:2:1", "build.hcl:3:1", "--lossy"] {
        assert!(stderr.contains(place), "{place}: {stderr}");
    }
    assert!(!directory.path().join("out.json").exists());
    let (code, _, stderr) = bake(directory.path(), &["convert", "--to", "json", "-o", "out.json", "--lossy"]);
    assert!(code == Some(0) && stderr.contains("warning: build.hcl:3:1"), "{stderr}");
    let written = std::fs::read_to_string(directory.path().join("out.json")).expect("written");
    assert_eq!(written, "{\n  \"target\": {\n    \"a\": {}\n  }\n}\n");
}

#[test]
fn the_file_that_is_read_is_replaced_on_request_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("build.hcl");
    std::fs::write(&path, "target \"a\" {}\n").expect("written");
    let arguments = ["convert", "-f", "build.hcl", "--to", "hcl", "-o", "./build.hcl"];
    let (code, _, stderr) = bake(directory.path(), &arguments);
    assert!(code == Some(2) && stderr.contains("--overwrite"), "{stderr}");
    assert_eq!(bake(directory.path(), &[&arguments[..], &["--overwrite"]].concat()).0, Some(0));
}

#[test]
fn compose_files_are_not_converted() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("compose.yaml"), "services:\n  a:\n    build: .\n").expect("written");
    let (code, _, stderr) = bake(directory.path(), &["convert", "-f", "compose.yaml", "--to", "hcl"]);
    assert!(code == Some(3) && stderr.contains("bake print -f compose.yaml"), "{stderr}");
}
