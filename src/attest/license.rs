//! Licenses as packages record them, in the words of SPDX documents.

use std::collections::BTreeMap;

use crate::digest::Digest;

/// Identifiers of SPDX's list that packages record often. What is not here is quoted, which is right as well.
const KNOWN: [&str; 60] = [
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CDDL-1.1",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "FSFAP",
    "FSFUL",
    "FTL",
    "GFDL-1.3-or-later",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "libtiff",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "OFL-1.1",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Ruby",
    "SMLNJ",
    "Unicode-DFS-2016",
    "Unlicense",
    "W3C",
    "WTFPL",
    "Zlib",
];

/// Exceptions that stand after `WITH`.
const EXCEPTIONS: [&str; 6] = [
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-3.1",
    "LLVM-exception",
    "Linux-syscall-note",
];

/// Says whether `text` is an SPDX expression of known identifiers.
pub fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut wants_term, mut wants_exception) = (0_usize, true, false);
    for word in spaced.split_whitespace() {
        match word {
            "(" if wants_term => depth += 1,
            ")" if !wants_term && !wants_exception && depth > 0 => depth -= 1,
            "AND" | "OR" if !wants_term && !wants_exception => wants_term = true,
            "WITH" if !wants_term && !wants_exception => wants_exception = true,
            word if wants_exception && EXCEPTIONS.contains(&word) => wants_exception = false,
            word if wants_term && KNOWN.contains(&word) => wants_term = false,
            _ => return false,
        }
    }
    depth == 0 && !wants_term && !wants_exception
}

/// Licenses of a document that SPDX's list does not have: their text by the id that stands for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quoted(pub BTreeMap<String, String>);

impl Quoted {
    /// Returns the expression for licenses that hold together; `NOASSERTION` for none.
    pub fn expression(&mut self, licenses: &[String]) -> String {
        let term = |license: &String| match is_expression(license) {
            true if licenses.len() > 1 && license.contains(' ') => format!("({license})"),
            true => license.clone(),
            false => self.quote(license),
        };
        let terms: Vec<String> = licenses.iter().map(term).collect();
        if terms.is_empty() { "NOASSERTION".to_owned() } else { terms.join(" AND ") }
    }

    fn quote(&mut self, license: &str) -> String {
        let id = format!("LicenseRef-{}", &Digest::of(license.as_bytes()).hex()[..16]);
        self.0.insert(id.clone(), license.to_owned());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_has_known_words_in_their_places() {
        for text in ["MIT", "(MIT OR Apache-2.0) AND ISC", "GPL-2.0-only WITH Classpath-exception-2.0"] {
            assert!(is_expression(text), "{text}");
        }
        for text in ["", "GPL-2+", "MIT Apache-2.0", "MIT AND", "(MIT", "MIT)", "WITH MIT", "MIT WITH MIT", "AND"] {
            assert!(!is_expression(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_quoted() {
        let mut quoted = Quoted::default();
        let licenses = ["MIT OR ISC".to_owned(), "GPL-2+".to_owned()];
        assert_eq!(
            quoted.expression(&licenses),
            "(MIT OR ISC) AND LicenseRef-8cf7c4a1f2a1a3d6"
                .replace("8cf7c4a1f2a1a3d6", &Digest::of(b"GPL-2+").hex()[..16])
        );
        assert_eq!(quoted.0.values().collect::<Vec<_>>(), ["GPL-2+"]);
        assert_eq!(quoted.expression(&[]), "NOASSERTION");
    }
}
