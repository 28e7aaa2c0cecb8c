//! `--chmod`: octal and symbolic modes.

use super::FileError;
use super::select::Kind;
use crate::graph::ModeChange;

/// A [`ModeChange`], checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Keep,
    Bits(u32),
    Clauses(Vec<Clause>),
}

/// One `who op permissions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Of 0o700, 0o070, 0o007.
    who: u32,
    operator: char,
    permissions: String,
}

impl Change {
    pub(crate) fn parse(change: Option<&ModeChange>) -> Result<Change, FileError> {
        match change {
            None => Ok(Change::Keep),
            Some(ModeChange::Bits(bits)) => Ok(Change::Bits(bits & 0o7777)),
            Some(ModeChange::Symbolic(text)) => {
                let invalid = || FileError::Mode { mode: text.clone() };
                let mut clauses = Vec::new();
                for part in text.split(',') {
                    parse_clauses(part, &mut clauses).ok_or_else(invalid)?;
                }
                Ok(Change::Clauses(clauses))
            }
        }
    }

    /// Returns the mode that something of `kind` with `mode` gets.
    pub(crate) fn apply(&self, mode: u32, kind: Kind) -> u32 {
        match self {
            Change::Keep => mode,
            Change::Bits(bits) => *bits,
            Change::Clauses(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, kind)),
        }
    }

    /// Returns the mode of directories that are made on the way: symbolic modes do not reach them, and neither do
    /// set-user-id, set-group-id and sticky.
    pub(crate) fn of_parents(&self) -> u32 {
        match self {
            Change::Bits(bits) => bits & 0o777,
            Change::Keep | Change::Clauses(_) => 0o755,
        }
    }
}

/// Reads `u+x`, `go=rX`, `a-w+x`; `None` if malformed.
fn parse_clauses(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let at = text.find(['+', '-', '='])?;
    let mut who = 0;
    for c in text[..at].chars() {
        who |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let who = if who == 0 { 0o777 } else { who };
    let mut rest = &text[at..];
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        let permissions = &rest[1..end];
        let is_copy = permissions.len() == 1 && permissions.contains(['u', 'g', 'o']);
        if !is_copy && !permissions.chars().all(|c| "rwxXst".contains(c)) {
            return None;
        }
        clauses.push(Clause { who, operator, permissions: permissions.to_owned() });
        rest = &rest[end..];
    }
    Some(())
}

impl Clause {
    fn apply(&self, mode: u32, kind: Kind) -> u32 {
        let everyone = |bits: u32| bits | bits << 3 | bits << 6;
        let mut bits = 0;
        for c in self.permissions.chars() {
            bits |= match c {
                'r' => everyone(4) & self.who,
                'w' => everyone(2) & self.who,
                'x' => everyone(1) & self.who,
                'X' if kind == Kind::Directory || mode & 0o111 != 0 => everyone(1) & self.who,
                's' => (self.who & 0o100) << 5 | (self.who & 0o010) << 7,
                't' => 0o1000,
                'u' => everyone(mode >> 6 & 7) & self.who,
                'g' => everyone(mode >> 3 & 7) & self.who,
                'o' => everyone(mode & 7) & self.who,
                _ => 0,
            };
        }
        let special = (self.who & 0o100) << 5 | (self.who & 0o010) << 7;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !(self.who | special) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes_change_modes_as_chmod_does() {
        for (text, kind, before, after) in [
            ("u=rw,go=r", Kind::File, 0o755, 0o644),
            ("a+X", Kind::File, 0o644, 0o644),
            ("a+X", Kind::File, 0o744, 0o755),
            ("a+X", Kind::Directory, 0o644, 0o755),
            ("u=rwX,go=rX", Kind::Directory, 0o700, 0o755),
            ("+x", Kind::File, 0o644, 0o755),
            ("go-rwx", Kind::File, 0o755, 0o700),
            ("g=u", Kind::File, 0o640, 0o660),
            ("u+s,g+s,+t", Kind::File, 0o755, 0o7755),
            ("u-w+x", Kind::File, 0o644, 0o544),
            ("o=", Kind::File, 0o777, 0o770),
        ] {
            let change = Change::parse(Some(&ModeChange::Symbolic(text.to_owned()))).expect(text);
            assert_eq!(change.apply(before, kind), after, "{text}: {:o}", change.apply(before, kind));
        }
        for text in ["", "u", "z+x", "u+q", "u=rw,", "g=uo"] {
            assert!(Change::parse(Some(&ModeChange::Symbolic(text.to_owned()))).is_err(), "{text}");
        }
    }
}
