//! Fixtures that several subjects share.

pub mod conformance;
pub mod fake_registry;
pub mod forward_proxy;

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

/// A small generator of numbers (splitmix64), so that a failing seed can be run again.
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns a number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
