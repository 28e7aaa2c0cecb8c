//! Dockerfiles as values: fixtures, errors as people see them, and the peer's own answers.

#![allow(clippy::print_stdout, reason = "tests say what they skip and count")]

use bake::diagnostic::SourceMap;
use bake::dockerfile::shell::Expander;
use bake::dockerfile::{Node, parse, parse_nodes};
use serde_json::Value;

use crate::support::conformance;

/// Puts a node in the shape of the golden data.
fn golden_node(node: &Node) -> Value {
    let mut map = serde_json::Map::new();
    let text = |text: &str| Value::String(text.to_owned());
    map.insert("name".to_owned(), text(&node.name.text));
    map.insert("flags".to_owned(), node.flags.iter().map(|flag| text(&flag.text)).collect());
    map.insert("original".to_owned(), text(&node.original));
    map.insert("lines".to_owned(), serde_json::json!([node.lines.0, node.lines.1]));
    if node.is_json {
        map.insert("attributes".to_owned(), serde_json::json!({ "json": true }));
    }
    if !node.comments.is_empty() {
        map.insert("comments".to_owned(), node.comments.iter().map(|comment| text(comment)).collect());
    }
    let heredocs = node.heredocs.iter().map(|heredoc| {
        serde_json::json!({ "name": heredoc.name, "fd": heredoc.descriptor, "chomp": heredoc.is_chomped,
            "expand": heredoc.expands, "content": heredoc.text })
    });
    let heredocs: Value = heredocs.collect();
    if heredocs.as_array().is_some_and(|list| !list.is_empty()) {
        map.insert("heredocs".to_owned(), heredocs);
    }
    let args = match &node.trigger {
        Some(trigger) => serde_json::json!([{ "node": golden_node(trigger) }]),
        None => node.args.iter().map(|arg| text(&arg.text)).collect(),
    };
    map.insert("args".to_owned(), args);
    Value::Object(map)
}

/// A trigger has no lines or heredocs of its own in the golden data.
fn without_trigger_place(mut node: Value) -> Value {
    if let Some(inner) = node.pointer_mut("/args/0/node").and_then(Value::as_object_mut) {
        inner.shift_remove("lines");
        inner.shift_remove("heredocs");
    }
    node
}

fn check_nodes(text: &str, golden: &Value) -> Result<(), String> {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let (_, found) = parse(file, &sources);
    match golden.pointer("/error/message") {
        Some(_) if found.has_errors() => return Ok(()),
        Some(message) => return Err(format!("no error; the peer says {message}")),
        None if found.has_errors() => return Err(found.render(&sources)),
        None => {}
    }
    let nodes: Vec<Value> =
        parse_nodes(file, &sources).0.iter().map(|node| without_trigger_place(golden_node(node))).collect();
    let wanted = golden["nodes"].as_array().ok_or("no nodes in the golden data")?;
    for (node, wanted) in nodes.iter().zip(wanted) {
        let wanted = without_trigger_place(wanted.clone());
        if *node != wanted {
            return Err(format!("ours   {node}\ntheirs {wanted}"));
        }
    }
    if nodes.len() == wanted.len() { Ok(()) } else { Err(format!("{} nodes, not {}", nodes.len(), wanted.len())) }
}

#[test]
fn real_files_parse_into_the_peers_nodes() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let mut failures = Vec::new();
    let cases = corpus.cases();
    for case in &cases {
        if let Err(difference) = check_nodes(&case.text, &case.golden["parse"]) {
            failures.push(format!("{}: {difference}", case.name));
        }
    }
    println!("{} of {} files parse as the peer's", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn words_expand_as_the_peers_do() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let mut failures = Vec::new();
    let (mut n_cases, mut n_keeping_prefix) = (0, 0);
    for name in ["env-var-test.json", "words-test.json"] {
        let data = corpus.dataset(name);
        for case in data["cases"].as_array().expect("cases") {
            let platform = case["platform"].as_str().unwrap_or("A");
            if platform == "W" {
                continue;
            }
            n_cases += 1;
            let env = case.get("env").or(data.get("env")).cloned().unwrap_or_default();
            let lookup = |name: &str| {
                let entries = env.as_array()?.iter().filter_map(Value::as_str);
                let mut values = entries.filter_map(|entry| entry.split_once('=')).filter(|(key, _)| *key == name);
                values.next_back().map(|(_, value)| value.to_owned())
            };
            let input = case["input"].as_str().expect("input");
            let ours = Expander::new('\\').expand(input, &lookup);
            let actual = &case["actual"];
            let is_equal = match (&ours, actual.get("error")) {
                (Err(_), Some(_)) => true,
                (Ok(ours), None) => {
                    let is_same = actual["words"] == serde_json::json!(ours.words);
                    // The peer loses what stands before `${NAME:-…}` when it cuts words (EXPOSE); we keep it.
                    let loses_prefix = || match (&ours.words[..], actual["words"].as_array().map(Vec::as_slice)) {
                        ([ours], Some([theirs])) => ours.ends_with(theirs.as_str().unwrap_or("?")),
                        (_, theirs) => input == "he${NULL?}" && theirs == Some(&[]),
                    };
                    n_keeping_prefix += usize::from(!is_same);
                    actual["word"] == ours.text && (is_same || loses_prefix())
                }
                _ => false,
            };
            if !is_equal {
                failures.push(format!("{input}: {ours:?}, not {actual}"));
            }
        }
    }
    println!("{} of {n_cases} words expand as the peer's", n_cases - failures.len());
    println!("{n_keeping_prefix} of them keep a prefix that the peer loses");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Prints instructions before they have types: lines, name, flags, arguments, heredocs.
fn print_nodes(text: &str) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let (nodes, found) = parse_nodes(file, &sources);
    let mut out = String::new();
    for node in &nodes {
        let texts = |words: &[bake::dockerfile::Word]| words.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        let (first, last) = node.lines;
        out += &format!("{first}-{last} {} {:?} {:?}", node.name.text, texts(&node.flags), texts(&node.args));
        out += if node.is_json { " json" } else { "" };
        if let Some(trigger) = &node.trigger {
            out += &format!(" trigger {} {:?}", trigger.name.text, texts(&trigger.args));
        }
        for heredoc in &node.heredocs {
            out += &format!(" <<{} {:?}", heredoc.name, heredoc.content());
        }
        out += &format!("\n  {:?}\n", sources.snippet(node.span));
    }
    out + &found.render(&sources)
}

#[test]
fn lines_become_instructions() {
    let text = include_str!("../fixtures/dockerfile/lines.Dockerfile");
    expect_test::expect_file!["../fixtures/dockerfile/lines.nodes"].assert_eq(&print_nodes(text));
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_not_matter() {
    let text = "\u{feff}# escape=`\r\nFROM a`\r\n  b\r\nRUN <<E\r\nx\r\nE\r\n";
    expect_test::expect![[r#"
        2-3 FROM [] ["a", "b"]
          "FROM a`\r\n  b"
        4-6 RUN [] ["<<E"] <<E "x\r\n"
          "RUN <<E\r\nx\r\nE"
    "#]]
    .assert_eq(&print_nodes(text));
}

fn check_errors(text: &str, expected: expect_test::Expect) {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    expected.assert_eq(&parse(file, &sources).1.render(&sources));
}

#[test]
fn mistakes_are_all_shown_with_their_places() {
    check_errors(
        "FORM a\n\nFROM a b\nFROM a AS 1x\n",
        expect_test::expect![[r#"
        error: Dockerfile:1:1: unknown instruction `FORM`
           |
         1 | FORM a
           | ^^^^
        hint: did you mean `FROM`?

        error: Dockerfile:3:1: FROM needs one or three arguments
           |
         3 | FROM a b
           | ^^^^^^^^
        hint: write `FROM image` or `FROM image AS name`

        error: Dockerfile:4:11: `1x` is no name of a stage
           |
         4 | FROM a AS 1x
           |           ^^
        hint: start it with a letter and use letters, digits, `-`, `_`, `.`"#]],
    );
    check_errors(
        "FROM a\nCOPY --form=x a b\nCOPY a\nRUN [\"a\", 1]\nENV A\nENV A=1 B\n",
        expect_test::expect![[r#"
        error: Dockerfile:2:6: unknown flag `--form` of COPY
           |
         2 | COPY --form=x a b
           |      ^^^^^^^^
        hint: did you mean `--from`?

        error: Dockerfile:3:1: COPY needs at least two arguments
           |
         3 | COPY a
           | ^^^^^^
        hint: name one or more sources, then where they go

        error: Dockerfile:4:5: a JSON list of arguments may hold only strings
           |
         4 | RUN ["a", 1]
           |     ^^^^^^^^

        error: Dockerfile:5:5: ENV needs a value
           |
         5 | ENV A
           |     ^
        hint: write `ENV A=value`

        error: Dockerfile:6:9: `B` is no `name=value`
           |
         6 | ENV A=1 B
           |         ^
        hint: put a value with blanks in double quotes"#]],
    );
    check_errors(
        "FROM a\nRUN --mount=type=cahce,target=/x y\nHEALTHCHECK --interval=1 CMD x\n",
        expect_test::expect![[r#"
            error: Dockerfile:2:5: `cahce` is no value for option `type` of a mount
               |
             2 | RUN --mount=type=cahce,target=/x y
               |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            hint: did you mean `cache`?

            error: Dockerfile:3:13: `1` is no duration
               |
             3 | HEALTHCHECK --interval=1 CMD x
               |             ^^^^^^^^^^^^
            hint: write it as `1m30s`"#]],
    );
    check_errors(
        "# escape=x\n# escape=`\nRUN a\n",
        expect_test::expect![[r#"
        error: Dockerfile:1:1: `x` cannot be the escape character
           |
         1 | # escape=x
           | ^^^^^^^^^^
        hint: use `\` or a backtick

        error: Dockerfile:2:1: the directive `escape` may stand only once
           |
         2 | # escape=`
           | ^^^^^^^^^^"#]],
    );
    check_errors(
        "FROM a\nRUN <<EOF\nx\n",
        expect_test::expect![[r#"
        error: Dockerfile:2:1: heredoc `EOF` is not closed
           |
         2 | RUN <<EOF
           | ^^^
        hint: end it with a line that holds only `EOF`"#]],
    );
    check_errors(
        "RUN a\nFROM b\n",
        expect_test::expect![[r#"
        error: Dockerfile:1:1: RUN stands before the first FROM
           |
         1 | RUN a
           | ^^^^^
        hint: only ARG may stand there"#]],
    );
    check_errors(
        "# nothing\n",
        expect_test::expect![[r#"
        error: Dockerfile has no instructions
        hint: start it with `FROM image`"#]],
    );
    check_errors(
        "",
        expect_test::expect![[r#"
        error: Dockerfile is empty
        hint: start it with `FROM image`"#]],
    );
    check_errors(
        "FROM a\nRUN b \\\n\n  c\nONBUILD FROM x\nSHELL /bin/sh\n",
        expect_test::expect![[r#"
        warning: Dockerfile:3:1: a blank line inside a continued instruction
           |
         3 | 
           | ^
        hint: remove the blank line, or start it with `#`

        error: Dockerfile:5:9: ONBUILD may not hold FROM
           |
         5 | ONBUILD FROM x
           |         ^^^^

        error: Dockerfile:6:1: SHELL needs a JSON list
           |
         6 | SHELL /bin/sh
           | ^^^^^^^^^^^^^
        hint: write `SHELL ["/bin/bash", "-c"]`"#]],
    );
}

#[test]
fn no_text_makes_the_parser_panic() {
    let pieces = [
        "FROM a", "RUN ", "<<", "EOF", "\n", "\\\n", "\"", "'", "$", "${", "}", "--", "=", "[", "]", " ", "ENV ", "é",
        "ONBUILD ", "\\",
    ];
    let mut state = 7_u32;
    for _ in 0..3000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        let mut sources = SourceMap::default();
        let file = sources.add("Dockerfile", text.clone());
        let (_, found) = parse(file, &sources);
        _ = found.render(&sources);
        _ = Expander::new('\\').expand(&text, &|_| None);
    }
}
