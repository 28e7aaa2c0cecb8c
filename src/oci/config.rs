//! The image config document (image-spec v1.1, config.md, with the fields of Docker's image spec v1.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::DiffId;

/// RFC 3339 time in UTC with whole seconds, as documents carry it.
pub type Created = String;

/// An image config. Its top-level keys are in alphabetical order, as BuildKit writes them; unknown keys of a base image
/// are dropped, as BuildKit drops them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture.
    #[serde(default)]
    pub architecture: String,
    /// MAINTAINER.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What a container of the image runs.
    #[serde(default)]
    pub config: RuntimeConfig,
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Created>,
    /// One entry for each instruction, oldest first.
    #[serde(default, deserialize_with = "or_default")]
    pub history: Vec<HistoryEntry>,
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// What the operating system has to have.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub os_features: Vec<String>,
    /// Windows build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The `config` object, fields in Docker's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RuntimeConfig {
    /// USER, verbatim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// EXPOSE: `80/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// ENTRYPOINT as an argument list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// CMD as an argument list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// VOLUME.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// WORKDIR, absolute.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// LABEL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// STOPSIGNAL, verbatim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Set with every CMD, as BuildKit does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// ONBUILD triggers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// SHELL.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub shell: Vec<String>,
}

/// `{}`, the value of a set member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// HEALTHCHECK; durations in nanoseconds, zero for inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between two checks, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// For one check, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// Before failures count, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two checks in the start period, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row until unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Oldest first.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// What one instruction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Created>,
    /// The instruction as BuildKit words it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// MAINTAINER at that time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// `buildkit.dockerfile.v0` for what a Dockerfile made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The instruction made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads a config document.
    ///
    /// # Errors
    /// The document is no JSON object of this shape.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Returns the document's bytes: compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has only text keys")
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Reads `null` as the default: Go writes empty lists and maps so.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_keeps_buildkits_key_order_and_reads_nulls() {
        let text = r#"{"architecture":"amd64","config":{"Env":["A=b"],"Cmd":["sh"],"Labels":null},"os":"linux","rootfs":{"type":"layers","diff_ids":null},"history":null,"unknown":1}"#;
        let config = ImageConfig::parse(text.as_bytes()).expect("valid");
        let expected = r#"{"architecture":"amd64","config":{"Env":["A=b"],"Cmd":["sh"]},"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(String::from_utf8(config.to_bytes()).expect("text"), expected);
    }
}
