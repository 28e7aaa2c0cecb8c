//! Finding the way back after something wrong.

use super::lexer::Kind;
use super::{Parser, lexer};

impl Parser<'_> {
    /// Goes behind the bracket that closes what `closer` closes. Stops before a bracket that closes something else, which is
    /// around this, and before the end.
    pub(super) fn recover_to(&mut self, closer: u8) {
        let mut open = Vec::new();
        loop {
            let token = lexer::token(self.text, self.at);
            match token.kind {
                Kind::End => {
                    self.is_lost = true;
                    return;
                }
                Kind::Quote => {
                    self.at = self.behind_string(token.end);
                    continue;
                }
                Kind::Heredoc => {
                    self.at = self.behind_heredoc(token);
                    continue;
                }
                Kind::Sign(b'[') => open.push(b']'),
                Kind::Sign(b'(') => open.push(b')'),
                Kind::Sign(b'{') => open.push(b'}'),
                Kind::StripBrace => return,
                // A bracket that nothing closes does not hold the attributes of the next lines.
                Kind::Newline if open.is_empty() && closer != b'}' && self.is_attribute(token.end) => {
                    self.at = token.start;
                    return;
                }
                Kind::Sign(sign @ (b']' | b')' | b'}')) => match open.pop() {
                    Some(expected) if expected == sign => {}
                    None if sign == closer => {
                        self.at = token.end;
                        return;
                    }
                    _ => return,
                },
                _ => {}
            }
            self.at = token.end;
        }
    }

    /// Says whether an attribute begins at `at`.
    fn is_attribute(&self, at: usize) -> bool {
        let name = lexer::token(self.text, at);
        name.kind == Kind::Word && lexer::token(self.text, name.end).is(b'=')
    }

    /// Goes behind the line, brackets that open on it taken whole; stops before a `}` that closes the block around it.
    pub(super) fn recover_after_item(&mut self) {
        loop {
            let token = lexer::token(self.text, self.at);
            match token.kind {
                Kind::End | Kind::Sign(b'}') => return,
                Kind::Newline => {
                    self.at = token.end;
                    return;
                }
                Kind::Quote => self.at = self.behind_string(token.end),
                Kind::Heredoc => self.at = self.behind_heredoc(token),
                Kind::Sign(sign @ (b'[' | b'(' | b'{')) => {
                    self.at = token.end;
                    self.recover_to(match sign {
                        b'[' => b']',
                        b'(' => b')',
                        _ => b'}',
                    });
                }
                _ => self.at = token.end,
            }
        }
    }

    /// Returns where the string ends whose content begins at `at`: behind its quote, or at the end of the line.
    pub(super) fn behind_string(&self, mut at: usize) -> usize {
        // Braces that are open in each interpolation that is open; strings and interpolations alternate.
        let mut interpolations: Vec<usize> = Vec::new();
        let mut is_in_string = true;
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(at) {
            let next = bytes.get(at + 1);
            match (byte, is_in_string) {
                (b'\n', _) => return at,
                (b'\\', true) if next.is_some_and(|byte| *byte != b'\n') => at += 1,
                (b'$' | b'%', true) if next == Some(byte) && bytes.get(at + 2) == Some(&b'{') => at += 2,
                (b'$' | b'%', true) if next == Some(&b'{') => {
                    interpolations.push(0);
                    is_in_string = false;
                    at += 1;
                }
                (b'"', true) if interpolations.is_empty() => return at + 1,
                (b'"', _) => is_in_string = !is_in_string,
                (b'{', false) => interpolations.iter_mut().last().into_iter().for_each(|n_open| *n_open += 1),
                (b'}', false) => match interpolations.last_mut() {
                    Some(n_open) if *n_open > 0 => *n_open -= 1,
                    _ => {
                        interpolations.pop();
                        is_in_string = true;
                    }
                },
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Returns where a heredoc's last line ends, or the text.
    fn behind_heredoc(&self, opening: lexer::Token) -> usize {
        let word = self.text[opening.start..opening.end].trim_start_matches('<').trim_start_matches('-').trim_end();
        let mut at = opening.end;
        for line in self.text[opening.end..].split_inclusive('\n') {
            if line.trim() == word {
                return at + line.trim_end().len();
            }
            at += line.len();
        }
        at
    }
}
