//! The bake language from text to `--print`: values, findings, and that no text makes it panic.

use std::fmt::Write as _;

use bake::bakefile::{InputFile, Options, Override, default_files, load, parse_override, print_json};
use bake::diagnostic::SourceMap;
use bake::sys::files::MemoryFiles;
use expect_test::{expect, expect_file};

/// A run of bake over files in memory.
#[derive(Default)]
struct Run<'a> {
    files: Vec<(&'a str, &'a str)>,
    env: Vec<(&'a str, &'a str)>,
    set: Vec<&'a str>,
    vars: Vec<(&'a str, &'a str)>,
    names: Vec<&'a str>,
}

impl<'a> Run<'a> {
    fn hcl(text: &'a str) -> Run<'a> {
        Run { files: vec![("build.hcl", text)], ..Run::default() }
    }

    /// Returns the findings, then the printed selection.
    fn output(&self) -> String {
        let inputs: Vec<InputFile> =
            self.files.iter().map(|(name, text)| InputFile { name: (*name).into(), text: (*text).into() }).collect();
        let env = |name: &str| self.env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let vars: Vec<(String, String)> = self.vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut sources = SourceMap::default();
        let overrides: Result<Vec<Override>, _> =
            self.set.iter().map(|text| parse_override("--set", text, &mut sources)).collect();
        let overrides = match overrides {
            Ok(overrides) => overrides,
            Err(why) => return why.render(&sources),
        };
        let local_platform = "linux/amd64".parse().expect("a platform");
        let (now, files) = (1_767_323_045, MemoryFiles::default());
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let options = Options {
            finds_additions: true,
            env: &env,
            vars: &vars,
            overrides: &overrides,
            wanted: Some(&names),
            local_platform,
            cmd_context: "cwd://",
            seed: [0; 32],
            home: None,
            now,
            files: &files,
        };
        let (bakefile, findings) = load(&inputs, &options, &mut sources);
        let mut output = findings.render(&sources);
        let Some(bakefile) = bakefile else { return output };
        if !output.is_empty() {
            output.push('\n');
        }
        match bakefile.resolve(&names) {
            Ok(selection) => output.push_str(&print_json(&selection)),
            Err(findings) => output.push_str(&findings.render(&sources)),
        }
        output
    }
}

/// Evaluates expressions and shows each as the text that an argument of a target gets.
fn values(expressions: &[&str]) -> String {
    let mut shown = String::new();
    for expression in expressions {
        let text = format!("target \"t\" {{\n  args = {{ A = {expression} }}\n}}\n");
        let output = Run { names: vec!["t"], ..Run::hcl(&text) }.output();
        let value = output.lines().find_map(|line| line.trim().strip_prefix("\"A\": "));
        let result = value.or_else(|| output.lines().next()).unwrap_or("nothing");
        _ = writeln!(shown, "{expression} => {result}");
    }
    shown
}

const SHOP_HCL: &str = include_str!("../fixtures/bakefile/shop.hcl");
const SHOP_TOML: &str = include_str!("../fixtures/bakefile/shop.toml");

#[test]
fn a_bakefile_prints_the_same_from_hcl_and_toml() {
    let golden = expect_file!["../fixtures/bakefile/shop.json"];
    golden.assert_eq(&Run::hcl(SHOP_HCL).output());
    golden.assert_eq(&Run { files: vec![("build.toml", SHOP_TOML)], ..Run::default() }.output());
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = Run::hcl(SHOP_HCL).output();
    let again = Run { files: vec![("build.json", printed.as_str())], ..Run::default() }.output();
    // A null argument is gone, and that is all.
    assert_eq!(again, printed);
}

#[test]
fn no_text_makes_it_panic() {
    for (name, text) in
        [("a.hcl", SHOP_HCL), ("a.toml", SHOP_TOML), ("a.json", include_str!("../fixtures/bakefile/shop.json"))]
    {
        // Every seventh cut is enough to meet every construct, and keeps the test fast.
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)).step_by(7) {
            Run { files: vec![(name, &text[..end])], names: vec!["all"], ..Run::default() }.output();
            Run { files: vec![(name, &text[end..])], names: vec!["*"], ..Run::default() }.output();
        }
    }
    let deep = format!("a = {}1{}", "[".repeat(5000), "]".repeat(5000));
    let chain: String = (0..3000).map(|i| format!("variable \"v{i}\" {{ default = v{} }}\n", i + 1)).collect();
    let parents: String = (0..3000).map(|i| format!("target \"t{i}\" {{ inherits = [\"t{}\"] }}\n", i + 1)).collect();
    let contexts: String =
        (0..3000).map(|i| format!("target \"t{i}\" {{ contexts = {{ x = \"target:t{}\" }} }}\n", i + 1)).collect();
    for text in [parents, contexts] {
        let text = format!("{text}target \"t3000\" {{ tags = [\"x\"] }}");
        assert!(Run { names: vec!["t0"], ..Run::hcl(&text) }.output().contains("\"x\""));
    }
    let groups: String = (0..3000).map(|i| format!("group \"g{i}\" {{ targets = [\"g{}\"] }}\n", i + 1)).collect();
    for text in [deep, chain, groups.replace("\"g0\"", "\"t0\"")] {
        let output = Run { names: vec!["t0"], ..Run::hcl(&text) }.output();
        assert!(output.starts_with("error"), "{}", &output[..output.len().min(300)]);
    }
}

#[test]
fn operators_convert_as_cty_does() {
    expect![[r#"
        "5" * "2" => "10"
        0.1 + 0.2 => "0.3"
        12345678901234567890 + 1 => "12345678901234567891"
        1 / 0 => "+Inf"
        0 / 0 => error: build.hcl:2:16: this division has no result
        -7 % 3 => "-1"
        1 == "1" => "false"
        "2" > 1 => "true"
        !"false" && true => "true"
        true ? 1 : "x" => "1"
        true ? {a = 1} : ["x"] => error: build.hcl:2:16: the two results of this condition have different types
        "a${null}b" => error: build.hcl:2:20: this is null, which cannot stand in a text
        "${[1]}" => error: build.hcl:2:16: element "A": string required, but have tuple
        1 + "x" => error: build.hcl:2:20: number required, but have the string "x"
        [1, 2] => error: build.hcl:2:16: element "A": string required, but have tuple
        pow(2, 100) => "1267650600228229400000000000000"
        nosuch(1) => error: build.hcl:2:16: no function named "nosuch"
        joni(",", ["a"]) => error: build.hcl:2:16: no function named "joni"
    "#]]
    .assert_eq(&values(&[
        r#""5" * "2""#,
        r#"0.1 + 0.2"#,
        r#"12345678901234567890 + 1"#,
        r#"1 / 0"#,
        r#"0 / 0"#,
        r#"-7 % 3"#,
        r#"1 == "1""#,
        r#""2" > 1"#,
        r#"!"false" && true"#,
        r#"true ? 1 : "x""#,
        r#"true ? {a = 1} : ["x"]"#,
        r#""a${null}b""#,
        r#""${[1]}""#,
        r#"1 + "x""#,
        r#"[1, 2]"#,
        r#"pow(2, 100)"#,
        r#"nosuch(1)"#,
        r#"joni(",", ["a"])"#,
    ]));
}

#[test]
fn templates_loops_and_steps() {
    expect![[r#"
        "a%{ if true ~}  b  %{~ else }c%{ endif }d" => "abd"
        "%{ for i, x in ["p", "q"] }${i}${x} %{ endfor }" => "0p 1q "
        "$${x} %%{y} \u00e9\t" => "$${x} %%{y} é\t"
        jsonencode([for x in ["a", "b"] : upper(x) if x != "a"]) => "[\"B\"]"
        jsonencode({for k, v in {a = 1, b = 2} : v => k}) => "{\"1\":\"a\",\"2\":\"b\"}"
        jsonencode({for x in ["aa", "ab", "b"] : substr(x, 0, 1) => x...}) => "{\"a\":[\"aa\",\"ab\"],\"b\":[\"b\"]}"
        jsonencode({for x in ["aa", "ab"] : substr(x, 0, 1) => x}) => error: build.hcl:2:52: two elements have the key "a"
        jsonencode([{n = 1}, {n = 2}][*].n) => "[1,2]"
        jsonencode({n = [3]}.n.0) => "3"
        jsonencode(null[*]) => "[]"
        [1, 2][2] => error: build.hcl:2:22: no element 2 in this tuple of 2
        {name = 1}.nme => error: build.hcl:2:26: no attribute "nme" in this object
        try([1][3], "none") => "none"
        can(1 + "x") => "false"
        jsonencode(convert(["b", "a", "b"], set(string))) => "[\"a\",\"b\"]"
    "#]].assert_eq(&values(&[
        r#""a%{ if true ~}  b  %{~ else }c%{ endif }d""#,
        r#""%{ for i, x in ["p", "q"] }${i}${x} %{ endfor }""#,
        r#""$${x} %%{y} \u00e9\t""#,
        r#"jsonencode([for x in ["a", "b"] : upper(x) if x != "a"])"#,
        r#"jsonencode({for k, v in {a = 1, b = 2} : v => k})"#,
        r#"jsonencode({for x in ["aa", "ab", "b"] : substr(x, 0, 1) => x...})"#,
        r#"jsonencode({for x in ["aa", "ab"] : substr(x, 0, 1) => x})"#,
        r#"jsonencode([{n = 1}, {n = 2}][*].n)"#,
        r#"jsonencode({n = [3]}.n.0)"#,
        r#"jsonencode(null[*])"#,
        r#"[1, 2][2]"#,
        r#"{name = 1}.nme"#,
        r#"try([1][3], "none")"#,
        r#"can(1 + "x")"#,
        r#"jsonencode(convert(["b", "a", "b"], set(string)))"#,
    ]));
}

#[test]
fn a_misspelled_variable_shows_what_was_meant() {
    let run = Run::hcl("variable \"VERSION\" {}\n\ntarget \"default\" {\n  tags = [\"x:${VERISON}\"]\n}\n");
    expect![[r#"
        error: build.hcl:4:16: no variable named "VERISON"
           |
         4 |   tags = ["x:${VERISON}"]
           |                ^^^^^^^
        note: build.hcl:1:10: "VERSION" is declared here
           |
         1 | variable "VERSION" {}
           |          ^^^^^^^^^
        hint: did you mean "VERSION"?"#]]
    .assert_eq(&run.output());
}

#[test]
fn a_place_inside_a_toml_or_json_string_is_exact() {
    let toml = Run {
        files: vec![("build.toml", "[target.default]\ntags = [\"\\u0041:${NOPE}\", '''\nx${nix}''']\n")],
        ..Run::default()
    };
    expect![[r#"
        error: build.toml:2:19: no variable named "NOPE"
           |
         2 | tags = ["\u0041:${NOPE}", '''
           |                   ^^^^
        hint: declare a variable "NOPE"

        error: build.toml:3:4: no variable named "nix"
           |
         3 | x${nix}''']
           |    ^^^
        hint: declare a variable "nix""#]]
    .assert_eq(&toml.output());
    let json = Run {
        files: vec![("build.json", "{\"target\": {\"default\": {\"tags\": [\"\\u00e4\\n${NOPE}\"]}}}")],
        ..Run::default()
    };
    expect![[r#"
        error: build.json:1:45: no variable named "NOPE"
           |
         1 | {"target": {"default": {"tags": ["\u00e4\n${NOPE}"]}}}
           |                                             ^^^^
        hint: declare a variable "NOPE""#]]
    .assert_eq(&json.output());
}

#[test]
fn cycles_are_drawn() {
    let run = Run::hcl(
        "variable \"A\" { default = B }\nvariable \"B\" { default = \"${A}!\" }\n\
         function \"f\" {\n  params = [x]\n  result = g(x)\n}\nfunction \"g\" {\n  params = [x]\n  result = f(x)\n}\n\
         target \"a\" { tags = target.b.tags }\ntarget \"b\" { tags = target.a.tags }\n",
    );
    expect![[r#"
        error: build.hcl:1:10: `variable.A` refers to itself: variable.A → variable.B → variable.A
           |
         1 | variable "A" { default = B }
           |          ^^^
        note: build.hcl:2:10: `variable.B` is on the way
           |
         2 | variable "B" { default = "${A}!" }
           |          ^^^

        error: build.hcl:3:10: a function calls itself: f() → g() → f()
           |
         3 | function "f" {
           |          ^^^
        note: build.hcl:7:10: `g()` is defined here
           |
         7 | function "g" {
           |          ^^^

        error: build.hcl:11:14: `target.a.tags` refers to itself: target.a.tags → target.b.tags → target.a.tags
            |
         11 | target "a" { tags = target.b.tags }
            |              ^^^^
        note: build.hcl:12:14: `target.b.tags` is on the way
            |
         12 | target "b" { tags = target.a.tags }
            |              ^^^^"#]]
    .assert_eq(&run.output());
}

#[test]
fn names_that_mean_nothing_are_warned_of() {
    let run = Run::hcl(
        "target \"default\" {\n  tag = [\"x\"]\n  args { A = 1 }\n}\ntargets \"x\" {}\ngroup \"g\" {\n  targets = []\n  \
         target = \"x\"\n}\n",
    );
    expect![[r#"
        warning: build.hcl:2:3: a target has no attribute `tag`; it means nothing
           |
         2 |   tag = ["x"]
           |   ^^^
        hint: did you mean `tags`?

        warning: build.hcl:3:3: a target has no block `args`; it means nothing
           |
         3 |   args { A = 1 }
           |   ^^^^
        hint: it is an attribute: `args = { … }`

        warning: build.hcl:5:1: a block `targets` means nothing here
           |
         5 | targets "x" {}
           | ^^^^^^^
        hint: did you mean `target`?

        warning: build.hcl:8:3: a group has no attribute `target`; it means nothing
           |
         8 |   target = "x"
           |   ^^^^^^
        hint: did you mean `targets`?
        {
          "group": {
            "default": {
              "targets": [
                "default"
              ]
            }
          },
          "target": {
            "default": {
              "context": ".",
              "dockerfile": "Dockerfile"
            }
          }
        }
    "#]]
    .assert_eq(&run.output());
}

#[test]
fn values_of_the_wrong_type_show_their_element() {
    let run = Run::hcl(
        "target \"default\" {\n  tags = \"x\"\n  platforms = [\"linux/amd64\", null]\n  args = { A = [1] }\n  \
         output = [\"type=local,oops\"]\n  secret = [\"id=a,foo=b\"]\n  pull = \"maybe\"\n}\n",
    );
    expect![[r#"
        error: build.hcl:2:10: list of string required, but have string
           |
         2 |   tags = "x"
           |          ^^^
        hint: put it in brackets: `[…]`

        error: build.hcl:3:31: null is not allowed in this list
           |
         3 |   platforms = ["linux/amd64", null]
           |                               ^^^^

        error: build.hcl:4:16: element "A": string required, but have tuple
           |
         4 |   args = { A = [1] }
           |                ^^^

        error: build.hcl:5:13: `oops` is not KEY=VALUE
           |
         5 |   output = ["type=local,oops"]
           |             ^^^^^^^^^^^^^^^^^

        error: build.hcl:6:13: unexpected key `foo` in a secret; it has id, src, env and type
           |
         6 |   secret = ["id=a,foo=b"]
           |             ^^^^^^^^^^^^

        error: build.hcl:7:10: a bool is required
           |
         7 |   pull = "maybe"
           |          ^^^^^^^"#]]
    .assert_eq(&run.output());
}

#[test]
fn syntax_errors_have_a_place() {
    for (name, text, expected) in [
        (
            "build.hcl",
            "target \"a\" {\n  tags = [\"x\"\n}\n",
            expect![[r#"
                error: build.hcl:3:1: expected `,` or `]`, found `}`
                   |
                 3 | }
                   | ^
                note: build.hcl:2:10: to close this `[`
                   |
                 2 |   tags = ["x"
                   |          ^"#]],
        ),
        (
            "build.hcl",
            "target \"a\" {\n  context = \"x\ny\"\n}\n",
            expect![[r#"
            error: build.hcl:2:13: a quoted string ends on the line it starts on
               |
             2 |   context = "x
               |             ^^
            hint: write `\n`, or use a heredoc (`<<EOT`)"#]],
        ),
        (
            "build.toml",
            "[target.a]\ntags = [\"x\n",
            expect![[r#"
            error: build.toml:2:11: unclosed array, expected `]`
               |
             2 | tags = ["x
               |           ^

            error: build.toml:2:11: invalid basic string, expected `"`
               |
             2 | tags = ["x
               |           ^"#]],
        ),
        (
            "build.json",
            "{\"target\": {\"a\": {},}}",
            expect![[r#"
            error: build.json:1:21: a key in double quotes is missing
               |
             1 | {"target": {"a": {},}}
               |                     ^"#]],
        ),
    ] {
        expected.assert_eq(&Run { files: vec![(name, text)], ..Run::default() }.output());
    }
}

#[test]
fn without_a_default_the_targets_are_listed() {
    let text = "target \"api\" {}\ntarget \"_base\" {}\ntarget \"web\" { platforms = [\"linux/amr64\"] }\n";
    expect![[r#"
        error: the bakefile has no target or group "default"
        note: its targets are api, web
        hint: run `bake build all`, or name the targets to build"#]]
    .assert_eq(&Run::hcl(text).output());
    expect![[r#"
        error: no target named "apl"
        hint: did you mean "api"?"#]]
    .assert_eq(&Run { names: vec!["apl"], ..Run::hcl(text) }.output());
    expect![[r#"
        error: build.hcl:3:29: unknown platform "linux/amr64" in target "web"
           |
         3 | target "web" { platforms = ["linux/amr64"] }
           |                             ^^^^^^^^^^^^^
        hint: did you mean "linux/arm64"?"#]]
    .assert_eq(&Run { names: vec!["all"], ..Run::hcl(text) }.output());
}

#[test]
fn all_is_every_public_target_unless_the_file_says_otherwise() {
    let run = Run { names: vec!["all"], ..Run::hcl("target \"b\" {}\ntarget \"_x\" {}\ntarget \"a\" {}\n") };
    expect![[r#"
        {
          "group": {
            "all": {
              "targets": [
                "b",
                "a"
              ]
            },
            "default": {
              "targets": [
                "all"
              ]
            }
          },
          "target": {
            "a": {
              "context": ".",
              "dockerfile": "Dockerfile"
            },
            "b": {
              "context": ".",
              "dockerfile": "Dockerfile"
            }
          }
        }
    "#]]
    .assert_eq(&run.output());
    let own = Run {
        names: vec!["all"],
        ..Run::hcl("group \"all\" { targets = [\"b\"] }\ntarget \"b\" {}\ntarget \"a\" {}\n")
    };
    assert!(!own.output().contains("\"a\": {"));
}

#[test]
fn overrides_reach_targets_through_their_parents() {
    let text = "target \"base\" {\n  tags = [\"b\"]\n  args = { A = 1 }\n}\ntarget \"api\" { inherits = [\"base\"] }\n";
    let run = Run {
        set: vec![
            "base.tags=x",
            "base.tags=y",
            "*.args.B=2",
            "api.network=none",
            "api.platform+=linux/arm64",
            "api.push=true",
        ],
        names: vec!["api"],
        ..Run::hcl(text)
    };
    expect![[r#"
        {
          "group": {
            "default": {
              "targets": [
                "api"
              ]
            }
          },
          "target": {
            "api": {
              "context": ".",
              "dockerfile": "Dockerfile",
              "args": {
                "A": "1",
                "B": "2"
              },
              "tags": [
                "x",
                "y"
              ],
              "platforms": [
                "linux/arm64"
              ],
              "output": [
                {
                  "push": "true",
                  "type": "image"
                }
              ],
              "network": "none"
            }
          }
        }
    "#]]
    .assert_eq(&run.output());
    for (set, expected) in [
        (
            "api.platforms=linux/arm64",
            expect![[r#"
                error: --set:1:5: no key `platforms`
                   |
                 1 | api.platforms=linux/arm64
                   |     ^^^^^^^^^
                hint: the key is `platform`"#]],
        ),
        (
            "ap.tags=x",
            expect![[r#"
            error: --set:1:1: no target matches "ap"
               |
             1 | ap.tags=x
               | ^^
            hint: did you mean "api"?"#]],
        ),
        (
            "api.args=x",
            expect![[r#"
                error: --set:1:5: `args` needs a name
                   |
                 1 | api.args=x
                   |     ^^^^
                hint: write TARGET.args.NAME=VALUE"#]],
        ),
        (
            "tags=x",
            expect![[r#"
                error: --set:1:1: a target and a key are needed
                   |
                 1 | tags=x
                   | ^^^^
                hint: write TARGET.KEY=VALUE, as in `api.platform=linux/arm64`"#]],
        ),
        (
            "api.pull=maybe",
            expect![[r#"
                error: --set:1:10: `pull` is true or false, not "maybe"
                   |
                 1 | api.pull=maybe
                   |          ^^^^^"#]],
        ),
    ] {
        expected.assert_eq(&Run { set: vec![set], names: vec!["api"], ..Run::hcl(text) }.output());
    }
}

#[test]
fn the_environment_is_read_as_the_variable_s_type() {
    let text = "variable \"N\" { default = 1 }\nvariable \"L\" {\n  type = list(number)\n  default = []\n}\n\
                variable \"O\" {\n  type = object({a = string, b = optional(number)})\n  default = null\n}\n\
                target \"default\" { args = { N = N + 1, L = jsonencode(L), O = jsonencode(O) } }\n";
    let run = Run { env: vec![("N", "41"), ("L", "1,2"), ("O_JSON", "{\"a\": 5}")], ..Run::hcl(text) };
    expect![[r#"
        {
          "group": {
            "default": {
              "targets": [
                "default"
              ]
            }
          },
          "target": {
            "default": {
              "context": ".",
              "dockerfile": "Dockerfile",
              "args": {
                "L": "[1,2]",
                "N": "42",
                "O": "{\"a\":\"5\",\"b\":null}"
              }
            }
          }
        }
    "#]]
    .assert_eq(&run.output());
    let wrong = Run { env: vec![("N", "many"), ("L", "1,x"), ("O", "{}")], ..Run::hcl(text) };
    expect![[r#"
        error: build.hcl:1:10: "N" is a number, but it is set to "many"
           |
         1 | variable "N" { default = 1 }
           |          ^^^
        note: the value comes from the environment: N

        error: build.hcl:2:10: "L" is a number, but it is set to "x"
           |
         2 | variable "L" {
           |          ^^^
        note: the value comes from the environment: L

        error: build.hcl:6:10: "O" has the type object, which cannot be set from text; set O_JSON
           |
         6 | variable "O" {
           |          ^^^
        note: the value comes from the environment: O"#]]
    .assert_eq(&wrong.output());
}

#[test]
fn files_are_merged_in_order() {
    let files = MemoryFiles(
        [
            ("build.hcl", "target \"default\" {\n  tags = [\"hcl\"]\n  args = { A = V, B = 1 }\n}\nvariable \"V\" { default = \"hcl\" }\n"),
            ("build.toml", "[target.default]\ntags = [\"toml\"]\nplatforms = [\"linux/amd64\"]\nargs = { C = \"${V}\" }\n"),
            ("build.override.hcl", "target \"default\" { args = { B = 2 } }\nvariable \"V\" { default = \"override\" }\n"),
            ("docker-bake.hcl", "target \"default\" { tags = [\"never\"] }\n"),
        ]
        .map(|(name, text)| (name.into(), text.as_bytes().to_vec()))
        .into(),
    );
    let inputs = default_files(&files).expect("files");
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["build.toml", "build.hcl", "build.override.hcl"]);
    let run = Run { files: inputs.iter().map(|i| (i.name.as_str(), i.text.as_str())).collect(), ..Run::default() };
    expect![[r#"
        {
          "group": {
            "default": {
              "targets": [
                "default"
              ]
            }
          },
          "target": {
            "default": {
              "context": ".",
              "dockerfile": "Dockerfile",
              "args": {
                "A": "override",
                "B": "2",
                "C": "override"
              },
              "tags": [
                "hcl"
              ],
              "platforms": [
                "linux/amd64"
              ]
            }
          }
        }
    "#]]
    .assert_eq(&run.output());
}

#[test]
fn a_folder_without_a_bakefile_says_what_was_looked_for() {
    let shown = |files: &MemoryFiles| match default_files(files) {
        Ok(_) => String::new(),
        Err(findings) => findings.render(&SourceMap::default()),
    };
    expect![[r#"
        error: no bakefile here
        note: looked for build.toml, build.hcl, build.override.toml, build.override.hcl and compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml, docker-bake.json, docker-bake.hcl, docker-bake.override.json, docker-bake.override.hcl
        hint: write a build.hcl or build.toml, or name a file with -f"#]].assert_eq(&shown(&MemoryFiles::default()));
}

#[test]
fn thousands_of_targets_that_refer_to_one_another_are_evaluated_once() {
    let mut text = String::from("target \"t0\" { tags = [\"x\"] }\n");
    for i in 1..2000 {
        let before = i - 1;
        // Two references each: evaluated anew each time, this would take 2^2000 steps.
        _ = writeln!(
            text,
            "target \"t{i}\" {{ tags = concat(target.t{before}.tags, slice(target.t{before}.tags, 0, 0)) }}"
        );
    }
    let output = Run { names: vec!["t1999"], ..Run::hcl(&text) }.output();
    assert!(output.contains("\"tags\": [\n        \"x\"\n      ]"), "{output}");
}

/// `broken` is an error as soon as it is looked at.
#[test]
fn what_a_run_does_not_need_is_not_evaluated() {
    let text = r#"
group "team" { targets = ["cells"] }
target "cells" {
  name     = "cell-${n}"
  matrix   = { n = ["1", "2"] }
  inherits = ["parent"]
  contexts = { base = "target:linked" }
}
target "parent" { args = { FROM = "parent" } }
target "linked" { tags = ["linked"] }
target "plain" {}
target "broken" { tags = [nope] }
"#;
    let run = |names: &[&'static str], set: &[&'static str]| {
        Run { names: names.to_vec(), set: set.to_vec(), ..Run::hcl(text) }.output()
    };
    let team = run(&["team"], &[]);
    for needed in ["\"cell-1\"", "\"cell-2\"", "\"FROM\": \"parent\"", "\"tags\": [\n        \"linked\""] {
        assert!(team.contains(needed), "{needed}: {team}");
    }
    assert!(!team.contains("error"), "{team}");
    for (names, set) in [
        (&["broken"][..], &[][..]),
        (&["all"], &[]),
        (&["b*"], &[]),
        // It may be needed through the override.
        (&["plain"], &["plain.contexts.x=target:broken"]),
        // The run fails anyway, and says everything that is wrong.
        (&["nothing"], &[]),
    ] {
        let output = run(names, set);
        assert!(output.contains("build.hcl:12:27: no variable named"), "{names:?} {set:?}: {output}");
    }
}
