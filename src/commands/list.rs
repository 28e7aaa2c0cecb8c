//! `bake list`: the targets or variables of a bakefile.

use super::project::{self, ProjectRequest};
use super::{Failure, Host};
use crate::bakefile::{ListFormat, list_targets, list_variables};

/// What is listed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Targets or variables.
    pub kind: ListKind,
    /// For people or programs.
    pub format: ListFormat,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Targets and groups.
    Targets,
    /// Variables with their values.
    Variables,
}

impl ListRequest {
    /// Reads the peer's `targets`, or `type=targets,format=json`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<ListRequest, String> {
        let mut kind = None;
        let mut format = ListFormat::Table;
        for (i, field) in text.split(',').enumerate() {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.trim().to_lowercase(), value),
                None if i == 0 => ("type".to_owned(), field),
                None => return Err(format!("`{field}` is not KEY=VALUE")),
            };
            match (key.as_str(), value) {
                ("type", "targets") => kind = Some(ListKind::Targets),
                ("type", "variables") => kind = Some(ListKind::Variables),
                ("format", "table") => format = ListFormat::Table,
                ("format", "json") => format = ListFormat::Json,
                ("type", _) => return Err(format!("`{value}` cannot be listed; targets and variables can")),
                ("format", _) => return Err(format!("no format `{value}`; there are table and json")),
                _ => return Err(format!("unexpected key `{key}`; there are type and format")),
            }
        }
        let kind = kind.ok_or_else(|| "`type=targets` or `type=variables` is missing".to_owned())?;
        Ok(ListRequest { kind, format })
    }
}

/// Returns the list, as `docker buildx bake --list` prints it.
///
/// # Errors
/// The bakefile is wrong.
pub fn list(project: &ProjectRequest, request: ListRequest, host: &Host) -> Result<String, Failure> {
    let definition = project::read(project, None, host)?;
    Ok(match request.kind {
        ListKind::Targets => list_targets(&definition.bakefile, request.format),
        ListKind::Variables => list_variables(&definition.bakefile, request.format),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_words_are_read() {
        let json = |kind| Ok(ListRequest { kind, format: ListFormat::Json });
        assert_eq!(ListRequest::parse("type=targets,format=json"), json(ListKind::Targets));
        assert_eq!(ListRequest::parse("variables,format=json"), json(ListKind::Variables));
        let table = ListRequest { kind: ListKind::Targets, format: ListFormat::Table };
        assert_eq!(ListRequest::parse("targets"), Ok(table));
        for text in ["", "target", "format=json", "type=targets,format=yaml", "targets,json", "type=targets,x=y"] {
            assert!(ListRequest::parse(text).is_err(), "{text}");
        }
    }
}
