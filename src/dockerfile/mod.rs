//! Dockerfile text to typed instructions with spans.
//!
//! In: a file of a [`SourceMap`]. Out: a [`Dockerfile`] and what is wrong with it. Knows nothing of build arguments, images
//! or files: variables stay as they are written, and [`shell`] expands them for whoever knows their values. Accepts what
//! BuildKit's own frontend accepts; a `# syntax=` line is kept for whoever decides what to do about it.

mod flags;
pub mod ignore;
mod instruction;
mod lines;
pub mod lint;
mod mount;
mod network;
pub mod shell;
pub mod syntax;
mod typed;
mod words;

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span, nearest};

pub use instruction::{
    AddInstruction, ArgDeclaration, CommandLine, CopyInstruction, HealthcheckInstruction, Instruction, InstructionKind,
    Pair, RunInstruction, Transfer,
};
pub use lines::Directive;
pub use mount::{Expand, MountOptions, MountType, Sharing};
pub use network::NetworkMode;
pub use syntax::{Heredoc, Node};
pub use typed::parse_duration;
pub use words::Word;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The file.
    pub file: FileId,
    /// `# syntax=`, `# escape=` and `# check=`, in order.
    pub directives: Vec<Directive>,
    /// The escape character, `\` or a backtick.
    pub escape: char,
    /// ARG before the first FROM, in order.
    pub global_args: Vec<ArgDeclaration>,
    /// In order; empty only after an error.
    pub stages: Vec<Stage>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name of an image or an earlier stage; not expanded.
    pub base: Word,
    /// `AS`, in lower case.
    pub name: Option<Word>,
    /// `--platform`, not expanded.
    pub platform: Option<Word>,
    /// FROM.
    pub span: Span,
    /// FROM as written, lines joined.
    pub original: String,
    /// The comment lines between the instruction before and FROM, trimmed.
    pub comments: Vec<String>,
    /// What it does, in order.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Returns the last stage of that name, before `limit`; the name's case does not matter.
    pub fn stage_named(&self, name: &str, limit: usize) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages[..limit].iter().rposition(|stage| stage.name.as_ref().is_some_and(|word| word.text == name))
    }
}

/// Returns the text of a Dockerfile. Each byte that is no UTF-8 becomes U+FFFD, as it does where BuildKit expands variables or
/// writes the image's config.
pub fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let chunks = error.as_bytes().utf8_chunks();
        chunks.map(|chunk| chunk.valid().to_owned() + &"\u{fffd}".repeat(chunk.invalid().len())).collect()
    })
}

/// Parses a file of `sources`. The value holds what could be read; it is complete if the findings hold no error.
pub fn parse(file: FileId, sources: &SourceMap) -> (Dockerfile, Diagnostics) {
    let mut found = Diagnostics::default();
    let text = sources.text(file);
    let directives = lines::directives(text, file);
    let escape = escape(&directives, &mut found);
    let mut dockerfile = Dockerfile { file, directives, escape, global_args: Vec::new(), stages: Vec::new() };
    let nodes = syntax::nodes(text, file, escape, &mut found);
    if nodes.is_empty() && !found.has_errors() {
        let name = sources.name(file);
        let what = if text.trim_start_matches('\u{feff}').is_empty() { "is empty" } else { "has no instructions" };
        found.push(Diagnostic::error_without_place(format!("{name} {what}")).hint("start it with `FROM image`"));
    }
    let mut is_misplaced_said = false;
    for node in &nodes {
        match node.name.text.to_uppercase().as_str() {
            "FROM" => dockerfile.stages.extend(stage(node, &mut found)),
            "ARG" if dockerfile.stages.is_empty() => match typed::arg_declarations(node) {
                Ok(declarations) => dockerfile.global_args.extend(declarations),
                Err(error) => found.push(error),
            },
            name => {
                let Some(instruction) = typed::instruction(node, &mut found) else { continue };
                if let Some(stage) = dockerfile.stages.last_mut() {
                    stage.instructions.push(instruction);
                } else if !std::mem::replace(&mut is_misplaced_said, true) && !found.has_errors() {
                    let error = Diagnostic::error(node.span, format!("{name} stands before the first FROM"));
                    found.push(error.hint("only ARG may stand there"));
                }
            }
        }
    }
    if dockerfile.stages.is_empty() && !nodes.is_empty() && !found.has_errors() {
        found.push(Diagnostic::error_without_place(format!("{} has no FROM", sources.name(file))));
    }
    (dockerfile, in_source_order(found))
}

/// Sorts findings of one file by their first place; those without a place come first.
pub fn in_source_order(found: Diagnostics) -> Diagnostics {
    let mut list: Vec<Diagnostic> = found.iter().cloned().collect();
    list.sort_by_key(|finding| finding.labels.first().map(|label| label.span.start));
    let mut sorted = Diagnostics::default();
    list.into_iter().for_each(|finding| sorted.push(finding));
    sorted
}

/// Cuts a file of `sources` into instructions without types.
pub fn parse_nodes(file: FileId, sources: &SourceMap) -> (Vec<Node>, Diagnostics) {
    let mut found = Diagnostics::default();
    let text = sources.text(file);
    let escape = escape(&lines::directives(text, file), &mut found);
    (syntax::nodes(text, file, escape, &mut found), found)
}

/// Parses an ONBUILD trigger of an image: one instruction, heredoc bodies on the lines after it. Findings are at `at`.
pub fn parse_trigger(text: &str, at: Span) -> (Option<Instruction>, Diagnostics) {
    let mut found = Diagnostics::default();
    let node = syntax::fragment(text, at, &mut found);
    let instruction = node.and_then(|node| typed::instruction(&node, &mut found));
    (instruction, found)
}

fn stage(node: &Node, found: &mut Diagnostics) -> Option<Stage> {
    let typed::From { base, name, platform } = typed::from(node, found)?;
    let (original, comments) = (node.original.clone(), node.comments.clone());
    Some(Stage { base, name, platform, span: node.span, original, comments, instructions: Vec::new() })
}

fn escape(directives: &[Directive], found: &mut Diagnostics) -> char {
    for (index, directive) in directives.iter().enumerate() {
        if directives[..index].iter().any(|earlier| earlier.name == directive.name) {
            let message = format!("the directive `{}` may stand only once", directive.name);
            found.push(Diagnostic::error(directive.span, message));
        }
        if directive.name == "check" {
            check_directive(directive, found);
        }
    }
    match directives.iter().find(|directive| directive.name == "escape") {
        None => '\\',
        Some(directive) => match directive.value.as_str() {
            "\\" => '\\',
            "`" => '`',
            other => {
                let error = Diagnostic::error(directive.span, format!("`{other}` cannot be the escape character"));
                found.push(error.hint("use `\\` or a backtick"));
                '\\'
            }
        },
    }
}

fn check_directive(directive: &Directive, found: &mut Diagnostics) {
    const KEYS: [&str; 3] = ["skip", "error", "experimental"];
    for part in directive.value.split(';') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        let error = if !KEYS.contains(&key.as_str()) {
            let error = Diagnostic::error(directive.span, format!("unknown key `{key}` of `# check`"));
            match nearest(&key, KEYS) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        } else if key == "error" && !matches!(value.to_lowercase().as_str(), "true" | "false" | "1" | "0" | "t" | "f") {
            Diagnostic::error(directive.span, format!("`error` of `# check` takes `true` or `false`, not `{value}`"))
        } else {
            continue;
        };
        found.push(error);
    }
}
