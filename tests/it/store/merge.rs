//! Layers that were made on nothing, laid over other stacks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use bake::digest::DiffId;
use expect_test::expect;

use super::support::{EPOCH, Fixture, archive, path_of};

fn base(top: &Path) {
    fs::create_dir_all(top.join("dir/sub")).expect("made");
    fs::write(top.join("dir/kept"), "base").expect("written");
    fs::write(top.join("dir/both"), "base").expect("written");
    fs::write(top.join("file"), "base").expect("written");
    symlink("dir", top.join("link")).expect("linked");
    fs::set_permissions(top.join("dir"), fs::Permissions::from_mode(0o700)).expect("set");
    chown(top.join("dir"), Some(5), Some(6)).expect("given");
    fs::set_permissions(top, fs::Permissions::from_mode(0o711)).expect("set");
}

fn linked(top: &Path) {
    fs::create_dir_all(top.join("dir/sub")).expect("made");
    fs::write(top.join("dir/both"), "linked").expect("written");
    for replaced in ["file", "link"] {
        fs::create_dir(top.join(replaced)).expect("made");
        fs::write(top.join(replaced).join("f"), "linked").expect("written");
    }
}

/// Lays the layer of the stack `layer` over `parent` and returns the new stack.
fn lay(fixture: &Fixture, parent: &[DiffId], layer: &[DiffId]) -> Vec<DiffId> {
    assert!(fixture.store.is_free(layer[0]));
    fixture.store.lay(parent, layer[0]).expect("laid");
    [parent, layer].concat()
}

/// Unpacks each layer's blob in a second store, which must show the same.
fn check_as_unpacked(fixture: &Fixture, stack: &[DiffId]) {
    let other = Fixture::mounting().expect("mounts");
    let mut unpacked = Vec::new();
    for n in 1..=stack.len() {
        unpacked = other.unpack(&unpacked, &fixture.tar(&stack[..n])).expect("unpacked");
    }
    assert_eq!(unpacked, stack);
    assert_eq!(fixture.list(stack), other.list(stack));
}

#[test]
fn a_laid_layer_replaces_what_is_no_directory_and_opens_what_is() {
    let Some(fixture) = Fixture::mounting() else { return };
    let (below, layer) = (fixture.layer(&[], base), fixture.layer(&[], linked));
    let stack = lay(&fixture, &below, &layer);
    expect![[r#"
        d0711 0:0 315532800 .
        d0755 0:0 315532800 ./dir
        f0644 0:0 315532800 ./dir/both "linked"
        f0644 0:0 315532800 ./dir/kept "base"
        d0755 0:0 315532800 ./dir/sub
        d0755 0:0 315532800 ./file
        f0644 0:0 315532800 ./file/f "linked"
        d0755 0:0 315532800 ./link
        f0644 0:0 315532800 ./link/f "linked"
    "#]]
    .assert_eq(&fixture.list(&stack));
    // Nothing was copied, and the blob is the one that the layer has anywhere.
    let own = fixture.path(&format!("snapshots/{}/fs", bake::digest::chain_id(&stack).expect("layers").0.hex()));
    assert_eq!(fs::read_dir(own).expect("read").count(), 0);
    assert_eq!(fixture.tar(&stack), fixture.tar(&layer));
    check_as_unpacked(&fixture, &stack);
    let above = fixture.layer(&stack, |top| fs::remove_file(top.join("dir/both")).expect("removed"));
    check_as_unpacked(&fixture, &above);
}

#[test]
fn a_layer_may_lie_in_a_stack_twice() {
    let Some(fixture) = Fixture::mounting() else { return };
    let (below, layer) = (fixture.layer(&[], base), fixture.layer(&[], linked));
    let stack = lay(&fixture, &below, &layer);
    let stack = fixture.layer(&stack, |top| {
        fs::remove_file(top.join("dir/both")).expect("removed");
        fs::remove_dir_all(top.join("link")).expect("removed");
        fs::write(top.join("link"), "between").expect("written");
    });
    let stack = lay(&fixture, &stack, &layer);
    assert_eq!(fixture.list(&stack), fixture.list(&lay(&fixture, &below, &layer)));
    check_as_unpacked(&fixture, &stack);
}

#[test]
fn what_a_later_copy_took_away_hides_nothing_of_another_stack() {
    let Some(fixture) = Fixture::mounting() else { return };
    let (below, first) = (fixture.layer(&[], base), fixture.layer(&[], linked));
    let changed = |change: &dyn Fn(&Path)| {
        let snapshot = fixture.store.prepare_over(&[], Some(first[0])).expect("prepared");
        change(&path_of(&snapshot.mount_fd().try_clone_to_owned().expect("an open file")));
        vec![snapshot.commit(EPOCH, None).expect("committed")]
    };
    let removed = changed(&|top| fs::remove_file(top.join("dir/both")).expect("removed"));
    let emptied = changed(&|top| {
        fs::remove_dir_all(top.join("dir")).expect("removed");
        fs::create_dir(top.join("dir")).expect("made");
    });
    for layer in [removed, emptied] {
        let stack = lay(&fixture, &below, &layer);
        assert!(fixture.list(&stack).contains("./dir/both \"base\""), "{}", fixture.list(&stack));
        check_as_unpacked(&fixture, &stack);
    }
}

#[test]
fn a_layer_from_elsewhere_may_delete_and_is_not_laid() {
    let Some(fixture) = Fixture::mounting() else { return };
    let deletes = fixture.unpack(&[], &archive(&["d dir/ 755", "f dir/new x", "f dir/.wh.both "])).expect("unpacked");
    assert!(!fixture.store.is_free(deletes[0]));
    assert!(!fixture.store.is_free(fixture.layer(&deletes, linked)[1]));
    // One that bake made elsewhere is as good as one of this store's, once it is looked at.
    let elsewhere = Fixture::mounting().expect("mounts");
    let tar = elsewhere.tar(&elsewhere.layer(&[], linked));
    let layer = fixture.unpack(&[], &tar).expect("unpacked");
    let below = fixture.layer(&[], base);
    check_as_unpacked(&fixture, &lay(&fixture, &below, &layer));
}
