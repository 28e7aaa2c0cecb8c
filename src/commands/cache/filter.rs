//! `--filter` of `bake cache du` and `prune`, in the peer's words.
//!
//! | filter | what passes |
//! |---|---|
//! | `type=KIND` | a kind of ours, or the peer's `regular`, `exec.cachemount`, `source.git.checkout`, `source.local`, `internal`, `frontend` |
//! | `id=TEXT`, `description=TEXT` | an id that the text matches as a regular expression (the peer's `id` does too); exactly that description |
//! | `KEY~=REGEX`, `KEY!=TEXT` | what matches; what is another |
//! | `until=24h`, `unused-for=24h` | what was not used for so long |
//! | `size>100MB`, `size<1KB` | what is larger or smaller |
//! | `inuse=BOOL`, `mutable=BOOL`, `shared=BOOL`, `private=BOOL` | whether a running bake uses it; whether it changes in its place; whether others need it, or none |

use regex::Regex;

use crate::bakefile::parse_bool;
use crate::dockerfile::parse_duration;
use crate::store::{Item, ItemKind, parse_size};

/// One condition.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As it was written.
    text: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Kinds(Vec<ItemKind>, Expected),
    Text(Field, Pattern, Expected),
    /// Seconds.
    UnusedFor(i64),
    LargerThan(u64),
    SmallerThan(u64),
    Is(State, Expected),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Id,
    Description,
}

#[derive(Clone, Debug)]
enum Pattern {
    Equals(String),
    Matches(Regex),
}

#[derive(Clone, Copy, Debug)]
enum State {
    InUse,
    Mutable,
    Shared,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let test = match text.find(['=', '<', '>', '~', '!']) {
            Some(end) => test(&text[..end], &text[end..])?,
            // The peer takes a lone word for a state.
            None => test(text, "=true")?,
        };
        Ok(Filter { text: text.to_owned(), test })
    }

    /// Returns the filter as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether the filter asks for a kind by name.
    pub fn names_kind(&self, kind: ItemKind) -> bool {
        matches!(&self.test, Test::Kinds(kinds, Expected::Yes) if kinds.contains(&kind))
    }

    /// Says whether an item passes at the time `now`, seconds since 1970.
    pub fn passes(&self, item: &Item, now: i64) -> bool {
        match &self.test {
            Test::Kinds(kinds, expected) => expected.is(kinds.contains(&item.id.kind)),
            Test::Text(field, pattern, expected) => {
                let text = match field {
                    Field::Id => &item.id.name,
                    Field::Description => &item.description,
                };
                expected.is(match pattern {
                    Pattern::Equals(wanted) => wanted == text,
                    Pattern::Matches(regex) => regex.is_match(text),
                })
            }
            Test::UnusedFor(seconds) => now.saturating_sub(item.last_used) >= *seconds,
            Test::LargerThan(size) => item.size > *size,
            Test::SmallerThan(size) => item.size < *size,
            Test::Is(state, expected) => expected.is(match state {
                State::InUse => item.is_in_use,
                State::Mutable => matches!(item.id.kind, ItemKind::CacheMount | ItemKind::Git | ItemKind::State),
                State::Shared => item.n_referrers > 0,
            }),
        }
    }
}

impl Expected {
    fn is(self, actual: bool) -> bool {
        actual == (self == Expected::Yes)
    }
}

/// Reads what a `key` is compared with; `rest` begins with the operator.
fn test(key: &str, rest: &str) -> Result<Test, String> {
    const OPERATORS: [&str; 6] = ["~=", "!=", "==", "=", "<", ">"];
    let split = OPERATORS.into_iter().find_map(|operator| Some((operator, rest.strip_prefix(operator)?)));
    let Some((operator, value)) = split else { return Err(format!("`{key}{rest}` is not KEY=VALUE")) };
    let expected = if operator == "!=" { Expected::No } else { Expected::Yes };
    let regex = || Regex::new(value).map_err(|_| format!("`{value}` is no regular expression"));
    match (key, operator) {
        ("size", "<" | ">") => {
            let size = parse_size(value)?;
            Ok(if operator == "<" { Test::SmallerThan(size) } else { Test::LargerThan(size) })
        }
        ("until" | "unused-for", "=") => {
            let nanoseconds = parse_duration(value).ok_or_else(|| format!("`{value}` is no duration, such as 24h"))?;
            Ok(Test::UnusedFor(i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX)))
        }
        ("type", "=" | "==" | "!=") => Ok(Test::Kinds(kinds(value)?, expected)),
        // As for the peer: `id=` matches a part.
        ("id", "=" | "~=") => Ok(Test::Text(Field::Id, Pattern::Matches(regex()?), expected)),
        ("description", "~=") => Ok(Test::Text(Field::Description, Pattern::Matches(regex()?), expected)),
        ("id", "==" | "!=") => Ok(Test::Text(Field::Id, Pattern::Equals(value.to_owned()), expected)),
        ("description", "=" | "==" | "!=") => {
            Ok(Test::Text(Field::Description, Pattern::Equals(value.to_owned()), expected))
        }
        ("inuse" | "mutable" | "immutable" | "shared" | "private", "=" | "==" | "!=") => {
            let wanted = parse_bool(value).ok_or_else(|| format!("`{value}` is neither true nor false"))?;
            let is_inverse = matches!(key, "immutable" | "private");
            let state = match key {
                "inuse" => State::InUse,
                "mutable" | "immutable" => State::Mutable,
                _ => State::Shared,
            };
            let is_wanted = wanted != is_inverse;
            Ok(Test::Is(state, if is_wanted == (expected == Expected::Yes) { Expected::Yes } else { Expected::No }))
        }
        _ => Err(format!(
            "no filter `{key}{operator}…`; there are type, id, description, until, unused-for, size, inuse, mutable, shared and private"
        )),
    }
}

fn kinds(name: &str) -> Result<Vec<ItemKind>, String> {
    use ItemKind::*;
    Ok(match name {
        "regular" => vec![Record, Layer, Snapshot, Blob],
        "exec.cachemount" => vec![CacheMount],
        "source.git.checkout" => vec![Checkout, Git],
        "source.local" => vec![State],
        "internal" | "frontend" => vec![Memo, Copy],
        name => match ItemKind::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => vec![kind],
            None => {
                let known: Vec<&str> = ItemKind::ALL.into_iter().map(ItemKind::name).collect();
                return Err(format!("no type `{name}`; there are {}", known.join(", ")));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ItemId;

    fn item() -> Item {
        Item {
            id: ItemId { kind: ItemKind::Snapshot, name: "ab12".to_owned() },
            size: 1000,
            made: 0,
            last_used: 100_000,
            refs: Vec::new(),
            n_referrers: 1,
            is_in_use: false,
            is_linked: false,
            description: "RUN make".to_owned(),
        }
    }

    #[test]
    fn filters_are_the_peers_and_say_what_they_say() {
        let cases = [
            ("type=snapshot", true),
            ("type==regular", true),
            ("type!=regular", false),
            ("type=exec.cachemount", false),
            ("id=b1", true),
            ("id==ab12", true),
            ("id!=ab12", false),
            ("id~=^b", false),
            ("description~=ma.e", true),
            ("description=RUN", false),
            ("until=24h", true),
            ("unused-for=48h", false),
            ("size>999", true),
            ("size<1k", true),
            ("size>1k", false),
            ("inuse=false", true),
            ("inuse", false),
            ("shared", true),
            ("private!=true", true),
            ("immutable=1", true),
        ];
        for (text, expected) in cases {
            let filter = Filter::parse(text).expect(text);
            assert_eq!(filter.passes(&item(), 200_000), expected, "{text}");
        }
        for text in ["type=x", "until=soon", "size=", "size>x", "color=red", "id~=(", "inuse=perhaps", "=x", "until>1h"]
        {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
