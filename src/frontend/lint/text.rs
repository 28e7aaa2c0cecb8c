//! The peer's listings for people: what `--call=check|outline|targets` prints.

use std::fmt::Write as _;

use crate::diagnostic::{FileId, SourceMap};
use crate::dockerfile::lint::{BuildError, LineRange, Warning};

use super::shapes::{Outline, OutlineMount, TargetList};

/// Lists warnings, by line, each with the lines that it is about.
pub fn lint_text(warnings: &[Warning], file: FileId, sources: &SourceMap) -> String {
    let mut sorted: Vec<&Warning> = warnings.iter().collect();
    sorted.sort_by_key(|warning| warning.lines.map(|lines| lines.first));
    let mut text = String::new();
    for warning in sorted {
        let url = warning.rule().url().map(|url| format!(" - {url}")).unwrap_or_default();
        _ = write!(text, "\nWARNING: {}{url}\n{}\n", warning.rule().name, warning.detail());
        text.push_str(&warning.lines.map(|lines| excerpt(lines, file, sources)).unwrap_or_default());
    }
    text
}

/// Shows why a Dockerfile cannot be built, with the lines that are wrong.
pub fn error_text(error: &BuildError, file: FileId, sources: &SourceMap) -> String {
    let lines = error.lines.map(|lines| excerpt(lines, file, sources)).unwrap_or_default();
    format!("{}\n{lines}", error.diagnostic.message)
}

/// Shows lines of a file with some around them, marked, as the peer does.
pub fn excerpt(lines: LineRange, file: FileId, sources: &SourceMap) -> String {
    let all: Vec<&str> = sources.text(file).split('\n').collect();
    let (first, last) = (lines.first, lines.last.min(all.len()));
    if first < 1 || first > all.len() {
        return String::new();
    }
    let (mut from, mut to, mut n_added) = (first, last, 0);
    let wanted = if first == last { 4 } else { 2 };
    while n_added < wanted {
        if from > 1 {
            from -= 1;
            n_added += 1;
        }
        if to != all.len() {
            to += 1;
            n_added += 1;
        }
        n_added += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", sources.name(file));
    for number in from..=to {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        _ = writeln!(text, " {number:3} | {mark} {}", printable(all[number - 1]));
    }
    text + "--------------------\n"
}

/// Control characters of a hostile file do not steer the terminal.
fn printable(line: &str) -> String {
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Lists what a target takes.
pub fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut rows = vec![vec!["TARGET:", name]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:", &outline.description]);
        }
        text += &(table(&rows, 1) + "\n");
    }
    if !outline.args.is_empty() {
        let head = vec!["BUILD ARG", "VALUE", "DESCRIPTION"];
        let args = outline.args.iter().map(|arg| vec![&*arg.name, &*arg.value, &*arg.description]);
        text += &(table(&std::iter::once(head).chain(args).collect::<Vec<_>>(), 3) + "\n");
    }
    text + &mounts("SECRET", &outline.secrets) + &mounts("SSH", &outline.ssh)
}

fn mounts(head: &'static str, mounts: &[OutlineMount]) -> String {
    if mounts.is_empty() {
        return String::new();
    }
    let required = |mount: &OutlineMount| if mount.required { "true" } else { "" };
    let rows = mounts.iter().map(|mount| vec![&*mount.name, required(mount)]);
    table(&std::iter::once(vec![head, "REQUIRED"]).chain(rows).collect::<Vec<_>>(), 3) + "\n"
}

/// Lists the stages that can be built.
pub fn targets_text(list: &TargetList) -> String {
    let names: Vec<String> = list
        .targets
        .iter()
        .map(|target| match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        })
        .collect();
    let rows = names.iter().zip(&list.targets).map(|(name, target)| vec![name.as_str(), &*target.description]);
    table(&std::iter::once(vec!["TARGET", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>(), 1)
}

/// Lays out rows of equal length: every column but the last is as wide as its widest cell and `padding` blanks.
fn table(rows: &[Vec<&str>], padding: usize) -> String {
    let n_padded = rows.first().map_or(0, |row| row.len().saturating_sub(1));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + padding;
    let widths: Vec<usize> = (0..n_padded).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            _ = write!(text, "{cell:width$}");
        }
        _ = writeln!(text, "{}", row.last().unwrap_or(&""));
    }
    text
}
