//! HCL text in one layout, as `terraform fmt` lays it out: two blanks for each open bracket, one blank between words,
//! `=` and comments of neighboring lines below each other.
//!
//! In: text that parses. Out: text with the same tree. Comments, quoted strings, heredocs and blank lines stay as they are;
//! lines are neither joined nor broken. Invariant: formatting twice is formatting once.

mod layout;
pub(super) mod tokens;

use super::ast::Body;
use super::hcl::parse_hcl;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};

/// Formats HCL; `name` is the file that errors show.
///
/// # Errors
/// The text is no HCL; it is not touched then.
pub fn format_hcl(name: &str, text: &str, sources: &mut SourceMap) -> Result<String, Diagnostics> {
    let (before, findings) = parse_hcl(sources.add(name, text), sources);
    if findings.has_errors() {
        return Err(findings);
    }
    let (mark, bare) = match text.strip_prefix('\u{feff}') {
        Some(bare) => ("\u{feff}", bare),
        None => ("", text),
    };
    let laid_out = layout::layout(tokens::tokens(bare), newline(bare));
    let is_settled = layout::layout(tokens::tokens(&laid_out), newline(&laid_out)) == laid_out;
    let formatted = format!("{mark}{laid_out}");
    let (after, findings) = parse_hcl(sources.add(name, formatted.as_str()), sources);
    // The layout knows words, not the grammar: a text that it would change the meaning of is left alone.
    match is_settled && !findings.has_errors() && shape(&before) == shape(&after) {
        true => Ok(formatted),
        false => Err(Diagnostic::error_without_place(format!("{name} cannot be formatted: its meaning would change"))
            .note("this is a bug in bake; the file is as it was")
            .into()),
    }
}

/// The ending of lines that the file began with.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Returns the tree as text without places: equal where two texts mean the same.
pub fn shape(body: &Body) -> String {
    let text = format!("{body:?}");
    let mut parts = text.split("Span { file: ");
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let mut sources = SourceMap::default();
        let formatted = format_hcl("build.hcl", text, &mut sources).expect("it is HCL");
        assert_eq!(format_hcl("build.hcl", &formatted, &mut sources).expect("it is HCL"), formatted);
        expected.assert_eq(&formatted);
    }

    #[test]
    fn a_file_is_laid_out() {
        check(
            "# head\ntarget   \"api\"   {\ncontext=\".\" # here\n  dockerfile = \"Dockerfile\"# there\n\n\n    args={A=1,B = -2}\n\ttags=[\n\"x:${ VERSION }\",\n    f( a,b... ) ,\n]\n}\ngroup \"default\" {targets=[\"api\"]}",
            expect![[r#"
                # head
                target "api" {
                  context    = "."          # here
                  dockerfile = "Dockerfile" # there


                  args = { A = 1, B = -2 }
                  tags = [
                    "x:${ VERSION }",
                    f(a, b...),
                  ]
                }
                group "default" { targets = ["api"] }
            "#]],
        );
    }

    #[test]
    fn operators_and_paths_have_their_blanks() {
        check(
            "a=!b&&c?-1 : x [ 0 ] . y[*].z\nlong_name={for k,v in m:k=>v if v!=null}\nb = {}\nc = (1+2)*-3/xs.0.n\nd = xs.*.id\n",
            expect![[r#"
                a         = !b && c ? -1 : x[0].y[*].z
                long_name = { for k, v in m : k => v if v != null }
                b         = {}
                c         = (1 + 2) * -3 / xs.0.n
                d         = xs.*.id
            "#]],
        );
    }

    #[test]
    fn heredocs_stay_as_they_are() {
        check(
            "target \"a\" {\ndockerfile-inline=<<-EOT\n  FROM   x\n RUN a=b   \n   EOT\nlabels={\na=\"1\"\nlonger=\"2\"\n}\n}\n",
            expect![[r#"
                target "a" {
                  dockerfile-inline = <<-EOT
                  FROM   x
                 RUN a=b   
                   EOT
                  labels = {
                    a      = "1"
                    longer = "2"
                  }
                }
            "#]],
        );
    }

    #[test]
    fn a_file_with_errors_is_refused() {
        let mut sources = SourceMap::default();
        assert!(format_hcl("build.hcl", "target \"a\" {", &mut sources).is_err());
    }
}
