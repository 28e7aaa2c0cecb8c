//! Makes printed bytes harmless and measures them.

/// Returns `bytes` as text that can stand anywhere in a terminal: invalid UTF-8 and control characters become U+FFFD,
/// ANSI escape sequences are dropped with what they carry, and a tab becomes blanks up to the next multiple of eight.
/// Characters that turn the direction of writing count as control characters: they make a line show what it does not say.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().peekable();
    let mut cleaned = String::with_capacity(text.len());
    let mut column = 0;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\t' => {
                let n_blanks = 8 - column % 8;
                cleaned.extend(std::iter::repeat_n(' ', n_blanks));
                column += n_blanks;
            }
            c => {
                let shown = if is_steering(c) { '\u{fffd}' } else { c };
                cleaned.push(shown);
                column += width_of(shown);
            }
        }
    }
    cleaned
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips what follows ESC (ECMA-48, section 5.3 and 5.4): a control sequence, a control string, or one character after
/// intermediate ones.
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => skip_control_string(chars),
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Parameters and intermediates, then one final character. A malformed sequence ends where it stops being one.
fn skip_control_sequence(chars: &mut Chars<'_>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// Ends with BEL or ST; a string that never ends takes the rest of the line, as a terminal would.
fn skip_control_string(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next() {
        let is_end = matches!(c, '\u{7}' | '\u{9c}') || c == '\u{1b}' && chars.next_if_eq(&'\\').is_some();
        if is_end {
            return;
        }
    }
}

fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns how many columns `text` takes, about: East Asian wide characters and emoji two, combining marks none.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Returns as much of `text` as fits into `n_columns`, the last column an ellipsis where something was cut.
pub(super) fn truncate(text: &str, n_columns: usize) -> String {
    if width(text) <= n_columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut left = n_columns.saturating_sub(1);
    for c in text.chars() {
        if width_of(c) > left {
            break;
        }
        left -= width_of(c);
        cut.push(c);
    }
    if n_columns > 0 {
        cut.push('…');
    }
    cut
}

// A table of the large blocks is enough: where it errs, the live view has the terminal cut the line.
fn width_of(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_bytes_cannot_steer_a_terminal() {
        let cases: [(&[u8], &str); 12] = [
            (b"plain", "plain"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b(Bascii\x1b=\x1b7", "ascii"),
            (b"\x1b[2", ""),
            (b"\x1b]52;c;never ends", ""),
            (b"a\x1b[1\x1b[1mb", "ab"),
            ("a\u{9b}2Jb\u{85}c".as_bytes(), "ab\u{fffd}c"),
            (b"a\x08\x00b\xff", "a\u{fffd}\u{fffd}b\u{fffd}"),
            (b"a\tb\tc", "a       b       c"),
            ("x\u{202e}y".as_bytes(), "x\u{fffd}y"),
        ];
        for (bytes, text) in cases {
            assert_eq!(clean(bytes), text, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn any_bytes_come_out_without_control_characters() {
        let mut state = 1_u32;
        for _ in 0..200 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [0x1b, b'[', b']', b'\\', 0xc2, 0x9b, b'a', (state >> 8) as u8][(state >> 24) as usize % 8]
            })
            .take(40)
            .collect();
            assert!(!clean(&bytes).chars().any(char::is_control), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_is_cut_at_columns() {
        assert_eq!(truncate("abcdef", 6), "abcdef");
        assert_eq!(truncate("abcdef", 5), "abcd…");
        assert_eq!(truncate("日本語", 5), "日本…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("abc", 1), "…");
        assert_eq!(truncate("abc", 0), "");
        assert_eq!(width("e\u{301}日"), 3);
    }
}
