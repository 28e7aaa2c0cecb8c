//! Values of `resources`, `shm-size` and `ulimits`: from text, as the peer reads it, to numbers.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Span};

/// Limits that a process has, by the names that `ulimits` uses.
pub(super) const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Highest number of a processor or memory node that a set may name.
const MAX_IN_SET: u32 = 8192;

/// The length of a CPU quota's period where none is said, in microseconds: the kernel's default.
const DEFAULT_PERIOD: u64 = 100_000;

/// A limit of each process of a step, as `setrlimit` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// `nofile`, `core`, …: one that is known.
    pub name: String,
    /// The limit that holds; `None` for no limit.
    pub soft: Option<u64>,
    /// What a process may raise it to; `None` for no limit.
    pub hard: Option<u64>,
}

/// Why a text is no [`Ulimit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidUlimit {
    /// There is no limit of that name.
    Name(String),
    /// The reason, for people.
    Form(String),
}

impl InvalidUlimit {
    /// Says what is wrong, and what would be right.
    pub fn diagnostic(self, span: Span) -> Diagnostic {
        match self {
            InvalidUlimit::Form(why) => Diagnostic::error(span, why).hint("write NAME=SOFT[:HARD]"),
            InvalidUlimit::Name(name) => {
                let finding = Diagnostic::error(span, format!("there is no limit `{name}`"));
                finding.suggest(&name, LIMITS).note(format!("the limits are {}", LIMITS.join(", ")))
            }
        }
    }
}

impl FromStr for Ulimit {
    type Err = InvalidUlimit;

    /// Reads `NAME=SOFT[:HARD]`, in which -1 is no limit.
    fn from_str(text: &str) -> Result<Ulimit, InvalidUlimit> {
        let wrong = |why| Err(InvalidUlimit::Form(why));
        let Some((name, values)) = text.split_once('=') else { return wrong(format!("`{text}` is no limit")) };
        if !LIMITS.contains(&name) {
            return Err(InvalidUlimit::Name(name.to_owned()));
        }
        let numbers: Result<Vec<i64>, _> = values.split(':').map(str::parse).collect();
        let (soft, hard) = match numbers.as_deref() {
            Ok(&[both]) => (both, both),
            Ok(&[soft, hard]) if hard == -1 || (soft != -1 && soft <= hard) => (soft, hard),
            Ok([_, _]) => return wrong(format!("the soft limit of `{name}` is above its hard limit")),
            _ => return wrong(format!("`{values}` is no limit's value")),
        };
        let limit = |number: i64| u64::try_from(number).ok();
        Ok(Ulimit { name: name.to_owned(), soft: limit(soft), hard: limit(hard) })
    }
}

/// How much swap a step may use besides its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Any.
    Unlimited,
    /// Memory and swap together, in bytes.
    WithMemory(u64),
}

/// What all processes of a step may use together. What is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory in bytes; not 0.
    pub memory: Option<u64>,
    /// Swap.
    pub memory_swap: Option<Swap>,
    /// Weight of its CPU time beside others'; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// Length of the period that `cpu_quota` counts in, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds.
    pub cpu_quota: Option<u64>,
    /// Numbers of the processors it runs on; empty for all.
    pub cpuset_cpus: BTreeSet<u32>,
    /// Numbers of the memory nodes it uses; empty for all.
    pub cpuset_mems: BTreeSet<u32>,
}

impl Resources {
    /// Sets what `name` of `resources` says. Zero and less are no limit, as for the peer, which does not send them. The
    /// error is the reason, for people.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let text = text.trim();
        let size = || size_in_bytes(text).ok_or_else(|| format!("`{text}` is no size"));
        let number = || {
            let number: i64 = text.parse().map_err(|_| format!("`{text}` is no whole number"))?;
            Ok::<_, String>(u64::try_from(number).ok().filter(|number| *number > 0))
        };
        match name {
            "memory" => self.memory = Some(size()?).filter(|size| *size > 0),
            "memory-swap" if text == "-1" => self.memory_swap = Some(Swap::Unlimited),
            "memory-swap" => self.memory_swap = Some(size()?).filter(|size| *size > 0).map(Swap::WithMemory),
            "cpu-shares" => self.cpu_shares = number()?,
            "cpu-period" => self.cpu_period = number()?,
            "cpu-quota" => self.cpu_quota = number()?,
            "cpuset-cpus" => self.cpuset_cpus = set_of_numbers(text)?,
            "cpuset-mems" => self.cpuset_mems = set_of_numbers(text)?,
            _ => return Err("there is no such resource".to_owned()),
        }
        Ok(())
    }

    /// Says whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Resources::default()
    }

    /// Returns the looser of each limit: a step that two targets share is not slowed down for the sake of one of them. The
    /// peer's rule.
    pub fn relaxed(&self, other: &Resources) -> Resources {
        let looser_set = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| match a.is_empty() || b.is_empty() {
            true => BTreeSet::new(),
            false => a.union(b).copied().collect(),
        };
        let looser_swap = |a: Swap, b: Swap| match (a, b) {
            (Swap::WithMemory(a), Swap::WithMemory(b)) => Swap::WithMemory(a.max(b)),
            _ => Swap::Unlimited,
        };
        let (a, b) = (self, other);
        let share = |of: &Resources| {
            let period = of.cpu_period.unwrap_or(DEFAULT_PERIOD);
            of.cpu_quota.map(|quota| (u128::from(quota) << 64) / u128::from(period))
        };
        let of_time = match (share(a), share(b)) {
            (None, _) => a,
            (_, None) => b,
            (of_a, of_b) => {
                if of_a >= of_b {
                    a
                } else {
                    b
                }
            }
        };
        // Without a limit of memory there is none of both.
        let memory = a.memory.zip(b.memory).map(|(a, b)| a.max(b));
        let memory_swap = match (memory, a.memory_swap, b.memory_swap) {
            (None, ..) => None,
            (_, Some(a), Some(b)) => Some(looser_swap(a, b)),
            (_, one, other) => one.or(other),
        };
        let memory_swap = memory_swap.map(|swap| match (swap, memory) {
            (Swap::WithMemory(both), Some(memory)) => Swap::WithMemory(both.max(memory)),
            _ => swap,
        });
        Resources {
            memory,
            memory_swap,
            cpu_shares: a.cpu_shares.max(b.cpu_shares),
            cpu_period: of_time.cpu_quota.and(of_time.cpu_period),
            cpu_quota: of_time.cpu_quota,
            cpuset_cpus: looser_set(&a.cpuset_cpus, &b.cpuset_cpus),
            cpuset_mems: looser_set(&a.cpuset_mems, &b.cpuset_mems),
        }
    }
}

/// Reads a number with a unit of bytes: `1.5g`, `64 MiB`, `100b`. A kilobyte has 1024 bytes, however it is written.
pub fn size_in_bytes(text: &str) -> Option<u64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))?;
    let (number, unit) = text.split_at(last + 1);
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let (exponent, rest) = match unit.chars().next() {
        Some(c) if "kmgtp".contains(c) => ("kmgtp".find(c)? as i32 + 1, &unit[1..]),
        _ => (0, unit.as_str()),
    };
    let is_unit = match exponent {
        0 => matches!(rest, "" | "b"),
        _ => matches!(rest, "" | "b" | "ib"),
    };
    // A size beyond the numbers is the largest one, as a conversion in the peer's language has it.
    (is_unit && number >= 0.0).then(|| (number * 1024_f64.powi(exponent)) as u64)
}

/// Reads numbers and ranges: `0-2,7`.
fn set_of_numbers(text: &str) -> Result<BTreeSet<u32>, String> {
    let mut set = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last <= MAX_IN_SET => set.extend(first..=last),
            _ => return Err(format!("`{part}` is neither a number nor a range of numbers up to {MAX_IN_SET}")),
        }
    }
    Ok(set)
}

/// Writes numbers as `0-2,7`.
pub fn set_text(set: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_of_bytes_or_none() {
        let cases = [
            ("0", 0),
            ("128m", 128 << 20),
            ("1.5g", 3 << 29),
            ("64 MiB", 64 << 20),
            ("100b", 100),
            ("2GB", 2 << 30),
            ("7p", 7 << 50),
        ];
        for (text, size) in cases {
            assert_eq!(size_in_bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1mm", "1mibb", "1 2", "1ib"] {
            assert_eq!(size_in_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn ulimits_have_one_or_two_values() {
        let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.to_owned(), soft, hard });
        let parse = str::parse::<Ulimit>;
        assert_eq!(parse("nofile=10:20"), limit("nofile", Some(10), Some(20)));
        assert_eq!(parse("core=0"), limit("core", Some(0), Some(0)));
        assert_eq!(parse("stack=5:-1"), limit("stack", Some(5), None));
        assert_eq!(parse("files=1"), Err(InvalidUlimit::Name("files".to_owned())));
        for text in ["nofile", "nofile=", "nofile=1:2:3", "nofile=2:1", "nofile=-1:1"] {
            assert!(matches!(parse(text), Err(InvalidUlimit::Form(_))), "{text}");
        }
    }

    fn resources(values: &[(&str, &str)]) -> Resources {
        let mut resources = Resources::default();
        values.iter().for_each(|(name, text)| resources.set(name, text).expect(text));
        resources
    }

    #[test]
    fn zero_and_less_are_no_limit() {
        let none = [("memory", "0"), ("cpu-quota", "-1"), ("cpu-shares", "0"), ("cpuset-cpus", "")];
        assert!(resources(&none).is_unlimited());
        let mut wrong = Resources::default();
        for (name, text) in [("memory", "-1"), ("cpu-shares", "x"), ("cpuset-mems", "2-1"), ("cpuset-cpus", "0,9999")] {
            assert!(wrong.set(name, text).is_err(), "{name}={text}");
        }
    }

    #[test]
    fn a_shared_step_has_the_looser_limits() {
        let a = resources(&[("memory", "1g"), ("memory-swap", "2g"), ("cpu-quota", "50000"), ("cpuset-cpus", "0-1")]);
        let b = resources(&[("memory", "2g"), ("cpu-quota", "20000"), ("cpu-period", "20000"), ("cpuset-cpus", "3")]);
        let both = resources(&[
            ("memory", "2g"),
            ("memory-swap", "2g"),
            ("cpu-quota", "20000"),
            ("cpu-period", "20000"),
            ("cpuset-cpus", "0,1,3"),
        ]);
        assert_eq!((a.relaxed(&b), b.relaxed(&a)), (both.clone(), both));
        assert!(a.relaxed(&Resources::default()).is_unlimited());
    }

    #[test]
    fn sets_are_written_with_ranges() {
        for (text, written) in [("2,0,1", "0-2"), ("7, 3-4", "3-4,7"), ("", "")] {
            assert_eq!(set_of_numbers(text).map(|set| set_text(&set)), Ok(written.to_owned()));
        }
    }
}
