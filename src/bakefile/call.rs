//! `call`: what is done with a target in place of building it.

use super::spec::parse_bool;
use crate::lang::text::csv_records;

/// A method of the Dockerfile frontend, and how its answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `lint`, `outline`, `targets`, …; what `check` was called at first is its name still.
    pub method: String,
    /// `format`: `json`, or empty for text.
    pub format: String,
    /// `ignorestatus`: the command succeeds whatever the answer is.
    pub ignores_status: bool,
}

impl Call {
    /// Reads `METHOD[,format=FORMAT][,ignorestatus=BOOL]` as the peer does (buildx v0.36, `ParseCallFunc`); `None` for
    /// `build`, and for nothing.
    ///
    /// # Errors
    /// It is written otherwise.
    pub fn parse(text: &str) -> Result<Option<Call>, String> {
        let mut call = Call { method: String::new(), format: String::new(), ignores_status: false };
        for field in csv_records(text)?.into_iter().flatten() {
            match field.split_once('=') {
                Some(("format", format)) => call.format = format.to_owned(),
                Some(("ignorestatus", value)) => {
                    call.ignores_status =
                        parse_bool(value).ok_or_else(|| format!("`ignorestatus` is true or false, not `{value}`"))?;
                }
                Some((key, _)) => return Err(format!("`{key}` means nothing; there are format and ignorestatus")),
                None if call.method.is_empty() => call.method = field,
                None => return Err(format!("it names two methods: `{}` and `{field}`", call.method)),
            }
        }
        if call.method == "check" {
            call.method = "lint".to_owned();
        }
        let is_build = call.method == "build" || text.is_empty();
        Ok((!is_build).then_some(call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_their_formats_are_read() {
        let call = |method: &str, format: &str, ignores_status| {
            Ok(Some(Call { method: method.to_owned(), format: format.to_owned(), ignores_status }))
        };
        assert_eq!(Call::parse("check"), call("lint", "", false));
        assert_eq!(Call::parse("outline,format=json"), call("outline", "json", false));
        assert_eq!(Call::parse("format=json,targets,ignorestatus=1"), call("targets", "json", true));
        assert_eq!(Call::parse("build"), Ok(None));
        assert_eq!(Call::parse(""), Ok(None));
        for wrong in ["check,outline", "check,format=json,color=1", "check,ignorestatus=perhaps"] {
            assert!(Call::parse(wrong).is_err(), "{wrong}");
        }
    }
}
