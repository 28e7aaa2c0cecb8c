//! The rules, and what violates them.

use std::fmt;

/// A build check, as BuildKit names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The word that `skip=` and `experimental=` take.
    pub name: &'static str,
    /// What it asks for.
    pub description: &'static str,
    /// The last part of the address that explains it; empty where there is none.
    slug: &'static str,
    /// It runs only where `experimental=` names it.
    pub is_experimental: bool,
}

impl Rule {
    /// Returns where the rule is explained; `None` for the one that is not.
    pub fn url(&self) -> Option<String> {
        (!self.slug.is_empty()).then(|| format!("https://docs.docker.com/go/dockerfile/rule/{}/", self.slug))
    }
}

const fn rule(name: &'static str, slug: &'static str, description: &'static str) -> Rule {
    Rule { name, description, slug, is_experimental: false }
}

static STAGE_NAME_CASING: Rule = rule("StageNameCasing", "stage-name-casing", "Stage names should be lowercase");
static FROM_AS_CASING: Rule =
    rule("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword");
static NO_EMPTY_CONTINUATION: Rule = rule(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "Empty continuation lines will become errors in a future release",
);
static CONSISTENT_INSTRUCTION_CASING: Rule = rule(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
);
static DUPLICATE_STAGE_NAME: Rule = rule("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique");
static RESERVED_STAGE_NAME: Rule =
    rule("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names");
static JSON_ARGS_RECOMMENDED: Rule = rule(
    "JSONArgsRecommended",
    "json-args-recommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
);
static MAINTAINER_DEPRECATED: Rule = rule(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
);
static UNDEFINED_ARG_IN_FROM: Rule =
    rule("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs");
static WORKDIR_RELATIVE_PATH: Rule = rule(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
);
static UNDEFINED_VAR: Rule = rule("UndefinedVar", "undefined-var", "Variables should be defined before their use");
static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = rule(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Multiple instructions of the same type should not be used in the same stage",
);
static LEGACY_KEY_VALUE_FORMAT: Rule = rule(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Legacy key/value format with whitespace separator should not be used",
);
static INVALID_BASE_IMAGE_PLATFORM: Rule =
    rule("InvalidBaseImagePlatform", "", "Base image platform does not match expected target platform");
static REDUNDANT_TARGET_PLATFORM: Rule = rule(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
);
static SECRETS_USED_IN_ARG_OR_ENV: Rule = rule(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "Sensitive data should not be used in the ARG or ENV commands",
);
static INVALID_DEFAULT_ARG_IN_FROM: Rule = rule(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Default value for global ARG results in an empty or invalid base image name",
);
static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = rule(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "FROM --platform flag should not use a constant value",
);
static COPY_IGNORED_FILE: Rule =
    rule("CopyIgnoredFile", "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore");
static INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    is_experimental: true,
    ..rule(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    )
};
static EXPOSE_PROTO_CASING: Rule =
    rule("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase");
static EXPOSE_INVALID_FORMAT: Rule = rule(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
);

/// All rules, in BuildKit's order.
pub static RULES: [&Rule; 22] = [
    &STAGE_NAME_CASING,
    &FROM_AS_CASING,
    &NO_EMPTY_CONTINUATION,
    &CONSISTENT_INSTRUCTION_CASING,
    &DUPLICATE_STAGE_NAME,
    &RESERVED_STAGE_NAME,
    &JSON_ARGS_RECOMMENDED,
    &MAINTAINER_DEPRECATED,
    &UNDEFINED_ARG_IN_FROM,
    &WORKDIR_RELATIVE_PATH,
    &UNDEFINED_VAR,
    &MULTIPLE_INSTRUCTIONS_DISALLOWED,
    &LEGACY_KEY_VALUE_FORMAT,
    &INVALID_BASE_IMAGE_PLATFORM,
    &REDUNDANT_TARGET_PLATFORM,
    &SECRETS_USED_IN_ARG_OR_ENV,
    &INVALID_DEFAULT_ARG_IN_FROM,
    &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    &COPY_IGNORED_FILE,
    &INVALID_DEFINITION_DESCRIPTION,
    &EXPOSE_PROTO_CASING,
    &EXPOSE_INVALID_FORMAT,
];

/// What was found against a rule. Shown as the peer's detail text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The stage's name as written.
    StageNameCasing(String),
    /// The two keywords as written.
    FromAsCasing {
        /// FROM.
        from: String,
        /// AS.
        r#as: String,
    },
    /// A blank line in a continued instruction.
    NoEmptyContinuation,
    /// An instruction's name as written, and the case of most others.
    ConsistentInstructionCasing {
        /// As written.
        name: String,
        /// `lowercase` or `uppercase`.
        casing: &'static str,
    },
    /// The stage's name.
    DuplicateStageName(String),
    /// The stage's name.
    ReservedStageName(String),
    /// The instruction's name as written.
    JsonArgsRecommended(String),
    /// MAINTAINER.
    MaintainerDeprecated,
    /// A variable of FROM, and a known one that is near.
    UndefinedArgInFrom {
        /// Not set.
        name: String,
        /// May have been meant.
        near: Option<String>,
    },
    /// The directory, expanded.
    WorkdirRelativePath(String),
    /// A variable of another instruction, and a known one that is near.
    UndefinedVar {
        /// Not set.
        name: String,
        /// May have been meant.
        near: Option<String>,
    },
    /// The instruction's name as written.
    MultipleInstructionsDisallowed(String),
    /// The instruction's name as written.
    LegacyKeyValueFormat(String),
    /// An image that is for another platform than was asked for.
    InvalidBaseImagePlatform {
        /// As the Dockerfile names it.
        image: String,
        /// Asked for.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The flag's value as written.
    RedundantTargetPlatform(String),
    /// A name that looks as if it held a secret.
    SecretsUsedInArgOrEnv {
        /// `ARG` or `ENV`.
        instruction: &'static str,
        /// The variable.
        key: String,
    },
    /// The image's name as written.
    InvalidDefaultArgInFrom(String),
    /// The flag's value.
    FromPlatformFlagConstDisallowed(String),
    /// A file that the context does not hold.
    CopyIgnoredFile {
        /// `Copy` or `Add`.
        command: &'static str,
        /// The path.
        file: String,
    },
    /// A comment before a definition that does not describe it.
    InvalidDefinitionDescription {
        /// `ARG` or `FROM`.
        instruction: &'static str,
        /// What the comment should begin with.
        name: String,
    },
    /// The port as written, expanded.
    ExposeProtoCasing(String),
    /// The port as written, expanded.
    ExposeInvalidFormat(String),
}

impl Violation {
    /// Returns the rule that this is against.
    pub fn rule(&self) -> &'static Rule {
        match self {
            Violation::StageNameCasing(_) => &STAGE_NAME_CASING,
            Violation::FromAsCasing { .. } => &FROM_AS_CASING,
            Violation::NoEmptyContinuation => &NO_EMPTY_CONTINUATION,
            Violation::ConsistentInstructionCasing { .. } => &CONSISTENT_INSTRUCTION_CASING,
            Violation::DuplicateStageName(_) => &DUPLICATE_STAGE_NAME,
            Violation::ReservedStageName(_) => &RESERVED_STAGE_NAME,
            Violation::JsonArgsRecommended(_) => &JSON_ARGS_RECOMMENDED,
            Violation::MaintainerDeprecated => &MAINTAINER_DEPRECATED,
            Violation::UndefinedArgInFrom { .. } => &UNDEFINED_ARG_IN_FROM,
            Violation::WorkdirRelativePath(_) => &WORKDIR_RELATIVE_PATH,
            Violation::UndefinedVar { .. } => &UNDEFINED_VAR,
            Violation::MultipleInstructionsDisallowed(_) => &MULTIPLE_INSTRUCTIONS_DISALLOWED,
            Violation::LegacyKeyValueFormat(_) => &LEGACY_KEY_VALUE_FORMAT,
            Violation::InvalidBaseImagePlatform { .. } => &INVALID_BASE_IMAGE_PLATFORM,
            Violation::RedundantTargetPlatform(_) => &REDUNDANT_TARGET_PLATFORM,
            Violation::SecretsUsedInArgOrEnv { .. } => &SECRETS_USED_IN_ARG_OR_ENV,
            Violation::InvalidDefaultArgInFrom(_) => &INVALID_DEFAULT_ARG_IN_FROM,
            Violation::FromPlatformFlagConstDisallowed(_) => &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
            Violation::CopyIgnoredFile { .. } => &COPY_IGNORED_FILE,
            Violation::InvalidDefinitionDescription { .. } => &INVALID_DEFINITION_DESCRIPTION,
            Violation::ExposeProtoCasing(_) => &EXPOSE_PROTO_CASING,
            Violation::ExposeInvalidFormat(_) => &EXPOSE_INVALID_FORMAT,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::StageNameCasing(name) => write!(f, "Stage name '{name}' should be lowercase"),
            Violation::FromAsCasing { from, r#as } => write!(f, "'{as}' and '{from}' keywords' casing do not match"),
            Violation::NoEmptyContinuation => f.write_str("Empty continuation line"),
            Violation::ConsistentInstructionCasing { name, casing } => {
                write!(f, "Command '{name}' should match the case of the command majority ({casing})")
            }
            Violation::DuplicateStageName(name) => {
                write!(f, "Duplicate stage name {name:?}, stage names should be unique")
            }
            Violation::ReservedStageName(name) => {
                write!(f, "Stage name should not use the same name as reserved stage {name:?}")
            }
            Violation::JsonArgsRecommended(name) => {
                write!(f, "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals")
            }
            Violation::MaintainerDeprecated => {
                f.write_str("Maintainer instruction is deprecated in favor of using label")
            }
            Violation::UndefinedArgInFrom { name, near } => {
                write!(f, "FROM argument '{name}' is not declared")?;
                near.iter().try_for_each(|near| write!(f, " (did you mean {near}?)"))
            }
            Violation::WorkdirRelativePath(path) => {
                write!(f, "Relative workdir {path:?} can have unexpected results if the base image changes")
            }
            Violation::UndefinedVar { name, near } => {
                write!(f, "Usage of undefined variable '${name}'")?;
                near.iter().try_for_each(|near| write!(f, " (did you mean ${near}?)"))
            }
            Violation::MultipleInstructionsDisallowed(name) => write!(
                f,
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            ),
            Violation::LegacyKeyValueFormat(name) => {
                write!(f, "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format")
            }
            Violation::InvalidBaseImagePlatform { image, expected, actual } => write!(
                f,
                "Base image {image} was pulled with platform {actual:?}, expected {expected:?} for current build"
            ),
            Violation::RedundantTargetPlatform(variable) => write!(
                f,
                "Setting platform to predefined {variable} in FROM is redundant as this is the default behavior"
            ),
            Violation::SecretsUsedInArgOrEnv { instruction, key } => {
                write!(f, "Do not use ARG or ENV instructions for sensitive data ({instruction} {key:?})")
            }
            Violation::InvalidDefaultArgInFrom(base) => {
                write!(f, "Default value for ARG {base} results in empty or invalid base image name")
            }
            Violation::FromPlatformFlagConstDisallowed(platform) => {
                write!(f, "FROM --platform flag should not use constant value {platform:?}")
            }
            Violation::CopyIgnoredFile { command, file } => {
                write!(f, "Attempting to {command} file {file:?} that is excluded by .dockerignore")
            }
            Violation::InvalidDefinitionDescription { instruction, name } => {
                write!(f, "Comment for {instruction} should follow the format: `# {name} <description>`")
            }
            Violation::ExposeProtoCasing(port) => {
                write!(f, "Defined protocol '{port}' in EXPOSE instruction should be lowercase")
            }
            Violation::ExposeInvalidFormat(port) => {
                write!(f, "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'")
            }
        }
    }
}
