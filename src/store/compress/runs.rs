//! Which parts of a member are worth compressing.
//!
//! Images, archives and keys look like noise: gzip makes nothing of them, and takes longer over them than over text. What
//! looks like noise is stored as it is, in a gzip member of its own. The bytes alone decide.

/// Bytes that are judged at once.
const WINDOW: usize = 4 << 10;

/// Fewer windows of noise in a row are compressed with what is around them: each member of its own costs some bytes, and
/// forgets what came before it.
const LEAST: usize = 4;

/// How much less even than perfect noise the bytes of noise may be, as one part in so many. What is less even can be made
/// smaller by more than a hundredth.
const EVENNESS: usize = 20;

/// Of the words that are looked at in a window, one in so many may have been there before.
const REPEATED: usize = 8;

/// Slots of the table of words; a power of two.
const N_SLOTS: usize = 1 << 13;

/// Part of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_noise: bool,
}

/// Cuts a member into runs, in their order. Never to be changed: it decides the bytes of layers.
pub(super) fn of(member: &[u8]) -> Vec<Run<'_>> {
    let mut words = Words::default();
    let mut runs: Vec<(usize, bool)> = Vec::new();
    for window in member.chunks(WINDOW) {
        let is_noise = window.len() == WINDOW && is_even(window) && !words.repeat_in(window);
        match runs.last_mut() {
            Some((length, kind)) if *kind == is_noise => *length += window.len(),
            _ => runs.push((window.len(), is_noise)),
        }
    }
    let mut rest = member;
    let mut merged: Vec<Run<'_>> = Vec::new();
    let mut pending = 0;
    for (length, is_noise) in runs {
        match is_noise && length >= LEAST * WINDOW {
            false => pending += length,
            true => {
                take(&mut rest, std::mem::take(&mut pending), false, &mut merged);
                take(&mut rest, length, true, &mut merged);
            }
        }
    }
    take(&mut rest, pending, false, &mut merged);
    merged
}

fn take<'a>(rest: &mut &'a [u8], length: usize, is_noise: bool, runs: &mut Vec<Run<'a>>) {
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    if !bytes.is_empty() {
        runs.push(Run { bytes, is_noise });
    }
}

/// Says whether all values of a byte are about equally frequent: the chance that two bytes of the window are equal is hardly
/// above one in 256.
fn is_even(window: &[u8]) -> bool {
    // Four tables, so that equal bytes in a row do not wait for each other.
    let mut counts = [[0_u16; 256]; 4];
    for bytes in window.chunks_exact(4) {
        for (counts, byte) in counts.iter_mut().zip(bytes) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let [a, b, c, d] = &counts;
    let count = |value: usize| usize::from(a[value] + b[value] + c[value] + d[value]);
    let n_pairs: usize = (0..256).map(|value| count(value) * count(value)).sum::<usize>() - window.len();
    n_pairs * 256 * EVENNESS <= window.len() * window.len() * (EVENNESS + 1)
}

/// Words of eight bytes that were seen in noise. Noise that repeats can be compressed all the same.
#[derive(Default)]
struct Words(Vec<u64>);

impl Words {
    /// Says whether much of a window was seen before; remembers it.
    fn repeat_in(&mut self, window: &[u8]) -> bool {
        self.0.resize(N_SLOTS, 0);
        let (mut n_looked, mut n_repeated) = (0, 0);
        for word in window.windows(8) {
            // One place in 64, chosen by what is there, so that a repetition is found wherever it stands.
            if word[0] & 63 != 42 {
                continue;
            }
            let word = u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
            let slot = &mut self.0[(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % N_SLOTS];
            n_looked += 1;
            n_repeated += usize::from(*slot == word);
            *slot = word;
        }
        n_repeated * REPEATED > n_looked
    }
}

#[cfg(test)]
mod tests {
    use super::super::members::tests::noise;
    use super::*;

    fn text(n_bytes: usize) -> Vec<u8> {
        b"it was the best of times, it was the worst of times; ".iter().copied().cycle().take(n_bytes).collect()
    }

    fn shape(member: &[u8]) -> Vec<(usize, bool)> {
        let runs = of(member);
        assert_eq!(runs.iter().flat_map(|run| run.bytes).copied().collect::<Vec<_>>(), member);
        runs.iter().map(|run| (run.bytes.len(), run.is_noise)).collect()
    }

    #[test]
    fn noise_between_texts_is_a_run_of_its_own() {
        let member = [text(10 * WINDOW), noise(3, 20 * WINDOW), text(5 * WINDOW + 100)].concat();
        assert_eq!(shape(&member), [(10 * WINDOW, false), (20 * WINDOW, true), (5 * WINDOW + 100, false)]);
    }

    #[test]
    fn little_noise_stays_with_what_is_around_it() {
        let member = [text(4 * WINDOW), noise(3, 3 * WINDOW), text(WINDOW)].concat();
        assert_eq!(shape(&member), [(8 * WINDOW, false)]);
        assert_eq!(shape(&noise(5, WINDOW - 1)), [(WINDOW - 1, false)]);
        assert_eq!(shape(b""), []);
    }

    #[test]
    fn noise_that_repeats_is_compressed() {
        let once = noise(9, 6 * WINDOW + 1000);
        let member = once.repeat(5);
        let n_noise: usize = shape(&member).iter().filter(|(_, is_noise)| *is_noise).map(|(length, _)| length).sum();
        assert!(n_noise <= once.len(), "{n_noise} of {}", member.len());
    }

    #[test]
    fn text_code_and_zeros_are_no_noise() {
        let program = std::fs::read(std::env::current_exe().expect("a test runs")).expect("readable");
        let program = &program[..1 << 20];
        let n_noise: usize = of(program).iter().filter(|run| run.is_noise).map(|run| run.bytes.len()).sum();
        assert!(n_noise < program.len() / 50, "{n_noise}");
        assert_eq!(shape(&vec![0; 40 * WINDOW]), [(40 * WINDOW, false)]);
        let digits: Vec<u8> =
            noise(1, 40 * WINDOW).iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect();
        assert_eq!(shape(&digits), [(40 * WINDOW, false)]);
    }
}
