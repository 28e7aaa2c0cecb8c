//! The live view: what runs now at the bottom of a terminal, what ended above it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Color;
use super::view::{Frame, View};
use crate::solver::notice::{Listener, Notice};

/// Time between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Shows a build on a terminal: a header, a line for each running step, and a line that stays for each that ended.
///
/// Frames are drawn by a thread of its own, so that listening costs no more than a lock. Of the terminal's state only
/// line wrapping is changed, and each write that switches it off switches it on again: whenever the process ends, the
/// terminal is as it was.
pub struct Live {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// What is to be drawn; never held while writing.
    state: Mutex<State>,
    /// Told when the build is over.
    over: Condvar,
}

struct State {
    view: View,
    is_over: bool,
}

impl Live {
    /// Starts drawing on `out`, a terminal of `size` (asked before each frame). `clock` says how long ago the command
    /// began, as the notices do.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        out: Box<dyn Write + Send>,
        color: Color,
        size: Box<dyn Fn() -> TerminalSize + Send>,
        clock: Box<dyn Fn() -> Duration + Send>,
    ) -> io::Result<Live> {
        let state = Mutex::new(State { view: View::new(color), is_over: false });
        let shared = Arc::new(Shared { state, over: Condvar::new() });
        let drawn = shared.clone();
        let draw = move || draw_until_over(&drawn, out, &size, &clock);
        let thread = thread::Builder::new().name("live".to_owned()).spawn(draw)?;
        Ok(Live { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes the running steps off the terminal and stops drawing; what ended stays. Returns when the last byte is
    /// written, so that the caller may write what comes next. Dropping does the same.
    pub fn finish(&self) {
        self.shared.state().is_over = true;
        self.shared.over.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic in it was reported where it happened.
            _ = thread.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Listener for Live {
    fn on_notice(&self, at: Duration, notice: Notice<'_>) {
        self.shared.state().view.on_notice(at, notice);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draw_until_over(
    shared: &Shared,
    mut out: Box<dyn Write + Send>,
    size: &dyn Fn() -> TerminalSize,
    clock: &dyn Fn() -> Duration,
) {
    let mut screen = Screen::default();
    loop {
        let waited = shared.over.wait_timeout_while(shared.state(), FRAME_INTERVAL, |state| !state.is_over);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_over = state.is_over;
        let now_size = size();
        let frame = if is_over { state.view.last_frame() } else { state.view.frame(clock(), now_size) };
        drop(state);
        let bytes = screen.draw(frame, now_size);
        // A terminal that went away is no reason to stop the build.
        _ = out.write_all(bytes.as_bytes()).and_then(|()| out.flush());
        if is_over {
            return;
        }
    }
}

/// What is on the terminal now.
#[derive(Default)]
struct Screen {
    /// Widths of the rows that the next frame replaces, top first. The cursor is at the start of the row below them.
    drawn: Vec<usize>,
}

impl Screen {
    /// Returns the bytes that turn what is shown into `frame`, to be written at once.
    fn draw(&mut self, frame: Frame, size: TerminalSize) -> String {
        let columns = usize::from(size.columns).max(1);
        // A terminal that became narrower has wrapped what was drawn.
        let n_up: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        let mut bytes = String::new();
        if n_up > 0 {
            bytes.push_str(&format!("\x1b[{n_up}A\r\x1b[J"));
        }
        for line in &frame.scrollback {
            bytes.push_str(line);
            bytes.push_str("\r\n");
        }
        if !frame.rows.is_empty() {
            bytes.push_str("\x1b[?7l");
            for row in &frame.rows {
                bytes.push_str(&row.text);
                bytes.push_str("\r\n");
            }
            bytes.push_str("\x1b[?7h");
        }
        self.drawn = frame.rows.iter().map(|row| row.width).collect();
        bytes
    }
}

#[cfg(test)]
mod tests;
