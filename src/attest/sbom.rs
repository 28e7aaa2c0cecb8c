//! What is in a result: the packages of its root file system as an SPDX or a CycloneDX document.
//!
//! Ids are made of what they stand for, and the time is that of the image, so that equal root file systems have equal
//! documents.

use serde_json::{Value, json};

use super::Document;
use super::license::{Quoted, is_expression};
use super::package::{Installed, Package};
use crate::digest::{Digest, FieldHasher};
use crate::plan::SbomFormat;

/// What a document is about.
pub struct Contents<'a> {
    /// What people call it: the target's name.
    pub name: &'a str,
    /// When the image says that it was made: RFC 3339.
    pub created: &'a str,
    /// What is installed.
    pub installed: &'a Installed,
}

/// Makes the document in `format`.
pub fn document(contents: &Contents<'_>, format: SbomFormat) -> Document {
    let (predicate_type, predicate, filename) = match format {
        SbomFormat::Spdx => ("https://spdx.dev/Document", contents.spdx(), "sbom.spdx.json"),
        SbomFormat::CycloneDx => ("https://cyclonedx.org/bom", contents.cyclonedx(), "sbom.cdx.json"),
    };
    Document { predicate_type, predicate, filename: filename.to_owned(), is_inline_only: false }
}

const TOOL: &str = concat!("bake-", env!("CARGO_PKG_VERSION"));

impl Contents<'_> {
    /// SPDX 2.3, JSON.
    fn spdx(&self) -> Value {
        let mut quoted = Quoted::default();
        let mut packages = vec![json!({
            "name": self.name,
            "SPDXID": "SPDXRef-Image",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "primaryPackagePurpose": "CONTAINER",
        })];
        let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "SPDXRef-Image", "DESCRIBES")];
        for package in &self.installed.packages {
            let id = format!("SPDXRef-Package-{}-{}", package.ecosystem.name(), self.id(package));
            relationships.push(relationship("SPDXRef-Image", &id, "CONTAINS"));
            packages.push(self.spdx_package(package, &id, &mut quoted));
        }
        let mut document = json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": self.name,
            "documentNamespace": format!("https://spdx.org/spdxdocs/bake-{}", self.identity("spdx").hex()),
            "creationInfo": { "creators": [format!("Tool: {TOOL}")], "created": self.created },
        });
        if !self.installed.notes.is_empty() {
            document["comment"] = json!(self.installed.notes.join("\n"));
        }
        document["packages"] = Value::Array(packages);
        if !quoted.0.is_empty() {
            let entry =
                |(id, text): (&String, &String)| json!({ "licenseId": id, "name": text, "extractedText": text });
            document["hasExtractedLicensingInfos"] = quoted.0.iter().map(entry).collect();
        }
        document["relationships"] = Value::Array(relationships);
        document
    }

    fn spdx_package(&self, package: &Package, id: &str, quoted: &mut Quoted) -> Value {
        let mut value = json!({ "name": full_name(package), "SPDXID": id });
        if !package.version.is_empty() {
            value["versionInfo"] = json!(package.version);
        }
        if !package.supplier.is_empty() {
            value["supplier"] = json!(format!("Organization: {}", with_parentheses(&package.supplier)));
        }
        value["downloadLocation"] = json!("NOASSERTION");
        value["filesAnalyzed"] = json!(false);
        value["sourceInfo"] = json!(format!("found in /{}", package.location));
        value["licenseConcluded"] = json!("NOASSERTION");
        value["licenseDeclared"] = json!(quoted.expression(&package.licenses));
        value["copyrightText"] = json!("NOASSERTION");
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl(&self.installed.distribution),
        }]);
        value
    }

    /// CycloneDX 1.6, JSON.
    fn cyclonedx(&self) -> Value {
        let distribution = &self.installed.distribution;
        let mut components: Vec<Value> = Vec::new();
        if !distribution.id.is_empty() {
            let mut system = json!({ "type": "operating-system", "name": distribution.id });
            if !distribution.version.is_empty() {
                system["version"] = json!(distribution.version);
            }
            components.push(system);
        }
        components.extend(self.installed.packages.iter().map(|package| self.component(package)));
        let mut metadata = json!({
            "timestamp": self.created,
            "tools": { "components": [{ "type": "application", "name": "bake", "version": env!("CARGO_PKG_VERSION") }] },
            "component": { "type": "container", "bom-ref": "image", "name": self.name },
        });
        if !self.installed.notes.is_empty() {
            let notes = self.installed.notes.iter().map(|note| json!({ "name": "bake:note", "value": note }));
            metadata["properties"] = notes.collect();
        }
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": uuid(&self.identity("cyclonedx")),
            "version": 1,
            "metadata": metadata,
            "components": components,
        })
    }

    fn component(&self, package: &Package) -> Value {
        let mut value = json!({ "type": "library", "bom-ref": self.id(package) });
        if !package.supplier.is_empty() {
            value["publisher"] = json!(package.supplier);
        }
        if !package.namespace.is_empty() {
            value["group"] = json!(package.namespace);
        }
        value["name"] = json!(package.name);
        if !package.version.is_empty() {
            value["version"] = json!(package.version);
        }
        if let [only] = &package.licenses[..]
            && is_expression(only)
        {
            value["licenses"] = json!([{ "expression": only }]);
        } else if !package.licenses.is_empty() {
            value["licenses"] = package.licenses.iter().map(|name| json!({ "license": { "name": name } })).collect();
        }
        value["purl"] = json!(package.purl(&self.installed.distribution));
        value["properties"] = json!([{ "name": "bake:location", "value": format!("/{}", package.location) }]);
        value
    }

    /// Returns an id for `package`, which is one place's of a document.
    fn id(&self, package: &Package) -> String {
        let mut hasher = FieldHasher::new("bake.sbom.package.v1");
        hasher.field("purl", package.purl(&self.installed.distribution)).field("location", &package.location);
        hasher.finish().hex()[..16].to_owned()
    }

    /// Returns what tells this document from others.
    fn identity(&self, format: &str) -> Digest {
        let mut hasher = FieldHasher::new("bake.sbom.v1");
        let installed = serde_json::to_vec(self.installed).expect("it has only text keys");
        hasher.field("format", format).field("tool", TOOL).field("name", self.name).field("created", self.created);
        hasher.field("installed", installed);
        hasher.finish()
    }
}

fn full_name(package: &Package) -> String {
    match package.namespace.as_str() {
        "" => package.name.clone(),
        // Java's groups are divided from the name by a colon, as Maven writes it.
        group if package.ecosystem == super::package::Ecosystem::Maven => format!("{group}:{}", package.name),
        namespace => format!("{namespace}/{}", package.name),
    }
}

/// Returns `Name <address>` as SPDX writes it: `Name (address)`.
fn with_parentheses(supplier: &str) -> String {
    match supplier.strip_suffix('>').and_then(|rest| rest.split_once(" <")) {
        Some((name, address)) => format!("{name} ({address})"),
        None => supplier.to_owned(),
    }
}

fn relationship(from: &str, to: &str, kind: &str) -> Value {
    json!({ "spdxElementId": from, "relatedSpdxElement": to, "relationshipType": kind })
}

/// Returns a UUID made of a digest (RFC 9562, version 8).
fn uuid(digest: &Digest) -> String {
    let mut bytes: [u8; 16] = digest.as_bytes()[..16].try_into().expect("a digest is longer");
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::package::{Distribution, Ecosystem};
    use expect_test::expect;

    fn installed() -> Installed {
        let mut libc = Package::new(Ecosystem::Deb, "libc6", "2.36-9", "var/lib/dpkg/status");
        libc.qualify("arch", "amd64");
        libc.licenses = vec!["LGPL-2.1-or-later".into(), "GPL-2+".into()];
        libc.supplier = "Maintainers <m@h.test>".into();
        let mut core = Package::new(Ecosystem::Npm, "core", "7.0.0", "srv/node_modules/@babel/core/package.json");
        core.namespace = "@babel".into();
        core.licenses = vec!["MIT OR Apache-2.0".into()];
        Installed {
            distribution: Distribution { id: "debian".into(), version: "12".into() },
            packages: vec![libc, core],
            notes: vec!["srv/x.jar is no zip archive".into()],
        }
    }

    fn made(format: SbomFormat) -> String {
        let installed = installed();
        let contents = Contents { name: "web", created: "1980-01-01T00:00:00Z", installed: &installed };
        let document = document(&contents, format);
        format!("{} {}\n{:#}", document.filename, document.predicate_type, document.predicate)
    }

    #[test]
    fn spdx_names_each_package_with_its_purl_and_licenses() {
        expect![[r#"
            sbom.spdx.json https://spdx.dev/Document
            {
              "spdxVersion": "SPDX-2.3",
              "dataLicense": "CC0-1.0",
              "SPDXID": "SPDXRef-DOCUMENT",
              "name": "web",
              "documentNamespace": "https://spdx.org/spdxdocs/bake-be2713e2a86ddbb0d3a965909bdaf0f07fa9376d23a2c060384ff090dfaaf4b6",
              "creationInfo": {
                "creators": [
                  "Tool: bake-0.1.0"
                ],
                "created": "1980-01-01T00:00:00Z"
              },
              "comment": "srv/x.jar is no zip archive",
              "packages": [
                {
                  "name": "web",
                  "SPDXID": "SPDXRef-Image",
                  "downloadLocation": "NOASSERTION",
                  "filesAnalyzed": false,
                  "licenseConcluded": "NOASSERTION",
                  "licenseDeclared": "NOASSERTION",
                  "copyrightText": "NOASSERTION",
                  "primaryPackagePurpose": "CONTAINER"
                },
                {
                  "name": "libc6",
                  "SPDXID": "SPDXRef-Package-deb-8e3118f90c961578",
                  "versionInfo": "2.36-9",
                  "supplier": "Organization: Maintainers (m@h.test)",
                  "downloadLocation": "NOASSERTION",
                  "filesAnalyzed": false,
                  "sourceInfo": "found in /var/lib/dpkg/status",
                  "licenseConcluded": "NOASSERTION",
                  "licenseDeclared": "LGPL-2.1-or-later AND LicenseRef-f7215fea3c3a8bb1",
                  "copyrightText": "NOASSERTION",
                  "externalRefs": [
                    {
                      "referenceCategory": "PACKAGE-MANAGER",
                      "referenceType": "purl",
                      "referenceLocator": "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"
                    }
                  ]
                },
                {
                  "name": "@babel/core",
                  "SPDXID": "SPDXRef-Package-npm-396f0308d7f122a1",
                  "versionInfo": "7.0.0",
                  "downloadLocation": "NOASSERTION",
                  "filesAnalyzed": false,
                  "sourceInfo": "found in /srv/node_modules/@babel/core/package.json",
                  "licenseConcluded": "NOASSERTION",
                  "licenseDeclared": "MIT OR Apache-2.0",
                  "copyrightText": "NOASSERTION",
                  "externalRefs": [
                    {
                      "referenceCategory": "PACKAGE-MANAGER",
                      "referenceType": "purl",
                      "referenceLocator": "pkg:npm/%40babel/core@7.0.0"
                    }
                  ]
                }
              ],
              "hasExtractedLicensingInfos": [
                {
                  "licenseId": "LicenseRef-f7215fea3c3a8bb1",
                  "name": "GPL-2+",
                  "extractedText": "GPL-2+"
                }
              ],
              "relationships": [
                {
                  "spdxElementId": "SPDXRef-DOCUMENT",
                  "relatedSpdxElement": "SPDXRef-Image",
                  "relationshipType": "DESCRIBES"
                },
                {
                  "spdxElementId": "SPDXRef-Image",
                  "relatedSpdxElement": "SPDXRef-Package-deb-8e3118f90c961578",
                  "relationshipType": "CONTAINS"
                },
                {
                  "spdxElementId": "SPDXRef-Image",
                  "relatedSpdxElement": "SPDXRef-Package-npm-396f0308d7f122a1",
                  "relationshipType": "CONTAINS"
                }
              ]
            }"#]]
        .assert_eq(&made(SbomFormat::Spdx));
    }

    #[test]
    fn cyclonedx_has_the_same_in_its_own_words() {
        expect![[r#"
            sbom.cdx.json https://cyclonedx.org/bom
            {
              "bomFormat": "CycloneDX",
              "specVersion": "1.6",
              "serialNumber": "urn:uuid:5db3bbfd-bb2e-813d-939a-c08ea20cf7db",
              "version": 1,
              "metadata": {
                "timestamp": "1980-01-01T00:00:00Z",
                "tools": {
                  "components": [
                    {
                      "type": "application",
                      "name": "bake",
                      "version": "0.1.0"
                    }
                  ]
                },
                "component": {
                  "type": "container",
                  "bom-ref": "image",
                  "name": "web"
                },
                "properties": [
                  {
                    "name": "bake:note",
                    "value": "srv/x.jar is no zip archive"
                  }
                ]
              },
              "components": [
                {
                  "type": "operating-system",
                  "name": "debian",
                  "version": "12"
                },
                {
                  "type": "library",
                  "bom-ref": "8e3118f90c961578",
                  "publisher": "Maintainers <m@h.test>",
                  "name": "libc6",
                  "version": "2.36-9",
                  "licenses": [
                    {
                      "license": {
                        "name": "LGPL-2.1-or-later"
                      }
                    },
                    {
                      "license": {
                        "name": "GPL-2+"
                      }
                    }
                  ],
                  "purl": "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
                  "properties": [
                    {
                      "name": "bake:location",
                      "value": "/var/lib/dpkg/status"
                    }
                  ]
                },
                {
                  "type": "library",
                  "bom-ref": "396f0308d7f122a1",
                  "group": "@babel",
                  "name": "core",
                  "version": "7.0.0",
                  "licenses": [
                    {
                      "expression": "MIT OR Apache-2.0"
                    }
                  ],
                  "purl": "pkg:npm/%40babel/core@7.0.0",
                  "properties": [
                    {
                      "name": "bake:location",
                      "value": "/srv/node_modules/@babel/core/package.json"
                    }
                  ]
                }
              ]
            }"#]]
        .assert_eq(&made(SbomFormat::CycloneDx));
    }
}
