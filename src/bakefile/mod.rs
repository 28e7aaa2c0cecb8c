//! The bakefile model: targets, groups and variables, merged, overridden and expanded.
//!
//! In: texts of bakefiles, what `--set` and `--var` say, and the environment as a function. Out: a [`Bakefile`], which
//! [`Bakefile::resolve`] turns into a [`Selection`]. Semantics are the peer's (`docker buildx bake`), attribute by
//! attribute; Compose files are a base
//! that the others are merged onto; what is added: TOML, the group `all`, warnings for names that mean nothing, and errors that show their
//! place. Reads no file and no environment itself; knows nothing of Dockerfiles and platforms of machines.
//!
//! Order of evaluation: definitions are collected (the last variable, function, group or global attribute of a name
//! counts), then everything is evaluated on demand and at most once: variables, validations, functions, blocks, the
//! remaining global attributes. Every error is reported, not the first alone.

mod attributes;
mod call;
mod check;
mod clashes;
mod compose;
mod files;
mod glob;
mod include;
mod limits;
mod list;
mod model;
mod notation;
mod overrides;
mod places;
mod print;
mod program;
mod relative;
mod schema;
mod scope;
mod select;
mod size;
mod spec;
mod table;
mod variables;
mod verify;
mod vocabulary;
mod walk;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub use call::Call;
pub use files::{InputFile, MAX_BAKEFILE, default_files};
pub use limits::{InvalidUlimit, Resources, Swap, Ulimit, set_text, size_in_bytes};
pub use list::{ListFormat, list_targets, list_variables};
pub use model::{Group, Nullables, Spanned, Target};
pub use notation::convert;
pub use overrides::{Override, parse_override};
pub use print::print_json;
pub use schema::schema;
pub use select::Selection;
pub use spec::{
    AttestSpec, CacheSpec, ENTITLEMENTS, OutputSpec, PolicySpec, SecretSpec, SshSpec, is_entitlement, parse_bool,
};
pub use verify::Surroundings;

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};
use crate::lang::ast::{Block, Body};
use crate::lang::text::json_text;
use crate::lang::{EvalContext, EvalError, Scope, Type, Value, primitive_text};
use crate::platform::Platform;
use crate::remote::Home;
use crate::sys::files::Files;
use include::Includer;
use places::Places;
use program::{Program, TargetCell};

/// What evaluation takes from outside the files.
pub struct Options<'a> {
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// `--var NAME=VALUE`, in order; the last one of a name counts.
    pub vars: &'a [(String, String)],
    /// `--set`, in order.
    pub overrides: &'a [Override],
    /// The targets, groups and patterns that are asked for: what they need is evaluated. All targets are where `None`.
    pub wanted: Option<&'a [String]>,
    /// `BAKE_LOCAL_PLATFORM`.
    pub local_platform: Platform,
    /// `BAKE_CMD_CONTEXT`: where the command runs, or the URL that the user named in its place.
    pub cmd_context: &'a str,
    /// Where the bakefile came from, if that is not the directory that the command runs in.
    pub home: Option<&'a Home>,
    /// What `timestamp()` says, in seconds since 1970 (UTC).
    pub now: i64,
    /// Random; what `uuidv4()` and the salt of `bcrypt()` are drawn from.
    pub seed: [u8; 32],
    /// Whether [`Bakefile::additions`] is asked for: finding them goes through every expression.
    pub finds_additions: bool,
    /// Reads what the files name: `include` and functions such as `file()`; `.env`, `extends` and `env_file` of Compose.
    pub files: &'a dyn Files,
}

/// An evaluated bakefile: all of its targets, before inheritance.
#[derive(Clone, Debug)]
pub struct Bakefile {
    /// In order of definition, each name once; blocks of one name are merged.
    targets: Vec<Target>,
    index: BTreeMap<String, usize>,
    /// Those of the files and one for each matrix, in order of definition, each name once.
    groups: Vec<Group>,
    group_index: BTreeMap<String, usize>,
    variables: Vec<VariableInfo>,
    /// All of the files are Compose's, which have no variables; the peer lists those as `null`.
    is_compose_alone: bool,
    /// Where the bakefile came from, if that is not the directory that the command runs in.
    home: Option<Home>,
    /// The directories of included files, from where the command runs: what their paths count from.
    directories: BTreeMap<FileId, String>,
    /// Names of the files that were included, and of those that expressions read.
    read_files: BTreeSet<String>,
    /// Where the files use what the peer's language does not have.
    additions: Vec<Addition>,
    /// Overrides by the name of the target that they match.
    overrides: BTreeMap<String, Vec<overrides::Placed>>,
    /// `SOURCE_DATE_EPOCH` of the environment: an argument of every target that does not set it.
    source_date_epoch: Option<String>,
}

/// A word of ours that the peer's language does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addition {
    /// Where it stands.
    pub span: Span,
    /// What it is, and what the peer does on meeting it.
    pub text: &'static str,
}

/// A variable, as `--list=variables` shows it.
#[derive(Clone, Debug)]
pub struct VariableInfo {
    /// Its name.
    pub name: String,
    /// The declared type, in words: "list of string".
    pub kind: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// Its value in this run.
    value: Value,
    /// Where its name stands.
    pub span: Span,
}

/// Evaluates the files. Warnings come with a bakefile, errors without one.
pub fn load(inputs: &[InputFile], options: &Options<'_>, sources: &mut SourceMap) -> (Option<Bakefile>, Diagnostics) {
    let mut findings = Diagnostics::default();
    let (mut bodies, mut compose_files) = (Vec::new(), Vec::new());
    let mut places = Places::new(options.files);
    for input in inputs {
        match files::parse(input, sources, &mut findings) {
            files::Parsed::Body(body, _) => {
                places.add_root(body.span.file, &input.name);
                bodies.push(body);
            }
            files::Parsed::Compose(file) => compose_files.push(file),
        }
    }
    let compose = compose::load(&compose_files, options, sources, &mut findings);
    if findings.has_errors() {
        return (None, findings);
    }
    let is_compose_alone = bodies.is_empty();
    let var_places = variables::place(options.vars, sources);
    let bodies = Includer::new(options, &var_places, sources, &mut findings, &mut places).follow_all(bodies);
    let names = match places.has_included() {
        true => clashes::find(&bodies, &compose.targets, &places, &mut findings),
        false => clashes::Names::default(),
    };
    if findings.has_errors() {
        return (None, findings);
    }
    let mut program = Program::collect(&bodies, options, &places, &mut findings);
    program.var_places = var_places;
    if places.has_included() {
        clashes::find_in_matrices(&program, names, &places, &mut findings);
    }
    let known = findings.iter().cloned().collect();
    let mut findings = Reported { findings, known };
    for body in &bodies {
        check::unknown_names(body, &mut findings.findings);
    }
    let variable_names: Vec<&str> = program.variables.keys().map(|name| name.as_ref()).collect();
    check::unknown_vars(&variables::var_names(&program), &variable_names, &mut findings.findings);
    let variables = evaluate_variables(&program, &mut findings);
    check::function_cycles(&program, &mut findings.findings);
    let mut bakefile = Bakefile {
        targets: Vec::new(),
        index: BTreeMap::new(),
        groups: Vec::new(),
        group_index: BTreeMap::new(),
        variables,
        overrides: BTreeMap::new(),
        source_date_epoch: (options.env)("SOURCE_DATE_EPOCH"),
        is_compose_alone,
        additions: additions(&bodies, &program),
        directories: places.included_directories(),
        read_files: BTreeSet::new(),
        home: options.home.cloned(),
    };
    compose.targets.into_iter().for_each(|target| bakefile.add(target));
    compose.group.into_iter().for_each(|group| bakefile.put_group(group));
    let cells = add_targets(&program, &mut bakefile, &mut findings);
    add_groups(&program, &mut bakefile, &mut findings);
    match options.wanted.filter(|_| !overrides::link(options.overrides)) {
        None => cells.iter().for_each(|cell| bakefile.add(decode(&program, cell, &mut findings))),
        Some(names) => wanted::add(&program, names, &cells, &mut bakefile, &mut findings),
    }
    for name in program.global_names() {
        if let Some(Err(why)) = program.global(name) {
            findings.add(why);
        }
    }
    let is_set = |name: &str| (options.env)(name).and_then(|text| spec::parse_bool(&text)) == Some(true);
    if is_set("BUILDX_BAKE_FILE_RELATIVE_PATHS") {
        relative::from_files(&mut bakefile.targets, &bakefile.directories, sources);
    }
    relative::from_included(&mut bakefile.targets, &bakefile.directories, options.env);
    bakefile.read_files = places.read_files();
    bakefile.overrides = overrides::place(options, &bakefile.targets, sources, &mut findings.findings);
    check::inherit_cycles(&bakefile, &mut findings.findings);
    let findings = findings.findings;
    (if findings.has_errors() { None } else { Some(bakefile) }, findings)
}

fn additions(bodies: &[Body], program: &Program<'_>) -> Vec<Addition> {
    let bodies = if program.options.finds_additions { bodies } else { &[] };
    bodies.iter().flat_map(|body| check::additions(body, program)).collect()
}

/// Findings in which an error that many things run into is reported once.
struct Reported {
    findings: Diagnostics,
    known: HashSet<Diagnostic>,
}

impl Reported {
    fn add(&mut self, why: impl AsRef<Diagnostic>) {
        let why = why.as_ref();
        if self.known.insert(why.clone()) {
            self.findings.push(why.clone());
        }
    }
}

fn evaluate_variables(program: &Program<'_>, findings: &mut Reported) -> Vec<VariableInfo> {
    let mut variables = Vec::new();
    let mut blocks: Vec<(&str, &Block)> =
        program.variables.iter().filter_map(|(name, variable)| Some((*name, variable.block?))).collect();
    // By label: in JSON and TOML many blocks share the word before it.
    blocks.sort_by_key(|(_, block)| block.labels.first().unwrap_or(&block.kind).span);
    for (name, block) in blocks {
        let value = match program.variable(name) {
            Some(Ok(value)) => value,
            Some(Err(why)) => {
                findings.add(why);
                continue;
            }
            None => continue,
        };
        let kind = variables::declared_type(block).ok().flatten().map(|kind: Type| kind.to_string());
        let description = block.body.attribute("description").and_then(|attribute| {
            let value = EvalContext::new(program).eval(&attribute.value).ok()?;
            program.made(value.size(), attribute.value.span).ok()?;
            value.as_str().map(str::to_owned)
        });
        let span = block.labels.first().map_or(block.kind.span, |label| label.span);
        variables.push(VariableInfo { name: name.to_owned(), kind, description, value, span });
    }
    if !findings.findings.has_errors() {
        variables::validate(program, &mut findings.findings);
    }
    variables
}

impl VariableInfo {
    /// Returns its value in this run, as text or JSON; `None` for null, `…` for what is larger than `max_size` bytes.
    pub fn value(&self, max_size: usize) -> Option<String> {
        if self.value.is_null() {
            return None;
        }
        let is_shown = self.value.size() <= max_size;
        let text = is_shown.then(|| primitive_text(&self.value).or_else(|| json_text(&self.value).ok()));
        Some(text.flatten().unwrap_or_else(|| "…".to_owned()))
    }
}

/// Adds all targets by name and place, and the groups of matrices. Returns what defines them, in order.
fn add_targets<'p, 'a>(
    program: &'p Program<'a>,
    bakefile: &mut Bakefile,
    findings: &mut Reported,
) -> Vec<&'p TargetCell<'a>> {
    let mut cells = Vec::new();
    for cell in program.cells() {
        match cell {
            Ok(cell) => {
                bakefile.add(Target::new(&cell.name.text, cell.name.span));
                add_matrix_group(cell, bakefile);
                cells.push(cell);
            }
            Err(why) => findings.add(why),
        }
    }
    cells
}

fn decode<'a>(program: &Program<'a>, cell: &TargetCell<'a>, findings: &mut Reported) -> Target {
    let mut target = Target::new(&cell.name.text, cell.name.span);
    for attribute in &cell.block.body.attributes {
        let Some((name, _)) = attributes::find(&attribute.name.text) else { continue };
        let assigned = match program.attribute(cell, name) {
            Ok(Some((value, expr))) => attributes::assign(&mut target, name, &value, expr),
            Ok(None) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = assigned {
            findings.add(why);
        }
    }
    target
}

/// The cells of a matrix form a group with the name of its label, unless a cell has that name itself.
fn add_matrix_group(cell: &TargetCell<'_>, bakefile: &mut Bakefile) {
    let Some(label) = cell.block.labels.first().filter(|label| label.text != cell.name.text) else { return };
    if !Program::has_matrix(cell.block) {
        return;
    }
    let member = Spanned::new(cell.name.text.clone(), label.span);
    match bakefile.group_index.get(&label.text) {
        Some(index) => bakefile.groups[*index].targets.push(member),
        None => bakefile.put_group(Group {
            name: label.text.clone(),
            span: Some(label.span),
            description: None,
            targets: vec![member],
        }),
    }
}

fn add_groups(program: &Program<'_>, bakefile: &mut Bakefile, findings: &mut Reported) {
    let mut groups: Vec<&Block> = program.groups.values().copied().collect();
    groups.sort_by_key(|block| block.labels.first().unwrap_or(&block.kind).span);
    let mut added = Vec::new();
    for block in groups {
        match group(program, block) {
            Ok(group) => added.push(group),
            Err(why) => findings.add(why),
        }
    }
    // A group of a file stands in for a matrix's of its name, at its own place in the order.
    let names: BTreeSet<&str> = added.iter().map(|group| group.name.as_str()).collect();
    let mut groups = std::mem::take(&mut bakefile.groups);
    groups.retain(|group| !names.contains(group.name.as_str()));
    bakefile.group_index.clear();
    groups.into_iter().chain(added).for_each(|group| bakefile.put_group(group));
}

fn group(program: &Program<'_>, block: &Block) -> Result<Group, EvalError> {
    let label = block.labels.first().unwrap_or(&block.kind);
    let wrong = |span: Span, message: String| Box::new(Diagnostic::error(span, message));
    if let Some(attribute) = block.body.attributes.iter().find(|a| matches!(a.name.text.as_str(), "matrix" | "name")) {
        return Err(wrong(attribute.name.span, format!("a group has no `{}`", attribute.name.text)));
    }
    let members = block.body.attribute("targets");
    let members = members.ok_or_else(|| wrong(label.span, format!("group \"{}\" has no `targets`", label.text)))?;
    // A scratch target carries the list through the same conversion as a target's lists.
    let mut scratch = Target::new(&label.text, label.span);
    let value = EvalContext::new(program).eval(&members.value)?;
    program.made(value.size(), members.value.span)?;
    let value = attributes::converted(attributes::Kind::Texts, &value, &members.value)?;
    attributes::assign(&mut scratch, "tags", &value, &members.value)?;
    if let Some(attribute) = block.body.attribute("description") {
        let value = EvalContext::new(program).eval(&attribute.value)?;
        program.made(value.size(), attribute.value.span)?;
        let value = attributes::converted(attributes::Kind::Text, &value, &attribute.value)?;
        attributes::assign(&mut scratch, "description", &value, &attribute.value)?;
    }
    Ok(Group {
        name: label.text.clone(),
        span: Some(label.span),
        description: scratch.description,
        targets: scratch.tags,
    })
}

impl Bakefile {
    /// Adds a target, or merges it onto the one of its name.
    fn add(&mut self, target: Target) {
        match self.index.get(&target.name) {
            Some(index) => self.targets[*index].merge(&target),
            None => {
                self.index.insert(target.name.clone(), self.targets.len());
                self.targets.push(target);
            }
        }
    }

    /// Adds a group whose name is new.
    fn put_group(&mut self, group: Group) {
        self.group_index.insert(group.name.clone(), self.groups.len());
        self.groups.push(group);
    }

    /// Returns the targets in order of definition, before inheritance and overrides. Of those that nothing wanted needs
    /// ([`Options::wanted`]) there are only name and place.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns where the files use what the peer's language does not have, in order; nothing unless
    /// [`Options::finds_additions`].
    pub fn additions(&self) -> &[Addition] {
        &self.additions
    }

    /// Returns the names of the files that were included, and of those that expressions read, from where the command runs.
    pub fn read_files(&self) -> &BTreeSet<String> {
        &self.read_files
    }

    /// Says whether a bakefile was read because another one includes it.
    pub fn is_included(&self, file: FileId) -> bool {
        self.directories.contains_key(&file)
    }

    /// Returns the groups of the files and of matrices, in order of definition.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the variables in order of definition.
    pub fn variables(&self) -> &[VariableInfo] {
        &self.variables
    }
}
