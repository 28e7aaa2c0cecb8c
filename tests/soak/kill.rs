//! bake is killed at a random moment of a random build.

use std::process::Stdio;
use std::time::Duration;

use crate::random::Random;
use crate::support;
use crate::world::{N_VARIANTS, World, build};

pub fn kill(world: &mut World, random: &mut Random) {
    let variant = random.below(0..N_VARIANTS);
    let (_, whole) = world.expected(variant);
    if random.is_one_in(4) {
        support::remove(&world.project.store());
    }
    let mut flags = world.outputs(random);
    if random.is_one_in(3) {
        flags.push("--no-cache".to_owned());
    }
    let after = Duration::from_micros(random.below(0..whole.as_micros() as u64 * 6 / 5));
    let mut child = build(&world.project, variant, &flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    _ = child.kill();
    child.wait().unwrap();
    world.check_processes();
    let next = random.below(0..N_VARIANTS);
    flags.retain(|flag| flag != "--no-cache");
    world.check_build(next, &flags, &format!("a kill at {after:?} of variant {variant}"));
    if random.is_one_in(8) {
        world.check_whole_store();
    }
}
