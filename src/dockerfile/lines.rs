//! Physical lines to logical ones: byte order mark, comments, continuations, heredoc bodies.

use std::ops::Range;

use crate::diagnostic::{FileId, Span};

use super::words::is_blank;

/// What stands at the offsets of a joined text.
#[derive(Clone, Debug)]
pub(super) enum Positions {
    /// Pieces of a file: offset in the joined text, offset in the file; ascending.
    Pieces(FileId, Vec<(usize, usize)>),
    /// A text from elsewhere (an image's trigger), shown at one place.
    Fixed(Span),
}

impl Positions {
    /// Returns where the bytes `range` of the joined text are.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        match self {
            Positions::Fixed(span) => *span,
            Positions::Pieces(file, pieces) => {
                let of = |at: usize| {
                    let index = pieces.partition_point(|(joined, _)| *joined <= at).saturating_sub(1);
                    pieces.get(index).map_or(0, |(joined, source)| source + at.saturating_sub(*joined))
                };
                let end = if range.end > range.start { of(range.end - 1) + 1 } else { of(range.start) };
                Span::new(*file, of(range.start), end)
            }
        }
    }
}

/// An instruction's text with its continuation lines joined.
#[derive(Clone, Debug)]
pub(super) struct LogicalLine {
    pub(super) text: String,
    pub(super) positions: Positions,
    /// 1-based.
    pub(super) first_line: usize,
    /// Byte offset of its first character.
    pub(super) start: usize,
    /// The comment lines between the instruction before and this one, trimmed.
    pub(super) comments: Vec<String>,
    /// Where a blank line stands inside a continuation.
    pub(super) empty_continuation: Option<Range<usize>>,
}

/// Walks the lines of a file.
pub(super) struct Lines<'t> {
    text: &'t str,
    file: FileId,
    escape: char,
    offset: usize,
    /// Lines consumed so far.
    n_read: usize,
    /// How many of the first lines are directives, which are no comments.
    n_directives: usize,
}

/// A heredoc's lines.
pub(super) struct Body {
    pub(super) text: String,
    pub(super) is_terminated: bool,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str, file: FileId, escape: char) -> Lines<'t> {
        Lines { text, file, escape, offset: 0, n_read: 0, n_directives: 0 }
    }

    /// Says that the first `n` lines are directives.
    pub(super) fn after_directives(mut self, n: usize) -> Lines<'t> {
        self.n_directives = n;
        self
    }

    /// Returns the number of lines read, which is the 1-based number of the last one.
    pub(super) fn n_read(&self) -> usize {
        self.n_read
    }

    /// Returns the offset of the end of the last line that was read, without its line break.
    pub(super) fn end(&self) -> usize {
        self.text[..self.offset].trim_end_matches(['\n', '\r']).len()
    }

    /// Returns the next line with its line break and where it starts.
    fn next_physical(&mut self) -> Option<(usize, &'t str)> {
        let mut start = self.offset;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.offset += length;
        self.n_read += 1;
        let mut line = &rest[..length];
        if self.n_read == 1 && line.starts_with('\u{feff}') {
            start += '\u{feff}'.len_utf8();
            line = &line['\u{feff}'.len_utf8()..];
        }
        Some((start, line))
    }

    /// Returns the next instruction's text; `None` at the end of the file.
    pub(super) fn next_logical(&mut self) -> Option<LogicalLine> {
        let mut comments = Vec::new();
        loop {
            let (start, line) = self.next_physical()?;
            let line = line.trim_end_matches(['\n', '\r']);
            let content = line.trim_start_matches(char::is_whitespace);
            if let Some(comment) = content.strip_prefix('#') {
                // An empty comment ends a block of comments; a blank line does not.
                match comment.trim() {
                    "" => comments.clear(),
                    comment if self.n_read > self.n_directives => comments.push(comment.to_owned()),
                    _ => {}
                }
                continue;
            }
            let start = start + line.len() - content.len();
            let (kept, continues) = self.without_continuation(content);
            if kept.is_empty() && !continues {
                continue;
            }
            return Some(self.join(start, kept, continues, comments));
        }
    }

    fn join(&mut self, start: usize, first: &str, mut continues: bool, comments: Vec<String>) -> LogicalLine {
        let first_line = self.n_read;
        let mut text = first.to_owned();
        let mut pieces = vec![(0, start)];
        let mut empty_continuation = None;
        while continues {
            let Some((at, line)) = self.next_physical() else { break };
            let line = line.trim_end_matches(['\n', '\r']);
            let content = line.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                empty_continuation.get_or_insert(at..at);
                continue;
            }
            let (kept, more) = self.without_continuation(line);
            pieces.push((text.len(), at));
            text.push_str(kept);
            continues = more;
        }
        let positions = Positions::Pieces(self.file, pieces);
        LogicalLine { text, positions, first_line, start, comments, empty_continuation }
    }

    /// Takes the escape character off the end of a line that goes on. An escaped escape character does not count, whatever
    /// stands before it; blanks after it do not matter.
    fn without_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let Some(before) = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) else { return (line, false) };
        if before.ends_with(self.escape) { (line, false) } else { (before, true) }
    }

    /// Reads a heredoc's body up to its terminator, which is read too.
    pub(super) fn heredoc_body(&mut self, terminator: &str, is_chomped: bool) -> Body {
        let mut text = String::new();
        while let Some((_, line)) = self.next_physical() {
            let content = line.trim_end_matches(['\n', '\r']);
            let content = if is_chomped { content.trim_start_matches('\t') } else { content };
            if content == terminator {
                return Body { text, is_terminated: true };
            }
            text.push_str(line);
        }
        Body { text, is_terminated: false }
    }
}

/// One `# key=value` line at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// `syntax`, `escape` or `check`.
    pub name: String,
    /// Trimmed; never empty.
    pub value: String,
    /// The line.
    pub span: Span,
}

/// Reads the parser directives: the first lines of the file, up to the first that is none.
pub(super) fn directives(text: &str, file: FileId) -> Vec<Directive> {
    let mut lines = Lines::new(text, file, '\\');
    let mut found = Vec::new();
    while let Some((start, line)) = lines.next_physical() {
        let line = line.trim_end_matches(['\n', '\r']);
        let Some((name, value)) = directive(line) else { break };
        found.push(Directive { name, value: value.to_owned(), span: Span::new(file, start, start + line.len()) });
    }
    found
}

fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim_start_matches(is_blank).strip_prefix('#')?.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let value = value.trim();
    let is_known = ["syntax", "escape", "check"].contains(&name.as_str());
    (is_known && !value.is_empty()).then_some((name, value))
}
