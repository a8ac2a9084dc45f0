//! Directory blocks.

use super::{BLOCK_BYTES, put_u16, put_u32};
use crate::tree::Kind;

const BLOCK: usize = BLOCK_BYTES as usize;

/// A directory entry.
pub struct Entry<'a> {
    /// The inode's number.
    pub inode: u32,
    /// The inode's kind.
    pub kind: &'a Kind,
    /// The name.
    pub name: &'a [u8],
}

fn entry_bytes(name_bytes: usize) -> usize {
    (8 + name_bytes).next_multiple_of(4)
}

/// The number of blocks of a directory with names of these lengths.
pub fn blocks_of(name_lengths: impl Iterator<Item = usize>) -> u32 {
    let mut blocks = 1;
    let mut filled = entry_bytes(1) + entry_bytes(2);
    for length in name_lengths {
        let bytes = entry_bytes(length);
        if filled + bytes > BLOCK {
            blocks += 1;
            filled = 0;
        }
        filled += bytes;
    }
    blocks
}

fn type_code(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory { .. } => 2,
        Kind::Character(_) => 3,
        Kind::Block(_) => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink { .. } => 7,
    }
}

/// A directory's blocks.
pub fn blocks<'a>(own: u32, parent: u32, entries: impl Iterator<Item = Entry<'a>>) -> Vec<u8> {
    let mut blocks = Blocks { bytes: vec![0; BLOCK], filled: 0, last: 0 };
    blocks.push(own, 2, b".");
    blocks.push(parent, 2, b"..");
    for Entry { inode, kind, name } in entries {
        blocks.push(inode, type_code(kind), name);
    }
    blocks.close();
    blocks.bytes
}

struct Blocks {
    bytes: Vec<u8>,
    /// The offset of the next entry.
    filled: usize,
    /// The offset of the last entry.
    last: usize,
}

impl Blocks {
    fn push(&mut self, inode: u32, type_code: u8, name: &[u8]) {
        let length = entry_bytes(name.len());
        if self.filled + length > self.bytes.len() {
            self.close();
            self.filled = self.bytes.len();
            self.bytes.resize(self.filled + BLOCK, 0);
        }
        let at = self.filled;
        put_u32(&mut self.bytes, at, inode);
        put_u16(&mut self.bytes, at + 4, length as u16);
        self.bytes[at + 6] = name.len() as u8;
        self.bytes[at + 7] = type_code;
        self.bytes[at + 8..at + 8 + name.len()].copy_from_slice(name);
        self.last = at;
        self.filled = at + length;
    }

    /// Extends the last entry to the end of its block.
    fn close(&mut self) {
        let length = self.bytes.len() - self.last;
        put_u16(&mut self.bytes, self.last + 4, length as u16);
    }
}
