//! The evaluated world of one bakefile: variables, functions, global attributes and blocks, each evaluated at most once,
//! when something asks for it.
//!
//! Each lazy thing is unasked, being evaluated, or done. Meeting one that is being evaluated is a cycle; the stack of
//! what is being evaluated draws it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;

use super::Options;
use super::attributes::{self, Kind};
use super::include::INCLUDE;
use super::places::Places;
use super::variables;
use crate::diagnostic::{Diagnostic, Diagnostics, Span, nearest};
use crate::lang::ast::{Attribute, Block, Body, Expr, ExprKind, Name};
use crate::lang::functions::{self, World};
use crate::lang::{EvalContext, EvalError, Scope, Value};

/// A value that is made when it is first asked for.
#[derive(Debug, Default)]
pub(super) enum Memo {
    #[default]
    Unasked,
    /// It is being made: whoever meets this closes a cycle.
    Busy,
    Done(Result<Value, EvalError>),
}

pub(super) type MemoCell = RefCell<Memo>;

/// A `variable` block, or a name that bake defines.
pub(super) struct Variable<'a> {
    /// `None` for a built-in.
    pub(super) block: Option<&'a Block>,
    memo: MemoCell,
}

/// A `function` block.
pub(super) struct UserFunction<'a> {
    pub(super) block: &'a Block,
    pub(super) parameters: Vec<&'a str>,
    pub(super) variadic: Option<&'a str>,
    pub(super) result: &'a Expr,
}

/// Says whether an axis has this value, a number like the text that it is written as.
fn is_same(value: &Value, wanted: &Value) -> bool {
    match (crate::lang::primitive_text(value), crate::lang::primitive_text(wanted)) {
        (Some(value), Some(wanted)) => value == wanted,
        _ => value == wanted,
    }
}

/// A `target` block, or one cell of its matrix.
pub(super) struct TargetCell<'a> {
    pub(super) name: Name,
    pub(super) block: &'a Block,
    locals: BTreeMap<String, Value>,
    /// Few, in source order.
    memos: Vec<(&'static str, Kind, &'a Attribute, MemoCell)>,
}

/// A `target` block with its cells, expanded when first asked for.
struct TargetBlock<'a> {
    block: &'a Block,
    cells: OnceCell<Result<Vec<TargetCell<'a>>, EvalError>>,
    is_expanding: Cell<bool>,
}

/// Everything that expressions can refer to.
pub(super) struct Program<'a> {
    pub(super) options: &'a Options<'a>,
    /// Reads the files that expressions name.
    pub(super) places: &'a Places<'a>,
    /// Where the text of each of `options.vars` stands.
    pub(super) var_places: Vec<Span>,
    pub(super) world: World,
    pub(super) variables: BTreeMap<&'a str, Variable<'a>>,
    pub(super) functions: BTreeMap<&'a str, UserFunction<'a>>,
    pub(super) globals: BTreeMap<&'a str, (&'a Attribute, MemoCell)>,
    targets: Vec<TargetBlock<'a>>,
    /// Blocks whose label is the target's name.
    pub(super) by_label: BTreeMap<&'a str, Vec<usize>>,
    /// Blocks with a matrix or `name`.
    pub(super) shaped: Vec<usize>,
    pub(super) groups: BTreeMap<&'a str, &'a Block>,
    /// What is being evaluated, outermost first.
    pub(super) stack: RefCell<Vec<(String, Span)>>,
    pub(super) depth: Cell<usize>,
    /// What evaluation cost so far, in steps.
    pub(super) n_steps: Cell<usize>,
    /// How many names were looked at for one that may have been meant.
    pub(super) n_compared: Cell<usize>,
    /// Where one of these two was first too much.
    pub(super) excess: OnceCell<Span>,
    /// Bytes of all values that were made.
    pub(super) n_made: Cell<usize>,
    /// How many variables are being evaluated: from inside one, targets and groups cannot be seen.
    pub(super) n_variables: Cell<usize>,
}

/// Names that bake defines; a bakefile cannot change them.
pub(super) const BUILT_IN: [&str; 2] = ["BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"];

/// How many entries a node of a map has room for: that is what a map of one takes.
const NODE_ENTRIES: usize = 11;

/// How many levels of `MAX_DEPTH` one definition that another needs counts for.
const DEFINITION_DEPTH: usize = 2;

fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

impl<'a> Program<'a> {
    /// Collects the definitions of all bodies; of two variables, functions, groups or attributes of one name the last
    /// one counts.
    pub(super) fn collect(
        bodies: impl IntoIterator<Item = &'a Body>,
        options: &'a Options<'a>,
        places: &'a Places<'a>,
        findings: &mut Diagnostics,
    ) -> Program<'a> {
        let world = World { now: options.now, home: (options.env)("HOME"), seed: options.seed, ..World::default() };
        let mut program = Program {
            options,
            places,
            var_places: Vec::new(),
            world,
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            globals: BTreeMap::new(),
            targets: Vec::new(),
            by_label: BTreeMap::new(),
            shaped: Vec::new(),
            groups: BTreeMap::new(),
            stack: RefCell::default(),
            depth: Cell::new(0),
            n_steps: Cell::new(0),
            n_made: Cell::new(0),
            n_compared: Cell::new(0),
            excess: OnceCell::new(),
            n_variables: Cell::new(0),
        };
        for body in bodies {
            for attribute in body.attributes.iter().filter(|attribute| attribute.name.text != INCLUDE) {
                program.globals.insert(&attribute.name.text, (attribute, MemoCell::default()));
            }
            for block in &body.blocks {
                program.add_block(block, findings);
            }
        }
        for name in BUILT_IN {
            program.variables.insert(name, Variable { block: None, memo: MemoCell::default() });
        }
        program
    }

    fn add_block(&mut self, block: &'a Block, findings: &mut Diagnostics) {
        const KINDS: [&str; 4] = ["variable", "function", "group", "target"];
        let kind = block.kind.text.as_str();
        if !KINDS.contains(&kind) {
            let finding = Diagnostic::warning(block.kind.span, format!("a block `{kind}` means nothing here"));
            findings.push(match nearest(kind, KINDS) {
                Some(near) => finding.hint(format!("did you mean `{near}`?")),
                None => finding.note("the blocks are target, group, variable and function"),
            });
            return;
        }
        let label = match &block.labels[..] {
            [label] => label,
            [] => {
                findings.push(
                    Diagnostic::error(block.kind.span, format!("this {kind} has no name"))
                        .hint(format!("write `{kind} \"NAME\" {{`")),
                );
                return;
            }
            [_, extra, ..] => {
                findings.push(Diagnostic::error(extra.span, format!("a {kind} has one name only")));
                return;
            }
        };
        match kind {
            "variable" => {
                _ = self.variables.insert(&label.text, Variable { block: Some(block), memo: MemoCell::default() })
            }
            "function" => self.add_function(block, label, findings),
            "group" => {
                check_name("group", label, findings);
                self.groups.insert(&label.text, block);
            }
            _ => self.add_target(block, label, findings),
        }
    }

    fn add_target(&mut self, block: &'a Block, label: &'a Name, findings: &mut Diagnostics) {
        check_name("target", label, findings);
        let index = self.targets.len();
        self.targets.push(TargetBlock { block, cells: OnceCell::new(), is_expanding: Cell::new(false) });
        let is_shaped = block.body.attribute("matrix").is_some() || block.body.attribute("name").is_some();
        match is_shaped {
            true => self.shaped.push(index),
            false => self.by_label.entry(&label.text).or_default().push(index),
        }
    }

    fn add_function(&mut self, block: &'a Block, label: &'a Name, findings: &mut Diagnostics) {
        if functions::find(&label.text).is_some() {
            findings.push(Diagnostic::warning(
                label.span,
                format!("`{}` is a built-in function; this one is never called", label.text),
            ));
        }
        let body = &block.body;
        let (Some(params), Some(result)) = (body.attribute("params"), body.attribute("result")) else {
            let missing = if body.attribute("params").is_none() { "params" } else { "result" };
            findings.push(Diagnostic::error(label.span, format!("function \"{}\" has no `{missing}`", label.text)));
            return;
        };
        let ExprKind::Tuple(items) = &params.value.kind else {
            findings.push(Diagnostic::error(params.value.span, "`params` is a list of names"));
            return;
        };
        let mut parameters = Vec::new();
        for item in items {
            match plain_word(item) {
                Some(word) => parameters.push(word),
                None => findings.push(Diagnostic::error(item.span, "a parameter is a plain name")),
            }
        }
        let variadic = body.attribute("variadic_params");
        let variadic_name = variadic.and_then(|attribute| plain_word(&attribute.value));
        if let (Some(attribute), None) = (variadic, variadic_name) {
            findings.push(Diagnostic::error(attribute.value.span, "`variadic_params` is one plain name"));
        }
        let function = UserFunction { block, parameters, variadic: variadic_name, result: &result.value };
        self.functions.insert(&label.text, function);
    }

    /// Returns all target blocks' cells in order of definition. A block that cannot be expanded gives its error.
    pub(super) fn cells(&self) -> Vec<Result<&TargetCell<'a>, EvalError>> {
        let mut cells = Vec::new();
        for index in 0..self.targets.len() {
            match self.expand(index) {
                Ok(expanded) => cells.extend(expanded.iter().map(Ok)),
                Err(why) => cells.push(Err(why)),
            }
        }
        cells
    }

    /// Says whether a block has a matrix.
    pub(super) fn has_matrix(block: &Block) -> bool {
        block.body.attribute("matrix").is_some()
    }

    pub(super) fn expand(&self, index: usize) -> Result<&[TargetCell<'a>], EvalError> {
        let target = &self.targets[index];
        let Some(label) = target.block.labels.first() else { return Ok(&[]) };
        if target.cells.get().is_none() {
            if target.is_expanding.replace(true) {
                return Err(self.cycle(&format!("target.{}", label.text), label.span));
            }
            self.stack.borrow_mut().push((format!("target.{}", label.text), label.span));
            let cells = self.make_cells(target.block, label);
            self.stack.borrow_mut().pop();
            target.is_expanding.set(false);
            _ = target.cells.set(cells);
        }
        match target.cells.get() {
            Some(Ok(cells)) => Ok(cells),
            Some(Err(why)) => Err(why.clone()),
            None => Ok(&[]),
        }
    }

    fn make_cells(&self, block: &'a Block, label: &Name) -> Result<Vec<TargetCell<'a>>, EvalError> {
        let name = block.body.attribute("name");
        let Some(matrix) = block.body.attribute("matrix") else {
            if let Some(exclude) = block.body.attribute("exclude") {
                return Err(Box::new(
                    Diagnostic::error(exclude.name.span, "`exclude` needs a `matrix`")
                        .hint("it leaves combinations of a matrix out; remove it"),
                ));
            }
            return match name {
                Some(name) => Err(Box::new(
                    Diagnostic::error(name.name.span, "`name` needs a `matrix`")
                        .hint("the target's name is the label; remove `name`"),
                )),
                None => Ok(vec![TargetCell::new(block, label.clone(), BTreeMap::new())]),
            };
        };
        let mut rows = self.matrix_rows(matrix)?;
        if let Some(exclude) = block.body.attribute("exclude") {
            self.exclude(exclude, matrix, &mut rows)?;
        }
        self.made(rows.len() * TargetCell::size(block), matrix.value.span)?;
        let mut cells: Vec<TargetCell<'a>> = Vec::with_capacity(rows.len());
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for locals in rows {
            let name = match name {
                Some(attribute) => {
                    let value = EvalContext::new(self).eval_with(&locals, &attribute.value)?;
                    let text = value.as_str().map(str::to_owned).or_else(|| crate::lang::primitive_text(&value));
                    let text = text.ok_or_else(|| error(attribute.value.span, "`name` is not a string"))?;
                    Name { text, span: attribute.value.span }
                }
                None => label.clone(),
            };
            if !is_valid_name(&name.text) {
                return Err(Box::new(invalid_name("target", &name)));
            }
            if seen.insert(name.text.clone(), cells.len()).is_some() {
                let finding =
                    Diagnostic::error(name.span, format!("two cells of this matrix have the name \"{}\"", name.text));
                return Err(Box::new(finding.hint("use every key of the matrix in `name`")));
            }
            cells.push(TargetCell::new(block, name, locals));
        }
        Ok(cells)
    }

    /// Returns the values of each combination; the last key in alphabetical order changes fastest.
    fn matrix_rows(&self, matrix: &Attribute) -> Result<Vec<BTreeMap<String, Value>>, EvalError> {
        let value = EvalContext::new(self).eval(&matrix.value)?;
        let keys = value.as_entries().ok_or_else(|| {
            error(matrix.value.span, format!("`matrix` is a map of lists, not a {}", value.type_of()))
        })?;
        let mut rows = vec![BTreeMap::new()];
        for (key, values) in keys {
            let items: Vec<Value> = match (values.as_items(), values.as_entries()) {
                (Some(items), _) => items.to_vec(),
                (_, Some(entries)) => entries.values().cloned().collect(),
                _ => return Err(error(matrix.value.span, format!("the matrix values of `{key}` are no list"))),
            };
            if rows.len().saturating_mul(items.len()) > 100_000 {
                return Err(error(matrix.value.span, "this matrix has more than 100000 cells"));
            }
            // Each cell holds the value of each axis so far.
            let n_axes = (rows.first().map_or(0, BTreeMap::len) + 1).next_multiple_of(NODE_ENTRIES);
            self.made(
                rows.len() * items.len() * n_axes * (size_of::<(String, Value)>() + key.len()),
                matrix.value.span,
            )?;
            rows = rows
                .iter()
                .flat_map(|row| {
                    items.iter().map(|item| {
                        let mut row = row.clone();
                        row.insert(key.clone(), item.clone());
                        row
                    })
                })
                .collect();
        }
        Ok(rows)
    }

    /// Leaves out the combinations that `exclude` names: each of its maps says values of some axes.
    fn exclude(
        &self,
        exclude: &Attribute,
        matrix: &Attribute,
        rows: &mut Vec<BTreeMap<String, Value>>,
    ) -> Result<(), EvalError> {
        let value = EvalContext::new(self).eval(&exclude.value)?;
        let wrong = |message: String| error(exclude.value.span, message);
        let items = value
            .as_items()
            .ok_or_else(|| wrong(format!("`exclude` is a list of maps; this is of the type {}", value.type_of())))?;
        for item in items {
            let entries = item.as_entries().ok_or_else(|| {
                wrong(format!("`exclude` is a list of maps; one of these is of the type {}", item.type_of()))
            })?;
            let axes = rows.first().into_iter().flat_map(BTreeMap::keys).map(String::as_str);
            if let Some(unknown) = entries.keys().find(|key| axes.clone().all(|axis| axis != key.as_str())) {
                let finding = Diagnostic::error(exclude.value.span, format!("the matrix has no axis \"{unknown}\""));
                return Err(Box::new(finding.label(matrix.name.span, "this matrix").suggest(unknown, axes)));
            }
            let fits = |row: &BTreeMap<String, Value>| {
                entries.iter().all(|(key, wanted)| row.get(key).is_some_and(|value| is_same(value, wanted)))
            };
            self.handled(rows.len() * item.size(), exclude.value.span)?;
            rows.retain(|row| !fits(row));
            if rows.is_empty() {
                return Err(wrong("this leaves nothing of the matrix".to_owned()));
            }
        }
        Ok(())
    }

    /// Returns an attribute of a cell, converted to its type; `None` if the block does not set it.
    pub(super) fn attribute(&self, cell: &TargetCell<'a>, name: &str) -> Result<Option<(Value, &'a Expr)>, EvalError> {
        let known = cell.memos.iter().rev().find(|(known, ..)| *known == name);
        let Some((known, kind, attribute, memo)) = known else { return Ok(None) };
        let what = || format!("target.{}.{known}", cell.name.text);
        let value = self.memoised(memo, what, attribute.name.span, || {
            let value = EvalContext::new(self).eval_with(&cell.locals, &attribute.value)?;
            // What it becomes, and the target's own copy of that.
            self.made(value.size(), attribute.value.span)?;
            attributes::converted(*kind, &value, &attribute.value)
        })?;
        Ok(Some((value, &attribute.value)))
    }

    /// Returns a variable's value.
    pub(super) fn variable(&self, name: &str) -> Option<Result<Value, EvalError>> {
        let (name, variable) = self.variables.get_key_value(name)?;
        let Some(block) = variable.block else {
            return Some(Ok(match *name {
                "BAKE_CMD_CONTEXT" => Value::string(self.options.cmd_context),
                _ => Value::string(self.options.local_platform.to_string()),
            }));
        };
        let span = block.labels.first().map_or(block.kind.span, |label| label.span);
        let what = || format!("variable.{name}");
        Some(self.memoised(&variable.memo, what, span, || {
            self.n_variables.set(self.n_variables.get() + 1);
            let value = variables::value(self, name, block);
            self.n_variables.set(self.n_variables.get() - 1);
            value
        }))
    }

    /// Returns a global attribute's value.
    pub(super) fn global(&self, name: &str) -> Option<Result<Value, EvalError>> {
        let (attribute, memo) = self.globals.get(name)?;
        let value = self.memoised(
            memo,
            || name.to_owned(),
            attribute.name.span,
            || EvalContext::new(self).eval(&attribute.value),
        );
        Some(value)
    }

    /// Returns the names of all global attributes.
    pub(super) fn global_names(&self) -> impl Iterator<Item = &'a str> {
        self.globals.keys().copied()
    }

    fn memoised(
        &self,
        memo: &MemoCell,
        what: impl Fn() -> String,
        span: Span,
        make: impl FnOnce() -> Result<Value, EvalError>,
    ) -> Result<Value, EvalError> {
        match &*memo.borrow() {
            Memo::Done(value) => return value.clone(),
            Memo::Busy => return Err(self.cycle(&what(), span)),
            Memo::Unasked => {}
        }
        *memo.borrow_mut() = Memo::Busy;
        // A definition takes as much of the stack as several nested expressions.
        self.depth.set(self.depth.get() + DEFINITION_DEPTH);
        self.stack.borrow_mut().push((what(), span));
        let value = make();
        self.stack.borrow_mut().pop();
        self.depth.set(self.depth.get().saturating_sub(DEFINITION_DEPTH));
        *memo.borrow_mut() = Memo::Done(value.clone());
        value
    }

    /// Says whether `n` more names may be looked at for one that was meant: in a file where everything is wrong, few errors
    /// are read.
    pub(super) fn may_compare(&self, n: usize) -> bool {
        const MAX_COMPARED: usize = 1_000_000;
        self.n_compared.set(self.n_compared.get().saturating_add(n));
        self.n_compared.get() <= MAX_COMPARED
    }

    /// Draws the cycle that `what` closes.
    pub(super) fn cycle(&self, what: &str, span: Span) -> EvalError {
        let stack = self.stack.borrow();
        let start = stack.iter().position(|(name, _)| name == what).unwrap_or(0);
        let names: Vec<&str> = stack[start..].iter().map(|(name, _)| name.as_str()).chain([what]).collect();
        let mut finding = Diagnostic::error(span, format!("`{what}` refers to itself: {}", names.join(" → ")));
        for (name, place) in stack[start..].iter().skip(1).take(5) {
            finding = finding.label(*place, format!("`{name}` is on the way"));
        }
        Box::new(finding)
    }
}

impl<'a> TargetCell<'a> {
    fn new(block: &'a Block, name: Name, locals: BTreeMap<String, Value>) -> TargetCell<'a> {
        let memo = |attribute: &'a Attribute| {
            let (name, kind) = attributes::find(&attribute.name.text)?;
            Some((name, kind, attribute, MemoCell::default()))
        };
        TargetCell { name, block, locals, memos: block.body.attributes.iter().filter_map(memo).collect() }
    }

    /// Returns about how many bytes a cell of a block takes, the values of its axes apart.
    fn size(block: &Block) -> usize {
        /// Its name here, and in the maps that it is found in.
        const NAMES: usize = 1 << 10;
        let n_attributes = block.body.attributes.len();
        NAMES + size_of::<TargetCell<'_>>() + n_attributes * size_of::<(&str, Kind, &Attribute, MemoCell)>()
    }
}

/// The word that stands for itself: HCL's bare name, JSON's and TOML's string.
fn plain_word(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Variable(word) | ExprKind::String(word) => Some(word),
        _ => None,
    }
}

fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

pub(super) fn check_name(kind: &str, name: &Name, findings: &mut Diagnostics) {
    if !is_valid_name(&name.text) {
        findings.push(invalid_name(kind, name));
    }
}

fn invalid_name(kind: &str, name: &Name) -> Diagnostic {
    Diagnostic::error(name.span, format!("\"{}\" cannot be the name of a {kind}", name.text))
        .note("names are made of letters, digits, `_` and `-`")
}
