//! Bakefiles that include others, and files that their expressions read, in builds.

use crate::support::http::{Answer, Http, Repository};
use crate::support::{Project, Ran};

const COPY: &str = "FROM scratch\nARG VERSION\nCOPY . /\nLABEL version=$VERSION\n";

const ROOT: &str = "include = [\"services/*/build.hcl\"]\ngroup \"default\" { targets = [\"api\"] }\n";

const API: &str = "group \"default\" { targets = [\"api\"] }\n\
                   target \"api\" {\n  args   = { VERSION = trimspace(file(\"VERSION\")) }\n  output = [\"out\"]\n}\n";

#[test]
fn an_included_file_is_built_from_the_root_and_alone() {
    let project = Project::alone();
    project.write("build.hcl", ROOT).write("services/api/build.hcl", API);
    project.write("services/api/Dockerfile", COPY).write("services/api/VERSION", "1\n");
    project.write("services/api/.dockerignore", "*\n!VERSION\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("services/api/out/VERSION"), "1\n");
    std::fs::remove_dir_all(project.path().join("services/api/out")).expect("removed");
    let mut alone = project.command(&["build"]);
    let alone = alone.current_dir(project.path().join("services/api")).output().expect("bake starts");
    assert!(Ran::from(alone).succeeds().ran_nothing(), "it is the same build");
    assert_eq!(project.read("services/api/out/VERSION"), "1\n");
}

#[test]
fn a_repository_s_bakefile_includes_and_reads_what_is_in_it() {
    let project = Project::alone();
    let repository = Repository::new(project.home(), "repo.git");
    repository.commit(&[
        ("docker-bake.hcl", ROOT),
        ("services/api/build.hcl", API),
        ("services/api/VERSION", "from git\n"),
        ("services/api/Dockerfile", COPY),
    ]);
    let http = Http::start(vec![("/", Answer::Git(project.home().to_owned(), None))]);
    let url = format!("http://{}/repo.git#main", http.host);
    // Nothing of this machine is meant.
    project.write("services/api/VERSION", "local\n").write("VERSION", "local\n");
    let printed = project.bake(&["print", &url]).succeeds().stdout;
    assert!(printed.contains("\"VERSION\": \"from git\""), "{printed}");
    assert!(printed.contains(&format!("\"context\": \"{url}:services/api\"")), "{printed}");
    project.bake(&["build", &url]).succeeds();
    assert_eq!(project.read("services/api/out/VERSION"), "from git\n");
    project.write("own.hcl", "target \"own\" { tags = [file(\"VERSION\")] }\n");
    let refused = project.bake(&["print", &url, "-f", "docker-bake.hcl", "-f", "cwd://own.hcl", "own"]).fails(3);
    assert!(
        refused.stderr.contains("cannot read VERSION: the bakefile that names it came without"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_bakefile_that_is_downloaded_alone_reads_no_files() {
    let project = Project::alone();
    project.write("VERSION", "local");
    let answers = [
        ("/file.hcl", "target \"default\" { tags = [file(\"VERSION\")] }\n"),
        ("/include.hcl", "include = [\"VERSION\"]\n"),
        ("/pattern.hcl", "include = [\"*.hcl\"]\n"),
    ];
    let http = Http::start(answers.map(|(path, text)| (path, Answer::File(text.as_bytes().to_vec()))).into());
    for (path, _) in answers {
        let url = format!("http://{}{path}", http.host);
        for arguments in [vec!["print", &url], vec!["print", "-f", &url]] {
            let refused = project.bake(&arguments).fails(3);
            let why = "the bakefile that names it came without files beside it";
            assert!(refused.stderr.contains(why), "{}", refused.stderr);
        }
    }
}
