//! Compose files as bakefiles: what their targets are, how files meet, and where errors point.

use std::path::Path;

use bake::bakefile::{InputFile, Options, load, print_json};
use bake::diagnostic::SourceMap;
use bake::sys::files::MemoryFiles;
use expect_test::{Expect, expect};

/// Evaluates the files named `given` of `files` and returns findings and what is printed.
fn output(given: &[&str], files: &[(&str, &str)]) -> String {
    let disk = MemoryFiles(files.iter().map(|(name, text)| ((*name).into(), text.as_bytes().to_vec())).collect());
    let text = |name: &str| files.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text).to_owned();
    let inputs: Vec<_> = given.iter().map(|name| InputFile { name: (*name).into(), text: text(name) }).collect();
    let env = |name: &str| match name {
        "FROM_ENV" => Some("env".to_owned()),
        "HOME" => Some("/home/user".to_owned()),
        _ => None,
    };
    let local_platform = "linux/amd64".parse().expect("a platform");
    let options = Options {
        finds_additions: true,
        env: &env,
        vars: &[],
        overrides: &[],
        wanted: None,
        local_platform,
        cmd_context: "cwd://",
        seed: [0; 32],
        home: None,
        now: 0,
        files: &disk,
    };
    let mut sources = SourceMap::default();
    let (bakefile, findings) = load(&inputs, &options, &mut sources);
    let mut output = findings.render(&sources);
    let Some(bakefile) = bakefile else { return output };
    if !output.is_empty() {
        output.push('\n');
    }
    match bakefile.resolve(&[]) {
        Ok(selection) => output.push_str(&print_json(&selection)),
        Err(findings) => output.push_str(&findings.render(&sources)),
    }
    output
}

/// One Compose file alone.
fn one(text: &str) -> String {
    output(&["compose.yaml"], &[("compose.yaml", text)])
}

/// Services `web`, printed on one line without blanks.
fn flat(output: &str) -> String {
    output.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&one(text));
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bakefile/compose").join(name);
    std::fs::read_to_string(path).expect("a fixture")
}

#[test]
fn every_attribute_of_a_build_reaches_the_target() {
    let names = ["compose.yaml", "base/compose.yaml", "parts/compose.yaml", "parts/inner/compose.yaml"];
    let mut files: Vec<(&str, String)> = names.iter().map(|name| (*name, fixture(name))).collect();
    files.push((".env", fixture("variables.env")));
    files.push(("parts/inner/.env", fixture("parts/inner/variables.env")));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    expect![[r#"
        {
          "group": {
            "default": {
              "targets": [
                "api_v1",
                "inner",
                "part",
                "web_app"
              ]
            }
          },
          "target": {
            "api_v1": {
              "context": "base/ctx",
              "dockerfile": "Dockerfile",
              "args": {
                "A": "1",
                "B": "2"
              },
              "tags": [
                "base:1"
              ]
            },
            "inner": {
              "context": "base/ctx",
              "contexts": {
                "here": "parts/inner"
              },
              "dockerfile": "Dockerfile",
              "dockerfile-inline": "FROM scratch\nRUN echo $X from_inner",
              "args": {
                "A": "1",
                "B": "1"
              }
            },
            "part": {
              "context": "parts/image",
              "dockerfile": "Dockerfile"
            },
            "web_app": {
              "attest": [
                {
                  "type": "sbom"
                },
                {
                  "mode": "max",
                  "type": "provenance"
                }
              ],
              "context": "web",
              "contexts": {
                "alp": "docker-image://alpine",
                "app": "target:api_v1",
                "d": "d",
                "more": "target:api_v1"
              },
              "dockerfile": "Dockerfile.web",
              "args": {
                "A": "1",
                "FROM_DOTENV": "dot",
                "FROM_ENV": "env",
                "FROM_SERVICE": "svc",
                "MODE": "493"
              },
              "labels": {
                "a": "b",
                "c": ""
              },
              "tags": [
                "reg/web:1",
                "reg/web:2"
              ],
              "cache-from": [
                {
                  "ref": "reg/x:cache",
                  "type": "registry"
                },
                {
                  "type": "gha"
                }
              ],
              "cache-to": [
                {
                  "type": "inline"
                }
              ],
              "secret": [
                {
                  "id": "tok",
                  "env": "TOK"
                },
                {
                  "id": "fil",
                  "src": "f.txt"
                },
                {
                  "id": "zz",
                  "env": "ZZ"
                }
              ],
              "ssh": [
                {
                  "id": "default"
                },
                {
                  "id": "k",
                  "paths": [
                    "key"
                  ]
                }
              ],
              "platforms": [
                "linux/amd64",
                "linux/arm64"
              ],
              "output": [
                {
                  "type": "image"
                }
              ],
              "pull": true,
              "network": "host",
              "no-cache-filter": [
                "a",
                "b"
              ],
              "shm-size": "1.5GiB",
              "ulimits": [
                "nofile=10:20",
                "nproc=5:5"
              ],
              "entitlements": [
                "network.host"
              ],
              "extra-hosts": {
                "a": "1.2.3.4,5.6.7.8",
                "b": "::1"
              }
            }
          }
        }
    "#]]
    .assert_eq(&output(&["compose.yaml"], &files));
}

#[test]
fn later_files_are_merged_onto_earlier_ones() {
    let base = "services:\n  web:\n    image: web\n    build:\n      context: a\n      args: {A: 1, B: 1}\n      tags: [x:1, y]\n      cache_from: [c]\n      target: t\n";
    let over = "services:\n  web:\n    build:\n      args: [B=2, C=3]\n      tags: [z, x:1]\n      cache_from: [d]\n      target: !reset null\n      labels: !override {a: b}\n---\nservices:\n  more: {build: more}\n";
    let printed = output(&["a.yml", "b.yml"], &[("a.yml", base), ("b.yml", over)]);
    expect![[r#"
        {
          "group": {
            "default": {
              "targets": [
                "more",
                "web"
              ]
            }
          },
          "target": {
            "more": {
              "context": "more",
              "dockerfile": "Dockerfile"
            },
            "web": {
              "context": "a",
              "dockerfile": "Dockerfile",
              "args": {
                "A": "1",
                "B": "2",
                "C": "3"
              },
              "labels": {
                "a": "b"
              },
              "tags": [
                "x:1",
                "y",
                "z"
              ],
              "cache-from": [
                {
                  "ref": "c",
                  "type": "registry"
                },
                {
                  "ref": "d",
                  "type": "registry"
                }
              ]
            }
          }
        }
    "#]]
    .assert_eq(&printed);
}

#[test]
fn hcl_is_merged_onto_compose_wherever_it_stands_on_the_command_line() {
    let compose = "services:\n  web: {image: web, build: {context: a, args: {A: 1}}}\n  db: {build: db}\n";
    let hcl = "target \"web\" {\n  args = { A = 2 }\n}\ngroup \"default\" {\n  targets = [\"web\"]\n}\n";
    let files = [("compose.yml", compose), ("x.hcl", hcl)];
    let printed = output(&["x.hcl", "compose.yml"], &files);
    expect![[r#"{ "group": { "default": { "targets": [ "web" ] } }, "target": { "web": { "context": "a", "dockerfile": "Dockerfile", "args": { "A": "2" }, "tags": [ "web" ] } } }"#]].assert_eq(&flat(&printed));
    assert_eq!(printed, output(&["compose.yml", "x.hcl"], &files));
}

#[test]
fn files_of_other_names_are_known_by_what_they_hold() {
    let files = [("yaml", "services: {a: {build: .}}"), ("json", "{\"group\": {\"default\": {\"targets\": []}}}")];
    expect![[r#"{ "group": { "default": { "targets": [ "a" ] } }, "target": { "a": { "context": ".", "dockerfile": "Dockerfile" } } }"#]].assert_eq(&flat(&output(&["yaml"], &files)));
    expect![[r#"{ "group": { "default": { "targets": [] } }, "target": {} }"#]]
        .assert_eq(&flat(&output(&["json"], &files)));
}

#[test]
fn services_without_a_build_make_an_empty_group() {
    check(
        "services: {db: {image: postgres}}",
        expect![[r#"
        {
          "group": {
            "default": {
              "targets": null
            }
          },
          "target": {}
        }
    "#]],
    );
}

#[test]
fn errors_show_their_place() {
    for (text, expected) in [
        (
            "services:\n  web:\n    build:\n      contxt: .\n",
            expect![[r#"
            error: compose.yaml:4:7: a build has no `contxt`
               |
             4 |       contxt: .
               |       ^^^^^^
            hint: did you mean `context`?"#]],
        ),
        (
            "services:\n  web:\n    build: .\n    image: ${TAG:?give a tag}\n",
            expect![[r#"
            error: compose.yaml:4:12: the required variable TAG is missing a value: give a tag
               |
             4 |     image: ${TAG:?give a tag}
               |            ^^^^^^^^^^^^^^^^^^"#]],
        ),
        (
            "services:\n  web: {build: {secrets: [tok]}}\nsecrets: {tok: {external: true}}\n",
            expect![[r#"
            error: compose.yaml:2:27: the secret "tok" is external, which a build cannot use
               |
             2 |   web: {build: {secrets: [tok]}}
               |                           ^^^
            note: compose.yaml:3:16: it is declared here
               |
             3 | secrets: {tok: {external: true}}
               |                ^^^^^^^^^^^^^^^^
            hint: give it a `file` or an `environment`"#]],
        ),
        (
            "services:\n  web: {}\n",
            expect![[r#"
            error: compose.yaml:2:3: the service "web" has neither an image nor a build
               |
             2 |   web: {}
               |   ^^^"#]],
        ),
        (
            "services:\n  a: {extends: b}\n  b: {extends: a}\n",
            expect![[r#"
            error: compose.yaml:2:16: the service "a" extends itself
               |
             2 |   a: {extends: b}
               |                ^"#]],
        ),
        (
            "services:\n  a: {extends: {file: no.yaml, service: b}}\n",
            expect![[r#"
            error: compose.yaml:2:23: cannot read no.yaml: entity not found
               |
             2 |   a: {extends: {file: no.yaml, service: b}}
               |                       ^^^^^^^"#]],
        ),
        (
            "services:\n  a: {build: {args: {A: [1]}, tags: x}}\n",
            expect![[r#"
            error: compose.yaml:2:25: `args` is a mapping of plain values, not a list
               |
             2 |   a: {build: {args: {A: [1]}, tags: x}}
               |                         ^^^

            error: compose.yaml:2:37: `tags` is a list, not a string
               |
             2 |   a: {build: {args: {A: [1]}, tags: x}}
               |                                     ^"#]],
        ),
        (
            "services: {a: {build: {additional_contexts: [b=service:b]}}}\n",
            expect![[r#"
            error: compose.yaml:1:46: no service named "b"
               |
             1 | services: {a: {build: {additional_contexts: [b=service:b]}}}
               |                                              ^^^^^^^^^^^"#]],
        ),
        (
            "services: {a: &a {build: [*a]}}\n",
            expect![[r#"
            error: compose.yaml:1:27: this alias stands inside the node that it means
               |
             1 | services: {a: &a {build: [*a]}}
               |                           ^^"#]],
        ),
        (
            "include: [compose.yaml]\n",
            expect![[r#"
            error: compose.yaml:1:11: compose.yaml includes itself: compose.yaml → compose.yaml
               |
             1 | include: [compose.yaml]
               |           ^^^^^^^^^^^^"#]],
        ),
        (
            "services: {\n",
            expect![[r#"
            error: compose.yaml:2:1: this is no YAML: while parsing a node, did not find expected node content
               |
             2 | 
               | ^"#]],
        ),
        ("volumes: {}\n", expect!["error: compose.yaml has no services"]),
        (
            "- a\n",
            expect![[r#"
            error: compose.yaml:1:1: a Compose file is a mapping, not a list
               |
             1 | - a
               | ^^^"#]],
        ),
        ("", expect!["error: compose.yaml has no services"]),
    ] {
        check(text, expected);
    }
}

#[test]
fn a_variable_that_is_not_set_is_empty_and_told_once() {
    check(
        "services:\n  web: {build: ., image: \"x$NO\"}\n  db: {build: ., image: \"y$NO\"}\n",
        expect![[r#"
            warning: compose.yaml:2:26: the variable NO is not set; it is empty here
               |
             2 |   web: {build: ., image: "x$NO"}
               |                          ^^^^^^
            hint: write `${NO:-}` if it may be empty
            {
              "group": {
                "default": {
                  "targets": [
                    "db",
                    "web"
                  ]
                }
              },
              "target": {
                "db": {
                  "context": ".",
                  "dockerfile": "Dockerfile",
                  "tags": [
                    "y"
                  ]
                },
                "web": {
                  "context": ".",
                  "dockerfile": "Dockerfile",
                  "tags": [
                    "x"
                  ]
                }
              }
            }
        "#]],
    );
}

#[test]
fn hostile_files_end_in_an_error() {
    for text in [
        "[".repeat(100_000),
        "a: ".repeat(100_000),
        "{a: ".repeat(10_000),
        "- ".repeat(100_000),
        "services: {a: {<<: 1}}".to_owned(),
        "? [a]\n: b\n".to_owned(),
        "services: {a: {build: {shm_size: 99999999999999999999g, ulimits: {nofile: 1}}}}".to_owned(),
        "\u{feff}services: {ä: {build: .}}".to_owned(),
        "a: \"\\ud800\"\n%".to_owned(),
        "%YAML 9.9\n---\n*a".to_owned(),
    ] {
        let shown = one(&text);
        assert!(shown.contains("error: ") || shown.contains("\"target\""), "{:.60}: {:.300}", text, shown);
    }
}

#[test]
fn files_that_multiply_one_another_are_stopped() {
    let names: Vec<String> = (0..24).map(|level| format!("c{level}.yaml")).collect();
    let texts: Vec<String> =
        (0..24).map(|level| format!("include: [c{0}.yaml, ./c{0}.yaml, x/../c{0}.yaml]\n", level + 1)).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    files.push(("c24.yaml", "services: {a: {image: x}}"));
    let shown = output(&["c0.yaml"], &files);
    assert!(shown.contains("these files are too large together"), "{shown}");

    let big = vec!["a"; 90_000].join(", ");
    let services: Vec<String> = (0..1000).map(|n| format!("  s{n}: {{extends: big}}\n")).collect();
    let shown = one(&format!("services:\n  big: {{image: x, x-big: [{big}]}}\n{}", services.concat()));
    assert!(shown.contains("these files are too large together"), "{shown:.300}");
}
