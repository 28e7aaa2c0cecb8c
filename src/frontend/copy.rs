//! COPY and ADD.

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{AddInstruction, CopyInstruction, Transfer, Word};
use crate::graph::{
    CopyAction, FileAction, FileOp, GitSource, HttpSource, Id, InputIndex, MergeOp, ModeChange, Op, Owner,
    SourceNaming, SourceOp, VertexId, VertexMetadata,
};

use super::history::{self, Layer};
use super::lower::{At, Lowerer, StageResult};
use super::paths;
use super::remote::{self, Remote};
use super::stages::Origin;
use super::variables::Shown;

/// Whether archives are unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Archives {
    Kept,
    Unpacked,
}

/// A COPY or ADD, its words not expanded.
struct Sources<'i> {
    command: &'static str,
    transfer: &'i Transfer,
    origin: Origin,
    archives: Option<Archives>,
    /// `--parents`.
    with_parents: bool,
    checksum: Option<Word>,
    keep_git_dir: Option<bool>,
}

impl Lowerer<'_, '_> {
    /// Lowers COPY.
    pub(super) fn copy(
        &mut self,
        stage: &mut StageResult,
        at: At<'_>,
        copy: &CopyInstruction,
    ) -> Result<(), Diagnostic> {
        let origin = match &copy.from {
            Some(from) => self.stages.copy_origin(at.stage_index, from)?,
            None => self.stages.main_context(),
        };
        let sources = Sources {
            command: "COPY",
            transfer: &copy.transfer,
            origin,
            archives: Some(Archives::Kept),
            with_parents: copy.parents.is_some(),
            checksum: None,
            keep_git_dir: None,
        };
        self.transfer(stage, at, sources, copy.from.is_none())
    }

    /// Lowers ADD.
    pub(super) fn add(&mut self, stage: &mut StageResult, at: At<'_>, add: &AddInstruction) -> Result<(), Diagnostic> {
        let checksum = self.expanded_flag(stage, &add.checksum)?;
        let sources = Sources {
            command: "ADD",
            transfer: &add.transfer,
            origin: self.stages.main_context(),
            archives: add.unpack.map(|unpack| if unpack { Archives::Unpacked } else { Archives::Kept }),
            with_parents: false,
            checksum: checksum.map(|(text, span)| Word { text, span }),
            keep_git_dir: add.keep_git_dir,
        };
        self.transfer(stage, at, sources, true)
    }

    fn transfer(
        &mut self,
        stage: &mut StageResult,
        at: At<'_>,
        sources: Sources<'_>,
        reads_context: bool,
    ) -> Result<(), Diagnostic> {
        let transfer = sources.transfer;
        let dest_text = self.expanded(stage, &transfer.dest)?;
        let dest = stage.slashed(dest_text.clone(), transfer.dest.span)?;
        let dest = paths::destination(&stage.working_dir(), &dest);
        let chown = self.expanded_flag(stage, &transfer.chown)?;
        let chmod = self.expanded_flag(stage, &transfer.chmod)?;
        let template = CopyAction {
            owner: chown.as_ref().map(|(text, _)| owner(text)),
            mode: chmod.as_ref().map(|(text, span)| mode_change(text, *span)).transpose()?,
            exclude: transfer.exclude.iter().map(|word| word.text.clone()).collect(),
            ..CopyAction::new(InputIndex(0), "/", dest)
        };
        let mut text = sources.command.to_owned();
        text += if sources.with_parents { " --parents" } else { "" };
        for (name, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some((value, _)) = value {
                text = format!("{text} --{name}={value}");
            }
        }
        let is_linked = transfer.link && template.mode.is_none();
        let name = self.step_name(stage, at, Shown::Paths, "", &[]);
        let root = stage.root.filter(|_| !is_linked);
        let mut step = FileStep { inputs: root.into_iter().collect(), actions: Vec::new() };
        for source in &transfer.sources {
            let word = self.expanded(stage, source)?;
            text = format!("{text} {word}");
            self.source(stage, at, &sources, (&word, source.span), &template, &name, &mut step)?;
            if reads_context && !word.starts_with("http://") && !word.starts_with("https://") {
                self.context_paths.insert(paths::absolute("/", &word));
            }
        }
        for heredoc in &transfer.heredocs {
            text = format!("{text} <<{}", heredoc.name);
            let content = heredoc.content();
            let content = if heredoc.expands { stage.variables.expand_body(&content, at.span())? } else { content };
            let file = self.inline_file(&heredoc.name, 0o644, content.into_bytes(), at);
            step.copy(file, literal(&template, paths::absolute("/", &heredoc.name)));
        }
        let op = Op::File(FileOp { root: root.map(|_| InputIndex(0)), actions: step.actions });
        let metadata = self.step_metadata(stage, at, name);
        let files = self.definition.add(op, step.inputs, metadata);
        stage.root = Some(if is_linked { self.link(stage, at, files) } else { files });
        history::add(&mut stage.config, &self.created, format!("{text} {dest_text} # buildkit"), Layer::Made);
        Ok(())
    }

    /// Lays `files` over the stage.
    fn link(&mut self, stage: &mut StageResult, at: At<'_>, files: VertexId) -> VertexId {
        let Some(root) = stage.root else { return files };
        stage.recount();
        let name = self.step_name(stage, at, Shown::Paths, "", &[]);
        let name = match name.split_once("] ") {
            Some((prefix, name)) => format!("{prefix}] LINK {name}"),
            None => name,
        };
        let metadata = self.step_metadata(stage, at, name);
        let op = Op::Merge(MergeOp { layers: vec![InputIndex(0), InputIndex(1)] });
        self.definition.add(op, vec![root, files], metadata)
    }

    /// Adds the copy of one source word, which is expanded.
    #[expect(clippy::too_many_arguments, reason = "what one source word needs of its instruction")]
    fn source(
        &mut self,
        stage: &StageResult,
        at: At<'_>,
        sources: &Sources<'_>,
        (text, span): (&str, Span),
        template: &CopyAction,
        name: &str,
        step: &mut FileStep,
    ) -> Result<(), Diagnostic> {
        let wrong = |message: String| Diagnostic::error(span, message);
        let remote = remote::parse(text).map_err(|reason| wrong(format!("`{text}`: {reason}")))?;
        let metadata = VertexMetadata { name: name.to_owned(), span: Some(span), ..VertexMetadata::default() };
        if remote.is_some() && sources.command == "COPY" {
            return Err(wrong(format!("COPY takes no URL: `{text}`")).hint("use ADD"));
        }
        let checksum = sources.checksum.as_ref().filter(|_| remote.is_none() || sources.transfer.sources.len() != 1);
        if let Some(checksum) = checksum {
            return Err(Diagnostic::error(checksum.span, "flag `--checksum` is for ADD of one URL"));
        }
        match remote {
            Some(Remote::Git { source, keep_git_dir }) => {
                let flags = (sources.keep_git_dir, sources.checksum.as_ref());
                let source = git_source(source, keep_git_dir, flags, span)?;
                let vertex = self.definition.add(Op::Source(SourceOp::Git(source)), Vec::new(), metadata);
                step.copy(vertex, literal(template, "/".to_owned()));
            }
            Some(Remote::Http { url, filename }) => {
                let source = paths::absolute("/", &filename);
                let checksum = sources.checksum.as_ref().map(content_checksum).transpose()?;
                let op = Op::Source(SourceOp::Http(HttpSource { url, filename, checksum, mode: None }));
                let vertex = self.definition.add(op, Vec::new(), metadata);
                let unpack = sources.archives == Some(Archives::Unpacked);
                step.copy(vertex, CopyAction { unpack, ..literal(template, source) });
            }
            None => {
                let by_default = if sources.command == "ADD" { Archives::Unpacked } else { Archives::Kept };
                let unpack = sources.archives.unwrap_or(by_default) == Archives::Unpacked;
                let vertex = self.files(&sources.origin, at.span())?;
                let copy = CopyAction { unpack, ..template.clone() };
                let text = stage.slashed(text.to_owned(), span)?;
                step.copy(vertex, if sources.with_parents { with_parents(copy, &text) } else { plain(copy, &text) });
            }
        }
        Ok(())
    }

    fn expanded_flag(&self, stage: &StageResult, word: &Option<Word>) -> Result<Option<(String, Span)>, Diagnostic> {
        let Some(word) = word else { return Ok(None) };
        let text = self.expanded(stage, word)?;
        Ok((!text.is_empty()).then_some((text, word.span)))
    }
}

/// A file step while its sources are read.
struct FileStep {
    inputs: Vec<VertexId>,
    actions: Vec<FileAction>,
}

impl FileStep {
    fn copy(&mut self, vertex: VertexId, copy: CopyAction) {
        let from = input(&mut self.inputs, vertex);
        self.actions.push(FileAction::Copy(CopyAction { from, ..copy }));
    }
}

fn plain(copy: CopyAction, text: &str) -> CopyAction {
    CopyAction { source: paths::absolute("/", text), ..copy }
}

/// Returns the copy of one path that stands for itself.
fn literal(template: &CopyAction, source: String) -> CopyAction {
    CopyAction { source, naming: SourceNaming::Literal, ..template.clone() }
}

/// Returns the copy that keeps the source's path, from `/./` on where there is one.
fn with_parents(copy: CopyAction, text: &str) -> CopyAction {
    let (parent, pattern) = text.split_once("/./").unwrap_or(("/", text));
    let pattern = paths::absolute("/", pattern);
    let has_wildcards = has_wildcards(parent) || has_wildcards(&pattern);
    let required = paths::absolute("/", &format!("{parent}/{pattern}"));
    CopyAction {
        source: paths::absolute("/", parent),
        include: vec![pattern.trim_start_matches('/').to_owned()],
        required: if has_wildcards { Vec::new() } else { vec![required] },
        ..copy
    }
}

fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => _ = chars.next(),
            _ => {}
        }
    }
    false
}

/// Adds what the flags `--keep-git-dir` and `--checksum` say to what the URL says; they may not differ.
pub(super) fn git_source(
    mut source: GitSource,
    keep_git_dir: Option<bool>,
    (keep_flag, checksum_flag): (Option<bool>, Option<&Word>),
    span: Span,
) -> Result<GitSource, Diagnostic> {
    if let (Some(flag), Some(query)) = (keep_flag, keep_git_dir)
        && flag != query
    {
        return Err(Diagnostic::error(span, "`--keep-git-dir` and the query of the URL differ"));
    }
    source.keep_git_dir = keep_git_dir.or(keep_flag).unwrap_or(false);
    if let Some(flag) = checksum_flag {
        if source.checksum.as_ref().is_some_and(|query| *query != flag.text) {
            return Err(Diagnostic::error(flag.span, "`--checksum` and the query of the URL differ"));
        }
        source.checksum = Some(flag.text.clone());
    }
    Ok(source)
}

/// Checks `algorithm:hex`.
pub(super) fn content_checksum(word: &Word) -> Result<String, Diagnostic> {
    let length = match word.text.split_once(':') {
        Some(("sha256", hex)) => (hex, 64),
        Some(("sha384", hex)) => (hex, 96),
        Some(("sha512", hex)) => (hex, 128),
        _ => ("", 1),
    };
    let is_hex = |hex: &str| hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if length.0.len() != length.1 || !is_hex(length.0) {
        let error = Diagnostic::error(word.span, format!("`{}` is no checksum", word.text));
        return Err(error.hint("write `sha256:` and 64 hexadecimal digits"));
    }
    Ok(word.text.clone())
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
