//! Signatures of images: made and verified by bake, and by openssl.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{self, Project, Ran, Registry, registry, run};

const PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "correct horse");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/attest").join(name)
}

fn project(registry: &Registry) -> Project {
    let project = Project::new(registry);
    let bakefile = format!("target \"default\" {{\n  tags = [\"{}:1\"]\n}}\n", project.repository);
    project.write("build.hcl", &bakefile).write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "x");
    for name in ["cosign.key", "cosign.pub"] {
        project.write(name, &std::fs::read_to_string(fixture(name)).expect("a fixture"));
    }
    project
}

fn signed(project: &Project) -> Ran {
    let mut command = project.command(&["build", "--push", "--sign", "key=cosign.key"]);
    command.env(PASSWORD.0, PASSWORD.1).output().expect("bake starts").into()
}

/// Has openssl verify the only signature under `tag`, which skopeo copies as the image that it is.
fn verified_by_openssl(project: &Project, tag: &str) {
    let copy = project.home().join("copy");
    support::remove(&copy);
    let from = format!("docker://{}:{tag}", project.repository);
    run("skopeo", &["copy", "--src-tls-verify=false", &from, &format!("dir:{}", copy.display())]).succeeds();
    let manifest = std::fs::read(copy.join("manifest.json")).expect("copied");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let encoded = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().expect("a signature");
    project.write("signature.base64", encoded);
    let path = |name: &str| project.path().join(name).display().to_string();
    run("openssl", &["base64", "-d", "-A", "-in", &path("signature.base64"), "-out", &path("signature")]).succeeds();
    let hex = layer["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let payload = copy.join(hex).display().to_string();
    let (key, signature) = (path("cosign.pub"), path("signature"));
    run("openssl", &["dgst", "-sha256", "-verify", &key, "-signature", &signature, &payload]).succeeds();
}

#[test]
fn what_is_pushed_is_signed_and_openssl_agrees() {
    let Some(registry) = registry() else { return };
    let project = project(registry);
    let digest = project.bake(&["build", "--push"]).succeeds().stdout;
    let digest = digest.split_whitespace().nth(1).expect("a digest").to_owned();
    let name = format!("{}:1", project.repository);
    let verify = ["image", "verify", "--key", "cosign.pub", &name];
    let stderr = project.bake(&verify).fails(5).stderr;
    assert!(stderr.contains("it has no signatures"), "{stderr}");

    signed(&project).succeeds();
    assert_eq!(project.bake(&verify).succeeds().stdout, format!("{name}@{digest}\n"));
    let tag = format!("{}.sig", digest.replace(':', "-"));
    verified_by_openssl(&project, &tag);
    let signature = project.raw(&tag).expect("pushed");
    signed(&project).succeeds();
    assert_eq!(project.raw(&tag), Some(signature.clone()));
    assert!(!signature.contains("correct horse"));

    // Another key's signature stands beside it.
    let of_other_key = run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]).succeeds().stdout;
    project.write("other.key", &of_other_key);
    let other = project.path().join("other.key").display().to_string();
    let public = run("openssl", &["ec", "-in", &other, "-pubout"]).succeeds().stdout;
    project.write("other.pub", &public);
    let by_other = ["image", "verify", "--key", "other.pub", &name];
    let stderr = project.bake(&by_other).fails(5).stderr;
    assert!(stderr.contains("it has 1, by other keys or of other images"), "{stderr}");
    project.bake(&["build", "--push", "--sign", "key=other.key"]).succeeds();
    project.bake(&by_other).succeeds();
    project.bake(&verify).succeeds();
}

#[test]
fn a_key_that_cannot_sign_is_known_before_anything_runs() {
    let project = Project::alone();
    project
        .write("Dockerfile", "FROM scratch\nRUN never\n")
        .write("build.hcl", "target \"default\" { tags = [\"127.0.0.1:1/x:1\"] }\n");
    project.write("cosign.key", &std::fs::read_to_string(fixture("cosign.key")).expect("a fixture"));
    for (arguments, expected) in [
        (&["build", "--sign", "key=cosign.key"][..], "--sign signs what is pushed, and nothing is"),
        (&["build", "--push", "--sign", "cosign.key"], "names no key"),
        (&["build", "--push", "--sign", "key=gone.key"], "cannot read gone.key"),
        (&["build", "--push", "--sign", "key=cosign.key"], "set COSIGN_PASSWORD"),
        (&["build", "--push", "--sign", "key=Dockerfile"], "no ECDSA key on the curve P-256"),
    ] {
        let stderr = project.bake(arguments).fails(2).stderr;
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}
