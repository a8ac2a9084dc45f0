//! Data of a client that waits until its reader takes it.

use std::collections::VecDeque;

/// Small pieces are merged into chunks of this size, in bytes, so that many of them need little memory.
const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Default)]
pub struct Pending {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The bytes of the first chunk that were taken.
    first_taken: usize,
}

impl Pending {
    /// The bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn push(&mut self, mut data: Vec<u8>) {
        if data.is_empty() {
            return;
        }
        self.bytes += data.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + data.len() <= CHUNK_BYTES => last.append(&mut data),
            _ => self.chunks.push_back(data),
        }
    }

    /// The next bytes, of which any number can be taken.
    pub fn first(&self) -> Option<&[u8]> {
        self.chunks.front().map(|first| &first[self.first_taken..])
    }

    /// Removes the first bytes, which were taken.
    pub fn advance(&mut self, count: usize) {
        self.bytes -= count;
        self.first_taken += count;
        if self.chunks.front().is_some_and(|first| first.len() == self.first_taken) {
            self.chunks.pop_front();
            self.first_taken = 0;
        }
    }

    /// Drops everything; returns the number of bytes.
    pub fn clear(&mut self) -> usize {
        std::mem::take(self).bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_and_are_counted() {
        let mut pending = Pending::default();
        for piece in [&b"one"[..], b"", b" two ", &[7; CHUNK_BYTES], b"end"] {
            pending.push(piece.to_vec());
        }
        assert_eq!((pending.bytes(), pending.chunks.len()), (11 + CHUNK_BYTES, 3));
        assert_eq!(pending.first(), Some(&b"one two "[..]));
        pending.advance(4);
        assert_eq!(pending.first(), Some(&b"two "[..]));
        pending.advance(4);
        assert_eq!(pending.first(), Some(&[7; CHUNK_BYTES][..]));
        pending.advance(CHUNK_BYTES);
        assert_eq!((pending.first(), pending.bytes()), (Some(&b"end"[..]), 3));
        assert_eq!(pending.clear(), 3);
        assert!(pending.is_empty() && pending.first().is_none() && pending.bytes() == 0);
    }

    #[test]
    fn many_small_pieces_are_few_chunks() {
        let mut pending = Pending::default();
        for _ in 0..CHUNK_BYTES {
            pending.push(vec![1]);
        }
        assert_eq!(pending.chunks.len(), 1);
    }
}
