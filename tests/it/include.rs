//! `include` and the functions that read files, through the real binary: what counts from which directory, and what is
//! kept out.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use bake::bakefile::{self, InputFile, Options};
use bake::diagnostic::SourceMap;
use bake::sys::files::MemoryFiles;
use serde_json::{Value, json};

/// A directory of files.
struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let project = Project(tempfile::tempdir().expect("a temporary directory"));
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("project").join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn bake(&self, directory: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
        command.current_dir(self.path(directory)).env_clear().args(arguments).output().expect("bake was built")
    }

    fn printed(&self, directory: &str, arguments: &[&str]) -> Value {
        let output = self.bake(directory, &[&["print"], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Returns what bake says when it fails, its first line.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.bake("", &[&["print"], arguments].concat());
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        said(&output).lines().next().unwrap_or_default().to_owned()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SERVICES: [(&str, &str); 4] = [
    (
        "build.hcl",
        "include = [\"services/*/build.*\"]\n\
         variable \"TAG\" { default = \"dev\" }\n\
         function \"image\" {\n  params = [name]\n  result = \"example.com/${name}:${TAG}\"\n}\n\
         group \"default\" { targets = [\"api\", \"web\"] }\n",
    ),
    (
        "services/api/build.hcl",
        "variable \"TAG\" { default = \"dev\" }\n\
         group \"default\" { targets = [\"api\"] }\n\
         target \"api\" {\n\
           args = { VERSION = trimspace(file(\"VERSION\")) }\n\
           contexts = { lib = \"../../lib\", page = \"target:web\", base = \"docker-image://base\", oci = \"oci-layout://oci:1\", here = \"cwd://\" }\n\
           secret = [\"id=token,src=VERSION\", \"id=VERSION\", \"id=env,env=HOME\"]\n\
           ssh = [\"default=VERSION\"]\n\
           output = [\"out\", \"type=tar,dest=-\"]\n\
           cache-from = [\"type=local,src=cache\", \"type=registry,ref=example.com/cache\"]\n\
           cache-to = [\"type=local,dest=cache\"]\n\
         }\n",
    ),
    ("services/api/VERSION", "1.2.3\n"),
    (
        "services/web/build.toml",
        "[target.web]\ncontext = \"src\"\ndockerfile = \"web.Dockerfile\"\ntags = ['${image(\"web\")}']\n",
    ),
];

#[test]
fn paths_of_an_included_file_count_from_its_directory() {
    let project = Project::new(&SERVICES);
    let printed = project.printed("", &[]);
    let expected = json!({
        "context": "services/api",
        "contexts": {
            "base": "docker-image://base",
            "here": "cwd://",
            "lib": "lib",
            "oci": "oci-layout://services/api/oci:1",
            "page": "target:web",
        },
        "dockerfile": "Dockerfile",
        "args": { "VERSION": "1.2.3" },
        "cache-from": [
            { "src": "services/api/cache", "type": "local" },
            { "ref": "example.com/cache", "type": "registry" },
        ],
        "cache-to": [{ "dest": "services/api/cache", "type": "local" }],
        "secret": [
            { "id": "token", "src": "services/api/VERSION" },
            { "id": "VERSION", "src": "services/api/VERSION" },
            { "id": "env", "env": "HOME" },
        ],
        "ssh": [{ "id": "default", "paths": ["services/api/VERSION"] }],
        "output": [{ "dest": "services/api/out", "type": "local" }, { "dest": "-", "type": "tar" }],
    });
    assert_eq!(printed["target"]["api"], expected);
    let web = &printed["target"]["web"];
    assert_eq!(
        (&web["context"], &web["dockerfile"], &web["tags"]),
        (&json!("services/web/src"), &json!("web.Dockerfile"), &json!(["example.com/web:dev"]))
    );
    assert_eq!(printed["group"]["default"]["targets"], json!(["api", "web"]));
}

#[test]
fn an_included_file_is_built_alone_and_a_root_from_elsewhere() {
    let mut files = SERVICES;
    files[1].1 =
        "group \"default\" { targets = [\"api\"] }\ntarget \"api\" { args = { V = trimspace(file(\"VERSION\")) } }\n";
    files[3].1 = "[target.web]\n";
    let project = Project::new(&files);
    let context = |directory: &str, arguments: &[&str], target: &str| {
        project.printed(directory, arguments)["target"][target]["context"].clone()
    };
    assert_eq!(context("", &[], "api"), "services/api");
    assert_eq!(context("services/api", &[], "api"), ".");
    assert_eq!(
        context("", &["-f", "services/api/build.hcl"], "api"),
        ".",
        "as the peer has it: where the command runs"
    );
    assert_eq!(context("services", &["-f", "../build.hcl", "web"], "web"), "../services/web");
    let root = project.path("build.hcl").display().to_string();
    assert_eq!(context("services", &["-f", &root], "web"), project.path("services/web").display().to_string());
    assert_eq!(context("", &["--set", "api.context=x"], "api"), "x", "a flag counts from where the command runs");
}

#[test]
fn a_target_without_a_context_is_built_where_it_stands() {
    let project = Project::new(&[
        (
            "build.hcl",
            "include = [\"a/b.hcl\"]\ntarget \"base\" {}\ntarget \"own\" { inherits = [\"in\"] }\ntarget \"ctx\" { context = \"c\" }\n",
        ),
        ("a/b.hcl", "target \"in\" { inherits = [\"base\"] }\ntarget \"given\" { inherits = [\"ctx\"] }\n"),
    ]);
    let printed = project.printed("", &["base", "own", "in", "given"]);
    let context = |name: &str| printed["target"][name]["context"].as_str().expect("text").to_owned();
    assert_eq!(["base", "own", "in", "given"].map(context), [".", ".", "a", "c"]);
}

#[test]
fn a_file_counts_once_however_it_is_reached() {
    let project = Project::new(&[
        (
            "build.hcl",
            "include = [\"a.hcl\", \"b.hcl\", \"x/../a.hcl\", \"link.hcl\", \"**/*.hcl\"]\ngroup \"default\" { targets = [\"a\", \"b\", \"c\"] }\n",
        ),
        ("a.hcl", "include = [\"x/c.hcl\"]\ntarget \"a\" {}\n"),
        ("b.hcl", "include = [\"x/c.hcl\"]\ntarget \"b\" {}\n"),
        ("x/c.hcl", "target \"c\" {}\n"),
        (".hidden/d.hcl", "this is no HCL"),
    ]);
    symlink("a.hcl", project.path("link.hcl")).expect("linked");
    let printed = project.printed("", &[]);
    assert_eq!(printed["target"].as_object().expect("targets").len(), 3);
    let several = project.printed("", &["-f", "build.hcl", "-f", "b.hcl"]);
    assert_eq!(printed["target"], several["target"]);
}

#[test]
fn repeated_definitions_are_one_and_variables_are_set_for_all() {
    let variable = "variable \"TAG\" { default = \"1\" }\n";
    let file = |name: &str| format!("{variable}target \"{name}\" {{ tags = [TAG] }}\n");
    let project = Project::new(&[
        ("build.hcl", "include = [\"*/build.hcl\"]\n"),
        ("a/build.hcl", &file("a")),
        ("b/build.hcl", &file("b")),
    ]);
    let printed = project.printed("", &["all", "--var", "TAG=2"]);
    assert_eq!([&printed["target"]["a"]["tags"], &printed["target"]["b"]["tags"]], [&json!(["2"]), &json!(["2"])]);
    let listed = project.bake("", &["list", "targets"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 3, "{}", said(&listed));
    let variables = project.bake("", &["list", "variables"]);
    assert_eq!(String::from_utf8_lossy(&variables.stdout).lines().count(), 2, "{}", said(&variables));
}

#[test]
fn includes_are_expressions_of_what_is_known_before() {
    let project = Project::new(&[
        (
            "build.hcl",
            "include = [for name in split(\",\", WHICH) : \"${name}/build.json\"]\nvariable \"WHICH\" { default = \"a\" }\n",
        ),
        ("a/build.json", "{ \"include\": [\"${dir}/x.toml\"], \"dir\": \"in\", \"target\": { \"a\": {} } }"),
        ("a/in/x.toml", "[target.x]\n"),
        ("b/build.json", "{ \"target\": { \"b\": {} } }"),
    ]);
    let names = |arguments: &[&str]| {
        let printed = project.printed("", &[&["all"], arguments].concat());
        printed["target"].as_object().expect("targets").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["a", "x"]);
    assert_eq!(names(&["--var", "WHICH=a,b"]), ["a", "b", "x"]);
}

#[test]
fn nothing_outside_of_the_project_is_read() {
    let project = Project::new(&[("in/VERSION", "1")]);
    std::fs::write(project.0.path().join("secret"), "outside").expect("written");
    std::fs::write(project.0.path().join("build.hcl"), "target \"out\" {}").expect("written");
    symlink("../secret", project.path("up")).expect("linked");
    symlink("../build.hcl", project.path("up.hcl")).expect("linked");
    symlink("/", project.path("root")).expect("linked");
    let fifo = project.path("fifo");
    rustix_fifo(&fifo);
    let out = "it leads out of the project's directory";
    for (text, why) in [
        ("x = file(\"up\")", format!("build.hcl:1:10: cannot read up: {out}")),
        ("x = file(\"root/etc/passwd\")", format!("build.hcl:1:10: cannot read root/etc/passwd: {out}")),
        ("x = fileexists(\"up\")", format!("build.hcl:1:16: cannot read up: {out}")),
        ("x = fileset(\"root\", \"*\")", format!("build.hcl:1:13: cannot read root: {out}")),
        ("x = file(\"fifo\")", "build.hcl:1:10: cannot read fifo: it is no regular file".to_owned()),
        ("include = [\"up.hcl\"]", format!("build.hcl:1:12: cannot read up.hcl: {out}")),
        ("include = [\"root/etc/passwd\"]", format!("build.hcl:1:12: cannot read root/etc/passwd: {out}")),
        ("include = [\"fifo\"]", "build.hcl:1:12: cannot read fifo: it is no regular file".to_owned()),
    ] {
        project.write("build.hcl", text);
        assert_eq!(project.refused(&[]), format!("error: {why}"), "{text}");
    }
    project.write("build.hcl", "target \"t\" { tags = fileset(\".\", \"**\") }\n");
    assert_eq!(project.printed("", &["t"])["target"]["t"]["tags"], json!(["build.hcl", "in/VERSION"]));
    project.write("large", vec![b'x'; (16 << 20) + 1]);
    project.write("build.hcl", "x = filesha256(\"large\")\n");
    assert_eq!(project.refused(&[]), "error: build.hcl:1:16: cannot read large: it is larger than 16 MiB");
}

fn rustix_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[test]
fn files_are_read_from_beside_the_expression() {
    let project = Project::new(&[
        (
            "build.hcl",
            "include = [\"a/build.hcl\"]\n\
             function \"read\" {\n  params = [name]\n  result = file(name)\n}\n",
        ),
        ("name", "root"),
        (
            "a/build.hcl",
            "target \"t\" { args = {\n\
               OWN = file(\"name\")\n  ROOT = read(\"name\")\n  UP = file(\"../name\")\n\
               SHA = filesha256(\"name\")\n  BASE64 = filebase64(\"bytes\")\n\
               THERE = fileexists(\"name\")\n  DIRECTORY = fileexists(\"../a\")\n  NOT = fileexists(\"b\")\n\
               SET = join(\" \", fileset(\"..\", \"a/*\"))\n  ELSE = try(file(\"b\"), \"else\")\n\
             } }\n",
        ),
        ("a/name", "a"),
    ]);
    project.write("a/bytes", [0xFF, 0x00]);
    assert_eq!(
        project.printed("", &["t"])["target"]["t"]["args"],
        json!({
            "OWN": "a",
            "ROOT": "root",
            "UP": "root",
            "SHA": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            "BASE64": "/wA=",
            "THERE": "true",
            "DIRECTORY": "false",
            "NOT": "false",
            "SET": "a/build.hcl a/bytes a/name",
            "ELSE": "else",
        })
    );
}

/// The peer has no such functions, so a bakefile that it reads may define them.
#[test]
fn a_function_of_the_bakefile_comes_before_one_that_reads_files() {
    let text = "function \"file\" {\n  params = [name]\n  result = \"own-${name}\"\n}\ntarget \"t\" { tags = [file(\"x\")] }\n";
    let project = Project::new(&[("build.hcl", text)]);
    assert_eq!(project.printed("", &["t"])["target"]["t"]["tags"], json!(["own-x"]));
    assert!(!String::from_utf8_lossy(&project.bake("", &["check", "--compat"]).stdout).contains("function"));
}

#[test]
fn all_notations_and_verbs_keep_includes() {
    let project = Project::new(&[
        ("build.hcl", "include=[\"lib/*.hcl\"]\n"),
        ("lib/a.hcl", "target \"a\" { dockerfile-inline = file(\"text\") }\n"),
        ("lib/text", "FROM scratch\n"),
    ]);
    assert!(project.bake("", &["fmt"]).status.success());
    assert_eq!(std::fs::read_to_string(project.path("build.hcl")).expect("there"), "include = [\"lib/*.hcl\"]\n");
    let expected = project.printed("", &["a"]);
    assert_eq!(expected["target"]["a"]["dockerfile-inline"], "FROM scratch\n");
    for ending in ["toml", "json"] {
        let converted = project.bake("", &["convert", "-f", "build.hcl", "--to", ending]);
        assert!(converted.status.success(), "{}", said(&converted));
        project.write(&format!("other.{ending}"), &converted.stdout);
        assert_eq!(project.printed("", &["-f", &format!("other.{ending}"), "a"]), expected, "{ending}");
    }
    let checked = project.bake("", &["check"]);
    assert!(checked.status.success(), "{}", said(&checked));
}

#[test]
fn a_bakefile_knows_which_files_it_read() {
    let files = [
        ("lib/a.hcl", "target \"a\" { tags = [file(\"V\")] }\ntarget \"b\" { tags = [file(\"W\")] }\n"),
        ("lib/V", "v"),
        ("lib/W", "w"),
    ];
    let files = MemoryFiles(files.map(|(name, text)| (name.into(), text.into())).into());
    let root = InputFile { name: "build.hcl".to_owned(), text: "include = [\"lib/*.hcl\"]\n".to_owned() };
    let mut sources = SourceMap::default();
    let mut read = |wanted: Option<&[String]>| {
        let options = Options {
            finds_additions: true,
            env: &|_| None,
            vars: &[],
            overrides: &[],
            wanted,
            local_platform: "linux/amd64".parse().expect("a platform"),
            cmd_context: "cwd://",
            seed: [0; 32],
            home: None,
            now: 0,
            files: &files,
        };
        let (bakefile, found) = bakefile::load(std::slice::from_ref(&root), &options, &mut sources);
        let bakefile = bakefile.unwrap_or_else(|| panic!("{}", found.render(&sources)));
        bakefile.read_files().iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(read(None), ["lib/V", "lib/W", "lib/a.hcl"]);
    assert_eq!(read(Some(&["a".to_owned()])), ["lib/V", "lib/a.hcl"]);
}
