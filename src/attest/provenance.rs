//! How a result was made: SLSA provenance in the peer's shape (BuildKit, `solver/llbsolver/provenance`).
//!
//! The peer tells also when it built, under which id and with what load; that differs each time, and is not told here. A
//! key of its own, `bakeInputs` in the internal parameters, is the digest that `bake.lock` has for the target and platform:
//! everything that decides the result, the files of local contexts by content.
//!
//! Nothing is told that is secret or says whose machine it was: users and passwords in URLs are replaced, proxies and
//! directories are left out, secrets and agents are named and no more.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Document;
use super::materials::{Dependency, Materials, digest_set, layout_name};
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::plan::{
    BuildContext, DockerfileSource, ImageSource, PlannedTarget, ProvenanceMode, ProvenanceRequest, SlsaVersion,
};
use crate::remote::redacted;

const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";

const LAYOUT: &str = "oci-layout://";

/// How the network is reached is no part of what was built.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// What provenance tells of.
pub struct Build<'a> {
    /// What is asked for.
    pub request: &'a ProvenanceRequest,
    /// What was built.
    pub target: &'a PlannedTarget,
    /// What its graph says.
    pub materials: &'a Materials,
    /// Where the context came from, if not from this machine: its URL as it may be shown, and the commit or digest.
    pub remote_context: Option<(&'a str, &'a str)>,
    /// Everything that decides the result.
    pub inputs: Digest,
    /// The Dockerfile's text.
    pub dockerfile: &'a str,
    /// Its steps: the `ops` of a compiled Dockerfile.
    pub steps: &'a [Value],
    /// The layers of the image, where there is one, oldest first.
    pub layers: &'a [Descriptor],
}

/// Makes the provenance of a build.
pub fn document(build: &Build<'_>) -> Document {
    let (predicate_type, predicate) = match build.request.version {
        SlsaVersion::V1 => ("https://slsa.dev/provenance/v1", build.v1()),
        SlsaVersion::V02 => ("https://slsa.dev/provenance/v0.2", build.v02()),
    };
    let (filename, is_inline_only) = (build.request.filename.clone(), build.request.is_inline_only);
    Document { predicate_type, predicate: told(predicate, &build.layouts()), filename, is_inline_only }
}

impl Build<'_> {
    fn v1(&self) -> Value {
        let mut internal = self.environment("builderPlatform");
        if let Some(config) = self.build_config() {
            internal.insert("buildConfig".to_owned(), config);
        }
        let mut metadata = Map::from_iter([("buildkit_metadata".to_owned(), self.metadata())]);
        if self.is_hermetic() {
            metadata.insert("buildkit_hermetic".to_owned(), json!(true));
        }
        metadata.insert(
            "buildkit_completeness".to_owned(),
            json!({ "request": self.is_whole_request(), "resolvedDependencies": self.is_complete() }),
        );
        if self.request.is_reproducible {
            metadata.insert("buildkit_reproducible".to_owned(), json!(true));
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "resolvedDependencies": self.dependencies(),
                "externalParameters": { "configSource": self.config_source("path"), "request": self.parameters() },
                "internalParameters": internal,
            },
            "runDetails": { "builder": { "id": self.request.builder_id }, "metadata": metadata },
        })
    }

    fn v02(&self) -> Value {
        let mut predicate = json!({
            "builder": { "id": self.request.builder_id },
            "buildType": BUILD_TYPE_02,
            "materials": self.dependencies(),
            "invocation": {
                "configSource": self.config_source("entryPoint"),
                "parameters": self.parameters(),
                "environment": self.environment("platform"),
            },
        });
        if let Some(config) = self.build_config() {
            predicate["buildConfig"] = config;
        }
        predicate["metadata"] = json!({
            "completeness": {
                "parameters": self.is_whole_request(),
                "environment": true,
                "materials": self.is_complete(),
            },
            "reproducible": self.request.is_reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": self.metadata(),
        });
        if self.is_hermetic() {
            predicate["metadata"]["https://mobyproject.org/buildkit@v1#hermetic"] = json!(true);
        }
        predicate
    }

    fn is_max(&self) -> bool {
        self.request.mode == ProvenanceMode::Max
    }

    /// Local directories are inputs that no reader can get.
    fn is_complete(&self) -> bool {
        self.materials.locals.is_empty()
    }

    fn is_hermetic(&self) -> bool {
        self.is_complete() && !self.materials.has_network
    }

    fn is_whole_request(&self) -> bool {
        self.is_max() || (self.target.args.is_empty() && self.target.labels.is_empty())
    }

    fn dependencies(&self) -> Vec<Value> {
        let entry = |Dependency { uri, digest }: &Dependency| json!({ "uri": uri, "digest": digests(digest) });
        self.materials.dependencies.iter().map(entry).collect()
    }

    fn environment(&self, platform_key: &str) -> Map<String, Value> {
        Map::from_iter([
            (platform_key.to_owned(), json!(self.target.build_platform.to_string())),
            ("bakeInputs".to_owned(), json!(self.inputs.to_string())),
        ])
    }

    fn config_source(&self, path_key: &str) -> Value {
        let mut source = json!({});
        if let Some((uri, identity)) = self.remote_context {
            source = json!({ "uri": uri, "digest": digests(&digest_set(identity)) });
        }
        source[path_key] = json!(self.dockerfile_path());
        source
    }

    /// Returns the Dockerfile's path from its context; of one elsewhere on this machine the name alone.
    fn dockerfile_path(&self) -> &str {
        let DockerfileSource::Path(path) = &self.target.dockerfile else { return "Dockerfile" };
        if let BuildContext::Local(context) = &self.target.context
            && let Some(rest) = path.strip_prefix(context.as_str()).and_then(|rest| rest.strip_prefix('/'))
        {
            return rest;
        }
        match path.starts_with(['/', '.']) || path.contains("://") {
            true => path.rsplit('/').next().unwrap_or(path),
            false => path,
        }
    }

    /// The request in the words of BuildKit's Dockerfile frontend. What only says how to build is left out: platforms,
    /// caches, names.
    fn parameters(&self) -> Value {
        let mut parameters = json!({ "frontend": "dockerfile.v0" });
        let args = self.arguments();
        if !args.is_empty() {
            parameters["args"] = json!(args);
        }
        let ids = |map: &BTreeMap<String, bool>| -> Vec<Value> {
            let entry = |(id, is_optional): (&String, &bool)| match is_optional {
                true => json!({ "id": id, "optional": true }),
                false => json!({ "id": id }),
            };
            map.iter().map(entry).collect()
        };
        if self.is_max() {
            for (key, list) in [("secrets", &self.materials.secrets), ("ssh", &self.materials.agents)] {
                if !list.is_empty() {
                    parameters[key] = json!(ids(list));
                }
            }
        }
        if !self.materials.locals.is_empty() {
            let names = self.materials.locals.iter().map(|name| json!({ "name": name }));
            parameters["locals"] = names.collect();
        }
        parameters
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        let target = self.target;
        let mut args = BTreeMap::new();
        if self.is_max() {
            let own = target.args.iter().filter(|(name, _)| !PROXIES.contains(&name.to_lowercase().as_str()));
            args.extend(own.map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
            args.extend(target.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
        }
        args.extend(target.stage.iter().map(|stage| ("target".to_owned(), stage.clone())));
        for (name, context) in &target.contexts {
            let value = match context {
                BuildContext::Local(path) if path.contains("://") => path.clone(),
                BuildContext::Local(_) => format!("local:{name}"),
                BuildContext::Image(ImageSource::Registry(reference)) => format!("docker-image://{reference}"),
                BuildContext::Image(ImageSource::Layout { path, .. }) => format!("oci-layout://{}", layout_name(path)),
                BuildContext::Target(linked) => format!("target:{linked}"),
            };
            args.insert(format!("context:{name}"), value);
        }
        args
    }

    /// The steps with LLB's ids.
    fn build_config(&self) -> Option<Value> {
        let steps = self.is_max().then_some(self.steps)?;
        let definition = steps.iter().enumerate().map(|(index, op)| {
            let mut op = op.clone();
            let inputs = op.as_object_mut().and_then(|op| op.shift_remove("inputs"));
            if let Some(op) = op.as_object_mut() {
                for key in ["op", "lines", "proxy", "ignore_cache"] {
                    op.shift_remove(key);
                }
            }
            let input = |input: &Value| format!("step{}:{}", input["op"], input["output"]);
            let inputs: Vec<String> =
                inputs.as_ref().and_then(Value::as_array).into_iter().flatten().map(input).collect();
            json!({ "id": format!("step{index}"), "op": op, "inputs": inputs })
        });
        Some(json!({ "llbDefinition": definition.collect::<Vec<_>>() }))
    }

    /// The Dockerfile with the lines of each step, and the layers.
    fn metadata(&self) -> Value {
        if !self.is_max() {
            return json!({});
        }
        let locations = self.steps.iter().enumerate().filter_map(|(index, op)| {
            let lines = op["lines"].as_array().filter(|lines| !lines.is_empty())?;
            let range = |line: &Value| json!({ "start": { "line": line[0] }, "end": { "line": line[1] } });
            let ranges: Vec<Value> = lines.iter().map(range).collect();
            Some((format!("step{index}"), json!({ "locations": [{ "ranges": ranges }] })))
        });
        let mut metadata = json!({
            "source": {
                "locations": locations.collect::<Map<_, _>>(),
                "infos": [{
                    "filename": self.dockerfile_path(),
                    "language": "Dockerfile",
                    "data": STANDARD.encode(redacted(self.dockerfile)),
                }],
            },
        });
        if let (Some(last), false) = (self.steps.len().checked_sub(1), self.layers.is_empty()) {
            let layer = |layer: &Descriptor| json!({ "mediaType": layer.media_type(), "digest": layer.digest(), "size": layer.size() });
            let layers: Vec<Value> = self.layers.iter().map(layer).collect();
            metadata["layers"] = json!({ format!("step{last}:0"): [layers] });
        }
        metadata
    }

    /// Returns the image layouts of this machine that a step may name, longest first.
    fn layouts(&self) -> Vec<String> {
        let contexts = self.target.contexts.values().chain([&self.target.context]);
        let mut layouts: Vec<String> = contexts
            .filter_map(|context| match context {
                BuildContext::Image(ImageSource::Layout { path, .. }) => Some(format!("{LAYOUT}{path}")),
                _ => None,
            })
            .collect();
        layouts.sort_by_key(|path| (usize::MAX - path.len(), path.clone()));
        layouts
    }
}

fn digests((algorithm, hex): &(String, String)) -> Value {
    json!({ algorithm: hex })
}

/// Replaces in all texts of `value` what may not be told.
fn told(value: Value, layouts: &[String]) -> Value {
    match value {
        Value::String(text) => Value::String(layouts.iter().fold(redacted(&text), |text, layout| {
            if text.contains(layout) { text.replace(layout, &format!("{LAYOUT}{}", layout_name(layout))) } else { text }
        })),
        Value::Array(list) => list.into_iter().map(|value| told(value, layouts)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, told(value, layouts))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
