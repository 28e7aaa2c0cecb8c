//! `rsadecrypt`: what was encrypted for a key, PKCS #1 v1.5.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::{Pkcs1v15Encrypt, PrivateKey};

use super::{World, text_at};
use crate::lang::Value;

/// Bytes of a key's text: one of 8192 bits has fewer, and a larger one takes long.
const MAX_KEY: usize = 8 << 10;

/// What decrypting costs, as bytes that are handled.
const EFFORT: usize = 4 << 20;

/// Decrypts a text that is base64, with a private key that is PKCS #1 in PEM. The result is as public as any other value of
/// a bakefile; no part of the two arguments is in an error.
pub(super) fn rsadecrypt(world: &World, v: &[Value]) -> Result<Value, String> {
    let sealed: String = text_at(v, 0).chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let sealed = STANDARD.decode(sealed).map_err(|_| "the text is not base64")?;
    if text_at(v, 1).len() > MAX_KEY {
        return Err(format!("the key is larger than {} KiB", MAX_KEY >> 10));
    }
    world.add_effort(EFFORT);
    let key = PrivateKey::from_pkcs1_der(&der(text_at(v, 1))?);
    let key = key.map_err(|_| "the key is no RSA private key in PKCS #1 (`BEGIN RSA PRIVATE KEY`)")?;
    let opened = key.decrypt(Pkcs1v15Encrypt, &sealed).map_err(|_| "the text was not encrypted for this key")?;
    Ok(Value::string(String::from_utf8_lossy(&opened)))
}

/// Returns what the first PEM block of a text holds, whatever its label.
fn der(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
    let body: Vec<&str> = lines.by_ref().skip(1).take_while(|line| !line.starts_with("-----END ")).collect();
    if body.is_empty() {
        return Err("the key is no PEM: a line `-----BEGIN RSA PRIVATE KEY-----` begins it".to_owned());
    }
    if body.iter().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")) {
        return Err("the key has a password; decrypt it first".to_owned());
    }
    let body: String = body.into_iter().filter(|line| !line.contains(':')).collect();
    STANDARD.decode(body).map_err(|_| "the key's PEM is not base64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test, by openssl, as the text that it opens.
    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\n\
MIICXQIBAAKBgQDDXPssdinGwGHtIeeWBHgberivkdEWxTnuEJITKSXUH6svNVxm\n\
UryjtQ+QXa2Uwvni+JSy/Ypa5Bw6ZqHdnaTbK+MEphhSTP0N2eKJKLBwDS5dyXTE\n\
tjhpsvUf2cB7gRORYo/EJRIHufoRzema5uFPc2Khv/ROjrX9GUJO0fpOnwIDAQAB\n\
AoGBAIGZqTaxnL0w2sXI/CzVAiiYnPQ7s417gRag/4aegW3bJGDI8Wcf8+xWLOEE\n\
hCZvwf4EEgE7mRD6yo8jjrXJ4pYqGylKlXscNXlS4CwvP6700IGWNA1HeEbcZRXj\n\
I67fOEi2vg5N3hyT6DdziKBJKMj1qfmpCNb5ulpoX1A6KZThAkEA5FuJk0859fRA\n\
XHWe/sKKcfEGXPCMDbKmgHm8qZUVBDEPowofho/8OsAnzeqBmQ/1VzxVybr8jbGq\n\
nHo8vT6evQJBANsC/1aIJhvRcY9FHYNinRtNOc0xXTc46wuYjnRArjzHI2xW3DSK\n\
IgCBVMqx8IXYN5EG531Vg3NcJsGwKRt7dosCQGzey1dk5UBCo9Cw7w2MmE68V4lF\n\
0a/SJZmI8I51GiD2dvsHH4Ka8OjdpdyBWiosNo7RoCDeOfwf4TRa/sxGp40CQG9c\n\
utEZMad7fC7JihRAlHpJblaz/x4RRxMCY40hRneJGq4ADMB6bIetO5xFlnO4WajY\n\
xeSpEsoZ1WsvU/exc7kCQQC5p8pf17tJUxYiYVSEn7W37LNM+y9TMe7Vnn9uzPvx\n\
cBQlpAErWYl9jr3x0IlOmHAVO0yq8fBvKV3U004dW6kR\n\
-----END RSA PRIVATE KEY-----\n";
    const SEALED: &str = "gMLtyoziiu2QolJ3uz1GFNhO8f1jMAjT9LhvI5dT0XeYXieUlqHMAH7e0RYmDvvgYT1RQjOoAXrOkzkjhamKa3TwsajXNqlaLhfDC7xXeIExA1fIbHzMXXSB5D0jmrhm+3DOfoa5KGj9bzDtORn6CJJT54Svtm+5xQ7IxCY5DpQ=";

    fn opened(sealed: &str, key: &str) -> Result<String, String> {
        let value = rsadecrypt(&World::default(), &[Value::string(sealed), Value::string(key)])?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn what_was_encrypted_for_a_key_is_opened_with_it_alone() {
        assert_eq!(opened(SEALED, KEY), Ok("héllo".to_owned()));
        assert_eq!(opened(SEALED, &format!("a comment\n{KEY}")), Ok("héllo".to_owned()));
        for (sealed, key, message) in [
            ("AAAA", KEY, "the text was not encrypted for this key"),
            ("?", KEY, "the text is not base64"),
            (SEALED, "x", "the key is no PEM: a line `-----BEGIN RSA PRIVATE KEY-----` begins it"),
            (SEALED, "-----BEGIN X-----\n?\n", "the key's PEM is not base64"),
            (SEALED, "-----BEGIN X-----\nAAAA\n", "the key is no RSA private key in PKCS #1 (`BEGIN RSA PRIVATE KEY`)"),
            (SEALED, "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n", "the key has a password; decrypt it first"),
            (SEALED, &"x".repeat(MAX_KEY + 1), "the key is larger than 8 KiB"),
        ] {
            assert_eq!(opened(sealed, key), Err(message.to_owned()));
        }
    }
}
