//! What JSON and TOML have in common: a tree of tables in which some keys mean blocks.

use super::ast::{Attribute, Block, Body, Expr, ExprKind, Name};
use super::hcl::{Offsets, parse_template};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, Span};

/// Which keys of a table mean blocks. HCL's own grammar tells them apart; other notations cannot.
#[derive(Debug)]
pub struct BlockSchema {
    /// The key.
    pub kind: &'static str,
    /// How many levels of keys below it are labels.
    pub n_labels: usize,
    /// Blocks in the block.
    pub nested: &'static [BlockSchema],
}

/// Returns the body that an object stands for.
pub(super) fn body_from_object(object: Expr, schema: &[BlockSchema], findings: &mut Diagnostics) -> Body {
    let span = object.span;
    let mut body = Body { attributes: Vec::new(), blocks: Vec::new(), span };
    let ExprKind::Object(entries) = object.kind else {
        findings.push(Diagnostic::error(span, "an object is needed here"));
        return body;
    };
    for (key, value) in entries {
        let name = plain_name(key);
        match schema.iter().find(|block| block.kind == name.text) {
            // JSON has no comments; this key is HCL's convention for one.
            _ if name.text == "//" => {}
            Some(block) => {
                add_blocks(&name, block, block.n_labels, &mut Vec::new(), value, (&mut body.blocks, findings))
            }
            None => body.attributes.push(Attribute { name, value }),
        }
    }
    body
}

fn add_blocks(
    kind: &Name,
    schema: &BlockSchema,
    n_labels: usize,
    labels: &mut Vec<Name>,
    value: Expr,
    (blocks, findings): (&mut Vec<Block>, &mut Diagnostics),
) {
    match (value.kind, n_labels) {
        (ExprKind::Tuple(items), _) => {
            for item in items {
                add_blocks(kind, schema, n_labels, labels, item, (blocks, findings));
            }
        }
        (object, 0) => {
            let body = body_from_object(Expr { kind: object, span: value.span }, schema.nested, findings);
            blocks.push(Block { kind: kind.clone(), labels: labels.clone(), body });
        }
        (ExprKind::Object(entries), _) => {
            for (key, value) in entries {
                labels.push(plain_name(key));
                add_blocks(kind, schema, n_labels - 1, labels, value, (blocks, findings));
                labels.pop();
            }
        }
        _ => findings.push(Diagnostic::error(value.span, format!("\"{}\" needs named entries", kind.text))),
    }
}

fn plain_name(key: Expr) -> Name {
    let text = match key.kind {
        ExprKind::String(text) => text,
        _ => String::new(),
    };
    Name { text, span: key.span }
}

/// Decodes a quoted string's source text. Returns the content, and the place of each of its bytes and of its end.
/// `None` where an escape is not one that JSON or TOML knows.
pub(super) fn decode(raw: &str, start: usize) -> Option<(String, Vec<u32>)> {
    let (mut text, mut places) = (String::with_capacity(raw.len()), Vec::with_capacity(raw.len() + 1));
    let mut chars = raw.char_indices().peekable();
    let hex = |at: usize, n: usize| u32::from_str_radix(raw.get(at..at + n)?, 16).ok();
    while let Some((at, c)) = chars.next() {
        let mut n_skipped = 0;
        let decoded = match c {
            '\\' => match chars.next()?.1 {
                'b' => '\u{8}',
                'e' => '\u{1b}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c @ ('"' | '\\' | '/') => c,
                'x' => {
                    n_skipped = 2;
                    char::from_u32(hex(at + 2, 2)?)?
                }
                'U' => {
                    n_skipped = 8;
                    char::from_u32(hex(at + 2, 8)?)?
                }
                'u' => {
                    n_skipped = 4;
                    let unit = hex(at + 2, 4)?;
                    if (0xd800..0xdc00).contains(&unit) && raw.get(at + 6..at + 8) == Some("\\u") {
                        n_skipped = 10;
                        let low = hex(at + 8, 4).filter(|low| (0xdc00..0xe000).contains(low))?;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                    } else {
                        // JSON allows half a pair; what it means is not a character.
                        char::from_u32(unit).unwrap_or('\u{fffd}')
                    }
                }
                c if c.is_whitespace() => {
                    // A line continuation of TOML: everything up to the next visible character goes.
                    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
                    continue;
                }
                _ => return None,
            },
            c => c,
        };
        for _ in 0..n_skipped {
            chars.next();
        }
        let place = u32::try_from(start + at).unwrap_or(u32::MAX);
        places.extend(std::iter::repeat_n(place, decoded.len_utf8()));
        text.push(decoded);
    }
    places.push(u32::try_from(start + raw.len()).unwrap_or(u32::MAX));
    Some((text, places))
}

/// Makes an expression of a string's content, a template if it has interpolations.
pub(super) fn string_expr(file: FileId, text: &str, places: Vec<u32>, span: Span, findings: &mut Diagnostics) -> Expr {
    match parse_template(file, text, &Offsets::Table(places), span) {
        Ok(expr) => expr,
        Err(finding) => {
            findings.push(finding);
            Expr { kind: ExprKind::Null, span }
        }
    }
}
