//! Evaluates expressions. Where names come from is the caller's: a [`Scope`].

mod loops;

use std::collections::BTreeMap;

use super::ast::{BinaryOperator, Call, Conditional, Expr, ExprKind, Step, StepKind, Traversal, UnaryOperator};
use super::convert::{convert, unify};
use super::element::{attribute, element};
use super::functions::{self, Argument, Function};
use super::limits::{BYTES_PER_STEP, ELEMENT, MAX_ARGUMENTS, MAX_DEPTH, MAX_STEPS, MAX_TEXT, MAX_VALUE, MAX_VALUES};
use super::number::Number;
use super::operand::{boolean, logical, number};
use super::type_expr::{all_required, type_from_expr};
use super::value::{Type, Value};
use crate::diagnostic::{Diagnostic, Span, nearest};

/// Why an expression has no value.
pub type EvalError = Box<Diagnostic>;

/// Where names come from.
pub trait Scope {
    /// Returns the value of a name and how many of the steps after it that value accounts for; `None` if there is no
    /// such name.
    ///
    /// # Errors
    /// Whatever kept the named thing from having a value.
    fn lookup(&self, name: &str, span: Span, steps: &[Step]) -> Result<Option<(Value, usize)>, EvalError>;

    /// Calls a function that the user defined; `None` if there is no such function.
    ///
    /// # Errors
    /// What its body fails with.
    fn call(&self, call: &Call, span: Span, arguments: &[Argument]) -> Result<Option<Value>, EvalError>;

    /// Returns the error for an unknown name.
    fn unknown_name(&self, name: &str, span: Span) -> EvalError;

    /// Returns the names of the user's functions, for suggestions.
    fn function_names(&self) -> Vec<String>;

    /// Returns what built-in functions may know of the world.
    fn world(&self) -> &functions::World;

    /// Returns what reads files for functions.
    fn files(&self) -> &dyn functions::files::SourceFiles;

    /// Counts one level down; false where that is too deep.
    fn enter(&self) -> bool;

    /// Counts one level up.
    fn leave(&self);

    /// Counts steps; false where all of them together are more than [`MAX_STEPS`].
    fn spend(&self, n_steps: usize) -> bool;

    /// Counts bytes of values; false where all of them together are more than [`MAX_VALUES`].
    fn make(&self, n_bytes: usize) -> bool;

    /// Returns where a limit of the run was first passed: `span` if that is now. All errors of it are one.
    fn first_excess(&self, span: Span) -> Span;

    /// Counts going through values of `n_bytes` at `span`.
    ///
    /// # Errors
    /// The run has more than [`MAX_STEPS`].
    fn handled(&self, n_bytes: usize, span: Span) -> Result<(), EvalError> {
        match self.spend(n_bytes / BYTES_PER_STEP) {
            true => Ok(()),
            false => {
                Err(too_much(self.first_excess(span), format!("evaluating takes more than {MAX_STEPS} steps in all")))
            }
        }
    }

    /// Counts making values of `n_bytes` at `span`, and going through them.
    ///
    /// # Errors
    /// The run has more than [`MAX_VALUES`] or [`MAX_STEPS`].
    fn made(&self, n_bytes: usize, span: Span) -> Result<(), EvalError> {
        self.handled(n_bytes, span)?;
        match self.make(n_bytes) {
            true => Ok(()),
            false => Err(too_much(
                self.first_excess(span),
                format!("the values are more than {} MiB in all", MAX_VALUES >> 20),
            )),
        }
    }
}

/// Evaluates in a scope, with the names that `for` and functions bind on top of it.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    scope: &'a dyn Scope,
    locals: Option<&'a Frame<'a>>,
}

struct Frame<'a> {
    names: &'a BTreeMap<String, Value>,
    outer: Option<&'a Frame<'a>>,
}

/// What calling a user's function takes beside its expressions: its names are bound, and it is looked for among its callers.
const STEPS_PER_CALL: usize = 4;

fn too_much(span: Span, message: String) -> EvalError {
    let hint = "look for values that double, and for functions that call each other many times";
    Box::new(Diagnostic::error(span, message).hint(hint))
}

/// Refuses a value that is too large by itself: what goes through it afterwards would take too long.
fn checked(value: Value, span: Span) -> Result<Value, EvalError> {
    if value.depth() > MAX_DEPTH {
        return Err(error(span, format!("this value is nested more than {MAX_DEPTH} levels deep")));
    }
    if value.as_str().is_some_and(|text| text.len() > MAX_TEXT) {
        return Err(error(span, format!("this text is longer than {} MiB", MAX_TEXT >> 20)));
    }
    if value.size() > MAX_VALUE {
        return Err(too_much(span, format!("this value is more than {} MiB, written out", MAX_VALUE >> 20)));
    }
    Ok(value)
}

pub(super) fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

/// Returns a value; gathers what went wrong, so that all of it is said in one run.
fn kept<T>(result: Result<T, EvalError>, failure: &mut Option<EvalError>) -> Option<T> {
    match (result, failure) {
        (Ok(value), _) => Some(value),
        (Err(why), Some(first)) => {
            first.and(*why);
            None
        }
        (Err(why), failure) => {
            *failure = Some(why);
            None
        }
    }
}

fn unless<T>(failure: Option<EvalError>, value: T) -> Result<T, EvalError> {
    failure.map_or(Ok(value), Err)
}

impl<'a> EvalContext<'a> {
    /// Returns a context without local names.
    pub fn new(scope: &'a dyn Scope) -> EvalContext<'a> {
        EvalContext { scope, locals: None }
    }

    /// Evaluates `expr` with `names` bound on top of this context.
    ///
    /// # Errors
    /// See [`EvalContext::eval`].
    pub fn eval_with(&self, names: &BTreeMap<String, Value>, expr: &Expr) -> Result<Value, EvalError> {
        self.bind(names, |context| context.eval(expr))
    }

    fn bind<T>(&self, names: &BTreeMap<String, Value>, work: impl FnOnce(&EvalContext<'_>) -> T) -> T {
        let frame = Frame { names, outer: self.locals };
        work(&EvalContext { scope: self.scope, locals: Some(&frame) })
    }

    /// Evaluates an expression.
    ///
    /// # Errors
    /// The first thing that has no value.
    pub fn eval(&self, expr: &Expr) -> Result<Value, EvalError> {
        // First of all: what went wrong does not keep the rest from being evaluated, but this does.
        self.scope.handled(BYTES_PER_STEP, expr.span)?;
        self.scope.made(0, expr.span)?;
        self.descend(expr.span)?;
        let value = self.eval_kind(expr);
        self.scope.leave();
        checked(value?, expr.span)
    }

    fn descend(&self, span: Span) -> Result<(), EvalError> {
        match self.scope.enter() {
            true => Ok(()),
            false => Err(error(span, format!("this refers on and on, more than {MAX_DEPTH} levels deep"))),
        }
    }

    /// Counts the elements of a collection that is new itself, not what they hold: that is shared, and was counted when it
    /// was made.
    fn made_of(&self, n_elements: usize, span: Span) -> Result<(), EvalError> {
        self.scope.made(n_elements.saturating_add(1).saturating_mul(ELEMENT), span)
    }

    fn eval_kind(&self, expr: &Expr) -> Result<Value, EvalError> {
        match &expr.kind {
            ExprKind::Null => Ok(Value::NULL),
            ExprKind::Bool(flag) => Ok(Value::Bool(*flag)),
            ExprKind::Number(number) => Ok(Value::Number(number.clone())),
            ExprKind::String(text) => {
                self.scope.made(text.len(), expr.span)?;
                Ok(Value::string(text))
            }
            ExprKind::Template(parts) => self.template(parts, expr.span),
            ExprKind::Tuple(items) => {
                self.made_of(items.len(), expr.span)?;
                let mut failure = None;
                let values = items.iter().filter_map(|item| kept(self.eval(item), &mut failure)).collect();
                unless(failure, Value::tuple(values))
            }
            ExprKind::Object(items) => self.object(items, expr.span),
            ExprKind::Parens(inner) => self.eval(inner),
            ExprKind::Variable(name) => self.variable(name, expr.span, &[]).map(|(value, _)| value),
            ExprKind::Traversal(traversal) => self.traversal(traversal),
            ExprKind::Call(call) => self.call(call, expr.span),
            ExprKind::Conditional(conditional) => self.conditional(conditional, expr.span),
            ExprKind::Unary(operator, operand) => self.unary(*operator, operand),
            ExprKind::Binary(operator, sides) => self.binary(*operator, &sides.0, &sides.1, expr.span),
            ExprKind::For(each) => self.for_expr(each, expr.span),
        }
    }

    fn variable(&self, name: &str, span: Span, steps: &[Step]) -> Result<(Value, usize), EvalError> {
        let mut frame = self.locals;
        while let Some(current) = frame {
            if let Some(value) = current.names.get(name) {
                return Ok((value.clone(), 0));
            }
            frame = current.outer;
        }
        self.scope.lookup(name, span, steps)?.ok_or_else(|| match nearest(name, self.local_names()) {
            Some(near) => {
                let finding = Diagnostic::error(span, format!("no variable named \"{name}\""));
                Box::new(finding.hint(format!("did you mean \"{near}\"?")))
            }
            None => self.scope.unknown_name(name, span),
        })
    }

    /// The names of matrix, parameters and `for` that are seen from here, innermost first.
    fn local_names(&self) -> impl Iterator<Item = &'a str> {
        let frames = std::iter::successors(self.locals, |frame| frame.outer);
        frames.flat_map(|frame| frame.names.keys()).map(String::as_str)
    }

    fn object(&self, items: &[(Expr, Expr)], span: Span) -> Result<Value, EvalError> {
        self.made_of(items.len(), span)?;
        let (mut entries, mut failure) = (BTreeMap::new(), None);
        for (key, value) in items {
            let name = kept(self.key(key), &mut failure);
            let value = kept(self.eval(value), &mut failure);
            entries.extend(name.zip(value));
        }
        unless(failure, Value::object(entries))
    }

    fn key(&self, key: &Expr) -> Result<String, EvalError> {
        match convert(&self.eval(key)?, &Type::String) {
            Ok(Value::String(text)) => {
                self.scope.made(text.len() + ELEMENT, key.span)?;
                Ok(text.to_string())
            }
            Ok(_) => Err(error(key.span, "the key of an object is null")),
            Err(why) => Err(error(key.span, format!("no key of an object: {why}"))),
        }
    }

    fn condition(&self, expr: &Expr) -> Result<bool, EvalError> {
        match convert(&self.eval(expr)?, &Type::Bool) {
            Ok(Value::Bool(flag)) => Ok(flag),
            Ok(_) => Err(error(expr.span, "the condition is null")),
            Err(why) => Err(error(expr.span, format!("the condition is not true or false: {why}"))),
        }
    }

    fn traversal(&self, traversal: &Traversal) -> Result<Value, EvalError> {
        let steps = &traversal.steps;
        let (value, n_done) = match &traversal.base.kind {
            ExprKind::Variable(name) => self.variable(name, traversal.base.span, steps)?,
            _ => (self.eval(&traversal.base)?, 0),
        };
        self.walk(value, steps.get(n_done..).unwrap_or(&[]))
    }

    fn walk(&self, mut value: Value, mut steps: &[Step]) -> Result<Value, EvalError> {
        while let Some((step, rest)) = steps.split_first() {
            (value, steps) = match &step.kind {
                StepKind::Attribute(name) => (attribute(&value, name, step.span)?, rest),
                StepKind::Index(index) | StepKind::DottedIndex(index) => {
                    (element(&value, &self.eval(index)?, step.span)?, rest)
                }
                StepKind::FullSplat => return self.splat(&value, rest, step.span),
                StepKind::AttributeSplat => {
                    let is_inner =
                        |step: &&Step| matches!(step.kind, StepKind::Attribute(_) | StepKind::DottedIndex(_));
                    let (inner, after) = rest.split_at(rest.iter().take_while(is_inner).count());
                    (self.splat(&value, inner, step.span)?, after)
                }
            };
        }
        Ok(value)
    }

    /// A null of no list type has no elements; anything else that is no list is a list of one.
    fn splat(&self, value: &Value, steps: &[Step], span: Span) -> Result<Value, EvalError> {
        let items: &[Value] = match value {
            Value::Null(Type::List(_) | Type::Set(_) | Type::Tuple(_)) => {
                return Err(error(span, "this is null, which has no elements"));
            }
            Value::Null(_) => &[],
            _ => value.as_items().unwrap_or(std::slice::from_ref(value)),
        };
        self.made_of(items.len(), span)?;
        self.descend(span)?;
        let items: Result<Vec<Value>, EvalError> = items.iter().map(|item| self.walk(item.clone(), steps)).collect();
        self.scope.leave();
        let is_list = matches!(value, Value::List(_) | Value::Set(_));
        checked(if is_list { Value::list(items?) } else { Value::tuple(items?) }, span)
    }

    fn conditional(&self, conditional: &Conditional, span: Span) -> Result<Value, EvalError> {
        let condition = self.condition(&conditional.condition)?;
        let (chosen, other) =
            if condition { (&conditional.yes, &conditional.no) } else { (&conditional.no, &conditional.yes) };
        let value = self.eval(chosen)?;
        // The branch that is not taken decides the type too, but must not fail the whole.
        let Ok(other) = self.eval(other) else { return Ok(value) };
        self.scope.handled(other.size(), span)?;
        self.scope.made(value.size(), span)?;
        match unify([&value, &other]) {
            Some(common) => convert(&value, &common).map_err(|why| error(span, why)),
            None => {
                let finding = Diagnostic::error(span, "the two results of this condition have different types")
                    .note(format!("one is {}, the other {}", value.type_of(), other.type_of()));
                Err(Box::new(finding))
            }
        }
    }

    fn unary(&self, operator: UnaryOperator, operand: &Expr) -> Result<Value, EvalError> {
        let value = self.eval(operand)?;
        match operator {
            UnaryOperator::Negate => Ok(Value::Number(self.number(&value, operand.span)?.negate())),
            UnaryOperator::Not => Ok(Value::Bool(!boolean(&value, operand.span)?)),
        }
    }

    fn binary(&self, operator: BinaryOperator, left: &Expr, right: &Expr, span: Span) -> Result<Value, EvalError> {
        use BinaryOperator as B;
        let sides = (self.eval(left), self.eval(right));
        if matches!(operator, B::And | B::Or) {
            return logical(operator == B::Or, (sides.0, left.span), (sides.1, right.span));
        }
        let (a, b) = match sides {
            (Ok(a), Ok(b)) => (a, b),
            (Err(mut first), Err(second)) => {
                first.and(*second);
                return Err(first);
            }
            (Err(why), Ok(_)) | (Ok(_), Err(why)) => return Err(why),
        };
        if matches!(operator, B::Equal | B::NotEqual) {
            self.scope.handled(a.size().min(b.size()), span)?;
        }
        match operator {
            B::Equal => return Ok(Value::Bool(equal(&a, &b))),
            B::NotEqual => return Ok(Value::Bool(!equal(&a, &b))),
            _ => {}
        }
        let (a, b) = (self.number(&a, left.span)?, self.number(&b, right.span)?);
        self.scope.handled(arithmetic_effort(operator, &a, &b), span)?;
        let result = match operator {
            B::Add => a.add(&b),
            B::Subtract => a.subtract(&b),
            B::Multiply => a.multiply(&b),
            B::Divide => a.divide(&b),
            B::Modulo => a.modulo(&b),
            B::Less => return Ok(Value::Bool(a < b)),
            B::LessOrEqual => return Ok(Value::Bool(a <= b)),
            B::Greater => return Ok(Value::Bool(a > b)),
            _ => return Ok(Value::Bool(a >= b)),
        };
        result.map(Value::Number).ok_or_else(|| error(span, "this division has no result"))
    }

    /// Returns the number that an operand is or converts to. Reading digits takes longer than going through a text.
    fn number(&self, value: &Value, span: Span) -> Result<Number, EvalError> {
        const BYTES_PER_DIGIT: usize = 32;
        self.scope.handled(value.as_str().map_or(0, str::len).saturating_mul(BYTES_PER_DIGIT), span)?;
        number(value, span)
    }

    fn call(&self, call: &Call, span: Span) -> Result<Value, EvalError> {
        if let Some(value) = self.lazy_call(call, span) {
            return value;
        }
        let mut arguments = Vec::with_capacity(call.arguments.len());
        let mut failure = None;
        for (i, expr) in call.arguments.iter().enumerate() {
            let Some(value) = kept(self.eval(expr), &mut failure) else { continue };
            if call.is_spread && i + 1 == call.arguments.len() {
                let items = value.as_items().ok_or_else(|| error(expr.span, "only a list can be spread with `...`"))?;
                self.made_of(items.len(), expr.span)?;
                arguments.extend(items.iter().map(|item| Argument { value: item.clone(), span: expr.span }));
            } else {
                arguments.push(Argument { value, span: expr.span });
            }
        }
        unless(failure, ())?;
        if let Some(function) = functions::find(&call.name.text) {
            return self.call_built_in(function, call.name.span, &arguments);
        }
        self.scope.handled(STEPS_PER_CALL * BYTES_PER_STEP, span)?;
        if let Some(value) = self.scope.call(call, span, &arguments)? {
            return Ok(value);
        }
        // Last: the peer has none of these, so that a bakefile may have a function of its own by such a name.
        if let Some(function) = functions::files::find(&call.name.text) {
            let value = function.call(self.scope.files(), call.name.span, &arguments)?;
            self.scope.made(value.size(), call.name.span)?;
            return Ok(value);
        }
        let finding = Diagnostic::error(call.name.span, format!("no function named \"{}\"", call.name.text));
        let user = self.scope.function_names();
        let built_in: Vec<&str> =
            functions::names().chain(functions::files::names()).chain(["try", "can", "convert"]).collect();
        let known = built_in.into_iter().chain(user.iter().map(String::as_str));
        Err(Box::new(finding.suggest(&call.name.text, known)))
    }

    fn call_built_in(&self, function: &Function, span: Span, arguments: &[Argument]) -> Result<Value, EvalError> {
        let size = arguments.iter().map(|argument| argument.value.size()).fold(0, usize::saturating_add);
        if size > MAX_ARGUMENTS {
            let message = format!("these arguments are more than {} MiB, written out", MAX_ARGUMENTS >> 20);
            return Err(too_much(span, message));
        }
        // Before it is called: what takes too long is not begun.
        self.scope.handled(if function.looks_at_all() { size.saturating_mul(function.slowness()) } else { 0 }, span)?;
        let world = self.scope.world();
        let value = function.call(world, span, arguments)?;
        self.scope.handled(world.take_effort(), span)?;
        if function.looks_at_all() {
            self.scope.made(value.size(), span)?;
        }
        Ok(value)
    }

    /// The functions whose arguments may fail, or are types.
    fn lazy_call(&self, call: &Call, span: Span) -> Option<Result<Value, EvalError>> {
        match (call.name.text.as_str(), &call.arguments[..]) {
            ("try", []) => Some(Err(error(span, "`try` needs at least one argument"))),
            ("try", [first, rest @ ..]) => {
                let mut result = self.eval(first);
                for expr in rest {
                    if result.is_ok() {
                        break;
                    }
                    result = self.eval(expr);
                }
                Some(result)
            }
            ("can", [expr]) => Some(Ok(Value::Bool(self.eval(expr).is_ok()))),
            ("convert", [value, wanted]) => Some(self.eval(value).and_then(|value| {
                let wanted = all_required(type_from_expr(wanted)?);
                let converted = convert(&value, &wanted).map_err(|why| error(span, why))?;
                self.scope.made(converted.size(), span)?;
                Ok(converted)
            })),
            _ => None,
        }
    }
}

/// Returns what an operation takes, in bytes handled: nothing to speak of for sums of short numbers.
fn arithmetic_effort(operator: BinaryOperator, a: &Number, b: &Number) -> usize {
    const DIVISION: usize = 1 << 10;
    const SHORT: usize = 32;
    const BYTES_PER_DIGIT: usize = 4;
    let is_division = matches!(operator, BinaryOperator::Divide | BinaryOperator::Modulo);
    let n_long = (a.max_digits() + b.max_digits()).saturating_sub(SHORT);
    n_long * BYTES_PER_DIGIT + if is_division { DIVISION } else { 0 }
}

/// Equality of the `==` operator: of one type and content; a tuple equals no list.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    a == b
}
