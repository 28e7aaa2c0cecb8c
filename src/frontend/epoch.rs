//! SOURCE_DATE_EPOCH: seconds since 1970, or the name of the source whose time counts (BuildKit, `dockerfile2llb/epoch.go`).
//!
//! | value | time |
//! |---|---|
//! | `context` | of the build context |
//! | a named context | of that context |
//! | a stage | of the one remote source that the stage adds to nothing |
//!
//! A git repository has its commit's time; a file over HTTP its `Last-Modified`, else that of the newest file in it if it
//! is an archive. Other sources have none, and then it is as if SOURCE_DATE_EPOCH were not given.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{AddInstruction, ArgDeclaration, InstructionKind, Stage, Word};
use crate::graph::{HttpSource, SourceOp};
use crate::plan::{BuildContext, PlannedTarget};

use super::copy::{content_checksum, git_source};
use super::remote::{self, Remote};
use super::stages::named_context;
use super::variables::Variables;
use super::{Loaded, Resolved};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// What is known of the time of a target.
pub(super) enum Epoch<'t> {
    /// All.
    Settled {
        /// The target; its argument is the time in seconds, or not there.
        target: Cow<'t, PlannedTarget>,
        /// The time; `None` where nothing gives one.
        time: Option<Timestamp>,
    },
    /// The time of this source has to be known first.
    Needs(SourceOp),
}

/// Finds the time of `target`, and puts it in the place of what `globals` and the target's arguments say.
///
/// # Errors
/// It is neither a time nor the name of a source that can have one.
pub(super) fn settle<'t>(
    target: &'t PlannedTarget,
    loaded: &Loaded,
    resolved: &Resolved,
    globals: &mut Variables,
) -> Result<Epoch<'t>, Diagnostic> {
    let argument = target.args.get(NAME).map(String::as_str);
    let Some(text) = argument.or_else(|| globals.get(NAME).filter(|text| !text.is_empty())) else {
        return Ok(Epoch::Settled { target: Cow::Borrowed(target), time: None });
    };
    let reader = Reader { text, target, loaded, resolved };
    let time = match reader.time(globals)? {
        Time::Seconds(seconds) => Some(Timestamp::from_second(seconds).map_err(|_| reader.no_time())?),
        Time::Absent => None,
        Time::Needs(source) => return Ok(Epoch::Needs(source)),
    };
    let settled = time.map(|time| time.as_second().to_string());
    let mut target = Cow::Borrowed(target);
    if argument.is_some_and(|argument| settled.as_deref() != Some(argument)) {
        let args = &mut target.to_mut().args;
        match &settled {
            Some(settled) => _ = args.insert(NAME.to_owned(), settled.clone()),
            None => _ = args.remove(NAME),
        }
    }
    match &settled {
        Some(settled) if globals.get(NAME).is_some() => globals.set(NAME, settled),
        Some(_) => {}
        None => globals.remove(NAME),
    }
    Ok(Epoch::Settled { target, time })
}

/// What a value stands for.
enum Time {
    Seconds(i64),
    Absent,
    Needs(SourceOp),
}

struct Reader<'a> {
    /// The value.
    text: &'a str,
    target: &'a PlannedTarget,
    loaded: &'a Loaded,
    resolved: &'a Resolved,
}

impl Reader<'_> {
    fn time(&self, globals: &Variables) -> Result<Time, Diagnostic> {
        if self.text.is_empty() {
            return Ok(Time::Absent);
        }
        if let Ok(seconds) = self.text.parse() {
            return Ok(Time::Seconds(seconds));
        }
        if self.text == "context" {
            return Ok(self.of_context(&self.target.context));
        }
        if let Some((_, context)) = named_context(self.target, self.text, &self.target.platform) {
            return Ok(self.of_context(&context));
        }
        let is_meant = |stage: &&Stage| stage.name.as_ref().is_some_and(|name| name.text == self.text.to_lowercase());
        let stage = self.loaded.dockerfile.stages.iter().find(is_meant).ok_or_else(|| self.no_time())?;
        let source = self.source_of(stage, globals)?;
        Ok(match self.resolved.source_times.get(&source) {
            Some(Some(seconds)) => Time::Seconds(*seconds),
            Some(None) => Time::Absent,
            None => Time::Needs(source),
        })
    }

    fn of_context(&self, context: &BuildContext) -> Time {
        match context {
            BuildContext::Local(path) => {
                self.resolved.context_times.get(path).map_or(Time::Absent, |seconds| Time::Seconds(*seconds))
            }
            BuildContext::Image(_) | BuildContext::Target(_) => Time::Absent,
        }
    }

    /// Returns the one remote source of a stage that has nothing else.
    fn source_of(&self, stage: &Stage, globals: &Variables) -> Result<SourceOp, Diagnostic> {
        let escape = self.loaded.dockerfile.escape;
        let wrong = |at: Span, why: &str| {
            let message = format!("SOURCE_DATE_EPOCH=`{}`: the stage {why}", self.text);
            Diagnostic::error(at, message).hint("write it as `FROM scratch AS NAME` and one `ADD URL /`")
        };
        if globals.expand(&stage.base.text, escape, stage.base.span)?.text != "scratch" {
            return Err(wrong(stage.base.span, "does not come from scratch"));
        }
        let mut variables = globals.clone();
        variables.remove(NAME);
        let mut source = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Arg(declarations) => self.declare(&mut variables, declarations, escape)?,
                InstructionKind::Add(add) => {
                    let added = remote_source(add, &variables, escape)?;
                    let added = added.ok_or_else(|| wrong(instruction.span, "adds what is not one remote source"))?;
                    if source.replace(added).is_some() {
                        return Err(wrong(instruction.span, "adds more than one source"));
                    }
                }
                _ => return Err(wrong(instruction.span, "has more in it than ARG and ADD")),
            }
        }
        source.ok_or_else(|| wrong(stage.span, "adds nothing"))
    }

    /// Declares the variables of an ARG.
    fn declare(
        &self,
        variables: &mut Variables,
        declarations: &[ArgDeclaration],
        escape: char,
    ) -> Result<(), Diagnostic> {
        for declaration in declarations {
            let value = match (self.target.args.get(&declaration.name), &declaration.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => variables.expand(default, escape, declaration.span)?.text,
                (None, None) => continue,
            };
            variables.set(&declaration.name, &value);
        }
        Ok(())
    }

    fn no_time(&self) -> Diagnostic {
        let text = self.text;
        let declared = self.loaded.dockerfile.global_args.iter().rfind(|declaration| declaration.name == NAME);
        let error = match declared.filter(|_| !self.target.args.contains_key(NAME)) {
            Some(declaration) => Diagnostic::error(declaration.span, format!("SOURCE_DATE_EPOCH=`{text}` is no time")),
            None => {
                let message = format!("target \"{}\": SOURCE_DATE_EPOCH=`{text}` is no time", self.target.name);
                Diagnostic::error_without_place(message)
            }
        };
        error
            .note("it is neither a number, nor `context`, nor the name of a context or stage")
            .hint("give whole seconds since 1970-01-01T00:00:00Z")
    }
}

/// Returns what ADD names, if that is one source and remote.
fn remote_source(add: &AddInstruction, variables: &Variables, escape: char) -> Result<Option<SourceOp>, Diagnostic> {
    let ([word], []) = (&add.transfer.sources[..], &add.transfer.heredocs[..]) else { return Ok(None) };
    let expand = |word: &Word| -> Result<Word, Diagnostic> {
        Ok(Word { text: variables.expand(&word.text, escape, word.span)?.text, span: word.span })
    };
    let Word { text, span } = expand(word)?;
    let checksum = add.checksum.as_ref().map(expand).transpose()?.filter(|checksum| !checksum.text.is_empty());
    let remote = remote::parse(&text).map_err(|reason| Diagnostic::error(span, format!("`{text}`: {reason}")))?;
    Ok(match remote {
        Some(Remote::Git { source, keep_git_dir }) => {
            let flags = (add.keep_git_dir, checksum.as_ref());
            Some(SourceOp::Git(git_source(source, keep_git_dir, flags, span)?))
        }
        Some(Remote::Http { url, filename }) => {
            let checksum = checksum.as_ref().map(content_checksum).transpose()?;
            Some(SourceOp::Http(HttpSource { url, filename, checksum, mode: None }))
        }
        None => None,
    })
}
