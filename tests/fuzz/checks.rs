//! What must hold for any bytes at all; one function for each target of the fuzzer.
//!
//! The fuzzer calls them with what it makes up, the ordinary tests with each file of `corpus` and `regressions`. They read
//! nothing from outside and end soon: what takes long or much memory is a finding like a panic.

use std::io::Read;
use std::path::Path;

use bake::bakefile::{self, InputFile, ListFormat, Options, list_targets, list_variables, parse_override, print_json};
use bake::diagnostic::SourceMap;
use bake::dockerfile::ignore::Matcher;
use bake::dockerfile::shell::{Expander, MAX_INSERTED};
use bake::lang::{format_hcl, parse_hcl, shape};
use bake::oci::untar::TarReader;
use bake::sys::files::MemoryFiles;

/// A bakefile, from text to JSON. The first byte says the notation; a NUL byte ends a file, and the next byte says the next
/// one's. A file that begins with `--set ` is an override for all of them. The first file can include and read all of them:
/// they are the files of the directory `in`.
pub fn bakefile(data: &[u8]) {
    let mut files = MemoryFiles::default();
    let (mut inputs, mut overrides, mut sources) = (Vec::new(), Vec::new(), SourceMap::default());
    for (index, part) in data.split(|byte| *byte == 0).take(4).enumerate() {
        let Some((first, rest)) = part.split_first() else { continue };
        let text = String::from_utf8_lossy(rest).into_owned();
        if let Some(given) = text.strip_prefix("--set ") {
            overrides.extend(parse_override("--set", given, &mut sources).ok());
            continue;
        }
        let ending = ["hcl", "json", "toml", "yaml", "unknown"][usize::from(*first) % 5];
        if ending == "hcl" {
            formatted(&text);
        }
        let name = format!("file{index}.{ending}");
        files.0.insert(Path::new("in").join(&name), text.clone().into_bytes());
        inputs.push(InputFile { name, text });
    }
    let options = Options {
        finds_additions: true,
        env: &|name| (name.len() % 3 == 1).then(|| name.to_lowercase()),
        vars: &[],
        overrides: &overrides,
        wanted: None,
        local_platform: "linux/amd64".parse().expect("a platform"),
        cmd_context: "cwd://",
        seed: [0; 32],
        home: None,
        now: 1_700_000_000,
        files: &files,
    };
    let (loaded, findings) = bakefile::load(&inputs, &options, &mut sources);
    assert!(loaded.is_some() || findings.has_errors());
    _ = findings.render(&sources);
    let Some(bakefile) = loaded else { return };
    for format in [ListFormat::Table, ListFormat::Json] {
        _ = list_targets(&bakefile, format);
        _ = list_variables(&bakefile, format);
    }
    for names in [vec!["all".to_owned()], Vec::new()] {
        match bakefile.resolve(&names) {
            Ok(selection) => _ = print_json(&selection),
            Err(findings) => _ = findings.render(&sources),
        }
    }
}

/// What is formatted means the same, and is not changed by formatting it again.
fn formatted(text: &str) {
    let mut sources = SourceMap::default();
    let Ok(once) = format_hcl("once.hcl", text, &mut sources) else { return };
    let twice = format_hcl("twice.hcl", &once, &mut sources).expect("what was formatted is a bakefile");
    assert_eq!(once, twice);
    let mut shape_of = |text: &str| {
        let file = sources.add("shape.hcl", text);
        shape(&parse_hcl(file, &sources).0)
    };
    assert_eq!(shape_of(text), shape_of(&once));
}

/// A Dockerfile: nodes, instructions, warnings, and what an image's ONBUILD would add.
pub fn dockerfile(data: &[u8]) {
    let mut sources = SourceMap::default();
    let text = String::from_utf8_lossy(data).into_owned();
    let file = sources.add("Dockerfile", text.clone());
    let (_, found) = bake::dockerfile::parse(file, &sources);
    _ = found.render(&sources);
    let (nodes, found) = bake::dockerfile::parse_nodes(file, &sources);
    _ = found.render(&sources);
    if let Some(node) = nodes.first() {
        _ = bake::dockerfile::parse_trigger(&text, node.span);
    }
}

/// A word of a Dockerfile. The first byte says how it is expanded; the first line is a value of `v`, the rest the word.
pub fn expansion(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let (value, word) = text.split_once('\n').unwrap_or(("", &text));
    let mut expander = Expander::new(if mode & 1 == 0 { '\\' } else { '`' });
    (expander.keep_quotes, expander.keep_escapes) = (mode & 2 != 0, mode & 4 != 0);
    let lookup = |name: &str| name.starts_with('v').then(|| value.to_owned());
    if let Ok(expanded) = expander.expand(word, &lookup) {
        assert!(expanded.text.len() <= word.len() + MAX_INSERTED, "{}", expanded.text.len());
    }
}

/// An ignore file and paths: lines up to an empty one are patterns, those after it paths.
pub fn ignore(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (patterns, paths) = text.split_once("\n\n").unwrap_or((&text, "a\na/b\na/b/c.txt"));
    let patterns: Vec<String> = patterns.lines().map(str::to_owned).collect();
    for matcher in [Matcher::new(&patterns), Matcher::from_patterns(&patterns)].into_iter().flatten() {
        for path in paths.lines().take(20) {
            // The verdict on a path is that on its parent, taken further.
            let whole = matcher.verdict(path);
            assert_eq!(matcher.is_excluded(path), whole.is_excluded);
            _ = matcher.may_reinclude_below(path);
        }
    }
}

/// A layer's archive. No content is ever larger than the archive.
pub fn layer(data: &[u8]) {
    let mut reader = TarReader::new(data);
    let mut n_bytes = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        _ = format!("{entry:?}");
        let mut content = Vec::new();
        if reader.read_to_end(&mut content).is_err() {
            return;
        }
        n_bytes += content.len();
        assert!(n_bytes <= data.len());
    }
}
