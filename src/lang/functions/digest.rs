//! Checksums and identifiers. Some are random: a build that uses them cannot be repeated.

use sha2::{Digest as _, Sha256, Sha512};

use super::Parameter::{Any, Number, Text};
use super::cipher::rsadecrypt;
use super::{Function, fixed, text_at, variadic};
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    variadic("bcrypt", &[Text], Number, |world, v| {
        let cost = v.get(1).map_or(Ok(DEFAULT_COST), cost_of)?;
        if v.len() > 2 {
            return Err("there is one cost".into());
        }
        world.add_effort(BYTES_PER_ROUND << cost);
        bcrypt(text_at(v, 0), cost, world.draw()).map(Value::string)
    }),
    fixed("byteslen", &[Any], |_, v| Err(no_buffer(v))),
    fixed("bytesslice", &[Any, Number, Number], |_, v| Err(no_buffer(v))),
    fixed("md5", &[Text], |_, v| Ok(Value::string(hex(&md5(text_at(v, 0).as_bytes()))))),
    fixed("rsadecrypt", &[Text, Text], rsadecrypt),
    fixed("sha1", &[Text], |_, v| Ok(Value::string(hex(&sha1(text_at(v, 0).as_bytes()))))),
    fixed("sha256", &[Text], |_, v| Ok(Value::string(hex(&Sha256::digest(text_at(v, 0)))))),
    fixed("sha512", &[Text], |_, v| Ok(Value::string(hex(&Sha512::digest(text_at(v, 0)))))),
    fixed("uuidv4", &[], |world, _| Ok(Value::string(uuid(world.draw(), 4)))),
    fixed("uuidv5", &[Text, Text], |_, v| uuidv5(text_at(v, 0), text_at(v, 1)).map(Value::string)),
];

/// Rounds of bcrypt, as a power of two, where none are given; the least and the most (Go's x/crypto).
const DEFAULT_COST: u32 = 10;
const MIN_COST: u32 = 4;
/// 31 in the peer, which takes days: a bakefile is to be read in no time.
const MAX_COST: u32 = 16;
/// A round takes as long as handling this many bytes: one of the highest cost, or dozens of the default, are what a run may
/// take.
const BYTES_PER_ROUND: usize = 32 << 10;

/// A cost below the least counts as the default, as in the peer.
fn cost_of(value: &Value) -> Result<u32, String> {
    let Value::Number(number) = value else { return Err("the cost is a number".into()) };
    match number.to_i64() {
        Some(cost) if cost < i64::from(MIN_COST) => Ok(DEFAULT_COST),
        Some(cost) if cost <= i64::from(MAX_COST) => Ok(u32::try_from(cost).unwrap_or(MAX_COST)),
        _ => Err(format!("the cost is a whole number up to {MAX_COST}")),
    }
}

fn bcrypt(password: &str, cost: u32, salt: [u8; 16]) -> Result<String, String> {
    if password.len() > 72 {
        return Err("bcrypt takes 72 bytes at most".into());
    }
    let parts = bcrypt::hash_with_salt(password, cost, salt).map_err(|error| error.to_string())?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

/// The peer has these functions, and nothing that makes what they take.
fn no_buffer(arguments: &[Value]) -> String {
    let kind = arguments.first().map_or_else(String::new, |value| value.type_of().to_string());
    format!("a buffer of bytes is required, but have {kind}; no function makes one")
}

/// Returns the text of a UUID of this version (RFC 4122, section 4.1).
fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pads a message to whole blocks of 64 bytes, its length in bits at the end.
fn padded(message: &[u8], length: [u8; 8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend(length);
    padded
}

/// MD5 (RFC 1321), for texts only.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let sines: [u32; 64] = std::array::from_fn(|i| (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32);
    for block in padded(message, (message.len() as u64 * 8).to_le_bytes()).chunks_exact(64) {
        let word = |i: usize| u32::from_le_bytes([block[i * 4], block[i * 4 + 1], block[i * 4 + 2], block[i * 4 + 3]]);
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, index) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(mix).wrapping_add(sines[i]).wrapping_add(word(index));
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4])));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// SHA-1 (RFC 3174), for names only.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded(message, (message.len() as u64 * 8).to_be_bytes()).chunks_exact(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in words.iter().enumerate() {
            let (mix, constant) = match i / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let sum = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// Returns the 32 digits of a UUID: plain, with `urn:uuid:` before it, between two braces or other signs, or without hyphens.
fn uuid_digits(text: &str) -> Option<Vec<u8>> {
    let text = match text.len() {
        45 => text.split_at_checked(9).filter(|(urn, _)| urn.eq_ignore_ascii_case("urn:uuid:"))?.1,
        38 => text.get(1..37)?,
        _ => text,
    };
    let is_hyphenated = text.len() == 36;
    let is_hyphen = |i: usize| is_hyphenated && matches!(i, 8 | 13 | 18 | 23);
    let is_valid = text.bytes().enumerate().all(|(i, b)| if is_hyphen(i) { b == b'-' } else { b.is_ascii_hexdigit() });
    let digits = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8);
    (is_valid && (is_hyphenated || text.len() == 32)).then(|| digits.collect())
}

/// A name-based UUID (RFC 4122, version 5); the namespace is dns, url, oid, x500 or a UUID.
fn uuidv5(namespace: &str, name: &str) -> Result<String, String> {
    let known = match namespace {
        "dns" => "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "url" => "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
        "oid" => "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
        "x500" => "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
        other => other,
    };
    let digits =
        uuid_digits(known).ok_or_else(|| format!("\"{namespace}\" is no namespace: dns, url, oid, x500 or a UUID"))?;
    let mut message: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    message.extend(name.bytes());
    let digest = sha1(&message);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Ok(uuid(bytes, 5))
}

#[cfg(test)]
mod tests {
    use super::super::World;
    use super::*;

    #[test]
    fn random_ones_have_their_form() {
        let world = World { seed: [7; 32], ..World::default() };
        let call = |name: &str, arguments: &[Value]| {
            let function = TABLE.iter().find(|function| function.name == name).expect("there");
            (function.body)(&world, arguments).map(|value| value.as_str().unwrap_or("").to_owned())
        };
        let (first, second) = (call("uuidv4", &[]).expect("a UUID"), call("uuidv4", &[]).expect("a UUID"));
        assert_ne!(first, second);
        assert_eq!((first.len(), &first[14..15], first.matches('-').count()), (36, "4", 4));
        let hash = call("bcrypt", &[Value::string("secret"), Value::Number(4_usize.into())]).expect("a hash");
        assert!(hash.starts_with("$2a$04$") && bcrypt::verify("secret", &hash).expect("a hash"), "{hash}");
        assert!(call("bcrypt", &[Value::string("x".repeat(73))]).is_err());
        assert!(call("bcrypt", &[Value::string("x"), Value::Number(31_usize.into())]).is_err());
    }

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(hex(&md5(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&md5(&[b'a'; 64])), "014842d480b571495a4a0363793f7367");
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(uuidv5("dns", "python.org").as_deref(), Ok("886313e1-3b8a-5372-9b90-0c9aee199e5d"));
        assert!(uuidv5("nope", "x").is_err());
    }
}
