//! What a graph can say and this engine cannot do yet. All of it stands here: what is built next takes its line out.

use crate::graph::Op;

/// Returns what of `op` cannot run here, as its Dockerfile would call it; `None` where it can run.
pub fn unsupported(op: &Op) -> Option<&'static str> {
    match op {
        Op::Source(_) | Op::Exec(_) | Op::File(_) | Op::Merge(_) => None,
        Op::Diff(_) => Some("the difference of root file systems"),
    }
}
