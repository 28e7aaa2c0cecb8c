use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::graph::{Definition, VertexId};
use crate::report::tests::{Sink, build, definition, ms};
use crate::solver::notice::{ActivityId, Outcome, Stream};

/// A terminal that knows what this module writes: text, newlines, cursor up, erase below, no wrapping.
struct Terminal {
    columns: usize,
    rows: Vec<String>,
    row: usize,
    wraps: bool,
}

impl Terminal {
    fn new(columns: usize) -> Terminal {
        Terminal { columns, rows: vec![String::new()], row: 0, wraps: true }
    }

    fn write(&mut self, bytes: &str) {
        let mut rest = bytes;
        while let Some(c) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
                self.control(&sequence[..=end]);
                rest = &sequence[end + 1..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => {}
                '\n' => self.next_row(),
                c => {
                    assert!(!c.is_control(), "{c:?} reached the terminal");
                    if self.rows[self.row].chars().count() < self.columns {
                        self.rows[self.row].push(c);
                    } else if self.wraps {
                        self.next_row();
                        self.rows[self.row].push(c);
                    }
                }
            }
        }
    }

    fn control(&mut self, sequence: &str) {
        match sequence {
            "J" => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].clear();
            }
            "?7l" => self.wraps = false,
            "?7h" => self.wraps = true,
            up => {
                let n: usize = up.strip_suffix('A').and_then(|n| n.parse().ok()).expect("cursor up");
                self.row -= n;
            }
        }
    }

    fn next_row(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(String::new());
        }
    }
}

/// Draws after each of `notices` and shows every screen.
fn check(size: TerminalSize, notices: &[(Duration, Notice<'_>)], expected: Expect) {
    let mut view = View::new(Color::Off);
    let mut screen = Screen::default();
    let mut terminal = Terminal::new(usize::from(size.columns));
    let mut shown = String::new();
    for (at, notice) in notices {
        view.on_notice(*at, *notice);
        terminal.write(&screen.draw(view.frame(*at, size), size));
        shown.push_str(&format!("{}---\n", terminal.rows.join("\n")));
    }
    terminal.write(&screen.draw(view.last_frame(), size));
    shown.push_str(&terminal.rows.join("\n"));
    assert!(terminal.wraps);
    expected.assert_eq(&shown);
}

const WIDE: TerminalSize = TerminalSize { columns: 72, rows: 24 };

#[test]
fn what_runs_is_replaced_and_what_ended_stays() {
    let definition = Arc::new(definition());
    check(
        WIDE,
        &build(&definition),
        expect![[r#"
        [+] building 0.0s (0/4)
        ---
        [+] building 0.1s (1/4, 1 cached)
        ---
        [+] building 0.2s (1/4, 1 cached)
                     0.0s [linux/arm64 2/4] COPY . /src
        ---
        [+] building 0.3s (1/4, 1 cached)
                     0.1s [linux/arm64 2/4] COPY . /src
                     0.0s [linux/arm64 3/4] RUN make (emulated)
        ---
        [+] building 1.5s (1/4, 1 cached)
                     1.3s [linux/arm64 2/4] COPY . /src
                     1.2s [linux/arm64 3/4] RUN make (emulated)  cc -c a.c
        ---
        [+] building 1.6s (1/4, 1 cached)
                     1.4s [linux/arm64 2/4] COPY . /src
                     1.3s [linux/arm64 3/4] RUN make (emulated)  warning: �
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        [+] building 1.7s (2/4, 1 cached)
                     1.4s [linux/arm64 3/4] RUN make (emulated)  warning: �
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        [+] building 1.8s (2/4, 1 cached)
                     1.5s [linux/arm64 3/4] RUN make (emulated)  warning: �
                     0.0s push 127.0.0.1:5000/hello:1
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        [+] building 1.9s (2/4, 1 cached)
                     1.6s [linux/arm64 3/4] RUN make (emulated)  warning: �
                     0.1s push 127.0.0.1:5000/hello:1  1.0 MB / 4.1 MB
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        [+] building 7.0s (2/4, 1 cached)
                     6.7s [linux/arm64 3/4] RUN make (emulated)  warning: �
                     5.2s push 127.0.0.1:5000/hello:1  2.0 MB / 4.1 MB
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        [+] building 7.1s (2/4, 1 cached)
                     6.8s [linux/arm64 3/4] RUN make (emulated)  warning: �
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        [+] building 9.0s (2/4, 1 cached)
                     8.7s [linux/arm64 3/4] RUN make (emulated)  warning: �
                     0.0s write hello.tar
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        [+] building 9.0s (2/4, 1 cached)
                     8.7s [linux/arm64 3/4] RUN make (emulated)  warning: �
                     0.0s write hello.tar
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        DONE         0.1s write hello.tar
        [+] building 9.1s (2/4, 1 cached)
                     8.8s [linux/arm64 3/4] RUN make (emulated)  warning: �
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        DONE         0.1s write hello.tar
        ERROR        8.9s [linux/arm64 3/4] RUN make (emulated)
        [+] building 9.2s (3/4, 1 cached)
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        DONE         0.1s write hello.tar
        ERROR        8.9s [linux/arm64 3/4] RUN make (emulated)
        [+] building 9.2s (4/4, 1 cached)
        ---
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        DONE         0.1s write hello.tar
        ERROR        8.9s [linux/arm64 3/4] RUN make (emulated)
    "#]],
    );
}

#[test]
fn a_small_terminal_cuts_lines_and_counts_the_rest() {
    let definition = Arc::new(definition());
    let wanted: Vec<VertexId> = definition.ids().collect();
    let mut notices = vec![(ms(0), Notice::Planned { definition: &definition, wanted: &wanted })];
    notices.extend(wanted.iter().map(|vertex| (ms(1500), Notice::Started { vertex: *vertex, is_emulated: true })));
    check(
        TerminalSize { columns: 30, rows: 4 },
        &notices,
        expect![[r#"
        [+] building 0.0s (0/4)
        ---
        [+] building 1.5s (0/4)
                     0.0s [linux/arm6…
        ---
        [+] building 1.5s (0/4)
                     0.0s [linux/arm6…
                     0.0s [linux/arm6…
        ---
        [+] building 1.5s (0/4)
                     0.0s [linux/arm6…
                          … and 2 more
        ---
        [+] building 1.5s (0/4)
                     0.0s [linux/arm6…
                          … and 3 more
        ---
    "#]],
    );
    check(
        TerminalSize { columns: 0, rows: 0 },
        &notices[..2],
        expect![[r#"

        ---


        ---
    "#]],
    );
}

#[test]
fn a_terminal_that_became_narrower_is_cleared_whole() {
    let definition = Arc::new(definition());
    let mut view = View::new(Color::Off);
    let mut screen = Screen::default();
    for (at, notice) in build(&definition).into_iter().take(4) {
        view.on_notice(at, notice);
    }
    screen.draw(view.frame(ms(2000), WIDE), WIDE);
    let narrow = TerminalSize { columns: 20, rows: 24 };
    let bytes = screen.draw(view.last_frame(), narrow);
    expect![[r#"
        "\u{1b}[8A\r\u{1b}[J"
    "#]]
    .assert_debug_eq(&bytes);
}

#[test]
fn colors_are_the_callers_choice() {
    let definition = Arc::new(Definition::default());
    let wanted = [VertexId(0)];
    let mut view = View::new(Color::On);
    view.on_notice(ms(0), Notice::Planned { definition: &definition, wanted: &wanted });
    view.on_notice(ms(0), Notice::Started { vertex: VertexId(0), is_emulated: false });
    let bytes = b"\x1b[31mnot mine\x1b[0m\n";
    view.on_notice(ms(0), Notice::Output { vertex: VertexId(0), stream: Stream::Stdout, bytes });
    expect![[r#"
        Frame {
            scrollback: [],
            rows: [
                Row {
                    text: "\u{1b}[1m[+] building 0.0s (0/1)\u{1b}[0m",
                    width: 23,
                },
                Row {
                    text: "             0.0s step 0  \u{1b}[2mnot mine\u{1b}[0m",
                    width: 34,
                },
            ],
        }
    "#]]
    .assert_debug_eq(&view.frame(ms(0), WIDE));
    view.on_notice(ms(900), Notice::Finished { vertex: VertexId(0), outcome: Outcome::Failed });
    expect![[r#"
        Frame {
            scrollback: [
                "\u{1b}[31mERROR        0.9s step 0\u{1b}[0m",
            ],
            rows: [],
        }
    "#]]
    .assert_debug_eq(&view.last_frame());
}

#[test]
fn the_thread_draws_and_leaves_a_clean_terminal() {
    let definition = Arc::new(definition());
    let sink = Sink::default();
    let live =
        Live::start(Box::new(sink.clone()), Color::Off, Box::new(|| WIDE), Box::new(|| ms(2000))).expect("a thread");
    for (at, notice) in build(&definition) {
        live.on_notice(at, notice);
    }
    let left = Notice::ActivityStarted { activity: ActivityId(7), name: "never ends" };
    live.on_notice(ms(2000), left);
    live.finish();
    drop(live);
    let mut terminal = Terminal::new(72);
    terminal.write(&sink.text());
    assert!(terminal.wraps);
    expect![[r#"
        DONE         1.5s [linux/arm64 2/4] COPY . /src
        DONE         5.3s push 127.0.0.1:5000/hello:1, 4.1 MB sent
        DONE         0.1s write hello.tar
        ERROR        8.9s [linux/arm64 3/4] RUN make (emulated)
    "#]]
    .assert_eq(&terminal.rows.join("\n"));
}
