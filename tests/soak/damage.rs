//! Files of the store are cut short or lose a bit.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::random::Random;
use crate::support::{self, Ran};
use crate::world::{N_VARIANTS, World, build, check_archive, names};

/// Where files are damaged that bake may not trust. Cache mounts are the steps' own.
const PLACES: [&str; 8] = ["blobs/sha256", "layers", "members", "records", "copies", "memos", "state", "snapshots"];

pub fn damage(world: &mut World, random: &mut Random) {
    let variant = random.below(0..N_VARIANTS);
    // All is there to be damaged.
    world.check_build(variant, &[], "nothing");
    let store = world.project.store();
    let place = *random.pick(&PLACES);
    let files = match place {
        "snapshots" => snapshot_files(&store),
        _ => names(&store.join(place)).into_iter().map(|name| store.join(place).join(name)).collect(),
    };
    let files: Vec<PathBuf> = files.into_iter().filter(|file| !file.ends_with("lock")).collect();
    if files.is_empty() {
        return;
    }
    let what = spoil(random.pick::<PathBuf>(&files), random);
    if place == "snapshots" {
        // Their files are looked at when a layer is made of them.
        support::remove(&store.join("blobs/sha256"));
        std::fs::create_dir(store.join("blobs/sha256")).unwrap();
    }
    let archive = format!("--output=type=oci,dest={}", world.archive().display());
    let flags = if place == "snapshots" || random.is_one_in(2) { vec![archive] } else { world.outputs(random) };
    let (expected, _) = world.expected(variant);
    world.forget_lock();
    let ran = Ran::from(build(&world.project, variant, &flags).output().unwrap());
    world.n_noticed += u32::from(ran.stderr.contains("damaged"));
    match ran.code {
        Some(0) => {
            assert_eq!(ran.stdout, expected, "after {what}:\n{}", ran.stderr);
            if flags.iter().any(|flag| flag.contains("type=oci")) {
                check_archive(&world.archive());
            }
        }
        _ => assert!(ran.stderr.contains("damaged") && ran.stderr.contains("hint:"), "after {what}:\n{}", ran.stderr),
    }
    world.check_build(variant, &flags, &what);
    if place == "snapshots" {
        // What no layer was made of is damaged still.
        support::remove(&store);
    } else if random.is_one_in(6) {
        spoil_version(world, variant);
    }
}

/// Returns the files of all snapshots that have content, and the notes beside them.
fn snapshot_files(store: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![store.join("snapshots")];
    while let Some(directory) = directories.pop() {
        for name in names(&directory) {
            let path = directory.join(name);
            match std::fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => directories.push(path),
                Ok(metadata) if metadata.is_file() && metadata.size() > 0 => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// Cuts a file short or flips one of its bits; says what it did.
fn spoil(path: &Path, random: &mut Random) -> String {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    if size == 0 || random.is_one_in(3) {
        let short = random.below(0..size.max(1));
        file.set_len(short).unwrap();
        return format!("{} was cut from {size} bytes to {short}", path.display());
    }
    let (at, bit) = (random.below(0..size), random.below(0..8));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
    format!("{}: bit {bit} of byte {at} of {size} was flipped", path.display())
}

/// A store of another version is refused as it is, and says so.
fn spoil_version(world: &mut World, variant: u64) {
    let path = world.project.store().join("version");
    let version = std::fs::read(&path).unwrap();
    std::fs::write(&path, "6\n").unwrap();
    let ran = Ran::from(build(&world.project, variant, &[]).output().unwrap()).fails(4);
    assert!(ran.stderr.contains("its version is 6") && ran.stderr.contains("hint:"), "{}", ran.stderr);
    std::fs::write(&path, version).unwrap();
    world.check_build(variant, &[], "another version");
}
