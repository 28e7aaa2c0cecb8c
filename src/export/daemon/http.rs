//! As much of HTTP/1.1 as Docker's API takes: one request on one connection (RFC 9112).
//!
//! The registries' client cannot do it: it speaks to hosts, and Docker listens on a socket in the file system.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Longest head of an answer, in bytes.
const MAX_HEAD: u64 = 64 << 10;

/// Both directions of a connection.
pub(super) trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// What was answered. Its body is read from itself.
pub(super) struct Response {
    pub(super) status: u16,
    body: Body,
    stream: BufReader<Box<dyn Connection>>,
}

/// How much of the stream is still body.
enum Body {
    /// That many bytes.
    Length(u64),
    /// Chunks; so many bytes are left of the current one, `None` before the first.
    Chunks(Option<u64>),
    /// All until the other end closes.
    Rest,
    Done,
}

/// Sends a request whose body, if it has one, `write` writes as a tar archive, and returns the head of the answer with what
/// became of the body: a daemon may refuse before it has read all of it.
///
/// # Errors
/// There is no answer.
pub(super) fn request<E>(
    mut stream: Box<dyn Connection>,
    method: &str,
    path: &str,
    write: Option<impl FnOnce(&mut dyn Write) -> Result<(), E>>,
) -> io::Result<(Response, Result<(), E>)> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: bake\r\nConnection: close\r\n");
    if write.is_some() {
        head.push_str("Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let mut written = Ok(());
    if let Some(write) = write {
        let mut body = io::BufWriter::with_capacity(1 << 17, Chunks(&mut stream));
        written = write(&mut body);
        if written.is_ok() {
            // What cannot be sent any more is the answer's to explain.
            _ = body.flush();
        }
        let (chunks, _) = body.into_parts();
        if written.is_ok() {
            _ = chunks.0.write_all(b"0\r\n\r\n");
        }
    }
    stream.flush()?;
    Ok((Response::read(stream)?, written))
}

/// Writes each piece as a chunk.
struct Chunks<'a>(&'a mut dyn Connection);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.0.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Response {
    fn read(stream: Box<dyn Connection>) -> io::Result<Response> {
        let mut stream = BufReader::new(stream);
        let mut left = MAX_HEAD;
        loop {
            let status = line(&mut stream, &mut left)?;
            let mut words = status.split(' ');
            let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
            let code = words.next().and_then(|code| code.parse().ok()).filter(|_| is_http);
            let status: u16 = code.ok_or_else(|| invalid("no HTTP status"))?;
            let mut body = Body::Rest;
            loop {
                let header = line(&mut stream, &mut left)?;
                if header.is_empty() {
                    break;
                }
                let (name, value) = header.split_once(':').ok_or_else(|| invalid("no HTTP header"))?;
                let (name, value) = (name.to_ascii_lowercase(), value.trim());
                match name.as_str() {
                    "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => body = Body::Chunks(None),
                    // Chunks go before a length (section 6.3).
                    "content-length" if !matches!(body, Body::Chunks(_)) => {
                        body = Body::Length(value.parse().map_err(|_| invalid("no length"))?);
                    }
                    _ => {}
                }
            }
            // What is between (`100 Continue`) announces the answer.
            match status {
                100..=199 => continue,
                204 | 304 => body = Body::Done,
                _ => {}
            }
            return Ok(Response { status, body, stream });
        }
    }

    /// Begins the next chunk and returns its length; the last one has none.
    fn next_chunk(&mut self, is_first: bool) -> io::Result<u64> {
        let mut left = MAX_HEAD;
        if !is_first {
            line(&mut self.stream, &mut left)?;
        }
        let head = line(&mut self.stream, &mut left)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| invalid("no chunk"))
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.body {
            Body::Done => return Ok(0),
            Body::Rest => return self.stream.read(buffer),
            Body::Length(left) => left,
            Body::Chunks(Some(left)) if left > 0 => left,
            Body::Chunks(current) => self.next_chunk(current.is_none())?,
        };
        if left == 0 {
            self.body = Body::Done;
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n_read = self.stream.read(&mut buffer[..most])?;
        if n_read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - n_read as u64;
        self.body = if matches!(self.body, Body::Length(_)) { Body::Length(left) } else { Body::Chunks(Some(left)) };
        Ok(n_read)
    }
}

/// Reads a line without its end; `left` bounds the bytes of all lines together.
fn line(stream: &mut impl BufRead, left: &mut u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let n_read = stream.by_ref().take(*left).read_until(b'\n', &mut bytes)?;
    *left -= n_read as u64;
    if bytes.pop() != Some(b'\n') {
        return Err(if n_read == 0 {
            io::ErrorKind::UnexpectedEof.into()
        } else {
            invalid("a head that does not end")
        });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| invalid("a head that is no text"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what it was made of and keeps what it was asked.
    struct Canned {
        answer: io::Cursor<&'static str>,
        asked: std::rc::Rc<std::cell::RefCell<Vec<u8>>>,
    }

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(answer: &'static str, body: Option<&str>) -> (io::Result<(u16, String)>, String) {
        let asked = std::rc::Rc::default();
        let stream = Canned { answer: io::Cursor::new(answer), asked: std::rc::Rc::clone(&asked) };
        let write = body.map(|body| move |out: &mut dyn Write| out.write_all(body.as_bytes()));
        let answered = request(Box::new(stream), "POST", "/x", write).and_then(|(mut response, written)| {
            written?;
            let mut text = String::new();
            response.read_to_string(&mut text)?;
            Ok((response.status, text))
        });
        let asked = String::from_utf8(asked.borrow().clone()).expect("text");
        (answered, asked)
    }

    #[test]
    fn bodies_of_every_kind_are_read() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", 200, "abc"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", 200, "abc"),
            ("HTTP/1.0 500 Internal\r\n\r\nabc", 500, "abc"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ];
        for (answer, status, body) in cases {
            assert_eq!(ask(answer, None).0.expect(answer), (status, body.to_owned()));
        }
    }

    #[test]
    fn an_answer_that_is_none_or_is_cut_is_an_error() {
        let cases = [
            "",
            "220 mail\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nno end",
        ];
        for answer in cases {
            assert!(ask(answer, None).0.is_err(), "{answer}");
        }
    }

    #[test]
    fn a_request_has_its_body_in_chunks() {
        let (_, asked) = ask("HTTP/1.1 204 No Content\r\n\r\n", Some("hello"));
        let (head, body) = asked.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("POST /x HTTP/1.1\r\nHost: docker\r\n"), "{head}");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    }
}
