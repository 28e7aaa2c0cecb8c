//! Copying files into root file systems: ignore files, selection, digests, ownership, and what cannot be escaped.

use bake::dockerfile::ignore::Matcher;

/// Reads cases of ignore files with the paths that the peer left out and kept, where they are at hand.
#[test]
fn ignore_files_of_real_projects_decide_as_the_peer_does() {
    let Ok(path) = std::env::var("BAKE_DOCKERIGNORE_CASES") else {
        eprintln!("skipped: BAKE_DOCKERIGNORE_CASES does not name a file of cases");
        return;
    };
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON");
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let mut wrong = Vec::new();
    for case in cases.as_array().expect("a list") {
        let lines: Vec<String> = case["content"].as_str().expect("text").lines().map(str::to_owned).collect();
        let matcher = Matcher::new(&lines).expect("valid patterns");
        for (paths, is_excluded) in [(texts(&case["ignored"]), true), (texts(&case["kept"]), false)] {
            let differing = paths.into_iter().filter(|path| matcher.is_excluded(path) != is_excluded);
            wrong.extend(differing.map(|path| format!("{}: {path} should be excluded: {is_excluded}", case["name"])));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
