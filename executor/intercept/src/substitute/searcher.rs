//! Finds quickly where a pattern may begin.

use aho_corasick::packed;

/// The bits of all pairs of bytes.
const PAIR_WORDS: usize = (1 << 16) / 64;

/// A search for the beginnings of patterns. It may find others, but misses none.
pub(super) enum Searcher {
    /// With vector instructions.
    Packed(packed::Searcher),
    /// By the first two bytes, where there are too many patterns for that.
    Pairs(Vec<u64>),
}

impl Searcher {
    pub(super) fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Self {
        let packed = packed::Config::new()
            .match_kind(packed::MatchKind::LeftmostLongest)
            .builder()
            .extend(patterns.iter().map(|pattern| beginning(pattern.as_ref())))
            .build();
        packed.map_or_else(|| Self::Pairs(pairs(patterns)), Self::Packed)
    }

    /// Returns the first position in a text at which a pattern may begin; `None` if none does that the text contains as a
    /// whole.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Packed(searcher) => searcher.find(text).map(|found| found.start()),
            Self::Pairs(bits) => {
                let is_beginning = |first, second| {
                    let pair = pair_index(first, second);
                    bits[pair / 64] >> (pair % 64) & 1 == 1
                };
                text.windows(2).position(|pair| is_beginning(pair[0], pair[1])).or_else(|| {
                    // At the last byte, there is room for a pattern of one byte, which goes with any second one.
                    text.last().filter(|&&last| is_beginning(last, 0)).map(|_| text.len() - 1)
                })
            }
        }
    }
}

/// Returns the part of a pattern that is searched for. The whole would be compared at each position, which would take
/// quadratic time with long patterns.
fn beginning(pattern: &[u8]) -> &[u8] {
    const BYTES_MAX: usize = 16;
    &pattern[..pattern.len().min(BYTES_MAX)]
}

fn pair_index(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Returns a bit for each pair of bytes with which a pattern begins.
fn pairs<P: AsRef<[u8]>>(patterns: &[P]) -> Vec<u64> {
    let mut bits = vec![0; PAIR_WORDS];
    let mut set = |first, second| {
        let pair = pair_index(first, second);
        bits[pair / 64] |= 1 << (pair % 64);
    };
    for pattern in patterns {
        match *pattern.as_ref() {
            [] => {}
            [only] => (0..=u8::MAX).for_each(|second| set(only, second)),
            [first, second, ..] => set(first, second),
        }
    }
    bits
}
