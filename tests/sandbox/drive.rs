//! Runs one step as `bake` would, from orders on the command line.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bake::sys::cancel::CancelToken;
use bake::worker::emulation::{Emulators, SEARCH};
use bake::worker::sandbox::{self, Exit, Launcher, Mount, MountSource, Network, Spec, Stream};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// A step to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Directory.
    pub root: PathBuf,
    /// A directory for an overlay's upper and work; without it the step runs in `root` itself.
    pub overlay: Option<PathBuf>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: String,
    pub is_offline: bool,
    /// Architecture to register an emulator for.
    pub emulate: Option<String>,
    /// Target and host path.
    pub binds: Vec<(String, PathBuf)>,
    pub tmpfs: Vec<String>,
    /// Target and content, mode 0400.
    pub secrets: Vec<(String, String)>,
    pub cancel_at_first_output: bool,
}

impl Order {
    pub fn new(root: impl Into<PathBuf>, args: &[&str]) -> Order {
        Order {
            root: root.into(),
            overlay: None,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            user: String::new(),
            is_offline: false,
            emulate: None,
            binds: Vec::new(),
            tmpfs: Vec::new(),
            secrets: Vec::new(),
            cancel_at_first_output: false,
        }
    }
}

/// Exit codes of the driver that no step uses here.
pub const REFUSED: i32 = 90;
pub const CANCELLED: i32 = 91;
pub const ENTRY_REFUSED: i32 = 92;

pub fn drive(order: &str) -> i32 {
    let order: Order = serde_json::from_str(order).unwrap();
    let mapping = match sandbox::enter() {
        Ok(mapping) => mapping,
        Err(error) => {
            eprintln!("{error:?}");
            return ENTRY_REFUSED;
        }
    };
    if order.args.is_empty() {
        println!("{mapping:?}");
        return 0;
    }
    let mut emulators = Emulators::probe(&SEARCH.map(PathBuf::from));
    if let Err(error) = emulators.register(&order.emulate.clone().into_iter().collect::<Vec<_>>()) {
        eprintln!("{error}");
        return ENTRY_REFUSED;
    }
    let launcher = Launcher::new(&std::env::current_exe().unwrap()).unwrap();
    let root = root(&order);
    let cancel = CancelToken::default();
    let print = |stream: Stream, bytes: &[u8]| {
        match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes).unwrap(),
            Stream::Stderr => std::io::stderr().write_all(bytes).unwrap(),
        }
        if order.cancel_at_first_output {
            cancel.cancel();
        }
    };
    let binds: Vec<OwnedFd> = order.binds.iter().map(|(_, path)| open(path)).collect();
    match sandbox::run(&launcher, &spec(&order, &root, &binds), &print, &cancel) {
        Ok(Exit::Code(code)) => code,
        Ok(Exit::Signal(signal)) => 128 + signal,
        Err(sandbox::SandboxError::Cancelled) => CANCELLED,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code().unwrap_or(REFUSED)
        }
    }
}

pub fn spec<'fd>(order: &Order, root: &'fd OwnedFd, binds: &'fd [OwnedFd]) -> Spec<'fd> {
    let mount = |target: &str, is_read_only, source| Mount { target: target.to_owned(), is_read_only, source };
    let mut mounts: Vec<Mount<'fd>> = Vec::new();
    mounts.extend(order.tmpfs.iter().map(|target| mount(target, false, MountSource::Tmpfs { size: Some(1 << 20) })));
    mounts.extend(order.binds.iter().zip(binds).map(|((t, _), fd)| mount(t, true, MountSource::Tree(fd.as_fd()))));
    mounts.extend(order.secrets.iter().map(|(target, text)| {
        let content = text.clone().into_bytes();
        mount(target, true, MountSource::File { content, mode: 0o400, uid: 0, gid: 0 })
    }));
    Spec {
        args: order.args.clone(),
        env: order.env.clone(),
        cwd: order.cwd.clone(),
        user: order.user.clone(),
        hostname: "buildkitsandbox".into(),
        network: if order.is_offline { Network::Loopback } else { Network::Host },
        is_privileged: false,
        root: root.as_fd(),
        mounts,
        hosts: "127.0.0.1 localhost\n".into(),
        resolv_conf: "nameserver 127.0.0.1\n".into(),
        ulimits: Vec::new(),
        cgroups: Vec::new(),
        processors: Default::default(),
    }
}

pub fn root(order: &Order) -> OwnedFd {
    order.overlay.as_ref().map_or_else(|| open(&order.root), |scratch| overlay(&order.root, scratch))
}

fn overlay(lower: &std::path::Path, scratch: &std::path::Path) -> OwnedFd {
    use rustix::mount::*;
    for name in ["upper", "work"] {
        std::fs::create_dir_all(scratch.join(name)).unwrap();
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_flag(&context, "userxattr").unwrap();
    fsconfig_set_string(&context, "lowerdir+", lower).unwrap();
    fsconfig_set_string(&context, "upperdir", scratch.join("upper")).unwrap();
    fsconfig_set_string(&context, "workdir", scratch.join("work")).unwrap();
    fsconfig_create(&context).unwrap();
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

fn open(path: &std::path::Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}
