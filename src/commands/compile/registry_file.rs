//! A file that answers for registries: image configs by parts of their names. For editors, which have no network, and for
//! tests, which want the same answer each time. The book's page *Compiled Dockerfiles* has the format.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::frontend::{Need, ResolvedImage};
use crate::oci::ImageConfig;
use crate::plan::ImageSource;

/// The file.
#[derive(Debug, Deserialize)]
pub(super) struct RegistryFile {
    /// What all image configs have in common.
    image: Value,
    /// The first that fits is the image's `config`.
    configs: Vec<ConfigEntry>,
    /// Added to the `config` of images whose name says so.
    onbuild: Option<OnbuildEntry>,
    /// Architecture and variant of images whose name begins so, whatever was asked for.
    #[serde(default)]
    fixed_platforms: BTreeMap<String, (String, String)>,
}

#[derive(Debug, Deserialize)]
struct ConfigEntry {
    /// Texts, one of which the name holds.
    #[serde(default)]
    contains: Vec<String>,
    /// `platform os is OS`.
    when: Option<String>,
    /// It fits every image.
    #[serde(default)]
    otherwise: bool,
    config: Value,
}

#[derive(Debug, Deserialize)]
struct OnbuildEntry {
    contains: String,
    not_on: Option<String>,
    adds: Map<String, Value>,
}

impl RegistryFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It is no JSON of that shape.
    pub(super) fn parse(bytes: &[u8]) -> Result<RegistryFile, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Answers for an image. Its digest is the name's own, else that of the name.
    ///
    /// # Errors
    /// No entry fits, or the config is none.
    pub(super) fn resolve(&self, need: &Need) -> Result<ResolvedImage, Diagnostic> {
        let wrong = |what: String| Diagnostic::error_without_place(what);
        let ImageSource::Registry(reference) = &need.image else {
            return Err(wrong("the registry file has no OCI layouts".to_owned()));
        };
        let full = reference.to_string();
        let name = full.split('@').next().unwrap_or(&full);
        let os = need.platform.os.as_str();
        let fits = |entry: &&ConfigEntry| {
            let is_for_os = entry.when.as_deref().and_then(|when| when.strip_prefix("platform os is ")) == Some(os);
            entry.otherwise || is_for_os || entry.contains.iter().any(|part| name.contains(part.as_str()))
        };
        let entry = self.configs.iter().find(fits);
        let entry = entry.ok_or_else(|| wrong(format!("the registry file has no config for `{name}`")))?;
        let mut image = self.image.clone();
        image["config"] = entry.config.clone();
        let onbuild = self.onbuild.as_ref().filter(|entry| name.contains(&entry.contains));
        for (key, value) in onbuild.filter(|entry| entry.not_on.as_deref() != Some(os)).iter().flat_map(|e| &e.adds) {
            image["config"][key] = value.clone();
        }
        for entry in image["history"].as_array_mut().into_iter().flatten() {
            let text = entry["created_by"].as_str().unwrap_or("").replace("<reference without digest>", name);
            entry["created_by"] = json!(text);
        }
        let mut config: ImageConfig = serde_json::from_value(image).map_err(|error| wrong(error.to_string()))?;
        let platform = need.platform.clone();
        (config.os, config.architecture, config.variant) = (platform.os, platform.architecture, platform.variant);
        for (_, (architecture, variant)) in self.fixed_platforms.iter().filter(|(prefix, _)| name.starts_with(*prefix))
        {
            config.architecture.clone_from(architecture);
            config.variant = Some(variant.clone()).filter(|variant| !variant.is_empty());
        }
        Ok(ResolvedImage { manifest: reference.digest.unwrap_or_else(|| Digest::of(full.as_bytes())), config })
    }
}
