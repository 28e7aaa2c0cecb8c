//! The actions of file steps.

use serde_json::{Value, json};

use super::Step;
use crate::graph::{CopyAction, FileAction, FileOp, Id, InputIndex, ModeChange, Owner, SourceNaming};

/// Where LLB puts the directory that a cache mount with an owner starts from.
pub(super) const CACHE_DIRECTORY: &str = "/cache";

/// Returns the step that makes [`CACHE_DIRECTORY`].
pub(super) fn cache_directory(mode: u32, uid: u32, gid: u32, inputs: &[Step]) -> Value {
    let input = if inputs.is_empty() { "scratch" } else { "input:0" };
    json!({
        "type": "file",
        "actions": [{ "action": "mkdir", "input": input, "make_parents": false, "mode": octal(mode), "output": 0,
            "owner": { "group": gid, "user": uid }, "path": CACHE_DIRECTORY, "timestamp": -1 }],
        "lines": [],
        "progress_name": "[internal] setting cache mount permissions",
    })
}

/// Returns the actions in order: each works on the result of the one before, the first on `root`. `from` gives the place
/// and kind of an input. Directories that are made have the time `epoch`, seconds since 1970.
pub(super) fn actions(
    file: &FileOp,
    root: &str,
    epoch: Option<i64>,
    from: &dyn Fn(InputIndex) -> (String, String),
) -> Value {
    let last = file.actions.len().saturating_sub(1);
    let one = |(index, action): (usize, &FileAction)| {
        let mut value = self::action(action, root, from);
        if let (FileAction::Mkdir { .. }, Some(epoch)) = (action, epoch) {
            value["timestamp"] = json!(epoch.saturating_mul(1_000_000_000));
        }
        value["input"] = if index == 0 { json!(root) } else { json!(format!("action:{}", index - 1)) };
        value["output"] = json!(if index == last { 0 } else { -1 });
        value
    };
    file.actions.iter().enumerate().map(one).collect()
}

fn action(action: &FileAction, root: &str, from: &dyn Fn(InputIndex) -> (String, String)) -> Value {
    match action {
        FileAction::Mkdir { path, mode, owner } => {
            json!({ "action": "mkdir", "make_parents": true, "mode": octal(*mode),
            "owner": owner_value(owner, root), "path": path, "timestamp": -1 })
        }
        FileAction::Mkfile { path, mode, owner, data } => json!({ "action": "mkfile",
            "data": String::from_utf8_lossy(data), "mode": octal(*mode), "owner": owner_value(owner, root), "path": path,
            "timestamp": -1 }),
        FileAction::Rm { path, allow_not_found, allow_wildcard } => json!({ "action": "rm",
            "allow_not_found": allow_not_found, "allow_wildcard": allow_wildcard, "path": path }),
        FileAction::Symlink { target, path, owner } => json!({ "action": "symlink", "oldpath": target, "newpath": path,
            "owner": owner_value(owner, root), "timestamp": -1 }),
        FileAction::Copy(copy) => self::copy(copy, root, from(copy.from)),
    }
}

fn copy(copy: &CopyAction, root: &str, (from, from_kind): (String, String)) -> Value {
    let has_patterns = copy.naming == SourceNaming::Patterns;
    let flags = [
        ("follow_symlink", has_patterns),
        ("dir_copy_contents", has_patterns),
        ("unpack", copy.unpack),
        ("create_dest_path", true),
        ("allow_wildcard", has_patterns),
        ("allow_empty_wildcard", has_patterns),
        ("always_replace_existing_dest_paths", copy.replace_existing),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
    let mut value = json!({
        "action": "copy",
        "dest": copy.dest,
        "exclude": copy.exclude,
        "flags": flags,
        "from": from,
        "include": copy.include,
        "mode": null,
        "owner": owner_value(&copy.owner, root),
        "src": copy.source,
        "timestamp": -1,
    });
    if from != "scratch" {
        value["from_kind"] = json!(from_kind);
    }
    match &copy.mode {
        None => {}
        Some(ModeChange::Bits(bits)) => value["mode"] = json!(octal(*bits)),
        Some(ModeChange::Symbolic(text)) => {
            value["mode"] = json!(octal(0));
            value["mode_str"] = json!(text);
        }
    }
    if !copy.required.is_empty() {
        value["required_paths"] = json!(copy.required);
    }
    value
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Names are looked up in the root that is changed.
fn owner_value(owner: &Option<Owner>, root: &str) -> Value {
    let id = |id: &Option<Id>| match id {
        None => Value::Null,
        Some(Id::Number(number)) => json!(number),
        Some(Id::Name(name)) => json!({ "input": root, "name": name }),
    };
    owner.as_ref().map_or(Value::Null, |owner| json!({ "group": id(&owner.group), "user": id(&owner.user) }))
}
