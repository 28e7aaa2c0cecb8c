//! Does the book hold together? Chapters, links, and the commands it and the README tell people to type.
//!
//! The commands are checked against the flags in `reference/cli.md`, those against `bake --help`. Rendering is mdbook's part
//! (`.ci/run`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

#[test]
fn the_summary_lists_every_chapter_once() {
    let mut listed: Vec<String> = links(&page("SUMMARY.md")).into_iter().map(|link| link.target).collect();
    listed.sort();
    let mut chapters: Vec<String> = pages().into_iter().filter(|page| page != "SUMMARY.md").collect();
    chapters.sort();
    assert_eq!(listed, chapters);
}

#[test]
fn links_inside_the_book_and_the_readme_resolve() {
    let mut broken = Vec::new();
    let book = pages().into_iter().map(|name| PathBuf::from("book/src").join(name));
    for path in book.chain([PathBuf::from("README.md")]) {
        let text = read(&path);
        for link in links(&text).into_iter().filter(|link| !link.target.contains("://")) {
            if let Err(why) = resolve(&path, &text, &link.target) {
                broken.push(format!("{}:{}: `{}` {why}", path.display(), link.line, link.target));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn commands_use_verbs_and_flags_that_the_reference_has() {
    let cli = Reference::parse(&page("reference/cli.md"));
    let mut wrong = Vec::new();
    let mut n_commands = 0;
    let book = pages().into_iter().map(|name| PathBuf::from("book/src").join(name));
    for path in book.chain([PathBuf::from("README.md")]) {
        for (line, command) in commands(&read(&path)) {
            n_commands += 1;
            if let Err(why) = cli.check(&command) {
                wrong.push(format!("{}:{line}: `{command}`: {why}", path.display()));
            }
        }
    }
    assert!(n_commands > 15, "found only {n_commands} commands");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_reference_has_the_verbs_and_flags_of_the_help() {
    let cli = Reference::parse(&page("reference/cli.md"));
    let everywhere = &cli.flags[""];
    let mut verbs = Vec::new();
    collect_verbs("", &mut verbs);
    let listed: Vec<&str> = cli.flags.keys().map(String::as_str).filter(|verb| !verb.is_empty()).collect();
    assert_eq!(listed, verbs);
    assert_eq!(*everywhere, flags_of_help(&help("")), "flags everywhere");
    for verb in verbs {
        let own: BTreeSet<String> = flags_of_help(&help(&verb)).difference(everywhere).cloned().collect();
        assert_eq!(cli.flags[&verb], own, "flags of `bake {verb}`");
    }
}

#[test]
fn attributes_of_the_reference_are_those_of_the_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(&read(Path::new("schemas/build.schema.json"))).expect("the schema is JSON");
    let known: BTreeSet<&str> = schema["definitions"]["target"]["properties"]
        .as_object()
        .expect("a target has properties")
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "//")
        .collect();
    let text = page("reference/bakefile.md");
    let section =
        text.split("\n## ").find(|section| section.starts_with("Attributes of a target")).expect("it is there");
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, known);
}

#[test]
fn a_wrong_command_is_found() {
    let cli = Reference::parse(
        "## bake build\n| `-f FILE`, `--file FILE` | x |\n## bake image inspect\n| `--raw` | x |\n## Everywhere\n| `--help` | x |\n",
    );
    let cases = [
        ("bake build api -f x.hcl --help", Ok(())),
        ("bake api --file=x.hcl", Ok(())),
        ("bake image inspect x --raw", Ok(())),
        ("bake --help", Ok(())),
        ("bake build api --pul", Err("no flag `--pul` of `bake build`".to_owned())),
        ("bake build api --raw", Err("no flag `--raw` of `bake build`".to_owned())),
        ("bake image list", Err("no verb `image list`".to_owned())),
    ];
    for (command, expected) in cases {
        assert_eq!(cli.check(command), expected, "{command}");
    }
}

#[test]
fn commands_are_read_from_console_blocks_only() {
    let text = "$ bake no\n```console\n$ A=b bake build x | jq .   # why\noutput bake y\n$ ls && bake print\n```\n";
    let expected = [(3, "bake build x".to_owned()), (5, "bake print".to_owned())];
    assert_eq!(commands(text), expected);
}

/// Adds the verbs below `verb` that have no verbs below them, sorted.
fn collect_verbs(verb: &str, verbs: &mut Vec<String>) {
    let text = help(verb);
    let Some((_, below)) = text.split_once("\nCommands:\n") else {
        verbs.push(verb.to_owned());
        return;
    };
    let names = below.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        collect_verbs(format!("{verb} {name}").trim(), verbs);
    }
    verbs.sort();
}

fn help(verb: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
    let output = command.args(verb.split_whitespace()).arg("--help").output().expect("bake was built for this test");
    assert!(output.status.success(), "`bake {verb} --help`: {}", output.status);
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// Returns the flags that lines of a help text begin with.
fn flags_of_help(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names =
        lines.flat_map(|line| line.split([' ', ',']).take_while(|word| word.is_empty() || word.starts_with('-')));
    let bare = |word: &str| word.trim_end_matches("...").split(['[', '=']).next().unwrap_or_default().to_owned();
    names.filter(|word| word.len() > 1).map(bare).collect()
}

/// A link in Markdown.
struct Link {
    target: String,
    /// 1-based.
    line: usize,
}

/// Returns the links of a page, outside its code blocks and code spans, in order.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        is_code ^= line.starts_with("```");
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            found.push(Link { target: target.to_owned(), line: index + 1 });
        }
    }
    found
}

/// Checks that the file and the heading that `target` names are there.
fn resolve(from: &Path, own_text: &str, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let text = if file.is_empty() {
        own_text.to_owned()
    } else {
        let path = normal(&from.parent().unwrap_or(Path::new("")).join(file));
        if !root().join(&path).exists() {
            return Err("leads nowhere".to_owned());
        }
        if anchor.is_none() {
            return Ok(());
        }
        read(&path)
    };
    match anchor {
        Some(anchor) if !anchors(&text).contains(anchor) => Err("names no heading".to_owned()),
        _ => Ok(()),
    }
}

/// Returns the ids that mdbook gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let id = |heading: &str| heading.to_lowercase().chars().filter(is_kept).collect::<String>().replace(' ', "-");
    headings.map(id).collect()
}

/// Verbs and their flags, as `reference/cli.md` has them: a heading `bake VERB`, a table of flags below it.
struct Reference {
    /// Flags by verb; those of every verb under "".
    flags: BTreeMap<String, BTreeSet<String>>,
}

impl Reference {
    fn parse(text: &str) -> Self {
        let mut flags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut verb = String::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                heading.strip_prefix("bake ").unwrap_or_default().clone_into(&mut verb);
                flags.entry(verb.clone()).or_default();
            }
            let cell = line.strip_prefix("| ").and_then(|row| row.split('|').next()).unwrap_or_default();
            let words = cell.split('`').filter_map(|code| code.split([' ', '[']).next());
            flags.entry(verb.clone()).or_default().extend(words.filter(|w| w.starts_with('-')).map(str::to_owned));
        }
        Self { flags }
    }

    fn check(&self, command: &str) -> Result<(), String> {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let plain: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).collect();
        let is_verb = |n: usize| plain.len() >= n && self.flags.contains_key(&plain[..n].join(" "));
        let verb = match plain.first() {
            None => String::new(),
            Some(_) if is_verb(3) => plain[..3].join(" "),
            Some(_) if is_verb(2) => plain[..2].join(" "),
            Some(first) if is_verb(1) => (*first).to_owned(),
            Some(first) if self.flags.keys().any(|verb| verb.starts_with(&format!("{first} "))) => {
                return Err(format!("no verb `{}`", plain[..plain.len().min(3)].join(" ")));
            }
            Some(_) => "build".to_owned(),
        };
        for flag in words.iter().filter(|word| word.starts_with('-')) {
            let name = flag.split('=').next().unwrap_or(flag);
            if ![verb.as_str(), ""].iter().any(|verb| self.flags.get(*verb).is_some_and(|flags| flags.contains(name))) {
                return Err(format!("no flag `{name}` of `bake {verb}`"));
            }
        }
        Ok(())
    }
}

/// Returns the bake commands in `console` blocks with their 1-based lines: no variables in front, nothing after.
fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_console = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_console = !is_console && line == "```console";
        }
        let Some(typed) = line.strip_prefix("$ ").filter(|_| is_console) else { continue };
        let typed = typed.split(" # ").next().unwrap_or_default();
        for part in typed.split(['|', ';', '&']) {
            let words = part.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-'));
            let command: Vec<&str> = words.collect();
            if command.first() == Some(&"bake") {
                found.push((index + 1, command.join(" ")));
            }
        }
    }
    found
}

/// Returns the Markdown files of the book, relative to `book/src`, sorted.
fn pages() -> Vec<String> {
    let mut found = Vec::new();
    collect(Path::new(""), &mut found);
    found.sort();
    assert!(found.len() > 10, "found only {} pages", found.len());
    found
}

fn collect(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root().join("book/src").join(directory)).expect("the book can be listed") {
        let entry = entry.expect("the book can be listed");
        let path = directory.join(entry.file_name());
        if entry.path().is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path.to_str().expect("names in the book are UTF-8").to_owned());
        }
    }
}

fn page(name: &str) -> String {
    read(&Path::new("book/src").join(name))
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Takes `..` out of a path.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = out.pop(),
            other => out.push(other),
        }
    }
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
