//! Signatures of requests to S3: AWS Signature Version 4, with the payload's digest signed.

use crate::digest::Digest;

/// What a request is signed with. No `Debug`: two of its parts are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Says whose request it is.
    pub access_key_id: String,
    /// Never sent.
    pub secret_access_key: String,
    /// Where the credentials are temporary.
    pub session_token: Option<String>,
}

/// A request that is to be signed.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// Escaped, as it is sent.
    pub(super) path: &'a str,
    /// In lower case, in order.
    pub(super) headers: &'a [(&'a str, String)],
    pub(super) payload: Digest,
    pub(super) region: &'a str,
    /// `20130524T000000Z`.
    pub(super) time: &'a str,
}

/// Returns the `Authorization` header of a request.
pub(super) fn authorization(request: &Unsigned<'_>, credentials: &Credentials) -> String {
    let Unsigned { method, path, headers, payload, region, time } = request;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{}", payload.hex());
    let day = time.get(..8).unwrap_or(time);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()).hex());
    let begin = format!("AWS4{}", credentials.secret_access_key);
    let key = [day, region, "s3", "aws4_request"]
        .iter()
        .fold(begin.into_bytes(), |key, part| hmac(&key, part.as_bytes()).as_bytes().to_vec());
    let signature = hmac(&key, text.as_bytes()).hex();
    let id = &credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

/// Returns a path's text with all but letters, digits, `-_.~` and `/` escaped.
pub(super) fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    path.bytes().map(escape).collect()
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Digest {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    match key.len() > BLOCK {
        true => block[..32].copy_from_slice(Digest::of(key).as_bytes()),
        false => block[..key.len()].copy_from_slice(key),
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Digest::of(&[&padded(0x36), text].concat());
    Digest::of(&[padded(0x5c).as_slice(), inner.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let cases = [
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, text, expected) in cases {
            assert_eq!(hmac(&key, &text).hex(), expected);
        }
    }

    /// The example of the service's own manual.
    #[test]
    fn a_signature_is_the_one_in_the_manual() {
        let empty = Digest::of(b"");
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", empty.hex()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let request = Unsigned {
            method: "GET",
            path: "/test.txt",
            headers: &headers,
            payload: empty,
            region: "us-east-1",
            time: "20130524T000000Z",
        };
        assert_eq!(
            authorization(&request, &credentials),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escaped("/a b/sha256:é~"), "/a%20b/sha256%3A%C3%A9~");
    }
}
