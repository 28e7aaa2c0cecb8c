//! Each error shows where: the line of the Dockerfile or ignore file, underlined.

use crate::dockerfile::Case;

/// Fails and shows `line`, which is line `number` of `file`, with marks below all of `marked`.
#[track_caller]
fn shows(case: &Case, dockerfile: &str, (file, number): (&str, usize), line: &str, marked: &str, parts: &[&str]) {
    let ran = case.fails(dockerfile, parts);
    let column = line.find(marked).expect("it is in the line") + 1;
    let head = format!("ctx/{file}:{number}:{column}: ");
    let excerpt = format!("\n {number} | {line}\n   | {}{}\n", " ".repeat(column - 1), "^".repeat(marked.len()));
    let text = format!("{}\n", ran.stderr);
    assert!(text.contains(&head) && text.contains(&excerpt), "{head}{excerpt}is not in\n{text}");
}

#[test]
fn a_step_that_fails_is_underlined_with_target_platform_and_output() {
    let Some(case) = Case::new() else { return };
    let in_build = "note: target \"default\", linux/amd64, after ";
    for (instruction, parts) in [
        (
            "RUN echo said && exit 3",
            &["step failed: exit code 3", in_build, "the last line of its output:\n  said"][..],
        ),
        ("RUN [\"/nope\"]", &["program `/nope` not found", in_build]),
        ("COPY missing /", &["no file or directory `/missing` in the build context", in_build]),
        ("COPY --from=a /missing /", &["no file or directory `/missing` in the root file system", in_build]),
        ("COPY --exclude=[ . /", &["a `[` is not closed"]),
        ("RUN --mount=source=missing,target=/x true", &["no file or directory `/missing`", in_build]),
        ("RUN --mount=type=secret,id=s,required true", &["the secret `s` is required and not given", "hint: "]),
        ("RUN --mount=type=ssh,required true", &["the SSH agent `default` is required and not given", "hint: "]),
        ("WORKDIR /bin/busybox/d", &["something that is no directory is there"]),
    ] {
        let dockerfile = format!("FROM busybox AS a\nFROM busybox\n{instruction}\n");
        shows(&case, &dockerfile, ("Dockerfile", 3), instruction, instruction, parts);
    }
    shows(&case, "FROM busybox\nUSER who\nRUN true\n", ("Dockerfile", 3), "RUN true", "RUN true", &["user `who`"]);
}

#[test]
fn a_trigger_is_named_where_its_base_is() {
    let Some(case) = Case::new() else { return };
    for (trigger, why) in [
        ("RUN exit 4", "step failed: exit code 4"),
        ("COPY missing /", "no file or directory `/missing`"),
        ("COPY --bad a b", "unknown flag `--bad` of COPY"),
    ] {
        let dockerfile = format!("FROM busybox AS base\nONBUILD {trigger}\nFROM base AS top\n");
        let note = format!("note: in the trigger `ONBUILD {trigger}` of the base image");
        shows(&case, &dockerfile, ("Dockerfile", 3), "FROM base AS top", "base", &[why, &note]);
    }
}

#[test]
fn an_image_that_cannot_be_had_is_underlined_where_it_is_asked_for() {
    let Some(case) = Case::new() else { return };
    let missing = format!("{}/none:1", case.project.registry);
    for (line, marked) in [
        (format!("FROM {missing} AS b"), missing.clone()),
        (format!("COPY --from={missing} /a /"), format!("--from={missing}")),
        (format!("RUN --mount=from={missing},target=/x true"), format!("--mount=from={missing},target=/x")),
    ] {
        let dockerfile = format!("FROM busybox\n{line}\n");
        let ran = case.fails_with(&dockerfile, 5);
        let column = line.find(&marked).expect("it is in the line");
        let head = format!("ctx/Dockerfile:2:{}: ", column + 1);
        let excerpt = format!("\n 2 | {line}\n   | {}{}\n", " ".repeat(column), "^".repeat(marked.len()));
        assert!(ran.stderr.contains(&head), "{}", ran.stderr);
        assert!(ran.stderr.contains(&excerpt) || line.len() > 100, "{}", ran.stderr);
    }
}

#[test]
fn a_download_that_is_not_what_it_should_be_is_underlined() {
    let Some(case) = Case::new() else { return };
    let http = crate::support::http::Http::start(vec![("/f", crate::support::http::Answer::File(b"x".to_vec()))]);
    let url = format!("http://{}/f", http.host);
    let line = format!("ADD --checksum=sha256:{} {url} /", "0".repeat(64));
    let ran = case.fails(&format!("FROM scratch\n{line}\n"), &["has the checksum sha256:", "was expected"]);
    assert!(ran.stderr.contains("ctx/Dockerfile:2:") && ran.stderr.contains("^^^"), "{}", ran.stderr);
    let ran = case.fails_with(&format!("FROM scratch\nADD http://{}/none /\n", http.host), 5);
    assert!(ran.stderr.contains("ctx/Dockerfile:2:5: ") && ran.stderr.contains("^^^"), "{}", ran.stderr);
}

#[test]
fn a_wrong_ignore_pattern_is_underlined_for_who_reads_the_context() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[(".dockerignore", "# one\nfoo\n[a-\n")]).context("other", "other");
    case.project.write("other/.dockerignore", "!\n").write("other/f", "1");
    let wrong = &["ignore pattern `[a-`: a `[` is not closed"];
    shows(&case, "FROM scratch\nCOPY . /\n", (".dockerignore", 3), "[a-", "[a-", wrong);
    let ran = case.fails("FROM scratch\nCOPY --from=other f /\n", &["nothing after the `!`"]);
    assert!(ran.stderr.contains("other/.dockerignore:1:1: "), "{}", ran.stderr);
    // Who reads neither builds, as with BuildKit.
    case.build("FROM scratch\nWORKDIR /w\n");
}
