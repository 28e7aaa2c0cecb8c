//! `semvercmp`: does a version meet a constraint? The rules are those of the peer's library: a pre-release meets
//! constraints only if one of them names one too.

use std::cmp::Ordering;

use super::Parameter::Text;
use super::{Function, fixed, text_at};
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[fixed("semvercmp", &[Text, Text], |_, v| {
    let version = Version::parse(text_at(v, 0)).filter(|version| version.n_written > 0 && !version.is_open);
    let version = version.ok_or_else(|| format!("\"{}\" is no version", text_at(v, 0)))?;
    meets(&version, text_at(v, 1)).map(Value::Bool)
})];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    /// How many numbers were written; `x` and `*` are not.
    n_written: usize,
    /// There is an `x` or `*` in it.
    is_open: bool,
    prerelease: String,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (core, prerelease) = text.split_once('-').unwrap_or((text, "0"));
        let is_identifier = |part: &str| {
            let is_padded = part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
            !part.is_empty() && !is_padded && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !prerelease.split('.').all(is_identifier) {
            return None;
        }
        let prerelease = if text.contains('-') { prerelease } else { "" };
        let (mut numbers, mut n_written, mut is_open) = ([0; 3], 0, false);
        for (i, part) in core.split('.').enumerate() {
            match part {
                "x" | "X" | "*" if i < 3 => is_open = true,
                _ if i < 3 && is_open && part.bytes().all(|b| b.is_ascii_digit()) => {}
                _ if i >= 3 || is_open || !part.bytes().all(|b| b.is_ascii_digit()) => return None,
                _ => {
                    numbers[i] = part.parse().ok()?;
                    n_written = i + 1;
                }
            }
        }
        Some(Version { numbers, n_written, is_open, prerelease: prerelease.to_owned() })
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

fn meets(version: &Version, constraint: &str) -> Result<bool, String> {
    let mut is_any_met = false;
    for alternative in constraint.split("||") {
        let terms = terms(alternative).ok_or_else(|| format!("\"{constraint}\" is no version constraint"))?;
        let takes_prereleases = terms.iter().any(|(_, wanted)| !wanted.prerelease.is_empty());
        let mut is_met = version.prerelease.is_empty() || takes_prereleases;
        for (operator, wanted) in &terms {
            is_met &= meets_one(version, operator, wanted).ok_or_else(|| format!("\"{operator}\" is no comparison"))?;
        }
        is_any_met |= is_met;
    }
    Ok(is_any_met)
}

/// Reads `>=1.2, <2`, `~1.2 !=1.2.5` and `1.2 - 1.4` to operator and version.
fn terms(text: &str) -> Option<Vec<(String, Version)>> {
    if let Some((low, high)) = text.split_once(" - ") {
        return Some(vec![(">=".into(), Version::parse(low.trim())?), ("<=".into(), Version::parse(high.trim())?)]);
    }
    let is_operator = |c: char| "=!<>~^".contains(c);
    let (mut terms, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let operator_end = rest.find(|c| !is_operator(c))?;
        let (operator, after) = rest.split_at(operator_end);
        let after = after.trim_start();
        let end = after.find(|c: char| c == ',' || c.is_whitespace() || is_operator(c)).unwrap_or(after.len());
        terms.push((operator.to_owned(), Version::parse(&after[..end])?));
        rest = after[end..].trim_start_matches(|c: char| c == ',' || c.is_whitespace());
    }
    if terms.is_empty() { None } else { Some(terms) }
}

fn meets_one(version: &Version, operator: &str, wanted: &Version) -> Option<bool> {
    // `*` alone is any version; after another comparison it is 0.0.0.
    let is_any = wanted.n_written == 0 && matches!(operator, "" | "=" | "~" | "~>");
    let wanted =
        &Version { n_written: if is_any || wanted.n_written > 0 { wanted.n_written } else { 3 }, ..wanted.clone() };
    let order = version.compare(wanted);
    let agrees = |index: usize| version.numbers[..=index] == wanted.numbers[..=index];
    // A version with open places means the whole range that starts at it.
    let in_range = |n_written: usize| match n_written {
        0 => true,
        3 => order.is_eq(),
        n => order.is_ge() && agrees(n - 1),
    };
    Some(match operator {
        "" | "=" => in_range(wanted.n_written),
        "!=" => !in_range(wanted.n_written),
        ">" => {
            if wanted.n_written < 3 {
                order.is_gt() && !in_range(wanted.n_written)
            } else {
                order.is_gt()
            }
        }
        ">=" | "=>" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" | "=<" => {
            if wanted.n_written < 3 {
                order.is_lt() || in_range(wanted.n_written)
            } else {
                order.is_le()
            }
        }
        "~" | "~>" => match wanted.n_written {
            3 if wanted.numbers == [0; 3] => order.is_ge(),
            0 => true,
            1 => order.is_ge() && agrees(0),
            _ => order.is_ge() && agrees(1),
        },
        "^" => {
            let first = wanted.numbers.iter().position(|n| *n > 0).unwrap_or(2).min(wanted.n_written.saturating_sub(1));
            wanted.n_written == 0 || order.is_ge() && agrees(first)
        }
        _ => return None,
    })
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
        ];
        for (version, constraint, met) in cases {
            let version = Version::parse(version).expect("a version");
            assert_eq!(meets(&version, constraint), Ok(met), "{version:?} {constraint}");
        }
        assert!(Version::parse("1.a").is_none() && meets(&Version::parse("1").expect("1"), "?1").is_err());
    }
}
