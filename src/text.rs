//! Texts as Go's standard library reads them: the peer's formats are built on it.

/// Reads a bool as `strconv.ParseBool` does.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Returns a file's bytes as text.
///
/// # Errors
/// `NAME:LINE:COLUMN: …`, the place of the first byte that is in no UTF-8.
pub fn utf8(name: &str, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let (line, column) =
            (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
        format!("{name}:{line}:{column}: the byte 0x{byte:02X} is in no UTF-8 text")
    })
}

/// Replaces `%xx` in a part of a URL; what is no such thing, or no UTF-8 then, stays as it is.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_no_text_has_a_place() {
        assert_eq!(utf8("f", "a\né".into()), Ok("a\né".to_owned()));
        let why = utf8("f", b"a\n\xc3\xa9 \xff\n\xfe".to_vec());
        assert_eq!(why, Err("f:2:3: the byte 0xFF is in no UTF-8 text".to_owned()));
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, expected) in
            [("a%20b", "a b"), ("100%", "100%"), ("%zz%2", "%zz%2"), ("%ff", "%ff"), ("%c3%a9", "é")]
        {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
