//! Functions that read files of the user's: a table of its own, for these are bake's alone.
//!
//! Which files there are, and what a path means, is the caller's: [`SourceFiles`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Parameter::{self, Text};
use super::digest::hex;
use super::{Argument, converted, text_at, texts};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::eval::EvalError;
use crate::lang::value::Value;

/// The files that an expression may read. A path is relative to the directory of the file that the expression stands in,
/// which is that of the span.
pub trait SourceFiles {
    /// Returns the bytes of a regular file.
    ///
    /// # Errors
    /// It is not there, too large, or out of bounds.
    fn read(&self, at: Span, path: &str) -> Result<Vec<u8>, EvalError>;

    /// Says whether there is a regular file.
    ///
    /// # Errors
    /// The path is out of bounds.
    fn exists(&self, at: Span, path: &str) -> Result<bool, EvalError>;

    /// Returns the files below a directory that a pattern matches, sorted, relative to it.
    ///
    /// # Errors
    /// The directory is not there or out of bounds, or there is too much to go through.
    fn matching(&self, at: Span, directory: &str, pattern: &str) -> Result<Vec<String>, EvalError>;
}

/// A function that reads files. Its parameters are texts, the first of them a path.
pub struct FileFunction {
    name: &'static str,
    parameters: &'static [Parameter],
    /// Takes the place of the first argument, and the arguments.
    body: fn(&dyn SourceFiles, Span, &[Value]) -> Result<Value, EvalError>,
}

const TABLE: [FileFunction; 5] = [
    FileFunction {
        name: "file",
        parameters: &[Text],
        body: |files, at, v| {
            let text = String::from_utf8(files.read(at, text_at(v, 0))?);
            text.map(Value::string).map_err(|_| {
                let finding = Diagnostic::error(at, format!("the file {} is not UTF-8", text_at(v, 0)));
                Box::new(finding.hint("`filebase64` takes any bytes"))
            })
        },
    },
    FileFunction {
        name: "filebase64",
        parameters: &[Text],
        body: |files, at, v| Ok(Value::string(STANDARD.encode(files.read(at, text_at(v, 0))?))),
    },
    FileFunction {
        name: "fileexists",
        parameters: &[Text],
        body: |files, at, v| files.exists(at, text_at(v, 0)).map(Value::Bool),
    },
    FileFunction {
        name: "fileset",
        parameters: &[Text, Text],
        body: |files, at, v| files.matching(at, text_at(v, 0), text_at(v, 1)).map(texts),
    },
    FileFunction {
        name: "filesha256",
        parameters: &[Text],
        body: |files, at, v| Ok(Value::string(hex(&Sha256::digest(files.read(at, text_at(v, 0))?)))),
    },
];

/// Returns the function called `name`, if it is one that reads files.
pub fn find(name: &str) -> Option<&'static FileFunction> {
    TABLE.iter().find(|function| function.name == name)
}

/// Returns the names of all functions that read files.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|function| function.name)
}

impl FileFunction {
    /// Calls it; `span` is the place of its name.
    ///
    /// # Errors
    /// Too few or too many arguments, one that is no text, or what `files` refuses.
    pub fn call(&self, files: &dyn SourceFiles, span: Span, arguments: &[Argument]) -> Result<Value, EvalError> {
        let values = converted(self.name, self.parameters, None, span, arguments)?;
        (self.body)(files, arguments.first().map_or(span, |argument| argument.span), &values)
    }
}
