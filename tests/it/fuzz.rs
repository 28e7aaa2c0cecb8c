//! The fuzzer's seeds and findings, on every run of the tests.

use std::path::Path;

#[path = "../fuzz/checks.rs"]
mod checks;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 5] = [
    ("bakefile", checks::bakefile),
    ("dockerfile", checks::dockerfile),
    ("expansion", checks::expansion),
    ("ignore", checks::ignore),
    ("layer", checks::layer),
];

#[test]
fn every_seed_and_every_finding_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (target, check) in TARGETS {
        let seeds = std::fs::read_dir(fuzz.join("corpus").join(target)).expect("seeds are checked in");
        let findings = std::fs::read_dir(fuzz.join("regressions").join(target)).into_iter().flatten();
        let mut n_inputs = 0;
        for entry in seeds.chain(findings) {
            let path = entry.expect("an entry").path();
            let data = std::fs::read(&path).expect("an input");
            let checked = std::panic::catch_unwind(|| check(&data));
            assert!(checked.is_ok(), "{}", path.display());
            n_inputs += 1;
        }
        assert!(n_inputs > 2, "{target}");
    }
}
