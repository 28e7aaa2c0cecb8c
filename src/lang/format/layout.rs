//! Lines of words → text. The rules are those of HCL's own formatter.

use super::tokens::{Kind, Token};

/// A line in three cells; the later two are put below those of neighboring lines.
#[derive(Default)]
struct Line {
    indent: usize,
    lead: String,
    /// From `=` on, where the value ends in the line.
    assign: Option<String>,
    comment: Option<String>,
    /// A word of the line goes over several lines; what follows is no neighbor.
    is_tall: bool,
}

/// Lays words out; lines end with `newline`.
pub(super) fn layout(tokens: Vec<Token<'_>>, newline: &str) -> String {
    let mut lines = Vec::new();
    let mut indents = Vec::new();
    let mut before: Option<Token<'_>> = None;
    for words in tokens.split(|token| token.kind == Kind::Newline) {
        lines.push(line(words, &mut indents, before));
        before = words.iter().rev().find(|word| word.kind != Kind::Comment).copied().or(before);
    }
    while lines.last().is_some_and(|line: &Line| line.lead.is_empty()) {
        lines.pop();
    }
    align(&mut lines);
    lines.iter().map(|line| format!("{}{newline}", line.text())).collect()
}

fn line(words: &[Token<'_>], indents: &mut Vec<isize>, before: Option<Token<'_>>) -> Line {
    if words.is_empty() {
        return Line::default();
    }
    let net: isize = words.iter().map(bracket).sum();
    if net < 0 {
        close(indents, -net);
    }
    let indent = 2 * indents.len();
    if net > 0 {
        indents.push(net);
    }
    let is_tall = words.iter().any(|word| word.text.contains('\n'));
    let (words, comment) = match words {
        [rest @ .., last] if !rest.is_empty() && last.kind == Kind::Comment => (rest, Some(last.text.to_owned())),
        _ => (words, None),
    };
    let equals = words.iter().position(|word| word.text == "=").filter(|at| *at > 0);
    let split = equals.filter(|at| words[*at..].iter().map(bracket).sum::<isize>() == 0);
    let text = |range: std::ops::Range<usize>| {
        let mut text = String::new();
        for at in range.clone() {
            let earlier = |n: usize| at.checked_sub(n).map(|at| words[at]);
            if at > range.start && is_apart(earlier(2).or(before), words[at - 1], words[at]) {
                text.push(' ');
            }
            text.push_str(words[at].text);
        }
        text
    };
    let lead = text(0..split.unwrap_or(words.len()));
    Line { indent, lead, assign: split.map(|at| text(at..words.len())), comment, is_tall }
}

fn bracket(word: &Token<'_>) -> isize {
    match (word.kind, word.text) {
        (Kind::Mark, "{" | "[" | "(") => 1,
        (Kind::Mark, "}" | "]" | ")") => -1,
        _ => 0,
    }
}

/// Brackets that one line opened count for one indent.
fn close(indents: &mut Vec<isize>, mut n_closed: isize) {
    while n_closed > 0 {
        let Some(last) = indents.last_mut() else { return };
        let n = n_closed.min(*last);
        *last -= n;
        n_closed -= n;
        if *last == 0 {
            indents.pop();
        }
    }
}

/// Says whether a blank stands between two words of a line; `before` is the one before `left`.
fn is_apart(before: Option<Token<'_>>, left: Token<'_>, right: Token<'_>) -> bool {
    let is_keyword = left.kind == Kind::Word && matches!(left.text, "in" | "if" | "for");
    let is_splat = left.text == "*" && before.is_some_and(|before| before.text == ".");
    let is_operand = left.kind != Kind::Mark && !is_keyword || matches!(left.text, "]" | ")" | "}") || is_splat;
    if left.kind == Kind::Comment || right.kind == Kind::Comment {
        return true;
    }
    match (left.kind == Kind::Mark, left.text) {
        (true, "." | "::" | "(" | "[" | "!") => return false,
        (true, "{") => return right.text != "}",
        (true, "-") if !before.is_some_and(ends_operand) => return false,
        _ => {}
    }
    match (right.kind == Kind::Mark, right.text) {
        (true, "." | "::" | "," | ")" | "]" | "...") => false,
        (true, "(") => is_keyword || left.kind != Kind::Word,
        (true, "[") => !is_operand,
        _ => true,
    }
}

/// Says whether a minus after this word subtracts.
fn ends_operand(word: Token<'_>) -> bool {
    match word.kind {
        Kind::Mark => matches!(word.text, "]" | ")" | "}"),
        Kind::Word => !matches!(word.text, "in" | "if"),
        _ => true,
    }
}

/// Puts `=` and comments of neighboring lines below each other.
fn align(lines: &mut [Line]) {
    chains(lines, |line| line.assign.is_some(), Line::lead_width, |line, n| line.lead.push_str(&" ".repeat(n)));
    chains(
        lines,
        |line| line.comment.is_some(),
        Line::width,
        |line, n| line.assign.as_mut().unwrap_or(&mut line.lead).push_str(&" ".repeat(n)),
    );
}

fn chains(
    lines: &mut [Line],
    is_in: impl Fn(&Line) -> bool,
    width: impl Fn(&Line) -> usize,
    pad: impl Fn(&mut Line, usize),
) {
    let mut start = 0;
    while start < lines.len() {
        if !is_in(&lines[start]) {
            start += 1;
            continue;
        }
        let mut end = start + 1;
        while end < lines.len() && is_in(&lines[end]) && !lines[end - 1].is_tall {
            end += 1;
        }
        let widest = lines[start..end].iter().map(&width).max().unwrap_or(0);
        for line in &mut lines[start..end] {
            let n_missing = widest - width(line);
            pad(line, n_missing);
        }
        start = end;
    }
}

impl Line {
    fn lead_width(&self) -> usize {
        self.indent + self.lead.chars().count()
    }

    fn width(&self) -> usize {
        let assign = self.assign.as_ref().map_or(0, |assign| 1 + assign.chars().count());
        self.lead_width() + assign
    }

    fn text(&self) -> String {
        let mut text = format!("{}{}", " ".repeat(self.indent), self.lead);
        for cell in [&self.assign, &self.comment].into_iter().flatten() {
            text.push(' ');
            text.push_str(cell);
        }
        // A heredoc's own last line has nothing after its word; blanks at an end mean nothing elsewhere.
        text.trim_end_matches(' ').to_owned()
    }
}
