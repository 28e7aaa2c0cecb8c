//! Questions on the terminal.

use std::io::{IsTerminal as _, Read as _, Stdin, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{LocalModes, OptionalActions, Termios};

use crate::commands::login::{Echo, Prompt};
use crate::commands::{Failure, Host, Kind};

/// How often it is looked whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Longest password, and longest line that is typed.
const MAX_SIZE: u64 = 64 << 10;

/// Asks on standard error, reads standard input.
pub struct Terminal<'a>(pub &'a Host);

impl Prompt for Terminal<'_> {
    fn ask(&self, question: &str, echo: Echo) -> Result<Option<String>, Failure> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let mut talk = self.0.talk.clone();
        // A stream that is gone is no reason to fail.
        _ = write!(talk, "{question}").and_then(|()| talk.flush());
        let typed = match echo {
            Echo::Shown => self.line(&input),
            Echo::Hidden => {
                let hidden = HiddenInput::begin(&input).map_err(unreadable)?;
                let typed = self.line(&input);
                drop(hidden);
                // The Enter was not shown either.
                self.0.talk.line("");
                typed
            }
        };
        typed.map(Some)
    }

    fn all(&self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MAX_SIZE).read_to_end(&mut bytes).map_err(unreadable)?;
        String::from_utf8(bytes).map_err(|_| Failure::new(Kind::Usage, "standard input is no text"))
    }
}

impl Terminal<'_> {
    /// Reads a line without its end. A terminal gives whole lines; until there is one, Ctrl-C is listened to.
    fn line(&self, input: &Stdin) -> Result<String, Failure> {
        let tick = Timespec::try_from(TICK).ok();
        loop {
            if self.0.cancel.is_cancelled() {
                return Err(Failure::new(Kind::Interrupted, "interrupted"));
            }
            let mut polled = [PollFd::new(input, PollFlags::IN)];
            match rustix::event::poll(&mut polled, tick.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(unreadable(error.into())),
            }
        }
        let mut line = String::new();
        input.read_line(&mut line).map_err(unreadable)?;
        Ok(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// A terminal that does not show what is typed; as it was when the value is dropped.
struct HiddenInput<'a> {
    input: &'a Stdin,
    before: Termios,
}

impl HiddenInput<'_> {
    fn begin(input: &Stdin) -> std::io::Result<HiddenInput<'_>> {
        let before = rustix::termios::tcgetattr(input.as_fd())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(input.as_fd(), OptionalActions::Flush, &hidden)?;
        Ok(HiddenInput { input, before })
    }
}

impl Drop for HiddenInput<'_> {
    fn drop(&mut self) {
        _ = rustix::termios::tcsetattr(self.input.as_fd(), OptionalActions::Now, &self.before);
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Kind::Environment, format!("cannot read standard input: {error}"))
}
