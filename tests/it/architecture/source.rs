//! A source file with everything blanked that is not code.

/// A file of `src`.
pub struct SourceFile {
    /// Relative to the package, `/`-separated.
    pub path: String,
    /// Path of the module, outermost first; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// The text with the inside of comments, strings and character literals as spaces; the same number of lines.
    pub code: String,
    /// Number of lines.
    pub n_lines: usize,
}

impl SourceFile {
    /// Takes a file's path, relative to the package, and its text.
    pub fn new(path: &str, text: &str) -> Self {
        let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
            module.pop();
        }
        Self { path: path.to_owned(), module, code: blank(text), n_lines: text.lines().count() }
    }

    /// Returns the top-level module, `lib` or `main` where there is none.
    pub fn top(&self) -> &str {
        self.module.first().map_or_else(|| if self.path.ends_with("main.rs") { "main" } else { "lib" }, String::as_str)
    }

    /// Returns whether the file belongs to the module `path`, such as `worker::sandbox`.
    pub fn is_within(&self, path: &str) -> bool {
        path.split("::").enumerate().all(|(depth, name)| self.module.get(depth).is_some_and(|have| have == name))
    }

    /// Returns the line of a byte offset in `code`, 1-based.
    pub fn line(&self, offset: usize) -> usize {
        1 + self.code[..offset].matches('\n').count()
    }
}

/// Replaces what is inside comments, string and character literals by spaces, keeping line ends.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = out.chars().next_back();
        let n = literal_length(rest, before);
        if n == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..n].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[n..];
        }
    }
    out
}

/// Returns how many bytes at the start of `rest` are one comment or literal; 0 where there is none. `before` is the
/// character in front of it.
fn literal_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    let starts_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if starts_word {
        let raw = rest.trim_start_matches('b');
        if let Some(hashes) = raw.strip_prefix('r') {
            let n_hashes = hashes.len() - hashes.trim_start_matches('#').len();
            if hashes[n_hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(n_hashes));
                let start = rest.len() - hashes.len() + n_hashes + 1;
                return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
            }
        }
    }
    if rest.starts_with('\'') { character(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut inner = rest[1..].char_indices();
    match inner.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |at| at + 4),
        Some((_, c)) if rest[1 + c.len_utf8()..].starts_with('\'') => c.len_utf8() + 2,
        _ => 0,
    }
}

#[test]
fn literals_and_comments_are_blanked_and_lines_kept() {
    #[rustfmt::skip]
    let cases = [
        ("a // use crate::x\nb", "a                \nb"),
        ("a /* x /* y\n*/ z */ b", "a          \n        b"),
        (r#"let s = "crate::x \" y"; t"#, r"let s =                ; t"),
        ("r#\"a \" b\"# c", "           c"),
        ("b\"a\" c", "b    c"),
        ("'\"' b '\\'' c", "    b      c"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("\"é\nü\" z", "  \n   z"),
    ];
    for (text, expected) in cases {
        let blanked = blank(text);
        assert_eq!(blanked, expected, "{text}");
        assert_eq!(blanked.lines().count(), text.lines().count());
    }
}

#[test]
fn modules_are_named_by_their_path() {
    let file = SourceFile::new("src/worker/sandbox/mod.rs", "");
    assert_eq!(file.module, ["worker", "sandbox"]);
    assert!(file.is_within("worker") && file.is_within("worker::sandbox") && !file.is_within("worker::file"));
    assert_eq!(SourceFile::new("src/solver/drive.rs", "").module, ["solver", "drive"]);
    assert_eq!(SourceFile::new("src/lib.rs", "").top(), "lib");
    assert_eq!(SourceFile::new("src/main.rs", "").top(), "main");
}
