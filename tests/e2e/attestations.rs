//! Provenance and SBOMs: beside images and files, the same each time, and telling no secret.

use serde_json::Value;

use crate::support::{self, Project, registry};

/// A project with a secret, an argument and a local file, for two platforms, whose attestations are `attest`.
fn project(registry: &support::Registry, attest: &str) -> Project {
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        &format!(
            r#"
            variable "REGISTRY" {{}}
            target "default" {{
              args      = {{ REGISTRY = REGISTRY, WORD = "said" }}
              attest    = [{attest}]
              secret    = ["id=token,src=token.txt"]
              platforms = ["linux/amd64", "linux/arm64"]
              tags      = ["{}:1"]
            }}
            "#,
            project.repository
        ),
    );
    project.write("token.txt", "MARKER-of-a-secret");
    project.write("file.txt", "content");
    project.write(
        "Dockerfile",
        "ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nARG WORD\nCOPY file.txt /file.txt\n\
         RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size && echo $WORD\n",
    );
    project
}

/// Returns the attestation manifests of an index that was pushed under `1`, each with the statements that it names, as
/// skopeo copies them.
fn attestations(project: &Project, index: &Value) -> Vec<(Value, Vec<Value>)> {
    let (copy, name) = (project.home().join("copy"), format!("docker://{}:1", project.repository));
    support::remove(&copy);
    let dest = format!("dir:{}", copy.display());
    support::run("skopeo", &["copy", "--all", "--src-tls-verify=false", &name, &dest]).succeeds();
    let of_image = |entry: &&Value| entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
    let manifests = index["manifests"].as_array().expect("an index");
    let read = |digest: &Value, suffix: &str| -> Value {
        let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        let text = std::fs::read(copy.join(format!("{hex}{suffix}"))).expect("copied");
        serde_json::from_slice(&text).expect("JSON")
    };
    let found = manifests.iter().filter(of_image).map(|entry| {
        let manifest = read(&entry["digest"], ".manifest.json");
        let statements = manifest["layers"].as_array().expect("layers").iter();
        (entry.clone(), statements.map(|layer| read(&layer["digest"], "")).collect())
    });
    found.collect()
}

#[test]
fn provenance_lies_beside_each_platform_and_is_the_same_from_a_fresh_store() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "\"type=provenance,mode=max\"");
    let first = project.bake(&["build", "--push"]).succeeds().stdout;
    let raw = project.raw("1").expect("pushed");
    let index: Value = serde_json::from_str(&raw).expect("JSON");
    let found = attestations(&project, &index);
    assert_eq!((index["manifests"].as_array().map(Vec::len), found.len()), (Some(4), 2));
    for (position, (entry, statements)) in found.iter().enumerate() {
        let image = &index["manifests"][position];
        assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        assert_eq!(entry["platform"]["os"], "unknown");
        let [statement] = &statements[..] else { panic!("one statement, not {statements:?}") };
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        let digest = statement["subject"][0]["digest"]["sha256"].as_str().expect("a digest");
        assert_eq!(image["digest"], format!("sha256:{digest}"));
        let text = statement.to_string();
        assert!(!text.contains("MARKER") && !text.contains(&project.home().display().to_string()), "{text}");
        let definition = &statement["predicate"]["buildDefinition"];
        let request = &definition["externalParameters"]["request"];
        assert_eq!(request["args"]["build-arg:WORD"], "said");
        assert_eq!(request["secrets"][0]["id"], "token");
        let base = &definition["resolvedDependencies"][0];
        assert!(base["uri"].as_str().is_some_and(|uri| uri.contains("base/busybox@1?digest=sha256:")), "{base}");
    }
    support::remove(&project.store());
    assert_eq!(project.bake(&["build", "--push"]).succeeds().stdout, first);
    // What is built beside it, a new tag and the words of the command line say nothing new of the same image.
    let other = ["build", "--push", "--no-cache", "--set", &format!("default.tags={}:2", project.repository)];
    assert_eq!(project.bake(&other).succeeds().stdout, first);
    project.bake(&["build", "--set", "default.args.WORD=other", "--push"]).succeeds();
    assert_ne!(project.raw("1").expect("pushed"), raw);
}

#[test]
fn min_names_no_argument_and_off_is_off() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "\"type=provenance,mode=max\"");
    project.bake(&["build", "--push", "--provenance=mode=min,version=v0.2", "--platform", "linux/amd64"]).succeeds();
    let index: Value = serde_json::from_str(&project.raw("1").expect("pushed")).expect("JSON");
    let found = attestations(&project, &index);
    let text = found[0].1[0].to_string();
    assert!(text.contains("https://slsa.dev/provenance/v0.2"), "{text}");
    assert!(!text.contains("said") && !text.contains("token"), "{text}");
    project.bake(&["build", "--push", "--provenance=false", "--platform", "linux/amd64"]).succeeds();
    let manifest: Value = serde_json::from_str(&project.raw("1").expect("pushed")).expect("JSON");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn files_get_their_statements_beside_them() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "\"type=provenance,mode=min\"");
    project.bake(&["build", "--output", "type=local,dest=out,attestation-prefix=x."]).succeeds();
    let statement: Value = serde_json::from_str(&project.read("out/linux_arm64/x.provenance.json")).expect("JSON");
    let subjects = statement["subject"].as_array().expect("subjects");
    let file = subjects.iter().find(|subject| subject["name"] == "file.txt").expect("the file");
    let sha256_of_content = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(file["digest"]["sha256"], sha256_of_content);
    project.bake(&["build", "--platform", "linux/amd64", "--output", "type=tar,dest=out.tar"]).succeeds();
    let tar = project.path().join("out.tar").display().to_string();
    let listing = support::run("tar", &["tf", &tar]).succeeds().stdout;
    assert!(listing.lines().any(|line| line == "provenance.json"), "{listing}");
    project.bake(&["build", "--provenance=inline-only=true", "--output", "type=local,dest=bare"]).succeeds();
    assert!(!project.exists("bare/linux_arm64/provenance.json"));
}

#[test]
fn what_cannot_be_attested_is_an_error_at_its_place() {
    let project = Project::alone();
    project.write("Dockerfile", "FROM scratch\n");
    for (attest, expected) in [
        ("type=sbom,generator=some/scanner", "the scanner image `some/scanner` is not run"),
        ("type=provenance,mode=all", "`mode=all` of the provenance is neither min nor max"),
        ("type=provenence", "did you mean `type=provenance`?"),
        ("type=provenance,capture-usage=true", "provenance tells no measurements"),
    ] {
        project.write("build.hcl", &format!("target \"default\" {{\n  attest = [\"{attest}\"]\n}}\n"));
        let stderr = project.bake(&["build"]).fails(3).stderr;
        assert!(stderr.contains(expected) && stderr.contains("build.hcl:2:"), "{stderr}");
    }
}

#[test]
fn an_sbom_lists_what_is_installed_and_is_made_once() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "\"type=sbom\"");
    project.write("os-release", "ID=test\nVERSION_ID=1\n");
    project.write("status", "Package: tool\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: all\n");
    project.write(
        "Dockerfile",
        "ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nCOPY os-release /etc/\nCOPY status /var/lib/dpkg/\n",
    );
    let first = project.bake(&["build", "--push", "--progress=plain"]).succeeds();
    assert!(first.stderr.contains("[default linux/arm64] find packages"), "{}", first.stderr);
    let index: Value = serde_json::from_str(&project.raw("1").expect("pushed")).expect("JSON");
    let found = attestations(&project, &index);
    assert_eq!(found.len(), 2);
    for (_, statements) in &found {
        assert_eq!(statements[0]["predicateType"], "https://spdx.dev/Document");
        let package = &statements[0]["predicate"]["packages"][1];
        let purl = &package["externalRefs"][0]["referenceLocator"];
        assert_eq!(purl, "pkg:deb/test/tool@1.2-3?arch=all&distro=test-1");
    }
    let name = format!("{}:1", project.repository);
    let shown = |arguments: &[&str]| project.bake(&[&["image"], arguments].concat());
    let bill: Value =
        serde_json::from_str(&shown(&["sbom", &name, "--platform", "linux/arm64"]).succeeds().stdout).expect("JSON");
    assert_eq!(bill, found[1].1[0]["predicate"]);
    let stderr = shown(&["provenance", &name]).fails(5).stderr;
    assert!(stderr.contains("has no provenance for the image sha256:"), "{stderr}");
    let stderr = shown(&["sbom", &name, "--platform", "linux/s390x"]).fails(2).stderr;
    assert!(stderr.contains("it has linux/amd64, linux/arm64"), "{stderr}");
    let again = project.bake(&["build", "--push", "--progress=plain"]).succeeds();
    assert_eq!(again.stdout, first.stdout);
    assert!(!again.stderr.contains("find packages"), "{}", again.stderr);
    support::remove(&project.store());
    assert_eq!(project.bake(&["build", "--push"]).succeeds().stdout, first.stdout);
    project.bake(&["build", "--sbom=format=cyclonedx", "--output", "type=local,dest=out"]).succeeds();
    let bill: Value = serde_json::from_str(&project.read("out/linux_amd64/sbom.cdx.json")).expect("JSON");
    assert_eq!(bill["predicate"]["bomFormat"], "CycloneDX");
}
