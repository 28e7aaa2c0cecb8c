//! What a graph can say and this engine cannot do yet. All of it stands here: what is built next takes its line out.

use crate::graph::{ExecOp, FileAction, FileOp, Op, SourceOp};

/// Returns what of `op` cannot run here, as its Dockerfile would call it; `None` where it can run.
pub fn unsupported(op: &Op) -> Option<&'static str> {
    match op {
        Op::Source(SourceOp::Git(_)) => Some("ADD of a git repository"),
        Op::Source(SourceOp::Http(_)) => Some("ADD of a URL"),
        Op::Source(SourceOp::Image { .. } | SourceOp::Local(_)) => None,
        Op::Exec(exec) => unsupported_exec(exec),
        Op::File(file) => unsupported_file(file),
        Op::Merge(_) => None,
        Op::Diff(_) => Some("the difference of root file systems"),
    }
}

fn unsupported_exec(exec: &ExecOp) -> Option<&'static str> {
    if !exec.extra_hosts.is_empty() {
        return Some("`extra-hosts`");
    }
    if !exec.valid_exit_codes.is_empty() {
        return Some("a step that may end with another code than zero");
    }
    None
}

fn unsupported_file(file: &FileOp) -> Option<&'static str> {
    file.actions.iter().find_map(|action| match action {
        FileAction::Copy(copy) if !copy.include.is_empty() => Some("`COPY --parents`"),
        FileAction::Copy(copy) if copy.replace_existing => Some("a copy that replaces what is there"),
        FileAction::Rm { .. } => Some("removing a path in a file step"),
        FileAction::Symlink { .. } => Some("making a link in a file step"),
        FileAction::Copy(_) | FileAction::Mkdir { .. } | FileAction::Mkfile { .. } => None,
    })
}
