use std::sync::Arc;

use super::*;
use crate::digest::DiffId;
use crate::dockerfile::NetworkMode;
use crate::graph::{CopyAction, ExecOp, FileAction, FileOp, LocalSource, SecurityMode, VertexMetadata};
use crate::platform::Platform;
use crate::solver::key::{Content, cache_key};

/// A build of one target: its steps with their keys.
#[derive(Default)]
struct Build {
    definition: Definition,
    lookups: Lookups,
    contents: BTreeMap<VertexId, Content>,
    files: BTreeMap<VertexId, Digest>,
    last: Option<VertexId>,
    epoch: i64,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

impl Build {
    fn image(mut self, name: &str, version: &str) -> Build {
        let manifest = Digest::of(version.as_bytes());
        let op = Op::Source(SourceOp::Image { manifest, diff_ids: vec![DiffId(manifest)] });
        let metadata = VertexMetadata {
            command: format!("FROM {name}"),
            stage: "app".to_owned(),
            source_name: format!("{name}@{manifest}"),
            ..VertexMetadata::default()
        };
        let id = self.definition.add(op, Vec::new(), metadata);
        self.contents.insert(id, Content::Rootfs(vec![DiffId(manifest)]));
        self.last = Some(id);
        self
    }

    fn step(mut self, op: Op, inputs: Vec<VertexId>, command: &str, arguments: &[&str], result: &str) -> Build {
        let metadata = VertexMetadata {
            name: command.to_owned(),
            command: command.to_owned(),
            stage: "app".to_owned(),
            arguments: arguments.iter().map(|name| (*name).to_owned()).collect(),
            ..VertexMetadata::default()
        };
        let id = self.definition.add(op, inputs.clone(), metadata);
        let contents: Vec<Content> = inputs.iter().map(|input| self.contents[input].clone()).collect();
        let op = &self.definition.vertex(id).op;
        let selected: Vec<Digest> =
            selections(op).iter().map(|selection| self.files[&inputs[selection.input.0 as usize]]).collect();
        let key = cache_key(op, &contents, &selected, self.epoch);
        self.lookups.steps.insert(id, Arc::new(Lookup { key, found: Found::Nothing }));
        let below = contents.first().map_or(Vec::new(), |content| match content {
            Content::Rootfs(stack) => stack.clone(),
            Content::Local | Content::Fetched(_) => Vec::new(),
        });
        let made = DiffId(Digest::of(result.as_bytes()));
        self.contents.insert(id, Content::Rootfs(below.into_iter().chain([made]).collect()));
        self.last = Some(id);
        self
    }

    /// A RUN with variables, ARG first, whose layer is `result`.
    fn run(self, command: &str, args: &[(&str, &str)], env: &[(&str, &str)], result: &str) -> Build {
        let op = ExecOp {
            root: self.last.map(|_| InputIndex(0)),
            args: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            env: args.iter().chain(env).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: "/".to_owned(),
            user: String::new(),
            platform: Platform::new("linux", "amd64", None),
            mounts: Vec::new(),
            network: NetworkMode::Default,
            hostname: "h".to_owned(),
            security: SecurityMode::Sandbox,
            secret_env: Vec::new(),
            extra_hosts: Vec::new(),
            proxy: None,
            ulimits: Vec::new(),
            valid_exit_codes: Vec::new(),
        };
        let inputs = self.last.into_iter().collect();
        let names: Vec<&str> = args.iter().map(|(name, _)| *name).collect();
        self.step(Op::Exec(Box::new(op)), inputs, &format!("RUN {command}"), &names, result)
    }

    /// A COPY of a local directory that holds `files`.
    fn copy(mut self, dest: &str, files: &str) -> Build {
        let local = Op::Source(SourceOp::Local(LocalSource { path: ".".to_owned(), ignore: Vec::new() }));
        let local = self.definition.add(local, Vec::new(), VertexMetadata::default());
        self.contents.insert(local, Content::Local);
        self.files.insert(local, Digest::of(files.as_bytes()));
        let mut inputs: Vec<VertexId> = self.last.into_iter().collect();
        inputs.push(local);
        let from = InputIndex(u32::try_from(inputs.len() - 1).expect("few"));
        let action = FileAction::Copy(CopyAction::new(from, "/", dest));
        let op = Op::File(FileOp { root: self.last.map(|_| InputIndex(0)), actions: vec![action] });
        self.step(op, inputs, &format!("COPY . {dest}"), &[], files)
    }

    fn hit(mut self) -> Build {
        let last = self.last.expect("a step");
        let key = self.lookups.steps[&last].key.clone();
        self.lookups.steps.insert(last, Arc::new(Lookup { key, found: Found::Result }));
        self
    }
}

/// Returns what changed of the last step of `new` since `old`.
fn changes(old: &Build, new: &Build) -> Vec<Change> {
    let (last, _) = Trace::of(&old.definition, old.last.expect("a step"), &old.lookups);
    let record = |key: &Digest| {
        let lookup = old.lookups.steps.values().find(|lookup| lookup.key.digest == *key)?;
        Some(lookup.key.ingredients.iter().map(|i| (i.name.clone(), i.value.clone())).collect())
    };
    let files = |_: VertexId, _: &Selection, old: &Digest| {
        let change = FileChange::Changed { old: *old, new: Digest::of(b"new") };
        (*old != Digest::of(b"unlisted")).then(|| vec![("src/main.c".to_owned(), change)])
    };
    let evidence = Evidence {
        definition: &new.definition,
        lookups: &new.lookups,
        last: Some(&last),
        record: &record,
        files: &files,
    };
    let root = new.last.expect("a step");
    Explainer::new(&evidence, root).changes(root)
}

fn base() -> Build {
    Build::default().image("base:1", "one")
}

#[test]
fn arguments_and_variables_are_named_with_both_values() {
    let old = base().run("make", &[("V", "1"), ("GONE", "x")], &[("HOME", "/a")], "r");
    let new = base().run("make", &[("V", "2"), ("FRESH", "y")], &[("HOME", "/b")], "r");
    let argument = |name: &str, old, new| Change::Argument { name: name.to_owned(), old, new };
    assert_eq!(
        changes(&old, &new),
        [
            argument("V", text("1"), text("2")),
            argument("FRESH", None, text("y")),
            Change::Environment { name: "HOME".to_owned(), old: text("/a"), new: text("/b") },
            // That it was an argument is not known any more.
            Change::Environment { name: "GONE".to_owned(), old: text("x"), new: None },
        ]
    );
    let swapped = base().run("make", &[("GONE", "x"), ("V", "1")], &[("HOME", "/a")], "r");
    assert_eq!(changes(&old, &swapped), [Change::Order]);
}

#[test]
fn an_edited_instruction_is_shown_and_what_follows_from_it_is_not() {
    let edited = changes(&base().run("make", &[], &[], "r"), &base().run("make all", &[], &[], "r"));
    assert_eq!(edited, [Change::Instruction { old: "RUN make".to_owned(), new: "RUN make all".to_owned() }]);
    let moved = changes(&base().copy("/a/", "unlisted"), &base().copy("/b/", "new"));
    assert_eq!(moved, [Change::Instruction { old: "COPY . /a/".to_owned(), new: "COPY . /b/".to_owned() }]);
}

#[test]
fn files_are_named_where_their_listing_is_known() {
    let change = FileChange::Changed { old: Digest::of(b"old"), new: Digest::of(b"new") };
    let listed = changes(&base().copy("/a/", "old"), &base().copy("/a/", "new"));
    assert_eq!(listed, [Change::File { path: "src/main.c".to_owned(), change }]);
    let unlisted = changes(&base().copy("/a/", "unlisted"), &base().copy("/a/", "new"));
    let (old, new) = (Digest::of(b"unlisted").to_string(), Digest::of(b"new").to_string());
    assert_eq!(unlisted, [Change::Files { place: "to /a/".to_owned(), old, new }]);
}

#[test]
fn a_new_image_is_named_with_both_digests() {
    let image = |version: &str| Build::default().image("base:1", version).run("make", &[], &[], "r");
    let (old, new) = (Digest::of(b"one"), Digest::of(b"two"));
    let name = || "base:1".to_owned();
    let expected = Change::BaseImage { old_name: name(), name: name(), old, new };
    assert_eq!(changes(&image("one"), &image("two")), [expected]);
}

#[test]
fn a_changed_result_is_explained_by_the_step_that_changed() {
    let build = |value: &str| {
        let before = base().run("first", &[("V", value)], &[], value).hit().run("second", &[], &[], value).hit();
        before.run("third", &[], &[], "r")
    };
    let argument = Change::Argument { name: "V".to_owned(), old: text("1"), new: text("2") };
    let expected = Change::Result { step: "RUN first".to_owned(), changes: vec![argument] };
    assert_eq!(changes(&build("1"), &build("2")), [expected]);
    // The same steps, and yet other bytes.
    let other = |result: &str| base().run("date", &[], &[], result).hit().run("last", &[], &[], "r");
    assert_eq!(changes(&other("1"), &other("2")), [Change::OtherBytes { step: "RUN date".to_owned() }]);
}

#[test]
fn lines_that_come_and_go_leave_the_others_what_they_were() {
    let two = || base().run("a", &[], &[], "a").hit().run("c", &[], &[], "c");
    let three = || base().run("a", &[], &[], "a").hit().run("b", &[], &[], "b").hit().run("c", &[], &[], "c");
    let expected = Change::Result { step: "RUN b".to_owned(), changes: vec![Change::NewStep] };
    assert_eq!(changes(&two(), &three()), [expected]);
    let expected = Change::Parent { old: "RUN b".to_owned(), new: "RUN a".to_owned() };
    assert_eq!(changes(&three(), &two()), [expected]);
}

#[test]
fn what_is_as_it_was_is_a_hit_or_gone() {
    let build = || base().run("a", &[], &[], "a");
    assert_eq!(changes(&build(), &build()), [Change::Pruned]);
    assert_eq!(changes(&build(), &build().hit()), []);
    let later = Build { epoch: 7, ..Build::default() }.image("base:1", "one").run("a", &[], &[], "a");
    let name = "SOURCE_DATE_EPOCH".to_owned();
    assert_eq!(changes(&build(), &later), [Change::Setting { name, old: text("0"), new: text("7") }]);
}

#[test]
fn what_reads_a_miss_is_not_known() {
    let mut build = base().run("a", &[], &[], "a").run("b", &[], &[], "b").run("c", &[], &[], "c");
    let steps: Vec<VertexId> = build.lookups.steps.keys().copied().collect();
    build.lookups.steps.retain(|id, _| *id == steps[0]);
    let behind = State::Behind([steps[0]].into());
    let states = states(&build.definition, steps[2], &build.lookups, &BTreeMap::new());
    assert_eq!(states, [(steps[0], State::Miss), (steps[1], behind.clone()), (steps[2], behind)]);
}
