//! The soak test: bake is killed, crowded, starved of room and given a rotten store, over and over.
//!
//! After each of it the next build must succeed with the digests of an undisturbed one, or say precisely what is wrong with the
//! mend; and nothing may be left: no process, no mount, no temporary, no held lock, no blob that is not its digest.
//!
//! ```text
//! cargo test --test soak                          the short form, as CI runs it: less than a minute
//! cargo test --test soak -- --kills 200 --damages 200 --crowds 20 --disks 20 [--seed N]
//! ```
//! All that is random comes from one seed, which is printed: the same seed does the same to the same build, as far as clocks
//! allow.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program"
)]

mod crowd;
mod damage;
mod disk;
mod kill;
mod random;
#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod support;
mod world;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use random::Random;
use world::World;

/// Does something bad to bake once, and checks what becomes of it.
type Scenario = fn(&mut World, &mut Random);

/// How often each thing is done.
struct Counts {
    seed: u64,
    kills: u32,
    damages: u32,
    crowds: u32,
    disks: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(counts) = counts(&arguments) else { return };
    let Some(registry) = support::registry() else { return };
    let (seed, begin) = (counts.seed, Instant::now());
    println!("soak: --seed {seed}");
    let random = Random::new(seed);
    let mut world = World::new(registry);
    let scenarios: [(&str, u32, Scenario); 4] = [
        ("kill", counts.kills, kill::kill),
        ("damage", counts.damages, damage::damage),
        ("crowd", counts.crowds, crowd::crowd),
        ("disk", counts.disks, disk::disk),
    ];
    for (name, n, scenario) in scenarios {
        for index in 0..n {
            // One that is run alone does the same as in a whole run.
            scenario(&mut world, &mut random.of(name, index));
        }
        println!("soak: {name} × {n}, {:.0} s", begin.elapsed().as_secs_f64());
    }
    world.check_whole_store();
    println!(
        "soak: damage was noticed {} times; the rest was read by nobody, or made anew as if it were not there",
        world.n_noticed
    );
}

/// Reads the command line; `None` where a filter of `cargo test` names other tests.
fn counts(arguments: &[String]) -> Option<Counts> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut counts = Counts { seed: clock, kills: 12, damages: 16, crowds: 1, disks: 2 };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse::<u32>().ok()).expect("a number follows");
        match argument.as_str() {
            "--short" => {}
            "--seed" => counts.seed = number().into(),
            "--kills" => counts.kills = number(),
            "--damages" => counts.damages = number(),
            "--crowds" => counts.crowds = number(),
            "--disks" => counts.disks = number(),
            flag if flag.starts_with("--") => {}
            filter if "soak".contains(filter) => {}
            _ => return None,
        }
    }
    Some(counts)
}
