//! Instructions with their types, nothing in them expanded.

use serde_json::{Value, json};

use super::{line_pairs, put};
use crate::diagnostic::SourceMap;
use crate::dockerfile::{
    ArgDeclaration, CommandLine, Dockerfile, HealthcheckInstruction, Heredoc, Instruction, InstructionKind,
    MountOptions, Node, Pair, RunInstruction, Stage, Transfer, Word,
};

/// Returns the ARGs before the first FROM, an entry for each instruction.
pub(super) fn global_args(nodes: &[Node], dockerfile: &Dockerfile) -> Value {
    let before = nodes.iter().take_while(|node| !node.name.text.eq_ignore_ascii_case("FROM"));
    let entry = |node: &Node| {
        let declared = dockerfile.global_args.iter();
        let declared: Vec<&ArgDeclaration> =
            declared.filter(|arg| (node.span.start..=node.span.end).contains(&arg.span.start)).collect();
        let (first, last) = node.lines;
        let lines: Vec<[usize; 2]> = (first..=last).map(|line| [line, line]).collect();
        let mut value = json!({ "args": args(&declared, &node.comments), "code": node.original.trim(), "lines": lines,
            "name": node.name.text });
        put(&mut value, "comments", json!(node.comments));
        value
    };
    before.map(entry).collect()
}

/// Returns a stage with its instructions.
pub(super) fn stage(stage: &Stage, sources: &SourceMap) -> Value {
    let name = text(&stage.name);
    let mut value = json!({
        "base": stage.base.text,
        "code": stage.original.trim(),
        "lines": line_pairs(stage.span, sources),
        "name": name,
        "orig_cmd": stage.original.split_whitespace().next().unwrap_or("FROM"),
        "platform": text(&stage.platform),
    });
    put(&mut value, "comments", json!(stage.comments));
    put(&mut value, "doc", json!(doc(&stage.comments, &name)));
    value["commands"] = stage.instructions.iter().map(|one| instruction(one, sources)).collect();
    value
}

/// Returns what a comment says about a name: the rest of the line that begins with it.
fn doc(comments: &[String], name: &str) -> String {
    let described = comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    described.filter(|_| !name.is_empty()).unwrap_or("").to_owned()
}

fn text(word: &Option<Word>) -> String {
    word.as_ref().map_or(String::new(), |word| word.text.clone())
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn args(declared: &[&ArgDeclaration], comments: &[String]) -> Value {
    let one = |arg: &&ArgDeclaration| {
        let mut value = json!({ "key": arg.name, "value": arg.default });
        put(&mut value, "doc", json!(doc(comments, &arg.name)));
        value
    };
    declared.iter().map(one).collect()
}

fn instruction(one: &Instruction, sources: &SourceMap) -> Value {
    let (name, fields) = fields(one);
    let mut value = json!({ "code": one.original.trim(), "lines": line_pairs(one.span, sources), "name": name });
    put(&mut value, "comments", json!(one.comments));
    if let (Value::Object(value), Value::Object(fields)) = (&mut value, fields) {
        value.extend(fields);
    }
    value
}

fn fields(one: &Instruction) -> (&'static str, Value) {
    match &one.kind {
        InstructionKind::Add(add) => {
            let mut value = transfer(&add.transfer);
            value["checksum"] = json!(text(&add.checksum));
            value["keep_git_dir"] = json!(add.keep_git_dir);
            value["unpack"] = json!(add.unpack);
            ("ADD", value)
        }
        InstructionKind::Copy(copy) => {
            let mut value = transfer(&copy.transfer);
            value["from"] = json!(text(&copy.from));
            value["parents"] = json!(copy.parents.is_some());
            ("COPY", value)
        }
        InstructionKind::Arg(declared) => {
            ("ARG", json!({ "args": args(&declared.iter().collect::<Vec<_>>(), &one.comments) }))
        }
        InstructionKind::Cmd(command) => ("CMD", command_line(command)),
        InstructionKind::Entrypoint(command) => ("ENTRYPOINT", command_line(command)),
        InstructionKind::Env(list) => ("ENV", json!({ "env": pairs(list) })),
        InstructionKind::Label(list) => ("LABEL", json!({ "labels": pairs(list) })),
        InstructionKind::Expose(ports) => ("EXPOSE", json!({ "ports": texts(ports) })),
        InstructionKind::Healthcheck(check) => ("HEALTHCHECK", json!({ "health": health(check) })),
        InstructionKind::Maintainer(author) => ("MAINTAINER", json!({ "maintainer": author })),
        InstructionKind::Onbuild(trigger) => ("ONBUILD", json!({ "expression": trigger })),
        InstructionKind::Run(one) => ("RUN", run(one)),
        InstructionKind::Shell(shell) => ("SHELL", json!({ "shell": shell })),
        InstructionKind::Stopsignal(signal) => ("STOPSIGNAL", json!({ "signal": signal.text })),
        InstructionKind::User(user) => ("USER", json!({ "user": user.text })),
        InstructionKind::Volume(volumes) => ("VOLUME", json!({ "volumes": texts(volumes) })),
        InstructionKind::Workdir(path) => ("WORKDIR", json!({ "path": path.text })),
    }
}

fn pairs(list: &[Pair]) -> Value {
    list.iter().map(|pair| json!([pair.key.text, pair.value.text])).collect()
}

fn command_line(command: &CommandLine) -> Value {
    match command {
        CommandLine::Shell(text) if text.is_empty() => json!({ "cmdline": [], "prepend_shell": true }),
        CommandLine::Shell(text) => json!({ "cmdline": [text], "prepend_shell": true }),
        CommandLine::Exec(arguments) => json!({ "cmdline": arguments, "prepend_shell": false }),
    }
}

fn transfer(one: &Transfer) -> Value {
    let mut value = json!({
        "chmod": text(&one.chmod),
        "chown": text(&one.chown),
        "dest": one.dest.text,
        "exclude": texts(&one.exclude),
        "link": one.link,
        "sources": texts(&one.sources),
    });
    let content =
        |heredoc: &Heredoc| json!({ "data": heredoc.content(), "expand": heredoc.expands, "path": heredoc.name });
    put(&mut value, "contents", one.heredocs.iter().map(content).collect());
    value
}

fn run(one: &RunInstruction) -> Value {
    let mut value = command_line(&one.command);
    let file = |heredoc: &Heredoc| json!({ "chomp": heredoc.is_chomped, "data": heredoc.text, "name": heredoc.name });
    put(&mut value, "files", one.heredocs.iter().map(file).collect());
    let used = [
        ("device", !one.devices.is_empty()),
        ("mount", !one.mounts.is_empty()),
        ("network", one.network.is_some()),
        ("security", one.security.is_some()),
    ];
    value["flags_used"] = used.iter().filter(|(_, is_used)| *is_used).map(|(name, _)| json!(name)).collect();
    // Values are only read when variables are known; `from` never holds any.
    let mount = |word: &Word| {
        json!({ "cache_id": "", "from": MountOptions::from_of(word).unwrap_or_default(), "readonly": true,
            "required": false, "sharing": "", "size": 0, "source": "", "target": "", "type": "bind" })
    };
    value["mounts"] = one.mounts.iter().map(mount).collect();
    let or = |word: &Option<Word>, default: &str| word.as_ref().map_or(default.to_owned(), |word| word.text.clone());
    value["network"] = json!(or(&one.network, "default"));
    value["security"] = json!(or(&one.security, "sandbox"));
    value
}

fn health(check: &HealthcheckInstruction) -> Value {
    let mut value = json!({ "Test": check.test });
    for (name, number) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries),
    ] {
        if number != 0 {
            value[name] = json!(number);
        }
    }
    value
}
