//! Fixtures that several subjects share.

pub mod conformance;
pub mod fake_registry;

use bake::bakefile::{self, Bakefile, InputFile, Options};
use bake::diagnostic::{Diagnostics, SourceMap};
use bake::sys::files::DiskFiles;

/// Evaluates a bakefile that stands alone: without environment, flags or other files.
pub fn evaluated(text: &str, sources: &mut SourceMap) -> (Option<Bakefile>, Diagnostics) {
    let options = Options {
        finds_additions: true,
        env: &|_| None,
        vars: &[],
        overrides: &[],
        wanted: None,
        local_platform: "linux/amd64".parse().expect("a platform"),
        cmd_context: "cwd://",
        seed: [0; 32],
        home: None,
        now: 0,
        files: &DiskFiles::new("/nowhere"),
    };
    bakefile::load(&[InputFile { name: "build.hcl".to_owned(), text: text.to_owned() }], &options, sources)
}
