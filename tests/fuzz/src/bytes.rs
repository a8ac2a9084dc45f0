//! Cuts an input into the parts that a target needs.

/// What is left of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Returns the next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let [first, rest @ ..] = self.0 else { return 0 };
        self.0 = rest;
        *first
    }

    /// Returns the next part of this length, or the rest.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// Returns the next part after its length of two bytes. `None` at the end.
    pub fn part(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        Some(self.take(length))
    }
}

/// Cuts bytes into chunks whose lengths follow from a seed: single bytes as well as all at once.
pub fn chunks(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let mut rest = Bytes(bytes);
    let mut chunks = Vec::new();
    while !rest.0.is_empty() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = match seed {
            0 => usize::MAX,
            1 => 1,
            _ => (state % 64 + 1) as usize,
        };
        chunks.push(rest.take(length));
    }
    chunks
}
