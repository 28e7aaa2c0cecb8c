//! A forward proxy on loopback: it notes what it is asked for, and leads every host to one server.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy; its threads end with the process.
#[derive(Clone)]
pub struct ForwardProxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Starts a proxy behind which everything is at `server`; without one it refuses all.
    pub fn start(server: Option<&str>) -> ForwardProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let host = listener.local_addr().expect("bound").to_string();
        let proxy = ForwardProxy { host, asked: Arc::default() };
        let (own, server) = (proxy.clone(), server.map(str::to_owned));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (own, server) = (own.clone(), server.clone());
                // Whoever goes away is no failure of the proxy.
                std::thread::spawn(move || _ = own.serve(&stream, server.as_deref()));
            }
        });
        proxy
    }

    /// The requests' first two words and their `Proxy-Authorization`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }

    fn serve(&self, client: &TcpStream, server: Option<&str>) -> std::io::Result<()> {
        let mut reader = BufReader::new(client);
        let mut behind = None;
        while let Some(mut lines) = read_head(&mut reader)? {
            let first = lines[0].clone();
            let words: Vec<&str> = first.split(' ').collect();
            let login =
                lines.iter().find_map(|line| Some(line.strip_prefix("proxy-authorization: ")?.trim().to_owned()));
            let shown = format!("{} {}{}", words[0], words[1], login.map(|l| format!(" as {l}")).unwrap_or_default());
            self.asked.lock().expect("no thread panicked").push(shown);
            let Some(server) = server else {
                return (&mut &*client).write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            };
            let is_tunnel = words[0] == "CONNECT";
            if is_tunnel {
                (&mut &*client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            }
            let server = match &behind {
                Some(server) => server,
                None => behind.insert(connect(server, client)?),
            };
            if is_tunnel {
                return std::io::copy(&mut reader, &mut &*server).map(drop);
            }
            // Requests without bodies are all that tests send this way.
            let path = words[1].splitn(4, '/').nth(3).unwrap_or_default();
            lines[0] = format!("{} /{path} {}", words[0], words[2]);
            lines.retain(|line| !line.starts_with("proxy-authorization"));
            (&mut &*server).write_all(format!("{}\r\n", lines.concat()).as_bytes())?;
        }
        Ok(())
    }
}

/// Connects to a server whose answers go to the client.
fn connect(server: &str, client: &TcpStream) -> std::io::Result<TcpStream> {
    let server = TcpStream::connect(server)?;
    let (up, down) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        _ = std::io::copy(&mut &up, &mut &down);
        _ = down.shutdown(Shutdown::Write);
    });
    Ok(server)
}

/// Reads the lines of a request up to its empty one; `None` at the end.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(lines));
        }
        lines.push(line);
    }
}
