//! The text of `docker buildx bake --print`, byte for byte.

use std::collections::BTreeMap;

use super::attributes::RESOURCES;
use super::model::{Group, Spanned, Target};
use super::select::Selection;
use super::spec::{AttestSpec, CacheSpec, OutputSpec, PolicySpec, SecretSpec, SshSpec};
use crate::lang::text::write_json_string;

/// A JSON document whose objects keep their order.
pub(super) enum Json {
    Null,
    Bool(bool),
    Text(String),
    /// A number as it is written.
    Number(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Prints groups and targets as JSON with two blanks of indentation and a newline at the end.
pub fn print_json(selection: &Selection) -> String {
    let groups: Vec<(&str, &Group)> = selection.groups.iter().map(|(name, group)| (name.as_str(), group)).collect();
    let mut targets: Vec<(&str, &Target)> =
        selection.targets.iter().map(|(name, target)| (name.as_str(), target)).collect();
    targets.sort_by_key(|(name, _)| *name);
    let mut text = "{".to_owned();
    if !groups.is_empty() {
        write_section("group", &groups, group_json, &mut text);
        text.push(',');
    }
    write_section("target", &targets, target_json, &mut text);
    text.push_str("\n}\n");
    text
}

/// Writes a member of the document. A bakefile may have many thousand targets: of one at a time there is a tree.
fn write_section<T>(name: &str, items: &[(&str, &T)], json: impl Fn(&T) -> Json, text: &mut String) {
    new_line(1, text);
    write_json_string(name, text);
    text.push_str(": {");
    for (i, (name, item)) in items.iter().enumerate() {
        text.push_str(if i > 0 { "," } else { "" });
        new_line(2, text);
        write_json_string(name, text);
        text.push_str(": ");
        write(&json(item), 2, text);
    }
    if !items.is_empty() {
        new_line(1, text);
    }
    text.push('}');
}

fn new_line(depth: usize, text: &mut String) {
    text.push('\n');
    (0..depth).for_each(|_| text.push_str("  "));
}

pub(super) fn write(json: &Json, depth: usize, text: &mut String) {
    match json {
        Json::Null => text.push_str("null"),
        Json::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Json::Text(string) => write_json_string(string, text),
        Json::Number(digits) => text.push_str(digits),
        Json::List(items) if items.is_empty() => text.push_str("[]"),
        Json::Object(members) if members.is_empty() => text.push_str("{}"),
        Json::List(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                new_line(depth + 1, text);
                write(item, depth + 1, text);
            }
            new_line(depth, text);
            text.push(']');
        }
        Json::Object(members) => {
            text.push('{');
            for (i, (name, member)) in members.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                new_line(depth + 1, text);
                write_json_string(name, text);
                text.push_str(": ");
                write(member, depth + 1, text);
            }
            new_line(depth, text);
            text.push('}');
        }
    }
}

pub(super) fn text(text: impl Into<String>) -> Json {
    Json::Text(text.into())
}

fn group_json(group: &Group) -> Json {
    let mut members = Vec::new();
    if let Some(description) = group.description.as_ref().filter(|d| !d.is_empty()) {
        members.push(("description".to_owned(), text(description)));
    }
    let targets: Vec<Json> = group.targets.iter().map(|member| text(&member.value)).collect();
    // The group of Compose files that build nothing, which no file wrote.
    let is_null = targets.is_empty() && group.span.is_none();
    members.push(("targets".to_owned(), if is_null { Json::Null } else { Json::List(targets) }));
    Json::Object(members)
}

/// Escapes what would be an interpolation if the document were read as a bakefile again.
fn escaped(value: &str) -> String {
    value.replace("${", "$${").replace("%{", "%%{")
}

#[derive(Default)]
struct Members(Vec<(String, Json)>);

impl Members {
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.0.extend(value.map(|value| (name.to_owned(), text(value))));
    }

    fn place(&mut self, name: &str, value: &Option<Spanned<String>>) {
        self.text(name, value.as_ref().map(|value| value.value.as_str()));
    }

    fn flag(&mut self, name: &str, value: Option<bool>) {
        self.0.extend(value.map(|value| (name.to_owned(), Json::Bool(value))));
    }

    fn list<T>(&mut self, name: &str, items: &[T], json: impl Fn(&T) -> Json) {
        if !items.is_empty() {
            self.0.push((name.to_owned(), Json::List(items.iter().map(json).collect())));
        }
    }

    fn map(&mut self, name: &str, entries: Vec<(String, Json)>) {
        if !entries.is_empty() {
            self.0.push((name.to_owned(), Json::Object(entries)));
        }
    }

    fn nullable(&mut self, name: &str, entries: &BTreeMap<String, Spanned<Option<String>>>) {
        let set = entries.iter().filter_map(|(key, value)| Some((key.clone(), text(escaped(value.value.as_deref()?)))));
        self.map(name, set.collect());
    }
}

fn target_json(target: &Target) -> Json {
    let plain = |value: &Spanned<String>| text(&value.value);
    let plain_map = |entries: &BTreeMap<String, Spanned<String>>| {
        entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Vec<_>>()
    };
    let mut members = Members::default();
    members.text("description", target.description.as_deref().filter(|d| !d.is_empty()));
    members.list("annotations", &target.annotations, |value| text(escaped(&value.value)));
    members.list("attest", &target.attest, attest_json);
    members.place("context", &target.context);
    members.map("contexts", plain_map(&target.contexts));
    members.place("dockerfile", &target.dockerfile);
    let inline = target.dockerfile_inline.as_ref().map(|inline| escaped(&inline.value));
    members.text("dockerfile-inline", inline.as_deref());
    members.nullable("args", &target.args);
    let platform_args = target.platform_args.iter().map(|(platform, args)| {
        let mut members = Members::default();
        members.nullable(platform, &args.value);
        members.0
    });
    members.map("platform-args", platform_args.flatten().collect());
    members.nullable("labels", &target.labels);
    members.list("tags", &target.tags, plain);
    members.list("cache-from", &target.cache_from, cache_json);
    members.list("cache-to", &target.cache_to, cache_json);
    members.place("target", &target.target);
    members.list("secret", &target.secret, secret_json);
    members.list("ssh", &target.ssh, ssh_json);
    members.list("platforms", &target.platforms, plain);
    members.list("output", &target.output, output_json);
    members.flag("pull", target.pull);
    members.flag("no-cache", target.no_cache);
    members.place("network", &target.network);
    members.list("no-cache-filter", &target.no_cache_filter, plain);
    members.place("shm-size", &target.shm_size);
    members.list("ulimits", &target.ulimits, plain);
    members.map("resources", resources_json(target));
    members.place("call", &target.call);
    members.list("entitlements", &target.entitlements, plain);
    members.nullable("extra-hosts", &target.extra_hosts);
    members.list("policy", &target.policy, policy_json);
    Json::Object(members.0)
}

/// Limits in the peer's order; those that it counts are numbers.
fn resources_json(target: &Target) -> Vec<(String, Json)> {
    let json = |name: &str, value: &str| match value.parse::<i64>() {
        Ok(number) if matches!(name, "cpu-shares" | "cpu-period" | "cpu-quota") => Json::Number(number.to_string()),
        _ => text(value),
    };
    let set = RESOURCES.iter().filter_map(|name| Some((*name, target.resources.get(*name)?)));
    set.map(|(name, value)| (name.to_owned(), json(name, &value.value))).collect()
}

/// The fields and `type` in the order of their names.
fn fields_json(kind: &str, fields: &BTreeMap<String, String>) -> BTreeMap<String, Json> {
    let mut members: BTreeMap<String, Json> = fields.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    members.insert("type".to_owned(), text(kind));
    members
}

fn output_json(output: &OutputSpec) -> Json {
    Json::Object(fields_json(&output.kind, &output.fields).into_iter().collect())
}

fn cache_json(cache: &CacheSpec) -> Json {
    Json::Object(fields_json(&cache.kind, &cache.fields).into_iter().collect())
}

fn attest_json(attest: &AttestSpec) -> Json {
    let mut members = fields_json(&attest.kind, &attest.fields);
    if attest.is_disabled {
        members.insert("disabled".to_owned(), Json::Bool(true));
    }
    Json::Object(members.into_iter().collect())
}

fn secret_json(secret: &SecretSpec) -> Json {
    let mut members = Members::default();
    members.text("id", Some(secret.id.as_str()).filter(|id| !id.is_empty()));
    members.text("src", secret.src.as_deref());
    members.text("env", secret.env.as_deref());
    Json::Object(members.0)
}

fn ssh_json(ssh: &SshSpec) -> Json {
    let mut members = Members::default();
    members.text("id", Some(ssh.id.as_str()).filter(|id| !id.is_empty()));
    members.list("paths", &ssh.paths, |path| text(path));
    Json::Object(members.0)
}

/// The peer prints this one record by the names of its own fields.
fn policy_json(policy: &PolicySpec) -> Json {
    let file = |name: &String| Json::Object(vec![("Filename".into(), text(name)), ("Data".into(), Json::Null)]);
    let files = policy.filename.as_ref().map_or(Json::Null, |name| Json::List(vec![file(name)]));
    Json::Object(vec![
        ("Files".into(), files),
        ("Reset".into(), Json::Bool(policy.is_reset)),
        ("Disabled".into(), Json::Bool(policy.is_disabled)),
        ("Strict".into(), policy.strict.map_or(Json::Null, Json::Bool)),
        ("LogLevel".into(), policy.log_level.as_ref().map_or(Json::Null, text)),
    ])
}
