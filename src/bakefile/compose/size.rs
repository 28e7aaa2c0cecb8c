//! Sizes in bytes, as the peer reads and shows them.

/// Reads `67108864`, `64m`, `1.5GB`, `2 GiB`; units are powers of 1024.
pub(super) fn bytes_of(text: &str) -> Option<u64> {
    if let Ok(size) = text.parse() {
        return Some(size);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]).to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit.as_str(), "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as u64)
}

/// Shows a size with four significant digits: `128MiB`, `1.5GiB`.
pub(super) fn shown_bytes(size: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut size, mut unit) = (size as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let n_decimals = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{size:.n_decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (written, shown) in [
            ("128m", "128MiB"),
            ("134217728", "128MiB"),
            ("1.5gb", "1.5GiB"),
            ("2 GiB", "2GiB"),
            ("1000", "1000B"),
            ("1025", "1.001KiB"),
            ("100b", "100B"),
        ] {
            assert_eq!(bytes_of(written).map(shown_bytes).as_deref(), Some(shown), "{written}");
        }
        for wrong in ["", "x", "1x", "-1", "1mbb x", "m"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }
}
