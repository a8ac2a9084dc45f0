//! Files' contents on their way into an image: straight to their final place, before its layout is known.
//!
//! Nothing is written twice. Contents are packed in the order in which they come; what a later layer
//! removes stays as a gap, which is given back to the host at the end.

use crate::ext4::{self, BLOCK_BYTES, CONTENTS_FIRST_BLOCK};
use crate::store::write_sparse;
use crate::tree::{NodeId, Tree, TreeError};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::Range;

/// How much is written at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Gaps up to this size, in bytes, are written as zeros: less work than another write.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// The contents of all files so far.
pub struct ContentsWriter<'a> {
    image: &'a File,
    placed: Vec<FileMapping>,
    next: u32,
    buffer: Vec<u8>,
    /// Where in the image the buffer's first byte goes.
    buffer_at: u64,
}

struct FileMapping {
    node: NodeId,
    blocks: Range<u32>,
}

impl<'a> ContentsWriter<'a> {
    /// Nothing yet, of an image that is an empty file.
    pub fn new(image: &'a File) -> Self {
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        Self { image, placed: Vec::new(), next: CONTENTS_FIRST_BLOCK, buffer, buffer_at: 0 }
    }

    /// Makes room for a file. Returns where in the image it begins.
    pub fn map(&mut self, node: NodeId, size: u64) -> Result<u64, TreeError> {
        let first = self.next;
        if size > 0 {
            let end = first.checked_add(ext4::blocks_for(size)).ok_or(TreeError::TooManyBytes)?;
            // Files that are gone again took room as well.
            if u64::from(end) * BLOCK_BYTES > ext4::CONTENTS_END_MAX {
                return Err(TreeError::TooManyBytes);
            }
            self.next = end;
            self.placed.push(FileMapping { node, blocks: first..end });
        }
        Ok(u64::from(first) * BLOCK_BYTES)
    }

    /// Takes bytes for a place in the image that nothing was written to.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.buffer_at + self.buffer.len() as u64;
        if offset < end || offset - end > GAP_BYTES_MAX {
            self.flush()?;
            self.buffer_at = offset;
        } else {
            self.buffer.resize(self.buffer.len() + (offset - end) as usize, 0);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        write_sparse(self.image, &self.buffer, self.buffer_at)?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and gives the host back what no file of the tree has any more.
    pub fn finish(mut self, tree: &Tree) -> io::Result<ext4::Contents> {
        self.flush()?;
        let mut contents = ext4::Contents { end: self.next, ..ext4::Contents::default() };
        for FileMapping { node, blocks } in self.placed {
            if tree.nodes()[node].links > 0 {
                contents.first_blocks.insert(node, blocks.start);
                continue;
            }
            match contents.free.last_mut() {
                Some(last) if last.end == blocks.start => last.end = blocks.end,
                _ => contents.free.push(blocks),
            }
        }
        for Range { start, end } in &contents.free {
            let (offset, length) = (u64::from(*start) * BLOCK_BYTES, u64::from(end - start) * BLOCK_BYTES);
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(self.image, flags, offset, length) {
                // Some file systems have no holes; then it stays as it is, out of reach.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(contents)
    }
}
