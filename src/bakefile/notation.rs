//! A bakefile in another notation: HCL, HCL's JSON form or TOML.

use super::files::{self, InputFile, Parsed, SCHEMA};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::lang::{Emitted, Notation, emit, format_hcl};

/// Writes a bakefile down in another notation, so that it evaluates to the same. What cannot be said there is in
/// [`Emitted::losses`].
///
/// # Errors
/// The file has errors, or is a Compose file.
pub fn convert(input: &InputFile, to: Notation, sources: &mut SourceMap) -> Result<Emitted, Diagnostics> {
    let mut findings = Diagnostics::default();
    let (body, from) = match files::parse(input, sources, &mut findings) {
        Parsed::Body(body, from) => (body, from),
        Parsed::Compose(file) => {
            let name = sources.name(file).to_owned();
            let message = format!("{name} is a Compose file; only HCL, JSON and TOML bakefiles are converted");
            return Err(Diagnostic::error_without_place(message)
                .hint(format!("`bake print -f {name}` shows its targets as a JSON bakefile"))
                .into());
        }
    };
    if findings.has_errors() {
        return Err(findings);
    }
    let mut emitted = emit(&body, from, to, sources, SCHEMA);
    let name = format!("{} as {}", input.name, to.name());
    if to == Notation::Hcl {
        emitted.text = format_hcl(&name, &emitted.text, sources)?;
    }
    Ok(emitted)
}
