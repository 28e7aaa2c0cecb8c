//! The peer's documents: what `--call=check|outline|targets,format=json` prints. Field names and order are the peer's;
//! what is empty is left out, as there.

use base64::Engine as _;
use serde::Serialize;

use crate::diagnostic::{FileId, SourceMap};
use crate::dockerfile::lint::{LineRange, Warning, Written, description};

use super::Lint;

/// Where something stands: one range for each of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    /// In order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// A range of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// First line.
    pub start: Position,
    /// Last line.
    pub end: Position,
}

/// A line, 1-based.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Its number.
    pub line: usize,
}

impl Location {
    /// Returns the place of an instruction; without ranges where there is none.
    pub fn of(lines: Option<LineRange>) -> Location {
        let each = lines.into_iter().flat_map(|lines| lines.first..=lines.last);
        Location { ranges: each.map(|line| Range { start: Position { line }, end: Position { line } }).collect() }
    }
}

/// A text that places point into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceInfo {
    /// The Dockerfile's name.
    pub filename: String,
    /// The text in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// `Dockerfile`.
    pub language: String,
}

/// The result of the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintDocument {
    /// `null` where there are none, as the peer writes it.
    pub warnings: Option<Vec<LintWarning>>,
    /// The Dockerfile.
    pub sources: Vec<SourceInfo>,
    /// Why it cannot be built.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    pub build_error: Option<LintError>,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LintWarning {
    /// The rule.
    pub rule_name: String,
    /// What the rule asks for.
    pub description: String,
    /// Where the rule is explained.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// About this place.
    pub detail: String,
    /// Which place.
    pub location: Location,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Location,
}

impl LintDocument {
    /// Returns the document for the checks of `file`.
    pub fn new(lint: &Lint, file: FileId, sources: &SourceMap) -> LintDocument {
        let warnings: Vec<LintWarning> = lint.warnings.iter().map(LintWarning::of).collect();
        let data = base64_of(sources.text(file));
        let name = sources.name(file);
        let filename = name.rsplit('/').next().unwrap_or(name).to_owned();
        let build_error = lint
            .error
            .as_ref()
            .map(|error| LintError { message: error.diagnostic.message.clone(), location: Location::of(error.lines) });
        LintDocument {
            warnings: (!warnings.is_empty()).then_some(warnings),
            sources: vec![SourceInfo { filename, data, language: "Dockerfile".to_owned() }],
            build_error,
        }
    }
}

impl LintWarning {
    fn of(warning: &Warning) -> LintWarning {
        LintWarning {
            rule_name: warning.rule().name.to_owned(),
            description: warning.rule().description.to_owned(),
            url: warning.rule().url().unwrap_or_default(),
            detail: warning.detail(),
            location: Location::of(warning.lines),
        }
    }
}

/// What a target takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The stage's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// From the comment before FROM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArg>,
    /// Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineMount>,
    /// SSH sockets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineMount>,
    /// The Dockerfile, in base64.
    pub sources: Vec<String>,
}

/// A variable that `--build-arg` sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// From the comment before ARG.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// In this build.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Its declaration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// A secret or SSH socket that a step mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// The step fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// What can be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetList {
    /// All stages, in order.
    pub targets: Vec<TargetEntry>,
    /// The Dockerfile, in base64.
    pub sources: Vec<String>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetEntry {
    /// `AS`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// It is built where no stage is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// From the comment before FROM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// As written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// `--platform` as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// FROM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl TargetList {
    /// Returns the list of a Dockerfile's stages.
    pub fn new(written: &Written, text: &str) -> TargetList {
        let entries = written.stages.iter().enumerate().map(|(index, stage)| TargetEntry {
            name: stage.name.clone().unwrap_or_default(),
            default: index + 1 == written.stages.len(),
            description: stage
                .name
                .as_deref()
                .and_then(|name| description(&stage.comments, name))
                .unwrap_or_default()
                .to_owned(),
            base: stage.base.clone(),
            platform: stage.platform.clone().unwrap_or_default(),
            location: Some(Location::of(Some(stage.lines))),
        });
        TargetList { targets: entries.collect(), sources: vec![base64_of(text)] }
    }
}

pub(super) fn base64_of(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
