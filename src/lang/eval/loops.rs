//! What is evaluated again and again: the parts of templates, and `for`.

use std::collections::BTreeMap;

use super::{EvalContext, EvalError, error, kept, unless};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::Number;
use crate::lang::ast::{Expr, ForExpr, TemplatePart};
use crate::lang::convert::primitive_text;
use crate::lang::limits::{BYTES_PER_STEP, MAX_TEXT};
use crate::lang::value::Value;

impl EvalContext<'_> {
    pub(super) fn template(&self, parts: &[TemplatePart], span: Span) -> Result<Value, EvalError> {
        if let [TemplatePart::Interpolation(expr)] = parts {
            return self.eval(expr);
        }
        let mut text = String::new();
        self.append(parts, span, &mut text)?;
        self.scope.made(text.len(), span)?;
        Ok(Value::string(text))
    }

    fn append(&self, parts: &[TemplatePart], span: Span, text: &mut String) -> Result<(), EvalError> {
        let mut failure = None;
        for part in parts {
            match part {
                _ if text.len() > MAX_TEXT => {
                    return Err(error(span, format!("this text is longer than {} MiB", MAX_TEXT >> 20)));
                }
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Interpolation(expr) => {
                    if let Some(piece) = kept(self.piece(expr), &mut failure) {
                        text.push_str(&piece);
                    }
                }
                TemplatePart::If(directive) => {
                    let is_true = self.condition(&directive.condition)?;
                    self.append(if is_true { &directive.yes } else { &directive.no }, span, text)?;
                }
                TemplatePart::For(directive) => {
                    for (key, element) in self.pairs(&directive.collection)? {
                        let mut names = BTreeMap::from([(directive.element.text.clone(), element)]);
                        names.extend(directive.key.iter().map(|name| (name.text.clone(), key.clone())));
                        self.bind(&names, |context| context.append(&directive.parts, span, text))?;
                    }
                }
            }
        }
        unless(failure, ())
    }

    /// Evaluates what stands in a text, to a text.
    fn piece(&self, expr: &Expr) -> Result<String, EvalError> {
        let value = self.eval(expr)?;
        if let Value::Number(number) = &value {
            self.scope.handled(number.writing_effort(), expr.span)?;
        }
        primitive_text(&value).ok_or_else(|| match value.is_null() {
            true => error(expr.span, "this is null, which cannot stand in a text"),
            false => error(expr.span, format!("string required in a text, but have {}", value.type_of())),
        })
    }

    /// Evaluates a collection to (key or index, element).
    fn pairs(&self, expr: &Expr) -> Result<Vec<(Value, Value)>, EvalError> {
        let value = self.eval(expr)?;
        self.scope.handled(value.as_items().map_or(0, <[Value]>::len).saturating_mul(BYTES_PER_STEP), expr.span)?;
        match &value {
            Value::Set(items) => Ok(items.iter().map(|item| (item.clone(), item.clone())).collect()),
            Value::List(items) | Value::Tuple(items) => {
                Ok(items.iter().enumerate().map(|(i, item)| (Value::Number(Number::from(i)), item.clone())).collect())
            }
            Value::Map(entries) | Value::Object(entries) => {
                Ok(entries.iter().map(|(key, item)| (Value::string(key), item.clone())).collect())
            }
            Value::Null(_) => Err(error(expr.span, "this is null, which cannot be gone through")),
            _ => Err(error(expr.span, format!("a {} cannot be gone through", value.type_of()))),
        }
    }

    pub(super) fn for_expr(&self, each: &ForExpr, span: Span) -> Result<Value, EvalError> {
        let (mut items, mut entries) = (Vec::new(), BTreeMap::<String, Vec<Value>>::new());
        for (key, element) in self.pairs(&each.collection)? {
            let mut names = BTreeMap::from([(each.element.text.clone(), element)]);
            names.extend(each.key.iter().map(|name| (name.text.clone(), key.clone())));
            self.bind(&names, |context| -> Result<(), EvalError> {
                let is_wanted = each.condition.as_ref().map_or(Ok(true), |condition| context.condition(condition))?;
                if !is_wanted {
                    return Ok(());
                }
                self.made_of(0, span)?;
                let Some(key_expr) = &each.result_key else {
                    items.push(context.eval(&each.result)?);
                    return Ok(());
                };
                let key = context.key(key_expr)?;
                let value = context.eval(&each.result)?;
                let values = entries.entry(key.clone()).or_default();
                if !values.is_empty() && !each.is_grouping {
                    let finding = Diagnostic::error(key_expr.span, format!("two elements have the key \"{key}\""));
                    return Err(Box::new(finding.hint("write `...` after the value to gather equal keys")));
                }
                values.push(value);
                Ok(())
            })?;
        }
        if each.result_key.is_none() {
            return Ok(Value::tuple(items));
        }
        let gathered = entries.into_iter().filter_map(|(key, mut values)| {
            let value = if each.is_grouping { Some(Value::tuple(values)) } else { values.pop() };
            value.map(|value| (key, value))
        });
        Ok(Value::object(gathered.collect()))
    }
}
