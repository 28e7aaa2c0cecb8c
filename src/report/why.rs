//! Why steps run: for people, for programs, and in a word for the log.
//!
//! In: the steps of targets with their states and changes. Out: text or JSON. Passwords in URLs are left out of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::one_line;
use crate::remote::redacted;
use crate::solver::explain::Change;
use crate::solver::listing::FileChange;

/// One target for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReport {
    /// Its name.
    pub target: String,
    /// As people write it.
    pub platform: String,
    /// It was built before, as far as the store knows.
    pub is_known: bool,
    /// Inputs before their readers.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// As progress shows it.
    pub name: String,
    /// File and line of the instruction.
    pub place: Option<(String, usize)>,
    /// Whether it has to run.
    pub state: StepState,
    /// What is other than in the last build.
    pub changes: Vec<Change>,
}

/// Whether a step has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Its result is stored.
    Hit,
    /// It has to run.
    Miss,
    /// It is known when the steps of these names have run.
    Behind(Vec<String>),
    /// It could not be looked up, and why.
    Unknown(String),
}

/// Which steps are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Those that have to run, and those of which it is not known why they do not.
    #[default]
    Misses,
    /// Every one.
    All,
}

/// Lines of changes that are shown of a step.
const N_CHANGES: usize = 12;

/// Lines that are shown of each side of an edited instruction.
const N_LINES: usize = 6;

/// Characters of a value that are shown.
const N_CHARACTERS: usize = 160;

impl StepReport {
    /// Says whether it has to run, or is not known not to.
    pub fn is_missed(&self) -> bool {
        matches!(self.state, StepState::Miss | StepState::Unknown(_))
    }
}

/// Returns the text for people.
pub fn text(targets: &[TargetReport], shown: Shown) -> String {
    targets.iter().map(|target| target_text(target, shown)).collect::<Vec<_>>().join("\n")
}

fn target_text(target: &TargetReport, shown: Shown) -> String {
    let count = |is_counted: &dyn Fn(&StepReport) -> bool| target.steps.iter().filter(|step| is_counted(step)).count();
    let n_hits = count(&|step| step.state == StepState::Hit);
    let n_misses = count(&StepReport::is_missed);
    let n_behind = count(&|step| matches!(step.state, StepState::Behind(_)));
    let mut text = format!("{} {}: ", target.target, target.platform);
    match (n_misses, n_behind) {
        (0, 0) => _ = writeln!(text, "{}, nothing has to run", plural(n_hits, "hit", "hits")),
        _ => {
            let misses = plural(n_misses, "miss", "misses");
            _ = writeln!(text, "{misses}, {n_behind} not known yet, {}", plural(n_hits, "hit", "hits"));
        }
    }
    if !target.is_known && n_misses > 0 {
        _ = writeln!(text, "  no earlier build of it is known here");
    }
    for step in &target.steps {
        let is_shown = shown == Shown::All || step.is_missed();
        if is_shown {
            step_text(step, &mut text);
        }
    }
    if n_behind > 0 && shown == Shown::Misses {
        let (steps, are, them) = if n_behind == 1 { ("step", "is", "it a hit") } else { ("steps", "are", "them hits") };
        let until = if n_misses == 1 { "it has" } else { "these have" };
        _ = writeln!(text, "  {n_behind} {steps} behind {are} not known until {until} run: equal bytes make {them}");
    }
    text
}

fn step_text(step: &StepReport, text: &mut String) {
    let word = match &step.state {
        StepState::Hit => "hit ",
        StepState::Miss => "miss",
        StepState::Behind(_) | StepState::Unknown(_) => "?   ",
    };
    let place = step.place.as_ref().map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
    _ = writeln!(text, "  {word} {}{place}", line(&step.name));
    match &step.state {
        StepState::Behind(names) => {
            let names: Vec<String> = names.iter().map(|name| line(name)).collect();
            let have = if names.len() == 1 { "has" } else { "have" };
            _ = writeln!(text, "       not known until {} {have} run", names.join(", "));
        }
        StepState::Unknown(why) => _ = writeln!(text, "       cannot be looked up: {}", line(why)),
        StepState::Hit | StepState::Miss => {}
    }
    let changes = lines(&step.changes);
    for change in changes.iter().take(N_CHANGES) {
        _ = writeln!(text, "       {change}");
    }
    if changes.len() > N_CHANGES {
        _ = writeln!(text, "       and {} more", changes.len() - N_CHANGES);
    }
}

/// Returns a line for each change, those of an edited instruction apart, which has one for each line that differs.
fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().flat_map(change_lines).collect()
}

fn change_lines(change: &Change) -> Vec<String> {
    match change {
        // It is said of the target.
        Change::FirstBuild => Vec::new(),
        Change::Instruction { old, new } => {
            let (old, new) = differing_lines(old, new);
            let side = |sign: char, lines: Vec<&str>| {
                lines.into_iter().take(N_LINES).map(move |text| format!("{sign} {}", line(text))).collect::<Vec<_>>()
            };
            [side('-', old), side('+', new)].concat()
        }
        Change::Result { step, changes } => {
            let mut lines = lines(changes);
            let first = if lines.is_empty() { "it is another step".to_owned() } else { lines.remove(0) };
            let head = format!("the result of {} is another: {first}", line(step));
            [vec![head], lines].concat()
        }
        other => vec![phrase(other)],
    }
}

/// Returns the lines of two texts without those that they begin and end with alike.
fn differing_lines<'t>(old: &'t str, new: &'t str) -> (Vec<&'t str>, Vec<&'t str>) {
    let (mut old, mut new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    while old.last().is_some_and(|last| new.last() == Some(last)) {
        old.pop();
        new.pop();
    }
    let n_alike = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    (old.split_off(n_alike), new.split_off(n_alike))
}

/// Returns a change in one phrase.
fn phrase(change: &Change) -> String {
    match change {
        Change::FirstBuild => "no earlier build of the target is known here".to_owned(),
        Change::NewStep => "the step is new".to_owned(),
        Change::Instruction { .. } => "the instruction changed".to_owned(),
        Change::Argument { name, old, new } => format!("argument {name}: {}", values(old.as_ref(), new.as_ref())),
        Change::Environment { name, old, new } => {
            format!("environment variable {name}: {}", values(old.as_ref(), new.as_ref()))
        }
        Change::BaseImage { old_name, name, old, new } if old_name == name => {
            format!("image {}: {} → {}", line(name), short(old), short(new))
        }
        Change::BaseImage { old_name, name, old, new } => {
            format!("image {} {} → {} {}", line(old_name), short(old), line(name), short(new))
        }
        Change::Remote { name, old, new } => format!("{} changed: {} → {}", line(name), short(old), short(new)),
        Change::File { path, change } => file_phrase(&line(path), change),
        Change::Files { place, .. } => format!("files {place} changed; which ones is not known any more"),
        Change::Setting { name, old, new } => format!("{}: {}", line(name), values(old.as_ref(), new.as_ref())),
        Change::Result { step, .. } => format!("the result of {} is another", line(step)),
        Change::OtherBytes { step } => format!("{} was run again and made other bytes", line(step)),
        Change::Parent { old, new } => format!("it stood on `{}` and stands on `{}`", line(old), line(new)),
        Change::Order => "the same variables or mounts in another order".to_owned(),
        Change::Pruned => "nothing changed, but its result is not in the store".to_owned(),
        Change::Forgotten => "what it was made of is not in the store any more".to_owned(),
        Change::NoCache => "the cache is not to be asked (no-cache)".to_owned(),
    }
}

/// Says how a file differs.
pub fn file_phrase(path: &str, change: &FileChange) -> String {
    match change {
        FileChange::Added => format!("{path} is new"),
        FileChange::Removed => format!("{path} is gone"),
        FileChange::Changed { old, new } => format!("{path} changed: {} → {}", short(old), short(new)),
        FileChange::Mode { old, new } => format!("{path} mode: {old} → {new}"),
        FileChange::Target { old, new } => format!("{path} leads elsewhere: {} → {}", line(old), line(new)),
        FileChange::Type { old, new } => format!("{path} was a {old} and is a {new}"),
    }
}

/// Returns the changes of a step in a few words, for a line of the log; `None` where there is nothing to say.
pub fn reason(changes: &[Change]) -> Option<String> {
    let first = changes.first().filter(|change| **change != Change::FirstBuild)?;
    let text = match first {
        Change::File { path, change: FileChange::Changed { .. } } => format!("{} changed", line(path)),
        Change::Result { changes, .. } => reason(changes)?,
        other => phrase(other),
    };
    Some(match changes.len() {
        1 => text,
        n => format!("{text}, and {} more", n - 1),
    })
}

fn values(old: Option<&String>, new: Option<&String>) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{} → {}", quoted(old), quoted(new)),
        (None, Some(new)) => format!("{}, was not there", quoted(new)),
        (Some(old), None) => format!("was {}, is not there", quoted(old)),
        (None, None) => "changed".to_owned(),
    }
}

fn quoted(value: &str) -> String {
    format!("`{}`", line(value))
}

fn short(digest: &crate::digest::Digest) -> String {
    format!("sha256:{}", digest.short())
}

/// Returns a text of the user's on one line, without what is secret in URLs, cut where it is long.
pub fn line(text: &str) -> String {
    let text = one_line(&redacted(text));
    match text.char_indices().nth(N_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn plural(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

#[derive(Serialize)]
struct StepDocument<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    state: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    behind: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    changes: &'a [Change],
}

/// Returns the document for programs: every step of every target.
pub fn document(targets: &[TargetReport]) -> Value {
    let step = |step: &StepReport| {
        let (state, behind, error): (_, &[String], _) = match &step.state {
            StepState::Hit => ("hit", &[], None),
            StepState::Miss => ("miss", &[], None),
            StepState::Behind(names) => ("behind", names, None),
            StepState::Unknown(why) => ("unknown", &[], Some(why.as_str())),
        };
        let (file, line) = step.place.as_ref().map_or((None, None), |(file, line)| (Some(file.as_str()), Some(*line)));
        json!(StepDocument { name: &step.name, file, line, state, behind, error, changes: &step.changes })
    };
    let target = |target: &TargetReport| {
        let steps: Vec<Value> = target.steps.iter().map(step).collect();
        json!({ "target": target.target, "platform": target.platform, "known": target.is_known, "steps": steps })
    };
    without_passwords(json!({ "targets": targets.iter().map(target).collect::<Vec<_>>() }))
}

fn without_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted(&text)),
        Value::Array(values) => values.into_iter().map(without_passwords).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, without_passwords(value))).collect();
            fields.into_iter().collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::digest::Digest;

    fn step(name: &str, state: StepState, changes: Vec<Change>) -> StepReport {
        StepReport { name: name.to_owned(), place: Some(("Dockerfile".to_owned(), 3)), state, changes }
    }

    fn report() -> TargetReport {
        let text = |text: &str| Some(text.to_owned());
        let changed = FileChange::Changed { old: Digest::of(b"1"), new: Digest::of(b"2") };
        let mode = FileChange::Mode { old: "0644".to_owned(), new: "0755".to_owned() };
        let file = |path: &str, change| Change::File { path: path.to_owned(), change };
        let url = |password: &str| text(&format!("https://me:{password}@h/x\u{1b}[31m"));
        let argument = Change::Argument { name: "URL".to_owned(), old: url("one"), new: url("two") };
        let (old, new) = ("RUN <<E\na\nb\nc\nE".to_owned(), "RUN <<E\na\nx\ny\nc\nE".to_owned());
        let files = vec![file("main.c", changed), file("run.sh", mode), file("new", FileChange::Added)];
        let edited = vec![Change::Instruction { old, new }, argument.clone()];
        let handed = vec![Change::Result { step: "[1/9] RUN first".to_owned(), changes: vec![argument] }];
        let steps = vec![
            step("[1/5] RUN true", StepState::Hit, Vec::new()),
            step("[2/5] COPY . .", StepState::Miss, files),
            step("[3/5] RUN make", StepState::Behind(vec!["[2/5] COPY . .".to_owned()]), Vec::new()),
            step("[4/5] RUN <<E", StepState::Miss, edited),
            step("[5/5] RUN x", StepState::Unknown("no layers".to_owned()), handed),
        ];
        TargetReport { target: "web".to_owned(), platform: "linux/amd64".to_owned(), is_known: true, steps }
    }

    #[test]
    fn people_read_each_miss_with_what_changed() {
        expect![[r#"
            web linux/amd64: 3 misses, 1 not known yet, 1 hit
              miss [2/5] COPY . . (Dockerfile:3)
                   main.c changed: sha256:6b86b273ff34 → sha256:d4735e3a265e
                   run.sh mode: 0644 → 0755
                   new is new
              miss [4/5] RUN <<E (Dockerfile:3)
                   - b
                   + x
                   + y
                   argument URL: `https://***@h/x` → `https://***@h/x`
              ?    [5/5] RUN x (Dockerfile:3)
                   cannot be looked up: no layers
                   the result of [1/9] RUN first is another: argument URL: `https://***@h/x` → `https://***@h/x`
              1 step behind is not known until these have run: equal bytes make it a hit
        "#]]
        .assert_eq(&text(&[report()], Shown::Misses));
        let all = text(&[report()], Shown::All);
        assert!(all.contains("  hit  [1/5] RUN true (Dockerfile:3)\n"), "{all}");
        assert!(all.contains("       not known until [2/5] COPY . . has run\n"), "{all}");
    }

    #[test]
    fn programs_read_every_step_without_passwords() {
        let text = document(&[report()]).to_string();
        for part in [
            r#""change":"changed","kind":"file","new":"sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35""#,
            r#""change":"mode","kind":"file","new":"0755","old":"0644","path":"run.sh""#,
            r#""state":"hit""#,
            r#""behind":["[2/5] COPY . ."]"#,
            r#""error":"no layers""#,
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("me:one"), "{text}");
    }

    #[test]
    fn the_log_has_a_short_reason() {
        let reasons: Vec<_> = report().steps.iter().map(|step| reason(&step.changes)).collect();
        let text = |text: &str| Some(text.to_owned());
        let url = "argument URL: `https://***@h/x` → `https://***@h/x`";
        let expected =
            [None, text("main.c changed, and 2 more"), None, text("the instruction changed, and 1 more"), text(url)];
        assert_eq!(reasons, expected);
        assert_eq!(reason(&[Change::FirstBuild]), None);
    }
}
