//! Does the source keep to the strata table of `src/lib.rs`, and do effects stay in their rows?
//!
//! Reads source text, not compiled code: comments and literals are blanked first (`source`), then `rules` looks for paths
//! and words. Macros that build paths would escape it; there are none.

mod rules;
mod source;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use source::SourceFile;
use table::Strata;

#[test]
fn modules_import_only_from_rows_below() {
    assert_none(&each(rules::imports));
}

#[test]
fn pure_rows_use_no_files_clock_threads_or_environment() {
    assert_none(&each(rules::effects));
}

#[test]
fn only_the_command_line_prints() {
    assert_none(&each(rules::printing));
}

#[test]
fn unsafe_stays_in_the_sandbox_and_sys() {
    assert_none(&each(rules::unsafety));
}

#[test]
fn files_have_one_subject() {
    assert_none(&each(rules::size));
}

#[test]
fn the_table_names_every_module_once() {
    let strata = strata();
    let text = read(&root().join("src/lib.rs"));
    let mut declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    declared.sort_unstable();
    assert_eq!(strata.modules(), declared);
}

fn each(rule: fn(&Strata, &SourceFile) -> Vec<String>) -> Vec<String> {
    let strata = strata();
    let files = source_files();
    assert!(files.len() > 20, "found only {} source files", files.len());
    files.iter().flat_map(|file| rule(&strata, file)).collect()
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn strata() -> Strata {
    Strata::parse(&read(&root().join("src/lib.rs")))
}

/// Returns every file of `src`, sorted by path.
fn source_files() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    collect(&root().join("src"), &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let relative = path.strip_prefix(root()).expect("it was found beneath the root");
            SourceFile::new(relative.to_str().expect("source paths are UTF-8"), &read(path))
        })
        .collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
