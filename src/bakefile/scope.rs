//! What a name in an expression means: a variable, a global attribute, `target.NAME.ATTRIBUTE`, a user's function.

use std::collections::BTreeMap;

use super::attributes::{self, Kind};
use super::program::{Program, TargetCell};
use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::lang::ast::{Call, Step, StepKind};
use crate::lang::functions::files::SourceFiles;
use crate::lang::functions::{Argument, World, wrong_count};
use crate::lang::limits::{BYTES_PER_STEP, MAX_DEPTH, MAX_STEPS, MAX_VALUES};
use crate::lang::{EvalContext, EvalError, Scope, Type, Value};
use crate::sys::beneath::FileKind;

fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

impl Scope for Program<'_> {
    fn lookup(&self, name: &str, span: Span, steps: &[Step]) -> Result<Option<(Value, usize)>, EvalError> {
        if let Some(value) = self.variable(name).or_else(|| self.global(name)) {
            return value.map(|value| Some((value, 0)));
        }
        match name {
            "target" | "group" if self.n_variables.get() > 0 => {
                Err(error(span, format!("a variable cannot see a {name}: variables come first")))
            }
            "target" => self.lookup_target(span, steps).map(Some),
            "group" => self.lookup_group(span, steps).map(Some),
            _ => Ok(None),
        }
    }

    fn call(&self, call: &Call, span: Span, arguments: &[Argument]) -> Result<Option<Value>, EvalError> {
        let Some(function) = self.functions.get(call.name.text.as_str()) else { return Ok(None) };
        let n_wanted = function.parameters.len();
        if arguments.len() < n_wanted || (function.variadic.is_none() && arguments.len() > n_wanted) {
            let message = wrong_count(&call.name.text, n_wanted, function.variadic.is_some(), arguments.len());
            let definition = function.block.labels.first().map_or(function.block.kind.span, |label| label.span);
            return Err(Box::new(Diagnostic::error(span, message).label(definition, "it is defined here")));
        }
        if let Some(null) = arguments.iter().find(|argument| argument.value.is_null()) {
            return Err(error(null.span, "a function of the bakefile cannot take null"));
        }
        let what = format!("{}()", call.name.text);
        if self.stack.borrow().iter().any(|(name, _)| *name == what) {
            return Err(self.cycle(&what, call.name.span));
        }
        let (fixed, rest) = arguments.split_at(n_wanted);
        let pairs = function.parameters.iter().zip(fixed);
        let mut names: BTreeMap<String, Value> =
            pairs.map(|(name, argument)| ((*name).to_owned(), argument.value.clone())).collect();
        if let Some(name) = function.variadic {
            names.insert(name.to_owned(), Value::tuple(rest.iter().map(|argument| argument.value.clone()).collect()));
        }
        self.stack.borrow_mut().push((what, call.name.span));
        let value = EvalContext::new(self).eval_with(&names, function.result);
        self.stack.borrow_mut().pop();
        value.map(Some)
    }

    fn unknown_name(&self, name: &str, span: Span) -> EvalError {
        let finding = Diagnostic::error(span, format!("no variable named \"{name}\""));
        let known = self.variables.keys().chain(self.globals.keys()).copied();
        let near =
            if self.may_compare(self.variables.len() + self.globals.len()) { nearest(name, known) } else { None };
        let place = near.and_then(|near| self.variables.get(near)?.block?.labels.first());
        Box::new(match (near, place) {
            (Some(near), Some(place)) => finding
                .label(place.span, format!("\"{near}\" is declared here"))
                .hint(format!("did you mean \"{near}\"?")),
            (Some(near), None) => finding.hint(format!("did you mean \"{near}\"?")),
            (None, _) if (self.options.env)(name).is_some() => finding
                .note(format!("{name} is set in the environment, but a bakefile sees declared variables only"))
                .hint(format!("declare a variable \"{name}\"")),
            (None, _) => finding.hint(format!("declare a variable \"{name}\"")),
        })
    }

    fn function_names(&self) -> Vec<String> {
        self.functions.keys().map(|name| (*name).to_owned()).collect()
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn files(&self) -> &dyn SourceFiles {
        self
    }

    fn enter(&self) -> bool {
        self.depth.set(self.depth.get() + 1);
        let is_fine = self.depth.get() <= MAX_DEPTH;
        if !is_fine {
            self.leave();
        }
        is_fine
    }

    fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    fn spend(&self, n_steps: usize) -> bool {
        self.n_steps.set(self.n_steps.get().saturating_add(n_steps));
        self.n_steps.get() <= MAX_STEPS
    }

    fn first_excess(&self, span: Span) -> Span {
        *self.excess.get_or_init(|| span)
    }

    fn make(&self, n_bytes: usize) -> bool {
        self.n_made.set(self.n_made.get().saturating_add(n_bytes));
        self.n_made.get() <= MAX_VALUES
    }
}

impl SourceFiles for Program<'_> {
    fn read(&self, at: Span, path: &str) -> Result<Vec<u8>, EvalError> {
        let bytes = self.places.read(&self.places.inside(at.file, path), at)?;
        // Where this is too much, the call that asked for it says so.
        self.spend(bytes.len() / BYTES_PER_STEP);
        Ok(bytes)
    }

    fn exists(&self, at: Span, path: &str) -> Result<bool, EvalError> {
        self.places.exists(&self.places.inside(at.file, path), at)
    }

    fn matching(&self, at: Span, directory: &str, pattern: &str) -> Result<Vec<String>, EvalError> {
        let place = self.places.inside(at.file, directory);
        if self.places.stat(&place, at)?.kind != FileKind::Directory {
            return Err(error(at, format!("{} is no directory", self.places.shown(&place))));
        }
        Ok(self.places.matching(&place, pattern, at)?.into_iter().collect())
    }
}

impl<'a> Program<'a> {
    fn lookup_target(&self, span: Span, steps: &[Step]) -> Result<(Value, usize), EvalError> {
        let cells = match steps.first().map(|step| (&step.kind, step.span)) {
            Some((StepKind::Attribute(name), place)) => self.find_cells(name, place)?,
            _ => {
                let finding = Diagnostic::error(span, "targets are reached by name and attribute");
                return Err(Box::new(finding.hint("write `target.NAME.ATTRIBUTE`")));
            }
        };
        if let Some(StepKind::Attribute(attribute)) = steps.get(1).map(|step| &step.kind)
            && let Some((_, kind)) = attributes::find(attribute)
        {
            return Ok((self.own_value(&cells, attribute, kind)?, 2));
        }
        let mut entries = BTreeMap::new();
        for (name, kind) in attributes::all() {
            let value = self.own_value(&cells, name, kind)?;
            // The peer's object has no such name, so it shows only where it is used.
            if name != "platform-args" || !value.is_null() {
                entries.insert(name.to_owned(), value);
            }
        }
        let name = cells.last().map_or(Value::NULL, |cell| Value::string(&cell.name.text));
        entries.insert("name".to_owned(), name);
        Ok((Value::object(entries), 1))
    }

    /// The value that the last block of a target gives to an attribute; null if none does.
    fn own_value(&self, cells: &[&TargetCell<'a>], attribute: &str, kind: Kind) -> Result<Value, EvalError> {
        for cell in cells.iter().rev() {
            if let Some((value, _)) = self.attribute(cell, attribute)? {
                return Ok(value);
            }
        }
        Ok(match kind {
            Kind::Specs => Value::list(Vec::new()),
            Kind::Text if attribute == "description" => Value::string(""),
            Kind::Text => Value::Null(Type::String),
            Kind::Texts => Value::Null(Type::List(Box::new(Type::String))),
            Kind::TextMap => Value::Null(Type::Map(Box::new(Type::String))),
            Kind::TextMaps => Value::Null(Type::Map(Box::new(Type::Map(Box::new(Type::String))))),
            Kind::Flag | Kind::Resources => Value::NULL,
        })
    }

    fn find_cells(&self, name: &str, span: Span) -> Result<Vec<&TargetCell<'a>>, EvalError> {
        let mut found = Vec::new();
        for index in self.by_label.get(name).into_iter().flatten() {
            found.extend(self.expand(*index)?);
        }
        if found.is_empty() {
            for index in &self.shaped {
                found.extend(self.expand(*index)?.iter().filter(|cell| cell.name.text == name));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let finding = Diagnostic::error(span, format!("no target named \"{name}\""));
        Err(Box::new(match self.may_compare(self.by_label.len()) {
            true => finding.suggest(name, self.by_label.keys().copied()),
            false => finding,
        }))
    }

    fn lookup_group(&self, span: Span, steps: &[Step]) -> Result<(Value, usize), EvalError> {
        let Some(StepKind::Attribute(name)) = steps.first().map(|step| &step.kind) else {
            let finding = Diagnostic::error(span, "groups are reached by name and attribute");
            return Err(Box::new(finding.hint("write `group.NAME.targets`")));
        };
        let place = steps.first().map_or(span, |step| step.span);
        let block = self.groups.get(name.as_str()).ok_or_else(|| {
            let finding = Diagnostic::error(place, format!("no group named \"{name}\""));
            Box::new(finding.suggest(name, self.groups.keys().copied()))
        })?;
        let mut entries = BTreeMap::from([("name".to_owned(), Value::string(name))]);
        for (attribute, kind) in [("targets", Kind::Texts), ("description", Kind::Text)] {
            let value = match block.body.attribute(attribute) {
                Some(found) => attributes::converted(kind, &EvalContext::new(self).eval(&found.value)?, &found.value)?,
                None => Value::NULL,
            };
            entries.insert(attribute.to_owned(), value);
        }
        Ok((Value::object(entries), 1))
    }
}
