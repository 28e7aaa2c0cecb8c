//! A registry of a test's own, which may be stopped, killed and started again, asks for a password or keeps a log.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who may read and write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// [`USER`] with [`PASSWORD`].
    Password,
}

pub const USER: &str = "builder";
pub const PASSWORD: &str = "pass word";
/// [`PASSWORD`] as bcrypt has it, at its lowest cost.
const PASSWORD_HASH: &str = "$2b$04$rizIQIqDRXCY6a8pDBDobuAaRzBsauqGy9Q7XSqBsn.spukGYr8Am";

/// A docker-registry on loopback; ends with its owner, however that ends.
pub struct Server {
    /// `127.0.0.1:PORT`; the same after a restart.
    pub host: String,
    directory: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a registry that keeps everything in `directory`. To be called on a thread that lives as long as it.
    pub fn start(directory: &Path, access: Access) -> Result<Server, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
        let mut server = Server { host: format!("127.0.0.1:{port}"), directory: directory.to_owned(), child: None };
        server.write_config(access).map_err(|error| error.to_string())?;
        server.restart()?;
        Ok(server)
    }

    fn write_config(&self, access: Access) -> std::io::Result<()> {
        let (host, directory) = (&self.host, self.directory.display());
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\", draintimeout: 10s}}\n\
             storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}\n"
        );
        if access == Access::Password {
            std::fs::write(self.directory.join("htpasswd"), format!("{USER}:{PASSWORD_HASH}\n"))?;
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}\n"));
        }
        std::fs::write(self.directory.join("config.yml"), config)
    }

    /// Starts it again where it was, with an empty log.
    pub fn restart(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::File::create(self.log_path()).map_err(|error| error.to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.directory.join("config.yml"));
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        end_with_parent(&mut command);
        self.child = Some(command.spawn().map_err(|error| error.to_string())?);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&self.host).is_err() {
            if Instant::now() > deadline {
                return Err("docker-registry does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Lets it finish what it does and returns the requests since it was started: method and path each.
    pub fn stop(&mut self) -> Vec<String> {
        let mut child = self.child.take().expect("it runs");
        super::run("kill", &["-TERM", &child.id().to_string()]).succeeds();
        child.wait().expect("waited");
        let log = std::fs::read_to_string(self.log_path()).expect("it keeps a log");
        // `ADDRESS - - [TIME] "METHOD PATH HTTP/1.1" STATUS …`
        let request = |line: &str| Some(line.split_once("] \"")?.1.split_once(" HTTP/")?.0.to_owned());
        log.lines().filter_map(request).collect()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("access.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What `command` starts must not outlive the thread that starts it, however that ends.
pub(super) fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is async-signal-safe and takes no pointer here.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
}
