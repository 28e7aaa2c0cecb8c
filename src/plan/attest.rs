//! Which attestations a target gets, from its `attest` attribute.

use crate::bakefile::{AttestSpec, Target, parse_bool};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};

/// What is attested of a target's result, for each of its platforms. Nothing by default: an attested image is always an
/// index, so the digest of an image for one platform would be another than that of its manifest, and would move with
/// everything that the documents tell, as the name of the Dockerfile. Who wants them says so once, in the bakefile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How it was built.
    pub provenance: Option<ProvenanceRequest>,
    /// What is in it.
    pub sbom: Option<SbomFormat>,
    /// `attestation-prefix` of the outputs that are files, by their `dest`: what stands before the documents' file names.
    pub prefixes: Vec<(String, String)>,
}

/// `type=provenance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenanceRequest {
    /// How much it tells.
    pub mode: ProvenanceMode,
    /// In which version of the format.
    pub version: SlsaVersion,
    /// Who is said to have built: a URI; empty for nobody in particular.
    pub builder_id: String,
    /// The user says that the build can be repeated to the bit.
    pub is_reproducible: bool,
    /// It goes into images, and not beside files.
    pub is_inline_only: bool,
    /// Its name beside files.
    pub filename: String,
}

/// How much provenance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Inputs by digest; no arguments, labels, secrets' names or steps.
    Min,
    /// Everything that may be told.
    Max,
}

/// A version of SLSA's provenance predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlsaVersion {
    /// `v1`.
    V1,
    /// `v0.2`.
    V02,
}

/// The language of an SBOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SbomFormat {
    /// SPDX 2.3, the peer's.
    Spdx,
    /// CycloneDX 1.6; an addition to the peer's language (`format=cyclonedx`).
    CycloneDx,
}

impl Attestations {
    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }

    /// Returns what stands before the documents' names in the output at `dest`.
    pub fn prefix(&self, dest: &str) -> &str {
        self.prefixes.iter().find(|(of, _)| of == dest).map_or("", |(_, prefix)| prefix)
    }

    /// Reads what `target` asks for.
    pub(super) fn of(target: &Target, found: &mut Diagnostics) -> Attestations {
        let mut attestations = Attestations::default();
        for spec in target.attest.iter().filter(|spec| !spec.is_disabled) {
            match spec.kind.as_str() {
                "provenance" => attestations.provenance = provenance(spec, found),
                "sbom" => attestations.sbom = sbom(spec, found),
                kind => {
                    let message = format!("unknown attestation type `{kind}`");
                    let error = Diagnostic::error(spec.span, message);
                    found.push(match nearest(kind, ["provenance", "sbom"]) {
                        Some(near) => error.hint(format!("did you mean `type={near}`?")),
                        None => error.hint("there are `type=provenance` and `type=sbom`"),
                    });
                }
            }
        }
        for output in &target.output {
            if let (Some(dest), Some(prefix)) = (output.fields.get("dest"), output.fields.get("attestation-prefix")) {
                attestations.prefixes.push((dest.clone(), prefix.clone()));
                if !is_file_name(prefix) {
                    let message = format!("`attestation-prefix={prefix}` is no beginning of a file's name");
                    found.push(Diagnostic::error(output.span, message));
                }
            }
        }
        attestations
    }
}

/// Says whether `text` stays in its directory and can be seen there.
fn is_file_name(text: &str) -> bool {
    !text.contains(['/', '\0']) && text != "." && text != ".."
}

const PROVENANCE_OPTIONS: [&str; 6] = ["mode", "version", "builder-id", "reproducible", "inline-only", "filename"];

fn provenance(spec: &AttestSpec, found: &mut Diagnostics) -> Option<ProvenanceRequest> {
    let mut wrong = |message: String| found.push(Diagnostic::error(spec.span, message));
    let mut request = ProvenanceRequest {
        mode: ProvenanceMode::Max,
        version: SlsaVersion::V1,
        builder_id: String::new(),
        is_reproducible: false,
        is_inline_only: false,
        filename: "provenance.json".to_owned(),
    };
    for (key, value) in &spec.fields {
        let is_on = parse_bool(value);
        match (key.as_str(), value.as_str()) {
            ("mode", "min") => request.mode = ProvenanceMode::Min,
            ("mode", "max" | "full") => request.mode = ProvenanceMode::Max,
            ("mode", _) => wrong(format!("`mode={value}` of the provenance is neither min nor max")),
            ("version", "v1") => request.version = SlsaVersion::V1,
            ("version", "v0.2") => request.version = SlsaVersion::V02,
            ("version", _) => wrong(format!("`version={value}` of the provenance is neither v1 nor v0.2")),
            ("builder-id", id) => request.builder_id = id.to_owned(),
            ("reproducible" | "inline-only", _) if is_on.is_none() => {
                wrong(format!("`{key}={value}` of the provenance is neither true nor false"));
            }
            ("reproducible", _) => request.is_reproducible = is_on == Some(true),
            ("inline-only", _) => request.is_inline_only = is_on == Some(true),
            ("filename", name) if is_file_name(name) && !name.is_empty() => request.filename = name.to_owned(),
            ("filename", _) => wrong(format!("`filename={value}` of the provenance is no file's name")),
            ("capture-usage" | "complete-materials", _) if is_on == Some(false) => {}
            ("capture-usage", _) => {
                wrong(
                    "provenance tells no measurements, which differ each time: `capture-usage` is not supported".into(),
                );
            }
            _ => {
                let error = Diagnostic::error(spec.span, format!("option `{key}` of the provenance is not supported"));
                found.push(error.suggest(key, PROVENANCE_OPTIONS));
                return None;
            }
        }
    }
    Some(request)
}

fn sbom(spec: &AttestSpec, found: &mut Diagnostics) -> Option<SbomFormat> {
    let mut format = SbomFormat::Spdx;
    for (key, value) in &spec.fields {
        let error = match (key.as_str(), value.as_str()) {
            ("format", "spdx") => continue,
            ("format", "cyclonedx") => {
                format = SbomFormat::CycloneDx;
                continue;
            }
            ("format", _) => {
                Diagnostic::error(spec.span, format!("`format={value}` of the SBOM is neither spdx nor cyclonedx"))
            }
            ("generator", image) => {
                let message = format!("the scanner image `{image}` is not run: bake makes the SBOM itself");
                Diagnostic::error(spec.span, message).hint("leave out `generator`: `type=sbom`, or `--sbom=true`")
            }
            _ => Diagnostic::error(spec.span, format!("option `{key}` of the SBOM is not supported"))
                .suggest(key, ["format"]),
        };
        found.push(error);
        return None;
    }
    Some(format)
}
