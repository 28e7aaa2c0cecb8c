//! Metadata of single packages: Python's and Node's.

use serde_json::Value;

use super::clean;
use super::system::field;
use crate::attest::package::{Ecosystem, Package};

/// Reads a Python package's `METADATA` or `PKG-INFO` (*Core metadata specifications*).
pub fn python(text: &str, location: &str) -> Option<Package> {
    // The description may say anything.
    let head = text.split("\n\n").next().unwrap_or(text);
    let value = |name: &str| clean(field(head, name).unwrap_or_default());
    let name = value("Name");
    if name.is_empty() {
        return None;
    }
    // purl-spec, *pypi*: names are lower case with `-`.
    let name = name.to_lowercase().replace('_', "-");
    let mut package = Package::new(Ecosystem::Pypi, &name, &value("Version"), location);
    let licenses = [value("License-Expression"), value("License")];
    let is_said = |license: &String| !license.is_empty() && license != "UNKNOWN";
    package.licenses.extend(licenses.into_iter().find(is_said));
    package.supplier = value("Author");
    Some(package)
}

/// Reads a Node package's `package.json`.
pub fn node(bytes: &[u8], location: &str) -> Option<Package> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let full = clean(document["name"].as_str()?);
    let (namespace, name) = full.rsplit_once('/').unwrap_or(("", &full));
    if name.is_empty() {
        return None;
    }
    let mut package = Package::new(Ecosystem::Npm, name, &clean(document["version"].as_str().unwrap_or("")), location);
    package.namespace = namespace.to_owned();
    // Old packages have objects, or a list of them.
    let one = |license: &Value| clean(license.as_str().or_else(|| license["type"].as_str()).unwrap_or(""));
    let listed = document["licenses"].as_array().into_iter().flatten().map(one);
    let licenses = [one(&document["license"])].into_iter().chain(listed);
    package.licenses = licenses.filter(|license| !license.is_empty()).collect();
    let author = &document["author"];
    package.supplier = clean(author.as_str().or_else(|| author["name"].as_str()).unwrap_or(""));
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_says_its_license_in_one_of_two_places() {
        let text = "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: UNKNOWN\nLicense-Expression: MIT\n\nName: no\n";
        let package = python(text, "x").expect("a package");
        assert_eq!(package.purl(&Default::default()), "pkg:pypi/foo-bar@1.0");
        assert_eq!(package.licenses, ["MIT"]);
        assert_eq!(python("Name:\n", "x"), None);
    }

    #[test]
    fn node_has_scopes_and_old_licenses() {
        let text = br#"{"name":"@babel/core","version":"7.0.0","licenses":[{"type":"MIT"},{"type":"BSD"}],"author":{"name":"A"}}"#;
        let package = node(text, "x").expect("a package");
        assert_eq!(package.purl(&Default::default()), "pkg:npm/%40babel/core@7.0.0");
        assert_eq!((package.licenses, package.supplier), (vec!["MIT".to_owned(), "BSD".to_owned()], "A".to_owned()));
        for text in ["{", "[]", r#"{"name":1}"#, r#"{"name":"@x/"}"#] {
            assert_eq!(node(text.as_bytes(), "x"), None, "{text}");
        }
    }
}
