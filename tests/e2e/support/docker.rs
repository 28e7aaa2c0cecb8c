//! A Docker daemon of a test's own, and the image stores of Podman and Buildah of a test's own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Project, Ran, server, skip};

/// How long the daemon may take to answer; it takes half a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A dockerd with everything in a directory of its own and no network; ends with its owner.
pub struct Docker {
    /// `unix://…`.
    pub host: String,
    directory: tempfile::TempDir,
    child: Child,
}

/// Starts a daemon, or says why there is none.
pub fn docker() -> Option<Docker> {
    docker_with(&[])
}

/// Starts a daemon that listens on loopback too, with certificates for both sides in the directory `certificates`; returns
/// it and its address there.
pub fn docker_over_tls(certificates: &Path) -> Option<(Docker, String)> {
    make_certificates(certificates);
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let address = format!("tcp://127.0.0.1:{port}");
    let file = |flag: &str, name: &str| format!("--{flag}={}", certificates.join(name).display());
    let files = [file("tlscacert", "ca.pem"), file("tlscert", "server.pem"), file("tlskey", "server-key.pem")];
    let flags = [&["-H", &address, "--tlsverify"], &files.each_ref().map(String::as_str)[..]].concat();
    docker_with(&flags).map(|docker| (docker, address))
}

/// Makes an authority, and a certificate by it for a daemon on 127.0.0.1 and one for its client.
pub fn make_certificates(directory: &Path) {
    std::fs::create_dir_all(directory).expect("created");
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(directory).output().expect("openssl starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!("req -x509 {key} -subj /CN=authority -keyout ca-key.pem -out ca.pem"));
    for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
        std::fs::write(
            directory.join("extensions"),
            format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"),
        )
        .expect("written");
        openssl(&format!(
            "req -new {} -subj /CN={name} -keyout {name}-key.pem -out request.pem",
            &key[..key.len() - 8]
        ));
        openssl(&format!(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
    }
    std::fs::rename(directory.join("client.pem"), directory.join("cert.pem")).expect("renamed");
    std::fs::rename(directory.join("client-key.pem"), directory.join("key.pem")).expect("renamed");
}

fn docker_with(flags: &[&str]) -> Option<Docker> {
    if !is_root_with(&["dockerd", "docker"]) {
        return None;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let host = format!("unix://{}", path("sock"));
    let log = std::fs::File::create(path("log")).expect("a log");
    let mut command = Command::new("dockerd");
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "-p", &path("pid"), "-H", &host]);
    // Its log says what it lacks; the network's rules and bridges are the host's.
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    server::end_with_parent(&mut command);
    let child = command.spawn().expect("dockerd starts");
    let docker = Docker { host, directory, child };
    let deadline = Instant::now() + PATIENCE;
    while docker.run(&["version"]).code != Some(0) {
        let log = || std::fs::read_to_string(docker.directory.path().join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "dockerd does not answer:\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(docker)
}

impl Docker {
    /// Runs Docker's own command against it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", self.directory.path());
        command.stdin(Stdio::null()).output().expect("docker starts").into()
    }

    /// Returns one field of an image.
    pub fn image(&self, name: &str, field: &str) -> String {
        let format = format!("{{{{{field}}}}}");
        self.run(&["image", "inspect", "--format", &format, name]).succeeds().stdout.trim().to_owned()
    }

    /// Runs an image and returns what it prints.
    pub fn start(&self, name: &str) -> String {
        self.run(&["run", "--rm", "--network", "none", name]).succeeds().stdout
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It takes its containerd along and unmounts what it has mounted.
        super::run("kill", &["-TERM", &self.child.id().to_string()]);
        _ = self.child.wait();
    }
}

/// Says whether this is root with these programs, or why not.
pub fn is_root_with(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("this test starts a daemon as root");
        return false;
    }
    let directories = ["/usr/local/bin", "/usr/bin", "/usr/sbin"];
    let is_there = |program: &&str| directories.iter().any(|directory| Path::new(directory).join(program).exists());
    if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
        skip(&format!("{missing} is not installed; tests/run installs it"));
        return false;
    }
    true
}

/// Returns the environment that gives Podman and Buildah a store in the project alone.
pub fn containers_storage(project: &Project) -> (&'static str, String) {
    let home = project.home().display();
    let text = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{home}/images\"\nrunroot = \"{home}/run\"\n");
    let path = project.home().join("storage.conf");
    std::fs::write(&path, text).expect("written");
    ("CONTAINERS_STORAGE_CONF", path.display().to_string())
}
