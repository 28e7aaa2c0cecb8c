//! COPY and ADD.

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{AddInstruction, CopyInstruction, Transfer, Word};
use crate::graph::{CopyAction, FileAction, FileOp, Id, InputIndex, ModeChange, Op, Owner, VertexId};

use super::history::{self, Layer};
use super::lower::{At, Lowerer, StageResult};
use super::paths;
use super::stages::Origin;

/// Whether archives are unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Archives {
    Kept,
    Unpacked,
}

impl Lowerer<'_, '_> {
    /// Lowers COPY.
    ///
    /// `--link` is lowered as without it.
    // FIXME(link): wrong where the destination has a parent that is a symbolic link, which a linked copy replaces, and for
    // a destination directory that exists, whose mode a linked copy sets; needs a merge op.
    pub(super) fn copy(
        &mut self,
        stage: &mut StageResult,
        at: At<'_>,
        copy: &CopyInstruction,
    ) -> Result<(), Diagnostic> {
        if let Some(span) = copy.parents {
            return Err(not_supported(span, "`COPY --parents`"));
        }
        let origin = match &copy.from {
            Some(from) => self.stages.copy_origin(at.stage_index, from)?,
            None => self.stages.main_context(),
        };
        self.transfer(stage, at, "COPY", &copy.transfer, &origin, Archives::Kept)
    }

    /// Lowers ADD of local files.
    pub(super) fn add(&mut self, stage: &mut StageResult, at: At<'_>, add: &AddInstruction) -> Result<(), Diagnostic> {
        for source in &add.transfer.sources {
            let text = self.expanded(stage, source)?;
            if text.starts_with("http://") || text.starts_with("https://") {
                let error = not_supported(source.span, "ADD of a URL");
                return Err(error.hint("download it in a RUN step, or check it in and use COPY"));
            }
            if ["git://", "ssh://", "git@"].iter().any(|prefix| text.starts_with(prefix)) {
                return Err(not_supported(source.span, "ADD of a git repository"));
            }
        }
        if let Some(checksum) = &add.checksum {
            return Err(Diagnostic::error(checksum.span, "flag `--checksum` is for ADD of a URL"));
        }
        if add.keep_git_dir == Some(true) {
            return Err(Diagnostic::error(at.span(), "flag `--keep-git-dir` is for ADD of a git repository"));
        }
        let archives = if add.unpack.unwrap_or(true) { Archives::Unpacked } else { Archives::Kept };
        self.transfer(stage, at, "ADD", &add.transfer, &self.stages.main_context(), archives)
    }

    fn transfer(
        &mut self,
        stage: &mut StageResult,
        at: At<'_>,
        command: &str,
        transfer: &Transfer,
        origin: &Origin,
        archives: Archives,
    ) -> Result<(), Diagnostic> {
        let dest_text = self.expanded(stage, &transfer.dest)?;
        let chown = self.expanded_flag(stage, &transfer.chown)?;
        let chmod = self.expanded_flag(stage, &transfer.chmod)?;
        let template = CopyAction {
            from: InputIndex(0),
            source: String::new(),
            dest: paths::destination(stage.working_dir(), &dest_text),
            owner: chown.as_ref().map(|(text, _)| owner(text)),
            mode: chmod.as_ref().map(|(text, span)| mode_change(text, *span)).transpose()?,
            exclude: transfer.exclude.iter().map(|word| word.text.clone()).collect(),
            unpack: archives == Archives::Unpacked,
        };
        let mut text = command.to_owned();
        for (name, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some((value, _)) = value {
                text = format!("{text} --{name}={value}");
            }
        }
        let mut inputs: Vec<VertexId> = stage.root.into_iter().collect();
        let mut actions = Vec::new();
        if !transfer.sources.is_empty() {
            let from = input(&mut inputs, self.files(origin, at.span())?);
            for source in &transfer.sources {
                let source = self.expanded(stage, source)?;
                text = format!("{text} {source}");
                let source = paths::absolute("/", &source);
                actions.push(FileAction::Copy(CopyAction { from, source, ..template.clone() }));
            }
        }
        for heredoc in &transfer.heredocs {
            text = format!("{text} <<{}", heredoc.name);
            let content = heredoc.content();
            let content = if heredoc.expands { stage.variables.expand_body(&content, at.span())? } else { content };
            let file = self.inline_file(&heredoc.name, 0o644, content.into_bytes(), at);
            let from = input(&mut inputs, file);
            let source = paths::absolute("/", &heredoc.name);
            let copy = CopyAction { from, source, unpack: false, exclude: Vec::new(), ..template.clone() };
            actions.push(FileAction::Copy(copy));
        }
        let op = Op::File(FileOp { root: stage.root.map(|_| InputIndex(0)), actions });
        self.step(stage, at, op, inputs, "");
        history::add(&mut stage.config, &self.created, format!("{text} {dest_text} # buildkit"), Layer::Made);
        Ok(())
    }

    fn expanded_flag(&self, stage: &StageResult, word: &Option<Word>) -> Result<Option<(String, Span)>, Diagnostic> {
        let Some(word) = word else { return Ok(None) };
        let text = self.expanded(stage, word)?;
        Ok((!text.is_empty()).then_some((text, word.span)))
    }
}

/// Returns the place of `vertex` among `inputs`; adds it where it is not there.
pub(super) fn input(inputs: &mut Vec<VertexId>, vertex: VertexId) -> InputIndex {
    let index = inputs.iter().position(|known| *known == vertex).unwrap_or_else(|| {
        inputs.push(vertex);
        inputs.len() - 1
    });
    InputIndex(u32::try_from(index).expect("an instruction has fewer than 2^32 sources"))
}

/// Reads `user[:group]`.
pub(super) fn owner(text: &str) -> Owner {
    // What is left empty beside a colon is root, as in the peer.
    let id = |text: &str| match text.parse::<u32>() {
        _ if text.is_empty() || text == "root" => Id::Number(0),
        Ok(number) => Id::Number(number),
        Err(_) => Id::Name(text.to_owned()),
    };
    match text.split_once(':') {
        Some((user, group)) => Owner { user: Some(id(user)), group: Some(id(group)) },
        None => Owner { user: Some(id(text)), group: None },
    }
}

fn mode_change(text: &str, span: Span) -> Result<ModeChange, Diagnostic> {
    let wrong = || Diagnostic::error(span, format!("`{text}` is no file mode"));
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
        return bits.map(ModeChange::Bits).ok_or_else(|| wrong().hint("write an octal number up to 7777"));
    }
    let is_clause = |clause: &str| {
        let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        rest.starts_with(['+', '-', '=']) && rest.chars().all(|c| "+-=rwxXstugo".contains(c))
    };
    if !text.split(',').all(is_clause) {
        return Err(wrong().hint("write it as `755` or as `u=rwX,go=rX`"));
    }
    Ok(ModeChange::Symbolic(text.to_owned()))
}

/// Returns the error about what is part of the language and cannot be done.
pub(super) fn not_supported(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error(span, format!("{what} is not supported yet"))
}
