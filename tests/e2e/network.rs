//! The networks of steps, looked at from inside.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::secrets::project;
use crate::support::{Project, Ran, registry, run, skip};

const TOOLS: [&str; 2] = ["slirp4netns", "pasta"];

/// Returns the user-mode networks that this host can start, or says that there is none.
fn tools() -> Vec<&'static str> {
    let has_interfaces = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
    let is_there = |tool: &&&str| Path::new("/usr/bin").join(tool).exists();
    let tools: Vec<&str> = TOOLS.iter().filter(is_there).copied().filter(|_| has_interfaces).collect();
    if tools.is_empty() {
        skip("neither slirp4netns nor pasta can be started");
    }
    tools
}

fn bake_in(project: &Project, network: &str, arguments: &[&str]) -> Ran {
    project.command(arguments).env("BAKE_NETWORK", network).output().expect("bake starts").into()
}

/// Returns the address that others reach this machine by.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

/// Answers every connection with `word`, as long as the tests run.
fn serve(listener: TcpListener, word: &'static str) -> u16 {
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            _ = std::io::Write::write_all(&mut stream, word.as_bytes());
        }
    });
    port
}

#[test]
fn a_step_reaches_others_and_not_what_is_the_hosts_own() {
    let Some(registry) = registry() else { return };
    let on_loopback = serve(TcpListener::bind("127.0.0.1:0").expect("bound"), "loopback\n");
    let outward = outward();
    let listener = outward.map(|address| TcpListener::bind((address, 0)).expect("bound"));
    let outside = listener.map_or(0, |listener| serve(listener, "outside\n"));
    let abstract_name = format!("bake-e2e-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
    let _socket = UnixListener::bind_addr(&address).expect("bound");
    let steps = format!(
        "RUN ls /sys/class/net | tr '\\n' ' ' > /seen; grep -c {abstract_name} /proc/net/unix >> /seen; \
         for a in 127.0.0.1 10.0.2.2 10.0.2.3 10.0.2.100 10.0.3.2; do \
         timeout 2 nc -w 1 $a {on_loopback} < /dev/null | grep loopback >> /seen; done; \
         timeout 5 nc -w 2 here {outside} < /dev/null | grep outside | sort -u >> /seen; true\n"
    );
    let project = project(registry, "extra-hosts = { here = \"host-gateway\" }", &steps);
    let heard = if outward.is_some() { "outside\n" } else { "" };
    for tool in tools() {
        bake_in(&project, tool, &["build", "--no-cache"]).succeeds();
        assert_eq!(project.read("out/seen"), format!("lo tap0 0\n{heard}"), "{tool}");
    }
    bake_in(&project, "none", &["build", "--no-cache"]).succeeds();
    assert_eq!(project.read("out/seen"), "lo 0\n");
    bake_in(&project, "host", &["build", "--no-cache"]).succeeds();
    let seen = project.read("out/seen");
    assert!(seen.contains(" 1\n") && seen.contains("loopback\n"), "the test looks at the wrong things: {seen}");
}

#[test]
fn names_are_found_where_the_hosts_resolver_is_on_its_loopback() {
    let Some(registry) = registry() else { return };
    let Ok(server) = UdpSocket::bind("127.0.0.97:53") else { return skip("only root can be a name server") };
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((n_read, from)) = server.recv_from(&mut query) {
            _ = server.send_to(&answer(&query[..n_read]), from);
        }
    });
    let project =
        project(registry, "", "RUN cat /etc/resolv.conf > /seen; nslookup a.test | grep -o 10.9.8.7 >> /seen\n");
    project.write("resolv.conf", "nameserver 127.0.0.97\nsearch example.test\n");
    for tool in tools() {
        let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" build --no-cache";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_bake")]).current_dir(project.path());
        command.env_clear().stdin(Stdio::null());
        let ours = project.command(&[]);
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("BAKE_NETWORK", tool);
        Ran::from(command.output().expect("unshare starts")).succeeds();
        assert_eq!(project.read("out/seen"), "nameserver 10.0.2.3\nsearch example.test\n10.9.8.7\n", "{tool}");
    }
}

/// Returns the answer to a question for an address: 10.9.8.7; for anything else there is none.
fn answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
    let is_address = query[end - 4..end - 2] == [0, 1];
    let mut text = query[..2].to_vec();
    text.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    text.extend(&query[12..end]);
    if is_address {
        text.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 8, 7]);
    }
    text
}

#[test]
fn there_are_as_many_networks_as_steps_at_once_and_none_where_nothing_runs() {
    let Some(registry) = registry() else { return };
    let Some(tool) = tools().first().copied() else { return };
    let steps: String = (0..8).map(|n| format!("RUN echo {n} > /f{n}\n")).collect();
    let project = project(registry, "", &steps);
    let script =
        format!("#!/bin/sh\necho started >> {}\nexec /usr/bin/{tool} \"$@\"\n", project.path().join("log").display());
    project.write("bin/tool", &script);
    let program = project.path().join("bin").join(tool);
    std::fs::rename(project.path().join("bin/tool"), &program).expect("renamed");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("ours");
    let bake = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("PATH", format!("{}:/usr/bin:/bin", project.path().join("bin").display()));
        Ran::from(command.env("BAKE_NETWORK", tool).output().expect("bake starts")).succeeds()
    };
    let n_started = || if project.exists("log") { project.read("log").lines().count() } else { 0 };
    bake(&["build", "-j", "2"]);
    assert_eq!(n_started(), 1);
    assert!(bake(&["build", "-j", "2"]).ran_nothing());
    assert_eq!(n_started(), 1, "nothing ran");
    project.write("Dockerfile", &project.read("Dockerfile").replace("RUN echo", "RUN --network=none echo"));
    bake(&["build"]);
    assert_eq!(n_started(), 1, "no step has the network");
}

/// Returns the processes that descend from one, itself apart.
fn descendants(pid: u32) -> Vec<u32> {
    let listed = run("ps", &["-e", "-o", "pid=,ppid="]).succeeds().stdout;
    let pairs: Vec<(u32, u32)> = listed
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut index = 0;
    while let Some(parent) = found.get(index).copied() {
        found.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        index += 1;
    }
    found.split_off(1)
}

#[test]
fn a_killed_build_leaves_no_process_of_its_network() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "", "RUN sleep 600\n");
    for tool in tools() {
        let mut build = project.command(&["build"]);
        let mut build = build.env("BAKE_NETWORK", tool).stderr(Stdio::null()).spawn().expect("bake starts");
        let until = Instant::now() + Duration::from_secs(30);
        let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let all = loop {
            let all = descendants(build.id());
            let names: Vec<String> = all.iter().map(name).collect();
            // pasta runs as passt, by its processor's name.
            let is_tool = |name: &String| name.starts_with("slirp4netns") || name.starts_with("pas");
            if names.iter().any(is_tool) && names.iter().any(|name| name == "sleep\n") {
                break all;
            }
            assert!(Instant::now() < until, "{tool}: {names:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        build.kill().expect("killed");
        build.wait().expect("ended");
        while let Some(left) = all.iter().find(|pid| !name(pid).is_empty()) {
            assert!(Instant::now() < until, "{tool}: {left} {} is left", name(left));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn without_a_user_mode_network_steps_are_on_the_hosts_and_it_is_said_once() {
    let Some(registry) = registry() else { return };
    let project = project(registry, "", "RUN ls /sys/class/net | grep -c tap0 > /seen; true\nRUN true\n");
    let bake = |arguments: &[&str], network: &str| {
        let mut command = project.command(arguments);
        command.env("PATH", "/nowhere").env("BAKE_NETWORK", network);
        Ran::from(command.output().expect("bake starts"))
    };
    let built = bake(&["build", "--progress", "plain"], "auto").succeeds();
    let note = "note: RUN steps are on the host's network: there is no slirp4netns and no pasta of 2024";
    assert_eq!(built.stderr.matches(note).count(), 1, "{}", built.stderr);
    assert_eq!(project.read("out/seen"), "0\n");
    let cached = bake(&["build", "--progress", "plain"], "pasta").succeeds();
    assert!(cached.ran_nothing() && !cached.stderr.contains("note:"), "{}", cached.stderr);
    let failed = bake(&["build", "--no-cache"], "pasta").fails(4);
    assert!(failed.stderr.contains("(BAKE_NETWORK): there is no pasta on PATH"), "{}", failed.stderr);
    let failed = bake(&["build"], "bridge").fails(2);
    assert!(failed.stderr.contains("it is auto, host, none, pasta or slirp4netns"), "{}", failed.stderr);
}

#[test]
fn proxies_are_for_steps_alone_in_all_their_forms() {
    let Some(registry) = registry() else { return };
    let secret = "http://user:pr0xy-passw0rd@proxy.test:3128";
    let names = ["HTTP_PROXY", "https_proxy", "Ftp_Proxy", "no_proxy", "ALL_PROXY"];
    let args: String = names.iter().map(|name| format!("{name} = \"{secret}\", ")).collect();
    let steps = "RUN env | grep -i _proxy= | sed 's/=.*@/=@/' | sort > /seen\nRUN echo done $HTTP_PROXY > /dev/null\n";
    let project = project(registry, &format!("args = {{ {args} REGISTRY = REGISTRY }}"), steps);
    let text = project.read("build.hcl").replacen("  args = { REGISTRY = REGISTRY }\n", "", 1);
    project.write("build.hcl", &text);
    let layout = ["build", "--progress", "plain", "-o", "type=local,dest=out", "-o", "type=oci,tar=false,dest=image"];
    let built = project.bake(&layout).succeeds();
    let expected = ["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];
    let mut lines: Vec<String> = expected
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_lowercase()])
        .map(|n| format!("{n}=@proxy.test:3128"))
        .collect();
    lines.sort();
    assert_eq!(project.read("out/seen").lines().collect::<Vec<_>>(), lines);
    assert!(!built.stderr.contains("pr0xy"), "{}", built.stderr);
    for place in [project.store(), project.path().join("image"), project.path().join("bake.lock")] {
        let found = run("grep", &["-rla", "pr0xy-passw0rd", &place.display().to_string()]);
        assert_eq!(found.stdout, "", "the value is in a file");
    }
    // Another proxy brings the same.
    project.write("build.hcl", &project.read("build.hcl").replace("3128", "3129"));
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
}
