//! What bake adds to the peer's language: it prints as what it means.

use bake::bakefile::{Selection, print_json};
use bake::diagnostic::SourceMap;
use bake::plan;
use serde_json::{Value, json};

use crate::support::evaluated;

fn selection(text: &str, name: &str) -> Selection {
    let mut sources = SourceMap::default();
    let (bakefile, found) = evaluated(text, &mut sources);
    let bakefile = bakefile.unwrap_or_else(|| panic!("{}", found.render(&sources)));
    bakefile.resolve(&[name.to_owned()]).unwrap_or_else(|found| panic!("{}", found.render(&sources)))
}

fn printed(text: &str, name: &str) -> Value {
    serde_json::from_str(&print_json(&selection(text, name))).expect("JSON")
}

#[test]
fn a_matrix_leaves_combinations_out() {
    let matrix = |exclude: &str| {
        let text = format!(
            "variable \"SKIP\" {{ default = \"y\" }}\ntarget \"m\" {{\n  name = \"m-${{a}}-${{b}}\"\n  \
             matrix = {{ a = [1, 2], b = [\"x\", \"y\"] }}\n  exclude = {exclude}\n}}\n"
        );
        printed(&text, "m")["group"]["m"]["targets"].clone()
    };
    assert_eq!(matrix("[]"), json!(["m-1-x", "m-1-y", "m-2-x", "m-2-y"]));
    assert_eq!(matrix("[{ a = \"1\", b = SKIP }]"), json!(["m-1-x", "m-2-x", "m-2-y"]));
    assert_eq!(matrix("[{ b = \"x\" }, { a = 2 }]"), json!(["m-1-y"]));
    assert_eq!(matrix("[{ a = 3 }]"), json!(["m-1-x", "m-1-y", "m-2-x", "m-2-y"]));
}

const PLATFORM_ARGS: &str = r#"
    target "base" {
      args = { A = "all", B = "all" }
      platform-args = { "linux/arm64" = { A = "base", C = "base" }, "linux/arm/v7" = { B = "v7" } }
    }
    target "app" {
      inherits = ["base"]
      platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
      platform-args = { "linux/arm64" = { A = "app", D = null } }
    }
"#;

#[test]
fn arguments_of_single_platforms_are_inherited_and_printed() {
    let app = &printed(PLATFORM_ARGS, "app")["target"]["app"];
    assert_eq!(app["args"], json!({ "A": "all", "B": "all" }));
    assert_eq!(
        app["platform-args"],
        json!({ "linux/arm/v7": { "B": "v7" }, "linux/arm64": { "A": "app", "C": "base" } })
    );
}

#[test]
fn arguments_of_single_platforms_reach_them_alone() {
    let selection = selection(PLATFORM_ARGS, "app");
    let targets: Vec<_> = selection.targets.iter().map(|(_, target)| target.clone()).collect();
    let (plan, found) = plan::expand(&targets, &"linux/amd64".parse().expect("a platform"), None);
    assert!(!found.has_errors());
    let args: Vec<Value> = plan.planned().map(|planned| json!([planned.platform.to_string(), planned.args])).collect();
    assert_eq!(
        args,
        [
            json!(["linux/amd64", { "A": "all", "B": "all" }]),
            json!(["linux/arm64", { "A": "app", "B": "all", "C": "base" }]),
            json!(["linux/arm/v7", { "A": "all", "B": "v7" }]),
        ]
    );
}
