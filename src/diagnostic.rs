//! Findings in the user's files: a message, where it is, and what mends it, with the source line shown.
//!
//! Rows 0 to 3 collect [`Diagnostic`]s; they do not stop at the first. Rendering needs the [`SourceMap`] that the spans
//! were made with.

mod excerpt;

use std::collections::HashSet;
use std::fmt::Write as _;

use excerpt::excerpt;

/// A file of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A range in a file: 0-based byte offsets, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file that the offsets count in.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte; equal to `start` for a point.
    pub end: u32,
}

impl Span {
    /// Returns the span of the bytes `start..end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { file, start: clamp(start), end: clamp(end.max(start)) }
    }
}

/// The texts that spans point into.
#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

#[derive(Debug)]
struct SourceFile {
    name: String,
    text: String,
    /// Byte offset at which each line starts; never empty.
    line_starts: Vec<usize>,
}

/// A place for people: 1-based line and 1-based column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name as it was added.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, counted in characters.
    pub column: usize,
}

impl SourceMap {
    /// Adds a file; `name` is shown to the user, relative to where they are.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let text = text.into();
        // A byte order mark is no column of the first line.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let line_starts = std::iter::once(first).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let id = u32::try_from(self.files.len()).expect("fewer than 2^32 files are read");
        self.files.push(SourceFile { name: name.into(), text, line_starts });
        FileId(id)
    }

    /// Returns a file's name.
    pub fn name(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].name
    }

    /// Returns the names of all files, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Returns all files, in the order in which they were added.
    pub fn files(&self) -> impl Iterator<Item = FileId> {
        (0_u32..).zip(&self.files).map(|(index, _)| FileId(index))
    }

    /// Returns a file's text.
    pub fn text(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].text
    }

    /// Returns the text that `span` covers.
    pub fn snippet(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Returns where `span` starts.
    pub fn place(&self, span: Span) -> Place {
        let file = &self.files[span.file.0 as usize];
        let start = (span.start as usize).min(file.text.len()).max(file.line_starts[0]);
        let line = file.line_starts.partition_point(|at| *at <= start) - 1;
        let before = &file.text.as_bytes()[file.line_starts[line]..start];
        Place { file: file.name.clone(), line: line + 1, column: String::from_utf8_lossy(before).chars().count() + 1 }
    }

    /// Returns where `span` ends: the place after its last character.
    pub fn end(&self, span: Span) -> Place {
        self.place(Span { start: span.end, ..span })
    }

    fn line(&self, file: FileId, line: usize) -> &str {
        let file = &self.files[file.0 as usize];
        let end = file.line_starts.get(line).copied().unwrap_or(file.text.len());
        file.text[file.line_starts[line - 1]..end].trim_end_matches(['\n', '\r'])
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build does not start.
    Error,
}

/// A part of the source that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there; may be empty for the first label.
    pub text: String,
}

/// One finding in the user's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// One lower-case phrase without a full stop.
    pub message: String,
    /// The place first, then related places. Empty where the finding has no place (a flag, a missing file).
    pub labels: Vec<Label>,
    /// Facts that help.
    pub notes: Vec<String>,
    /// Actions that mend it, imperative; a command can be pasted.
    pub hints: Vec<String>,
    /// Others that were found on the same way, which went on behind this one; [`Diagnostics`] takes them apart.
    also: Vec<Diagnostic>,
}

impl Diagnostic {
    /// Returns an error at `span`.
    pub fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { labels: vec![Label { span, text: String::new() }], ..Diagnostic::error_without_place(message) }
    }

    /// Returns an error that no place in a file stands for.
    pub fn error_without_place(message: impl Into<String>) -> Diagnostic {
        let (labels, notes, hints, also) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Diagnostic { severity: Severity::Error, message: shortened(message.into()), labels, notes, hints, also }
    }

    /// Returns a warning at `span`.
    pub fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(span, message).as_warning()
    }

    /// Returns the same finding as a warning.
    #[must_use]
    pub fn as_warning(self) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self }
    }

    /// Adds a related place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: shortened(text.into()) });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(shortened(note.into()));
        self
    }

    /// Adds what mends it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hints.push(shortened(hint.into()));
        self
    }

    /// Adds another finding, of which each is kept once and no more than are shown.
    pub fn and(&mut self, mut other: Diagnostic) {
        let more = std::mem::take(&mut other.also);
        for finding in std::iter::once(other).chain(more) {
            let is_known = *self == finding || self.also.contains(&finding);
            if !is_known && self.also.len() < MAX_SHOWN {
                self.also.push(finding);
            }
        }
    }

    /// Adds the candidate that is nearest to `word`, if one may have been meant.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        match nearest(word, candidates) {
            Some(near) => self.hint(format!("did you mean \"{near}\"?")),
            None => self,
        }
    }

    /// Returns the text for people: `error: file:line:column: message`, the source line with the place underlined, then
    /// notes and hints. Ends without a newline; reads well without color.
    pub fn render(&self, sources: &SourceMap) -> String {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut text = String::new();
        for (index, label) in self.labels.iter().enumerate() {
            let place = sources.place(label.span);
            let at = format!("{}:{}:{}", place.file, place.line, place.column);
            match index {
                0 => _ = write!(text, "{severity}: {at}: {}", self.message),
                _ => _ = write!(text, "\nnote: {at}: {}", label.text),
            }
            text.push_str(&excerpt(sources, label.span, &place, if index == 0 { &label.text } else { "" }));
        }
        if self.labels.is_empty() {
            _ = write!(text, "{severity}: {}", self.message);
        }
        for note in &self.notes {
            _ = write!(text, "\nnote: {note}");
        }
        for hint in &self.hints {
            _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

/// Errors that are shown of one run, and warnings: whoever made more has made one mistake often.
const MAX_SHOWN: usize = 20;

/// Characters of a message that are kept from its start and from its end, where it repeats a long text of the user's.
const KEPT: (usize, usize) = (600, 200);

/// Cuts the middle out of a text that nobody would read to the end.
fn shortened(text: String) -> String {
    if text.len() <= KEPT.0 + KEPT.1 {
        return text;
    }
    let start = text.char_indices().nth(KEPT.0).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().rev().nth(KEPT.1).map_or(0, |(at, _)| at);
    if start >= end { text } else { format!("{}…{}", &text[..start], &text[end..]) }
}

/// Findings in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a finding.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let also = std::mem::take(&mut diagnostic.also);
        self.0.push(diagnostic);
        self.0.extend(also);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
    }

    /// Says whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Returns them by place, those without one first, and each once: a Dockerfile is read for each target and platform
    /// that it builds.
    pub fn sorted(&self, sources: &SourceMap) -> Vec<&Diagnostic> {
        let mut seen = HashSet::new();
        let place = |label: &Label| (sources.name(label.span.file).to_owned(), label.span.start, label.span.end);
        let mut sorted: Vec<&Diagnostic> = Vec::new();
        for found in &self.0 {
            let places: Vec<_> = found.labels.iter().map(|label| (place(label), &label.text)).collect();
            if seen.insert((found.severity, &found.message, places, &found.notes, &found.hints)) {
                sorted.push(found);
            }
        }
        sorted.sort_by_key(|found| found.labels.first().map(|label| label.span));
        sorted
    }

    /// Returns them as text, by place, a blank line between two. After `MAX_SHOWN` errors the rest is counted, and the same
    /// for warnings.
    pub fn render(&self, sources: &SourceMap) -> String {
        let sorted = self.sorted(sources);
        let (mut texts, mut n_errors, mut n_warnings) = (Vec::new(), 0, 0);
        for found in sorted {
            let n = if found.severity == Severity::Error { &mut n_errors } else { &mut n_warnings };
            *n += 1;
            if *n <= MAX_SHOWN {
                texts.push(found.render(sources));
            }
        }
        for (n, word) in [(n_warnings, "warning"), (n_errors, "error")] {
            match usize::checked_sub(n, MAX_SHOWN) {
                None | Some(0) => {}
                Some(1) => texts.push(format!("{word}: and 1 more {word}")),
                Some(n_more) => texts.push(format!("{word}: and {n_more} more {word}s")),
            }
        }
        texts.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        let mut findings = Diagnostics::default();
        findings.push(diagnostic);
        findings
    }
}

/// Returns the candidate nearest to `word` by edit distance, if it is near enough to have been meant: at most a third of
/// the word's length away, and with a character in common. The first of equals wins. A word of more than `MAX_WORD` bytes
/// is no typo.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let n_chars = word.chars().count();
    let limit = (n_chars / 3).max(1).min(n_chars.saturating_sub(1));
    let is_as_long =
        |candidate: &&str| candidate.len() <= 2 * MAX_WORD && candidate.chars().count().abs_diff(n_chars) <= limit;
    let word: Vec<char> = word.chars().collect();
    let near = candidates.into_iter().filter(is_as_long);
    let near = near.filter_map(|candidate| Some((distance(&word, candidate, limit)?, candidate)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Bytes of a word that may have been meant to be another.
const MAX_WORD: usize = 200;

/// Optimal string alignment distance: insert, delete, replace, swap of neighbors cost one each. `None` for more than
/// `limit`.
fn distance(a: &[char], b: &str, limit: usize) -> Option<usize> {
    let b: Vec<char> = b.chars().collect();
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, last, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            row[j] = if is_swap { best.min(before[j - 2] + 1) } else { best };
        }
        // What comes is made of these two, and no less than the least in them.
        if row.iter().chain(last.iter()).all(|distance| *distance > limit) {
            return None;
        }
        rows.rotate_left(1);
    }
    rows[1].last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_error_shows_its_line_and_the_mend() {
        let mut sources = SourceMap::default();
        let file = sources.add("build.hcl", "a = 1\n\ttag = \"x:${VERISON}\"\n");
        let diagnostic = Diagnostic::error(Span::new(file, 18, 25), "no variable named \"VERISON\"")
            .label(Span::new(file, 0, 1), "a variable is declared here")
            .hint("did you mean \"VERSION\"?");
        expect![[r#"
            error: build.hcl:2:13: no variable named "VERISON"
               |
             2 |     tag = "x:${VERISON}"
               |                ^^^^^^^
            note: build.hcl:1:1: a variable is declared here
               |
             1 | a = 1
               | ^
            hint: did you mean "VERSION"?"#]]
        .assert_eq(&diagnostic.render(&sources));
    }

    #[test]
    fn a_span_past_the_end_is_shown_at_the_end() {
        let mut sources = SourceMap::default();
        let file = sources.add("f", "ab");
        expect![[r#"
            error: f:1:3: unexpected end of file
               |
             1 | ab
               |   ^"#]]
        .assert_eq(&Diagnostic::error(Span::new(file, 9, 9), "unexpected end of file").render(&sources));
    }

    #[test]
    fn what_nobody_would_read_is_counted_or_cut() {
        let mut findings = Diagnostics::default();
        for i in 0..22 {
            let severity = Severity::Warning;
            findings.push(Diagnostic { severity, ..Diagnostic::error_without_place(format!("warning {i}")) });
        }
        findings.push(Diagnostic::error_without_place(format!("a {}é z", "é".repeat(5_000))));
        let text = findings.render(&SourceMap::default());
        assert_eq!(text.matches("warning: warning").count(), MAX_SHOWN);
        assert!(text.contains("\n\nwarning: and 2 more warnings"), "{text}");
        let cut = text.split("\n\n").find(|part| part.starts_with("error: ")).expect("the error");
        assert!(cut.contains("é…é") && cut.ends_with("é z") && cut.chars().count() < 1_000, "{cut}");
    }

    #[test]
    fn nearest_finds_typos_and_nothing_else() {
        assert_eq!(nearest("VERISON", ["VERSION", "TAG"]), Some("VERSION"));
        assert_eq!(nearest("x", ["VERSION", "y"]), None);
    }
}
