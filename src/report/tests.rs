use std::io::{self, Write};
use std::sync::Mutex;

use expect_test::expect;

use super::*;
use crate::graph::{FileAction, FileOp, Op, VertexMetadata};
use crate::solver::notice::{Outcome, Stream};

/// Keeps what is written.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("whole").clone()).expect("UTF-8")
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Four steps: a base image, a COPY, a RUN and a RUN of several lines.
pub(super) fn definition() -> Definition {
    let mut definition = Definition::default();
    let names = [
        "[linux/arm64 1/4] FROM docker.io/library/debian:13",
        "[linux/arm64 2/4] COPY . /src",
        "[linux/arm64 3/4] RUN make",
        "[linux/arm64 4/4] RUN <<EOF\n  echo one\n  echo \x1b[31mtwo\n",
    ];
    for (index, name) in names.iter().enumerate() {
        let action = FileAction::Mkdir { path: format!("/{index}"), mode: 0o755, owner: None };
        let metadata = VertexMetadata { name: (*name).to_owned(), ..VertexMetadata::default() };
        definition.add(Op::File(FileOp { root: None, actions: vec![action] }), Vec::new(), metadata);
    }
    definition
}

const ALL: [VertexId; 4] = [VertexId(0), VertexId(1), VertexId(2), VertexId(3)];

/// A build with a hit, a step that runs, one that fails, one that is never started, and a push.
pub(super) fn build(definition: &Arc<Definition>) -> Vec<(Duration, Notice<'_>)> {
    let [base, copy, make, script] = ALL;
    let push = ActivityId(1);
    let output = |vertex, stream, bytes| Notice::Output { vertex, stream, bytes };
    vec![
        (ms(0), Notice::Planned { definition, wanted: &ALL }),
        (ms(100), Notice::Finished { vertex: base, outcome: Outcome::Hit }),
        (ms(200), Notice::Started { vertex: copy, is_emulated: false }),
        (ms(300), Notice::Started { vertex: make, is_emulated: true }),
        (ms(1504), output(make, Stream::Stdout, b"cc -c a.c\ncc -c")),
        (ms(1600), output(make, Stream::Stderr, b"warning: \x1b[2J\xff\n")),
        (ms(1700), Notice::Finished { vertex: copy, outcome: Outcome::Done }),
        (ms(1800), Notice::ActivityStarted { activity: push, name: "push 127.0.0.1:5000/hello:1" }),
        (ms(1900), Notice::ActivityProgress { activity: push, current: 1_000_000, total: Some(4_149_999) }),
        (ms(7000), Notice::ActivityProgress { activity: push, current: 2_000_000, total: Some(4_149_999) }),
        (ms(7100), Notice::ActivityFinished { activity: push, result: Some("4.1 MB sent") }),
        (ms(9000), Notice::ActivityStarted { activity: ActivityId(2), name: "write hello.tar" }),
        (ms(9001), output(make, Stream::Stdout, b" b.c")),
        (ms(9100), Notice::ActivityFinished { activity: ActivityId(2), result: Some("") }),
        (ms(9200), Notice::Finished { vertex: make, outcome: Outcome::Failed }),
        (ms(9200), Notice::Finished { vertex: script, outcome: Outcome::Cancelled }),
    ]
}

fn listen(listener: &dyn Listener, definition: &Arc<Definition>) {
    for (at, notice) in build(definition) {
        listener.on_notice(at, notice);
    }
}

#[test]
fn plain_writes_a_line_for_each_event() {
    let sink = Sink::default();
    listen(&Plain::new(Box::new(sink.clone())), &Arc::new(definition()));
    expect![[r#"
        #1 [linux/arm64 1/4] FROM docker.io/library/debian:13
        #1 CACHED
        #2 [linux/arm64 2/4] COPY . /src
        #3 [linux/arm64 3/4] RUN make (emulated)
        #3 1.204 cc -c a.c
        #3 1.300 warning: �
        #2 DONE 1.5s
        #4 push 127.0.0.1:5000/hello:1
        #4 2.0 MB / 4.1 MB
        #4 DONE 5.3s, 4.1 MB sent
        #5 write hello.tar
        #5 DONE 0.1s
        #3 8.900 cc -c b.c
        #3 ERROR 8.9s (emulated)
    "#]]
    .assert_eq(&sink.text());
}

#[test]
fn plain_keeps_lines_of_different_steps_apart() {
    let definition = Arc::new(definition());
    let sink = Sink::default();
    let plain = Plain::new(Box::new(sink.clone()));
    plain.on_notice(ms(0), Notice::Planned { definition: &definition, wanted: &ALL });
    for vertex in [ALL[2], ALL[3]] {
        plain.on_notice(ms(10), Notice::Started { vertex, is_emulated: false });
    }
    for (vertex, bytes) in [(ALL[2], &b"a"[..]), (ALL[3], b"b\r\n"), (ALL[2], b"a\n"), (ALL[3], b"50%\r99%")] {
        plain.on_notice(ms(20), Notice::Output { vertex, stream: Stream::Stdout, bytes });
    }
    plain.on_notice(ms(30), Notice::Finished { vertex: ALL[3], outcome: Outcome::Cancelled });
    expect![[r#"
        #1 [linux/arm64 3/4] RUN make
        #2 [linux/arm64 4/4] RUN <<EOF echo one echo two
        #2 0.010 b
        #1 0.010 aa
        #2 0.020 99%
        #2 CANCELED 0.0s
    "#]]
    .assert_eq(&sink.text());
}

#[test]
fn a_step_that_nobody_planned_is_still_told() {
    let sink = Sink::default();
    let plain = Plain::new(Box::new(sink.clone()));
    plain.on_notice(ms(0), Notice::Finished { vertex: VertexId(9), outcome: Outcome::Done });
    plain.on_notice(ms(0), Notice::ActivityProgress { activity: ActivityId(1), current: 1, total: None });
    plain.on_notice(ms(0), Notice::ActivityFinished { activity: ActivityId(1), result: Some("done") });
    expect![[r#"
        #1 step 9
        #1 DONE 0.0s
        #2 
        #2 DONE 0.0s, done
    "#]]
    .assert_eq(&sink.text());
}

#[test]
fn the_tail_keeps_the_last_lines_of_a_failed_step_only() {
    let definition = Arc::new(definition());
    let tail = Tail::new(2);
    listen(&tail, &definition);
    assert_eq!(tail.lines(ALL[2]), ["warning: \u{fffd}", "cc -c b.c"]);
    tail.on_notice(ms(0), Notice::Output { vertex: ALL[1], stream: Stream::Stdout, bytes: b"a\nb\nc\n" });
    assert_eq!(tail.lines(ALL[1]), ["b", "c"]);
    tail.on_notice(ms(0), Notice::Finished { vertex: ALL[1], outcome: Outcome::Done });
    assert!(tail.lines(ALL[1]).is_empty());
}

#[test]
fn the_summary_counts_what_ran() {
    let definition = Arc::new(definition());
    let summary = Arc::new(Summary::default());
    listen(&Fanout(vec![summary.clone(), Arc::new(Quiet)]), &definition);
    let expected = "built 3 images: 2 steps ran (1 emulated, 8.9 s), 1 cached, in 12.3 s\n\
                    emulated 8.9 s: [linux/arm64 3/4] RUN make";
    assert_eq!(summary.text(3, 0, ms(12_340)), expected);
    assert_eq!(Summary::default().text(1, 1, ms(40)), "built 1 image: 0 steps ran, 0 cached, 1 image locked, in 0.0 s");
}

#[test]
fn sizes_are_told_in_decimal_units() {
    let cases = [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4_149_999, "4.1 MB"),
        (u64::MAX, "18.4 EB"),
    ];
    for (size, text) in cases {
        assert_eq!(Bytes(size).to_string(), text);
    }
}
