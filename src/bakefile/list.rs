//! What a bakefile has, for people and programs: the text of `docker buildx bake --list`.

use super::print::{Json, text, write};
use super::table::table;
use super::{Bakefile, VariableInfo};
use crate::lang::limits::MAX_VALUE;

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// Lines for people.
    #[default]
    Table,
    /// An array of objects.
    Json,
}

/// A line of the list of targets.
struct Row<'a> {
    name: &'a str,
    description: String,
    is_group: bool,
}

/// Lists targets and groups by name; those whose name begins with `_` are hidden. A group's description ends with its
/// members, sorted.
pub fn list_targets(bakefile: &Bakefile, format: ListFormat) -> String {
    let targets = bakefile.targets().iter().map(|target| Row {
        name: &target.name,
        description: target.description.clone().unwrap_or_default(),
        is_group: false,
    });
    let groups = bakefile.groups().iter().map(|group| {
        let mut members: Vec<&str> = group.targets.iter().map(|member| member.value.as_str()).collect();
        members.sort_unstable();
        let members = members.join(", ");
        let description = match group.description.as_deref().unwrap_or_default() {
            "" => members,
            description if members.is_empty() => description.to_owned(),
            description => format!("{description} ({members})"),
        };
        Row { name: &group.name, description, is_group: true }
    });
    let mut rows: Vec<Row<'_>> = targets.chain(groups).filter(|row| !row.name.starts_with('_')).collect();
    rows.sort_by_key(|row| row.name);
    match format {
        ListFormat::Table => {
            let head = vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()];
            let lines = rows.into_iter().map(|row| vec![row.name.to_owned(), row.description]);
            table(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
        }
        // The peer's empty list of targets is no list.
        ListFormat::Json if rows.is_empty() => "null\n".to_owned(),
        ListFormat::Json => document(rows.into_iter().map(|row| {
            let mut members = vec![("name".to_owned(), text(row.name))];
            add(&mut members, "description", Some(row.description).filter(|text| !text.is_empty()));
            if row.is_group {
                members.push(("group".to_owned(), Json::Bool(true)));
            }
            members
        })),
    }
}

/// Lists variables by name, with the values that they have in this run.
pub fn list_variables(bakefile: &Bakefile, format: ListFormat) -> String {
    let mut variables: Vec<_> = bakefile.variables().iter().collect();
    variables.sort_by_key(|variable| &variable.name);
    // Values are shared between variables, and the lines of a table are as long as the longest.
    let room = MAX_VALUE / variables.len().max(1);
    let description =
        |variable: &VariableInfo| variable.description.clone().filter(|text| !text.is_empty() && text.len() <= room);
    match format {
        ListFormat::Table => {
            let head = ["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec();
            let lines = variables.into_iter().map(|variable| {
                let value = variable.value(room).unwrap_or_else(|| "<null>".to_owned());
                let kind = variable.kind.clone().unwrap_or_default();
                vec![variable.name.clone(), kind, value, description(variable).unwrap_or_default()]
            });
            table(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
        }
        ListFormat::Json if bakefile.is_compose_alone => "null\n".to_owned(),
        ListFormat::Json => document(variables.into_iter().map(|variable| {
            let mut members = vec![("name".to_owned(), text(&variable.name))];
            add(&mut members, "description", description(variable));
            add(&mut members, "type", variable.kind.clone());
            add(&mut members, "value", variable.value(room));
            members
        })),
    }
}

fn add(members: &mut Vec<(String, Json)>, name: &str, value: Option<String>) {
    members.extend(value.map(|value| (name.to_owned(), text(value))));
}

fn document(items: impl Iterator<Item = Vec<(String, Json)>>) -> String {
    let mut out = String::new();
    write(&Json::List(items.map(Json::Object).collect()), 0, &mut out);
    out.push('\n');
    out
}
