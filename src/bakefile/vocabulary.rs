//! Every word of the bake language: blocks, their attributes, what those hold and what they are for.
//!
//! The one table of them: evaluation takes kinds from it, `bake check` the names it knows, the JSON Schema everything.

use super::attributes::Kind;

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value of a target's attribute.
    Value(Kind),
    /// Any value.
    Any,
    /// Axes and their values.
    Matrix,
    /// One word, that is no template.
    Word,
    /// Words, that are no templates.
    Words,
}

/// An attribute of a block.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// For people: English sentences, Markdown.
    pub(super) description: &'static str,
    /// Values that are worth offering; others may be right too.
    pub(super) values: &'static [&'static str],
    pub(super) is_required: bool,
}

impl Attribute {
    /// Returns the same attribute with values worth offering.
    const fn offers(self, values: &'static [&'static str]) -> Attribute {
        Attribute { values, ..self }
    }

    /// Returns the same attribute, without which its block is wrong.
    const fn required(self) -> Attribute {
        Attribute { is_required: true, ..self }
    }
}

const fn value(name: &'static str, kind: Kind, description: &'static str) -> Attribute {
    shaped(name, Shape::Value(kind), description)
}

const fn shaped(name: &'static str, shape: Shape, description: &'static str) -> Attribute {
    Attribute { name, shape, description, values: &[], is_required: false }
}

/// The attributes of a target, sorted by name.
pub(super) const TARGET: &[Attribute] = &[
    value("annotations", Kind::Texts, "Annotations of the image, `[level:]key=value`. Merged: appended."),
    value("args", Kind::TextMap, "Build arguments of the Dockerfile. Merged by key; null does not overwrite."),
    value(
        "attest",
        Kind::Specs,
        "Attestations, as CSV or records with a `type`. Merged: appended, the same type replaces.",
    ),
    value("cache-from", Kind::Specs, "Caches to read. Merged: appended."),
    value("cache-to", Kind::Specs, "Caches to write. Merged: replaced."),
    value("call", Kind::Text, "What to do instead of building. Merged: replaced.")
        .offers(&["build", "check", "outline", "targets"]),
    value("context", Kind::Text, "Directory of files that COPY and ADD read; `.` when it is not given."),
    value(
        "contexts",
        Kind::TextMap,
        "Further contexts by name: a directory, `target:NAME`, `docker-image://REFERENCE` or `oci-layout://PATH`. Merged by key.",
    ),
    value("description", Kind::Text, "What the target is for."),
    value(
        "dockerfile",
        Kind::Text,
        "Path of the Dockerfile, relative to the context; `Dockerfile` when it is not given.",
    ),
    value("dockerfile-inline", Kind::Text, "The Dockerfile's text, instead of a file."),
    value("entitlements", Kind::Texts, "Privileges that the build asks for. Merged: appended.")
        .offers(&["network.host", "security.insecure"]),
    shaped(
        "exclude",
        Shape::Any,
        "Combinations that a matrix leaves out: a list of maps; one that names only some axes leaves out all that fit.",
    ),
    value("extra-hosts", Kind::TextMap, "Host names and addresses for steps. Merged by key."),
    value("inherits", Kind::Texts, "Targets to start from, left to right. Merged: appended."),
    value("labels", Kind::TextMap, "Labels of the image config. Merged by key; null does not overwrite."),
    shaped(
        "matrix",
        Shape::Matrix,
        "Axes and their values: the target is made once for each combination, with the axes as variables.",
    ),
    value("name", Kind::Text, "Name of each member of a matrix."),
    value("network", Kind::Text, "Network of RUN steps: `default`, `none` or `host`.")
        .offers(&["default", "none", "host"]),
    value("no-cache", Kind::Flag, "Runs every step again."),
    value("no-cache-filter", Kind::Texts, "Stages whose steps run again. Merged: appended."),
    value("output", Kind::Specs, "Where results go, as CSV, a path or records with a `type`. Merged: replaced."),
    value(
        "platform-args",
        Kind::TextMaps,
        "Build arguments for single platforms, by platform, on top of `args`. Merged by platform and key.",
    ),
    value("platforms", Kind::Texts, "Platforms to build for, such as `linux/arm64`. Merged: replaced.")
        .offers(&["linux/amd64", "linux/arm64"]),
    value("policy", Kind::Specs, "Source policies. Merged: appended."),
    value("pull", Kind::Flag, "Asks the registry again for every image."),
    value("resources", Kind::Resources, "Limits of RUN steps. Merged by field."),
    value(
        "secret",
        Kind::Specs,
        "Secrets that RUN steps may mount, as CSV or records of `id`, `src`, `env`. Merged: the same id replaces.",
    ),
    value("shm-size", Kind::Text, "Size of /dev/shm in RUN steps."),
    value(
        "ssh",
        Kind::Specs,
        "SSH agents or keys that RUN steps may use, as strings or records of `id`, `paths`. Merged: the same id replaces.",
    ),
    value("tags", Kind::Texts, "Names of the image. Merged: replaced."),
    value("target", Kind::Text, "Stage of the Dockerfile to build; the last when it is not given."),
    value("ulimits", Kind::Texts, "Process limits of RUN steps. Merged: appended."),
];

/// The attributes of a group.
pub(super) const GROUP: &[Attribute] = &[
    value("targets", Kind::Texts, "Names of targets and groups.").required(),
    value("description", Kind::Text, "What it is for."),
];

/// The attributes of a variable.
pub(super) const VARIABLE: &[Attribute] = &[
    shaped("default", Shape::Any, "Value where nothing else gives one; may be an expression."),
    shaped("type", Shape::Word, "A type such as `string`, `number`, `bool`, `list(string)`.").offers(&[
        "string",
        "number",
        "bool",
        "list(string)",
        "map(string)",
    ]),
    value("description", Kind::Text, "What it is for."),
    value("sensitive", Kind::Flag, "Accepted and without effect."),
];

/// The attributes of a variable's `validation` block.
pub(super) const VALIDATION: &[Attribute] = &[
    value("condition", Kind::Flag, "An expression that is true for good values.").required(),
    value("error_message", Kind::Text, "What to say otherwise."),
];

/// The attributes of a function.
pub(super) const FUNCTION: &[Attribute] = &[
    shaped("params", Shape::Words, "Names of the parameters.").required(),
    shaped("variadic_params", Shape::Word, "Name of the list of all further arguments."),
    shaped("result", Shape::Any, "The expression; may use the parameters.").required(),
    value("description", Kind::Text, "What it is for."),
];

/// The attributes at the top of a bakefile that are no global values.
pub(super) const TOP: &[Attribute] = &[value(
    "include",
    Kind::Texts,
    "Further bakefiles, relative to this one; `*`, `?` and `**` match names and directories. Paths in them are relative to them.",
)];

/// A block of the language.
pub(super) struct BlockWords {
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
    pub(super) attributes: &'static [Attribute],
}

/// The blocks at the top of a bakefile.
pub(super) const BLOCKS: [BlockWords; 4] = [
    BlockWords {
        kind: "variable",
        description: "Values that --var and the environment replace.",
        attributes: VARIABLE,
    },
    BlockWords { kind: "function", description: "Functions for expressions.", attributes: FUNCTION },
    BlockWords { kind: "group", description: "Sets of targets that build together.", attributes: GROUP },
    BlockWords { kind: "target", description: "What is built.", attributes: TARGET },
];

/// Fields of the records that an attribute lists.
pub(super) struct RecordFields {
    pub(super) names: &'static [&'static str],
    /// Other fields are errors.
    pub(super) is_closed: bool,
    /// Offered for `type`; empty where a record has none.
    pub(super) types: &'static [&'static str],
}

/// Returns the fields of an attribute's records.
pub(super) fn record_fields(attribute: &str) -> RecordFields {
    let open = |names, types| RecordFields { names, is_closed: false, types };
    let closed = |names, types| RecordFields { names, is_closed: true, types };
    match attribute {
        "output" => open(
            &["type", "dest", "name", "push", "push-by-digest", "tar", "context", "platform-split", "mode"],
            &["image", "registry", "oci", "docker", "local", "tar", "cacheonly"],
        ),
        "cache-from" | "cache-to" => {
            open(&["type", "ref", "mode", "src", "dest"], &["registry", "local", "inline", "gha", "s3", "azblob"])
        }
        "attest" => open(&["type", "disabled", "mode"], &["provenance", "sbom"]),
        "secret" => closed(&["id", "src", "source", "env", "type"], &["file", "env"]),
        "ssh" => open(&["id", "paths"], &[]),
        "policy" => closed(&["filename", "reset", "disabled", "strict", "log-level"], &[]),
        _ => open(&[], &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_attributes_are_sorted_for_the_search() {
        assert!(TARGET.is_sorted_by_key(|attribute| attribute.name));
    }

    #[test]
    fn every_word_is_described() {
        let nested = VALIDATION.iter().chain(TOP);
        for attribute in BLOCKS.iter().flat_map(|block| block.attributes).chain(nested) {
            assert!(attribute.description.ends_with('.'), "{}", attribute.name);
        }
    }
}
