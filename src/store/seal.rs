//! Small files that say of themselves whether they are whole.
//!
//! ```text
//! bytes · "\n#" · CRC-32 of the bytes, 8 hexadecimal digits
//! ```
//! A file without such an end is one of an earlier bake, and is what it is. An earlier bake takes a sealed file for one that
//! it cannot read, which costs it a cached step.

/// Bytes of a seal.
const LENGTH: usize = 10;

/// Returns `bytes` with their seal.
pub(super) fn seal(bytes: &[u8]) -> Vec<u8> {
    [bytes, sum(bytes).as_bytes()].concat()
}

/// Returns what was sealed; `None` if that is no longer what it was.
pub(super) fn unseal(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let Some(length) = bytes.len().checked_sub(LENGTH) else { return Some(bytes) };
    let (content, end) = bytes.split_at(length);
    let is_seal = end.starts_with(b"\n#") && end[2..].iter().all(u8::is_ascii_hexdigit);
    if !is_seal {
        return Some(bytes);
    }
    if sum(content).as_bytes() != end {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}

fn sum(bytes: &[u8]) -> String {
    format!("\n#{:08x}", libdeflater::crc32(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_comes_back_unless_it_changed() {
        for content in [&b""[..], b"yes", b"{\"a\":1}", &[0; 300]] {
            let sealed = seal(content);
            assert_eq!(unseal(sealed.clone()).as_deref(), Some(content));
            for bit in 0..content.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(unseal(changed), None, "{bit}");
            }
        }
    }

    #[test]
    fn a_changed_seal_is_not_taken_for_the_content() {
        let sealed = seal(b"yes");
        for bit in 3 * 8..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(unseal(changed).as_deref(), Some(&b"yes"[..]), "{bit}");
        }
    }

    #[test]
    fn what_an_earlier_bake_wrote_is_what_it_is() {
        for content in [&b"yes"[..], b"sha256:0123456789abcdef", b""] {
            assert_eq!(unseal(content.to_vec()).as_deref(), Some(content));
        }
    }
}
