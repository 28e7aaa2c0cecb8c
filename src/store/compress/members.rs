//! Where one member of a compressed layer ends and the next begins.
//!
//! A border depends on the block of the tar archive before it, and on how far the last border is. So after a change the
//! borders are soon the same again, and the members behind it too.

/// The blocks of a tar archive: every file begins at one, so what follows a file of another length stands as before.
const BLOCK: usize = 512;

/// One block in so many ends a member, which makes members of 1 MiB and [`MIN`] on average.
const ONE_IN: u64 = 2048;

/// No member but the last is smaller.
const MIN: usize = 256 << 10;

/// No member is larger.
const MAX: usize = 4 << 20;

/// Cuts a stream into members.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// What belongs to the member under way.
    pending: Vec<u8>,
    /// How much of it was looked at; whole blocks.
    n_seen: usize,
}

impl Splitter {
    /// Takes the next bytes of the stream and gives each member that is complete to `member`.
    pub(super) fn push(&mut self, bytes: &[u8], mut member: impl FnMut(Vec<u8>)) {
        self.pending.extend_from_slice(bytes);
        while let Some(block) = self.pending.get(self.n_seen..self.n_seen + BLOCK) {
            self.n_seen += BLOCK;
            let is_border = self.n_seen >= MIN && hash(block).is_multiple_of(ONE_IN);
            if is_border || self.n_seen == MAX {
                let rest = self.pending.split_off(self.n_seen);
                member(std::mem::replace(&mut self.pending, rest));
                self.n_seen = 0;
            }
        }
    }

    /// Returns the last member; empty at a border.
    pub(super) fn finish(self) -> Vec<u8> {
        self.pending
    }
}

/// Mixes all bytes of a block. Never to be changed: it decides the bytes of layers.
fn hash(block: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: &[u8]| {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        (hash ^ word).wrapping_mul(PRIME).rotate_left(29)
    };
    let hash = block.chunks_exact(8).fold(PRIME, mix);
    (hash ^ (hash >> 32)).wrapping_mul(PRIME) >> 32
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes that look like no pattern, from a generator of its own for each `seed`.
    pub(in super::super) fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(n_bytes / 8 + 1).flatten().collect();
        bytes.truncate(n_bytes);
        bytes
    }

    fn split(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut splitter, mut members) = (Splitter::default(), Vec::new());
        stream.chunks(step).for_each(|bytes| splitter.push(bytes, |member| members.push(member)));
        members.push(splitter.finish());
        members
    }

    #[test]
    fn the_bytes_alone_decide() {
        let stream = noise(7, 20 << 20);
        let members = split(&stream, 1 << 20);
        assert_eq!(members.concat(), stream);
        assert_eq!(members, split(&stream, 777));
        assert!((10..30).contains(&members.len()), "{}", members.len());
        assert!(members[..members.len() - 1].iter().all(|member| (MIN..=MAX).contains(&member.len())));
    }

    #[test]
    fn what_follows_a_change_is_cut_as_before() {
        let (before, after) = (noise(1, 8 << 20), noise(2, 24 << 20));
        let members = split(&[&before[..], &after].concat(), 1 << 20);
        let changed = split(&[&before[..], &noise(3, 5 * BLOCK), &after].concat(), 1 << 20);
        let n_same = changed.iter().filter(|member| members.contains(member)).count();
        assert!(n_same + 4 >= members.len(), "{n_same} of {}", members.len());
    }

    #[test]
    fn zeros_are_cut_at_the_most() {
        assert_eq!(split(&vec![0; 9 << 20], 1 << 16).iter().map(Vec::len).collect::<Vec<_>>(), [MAX, MAX, 1 << 20]);
    }
}
