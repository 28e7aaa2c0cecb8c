//! Nodes to typed instructions.

use crate::diagnostic::{Diagnostic, Diagnostics, Span};

use super::flags::{Flags, Takes};
use super::instruction::*;
use super::mount::MountOptions;
use super::syntax::{Heredoc, Node, is_opener};
use super::words::Word;

/// Gives `node` its type; `None` after an error.
pub(super) fn instruction(node: &Node, found: &mut Diagnostics) -> Option<Instruction> {
    let n_before = found.iter().count();
    let name = node.name.text.to_uppercase();
    let kind = match name.as_str() {
        "ADD" | "COPY" => transfer(&name, node, found),
        "RUN" => run(node, found),
        "HEALTHCHECK" => healthcheck(node, found),
        "ARG" => arg_declarations(node).map(InstructionKind::Arg),
        "STOPSIGNAL" => one(&name, node).map(InstructionKind::Stopsignal),
        _ => {
            Flags::parse(node, &[], found);
            plain(&name, node)
        }
    };
    match kind {
        Ok(kind) if found.iter().count() == n_before => Some(Instruction {
            kind,
            span: node.span,
            original: node.original.clone(),
            comments: node.comments.clone(),
        }),
        Ok(_) => None,
        Err(error) => {
            found.push(error);
            None
        }
    }
}

fn plain(name: &str, node: &Node) -> Result<InstructionKind, Diagnostic> {
    Ok(match name {
        "CMD" => InstructionKind::Cmd(command_line(node)),
        "ENTRYPOINT" => InstructionKind::Entrypoint(command_line(node)),
        "ENV" => InstructionKind::Env(key_values(name, node)?),
        "LABEL" => InstructionKind::Label(key_values(name, node)?),
        "EXPOSE" => {
            let mut ports = some(name, node)?.to_vec();
            ports.sort_by(|a, b| a.text.cmp(&b.text));
            InstructionKind::Expose(ports)
        }
        "MAINTAINER" => InstructionKind::Maintainer(one(name, node)?.text),
        "USER" => InstructionKind::User(one(name, node)?),
        "WORKDIR" => InstructionKind::Workdir(one(name, node)?),
        "VOLUME" => {
            let volumes = some(name, node)?;
            if let Some(blank) = volumes.iter().find(|word| word.text.trim().is_empty()) {
                return Err(Diagnostic::error(blank.span, "a VOLUME may not be blank"));
            }
            InstructionKind::Volume(volumes.to_vec())
        }
        "SHELL" => {
            if !node.is_json || node.args.is_empty() {
                let error = Diagnostic::error(node.span, "SHELL needs a JSON list");
                return Err(error.hint("write `SHELL [\"/bin/bash\", \"-c\"]`"));
            }
            InstructionKind::Shell(texts(&node.args))
        }
        "ONBUILD" => InstructionKind::Onbuild(trigger(node)?),
        _ => return Err(Diagnostic::error(node.name.span, format!("{name} is not allowed here"))),
    })
}

fn texts(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.text.clone()).collect()
}

fn one(name: &str, node: &Node) -> Result<Word, Diagnostic> {
    match &node.args[..] {
        [word] => Ok(word.clone()),
        _ => Err(Diagnostic::error(node.span, format!("{name} needs one argument"))),
    }
}

fn some<'n>(name: &str, node: &'n Node) -> Result<&'n [Word], Diagnostic> {
    match &node.args[..] {
        [] => Err(Diagnostic::error(node.span, format!("{name} needs at least one argument"))),
        words => Ok(words),
    }
}

fn command_line(node: &Node) -> CommandLine {
    if node.is_json { CommandLine::Exec(texts(&node.args)) } else { CommandLine::Shell(texts(&node.args).join(" ")) }
}

fn key_values(name: &str, node: &Node) -> Result<Vec<Pair>, Diagnostic> {
    let pairs = some(name, node)?.chunks_exact(3).map(|triple| {
        if triple[0].text.is_empty() {
            return Err(Diagnostic::error(triple[0].span, format!("a name of {name} may not be blank")));
        }
        Ok(Pair { key: triple[0].clone(), value: triple[1].clone() })
    });
    pairs.collect()
}

/// Reads ARG. Its flags are not looked at, as the peer does not.
pub(super) fn arg_declarations(node: &Node) -> Result<Vec<ArgDeclaration>, Diagnostic> {
    let declarations = some("ARG", node)?.iter().map(|word| {
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (word.text.as_str(), None),
        };
        if name.is_empty() {
            return Err(Diagnostic::error(word.span, "a name of ARG may not be blank"));
        }
        Ok(ArgDeclaration { name: name.to_owned(), default, span: word.span })
    });
    declarations.collect()
}

fn trigger(node: &Node) -> Result<String, Diagnostic> {
    let Some(trigger) = &node.trigger else {
        return Err(Diagnostic::error(node.span, "ONBUILD needs an instruction"));
    };
    let name = trigger.name.text.to_uppercase();
    if ["ONBUILD", "FROM", "MAINTAINER"].contains(&name.as_str()) {
        return Err(Diagnostic::error(trigger.name.span, format!("ONBUILD may not hold {name}")));
    }
    let mut text = trigger.original.clone();
    for heredoc in &node.heredocs {
        text.push_str(&format!("\n{}{}", heredoc.text, heredoc.name));
    }
    Ok(text)
}

fn transfer(name: &str, node: &Node, found: &mut Diagnostics) -> Result<InstructionKind, Diagnostic> {
    let is_copy = name == "COPY";
    let mut known =
        vec![("chown", Takes::Text), ("chmod", Takes::Text), ("link", Takes::Bool), ("exclude", Takes::List)];
    known.extend(match is_copy {
        true => [("from", Takes::Text), ("parents", Takes::Bool)].as_slice(),
        false => &[("checksum", Takes::Text), ("keep-git-dir", Takes::Bool), ("unpack", Takes::Bool)],
    });
    let flags = Flags::parse(node, &known, found);
    let transfer = files(name, node, &flags)?;
    if is_copy {
        let (from, parents) = (flags.text("from"), flags.span_if_on("parents"));
        return Ok(InstructionKind::Copy(CopyInstruction { transfer, from, parents }));
    }
    let checksum = flags.text("checksum");
    let (keep_git_dir, unpack) = (flags.bool("keep-git-dir"), flags.bool("unpack"));
    Ok(InstructionKind::Add(AddInstruction { transfer, checksum, keep_git_dir, unpack }))
}

fn files(name: &str, node: &Node, flags: &Flags) -> Result<Transfer, Diagnostic> {
    let args = if node.heredocs.is_empty() { node.args.clone() } else { with_joined_openers(&node.args) };
    let Some((dest, sources)) = args.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        let error = Diagnostic::error(node.span, format!("{name} needs at least two arguments"));
        return Err(error.hint("name one or more sources, then where they go"));
    };
    if !node.is_json && Heredoc::parse(&dest.text).is_some() {
        return Err(Diagnostic::error(dest.span, "a heredoc cannot be where files go"));
    }
    let is_heredoc = |word: &&Word| !node.is_json && Heredoc::parse(&word.text).is_some();
    Ok(Transfer {
        sources: sources.iter().filter(|word| !is_heredoc(word)).cloned().collect(),
        heredocs: node.heredocs.clone(),
        dest: dest.clone(),
        chown: flags.text("chown").filter(|word| !word.text.is_empty()),
        chmod: flags.text("chmod").filter(|word| !word.text.is_empty()),
        exclude: flags.list("exclude"),
        link: flags.bool("link").unwrap_or(false),
    })
}

/// Puts `<<` and the delimiter after a blank into one word.
fn with_joined_openers(args: &[Word]) -> Vec<Word> {
    let mut joined: Vec<Word> = Vec::new();
    for word in args {
        match joined.last_mut() {
            Some(last) if is_opener(&last.text) => last.text.push_str(&word.text),
            _ => joined.push(word.clone()),
        }
    }
    joined
}

fn run(node: &Node, found: &mut Diagnostics) -> Result<InstructionKind, Diagnostic> {
    let known = [("mount", Takes::List), ("network", Takes::Text), ("security", Takes::Text), ("device", Takes::List)];
    let flags = Flags::parse(node, &known, found);
    for mount in flags.list("mount") {
        MountOptions::check(&mount, found);
    }
    one_of(flags.text("network"), &["default", "none", "host"], found);
    one_of(flags.text("security"), &["sandbox", "insecure"], found);
    Ok(InstructionKind::Run(RunInstruction {
        command: command_line(node),
        heredocs: node.heredocs.clone(),
        mounts: flags.list("mount"),
        network: flags.text("network"),
        security: flags.text("security"),
        devices: flags.list("device"),
    }))
}

fn one_of(word: Option<Word>, known: &[&str], found: &mut Diagnostics) {
    if let Some(word) = word.filter(|word| !known.contains(&word.text.as_str())) {
        let error = Diagnostic::error(word.span, format!("unknown value `{}`", word.text));
        found.push(error.hint(format!("use one of: {}", known.join(", "))));
    }
}

fn healthcheck(node: &Node, found: &mut Diagnostics) -> Result<InstructionKind, Diagnostic> {
    let Some((kind, rest)) = node.args.split_first() else {
        let error = Diagnostic::error(node.span, "HEALTHCHECK needs `NONE` or `CMD`");
        return Err(error.hint("write `HEALTHCHECK CMD command`"));
    };
    let mut check = HealthcheckInstruction {
        test: vec!["NONE".to_owned()],
        interval: 0,
        timeout: 0,
        start_period: 0,
        start_interval: 0,
        retries: 0,
    };
    match kind.text.to_uppercase().as_str() {
        "NONE" if rest.is_empty() => return Ok(InstructionKind::Healthcheck(check)),
        "NONE" => return Err(Diagnostic::error(rest[0].span, "HEALTHCHECK NONE takes no arguments")),
        "CMD" => {}
        _ => {
            let error = Diagnostic::error(kind.span, format!("unknown kind `{}` of HEALTHCHECK", kind.text));
            return Err(error.hint("use `CMD` or `NONE`"));
        }
    }
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"].map(|name| (name, Takes::Text));
    let flags = Flags::parse(node, &known, found);
    if rest.is_empty() {
        return Err(Diagnostic::error(kind.span, "HEALTHCHECK CMD needs a command"));
    }
    check.test = vec![if node.is_json { "CMD" } else { "CMD-SHELL" }.to_owned()];
    check.test.extend(texts(rest));
    let mut duration_of = |name: &str| duration_flag(flags.text(name), found);
    check.interval = duration_of("interval");
    check.timeout = duration_of("timeout");
    check.start_period = duration_of("start-period");
    check.start_interval = duration_of("start-interval");
    check.retries = retries(flags.text("retries"), found);
    Ok(InstructionKind::Healthcheck(check))
}

fn retries(word: Option<Word>, found: &mut Diagnostics) -> u64 {
    let Some(word) = word.filter(|word| !word.text.is_empty()) else { return 0 };
    // The peer's counter is a signed 32-bit number.
    match word.text.strip_prefix('+').unwrap_or(&word.text).parse::<u32>() {
        Ok(n) if i32::try_from(n).is_ok() => u64::from(n),
        _ => {
            found.push(Diagnostic::error(word.span, format!("`{}` is no number of retries", word.text)));
            0
        }
    }
}

fn duration_flag(word: Option<Word>, found: &mut Diagnostics) -> u64 {
    const MILLISECOND: u64 = 1_000_000;
    let Some(word) = word.filter(|word| !word.text.is_empty()) else { return 0 };
    match parse_duration(&word.text) {
        Some(ns) if ns == 0 || ns >= MILLISECOND => ns,
        Some(_) => {
            found.push(Diagnostic::error(word.span, format!("`{}` is shorter than 1ms", word.text)));
            0
        }
        None => {
            let error = Diagnostic::error(word.span, format!("`{}` is no duration", word.text));
            found.push(error.hint("write it as `1m30s`"));
            0
        }
    }
}

/// Reads a Go duration (`1h30m`, `1.5s`) as nanoseconds; `None` where it is malformed, negative or too long.
pub fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() || total == 0 && rest.len() == text.len() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? };
        let part = whole.checked_mul(scale)?.checked_add((fraction * scale as f64) as u64)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    i64::try_from(total).ok().map(|_| total)
}

/// FROM.
pub(super) struct From {
    pub(super) base: Word,
    pub(super) name: Option<Word>,
    pub(super) platform: Option<Word>,
}

pub(super) fn from(node: &Node, found: &mut Diagnostics) -> Option<From> {
    let platform = Flags::parse(node, &[("platform", Takes::Text)], found).text("platform");
    let wrong =
        |span: Span, message: &str| Diagnostic::error(span, message).hint("write `FROM image` or `FROM image AS name`");
    let (base, name) = match &node.args[..] {
        [base] => (base, None),
        [base, r#as, name] if r#as.text.eq_ignore_ascii_case("as") => (base, Some(name)),
        [_, r#as, _] => {
            found.push(wrong(r#as.span, &format!("`{}` is not `AS`", r#as.text)));
            return None;
        }
        _ => {
            found.push(wrong(node.span, "FROM needs one or three arguments"));
            return None;
        }
    };
    let name = name.map(|word| Word { text: word.text.to_lowercase(), span: word.span });
    if let Some(name) = name.as_ref().filter(|name| !is_stage_name(&name.text)) {
        let error = Diagnostic::error(name.span, format!("`{}` is no name of a stage", name.text));
        found.push(error.hint("start it with a letter and use letters, digits, `-`, `_`, `.`"));
        return None;
    }
    Some(From { base: base.clone(), name, platform })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("-1s", None),
            ("1x", None),
            (".s", None),
            ("99999999999h", None),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration(text), ns, "{text}");
        }
    }
}
