//! Each rule: a Dockerfile that it fires on, and one that it leaves alone.

use std::collections::BTreeMap;

use bake::diagnostic::SourceMap;
use bake::dockerfile::lint::RULES;
use bake::frontend::lint::{self, Lint, Request};
use bake::frontend::{Need, Resolved, ResolvedImage};
use bake::oci::ImageConfig;
use bake::plan::{ImageSource, PlannedTarget};

use crate::frontend::{platform, target};

/// Runs the checks; every image has a PATH and is for linux/amd64.
fn checked(target: &PlannedTarget, text: &str, ignore: &[&str]) -> Lint {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let ignore: Vec<String> = ignore.iter().map(|line| (*line).to_owned()).collect();
    let mut resolved = Resolved::default();
    loop {
        let request = Request { target, file, sources: &sources, ignore: &ignore, resolved: &resolved };
        let lint = lint::lint(&request);
        if lint.needs.is_empty() {
            return lint;
        }
        for need in lint.needs {
            let image = image(&need);
            resolved.images.insert(need, image);
        }
    }
}

fn image(need: &Need) -> ResolvedImage {
    let ImageSource::Registry(reference) = &need.image else { panic!("only registries are asked") };
    let document = serde_json::json!({ "os": "linux", "architecture": "amd64",
        "config": { "Env": ["PATH=/bin", "GOPATH=/go"] }, "history": [{}] });
    let mut config: ImageConfig = serde_json::from_value(document).expect("a config");
    if reference.repository.ends_with("onbuild") {
        config.config.on_build = vec!["ENV c d".to_owned()];
    }
    if reference.repository.ends_with("shell") {
        config.config.shell = vec!["/bin/bash".to_owned()];
    }
    ResolvedImage { manifest: bake::digest::Digest::of(b""), config }
}

/// Shows warnings as `line: rule: detail`, in the order in which they are found.
fn shown(lint: &Lint) -> String {
    let line = |warning: &bake::dockerfile::lint::Warning| {
        let lines = warning.lines.map_or("-".to_owned(), |lines| match lines.first == lines.last {
            true => lines.first.to_string(),
            false => format!("{}-{}", lines.first, lines.last),
        });
        format!("{lines}: {}: {}\n", warning.rule().name, warning.detail())
    };
    let error = lint.error.iter().map(|error| format!("error: {}\n", error.diagnostic.message));
    lint.warnings.iter().map(line).chain(error).collect()
}

fn warnings(text: &str) -> String {
    shown(&checked(&target(text), text, &[]))
}

/// Rule, a Dockerfile with what is said of it, a Dockerfile without a finding.
const CASES: [(&str, &str, &str, &str); 21] = [
    ("StageNameCasing", "FROM a AS Web", "1: StageNameCasing: Stage name 'Web' should be lowercase", "FROM a AS web"),
    (
        "FromAsCasing",
        "FROM a as web",
        "1: FromAsCasing: 'as' and 'FROM' keywords' casing do not match",
        "from a as web",
    ),
    (
        "NoEmptyContinuation",
        "FROM a\nRUN b \\\n\n  c \\\n  d",
        "5: NoEmptyContinuation: Empty continuation line",
        "FROM a\nRUN b \\\n  # a comment\n  c",
    ),
    (
        "ConsistentInstructionCasing",
        "FROM a\nRUN b\nrun c",
        "3: ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
        "from a\nrun b\nrun c",
    ),
    (
        "DuplicateStageName",
        "FROM a AS x\nFROM b AS x",
        "2: DuplicateStageName: Duplicate stage name \"x\", stage names should be unique",
        "FROM a AS x\nFROM b AS y",
    ),
    (
        "ReservedStageName",
        "FROM a AS context",
        "1: ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
        "FROM a AS contexts",
    ),
    (
        "JSONArgsRecommended",
        "FROM a\nENTRYPOINT run",
        "2: JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
        "FROM a\nSHELL [\"bash\"]\nENTRYPOINT run\nFROM shell\nCMD x\nFROM a\nCMD [\"x\"]",
    ),
    (
        "MaintainerDeprecated",
        "FROM a\nMAINTAINER me",
        "2: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
        "FROM a\nLABEL org.opencontainers.image.authors=me",
    ),
    (
        "UndefinedArgInFrom",
        "ARG VERSION=1\nFROM a:1$VERSON",
        "2: UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?)",
        "ARG VERSION=1\nFROM --platform=$BUILDPLATFORM a:$VERSION",
    ),
    (
        "WorkdirRelativePath",
        "FROM a\nWORKDIR b\nWORKDIR c",
        "2: WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes",
        "FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c",
    ),
    (
        "UndefinedVar",
        "FROM a\nCOPY $GOPAHT /",
        "2: UndefinedVar: Usage of undefined variable '$GOPAHT' (did you mean $GOPATH?)",
        "FROM a\nARG X\nENV Y=1\nCOPY $X $Y $GOPATH /$PATH\nRUN echo $Z\nEXPOSE $Z",
    ),
    (
        "MultipleInstructionsDisallowed",
        "FROM a\nCMD [\"x\"]\nCMD [\"y\"]",
        "2: MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        "FROM a AS x\nCMD [\"x\"]\nFROM x\nCMD [\"y\"]\nENTRYPOINT [\"z\"]",
    ),
    (
        "LegacyKeyValueFormat",
        "FROM a\nLabel b c",
        "2: LegacyKeyValueFormat: \"Label key=value\" should be used instead of legacy \"Label key value\" format",
        "FROM a\nENV b=c d=\"e f\"",
    ),
    (
        "RedundantTargetPlatform",
        "FROM --platform=${TARGETPLATFORM} a",
        "1: RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior",
        "FROM --platform=$BUILDPLATFORM a",
    ),
    (
        "SecretsUsedInArgOrEnv",
        "FROM a\nARG DB_PASSWORD",
        "2: SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"DB_PASSWORD\")",
        "FROM a\nARG KEYBOARD\nENV TOKEN_FILE=/t PUBLIC_KEY=x API_VERSION_KEY=2",
    ),
    (
        "InvalidDefaultArgInFrom",
        "ARG TAG\nFROM a:${TAG}",
        "2: InvalidDefaultArgInFrom: Default value for ARG a:${TAG} results in empty or invalid base image name",
        "ARG TAG=1\nARG MORE\nFROM a:${TAG}\nFROM b:${MORE:-1}",
    ),
    (
        "FromPlatformFlagConstDisallowed",
        "FROM --platform=linux/amd64 a AS build",
        "1: FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
        "FROM --platform=linux/amd64 a AS build-amd64",
    ),
    (
        "InvalidDefinitionDescription",
        "# check=experimental=all\n# web is built here\nFROM a AS app\n# what it is\nARG B=1 C=2",
        "3: InvalidDefinitionDescription: Comment for FROM should follow the format: `# app <description>`\n5: InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
        "# check=experimental=all\n# app is built here\nFROM a AS app\n# apart\n#\nARG B\n# C is it\nARG C=1",
    ),
    (
        "ExposeProtoCasing",
        "FROM a\nEXPOSE 80/TCP",
        "2: ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        "FROM a\nEXPOSE 80/tcp 81",
    ),
    (
        "ExposeInvalidFormat",
        "FROM a\nEXPOSE 127.0.0.1:8080:80",
        "2: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:8080:80'",
        "FROM a\nEXPOSE 8000-8010",
    ),
    (
        "InvalidBaseImagePlatform",
        "FROM --platform=linux/arm64 a AS x-arm64",
        "1: InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build",
        "FROM --platform=linux/amd64 a AS x-amd64",
    ),
];

#[test]
fn every_rule_fires_and_leaves_alone() {
    for (rule, firing, expected, clean) in CASES {
        let ours = warnings(firing);
        let wanted: Vec<&str> = expected.lines().collect();
        // A case may violate other rules too: an undefined tag is also an invalid default.
        let ours: Vec<&str> = ours.lines().filter(|line| line.split(": ").nth(1) == Some(rule)).collect();
        assert_eq!(ours, wanted, "{firing}");
        assert_eq!(warnings(clean), "", "{rule}: {clean}");
    }
    let mut covered: Vec<&str> = CASES.iter().map(|(rule, ..)| *rule).chain(["CopyIgnoredFile"]).collect();
    let mut all: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    covered.sort_unstable();
    all.sort_unstable();
    assert_eq!(covered, all);
}

#[test]
fn copied_files_that_the_ignore_file_leaves_out_are_named() {
    let text = "FROM a\nCOPY ./docs/a.md src /\nADD https://x.test/docs docs /\nCOPY --from=b docs /\nCOPY . /";
    let check = |ignore: &[&str]| shown(&checked(&target(text), text, ignore));
    assert_eq!(
        check(&["# comment", "docs"]),
        "2: CopyIgnoredFile: Attempting to Copy file \"docs/a.md\" that is excluded by .dockerignore\n\
         3: CopyIgnoredFile: Attempting to Add file \"docs\" that is excluded by .dockerignore\n"
    );
    assert_eq!(check(&["docs", "!docs/a.md"]), "");
    assert!(check(&["*"]).contains("5: CopyIgnoredFile: Attempting to Copy file \".\""));
}

#[test]
fn rules_are_skipped_by_the_file_an_instruction_or_an_argument() {
    let text = "FROM a\nENV b c\nMAINTAINER me\n";
    let both = warnings(text);
    assert_eq!(both.lines().count(), 2);
    assert_eq!(warnings(&format!("# check=skip=all\n{text}")), "");
    assert_eq!(warnings(&text.replace("ENV", "# check=skip=LegacyKeyValueFormat\nENV")).lines().count(), 1);
    let args = BTreeMap::from([("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=MaintainerDeprecated".to_owned())]);
    let given = PlannedTarget { args, ..target(text) };
    assert_eq!(shown(&checked(&given, &format!("# check=skip=all\n{text}"), &[])).lines().count(), 1);
    let failed = warnings(&format!("# check=error=true\n{text}"));
    assert!(
        failed.ends_with("error: lint violation found for rules: LegacyKeyValueFormat, MaintainerDeprecated\n"),
        "{failed}"
    );
}

#[test]
fn what_the_base_holds_back_is_checked_at_from() {
    assert_eq!(
        warnings("FROM onbuild\nRUN a"),
        "1: LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\n"
    );
}

#[test]
fn an_error_keeps_the_warnings_before_it() {
    let found = warnings("FROM a\nMAINTAINER me\nCOPY x\n");
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains("error: COPY needs at least two arguments"), "{found}");
}

#[test]
fn what_hangs_on_an_unknown_image_is_undecided() {
    let text = "FROM a\nCMD x\nCOPY $X /\nENV b c\n";
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let plan = target(text);
    let request = Request { target: &plan, file, sources: &sources, ignore: &[], resolved: &Resolved::default() };
    let lint = lint::lint(&request);
    let rules: Vec<&str> = lint.undecided.iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["InvalidBaseImagePlatform", "JSONArgsRecommended", "UndefinedVar"]);
    assert!(shown(&lint).starts_with("4: LegacyKeyValueFormat"));
    assert_eq!(lint.needs.len(), 1);
    assert_eq!(lint.needs.first().expect("one").platform, platform("linux/amd64"));
}

#[test]
fn outlines_and_targets_are_listed() {
    let text = "# VERSION of the base\nARG VERSION=1\n# base is shared\nFROM a:$VERSION AS base\nRUN --mount=type=secret,id=key,required x\n\
        FROM base\n# NAME who is greeted\nARG NAME=you\nRUN --mount=type=ssh y\n";
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let plan = target(text);
    let request = Request { target: &plan, file, sources: &sources, ignore: &[], resolved: &Resolved::default() };
    let outline = lint::outline(&request).expect("an outline");
    expect_test::expect![[r#"
        BUILD ARG   VALUE   DESCRIPTION
        VERSION     1       of the base
        NAME        you     who is greeted

        SECRET   REQUIRED
        key      true

        SSH       REQUIRED
        default   

    "#]]
    .assert_eq(&lint::outline_text(&outline));
    let list = lint::targets(file, &sources).expect("targets");
    expect_test::expect![[r#"
        TARGET    DESCRIPTION
        base      is shared
        (default) 
    "#]]
    .assert_eq(&lint::targets_text(&list));
    expect_test::expect![[r#"[{"name":"base","description":"is shared","base":"a:$VERSION","location":{"ranges":[{"start":{"line":4},"end":{"line":4}}]}},{"default":true,"base":"base","location":{"ranges":[{"start":{"line":6},"end":{"line":6}}]}}]"#]]
    .assert_eq(&serde_json::to_string(&list.targets).expect("JSON"));
}
