//! The source line of a finding, with the place underlined.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use super::{Place, SourceMap, Span};

/// Columns of a source line that are shown. Fixed, so that a log reads as a terminal does.
const MAX_COLUMNS: usize = 100;
/// Columns before the place that stay where a line is cut.
const LEAD_COLUMNS: usize = 40;
/// Columns of a tab.
const TAB: &str = "    ";

/// One character as it is shown, and the columns that it takes.
struct Cell {
    text: Option<char>,
    n_columns: usize,
}

impl Cell {
    /// Control characters, and those that turn the direction of writing, are shown as U+FFFD: a hostile file must not
    /// steer the terminal or show other text than it holds.
    fn new(c: char) -> Cell {
        match c {
            '\t' => Cell { text: None, n_columns: TAB.len() },
            c if c.is_control() || turns_direction(c) => Cell { text: Some('\u{fffd}'), n_columns: 1 },
            c => Cell { text: Some(c), n_columns: c.width().unwrap_or(0) },
        }
    }
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows the first line of `span`, which starts at `place`, with the span underlined and `text` behind the marks. A long
/// line is cut around the place, with `…` for what is left out.
pub(super) fn excerpt(sources: &SourceMap, span: Span, place: &Place, text: &str) -> String {
    let cells: Vec<Cell> = sources.line(span.file, place.line).chars().map(Cell::new).collect();
    let start = (place.column - 1).min(cells.len());
    let n_marked = sources.snippet(span).lines().next().map_or(0, |marked| marked.chars().count());
    let shown = window(&cells, start);
    let marked = start..(start + n_marked).min(shown.end).max(start);
    let is_cut_before = shown.start > 0;
    let n_before = columns(&cells[shown.start..start]) + usize::from(is_cut_before);

    let mut line = String::from(if is_cut_before { "…" } else { "" });
    for cell in &cells[shown.clone()] {
        match cell.text {
            Some(c) => line.push(c),
            None => line.push_str(TAB),
        }
    }
    if shown.end < cells.len() {
        line.push('…');
    }
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    let marks = "^".repeat(columns(&cells[marked]).max(1));
    let mut excerpt = format!("\n {gutter} |\n {number} | {line}\n {gutter} | {}{marks}", " ".repeat(n_before));
    if !text.is_empty() {
        _ = write!(excerpt, " {text}");
    }
    excerpt
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.n_columns).sum()
}

/// Returns which cells are shown: all of a short line, else `MAX_COLUMNS` around `start`.
fn window(cells: &[Cell], start: usize) -> std::ops::Range<usize> {
    if columns(cells) <= MAX_COLUMNS {
        return 0..cells.len();
    }
    let mut first = start;
    let mut n_columns = 0;
    while first > 0 && n_columns + cells[first - 1].n_columns <= LEAD_COLUMNS {
        first -= 1;
        n_columns += cells[first].n_columns;
    }
    let mut end = start;
    while end < cells.len() && n_columns + cells[end].n_columns <= MAX_COLUMNS {
        n_columns += cells[end].n_columns;
        end += 1;
    }
    while first > 0 && n_columns + cells[first - 1].n_columns <= MAX_COLUMNS {
        first -= 1;
        n_columns += cells[first].n_columns;
    }
    first..end
}

#[cfg(test)]
mod tests {
    use super::super::Diagnostic;
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, marked: &str, expected: &Expect) {
        let mut sources = SourceMap::default();
        let file = sources.add("f", text);
        let start = text.find(marked).expect("it is there");
        let span = Span::new(file, start, start + marked.len());
        expected.assert_eq(&Diagnostic::error(span, "odd").render(&sources));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let filler = "0123456789".repeat(12);
        check(
            &format!("{filler}WRONG{filler}"),
            "WRONG",
            &expect![[r#"
                error: f:1:121: odd
                   |
                 1 | …0123456789012345678901234567890123456789WRONG0123456789012345678901234567890123456789012345678901234…
                   |                                          ^^^^^"#]],
        );
        check(
            &format!("WRONG{filler}"),
            "WRONG",
            &expect![[r#"
                error: f:1:1: odd
                   |
                 1 | WRONG01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234…
                   | ^^^^^"#]],
        );
        check(
            &format!("{filler}WRONG"),
            "WRONG",
            &expect![[r#"
                error: f:1:121: odd
                   |
                 1 | …56789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789WRONG
                   |                                                                                                 ^^^^^"#]],
        );
    }

    #[test]
    fn marks_stand_under_wide_and_combining_characters() {
        check(
            "\ta = \"日本 e\u{301}\" + WRONG",
            "WRONG",
            &expect![[r#"
                error: f:1:16: odd
                   |
                 1 |     a = "日本 é" + WRONG
                   |                    ^^^^^"#]],
        );
    }

    #[test]
    fn what_steers_a_terminal_is_not_shown() {
        check(
            "a\u{1b}[31m \u{202e}x",
            "x",
            &expect![[r#"
                error: f:1:9: odd
                   |
                 1 | a�[31m �x
                   |         ^"#]],
        );
    }

    #[test]
    fn a_byte_order_mark_and_a_carriage_return_are_no_columns() {
        check(
            "\u{feff}a = WRONG\r\n",
            "WRONG",
            &expect![[r#"
                error: f:1:5: odd
                   |
                 1 | a = WRONG
                   |     ^^^^^"#]],
        );
    }
}
