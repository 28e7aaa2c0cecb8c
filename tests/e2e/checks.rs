//! Build checks of a real build, with a real base image.

use crate::support::{Project, registry};

fn project(dockerfile: &str) -> Option<Project> {
    let project = Project::new(registry()?);
    let text = format!(
        "variable \"REGISTRY\" {{}}\ntarget \"default\" {{\n  dockerfile-inline = <<EOT\n{dockerfile}\nEOT\n}}\n"
    );
    project.write("build.hcl", &text);
    Some(project)
}

#[test]
fn a_build_ends_with_its_warnings_and_is_silent_without() {
    let Some(noisy) = project("FROM ${REGISTRY}/base/busybox:1\nENV a b\nRUN true\nCMD x") else { return };
    let ran = noisy.bake(&["build"]).succeeds();
    let end =
        " - LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)";
    assert!(ran.stderr.contains(" 2 warnings found") && ran.stderr.contains(end), "{}", ran.stderr);
    assert!(!noisy.bake(&["build", "--quiet"]).succeeds().stderr.contains("warnings found"));
    let Some(clean) = project("FROM ${REGISTRY}/base/busybox:1\nENV a=b\nRUN true") else { return };
    assert!(!clean.bake(&["build"]).succeeds().stderr.contains("warning"));
}

#[test]
fn findings_fail_a_build_where_the_file_says_so() {
    let Some(project) = project("# check=error=true\nFROM ${REGISTRY}/base/busybox:1\nENV a b\nRUN true") else {
        return;
    };
    let failed = project.bake(&["build"]).fails(3);
    assert!(failed.stderr.contains("lint violation found for rules: LegacyKeyValueFormat"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("] RUN true"), "{}", failed.stderr);
}

#[test]
fn what_a_base_image_sets_is_no_unset_variable() {
    let Some(project) = project("FROM ${REGISTRY}/base/busybox:1\nCOPY $${PATH:+.} /x\nCOPY $UNKNOWN /y") else {
        return;
    };
    let failed = project.bake(&["check"]).fails(1);
    assert_eq!(failed.stdout.matches("WARNING: UndefinedVar").count(), 1, "{}", failed.stdout);
    assert!(failed.stdout.contains("'$UNKNOWN'"), "{}", failed.stdout);
}
