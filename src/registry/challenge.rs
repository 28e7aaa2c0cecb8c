//! `WWW-Authenticate` as registries write it (RFC 9110 section 11, distribution's token specification).

/// One way in that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's URL as written.
        realm: String,
        /// The name that the token server knows the registry by.
        service: Option<String>,
        /// What the registry thinks the token has to allow.
        scope: Option<String>,
    },
}

/// Returns the best challenge among `headers`: Bearer before Basic. Unknown schemes are passed over.
pub(super) fn best_challenge<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

/// Parses one header; what cannot be read ends the list.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = split_word(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after.trim_start());
        let value = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        match (scheme.to_ascii_lowercase().as_str(), value("realm")) {
            ("basic", _) => challenges.push(Challenge::Basic),
            ("bearer", Some(realm)) => {
                challenges.push(Challenge::Bearer { realm, service: value("service"), scope: value("scope") });
            }
            _ => {}
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// Reads `name=value, name="value"` and returns what follows: nothing, or the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = split_word(rest);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (parameters, rest);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        parameters.push((name.to_owned(), value));
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads up to the closing quote; an unclosed one ends with the text.
fn split_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn headers_of_real_registries_are_read() {
        let cases = [
            ("Basic realm=\"basic-realm\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a.example/token\",service=\"r.example\",scope=\"repository:a/b:pull,push\"",
                Some(bearer("https://a.example/token", Some("r.example"), Some("repository:a/b:pull,push"))),
            ),
            ("bearer realm=https://a.example/t", Some(bearer("https://a.example/t", None, None))),
            (
                "Basic realm=\"x\", Bearer realm=\"https://a.example/t\", error=\"a \\\"b\\\"\"",
                Some(bearer("https://a.example/t", None, None)),
            ),
            ("Negotiate", None),
            ("Bearer service=\"no realm\"", None),
            ("", None),
            ("===,,\"", None),
            ("Bearer realm=\"unclosed", Some(bearer("unclosed", None, None))),
        ];
        for (header, expected) in cases {
            assert_eq!(best_challenge([header].into_iter()), expected, "{header}");
        }
        assert_eq!(best_challenge(["Negotiate", "Basic realm=x"].into_iter()), Some(Challenge::Basic));
    }
}
