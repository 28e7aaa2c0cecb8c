//! What a bakefile may reach outside its directory.

use crate::support::{Project, Ran};

fn project(bakefile: &str) -> Project {
    let project = Project::alone();
    project.write("build.hcl", bakefile).write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    std::fs::create_dir(project.home().join("beside")).expect("created");
    std::fs::write(project.home().join("beside/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").expect("written");
    project
}

fn refused(ran: &Ran, flags: &str) {
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("hint: grant it with {flags}\n")), "{}", ran.stderr);
}

#[test]
fn files_beside_the_directory_need_a_grant_that_names_them() {
    let project = project("target \"default\" { context = \"../beside\" }\n");
    refused(&project.bake(&["build"]), "--allow=fs.read=../beside");
    refused(&project.bake(&["build", "--allow", "fs.write=../beside"]), "--allow=fs.read=../beside");
    for allow in ["fs.read=../beside", "fs.read=*", "fs=..", "fs.read=/"] {
        project.bake(&["build", "--allow", allow]).succeeds();
    }
    let off: Ran = project.command(&["build"]).env("BUILDX_BAKE_ENTITLEMENTS_FS", "0").output().expect("ran").into();
    off.succeeds();
    let wrong: Ran =
        project.command(&["build"]).env("BUILDX_BAKE_ENTITLEMENTS_FS", "maybe").output().expect("ran").into();
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn a_link_out_of_the_directory_is_followed_before_it_is_judged() {
    let project = project("target \"default\" { context = \"inside\" }\n");
    std::os::unix::fs::symlink("../beside", project.path().join("inside")).expect("linked");
    refused(&project.bake(&["build"]), "--allow=fs.read=../beside");
    project.bake(&["build", "--allow", "fs.read=inside"]).succeeds();
}

#[test]
fn an_output_is_written_outside_only_if_the_user_says_so() {
    let project = project("target \"default\" { output = [\"type=local,dest=../beside/out\"] }\n");
    refused(&project.bake(&["build"]), "--allow=fs.write=../beside");
    project.bake(&["build", "--allow", "fs.write=../beside/out"]).succeeds();
    // What the command line names itself is granted with that.
    project.bake(&["build", "--set", "*.output=type=local,dest=../other"]).succeeds();
    assert!(project.home().join("other/Dockerfile").exists());
}

#[test]
fn rights_of_steps_are_asked_for() {
    let project = project(
        "target \"default\" { entitlements = [\"security.insecure\", \"network.host\", \"device=vendor.com/gpu=0\"] }\n",
    );
    let flags = "--allow=device=vendor.com/gpu=0 --allow=network.host --allow=security.insecure";
    refused(&project.bake(&["build"]), flags);
    let mut arguments = vec!["build"];
    arguments.extend(flags.split(' '));
    project.bake(&arguments).succeeds();
    assert_eq!(project.bake(&["build", "--allow", "everything"]).code, Some(2));
    project.bake(&["print"]).succeeds();
}
