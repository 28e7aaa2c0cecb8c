//! The rules. Each takes a file and returns what is wrong with it as `path:line: what`, in the order of the text.

use super::source::SourceFile;
use super::table::Strata;

/// The imports between siblings of a row that `src/lib.rs` names.
const SIBLINGS: [(&str, &str); 4] =
    [("bakefile", "lang"), ("platform", "diagnostic"), ("reference", "digest"), ("remote", "text")];

/// What rows 1 to 3 may not name. Paths stand for all below them.
/// (Addresses of `std::net` are values; its sockets are not.)
const EFFECTS: [&str; 11] = [
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::env",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::io::stdin",
];

/// The part of row 3 that has a thread.
const DRIVER: &str = "solver::drive";

/// A file over this has two subjects.
const MAX_LINES: usize = 600;

/// `crate::x` only where `x` is in a row below, at any place in the file.
pub fn imports(strata: &Strata, file: &SourceFile) -> Vec<String> {
    let from = file.top();
    let Some(own) = strata.row(from) else { return Vec::new() };
    let mut findings = Vec::new();
    for (at, path) in paths(&file.code) {
        let Some(to) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else { continue };
        let Some(row) = strata.row(to) else { continue };
        if to == from || row < own || SIBLINGS.contains(&(from, to)) {
            continue;
        }
        let what = format!("`{path}`: `{from}` is in row {own}, `{to}` in row {row}");
        findings.push(finding(file, at, &what));
    }
    findings
}

/// Rows 1 to 3 name no files, network, processes, threads, clock or environment.
pub fn effects(strata: &Strata, file: &SourceFile) -> Vec<String> {
    let is_pure = strata.row(file.top()).is_some_and(|row| (1..=3).contains(&row));
    if !is_pure || file.is_within(DRIVER) {
        return Vec::new();
    }
    let code = without_tests(file);
    let is_effect = |path: &str| EFFECTS.iter().any(|effect| is_at_or_below(path, effect));
    let named = paths(code).into_iter().filter(|(_, path)| is_effect(path));
    named.map(|(at, path)| finding(file, at, &format!("`{path}` in a row without effects"))).collect()
}

/// `print!` and its kin only in `cli` and `main.rs`.
pub fn printing(_: &Strata, file: &SourceFile) -> Vec<String> {
    if matches!(file.top(), "cli" | "main") {
        return Vec::new();
    }
    let macros = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    let found = macros.iter().flat_map(|name| words(without_tests(file), name).map(move |at| (at, *name)));
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    found.into_iter().map(|(at, name)| finding(file, at, &format!("`{name}` outside `cli`"))).collect()
}

/// `unsafe` only in `worker::sandbox` and `sys`.
pub fn unsafety(_: &Strata, file: &SourceFile) -> Vec<String> {
    if file.is_within("worker::sandbox") || file.is_within("sys") {
        return Vec::new();
    }
    words(&file.code, "unsafe").map(|at| finding(file, at, "`unsafe` outside `worker::sandbox` and `sys`")).collect()
}

/// No file is longer than [`MAX_LINES`].
pub fn size(_: &Strata, file: &SourceFile) -> Vec<String> {
    if file.n_lines <= MAX_LINES {
        return Vec::new();
    }
    vec![format!("{}:{MAX_LINES}: {} lines; split it by subject", file.path, file.n_lines)]
}

fn finding(file: &SourceFile, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", file.path, file.line(at))
}

/// Returns the code up to its test module, nothing of a `tests.rs`: tests may do what the code may not.
fn without_tests(file: &SourceFile) -> &str {
    if file.module.iter().any(|name| name == "tests") {
        return "";
    }
    file.code.find("#[cfg(test)]\nmod ").map_or(&file.code, |at| &file.code[..at])
}

fn is_at_or_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns where `word` stands alone.
fn words<'code>(code: &'code str, word: &'code str) -> impl Iterator<Item = usize> + 'code {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].ends_with(is_name) && !code[at + word.len()..].starts_with(|c| is_name(c) && !word.ends_with('!'))
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns every path that starts with `crate` or `std`, groups in braces spread out, with where its last part is.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate", "std"] {
        for at in words(code, root) {
            let rest = &code[at + root.len()..];
            if rest.trim_start().starts_with("::") {
                spread(code, at, "", &mut found);
            }
        }
    }
    found.sort();
    found
}

/// Reads one path at `at` and adds what it names, prefixed; returns where it ends.
fn spread(code: &str, mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut path = prefix.to_owned();
    let mut last = at;
    loop {
        at = skip_blanks(code, at);
        if code[at..].starts_with('{') {
            return spread_group(code, at + 1, &path, found);
        }
        let name: &str = &code[at..at + name_length(&code[at..])];
        if name.is_empty() || name == "self" {
            found.push((last, path));
            return at + name.len();
        }
        last = at;
        path = if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
        at += name.len();
        let next = skip_blanks(code, at);
        if !code[next..].starts_with("::") {
            found.push((last, path));
            return at;
        }
        at = next + 2;
    }
}

/// Reads the members of a group whose brace was just passed; returns where it ends.
fn spread_group(code: &str, mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    loop {
        at = skip_blanks(code, at);
        match code[at..].chars().next() {
            None => return at,
            Some('}') => return at + 1,
            Some(c) if is_name(c) => at = spread(code, at, prefix, found),
            Some(c) => at += c.len_utf8(),
        }
    }
}

fn skip_blanks(code: &str, at: usize) -> usize {
    code.len() - code[at..].trim_start().len()
}

fn name_length(code: &str) -> usize {
    code.find(|c| !is_name(c)).unwrap_or(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! | 4 | `store` | |\n//! | 3 | `solver` | |\n//! | 2 | `graph` | |\n//! | 2 | `plan` | |\n\
                         //! | 1 | `bakefile` | |\n//! | 1 | `lang` | |\n//! | 0 | `sys` | |\n";

    fn check(rule: fn(&Strata, &SourceFile) -> Vec<String>, path: &str, code: &str, expected: &[&str]) {
        assert_eq!(rule(&Strata::parse(TABLE), &SourceFile::new(path, code)), expected, "{code}");
    }

    #[test]
    fn an_import_from_above_or_beside_is_found() {
        let above = "src/graph/mod.rs:2: `crate::store::Blob`: `graph` is in row 2, `store` in row 4";
        check(imports, "src/graph/mod.rs", "\nuse crate::store::Blob;", &[above]);
        let beside = "src/graph/op.rs:1: `crate::plan`: `graph` is in row 2, `plan` in row 2";
        check(imports, "src/graph/op.rs", "use crate::plan;", &[beside]);
        let inline = "src/plan/mod.rs:1: `crate::store::open`: `plan` is in row 2, `store` in row 4";
        check(imports, "src/plan/mod.rs", "fn f() { crate::store::open() }", &[inline]);
        let sibling = "src/lang/mod.rs:1: `crate::bakefile::Bakefile`: `lang` is in row 1, `bakefile` in row 1";
        check(imports, "src/lang/mod.rs", "use crate::bakefile::Bakefile;", &[sibling]);
    }

    #[test]
    fn each_member_of_a_group_is_looked_at() {
        let code = "use crate::{\n    sys::Root,\n    store::{self, blob::{Blob, Writer}},\n};";
        let expected = [
            "src/plan/mod.rs:3: `crate::store`: `plan` is in row 2, `store` in row 4",
            "src/plan/mod.rs:3: `crate::store::blob::Blob`: `plan` is in row 2, `store` in row 4",
            "src/plan/mod.rs:3: `crate::store::blob::Writer`: `plan` is in row 2, `store` in row 4",
        ];
        check(imports, "src/plan/mod.rs", code, &expected);
    }

    #[test]
    fn imports_from_below_from_itself_and_of_lang_by_bakefile_are_fine() {
        check(imports, "src/store/mod.rs", "use crate::{solver, graph::Op}; use crate::store::Blob;", &[]);
        check(imports, "src/bakefile/mod.rs", "use crate::lang::Body;", &[]);
        check(imports, "src/plan/mod.rs", "// use crate::store;\nlet s = \"crate::store\"; pub(crate) fn f() {}", &[]);
        check(imports, "src/lib.rs", "pub use crate::store::Store;", &[]);
    }

    #[test]
    fn an_effect_in_a_pure_row_is_found() {
        let files = "src/plan/mod.rs:1: `std::fs::read` in a row without effects";
        check(effects, "src/plan/mod.rs", "fn f() { std::fs::read(p) }", &[files]);
        let clock = "src/graph/op.rs:1: `std::time::Instant` in a row without effects";
        check(effects, "src/graph/op.rs", "use std::time::{Duration, Instant};", &[clock]);
        let socket = "src/lang/mod.rs:1: `std::net::TcpStream::connect` in a row without effects";
        check(effects, "src/lang/mod.rs", "fn f() { std::net::TcpStream::connect(a) }", &[socket]);
        let after = "src/plan/mod.rs:2: `std::fs::read` in a row without effects";
        check(effects, "src/plan/mod.rs", "#[cfg(test)] use a::b;\nfn f() { std::fs::read(p) }", &[after]);
        let thread = "src/solver/mod.rs:1: `std::thread` in a row without effects";
        check(effects, "src/solver/mod.rs", "use std::{fmt, thread};", &[thread]);
    }

    #[test]
    fn effects_of_the_driver_of_higher_rows_and_of_tests_are_fine() {
        check(effects, "src/solver/drive.rs", "use std::thread;", &[]);
        check(effects, "src/store/mod.rs", "use std::fs;", &[]);
        check(effects, "src/lang/mod.rs", "use std::net::IpAddr;", &[]);
        check(effects, "src/plan/tests.rs", "use std::fs;", &[]);
        check(effects, "src/plan/mod.rs", "use std::time::Duration;\n#[cfg(test)]\nmod tests { use std::fs; }", &[]);
    }

    #[test]
    fn printing_and_unsafe_out_of_place_are_found() {
        let print = "src/store/mod.rs:2: `eprintln!` outside `cli`";
        check(printing, "src/store/mod.rs", "\neprintln!(\"x\")", &[print]);
        check(printing, "src/cli/mod.rs", "println!()", &[]);
        check(printing, "src/export/layout/tests.rs", "println!()", &[]);
        check(printing, "src/main.rs", "println!()", &[]);
        let code = "src/store/mod.rs:1: `unsafe` outside `worker::sandbox` and `sys`";
        check(unsafety, "src/store/mod.rs", "unsafe { f() }", &[code]);
        check(unsafety, "src/store/mod.rs", "#![deny(unsafe_code)] // unsafe", &[]);
        check(unsafety, "src/worker/sandbox/clone.rs", "unsafe { f() }", &[]);
        check(unsafety, "src/sys/pipe.rs", "unsafe { f() }", &[]);
    }

    #[test]
    fn a_long_file_is_found() {
        check(size, "src/plan/mod.rs", &"\n".repeat(600), &[]);
        check(size, "src/plan/mod.rs", &"\n".repeat(601), &["src/plan/mod.rs:600: 601 lines; split it by subject"]);
    }
}
