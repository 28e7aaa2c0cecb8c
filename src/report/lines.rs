//! Cuts what steps print into lines.

use std::collections::BTreeMap;
use std::mem;

use super::clean;
use crate::graph::VertexId;
use crate::solver::notice::Stream;

/// Bytes of a line that has not ended after which it is shown as it is.
const LONGEST_LINE: usize = 16 * 1024;

/// The unfinished last lines of all running steps, each stream its own, so that neither steps nor streams mix in a line.
#[derive(Default)]
pub(super) struct OutputLines(BTreeMap<VertexId, [LineBuffer; 2]>);

impl OutputLines {
    /// Returns the lines that `bytes` end, clean and in order.
    pub(super) fn push(&mut self, vertex: VertexId, stream: Stream, bytes: &[u8]) -> Vec<String> {
        self.0.entry(vertex).or_default()[stream as usize].push(bytes)
    }

    /// Returns what is left of a step that ended: a line for each stream that did not end its last one.
    pub(super) fn finish(&mut self, vertex: VertexId) -> Vec<String> {
        let buffers = self.0.remove(&vertex).unwrap_or_default();
        buffers.into_iter().filter_map(LineBuffer::finish).collect()
    }
}

/// A line that is being printed. A carriage return starts it again, as on a terminal: of a progress bar, the last state
/// stays.
#[derive(Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// A carriage return was the last byte: it starts the line again unless a line feed follows.
    is_returned: bool,
}

impl LineBuffer {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => lines.push(clean(&mem::take(&mut self.bytes))),
                b'\r' => {}
                _ => {
                    if self.is_returned {
                        self.bytes.clear();
                    }
                    self.bytes.push(*byte);
                }
            }
            self.is_returned = *byte == b'\r';
            if self.bytes.len() >= LONGEST_LINE {
                lines.push(clean(&mem::take(&mut self.bytes)));
            }
        }
        lines
    }

    fn finish(self) -> Option<String> {
        (!self.bytes.is_empty()).then(|| clean(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_whatever_the_chunks() {
        let text = b"one\r\ntwo\n\n10%\r20%\r100%\nlast";
        for size in 1..text.len() {
            let mut lines = OutputLines::default();
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                seen.extend(lines.push(VertexId(0), Stream::Stdout, chunk));
            }
            seen.extend(lines.finish(VertexId(0)));
            assert_eq!(seen, ["one", "two", "", "100%", "last"], "chunks of {size}");
        }
    }

    #[test]
    fn streams_and_steps_do_not_mix() {
        let mut lines = OutputLines::default();
        assert!(lines.push(VertexId(0), Stream::Stdout, b"out").is_empty());
        assert!(lines.push(VertexId(0), Stream::Stderr, b"err").is_empty());
        assert_eq!(lines.push(VertexId(1), Stream::Stdout, b"other\n"), ["other"]);
        assert_eq!(lines.finish(VertexId(0)), ["out", "err"]);
    }

    #[test]
    fn a_line_that_never_ends_is_cut() {
        let mut lines = OutputLines::default();
        let seen = lines.push(VertexId(0), Stream::Stdout, &[b'x'; 3 * LONGEST_LINE + 1]);
        assert_eq!(seen.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE; 3]);
    }
}
