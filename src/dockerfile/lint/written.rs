//! Instructions with what the types leave out (how names are cased, which form ENV has), and the rules about that.

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, Severity, SourceMap, Span};
use crate::dockerfile::syntax::{self, Node};
use crate::dockerfile::{ArgDeclaration, Instruction, InstructionKind, escape, lines, typed};

use super::{BuildError, LineRange, Linter, Violation};

/// A Dockerfile as it is written, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The escape character.
    pub escape: char,
    /// ARG before the first FROM, each with its lines and comments.
    pub global_args: Vec<(ArgDeclaration, LineRange, Vec<String>)>,
    /// In order.
    pub stages: Vec<WrittenStage>,
}

/// A stage as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenStage {
    /// `FROM`, in the case that it has.
    pub keyword: String,
    /// Not expanded.
    pub base: String,
    /// In lower case.
    pub name: Option<String>,
    /// `--platform`, not expanded.
    pub platform: Option<String>,
    /// FROM.
    pub lines: LineRange,
    /// FROM.
    pub span: Span,
    /// The comments before FROM.
    pub comments: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
}

impl WrittenStage {
    /// Returns what the comment `# NAME text` before FROM says.
    pub fn description(&self) -> Option<&str> {
        description(&self.comments, self.name.as_deref()?)
    }
}

/// An instruction as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, in the case that it has.
    pub keyword: String,
    /// All of it.
    pub lines: LineRange,
    /// With its type.
    pub instruction: Instruction,
    /// ENV and LABEL: a blank parts key and value, in place of `=`.
    pub is_legacy: bool,
    /// The base's ONBUILD held it back.
    pub is_trigger: bool,
}

/// Returns what the comment `# NAME text` among `comments` says.
pub fn description<'c>(comments: &'c [String], name: &str) -> Option<&'c str> {
    comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '))
}

impl Written {
    /// Reads a file and reports what the text alone decides.
    ///
    /// # Errors
    /// The first thing that is wrong; the warnings up to there are reported.
    pub fn read(file: FileId, sources: &SourceMap, linter: &mut Linter) -> Result<Written, BuildError> {
        let text = sources.text(file);
        let mut found = Diagnostics::default();
        let escape = escape(&lines::directives(text, file), &mut found);
        first_error(&found, sources)?;
        let nodes = syntax::nodes(text, file, escape, &mut found);
        first_error(&found, sources)?;
        for blank in found.iter().flat_map(|warning| warning.labels.first()) {
            let options = linter.options.clone();
            let node = nodes.iter().find(|node| (node.span.start..node.span.end).contains(&blank.span.start));
            let lines = node.map_or_else(|| LineRange::at(blank.span, sources), last_line);
            linter.report(&options, Violation::NoEmptyContinuation, Some(lines));
        }
        let mut written = Written { escape, ..Written::default() };
        for node in &nodes {
            let lines = LineRange::new(node.lines.0, node.lines.1);
            written.add(node, lines, linter).map_err(|diagnostic| BuildError { diagnostic, lines: Some(lines) })?;
        }
        if written.stages.is_empty() {
            let what = if nodes.is_empty() { "has no instructions" } else { "has no FROM" };
            let diagnostic = Diagnostic::error_without_place(format!("{} {what}", sources.name(file)));
            return Err(BuildError { diagnostic, lines: None });
        }
        written.check_names(linter);
        written.check_casing(linter);
        Ok(written)
    }

    fn add(&mut self, node: &Node, lines: LineRange, linter: &mut Linter) -> Result<(), Diagnostic> {
        match node.name.text.to_uppercase().as_str() {
            "FROM" => {
                let stage = from(node, lines, linter)?;
                self.stages.push(stage);
            }
            "ARG" if self.stages.is_empty() => {
                let declarations = typed::arg_declarations(node)?;
                check_description(node, lines, "ARG", &names(&declarations), linter);
                let comments = &node.comments;
                self.global_args.extend(declarations.into_iter().map(|arg| (arg, lines, comments.clone())));
            }
            name => {
                let step = step(node, lines, linter)?;
                let Some(stage) = self.stages.last_mut() else {
                    return Err(Diagnostic::error(node.span, format!("{name} stands before the first FROM")));
                };
                stage.steps.push(step);
            }
        }
        Ok(())
    }

    fn check_names(&self, linter: &mut Linter) {
        let options = linter.options.clone();
        for (index, stage) in self.stages.iter().enumerate() {
            let Some(name) = &stage.name else { continue };
            if ["context", "scratch"].contains(&name.as_str()) {
                linter.report(&options, Violation::ReservedStageName(name.clone()), Some(stage.lines));
            }
            if self.stages[..index].iter().any(|earlier| earlier.name.as_ref() == Some(name)) {
                linter.report(&options, Violation::DuplicateStageName(name.clone()), Some(stage.lines));
            }
        }
    }

    fn check_casing(&self, linter: &mut Linter) {
        let options = linter.options.clone();
        let keywords = |stage: &WrittenStage| -> Vec<(String, LineRange)> {
            let steps = stage.steps.iter().map(|step| (step.keyword.clone(), step.lines));
            std::iter::once((stage.keyword.clone(), stage.lines)).chain(steps).collect()
        };
        let keywords: Vec<(String, LineRange)> = self.stages.iter().flat_map(keywords).collect();
        let n_lower = keywords.iter().filter(|(word, _)| *word == word.to_lowercase()).count();
        let n_upper = keywords.iter().filter(|(word, _)| *word == word.to_uppercase()).count();
        let is_lower = n_lower > n_upper;
        for (name, lines) in keywords {
            let casing = match is_lower {
                true if name != name.to_lowercase() => "lowercase",
                false if name != name.to_uppercase() => "uppercase",
                _ => continue,
            };
            linter.report(&options, Violation::ConsistentInstructionCasing { name, casing }, Some(lines));
        }
    }
}

/// Reads an ONBUILD trigger of a base image, which counts as written where FROM is.
///
/// # Errors
/// It is no instruction.
pub fn trigger(text: &str, lines: LineRange, at: Span) -> Result<Option<Step>, Diagnostic> {
    let mut found = Diagnostics::default();
    let node = syntax::fragment(text, at, &mut found);
    let step = node.and_then(|node| {
        let instruction = typed::instruction(&node, &mut found)?;
        Some(Step { is_trigger: true, ..typed_step(&node, lines, instruction) })
    });
    match found.iter().find(|finding| finding.severity == Severity::Error) {
        Some(error) => Err(error.clone().note(format!("in the trigger `ONBUILD {text}` of the base image"))),
        None => Ok(step),
    }
}

fn first_error(found: &Diagnostics, sources: &SourceMap) -> Result<(), BuildError> {
    let Some(diagnostic) = found.iter().find(|finding| finding.severity == Severity::Error).cloned() else {
        return Ok(());
    };
    let lines = diagnostic.labels.first().map(|label| LineRange::at(label.span, sources));
    Err(BuildError { diagnostic, lines })
}

/// Returns the last line of an instruction without its heredocs: it is what the peer blames for a blank line before it.
fn last_line(node: &Node) -> LineRange {
    let n_body: usize = node.heredocs.iter().map(|heredoc| heredoc.text.lines().count() + 1).sum();
    let last = node.lines.1.saturating_sub(n_body);
    LineRange::new(last, last)
}

fn from(node: &Node, lines: LineRange, linter: &mut Linter) -> Result<WrittenStage, Diagnostic> {
    let options = linter.options_for(&node.comments);
    let keyword = node.name.text.clone();
    if let [_, _, name] = &node.args[..]
        && name.text != name.text.to_lowercase()
    {
        linter.report(&options, Violation::StageNameCasing(name.text.clone()), Some(lines));
    }
    if let [_, r#as, _, ..] = &node.args[..] {
        let r#as = r#as.text.clone();
        // A keyword of mixed case is another rule's.
        let is_matched = match &keyword {
            word if *word == word.to_lowercase() => r#as == r#as.to_lowercase(),
            word if *word == word.to_uppercase() => r#as == r#as.to_uppercase(),
            _ => true,
        };
        if !is_matched {
            linter.report(&options, Violation::FromAsCasing { from: keyword.clone(), r#as }, Some(lines));
        }
    }
    let mut found = Diagnostics::default();
    let from = typed::from(node, &mut found);
    let Some(from) = from.filter(|_| found.is_empty()) else { return Err(error_of(found, node)) };
    let name = from.name.map(|word| word.text);
    if let Some(name) = &name {
        check_description(node, lines, "FROM", std::slice::from_ref(name), linter);
    }
    Ok(WrittenStage {
        keyword,
        base: from.base.text,
        name,
        platform: from.platform.map(|word| word.text).filter(|text| !text.is_empty()),
        lines,
        span: node.span,
        comments: node.comments.clone(),
        steps: Vec::new(),
    })
}

fn step(node: &Node, lines: LineRange, linter: &mut Linter) -> Result<Step, Diagnostic> {
    if node.name.text.eq_ignore_ascii_case("MAINTAINER") {
        let options = linter.options_for(&node.comments);
        linter.report(&options, Violation::MaintainerDeprecated, Some(lines));
    }
    let mut found = Diagnostics::default();
    let Some(instruction) = typed::instruction(node, &mut found) else { return Err(error_of(found, node)) };
    if let InstructionKind::Arg(declarations) = &instruction.kind {
        check_description(node, lines, "ARG", &names(declarations), linter);
    }
    Ok(typed_step(node, lines, instruction))
}

fn typed_step(node: &Node, lines: LineRange, instruction: Instruction) -> Step {
    let is_pairs = matches!(instruction.kind, InstructionKind::Env(_) | InstructionKind::Label(_));
    let is_legacy = is_pairs && node.args.chunks_exact(3).any(|triple| triple[2].text.is_empty());
    Step { keyword: node.name.text.clone(), lines, instruction, is_legacy, is_trigger: false }
}

fn error_of(found: Diagnostics, node: &Node) -> Diagnostic {
    let error = found.iter().find(|finding| finding.severity == Severity::Error);
    error.cloned().unwrap_or_else(|| Diagnostic::error(node.span, format!("{} cannot be read", node.name.text)))
}

fn names(declarations: &[ArgDeclaration]) -> Vec<String> {
    declarations.iter().map(|arg| arg.name.clone()).collect()
}

/// Reports a comment right before a definition that does not begin with the name that is defined.
fn check_description(node: &Node, lines: LineRange, instruction: &'static str, names: &[String], linter: &mut Linter) {
    let Some(comment) = node.comments.last() else { return };
    let word = comment.split(' ').next().unwrap_or("");
    if names.iter().any(|name| name == word) {
        return;
    }
    let name = match names {
        [name] => name.clone(),
        _ => "<arg_key>".to_owned(),
    };
    let options = linter.options_for(&node.comments);
    linter.report(&options, Violation::InvalidDefinitionDescription { instruction, name }, Some(lines));
}
