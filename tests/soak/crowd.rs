//! Two and four bakes at once in one store: of one project, and of several.

use std::process::{Child, Stdio};

use crate::random::Random;
use crate::support::{self, Project, Ran};
use crate::world::{N_VARIANTS, World, build};

pub fn crowd(world: &mut World, random: &mut Random) {
    for n in [2, 4] {
        support::remove(&world.project.store());
        _ = std::fs::remove_file(world.project.path().join("bake.lock"));
        let others: Vec<Project> = (1..n).map(|_| world.another_project()).collect();
        let store = world.project.store();
        // Of one project, half of them; each with what it must come to.
        let builds: Vec<(Child, String)> = (0..n)
            .map(|index| {
                let project = if index % 2 == 0 { &world.project } else { &others[index - 1] };
                let variant = random.below(0..N_VARIANTS);
                let mut command = build(project, variant, &world_flags(random));
                command.env("BAKE_STORE", &store).stdout(Stdio::piped()).stderr(Stdio::piped());
                (command.spawn().unwrap(), variant)
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(child, variant)| (child, world.expected(variant).0))
            .collect();
        for (child, expected) in builds {
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!((ran.code, &ran.stdout), (Some(0), &expected), "{n} at once:\n{}", ran.stderr);
        }
        world.check_left();
        world.check_whole_store();
    }
    one_target_each(world);
}

fn world_flags(random: &mut Random) -> Vec<String> {
    if random.is_one_in(2) { vec!["--push".to_owned()] } else { Vec::new() }
}

/// Two bakes of one project, each of one target: the lockfile has both in the end.
fn one_target_each(world: &mut World) {
    let project = world.another_project();
    let start = |target: &str| {
        let mut command = project.command(&["build", target]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start("app"), start("files")] {
        Ran::from(child.wait_with_output().unwrap()).succeeds();
    }
    let lock = project.read("bake.lock");
    let again = project.bake(&["build", "app", "files"]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
    assert_eq!(project.read("bake.lock"), lock, "a build lost what the other wrote");
}
