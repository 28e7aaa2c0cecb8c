//! Flags, terminal, exit codes. The only place that prints, reads the environment or looks at the terminal.

#![expect(clippy::disallowed_methods, reason = "this row reads the environment and the command line")]

mod flags;
mod prompt;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::commands::image_attestation::{self, AttestationKind};
use crate::commands::{self, Failure, Host, Kind, Progress, Talk};
use crate::sys::cancel::CancelToken;
use crate::sys::interrupt;
use flags::cache::{CacheCommand, MountCommand};
use flags::{Arguments, Command, ImageCommand};

/// Runs the command line and returns the exit code.
pub fn run() -> ExitCode {
    let begin = Instant::now();
    let arguments = match Arguments::try_parse_from(with_verb(std::env::args_os().collect())) {
        Ok(arguments) => arguments,
        Err(error) => {
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let talk = Talk::new(Box::new(std::io::stderr()));
    let result = unless_panic(|| {
        let data = host(begin, &arguments, talk.clone()).and_then(|host| dispatch(arguments.command, &host))?;
        print(&data, &mut std::io::stdout().lock())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            _ = print(&failure.data, &mut std::io::stdout().lock());
            talk.line(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Runs `work`; a panic, which has said where it came from, is a failure like any other.
fn unless_panic<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let failure =
            Failure::new(Kind::Bug, "bake stopped because of a mistake in bake; the message above says where");
        Err(failure.hint("report it with that message and the command"))
    })
}

/// Writes a command's data. A reader that closed the pipe early has what it wanted; a full disk does not.
fn print(data: &str, out: &mut dyn Write) -> Result<(), Failure> {
    match out.write_all(data.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Kind::Environment, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn dispatch(command: Command, host: &Host) -> Result<String, Failure> {
    match command {
        Command::Build(flags) if flags.print => commands::print::print(&flags.project(), host),
        Command::Build(flags) => match flags.list() {
            Some(list) => commands::list::list(&flags.project(), list, host),
            None => commands::build::build(&flags.request()?, host),
        },
        Command::Affected(flags) => commands::affected::affected(&flags.request(), host),
        Command::Verify(flags) => commands::verify::verify(&flags.request(), host),
        Command::Why(flags) => commands::why::why(&flags.request(), host),
        Command::Print(flags) => commands::print::print(&flags.request(), host),
        Command::List(flags) => {
            let (project, list) = flags.request();
            commands::list::list(&project, list, host)
        }
        Command::Check(flags) => commands::check::check(&flags.request(), host),
        Command::Compile(flags) => commands::compile::compile(&flags.request(), host),
        Command::Convert(flags) => commands::convert::convert(&flags.request(), host),
        Command::Schema => Ok(crate::bakefile::schema()),
        Command::Fmt(flags) => commands::fmt::fmt(&flags.request(), host),
        Command::Doctor(flags) => commands::doctor::doctor(&flags.request(), host),
        Command::Login(flags) => commands::login::login(&flags.request(), &prompt::Terminal(host), host),
        Command::Logout(flags) => commands::login::logout(flags.registry.as_deref(), host),
        Command::Emulator(command) => commands::emulator::emulator(&command.request()?, host),
        Command::Cache(command) => cache(command, host),
        Command::Image(ImageCommand::Inspect { reference, raw }) => commands::image_inspect::run(&reference, raw, host),
        Command::Image(ImageCommand::Sbom(flags)) => {
            image_attestation::run(&flags.request(AttestationKind::Sbom), host)
        }
        Command::Image(ImageCommand::Verify(flags)) => commands::sign::verify(&flags.request(), host),
        Command::Image(ImageCommand::Provenance(flags)) => {
            image_attestation::run(&flags.request(AttestationKind::Provenance), host)
        }
    }
}

fn cache(command: CacheCommand, host: &Host) -> Result<String, Failure> {
    match command {
        CacheCommand::Du(flags) => commands::cache::du(&flags.request(), host),
        CacheCommand::Prune(flags) => commands::cache::prune(&flags.request(), host),
        CacheCommand::Verify(flags) => commands::cache::verify(&flags.request(), host),
        CacheCommand::Mount(MountCommand::Ls { store, format }) => {
            commands::cache::list(&store.request(), format.form(), host)
        }
        CacheCommand::Mount(MountCommand::Export { name, output, store }) => {
            commands::cache::export(&store.request(), &name.request(), output.as_deref(), host)
        }
        CacheCommand::Mount(MountCommand::Import { name, input, store }) => {
            commands::cache::import(&store.request(), &name.request(), input.as_deref(), host)
        }
    }
}

/// `bake web` is `bake build web`: what does not begin with a verb, or with a flag of the program itself, builds.
fn with_verb(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or("");
    let is_known = flags::VERBS.contains(&first) || matches!(first, "-h" | "--help" | "-V" | "--version");
    if !is_known {
        arguments.insert(1.min(arguments.len()), "build".into());
    }
    arguments
}

fn host(begin: Instant, arguments: &Arguments, talk: Talk) -> Result<Host, Failure> {
    let directory = std::env::current_dir()
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot read the current directory: {error}")))?;
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let (progress, is_colored, cancel) = (Progress::Plain, false, CancelToken::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::new(Kind::Environment, format!("the system gives no random bytes: {error}")))?;
    let mut host = Host { env, directory, begin, now, seed, program, talk, progress, is_colored, cancel };
    let is_terminal = std::io::stderr().is_terminal();
    host.is_colored = is_terminal && host.var("NO_COLOR").is_none();
    host.progress = match arguments.command.progress() {
        flags::ProgressFlag::Auto if is_terminal && host.var("CI").is_none() => Progress::Live,
        flags::ProgressFlag::Tty => Progress::Live,
        flags::ProgressFlag::Auto | flags::ProgressFlag::Plain | flags::ProgressFlag::RawJson => Progress::Plain,
        flags::ProgressFlag::Quiet => Progress::Quiet,
    };
    interrupt::listen(&host.cancel)
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot listen for signals: {error}")))?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_own_exit_code() {
        let failure = unless_panic::<()>(|| panic!("on purpose")).expect_err("it panicked");
        assert_eq!(failure.exit_code(), 70);
    }

    #[test]
    fn data_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none() {
        struct Fails(std::io::ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(print("x", &mut Fails(std::io::ErrorKind::BrokenPipe)).is_ok());
        let failure = print("x", &mut Fails(std::io::ErrorKind::StorageFull)).expect_err("the disk is full");
        assert_eq!(failure.exit_code(), 4);
    }

    #[test]
    fn a_target_without_a_verb_is_built() {
        let run = |words: &[&str]| {
            let words = with_verb(words.iter().map(OsString::from).collect());
            words.into_iter().map(|word| word.into_string().expect("text")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(run(&["bake", "web", "--push"]), "bake build web --push");
        assert_eq!(run(&["bake"]), "bake build");
        assert_eq!(run(&["bake", "print", "web"]), "bake print web");
        assert_eq!(run(&["bake", "-f", "x.hcl", "web"]), "bake build -f x.hcl web");
        assert_eq!(run(&["bake", "--help"]), "bake --help");
    }
}
