//! Writes ext4 file systems (kernel documentation, "ext4 Data Structures and Algorithms"): a read-only one that contains
//! a tree, and an empty writable one.
//!
//! `mke2fs -d` is no alternative: from a directory it takes owners, device nodes and setuid bits of the host's files,
//! which an ordinary user cannot create, and from a tar archive (since 1.47.1) it needs the merged archive on disk
//! first. Here the same tree gives the same bytes, layers are streamed, and no tool has to be installed.
//!
//! The layout is the simplest that ext4 allows: 4 KiB blocks, all metadata together (`flex_bg`), no copies of the
//! superblock (`sparse_super2`), and everything else packed after it in one pass. The inodes in use are therefore always
//! `1..=last`, and the blocks `0..used`, except for files of layers that later layers removed.
//!
//! ```text
//! | superblock | group descriptors | block bitmaps | inode bitmaps | inode tables | journal? | directories | the rest |
//! | superblock | group descriptors | contents of files, written first | block bitmaps | … | the rest |
//! ```
//!
//! There are no metadata checksums: the file is written once, under its digest, and verifying them would be slow on an
//! emulated CPU.

mod geometry;
mod grow;
mod inode;
mod names;
mod superblock;
mod xattr;

use crate::tree::{Kind, NodeId, Tree};
use geometry::Layout;
pub use geometry::{CONTENTS_END_MAX, CONTENTS_FIRST_BLOCK, Contents, UnusableSize};
pub use grow::{Growth, grow};
use inode::InodeRecord;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
pub use xattr::{fits as attributes_fit, is_kept as attribute_is_kept};

/// Bytes per block.
pub const BLOCK_BYTES: u64 = 4096;
/// Blocks per group: the bits of a bitmap block.
const BLOCKS_PER_GROUP: u32 = 32768;
/// Bytes per inode.
const INODE_BYTES: usize = 256;
/// Inodes per block.
const INODES_PER_BLOCK: u32 = BLOCK_BYTES as u32 / INODE_BYTES as u32;
/// The root directory.
const ROOT_INODE: u32 = 2;
/// The journal.
const JOURNAL_INODE: u32 = 8;
/// The first inode that is not reserved.
const FIRST_INODE: u32 = 11;
/// The chunk size for writing inode tables, in bytes.
const TABLE_CHUNK_BYTES: usize = 1 << 20;

/// A file system whose layout is fixed.
pub struct FileSystem<'a> {
    tree: &'a Tree,
    layout: Layout,
    uuid: [u8; 16],
}

impl<'a> FileSystem<'a> {
    /// The smallest file system for a tree, around the contents that are in the file already, if any are.
    pub fn read_only(tree: &'a Tree, uuid: [u8; 16], contents: Option<&Contents>) -> Self {
        Self { tree, layout: Layout::read_only(tree, contents), uuid }
    }

    /// A writable file system of a fixed size, with a journal.
    ///
    /// # Errors
    ///
    /// If the size is not possible.
    pub fn writable(tree: &'a Tree, uuid: [u8; 16], bytes: u64) -> Result<Self, UnusableSize> {
        Ok(Self { tree, layout: Layout::fixed(tree, bytes)?, uuid })
    }

    /// The offset of a file's contents in the image, in bytes.
    pub fn content_offset(&self, node: NodeId) -> u64 {
        u64::from(self.layout.extent(node).first) * BLOCK_BYTES
    }

    /// Writes everything but file contents, and sets the file's length. The file must be empty but for contents.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let geometry = &self.layout.geometry;
        file.set_len(u64::from(geometry.blocks) * BLOCK_BYTES)?;
        for (id, node) in self.tree.nodes().iter().enumerate() {
            if node.links > 0 {
                self.write_blocks(id, file)?;
            }
        }
        self.write_inode_tables(file)?;
        self.write_bitmaps(file)?;
        if let Some(journal) = &self.layout.journal {
            file.write_all_at(&superblock::journal(journal, &self.uuid), block_offset(journal.first))?;
        }
        file.write_all_at(&superblock::group_descriptors(&self.layout), BLOCK_BYTES)?;
        file.write_all_at(&superblock::superblock(&self.layout, &self.uuid), superblock::OFFSET)
    }

    fn write_blocks(&self, id: NodeId, file: &File) -> io::Result<()> {
        let node = &self.tree.nodes()[id];
        let extent = self.layout.extent(id);
        match &node.kind {
            Kind::Directory { parent, entries } => {
                let inode_of = |id: NodeId| self.layout.extent(id).inode;
                let listed = entries.iter().map(|(name, &child)| names::Entry {
                    inode: inode_of(child),
                    kind: &self.tree.nodes()[child].kind,
                    name,
                });
                let blocks = names::blocks(inode_of(id), inode_of(*parent), listed);
                file.write_all_at(&blocks, block_offset(extent.first))?;
            }
            Kind::Symlink { target } if extent.blocks > 0 => {
                file.write_all_at(target, block_offset(extent.first))?;
            }
            _ => {}
        }
        for leaf in 0..extent.leaves {
            file.write_all_at(&inode::extent_leaf(&extent, leaf), block_offset(extent.leaf(leaf)))?;
        }
        if extent.attribute_block {
            let at = block_offset(extent.attributes());
            file.write_all_at(&xattr::block(&node.attributes.extended), at)?;
        }
        Ok(())
    }

    fn write_inode_tables(&self, file: &File) -> io::Result<()> {
        let start = block_offset(self.layout.geometry.inode_tables);
        let mut table = Vec::with_capacity(TABLE_CHUNK_BYTES);
        let mut written = 0;
        for number in 1..=self.layout.last_inode {
            let record = match self.layout.node_of(number) {
                Some(id) => Some(InodeRecord::of(
                    &self.tree.nodes()[id],
                    &self.layout.extent(id),
                    self.subfolders(id),
                )),
                None if number == JOURNAL_INODE => self.layout.journal.as_ref().map(InodeRecord::journal),
                None => None,
            };
            table.extend_from_slice(&record.map_or([0; INODE_BYTES], |record| record.0));
            if table.len() >= TABLE_CHUNK_BYTES {
                file.write_all_at(&table, start + written)?;
                written += table.len() as u64;
                table.clear();
            }
        }
        file.write_all_at(&table, start + written)
    }

    fn subfolders(&self, id: NodeId) -> usize {
        let is_directory = |id: NodeId| matches!(self.tree.nodes()[id].kind, Kind::Directory { .. });
        match &self.tree.nodes()[id].kind {
            Kind::Directory { entries, .. } => entries.values().filter(|&&child| is_directory(child)).count(),
            _ => 0,
        }
    }

    fn write_bitmaps(&self, file: &File) -> io::Result<()> {
        let geometry = &self.layout.geometry;
        for group in 0..geometry.groups {
            let blocks = self.layout.block_bitmap(group);
            if blocks.iter().any(|&byte| byte != 0) {
                file.write_all_at(&blocks, block_offset(geometry.block_bitmaps + group))?;
            }
            file.write_all_at(
                &self.layout.inode_bitmap(group),
                block_offset(geometry.inode_bitmaps + group),
            )?;
        }
        Ok(())
    }
}

fn block_offset(block: u32) -> u64 {
    u64::from(block) * BLOCK_BYTES
}

/// The number of blocks for this many bytes.
pub fn blocks_for(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX)
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Attributes, ROOT};
    use std::process::Command;

    fn tool(name: &str, arguments: &[&str], image: &std::path::Path) -> String {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let output = Command::new(name).env("PATH", path).args(arguments).arg(image).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn files_with_more_than_four_extents_have_an_extent_tree() {
        let mut tree = Tree::new(Attributes::default());
        let huge = tree.add(ROOT, b"huge", Kind::File { size: 60 << 30 }, Attributes::default()).unwrap();
        let next = tree.add(ROOT, b"next", Kind::File { size: 700 << 20 }, Attributes::default()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = FileSystem::read_only(&tree, [7; 16], None);
        system.write(file.as_file()).unwrap();
        assert_eq!(system.content_offset(next), system.content_offset(huge) + (60 << 30) + 2 * BLOCK_BYTES);
        tool("e2fsck", &["-f", "-n"], file.path());
        let extents = tool("debugfs", &["-R", "dump_extents /huge"], file.path());
        assert!(extents.contains("340/340") && extents.contains("140/140"), "{extents}");
        file.as_file().write_all_at(b"there", system.content_offset(next) + (600 << 20)).unwrap();
        let block = system.content_offset(next) / BLOCK_BYTES + (600 << 20) / BLOCK_BYTES;
        let mapped =
            tool("debugfs", &["-R", &format!("bmap /next {}", (600 << 20) / BLOCK_BYTES)], file.path());
        assert_eq!(mapped.trim(), block.to_string());
    }
}
