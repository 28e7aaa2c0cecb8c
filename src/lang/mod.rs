//! The bake language: bodies and expressions with spans.
//!
//! In: HCL, TOML or JSON text. Out: one `Body`, and [`Value`]s of its expressions. The names that expressions use come
//! from a [`Scope`] of the caller's; this module knows nothing of targets, groups or variables.
//!
//! Values follow cty, the peer's value model: operators convert, the branches of a condition meet at one type, null in a
//! text is an error, and numbers have 512 bits. Parsing gives a body and findings; a text that is no HCL gives one
//! finding and an empty body.

pub mod ast;
mod convert;
mod data_syntax;
mod element;
mod emit;
mod eval;
mod format;
pub mod functions;
mod hcl;
mod json_syntax;
pub mod limits;
mod natural;
mod number;
mod operand;
mod toml_syntax;
mod type_expr;
mod value;

pub use convert::{convert, primitive_text, unify};
pub use data_syntax::BlockSchema;
pub use emit::{Emitted, Notation, emit};
pub use eval::{EvalContext, EvalError, Scope};
pub use format::{format_hcl, shape};
pub use hcl::{parse_expr, parse_hcl};
pub use json_syntax::parse_json;
pub use number::Number;
pub use toml_syntax::parse_toml;
pub use type_expr::type_from_expr;
pub use value::{Field, Type, Value};

/// Returns the names of all functions that expressions can call without defining them, those apart that read files.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    functions::names().chain(["try", "can", "convert"])
}

/// Texts that are more than one thing of the language.
pub mod text {
    pub use super::functions::encoding::{csv_records, from_json, json_text, write_json_string};
    pub use super::functions::text::clean as clean_path;
}
