//! Instructions as values. Words in them are not expanded: that needs a stage's variables.

use crate::diagnostic::Span;

use super::syntax::Heredoc;
use super::words::Word;

/// An instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub kind: InstructionKind,
    /// All of it.
    pub span: Span,
    /// As written, lines joined, without heredoc bodies.
    pub original: String,
    /// The comment lines between the instruction before and this one, trimmed.
    pub comments: Vec<String>,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// ADD.
    Add(AddInstruction),
    /// ARG: one or more declarations.
    Arg(Vec<ArgDeclaration>),
    /// CMD.
    Cmd(CommandLine),
    /// COPY.
    Copy(CopyInstruction),
    /// ENTRYPOINT.
    Entrypoint(CommandLine),
    /// ENV.
    Env(Vec<Pair>),
    /// EXPOSE: the ports, sorted.
    Expose(Vec<Word>),
    /// HEALTHCHECK.
    Healthcheck(HealthcheckInstruction),
    /// LABEL.
    Label(Vec<Pair>),
    /// MAINTAINER.
    Maintainer(String),
    /// ONBUILD: the instruction's text, heredoc bodies on the lines after it.
    Onbuild(String),
    /// RUN.
    Run(RunInstruction),
    /// SHELL; non-empty.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    Stopsignal(Word),
    /// USER.
    User(Word),
    /// VOLUME; non-empty.
    Volume(Vec<Word>),
    /// WORKDIR.
    Workdir(Word),
}

/// A variable that `--build-arg` sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Its name.
    pub name: String,
    /// Its default, not expanded.
    pub default: Option<String>,
    /// The declaration.
    pub span: Span,
}

/// `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Never empty.
    pub key: Word,
    /// May be empty.
    pub value: Word,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// Where the files of COPY and ADD go, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What is copied; files, or URLs for ADD.
    pub sources: Vec<Word>,
    /// Inline documents.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub dest: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// `--link`.
    pub link: bool,
}

/// COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyInstruction {
    /// What, where, as what.
    pub transfer: Transfer,
    /// `--from`.
    pub from: Option<Word>,
    /// `--parents`.
    pub parents: Option<Span>,
}

/// ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddInstruction {
    /// What, where, as what.
    pub transfer: Transfer,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckInstruction {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    /// Nanoseconds; zero where not given.
    pub interval: u64,
    /// Nanoseconds; zero where not given.
    pub timeout: u64,
    /// Nanoseconds; zero where not given.
    pub start_period: u64,
    /// Nanoseconds; zero where not given.
    pub start_interval: u64,
    /// Zero where not given.
    pub retries: u64,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInstruction {
    /// What runs.
    pub command: CommandLine,
    /// Inline documents.
    pub heredocs: Vec<Heredoc>,
    /// The values of `--mount`, in order; see [`MountOptions`](super::MountOptions).
    pub mounts: Vec<Word>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<Word>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<Word>,
    /// `--device`, in order.
    pub devices: Vec<Word>,
}
