//! What makes a step run again, and what does not.

use super::{Built, Case};

/// A line that is another one each time that the step runs.
const UNIQUE: &str = "cat /dev/urandom | head -c 100 | sha256sum > /unique";

fn unique(built: &Built) -> &str {
    &built.files["unique"]
}

#[test]
fn a_wildcard_counts_by_the_files_it_finds_and_their_names() {
    let Some(case) = Case::new() else { return };
    let case = case.files(&[("foo1", "foo1-data"), ("foo2", "foo2-data"), ("bar", "bar-data")]);
    let dockerfile = format!(
        "FROM busybox AS base\nCOPY foo* files/\nRUN {UNIQUE}\nCOPY bar files/\nFROM scratch\nCOPY --from=base unique /\n"
    );
    let first = case.build(&dockerfile);
    let case = case.files(&[("bar", "bar-data-mod")]);
    assert_eq!(unique(&case.build(&dockerfile)), unique(&first), "the step reads no `bar`");
    let case = case.files(&[("foo2", "foo2-data-mod")]);
    let second = case.build(&dockerfile);
    assert_ne!(unique(&second), unique(&first));
    let ctx = case.project.path().join("ctx");
    std::fs::rename(ctx.join("foo1"), ctx.join("foo3")).expect("renamed");
    assert_ne!(unique(&case.build(&dockerfile)), unique(&second));
    case.fails("FROM busybox\nCOPY foo* /files/\nRUN ls /files/foo1\n", &["exit code 1"]);
}

#[test]
fn a_writable_mount_counts_by_its_files() {
    let Some(case) = Case::new() else { return };
    let dockerfile = format!(
        "FROM busybox AS build\nCOPY cachebust /\nRUN mkdir out && echo foo > out/foo\nFROM busybox AS second\n\
         RUN --mount=from=build,src=out,target=/out,rw touch /out/bar && {UNIQUE}\nFROM scratch\nCOPY --from=second /unique /unique\n"
    );
    let case = case.files(&[("cachebust", "0")]);
    let first = case.build(&dockerfile);
    let case = case.files(&[("cachebust", "1")]);
    assert_eq!(unique(&case.build(&dockerfile)), unique(&first));
}

#[test]
fn a_file_that_is_bound_beside_its_directory_is_read_again_when_it_changes() {
    let Some(case) = Case::new() else { return };
    let dockerfile = "FROM busybox AS base\n\
                      RUN --mount=source=.,target=/tmp/test --mount=source=b.txt,target=/tmp/b.txt \\\n  \
                      cat /tmp/test/a.txt /tmp/b.txt > /combined.txt\nFROM scratch\nCOPY --from=base /combined.txt /\n";
    let mut case = case.files(&[("b.txt", "bar\n")]);
    for text in ["foo\n", "updated\n"] {
        case = case.files(&[("a.txt", text)]);
        let expected = format!("644 0:0 {:?}", format!("{text}bar\n"));
        assert_eq!(case.build(dockerfile).files["combined.txt"], expected);
    }
}

#[test]
fn a_build_without_cache_leaves_cache_mounts_as_they_are() {
    let Some(case) = Case::new() else { return };
    let dockerfile = "FROM busybox AS base\nARG FOO=abc\n\
                      RUN --mount=type=cache,target=/cache,mode=0773 touch /cache/$FOO && ls /cache | tr '\\n' ' ' > /out\n\
                      FROM scratch\nCOPY --from=base /out /\n";
    let out = |flags: &[&str]| {
        case.prepare(dockerfile.as_bytes());
        let build = ["build", "--platform", "linux/amd64", "--output", "type=tar,dest=out.tar"];
        case.project.bake(&[&build[..], flags].concat()).succeeds();
        super::files(&case.project.path().join("out.tar"))["out"].clone()
    };
    // BuildKit empties one that has a mode: see the book.
    assert_eq!(out(&["--no-cache"]), "644 0:0 \"abc \"");
    assert_eq!(out(&["--no-cache", "--set", "*.args.FOO=def"]), "644 0:0 \"abc def \"");
    assert_eq!(out(&["--set", "*.args.FOO=ghi"]), "644 0:0 \"abc def ghi \"");
}

#[test]
fn caches_within_each_other_are_mounted_by_two_steps_at_once() {
    let Some(case) = Case::new() else { return };
    let step = "RUN --mount=type=cache,target=/foo/bar --mount=type=cache,target=/foo/bar/baz echo";
    let dockerfile = format!(
        "FROM busybox AS b1\n{step} 1\nFROM busybox AS b2\n{step} 2\nFROM scratch\nCOPY --from=b1 /etc/passwd p1\n\
         COPY --from=b2 /etc/passwd p2\n"
    );
    case.prepare(dockerfile.as_bytes());
    for _ in 0..5 {
        case.project.bake(&["build", "--platform", "linux/amd64", "--no-cache"]).succeeds();
    }
}

#[test]
fn the_cache_is_not_asked_for_all_stages_or_for_those_that_are_named() {
    let Some(case) = Case::new() else { return };
    let run = |name: &str| format!("RUN cat /dev/urandom | head -c 100 | sha256sum > {name}");
    let dockerfile = format!(
        "FROM busybox AS s0\n{}\nFROM busybox AS s1\n{}\nFROM scratch\nCOPY --from=s0 unique /\nCOPY --from=s1 unique2 /\n",
        run("unique"),
        run("unique2")
    );
    let both = |built: &Built| [built.files["unique"].clone(), built.files["unique2"].clone()];
    let first = both(&case.build(&dockerfile));
    let case = case.with("no-cache = true");
    let second = both(&case.build(&dockerfile));
    assert!(first[0] != second[0] && first[1] != second[1], "{first:?} {second:?}");
    let case = Case { attributes: "no-cache-filter = [\"s1\"]\n".to_owned(), ..case };
    let third = both(&case.build(&dockerfile));
    assert!(third[0] == second[0] && third[1] != second[1], "{second:?} {third:?}");
}

#[test]
fn proxies_do_not_decide_whether_a_step_runs_and_arguments_that_it_sees_do() {
    let Some(mut case) = Case::new() else { return };
    let dockerfile = "FROM busybox AS build\nARG FOO\nARG BAR\nARG BAZ=bazcontent\nARG EMPTY=\n\
                      RUN echo -n $HTTP_PROXY::$NO_PROXY::$FOO::$BAR::$BAZ > /out; env | grep -c -e ^EMPTY= -e ^BAR= >> /out\n\
                      FROM scratch\nCOPY --from=build /out /\n";
    for (args, expected) in [
        ("FOO = \"foo\", http_proxy = \"hp\", NO_PROXY = \"np\"", "hp::np::foo::::bazcontent1\n"),
        ("FOO = \"foo\", http_proxy = \"hp2\"", "hp::np::foo::::bazcontent1\n"),
        ("FOO = \"foo2\", http_proxy = \"hp2\"", "hp2::::foo2::::bazcontent1\n"),
    ] {
        case = Case { attributes: format!("args = {{ {args} }}\n"), ..case };
        assert_eq!(case.build(dockerfile).files["out"], format!("644 0:0 {expected:?}"), "{args}");
    }
}
