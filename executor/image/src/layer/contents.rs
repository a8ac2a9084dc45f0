//! Writes file contents to their final location in the image before its layout is known.
//!
//! Nothing is written twice. Contents are packed in order of arrival; contents that a later layer removes become holes
//! at the end.

use crate::ext4::{self, BLOCK_BYTES, CONTENTS_FIRST_BLOCK};
use crate::store::write_sparse;
use crate::tree::{NodeId, Tree, TreeError};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::Range;

/// The size of the write buffer, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// The largest gap that is written as zeros, in bytes, as it is cheaper than another write.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// The contents of all files so far.
pub struct ContentsWriter<'a> {
    image: &'a File,
    placed: Vec<FileMapping>,
    next: u32,
    buffer: Vec<u8>,
    /// The offset of the buffer in the image.
    buffer_at: u64,
}

struct FileMapping {
    node: NodeId,
    blocks: Range<u32>,
}

impl<'a> ContentsWriter<'a> {
    /// Starts writing to an empty file.
    pub fn new(image: &'a File) -> Self {
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        Self { image, placed: Vec::new(), next: CONTENTS_FIRST_BLOCK, buffer, buffer_at: 0 }
    }

    /// Allocates space for a file; returns its offset in the image.
    ///
    /// # Errors
    ///
    /// If the image becomes too large.
    pub fn map(&mut self, node: NodeId, size: u64) -> Result<u64, TreeError> {
        let first = self.next;
        if size > 0 {
            let end = first.checked_add(ext4::blocks_for(size)).ok_or(TreeError::TooManyBytes)?;
            // Files that were removed again have taken space too.
            if u64::from(end) * BLOCK_BYTES > ext4::CONTENTS_END_MAX {
                return Err(TreeError::TooManyBytes);
            }
            self.next = end;
            self.placed.push(FileMapping { node, blocks: first..end });
        }
        Ok(u64::from(first) * BLOCK_BYTES)
    }

    /// Writes bytes at an offset that was not written yet.
    ///
    /// # Errors
    ///
    /// If the image cannot be written.
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

    /// Flushes the buffer and punches holes for removed files.
    ///
    /// # Errors
    ///
    /// If the image cannot be written.
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
                // Some file systems have no holes; then the blocks stay allocated but unreachable.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(contents)
    }
}
