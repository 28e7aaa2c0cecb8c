//! What a layer deletes.

use std::fs;

use expect_test::expect;

use super::support::{Fixture, archive, entries_of};

#[test]
fn what_a_step_deletes_is_in_its_layer_and_gone_where_that_is_unpacked() {
    let (Some(here), Some(there)) = (Fixture::mounting(), Fixture::mounting()) else { return };
    let base = archive(&["d a/ 755", "f a/x 1", "f a/y 2", "d b/ 755", "f b/z 3", "f c 4", "d d/ 755", "f d/old 5"]);
    let stack = here.unpack(&[], &base).expect("unpacked");
    let stack = here.layer(&stack, |top| {
        fs::remove_file(top.join("a/x")).expect("removed");
        fs::remove_dir_all(top.join("b")).expect("removed");
        // A file in a directory's place, a directory in a file's, and a directory made anew.
        fs::write(top.join("b"), "file").expect("written");
        fs::remove_file(top.join("c")).expect("removed");
        fs::create_dir(top.join("c")).expect("made");
        fs::remove_dir_all(top.join("d")).expect("removed");
        fs::create_dir(top.join("d")).expect("made");
        fs::write(top.join("d/new"), "6").expect("written");
        fs::write(top.join("passing"), "").expect("written");
        fs::remove_file(top.join("passing")).expect("removed");
    });
    let tar = here.tar(&stack);
    expect![[r#"
        5 0755 0:0 315532800 a/ 0
        0 0000 0:0 0 a/.wh.x 0
        0 0644 0:0 315532800 b 4
        5 0755 0:0 315532800 c/ 0
        5 0755 0:0 315532800 d/ 0
        0 0644 0:0 315532800 d/new 1
        0 0000 0:0 0 d/.wh.old 0
    "#]]
    .assert_eq(&entries_of(&tar));
    let unpacked = there.unpack(&[], &base).and_then(|stack| there.unpack(&stack, &tar)).expect("unpacked");
    assert_eq!(there.list(&unpacked), here.list(&stack));
}

#[test]
fn deletions_show_through_any_number_of_layers() {
    let Some(fixture) = Fixture::mounting() else { return };
    let base = fixture.unpack(&[], &archive(&["d a/ 755", "f a/x 1", "f a/y 2"])).expect("unpacked");
    let without = fixture.layer(&base, |top| fs::remove_dir_all(top.join("a")).expect("removed"));
    let again = fixture.layer(&without, |top| {
        fs::create_dir(top.join("a")).expect("made");
        fs::write(top.join("a/y"), "3").expect("written");
    });
    expect![[r#"
        5 0755 0:0 315532800 a/ 0
        0 0644 0:0 315532800 a/y 1
    "#]]
    .assert_eq(&entries_of(&fixture.tar(&again)));
    let last = fixture.layer(&again, |top| {
        fs::remove_file(top.join("a/y")).expect("removed");
        fs::write(top.join("a/x"), "4").expect("written");
        fs::remove_file(top.join("a/x")).expect("removed");
    });
    expect![[r#"
        5 0755 0:0 315532800 a/ 0
        0 0000 0:0 0 a/.wh.y 0
    "#]]
    .assert_eq(&entries_of(&fixture.tar(&last)));
}

/// image-spec v1.1, layer.md: a whiteout hides what is in lower layers, and nothing of its own.
#[test]
fn a_layers_whiteouts_spare_what_the_layer_itself_has_in_either_order() {
    let Some(fixture) = Fixture::mounting() else { return };
    let base = archive(&["d a/ 755", "f a/low 1", "d a/sub/ 755", "f a/sub/low 2", "d b/ 755", "f b/low 3"]);
    let base = fixture.unpack(&[], &base).expect("unpacked");
    let made = ["d a/ 755", "d a/sub/ 700", "f a/sub/top 4", "f b/deep/er/top 5"];
    let hidden = ["f a/.wh..wh..opq ", "f .wh.b ", "f .wh..wh.plnk ", "f .wh.absent "];
    let first = fixture.unpack(&base, &archive(&[&made[..], &hidden].concat())).expect("unpacked");
    let last = fixture.unpack(&base, &archive(&[&hidden[..], &made].concat())).expect("unpacked");
    let names = |listing: String| -> Vec<String> {
        listing.lines().filter_map(|line| Some(line.split(' ').nth(3)?.to_owned())).collect()
    };
    let expected = [".", "./a", "./a/sub", "./a/sub/top", "./b", "./b/deep", "./b/deep/er", "./b/deep/er/top"];
    assert_eq!(names(fixture.list(&first)), expected);
    assert_eq!(names(fixture.list(&last)), expected);
}

#[test]
fn a_whiteout_of_no_name_is_refused() {
    let Some(fixture) = Fixture::mounting() else { return };
    for name in [".wh.", ".wh..", ".wh..."] {
        let error = fixture.unpack(&[], &archive(&[&format!("f {name} ")])).expect_err(name);
        let text = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(text, format!("cannot unpack `{name}`: a whiteout of no name"));
    }
}
