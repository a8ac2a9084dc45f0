//! The layout of a file system: groups, tables, and each inode's blocks.

use super::{
    BLOCK_BYTES, BLOCKS_PER_GROUP, FIRST_INODE, INODES_PER_BLOCK, ROOT_INODE, blocks_for, inode, names, xattr,
};
use crate::tree::{Kind, Node, NodeId, ROOT, Tree};
use std::collections::HashMap;
use std::ops::Range;

/// Group descriptors per block.
pub const DESCRIPTORS_PER_BLOCK: u32 = BLOCK_BYTES as u32 / super::superblock::DESCRIPTOR_BYTES as u32;
/// The first block of contents that are written before the layout is known: after the descriptors of 128 GiB.
pub const CONTENTS_FIRST_BLOCK: u32 = 1 + 1024 / DESCRIPTORS_PER_BLOCK;
/// The end of such contents, in bytes, at most: the metadata after them fits into the same 128 GiB.
pub const CONTENTS_END_MAX: u64 = 96 << 30;
/// Inodes per group of a writable file system: one per 16 KiB, mke2fs's default.
pub const WRITABLE_INODES_PER_GROUP: u32 = 8192;
/// The smallest last group, in blocks.
const LAST_GROUP_BLOCKS_MIN: u32 = 64;
/// The smallest writable file system, in bytes.
const WRITABLE_BYTES_MIN: u64 = 32 << 20;
/// The largest writable file system, in bytes: the range of 32-bit block numbers.
pub const WRITABLE_BYTES_MAX: u64 = (u32::MAX as u64 + 1 - BLOCKS_PER_GROUP as u64) * BLOCK_BYTES;
/// The journal of a small file system, in blocks: the kernel's minimum.
const JOURNAL_BLOCKS_SMALL: u32 = 1024;
/// The journal of larger ones, in blocks: 16 MiB, which is sparse on the host.
const JOURNAL_BLOCKS: u32 = 4096;
/// The size of a file system from which on it gets the larger journal, in bytes.
const JOURNAL_LARGE_FROM_BYTES: u64 = 512 << 20;

/// The size is not possible for a writable file system.
#[derive(Debug, thiserror::Error)]
#[error("a disk has {} MiB to {} GiB, not {bytes} bytes", WRITABLE_BYTES_MIN >> 20, WRITABLE_BYTES_MAX >> 30)]
pub struct UnusableSize {
    /// The requested size.
    pub bytes: u64,
}

/// The dimensions of a file system.
pub struct Geometry {
    /// The number of blocks.
    pub blocks: u32,
    /// The number of block groups.
    pub groups: u32,
    /// Inodes per group.
    pub inodes_per_group: u32,
    /// The first block bitmap.
    pub block_bitmaps: u32,
    /// The first inode bitmap.
    pub inode_bitmaps: u32,
    /// The first block of the inode tables, which are contiguous.
    pub inode_tables: u32,
    /// The first block after the metadata.
    pub data: u32,
}

impl Geometry {
    /// With bitmaps and tables after the descriptors.
    fn new(groups: u32, inodes_per_group: u32) -> Self {
        Self::after(1 + groups.div_ceil(DESCRIPTORS_PER_BLOCK), groups, inodes_per_group)
    }

    /// With bitmaps and tables from this block on.
    fn after(block_bitmaps: u32, groups: u32, inodes_per_group: u32) -> Self {
        let inode_bitmaps = block_bitmaps + groups;
        let inode_tables = inode_bitmaps + groups;
        let data = inode_tables + groups * (inodes_per_group / INODES_PER_BLOCK);
        Self { blocks: 0, groups, inodes_per_group, block_bitmaps, inode_bitmaps, inode_tables, data }
    }

    /// The first block of a group's inode table.
    pub fn inode_table(&self, group: u32) -> u32 {
        self.inode_tables + group * (self.inodes_per_group / INODES_PER_BLOCK)
    }
}

/// An inode's number and blocks: its contents, then (or elsewhere) the leaves of its extent tree, then its attributes.
#[derive(Clone, Copy, Default)]
pub struct Extent {
    /// The inode's number; 0 if it is not in the image.
    pub inode: u32,
    /// The first block of contents.
    pub first: u32,
    /// The number of blocks of contents.
    pub blocks: u32,
    /// The first block of leaves and attributes.
    pub after: u32,
    /// The number of leaves.
    pub leaves: u32,
    /// Whether a block of extended attributes follows.
    pub attribute_block: bool,
}

impl Extent {
    fn total(&self) -> u32 {
        self.blocks + self.total_after()
    }

    fn total_after(&self) -> u32 {
        self.leaves + u32::from(self.attribute_block)
    }

    /// The block of a leaf of the extent tree.
    pub fn leaf(&self, leaf: u32) -> u32 {
        self.after + leaf
    }

    /// The block of extended attributes; 0 if there is none.
    pub fn attributes(&self) -> u32 {
        self.after + self.leaves
    }
}

/// File contents that were written before the layout is known.
#[derive(Debug, Default)]
pub struct Contents {
    /// The first block of each file with contents.
    pub first_blocks: HashMap<NodeId, u32>,
    /// The first block after all contents.
    pub end: u32,
    /// Blocks of removed files: sorted, not adjacent.
    pub free: Vec<Range<u32>>,
}

/// The layout of a file system.
pub struct Layout {
    /// Its dimensions.
    pub geometry: Geometry,
    /// The journal, if there is one.
    pub journal: Option<Extent>,
    /// Blocks `0..used` are in use except those in `free`; all others are free.
    pub used: u32,
    /// Sorted, not adjacent, all below `used`.
    free: Vec<Range<u32>>,
    /// Inodes `1..=last_inode` are in use, all others free.
    pub last_inode: u32,
    extents: Vec<Extent>,
    nodes: Vec<NodeId>,
    directories_per_group: Vec<u16>,
}

impl Layout {
    /// The smallest layout for a tree. Everything but the superblock and the descriptors follows the file contents that
    /// are in the image already, if any are.
    pub fn read_only(tree: &Tree, contents: Option<&Contents>) -> Self {
        let measured = measure(tree);
        let is_written = |id| contents.is_some_and(|contents| contents.first_blocks.contains_key(&id));
        let extents = measured.extents.iter().enumerate();
        let data = extents
            .map(|(id, extent)| if is_written(id) { extent.total_after() } else { extent.total() })
            .sum();
        let last_inode = FIRST_INODE - 1 + measured.nodes.len() as u32;
        let geometry = smallest(last_inode, data, |groups, inodes| match contents {
            Some(contents) => Geometry::after(contents.end.max(CONTENTS_FIRST_BLOCK), groups, inodes),
            None => Geometry::new(groups, inodes),
        });
        Self::place_extents(tree, geometry, 0, measured, contents)
    }

    /// A layout of a fixed size with a journal.
    ///
    /// # Errors
    ///
    /// If the size is not possible.
    pub fn fixed(tree: &Tree, bytes: u64) -> Result<Self, UnusableSize> {
        if !(WRITABLE_BYTES_MIN..=WRITABLE_BYTES_MAX).contains(&bytes) {
            return Err(UnusableSize { bytes });
        }
        let mut blocks = (bytes / BLOCK_BYTES) as u32;
        let last_group = blocks % BLOCKS_PER_GROUP;
        if last_group < LAST_GROUP_BLOCKS_MIN {
            blocks -= last_group;
        }
        let geometry = Geometry::new(blocks.div_ceil(BLOCKS_PER_GROUP), WRITABLE_INODES_PER_GROUP);
        let journal = if bytes < JOURNAL_LARGE_FROM_BYTES { JOURNAL_BLOCKS_SMALL } else { JOURNAL_BLOCKS };
        let measured = measure(tree);
        Ok(Self::place_extents(tree, Geometry { blocks, ..geometry }, journal, measured, None))
    }

    fn place_extents(
        tree: &Tree,
        geometry: Geometry,
        journal_blocks: u32,
        measured: Measured,
        contents: Option<&Contents>,
    ) -> Self {
        let Measured { mut extents, nodes } = measured;
        let mut used = geometry.data;
        let journal = (journal_blocks > 0).then(|| {
            let extent = Extent {
                inode: super::JOURNAL_INODE,
                first: used,
                blocks: journal_blocks,
                ..Extent::default()
            };
            used += extent.total();
            extent
        });
        let mut directories_per_group = vec![0; geometry.groups as usize];
        // Directories first and together: lookups then read few parts of the disk.
        for directories in [true, false] {
            for (id, node) in tree.nodes().iter().enumerate().filter(|(_, node)| node.links > 0) {
                if matches!(node.kind, Kind::Directory { .. }) != directories {
                    continue;
                }
                let extent = &mut extents[id];
                if let Some(&first) = contents.and_then(|contents| contents.first_blocks.get(&id)) {
                    (extent.first, extent.after) = (first, used);
                    used += extent.total_after();
                } else {
                    (extent.first, extent.after) = (used, used + extent.blocks);
                    used += extent.total();
                }
                if directories {
                    directories_per_group[((extent.inode - 1) / geometry.inodes_per_group) as usize] += 1;
                }
            }
        }
        let last_inode = FIRST_INODE - 1 + nodes.len() as u32;
        let free = contents.map_or_else(Vec::new, |contents| free_ranges(&geometry, contents));
        Self { geometry, journal, used, free, last_inode, extents, nodes, directories_per_group }
    }

    /// The extent of an inode.
    pub fn extent(&self, id: NodeId) -> Extent {
        self.extents[id]
    }

    /// The inode in the tree with a number; `None` if there is none.
    pub fn node_of(&self, inode: u32) -> Option<NodeId> {
        match inode {
            ROOT_INODE => Some(ROOT),
            FIRST_INODE.. => self.nodes.get((inode - FIRST_INODE) as usize).copied(),
            _ => None,
        }
    }

    /// The number of directories whose inode is in a group.
    pub fn directories(&self, group: u32) -> u16 {
        self.directories_per_group[group as usize]
    }

    /// The number of blocks in a group.
    pub fn group_blocks(&self, group: u32) -> u32 {
        (self.geometry.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// The number of all used blocks.
    pub fn all_used_blocks(&self) -> u32 {
        self.used - self.free.iter().map(|range| range.end - range.start).sum::<u32>()
    }

    /// The number of used blocks in a group.
    pub fn used_blocks(&self, group: u32) -> u32 {
        let free: u32 = self.free_in(group).map(|range| range.end - range.start).sum();
        self.used_up_to(group) - free
    }

    fn used_up_to(&self, group: u32) -> u32 {
        self.used.saturating_sub(group * BLOCKS_PER_GROUP).min(self.group_blocks(group))
    }

    /// The free ranges in a group, relative to its first block.
    fn free_in(&self, group: u32) -> impl Iterator<Item = Range<u32>> {
        let start = group * BLOCKS_PER_GROUP;
        let end = start + self.group_blocks(group);
        let first = self.free.partition_point(|range| range.end <= start);
        self.free[first..]
            .iter()
            .take_while(move |range| range.start < end)
            .map(move |range| range.start.max(start) - start..range.end.min(end) - start)
    }

    /// The number of used inodes in a group.
    pub fn used_inodes(&self, group: u32) -> u32 {
        let per_group = self.geometry.inodes_per_group;
        self.last_inode.saturating_sub(group * per_group).min(per_group)
    }

    /// A group's block bitmap; blocks past the end of the file system count as used.
    pub fn block_bitmap(&self, group: u32) -> Vec<u8> {
        let mut bits = bitmap(self.used_up_to(group), self.group_blocks(group));
        for block in self.free_in(group).flatten() {
            bits[(block / 8) as usize] &= !(1 << (block % 8));
        }
        bits
    }

    /// A group's inode bitmap; padding bits count as used.
    pub fn inode_bitmap(&self, group: u32) -> Vec<u8> {
        bitmap(self.used_inodes(group), self.geometry.inodes_per_group)
    }
}

/// The smallest file system with this many inodes and this many blocks after its tables.
fn smallest(last_inode: u32, data: u32, geometry: impl Fn(u32, u32) -> Geometry) -> Geometry {
    let mut groups = 1;
    loop {
        let inodes_per_group = last_inode.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
        if inodes_per_group > BLOCKS_PER_GROUP {
            groups += 1;
            continue;
        }
        let geometry = geometry(groups, inodes_per_group);
        let blocks = geometry.data + data;
        let needed = blocks.div_ceil(BLOCKS_PER_GROUP);
        if needed == groups {
            return Geometry { blocks, ..geometry };
        }
        if needed < groups {
            // The inodes need more groups than the blocks; the rest is a hole.
            return Geometry { blocks: groups * BLOCKS_PER_GROUP, ..geometry };
        }
        groups = needed;
    }
}

/// The free ranges before the bitmaps: unused descriptor blocks and removed files.
fn free_ranges(geometry: &Geometry, contents: &Contents) -> Vec<Range<u32>> {
    let unneeded = 1 + geometry.groups.div_ceil(DESCRIPTORS_PER_BLOCK)..CONTENTS_FIRST_BLOCK;
    let mut free = contents.free.clone();
    match free.first_mut() {
        Some(first) if first.start == unneeded.end => first.start = unneeded.start,
        _ => free.insert(0, unneeded),
    }
    free
}

/// A bitmap block with the bits `0..used` and `end..` set.
pub fn bitmap(used: u32, end: u32) -> Vec<u8> {
    (0..BLOCK_BYTES as u32)
        .map(|byte| {
            let first = byte * 8;
            if first + 8 <= used || first >= end {
                return 0xff;
            }
            if first >= used && first + 8 <= end {
                return 0;
            }
            (0..8).fold(0, |bits, bit| bits | u8::from(first + bit < used || first + bit >= end) << bit)
        })
        .collect()
}

/// The inodes of a tree with their numbers and sizes, not yet located.
struct Measured {
    /// By their index in the tree.
    extents: Vec<Extent>,
    /// The inodes after the root, in order of their numbers.
    nodes: Vec<NodeId>,
}

/// Assigns numbers and sizes to the inodes of a tree.
fn measure(tree: &Tree) -> Measured {
    let mut nodes = Vec::with_capacity(tree.nodes().len());
    let mut extent = |(id, node): (NodeId, &Node)| {
        if node.links == 0 {
            return Extent::default();
        }
        let inode = if id == ROOT {
            ROOT_INODE
        } else {
            nodes.push(id);
            FIRST_INODE - 1 + nodes.len() as u32
        };
        let blocks = match &node.kind {
            Kind::Directory { parent: _, entries } => names::blocks_of(entries.keys().map(|name| name.len())),
            Kind::File { size } => blocks_for(*size),
            Kind::Symlink { target } if target.len() > inode::INLINE_TARGET_BYTES_MAX => 1,
            Kind::Symlink { .. } | Kind::Character(_) | Kind::Block(_) | Kind::Fifo | Kind::Socket => 0,
        };
        let leaves = inode::leaves_of(blocks);
        let attribute_block = xattr::needs_block(&node.attributes.extended);
        Extent { inode, first: 0, blocks, after: 0, leaves, attribute_block }
    };
    let extents = tree.nodes().iter().enumerate().map(&mut extent).collect();
    Measured { extents, nodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_set_both_ends() {
        let bits = bitmap(11, 20);
        assert_eq!(bits[..3], [0xff, 0b0000_0111, 0b1111_0000]);
        assert!(bits[3..].iter().all(|&byte| byte == 0xff));
        assert_eq!(bitmap(0, 32768), vec![0; 4096]);
        assert_eq!(bitmap(32768, 32768), vec![0xff; 4096]);
    }
}
