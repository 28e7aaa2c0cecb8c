//! `semvercmp`: does a version meet a constraint? The rules are those of the peer's library: a pre-release meets a
//! constraint only if that, or one that must be met with it, names a pre-release too.

use std::cmp::Ordering;

use super::Parameter::Text;
use super::{Function, fixed, text_at};
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[fixed("semvercmp", &[Text, Text], |_, v| {
    let version = Version::parse(text_at(v, 0)).ok_or_else(|| format!("\"{}\" is no version", text_at(v, 0)))?;
    meets(&version, text_at(v, 1)).map(Value::Bool)
})];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    /// Major, minor and patch.
    numbers: [u64; 3],
    prerelease: String,
}

/// A version as it is written: up to three numbers, `v` before them, a pre-release and metadata after them.
struct Written<'a> {
    numbers: Vec<&'a str>,
    prerelease: &'a str,
    rest: &'a str,
}

impl<'a> Written<'a> {
    /// Reads what stands at the start of `text`; `is_digit` says what numbers are made of.
    fn read(text: &'a str, is_digit: impl Fn(char) -> bool) -> Option<Written<'a>> {
        let mut rest = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = Vec::new();
        while numbers.len() < 3 {
            let digits = match numbers.is_empty() {
                true => Some(rest),
                false => rest.strip_prefix('.'),
            };
            let Some(digits) = digits else { break };
            let (number, after) = digits.split_at(digits.find(|c| !is_digit(c)).unwrap_or(digits.len()));
            if number.is_empty() {
                break;
            }
            numbers.push(number);
            rest = after;
        }
        let mut identifiers = |sign: char| {
            let after = rest.strip_prefix(sign)?;
            let is_identifier = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            let text = &after[..after.find(|c| !is_identifier(c)).unwrap_or(after.len())];
            // A point belongs to it only between two of them.
            let end = text.find("..").unwrap_or(text.trim_end_matches('.').len());
            let is_there = end > 0 && !text.starts_with('.');
            rest = if is_there { &rest[1 + end..] } else { rest };
            is_there.then(|| &text[..end])
        };
        let prerelease = identifiers('-').unwrap_or("");
        identifiers('+');
        (!numbers.is_empty()).then_some(Written { numbers, prerelease, rest })
    }

    /// The version of the first `n` numbers, zeros after them.
    fn version(&self, n: usize) -> Option<Version> {
        let mut numbers = [0; 3];
        for (number, digits) in numbers.iter_mut().zip(self.numbers.iter().take(n)) {
            *number = digits.parse().ok()?;
        }
        let is_valid =
            |part: &str| !(part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
        let is_valid = self.prerelease.is_empty() || self.prerelease.split('.').all(is_valid);
        is_valid.then(|| Version { numbers, prerelease: self.prerelease.to_owned() })
    }
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let written = Written::read(text, |c| c.is_ascii_digit()).filter(|written| written.rest.is_empty())?;
        written.version(3)
    }

    fn compare(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&*self.prerelease, &*other.prerelease) {
            (a, b) if a == b => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => compare_prereleases(a, b),
        })
    }
}

fn compare_prereleases(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                _ => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Operators, those first that begin as others do.
const OPERATORS: [&str; 11] = ["!=", ">=", "=>", "<=", "=<", "~>", "=", ">", "<", "~", "^"];

/// A comparison with one version.
struct Constraint {
    operator: &'static str,
    version: Version,
    /// How many of its numbers are written, before one that is `x` or `*`.
    n_written: usize,
}

fn meets(version: &Version, text: &str) -> Result<bool, String> {
    let invalid = || format!("\"{text}\" is no version constraint");
    let groups: Option<Vec<Vec<Constraint>>> = text.split("||").map(constraints).collect();
    let is_met = |group: &Vec<Constraint>| {
        let has_prerelease = group.iter().any(|constraint| !constraint.version.prerelease.is_empty());
        (version.prerelease.is_empty() || has_prerelease) && group.iter().all(|constraint| constraint.is_met(version))
    };
    Ok(groups.ok_or_else(invalid)?.iter().any(is_met))
}

/// Reads `>=1.2, <2`, `~1.2 !=1.2.5` and `1.2 - 1.4`, of which all must be met.
fn constraints(text: &str) -> Option<Vec<Constraint>> {
    let (mut constraints, mut rest) = (Vec::new(), text.trim_start());
    // What a range may follow, and what follows a range, needs no space.
    let mut may_be_range = true;
    loop {
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)).unwrap_or("");
        let (constraint, after) = Constraint::read(operator, rest[operator.len()..].trim_start())?;
        let high = after
            .trim_start()
            .strip_prefix('-')
            .filter(|high| after.starts_with(char::is_whitespace) && high.starts_with(char::is_whitespace));
        let is_range = high.is_some();
        let after = match high {
            Some(high) if operator.is_empty() && may_be_range => {
                constraints.push(Constraint { operator: ">=", ..constraint });
                let (high, after) = Constraint::read("<=", high.trim_start())?;
                constraints.push(high);
                after
            }
            Some(_) => return None,
            None => {
                constraints.push(constraint);
                after
            }
        };
        let spaceless = after.trim_start();
        if spaceless.is_empty() {
            return Some(constraints);
        }
        let after_comma = spaceless.strip_prefix(',');
        if after_comma.is_none() && spaceless.len() == after.len() && !is_range {
            return None;
        }
        may_be_range = after_comma.is_some() || is_range;
        rest = after_comma.unwrap_or(spaceless).trim_start();
    }
}

impl Constraint {
    fn read<'a>(operator: &'static str, text: &'a str) -> Option<(Constraint, &'a str)> {
        let is_open = |number: &&str| matches!(*number, "x" | "X" | "*");
        let written = Written::read(text, |c| c.is_ascii_digit() || matches!(c, 'x' | 'X' | '*' | '|'))?;
        let n_written = written.numbers.iter().position(is_open).unwrap_or(written.numbers.len());
        let version = written.version(n_written)?;
        Some((Constraint { operator, version, n_written }, written.rest))
    }

    /// Compares by the operator; whether pre-releases count at all is said before.
    fn is_met(&self, version: &Version) -> bool {
        let order = version.compare(&self.version);
        let [major, minor, patch] = version.numbers;
        let [own_major, own_minor, own_patch] = self.version.numbers;
        let (is_minor_open, is_patch_open) = (self.n_written == 1, self.n_written == 2);
        match self.operator {
            "" | "=" if self.n_written == 3 => order.is_eq(),
            "!=" => match self.n_written {
                1 => major != own_major,
                2 => (major, minor) != (own_major, own_minor) || version.prerelease != self.version.prerelease,
                _ => order.is_ne(),
            },
            ">" => match self.n_written {
                1 => major > own_major,
                2 => (major, minor) > (own_major, own_minor),
                _ => order.is_gt(),
            },
            "<" => order.is_lt(),
            ">=" | "=>" => order.is_ge(),
            "<=" | "=<" if self.n_written == 3 => order.is_le(),
            "<=" | "=<" => major < own_major || (major == own_major && (minor <= own_minor || is_minor_open)),
            "^" if own_major > 0 || is_minor_open => order.is_ge() && major == own_major,
            "^" if own_minor > 0 || is_patch_open => order.is_ge() && major == 0 && minor == own_minor,
            "^" => order.is_ge() && (major, minor, patch) == (0, 0, own_patch),
            // `~`, and equality with numbers left open. All versions meet `~0.0.0`, and so `*`.
            _ => {
                let is_any = self.version.numbers == [0; 3] && !is_minor_open && !is_patch_open;
                order.is_ge() && (is_any || (major == own_major && (minor == own_minor || is_minor_open)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_hold_as_in_the_peer() {
        let cases = [
            ("1.2.3-rc1", ">=1.2.0", false),
            ("1.2.3-rc2", ">=1.2.3-rc1", true),
            ("1.2.3", ">=1.2.0, <2", true),
            ("1.3.0", "~1.2", false),
            ("1.2.9", "~1.2.3", true),
            ("0.3.0", "^0.2.3", false),
            ("2.0.0", "^1.2 || >=2", true),
            ("1.4.5", "1.2 - 1.4.5", true),
            ("v1.2.3", "1.2.x", true),
            ("1.3.0", ">1.2", true),
            ("1.2.9", "!=1.2", false),
            ("1.2.3", "1.x.3", true),
            ("1.2.3", "<2, 1.2.3 - 1.2.4", true),
            ("1.2.3-rc1", ">=1.2.3-rc1, <2", true),
            ("1.2.3-rc1", "!=1.2.3", false),
            ("1.2.3", "^*", false),
            ("1.2.3", "<=*", false),
            ("1.2.3", "0 - 1 2 - 3 || =01.2.3", true),
        ];
        for (version, constraint, met) in cases {
            let version = Version::parse(version).expect("a version");
            assert_eq!(meets(&version, constraint), Ok(met), "{version:?} {constraint}");
        }
        let one = Version::parse("1").expect("a version");
        for wrong in
            ["?1", "", "==1", "1,", "1 || ", ">=1<2", "1 - 2 - 3", "<3 1 - 2", ">1 - 2", "1.2.3-01", "1.xx", "1- 2"]
        {
            assert!(meets(&one, wrong).is_err(), "{wrong}");
        }
        for wrong in ["1.a", "V1", "1.2.3-", "1.2.3-a..b", "1.2.3-01", "1.2.3+", "1.2.3.4", "", "1.2.3-é"] {
            assert!(Version::parse(wrong).is_none(), "{wrong}");
        }
    }
}
