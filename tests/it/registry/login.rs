//! Logins that are kept, and where they are looked for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bake::registry::{Client, Error, Kept, Options};

use super::{fetch, quick, reference};
use crate::support::fake_registry::{FakeRegistry, Login};

const BLOB: &[u8] = b"a layer";

/// A registry that takes `user` and `s3cret`.
fn guarded() -> FakeRegistry {
    let registry = FakeRegistry::start();
    registry.require(Login::Basic { user: "user", password: "s3cret" });
    registry.put_blob("team/api", BLOB);
    registry
}

fn options(home: &Path) -> Options {
    Options { docker_config: Some(home.join("docker")), ..quick() }
}

/// Puts a credential helper `docker-credential-NAME` into `home/bin` that keeps one login in a file.
fn helper(home: &Path, name: &str) -> std::ffi::OsString {
    let (bin, kept) = (home.join("bin"), home.join("kept"));
    std::fs::create_dir_all(&bin).expect("created");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{kept};;\n\
         get) cat >/dev/null; if [ -e {kept} ]; then cat {kept}; else echo 'credentials not found in native keychain'; exit 1; fi;;\n\
         erase) cat >/dev/null; rm {kept};;\nesac\n",
        kept = kept.display()
    );
    let path = bin.join(format!("docker-credential-{name}"));
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("changed");
    format!("{}:/usr/bin:/bin", bin.display()).into()
}

#[test]
fn a_login_is_kept_once_the_registry_took_it() {
    let (registry, home) = (guarded(), tempfile::tempdir().expect("a directory"));
    let file = home.path().join("docker/config.json");
    let login = |password: &str| Client::new(options(home.path())).login(&registry.host, "user", password);
    let error = login("wr0ng").expect_err("refused");
    assert!(matches!(error, Error::LoginRefused { status: 401, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
    assert!(!file.exists());

    assert_eq!(login("s3cret").expect("taken"), Kept::File(file.clone()));
    let client = Client::new(options(home.path()));
    assert_eq!(fetch(&client, &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    assert_eq!(client.logout(&registry.host).expect("forgotten"), [Kept::File(file)]);
    assert_eq!(client.logout(&registry.host).expect("nothing to do"), []);
    let error = fetch(&Client::new(options(home.path())), &reference(&registry, "team/api"), BLOB);
    assert!(matches!(error, Err(Error::Denied { .. })));
}

#[test]
fn a_token_server_confirms_a_login() {
    let (registry, home) = (FakeRegistry::start(), tempfile::tempdir().expect("a directory"));
    registry.require(Login::Bearer { realm: format!("http://{}/token", registry.host) });
    let _ = Client::new(options(home.path())).login(&registry.host, "user", "s3cret").expect("taken");
    let asked: Vec<String> = registry.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked, ["/token?service=fake"]);
    let authorization = registry.requests()[0].header("authorization").map(str::to_owned);
    assert_eq!(authorization.as_deref(), Some("Basic dXNlcjpzM2NyZXQ="));
}

#[test]
fn a_helper_keeps_the_login_where_one_is_configured() {
    let (registry, home) = (guarded(), tempfile::tempdir().expect("a directory"));
    let path = Some(helper(home.path(), "test"));
    let file = home.path().join("docker/config.json");
    std::fs::create_dir(home.path().join("docker")).expect("created");
    std::fs::write(&file, r#"{"credsStore":"test"}"#).expect("written");
    let client = || Client::new(Options { path: path.clone(), ..options(home.path()) });
    let kept = client().login(&registry.host, "user", "s3cret").expect("taken");
    assert_eq!(kept, Kept::Helper("test".to_owned()));
    let expected = format!(r#"{{"ServerURL":"{}","Username":"user","Secret":"s3cret"}}"#, registry.host);
    assert_eq!(std::fs::read_to_string(home.path().join("kept")).expect("kept"), expected);
    let text = std::fs::read_to_string(&file).expect("read");
    assert!(!text.contains("s3cret") && !text.contains("dXNl") && text.contains(&registry.host), "{text}");
    assert_eq!(fetch(&client(), &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    assert_eq!(client().logout(&registry.host).expect("forgotten"), [Kept::Helper("test".to_owned())]);
    assert_eq!(client().logout(&registry.host).expect("nothing to do"), []);
}

#[test]
fn the_containers_tools_files_are_read_after_dockers() {
    let (registry, home) = (guarded(), tempfile::tempdir().expect("a directory"));
    registry.put_blob("other/api", BLOB);
    let auth_file = home.path().join("auth.json");
    // `user:s3cret`, for one path alone.
    let text = format!(r#"{{"auths":{{"{}/team":{{"auth":"dXNlcjpzM2NyZXQ="}}}}}}"#, registry.host);
    std::fs::write(&auth_file, text).expect("written");
    let auth_files = vec![home.path().join("none.json"), auth_file];
    let client = Client::new(Options { auth_files, ..options(home.path()) });
    assert_eq!(fetch(&client, &reference(&registry, "team/api"), BLOB).expect("fetched"), BLOB);
    let error = fetch(&client, &reference(&registry, "other/api"), BLOB);
    assert!(matches!(error, Err(Error::Denied { login: bake::registry::Login::Anonymous, .. })));
    let shown = |path: &str| {
        registry
            .requests()
            .iter()
            .any(|request| request.path().contains(path) && request.header("authorization").is_some())
    };
    assert!(shown("/team/") && !shown("/other/"));
}
