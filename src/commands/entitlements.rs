//! What a bakefile may reach outside its directory: asked of the user before anything is built (buildx v0.36,
//! `bake/entitlements.go`).
//!
//! Everything below the directory that the command runs in may be read and written; `--allow` grants more, and so does
//! the command line where it names an output, a cache or a key itself. What is still missing is asked for on a terminal;
//! elsewhere the build ends and says the flags. The peer keeps the paths of one target alone, whichever comes last; here
//! those of all count.

mod granted;
mod wanted;

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use super::{Failure, Host, Kind};
use crate::bakefile::{Target, parse_bool};
use crate::diagnostic::SourceMap;
use crate::remote::Home;
use crate::sys::existing::existing;
pub use granted::Granted;
use wanted::Wanted;

/// Ends the build unless `allowed`, or the user, grants what `targets` want. `place` says whether the bakefile came from
/// the network, and where its relative contexts are if not here.
///
/// # Errors
/// Something is not granted, a path leads nowhere, or a variable of the environment is wrong.
pub fn check(
    targets: &[&Target],
    allowed: &[String],
    place: (bool, Option<&Home>),
    sources: &SourceMap,
    host: &Host,
) -> Result<(), Failure> {
    let (is_remote, home) = place;
    let mut granted = Granted::parse(allowed).map_err(|reason| Failure::new(Kind::Usage, reason))?;
    let directory = host.directory.to_string_lossy().into_owned();
    granted.read.push(directory.clone());
    granted.write.push(directory);
    let mut wanted = Wanted::default();
    for target in targets {
        wanted.add(target, home, &mut granted, sources);
    }
    let mut lines = wanted.rights(&granted);
    let checks_files = checks_files(is_remote, host)?;
    let mut files = BTreeSet::new();
    if checks_files {
        let read = missing(&granted.read, &wanted.read, host)?;
        let write = missing(&granted.write, &wanted.write, host)?;
        let here = existing(&host.directory).map_or_else(|_| host.directory.clone(), |(path, _)| path);
        let both = read.intersection(&write);
        files.extend(both.map(|path| line("read and write", "fs", &shown(path, &here))));
        files.extend(read.difference(&write).map(|path| line("read", "fs.read", &shown(path, &here))));
        files.extend(write.difference(&read).map(|path| line("write", "fs.write", &shown(path, &here))));
        files.extend(wanted.ssh_line(&granted));
    }
    lines.extend(files);
    if lines.is_empty() || is_granted_now(&lines, host) {
        return Ok(());
    }
    Err(refusal(&lines, checks_files))
}

/// What is missing, in words, and the flag that grants it.
type Line = (String, String);

fn line(verb: &str, key: &str, path: &str) -> Line {
    (format!("{verb} {path}"), format!("--allow={key}={path}"))
}

fn refusal(lines: &[Line], checks_files: bool) -> Failure {
    let mut failure = Failure::new(Kind::Definition, "the bakefile wants more than it is granted");
    for (what, _) in lines {
        failure = failure.note(format!("it wants to {what}"));
    }
    let flags: Vec<&str> = lines.iter().map(|(_, flag)| flag.as_str()).collect();
    let failure = failure.hint(format!("grant it with {}", flags.join(" ")));
    match checks_files && flags.iter().any(|flag| flag.starts_with("--allow=fs") || *flag == "--allow=ssh") {
        true => failure.hint("BUILDX_BAKE_ENTITLEMENTS_FS=0 switches the check of paths off"),
        false => failure,
    }
}

/// Asks on the terminal.
fn is_granted_now(lines: &[Line], host: &Host) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    host.talk.line("The bakefile wants more than it is granted:");
    for (what, flag) in lines {
        host.talk.line(&format!("  {what} ({flag})"));
    }
    host.talk.line("Grant it and go on? [y/N]");
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    is_read && !host.cancel.is_cancelled() && answer.trim().eq_ignore_ascii_case("y")
}

/// Says whether paths are checked: unless the environment says otherwise.
fn checks_files(is_remote: bool, host: &Host) -> Result<bool, Failure> {
    let flag = |name: &str| match host.env.get(name) {
        None => Ok(None),
        Some(text) => parse_bool(text)
            .map(Some)
            .ok_or_else(|| Failure::new(Kind::Usage, format!("{name}=`{text}` is neither true nor false"))),
    };
    let remote = if is_remote { flag("BAKE_ALLOW_REMOTE_FS_ACCESS")? } else { None };
    Ok(flag("BUILDX_BAKE_ENTITLEMENTS_FS")?.unwrap_or(remote != Some(true)))
}

/// Returns the paths of `wanted`, as far as they are there, that are below none of `granted`.
fn missing(granted: &[String], wanted: &BTreeSet<String>, host: &Host) -> Result<BTreeSet<PathBuf>, Failure> {
    if granted.iter().any(|path| path == "*") {
        return Ok(BTreeSet::new());
    }
    let follow = |path: &String| {
        existing(&host.directory.join(path))
            .map_err(|error| Failure::new(Kind::Definition, format!("cannot follow the path {path}: {error}")))
    };
    let granted: Vec<PathBuf> =
        granted.iter().map(|path| follow(path).map(|(there, rest)| there.join(rest))).collect::<Result<_, _>>()?;
    let mut missing = BTreeSet::new();
    for path in wanted {
        let (there, rest) = follow(path)?;
        // The peer judges the directory that is there alone, and so asks again for what was named to the letter.
        let whole = there.join(rest);
        if !granted.iter().any(|parent| whole.starts_with(parent)) {
            missing.insert(there);
        }
    }
    // What is below another missing one needs no words of its own.
    let all = missing.clone();
    missing.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    Ok(missing)
}

/// Returns a path as the user would write it: relative where it is at most one directory up.
fn shown(path: &Path, here: &Path) -> String {
    if let Ok(below) = path.strip_prefix(here) {
        return below.display().to_string();
    }
    match here.parent().map(|parent| path.strip_prefix(parent)) {
        Some(Ok(beside)) if beside.as_os_str().is_empty() => "..".to_owned(),
        Some(Ok(beside)) => format!("../{}", beside.display()),
        _ => path.display().to_string(),
    }
}
