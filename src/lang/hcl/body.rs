//! Bodies: attributes and blocks.

use std::collections::BTreeMap;

use super::lexer::{Kind, Token};
use super::{Failed, Parsed, Parser};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::ast::{Attribute, Block, Body, Name};

impl Parser<'_> {
    /// Reads a whole file.
    pub(super) fn file(&mut self) -> Body {
        let span = self.span(0, self.text.len());
        let mut items = Items::default();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return items.body(span),
                Kind::Sign(b'}') => {
                    self.take(token);
                    _ = self.fail(Diagnostic::error(self.span_of(token), "this `}` closes nothing"));
                }
                _ => self.item(&mut items),
            }
        }
    }

    /// Reads an attribute or a block, or goes behind what is neither.
    fn item(&mut self, items: &mut Items) {
        let token = self.peek();
        if token.kind == Kind::Newline {
            self.take(token);
            return;
        }
        let start = self.at;
        if self.try_item(token, items).is_err() {
            self.recover_after_item();
            // What is no token of a body must not stop this.
            if self.at == start {
                self.at = token.end;
            }
        }
    }

    fn try_item(&mut self, first: Token, items: &mut Items) -> Parsed<()> {
        if first.kind != Kind::Word {
            return Err(self.no_item(first));
        }
        self.take(first);
        let name = self.name(first);
        let next = self.peek();
        match next.kind {
            Kind::Sign(b'=') => {
                self.take(next);
                let attribute = self.attribute(name, next)?;
                self.line_end("attributes stand on lines of their own, without commas")?;
                self.add(attribute, items);
                Ok(())
            }
            Kind::Quote | Kind::Word | Kind::Sign(b'{') => {
                let block = self.nested(|this| this.block(name))?;
                items.blocks.push(block);
                Ok(())
            }
            Kind::Sign(b':') => {
                let finding = self.expected(next, "`=`");
                Err(self.fail(finding.hint(format!("write `{} = …`", super::cut(&name.text)))))
            }
            _ => {
                let finding = self.expected(next, "`=` or `{`");
                let word = super::cut(&name.text);
                Err(self.fail(finding.hint(format!("write `{word} = …` for an attribute, `{word} {{` for a block"))))
            }
        }
    }

    fn no_item(&mut self, token: Token) -> Failed {
        let finding = self.expected(token, "an attribute or a block");
        let finding = match token.kind {
            Kind::Quote => finding.hint("the name of an attribute stands without quotes: `name = …`"),
            _ => finding,
        };
        self.fail(finding)
    }

    /// Reads the value of an attribute, after the `=`.
    fn attribute(&mut self, name: Name, equals: Token) -> Parsed<Attribute> {
        let next = self.peek();
        if matches!(next.kind, Kind::Newline | Kind::End | Kind::Sign(b'}')) {
            let finding = Diagnostic::error(
                self.span_of(equals),
                format!("`{}` has no value on its line", super::cut(&name.text)),
            );
            return Err(self.fail(finding.hint("a value begins on the line of its `=`; in brackets it may go on")));
        }
        Ok(Attribute { name, value: self.expr()? })
    }

    fn add(&mut self, attribute: Attribute, items: &mut Items) {
        match items.places.get(&attribute.name.text) {
            Some(first) => {
                let finding = Diagnostic::error(attribute.name.span, "this attribute is set twice in the same block");
                _ = self.fail(finding.label(*first, "it is set here first"));
            }
            None => {
                items.places.insert(attribute.name.text.clone(), attribute.name.span);
                items.attributes.push(attribute);
            }
        }
    }

    /// Takes the end of a line, or sees the end of the text.
    fn line_end(&mut self, why: &str) -> Parsed<()> {
        let token = self.peek();
        match token.kind {
            Kind::Newline => self.take(token),
            Kind::End => {}
            _ => {
                let finding = self.expected(token, "the end of the line");
                return Err(self.fail(finding.hint(why)));
            }
        }
        Ok(())
    }

    /// Reads a block from behind its first word.
    fn block(&mut self, kind: Name) -> Parsed<Block> {
        let mut labels = Vec::new();
        let open = loop {
            let token = self.peek();
            match token.kind {
                Kind::Word => {
                    self.take(token);
                    labels.push(self.name(token));
                }
                Kind::Quote => {
                    self.take(token);
                    let text = self.label(token)?;
                    labels.push(Name { text, span: self.span(token.start, self.at) });
                }
                Kind::Sign(b'{') => break token,
                Kind::Sign(b'=') => {
                    let finding = Diagnostic::error(self.span_of(token), "a block has no `=`");
                    return Err(self.fail(finding.hint(format!("write `{} \"NAME\" {{`", super::cut(&kind.text)))));
                }
                Kind::Newline | Kind::End => {
                    let finding = self.expected(token, "`{`");
                    let failed = self.fail(finding.hint("the `{` of a block stands on the line of its name"));
                    // What is in the block is read nevertheless.
                    let next = self.with_newlines(false, |this| Ok(this.peek()))?;
                    match next.is(b'{') {
                        true => break next,
                        false => return Err(failed),
                    }
                }
                _ => return Err(self.unexpected(token, "a name in quotes or `{`")),
            }
        };
        self.take(open);
        let start = kind.span;
        let body = self.block_body(open)?;
        let span = Span { end: self.span(self.at, self.at).end, ..start };
        self.line_end("a block ends its line")?;
        Ok(Block { kind, labels, body: Body { span, ..body } })
    }

    /// Reads what is in a block, and its `}`.
    fn block_body(&mut self, open: Token) -> Parsed<Body> {
        let mut items = Items::default();
        let first = self.peek();
        if !matches!(first.kind, Kind::Newline | Kind::End | Kind::Sign(b'}')) {
            if self.one_line(first, open, &mut items).is_err() {
                self.recover_to(b'}');
            }
            return Ok(items.body(self.span_of(open)));
        }
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Sign(b'}') => {
                    self.take(token);
                    return Ok(items.body(self.span_of(open)));
                }
                Kind::End => return Err(self.unclosed(open)),
                _ => self.item(&mut items),
            }
        }
    }

    fn unclosed(&mut self, open: Token) -> Failed {
        let finding = Diagnostic::error(self.span_of(open), "this block is not closed");
        let failed = self.fail(finding.hint("add a `}`, or look for one that closes too little further down"));
        self.is_lost = true;
        failed
    }

    /// Reads the one attribute of a block on one line, and the `}`.
    fn one_line(&mut self, first: Token, open: Token, items: &mut Items) -> Parsed<()> {
        if first.kind != Kind::Word {
            return Err(self.no_item(first));
        }
        self.take(first);
        let name = self.name(first);
        let equals = self.peek();
        if !equals.is(b'=') {
            let finding = self.expected(equals, "`=`");
            return Err(self.fail(finding.hint("a block on one line has one attribute and no blocks")));
        }
        self.take(equals);
        items.attributes.push(self.attribute(name, equals)?);
        let close = self.peek();
        match close.kind {
            Kind::Sign(b'}') => {
                self.take(close);
                Ok(())
            }
            Kind::End => Err(self.unclosed(open)),
            _ => {
                let finding = self.expected(close, "`}`");
                Err(self.fail(finding.hint("a block on one line has one attribute; give each a line of its own")))
            }
        }
    }
}

/// A body as far as it is read.
#[derive(Default)]
struct Items {
    attributes: Vec<Attribute>,
    blocks: Vec<Block>,
    places: BTreeMap<String, Span>,
}

impl Items {
    fn body(self, span: Span) -> Body {
        Body { attributes: self.attributes, blocks: self.blocks, span }
    }
}
