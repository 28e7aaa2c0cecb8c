//! What a step costs over the process itself.

use std::path::PathBuf;
use std::time::Instant;

use bake::sys::cancel::CancelToken;
use bake::worker::sandbox::{self, Launcher};

use crate::drive::{Order, root, spec};

/// Runs `true` in `root` `count` times and prints the median and the spread, in milliseconds.
pub fn bench(directory: &str, count: usize) {
    let mapping = sandbox::enter().unwrap();
    let launcher = Launcher::new(
        &std::env::var_os("BAKE_PROGRAM").map_or_else(|| std::env::current_exe().unwrap(), PathBuf::from),
    )
    .unwrap();
    for is_offline in [false, true] {
        let order = Order { is_offline, ..Order::new(directory, &["true"]) };
        let root = root(&order);
        let mut times: Vec<f64> = (0..count)
            .map(|_| {
                let start = Instant::now();
                let exit = sandbox::run(&launcher, &spec(&order, &root, &[]), &|_, _| {}, &CancelToken::default());
                assert_eq!(exit.unwrap().code(), 0);
                start.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (p50, p95) = (times[count / 2], times[count * 95 / 100]);
        println!("{mapping:?}, network namespace: {is_offline}: p50 {p50:.2} ms, p95 {p95:.2} ms over {count} runs");
    }
}
