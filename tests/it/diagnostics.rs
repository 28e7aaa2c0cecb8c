//! What bake says about wrong bakefiles: every message, read as a user reads it.
//!
//! A case is a file `tests/it/diagnostics/NAME.case`: the command line, the files that it finds, and all that the command
//! then says. `UPDATE_EXPECT=1` writes what it says now.
//!
//! ```text
//! $ TAG=1 bake print web
//! -- build.hcl --
//! target "web" {
//! -- exit 3 --
//! error: …
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// A case file, taken apart.
struct Case {
    name: String,
    /// `$ NAME=VALUE… bake ARGUMENT…`, without the `$`.
    command: String,
    files: Vec<(String, String)>,
    /// The last section: its title, `exit CODE`, and what the command said.
    outcome: String,
}

impl Case {
    fn parse(name: &str, text: &str) -> Case {
        let mut sections = Vec::new();
        for line in text.split_inclusive('\n') {
            match line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
                Some(title) => sections.push((title.to_owned(), String::new())),
                None => match sections.last_mut() {
                    Some((_, body)) => body.push_str(line),
                    None => sections.push((String::new(), line.to_owned())),
                },
            }
        }
        let command = sections.remove(0).1.trim().strip_prefix("$ ").expect("a case begins with `$ `").to_owned();
        let outcome = match sections.last() {
            Some((title, body)) if title.starts_with("exit ") => format!("-- {title} --\n{body}"),
            _ => String::new(),
        };
        let files = sections.into_iter().filter(|(title, _)| !title.starts_with("exit ")).collect();
        Case { name: name.to_owned(), command, files, outcome }
    }

    fn run(&self) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in &self.files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside the directory")).expect("made");
            // What an editor would not keep is written as an escape.
            let text = text.replace("\\r\n", "\r\n").replace("\\uFEFF", "\u{feff}");
            match name.ends_with('/') {
                true => std::fs::create_dir_all(path).expect("made"),
                false => std::fs::write(path, bytes(&text)).expect("written"),
            }
        }
        let words = words(&self.command);
        let n_variables = words.iter().position(|word| word == "bake").expect("the command is `bake`");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
        command.current_dir(directory.path()).env_clear().args(&words[n_variables + 1..]);
        command.envs(words[..n_variables].iter().map(|word| word.split_once('=').expect("NAME=VALUE")));
        let output = command.stdin(std::process::Stdio::null()).output().expect("bake was built");
        let code = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let mut said = format!("-- exit {code} --\n");
        // Data counts where it is about findings.
        if self.command.contains("bake check") {
            said.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        said.replace(directory.path().to_str().expect("text"), "$DIR")
    }

    fn text(&self, outcome: &str) -> String {
        let mut text = format!("$ {}\n", self.command);
        for (name, body) in &self.files {
            _ = write!(text, "-- {name} --\n{body}");
        }
        text + outcome
    }
}

/// Returns a file's bytes: `\xFF` stands for the byte that is in no UTF-8.
fn bytes(text: &str) -> Vec<u8> {
    text.split("\\xFF").map(str::as_bytes).collect::<Vec<_>>().join(&0xFF)
}

/// Splits a command line at blanks; single quotes keep them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn case_files() -> Vec<PathBuf> {
    let directory = root().join("tests/it/diagnostics");
    let entries =
        std::fs::read_dir(directory).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "case")).collect();
    paths.sort();
    paths
}

fn cases() -> Vec<Case> {
    let read = |path: &PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy();
        Case::parse(&name, &std::fs::read_to_string(path).expect("readable"))
    };
    case_files().iter().map(read).collect()
}

#[test]
fn every_case_says_what_is_written() {
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = String::new();
    for (case, path) in cases().iter().zip(case_files()) {
        let outcome = case.run();
        if outcome == case.outcome {
            continue;
        }
        if is_update {
            std::fs::write(path, case.text(&outcome)).expect("written");
        } else {
            _ = write!(wrong, "=== {}\n--- written\n{}--- said\n{outcome}", case.name, case.outcome);
        }
    }
    assert!(wrong.is_empty(), "{wrong}UPDATE_EXPECT=1 writes what is said now");
}

/// Every text that the code can say stands in a case. `out-of-reach.txt` has those that no case can show, and why.
#[test]
fn every_message_has_a_case() {
    let said: String = cases().into_iter().map(|case| case.outcome).collect();
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for directory in ["src/bakefile", "src/lang"] {
        for (path, text) in sources(&root().join(directory)) {
            for message in messages(&text) {
                if !pattern(&message).is_match(&said) {
                    missing.insert(format!("{}: {message}", path.strip_prefix(root()).expect("inside").display()));
                }
            }
        }
    }
    let list = include_str!("diagnostics/out-of-reach.txt");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len() % 2, 0, "a message, then its reason");
    assert!(lines.chunks(2).all(|pair| !pair[0].starts_with(' ') && pair[1].starts_with("    ")), "{list}");
    let known: BTreeSet<String> = lines.chunks(2).map(|pair| pair[0].to_owned()).collect();
    let new: Vec<_> = missing.difference(&known).collect();
    assert!(new.is_empty(), "add cases for {new:#?}");
    let reached: Vec<_> = known.difference(&missing).collect();
    assert!(reached.is_empty(), "take out of the list {reached:#?}");
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the folder is there") {
        let path = entry.expect("readable").path();
        // What these say is documentation: the schema's descriptions.
        if path.ends_with("vocabulary.rs") || path.ends_with("schema.rs") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = std::fs::read_to_string(&path).expect("readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path, code));
        }
    }
    found
}

/// Returns the string literals of `code` that read as a message: two words at least, in lower case.
fn messages(code: &str) -> Vec<String> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).expect("a regular expression");
    let prose = Regex::new(r"(^|[^\w{])[a-z]{2,} [a-z]+").expect("a regular expression");
    let texts = literal.captures_iter(&code).filter(|found| {
        let start = found.get(0).expect("all of it").start();
        !code[..start].ends_with("expect(") && !code[..start].ends_with("reason = ")
    });
    let texts = texts.map(|found| found[1].replace("\\\"", "\"").replace("\\\\", "\\"));
    texts.filter(|text| prose.is_match(text) && !text.contains('\n')).collect()
}

/// Matches what a format string becomes.
fn pattern(message: &str) -> Regex {
    let marked = message.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let placeholder = Regex::new(r"\{[^{}]*\}").expect("a regular expression");
    let parts: Vec<String> = placeholder.split(&marked).map(regex::escape).collect();
    let pattern = parts.join(r"[^\n]*").replace('\u{1}', r"\{").replace('\u{2}', r"\}");
    Regex::new(&pattern).expect("a regular expression")
}
