//! Where everything goes: groups, tables, and each inode's blocks.

use super::{
    BLOCK_BYTES, BLOCKS_PER_GROUP, FIRST_INODE, INODES_PER_BLOCK, ROOT_INODE, blocks_for, inode, names, xattr,
};
use crate::tree::{Kind, Node, NodeId, ROOT, Tree};
use std::collections::HashMap;
use std::ops::Range;

/// Group descriptors in a block.
const DESCRIPTORS_PER_BLOCK: u32 = BLOCK_BYTES as u32 / super::superblock::DESCRIPTOR_BYTES as u32;
/// Where contents begin that are written before the layout is known: behind the descriptors of 128 GiB.
pub const CONTENTS_FIRST_BLOCK: u32 = 1 + 1024 / DESCRIPTORS_PER_BLOCK;
/// Where contents must end that are written so, in bytes: what follows them has room in the same 128 GiB.
pub const CONTENTS_END_MAX: u64 = 96 << 30;
/// Inodes per group of a writable file system: one per 16 KiB, as mke2fs has it.
pub const WRITABLE_INODES_PER_GROUP: u32 = 8192;
/// A last group smaller than this many blocks is left out.
const LAST_GROUP_BLOCKS_MIN: u32 = 64;
/// The smallest writable file system, in bytes.
const WRITABLE_BYTES_MIN: u64 = 32 << 20;
/// The largest writable file system, in bytes: what 32-bit block numbers reach.
pub const WRITABLE_BYTES_MAX: u64 = (u32::MAX as u64 + 1 - BLOCKS_PER_GROUP as u64) * BLOCK_BYTES;
/// A small file system's journal, in blocks: the least that the kernel takes.
const JOURNAL_BLOCKS_SMALL: u32 = 1024;
/// Any other's: 16 MiB, of which the host stores only what was ever written.
const JOURNAL_BLOCKS: u32 = 4096;
/// From this size on the journal is not the small one, in bytes.
const JOURNAL_LARGE_FROM_BYTES: u64 = 512 << 20;

/// A size that no writable file system can have.
#[derive(Debug, thiserror::Error)]
#[error("a disk has {} MiB to {} GiB, not {bytes} bytes", WRITABLE_BYTES_MIN >> 20, WRITABLE_BYTES_MAX >> 30)]
pub struct UnusableSize {
    /// What was asked for.
    pub bytes: u64,
}

/// The file system as a whole.
pub struct Geometry {
    /// All blocks.
    pub blocks: u32,
    /// Groups of blocks.
    pub groups: u32,
    /// Inodes in each of them.
    pub inodes_per_group: u32,
    /// The first block bitmap.
    pub block_bitmaps: u32,
    /// The first inode bitmap.
    pub inode_bitmaps: u32,
    /// The first block of the inode tables, which follow each other.
    pub inode_tables: u32,
    /// The first block behind the metadata.
    pub data: u32,
}

impl Geometry {
    /// The bitmaps and tables follow the descriptors.
    fn new(groups: u32, inodes_per_group: u32) -> Self {
        Self::after(1 + groups.div_ceil(DESCRIPTORS_PER_BLOCK), groups, inodes_per_group)
    }

    /// The bitmaps and tables begin at this block.
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

/// One inode's number and blocks: contents; and elsewhere, or behind them, leaves of its extent tree, then
/// attributes.
#[derive(Clone, Copy, Default)]
pub struct Extent {
    /// Its number; 0 for what is not in the image.
    pub inode: u32,
    /// The first block.
    pub first: u32,
    /// How many hold contents.
    pub blocks: u32,
    /// The first block of leaves and attributes.
    pub after: u32,
    /// How many hold extents.
    pub leaves: u32,
    /// Whether one more holds extended attributes.
    pub attribute_block: bool,
}

impl Extent {
    fn total(&self) -> u32 {
        self.blocks + self.total_behind()
    }

    fn total_behind(&self) -> u32 {
        self.leaves + u32::from(self.attribute_block)
    }

    /// The block that holds a leaf of its extent tree.
    pub fn leaf(&self, leaf: u32) -> u32 {
        self.after + leaf
    }

    /// The block that holds extended attributes, if there is one.
    pub fn attributes(&self) -> u32 {
        self.after + self.leaves
    }
}

/// Contents of files that were written before the layout was known.
#[derive(Debug, Default)]
pub struct Contents {
    /// The first block of each file that has contents.
    pub first_blocks: HashMap<NodeId, u32>,
    /// The first block behind all of them.
    pub end: u32,
    /// Blocks among them that no file has any more: sorted, none touching another.
    pub free: Vec<Range<u32>>,
}

/// Where everything goes.
pub struct Layout {
    /// The file system as a whole.
    pub geometry: Geometry,
    /// The journal, if there is one.
    pub journal: Option<Extent>,
    /// Blocks `0..used` are in use but for those in `free`, all others free.
    pub used: u32,
    /// Sorted, none touching another, all of them below `used`.
    free: Vec<Range<u32>>,
    /// Inodes `1..=last` are in use, all others free.
    pub last_inode: u32,
    places: Vec<Extent>,
    nodes: Vec<NodeId>,
    directories_per_group: Vec<u16>,
}

impl Layout {
    /// Just large enough for a tree.
    pub fn minimal(tree: &Tree) -> Self {
        let (places, nodes) = measure(tree);
        let data = places.iter().map(Extent::total).sum();
        let last_inode = FIRST_INODE - 1 + nodes.len() as u32;
        let geometry = smallest(last_inode, data, Geometry::new);
        Self::place_extents(tree, geometry, 0, (places, nodes), None)
    }

    /// Just large enough for a tree whose files' contents are in the image already: everything but the
    /// superblock and the descriptors goes behind them.
    pub fn around(tree: &Tree, contents: &Contents) -> Self {
        let (places, nodes) = measure(tree);
        let of = |(id, place): (NodeId, &Extent)| match contents.first_blocks.contains_key(&id) {
            true => place.total_behind(),
            false => place.total(),
        };
        let data = places.iter().enumerate().map(of).sum();
        let last_inode = FIRST_INODE - 1 + nodes.len() as u32;
        let end = contents.end.max(CONTENTS_FIRST_BLOCK);
        let geometry = smallest(last_inode, data, |groups, inodes| Geometry::after(end, groups, inodes));
        Self::place_extents(tree, geometry, 0, (places, nodes), Some(contents))
    }

    /// Of a fixed size, with a journal.
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
        let (places, nodes) = measure(tree);
        Ok(Self::place_extents(tree, Geometry { blocks, ..geometry }, journal, (places, nodes), None))
    }

    fn place_extents(
        tree: &Tree,
        geometry: Geometry,
        journal_blocks: u32,
        (mut places, nodes): (Vec<Extent>, Vec<NodeId>),
        contents: Option<&Contents>,
    ) -> Self {
        let mut used = geometry.data;
        let journal = (journal_blocks > 0).then(|| {
            let place = Extent {
                inode: super::JOURNAL_INODE,
                first: used,
                blocks: journal_blocks,
                ..Extent::default()
            };
            used += place.total();
            place
        });
        let mut directories_per_group = vec![0; geometry.groups as usize];
        // Directories first and together: looking up names then reads few places of the disk.
        for directories in [true, false] {
            for (id, node) in tree.nodes().iter().enumerate().filter(|(_, node)| node.links > 0) {
                if matches!(node.kind, Kind::Directory { .. }) != directories {
                    continue;
                }
                let place = &mut places[id];
                if let Some(&first) = contents.and_then(|contents| contents.first_blocks.get(&id)) {
                    (place.first, place.after) = (first, used);
                    used += place.total_behind();
                } else {
                    (place.first, place.after) = (used, used + place.blocks);
                    used += place.total();
                }
                if directories {
                    directories_per_group[((place.inode - 1) / geometry.inodes_per_group) as usize] += 1;
                }
            }
        }
        let last_inode = FIRST_INODE - 1 + nodes.len() as u32;
        let free = contents.map_or_else(Vec::new, |contents| free_ranges(&geometry, contents));
        Self { geometry, journal, used, free, last_inode, places, nodes, directories_per_group }
    }

    /// Where an inode is.
    pub fn place(&self, id: NodeId) -> Extent {
        self.places[id]
    }

    /// The tree's inode of a number.
    pub fn node_of(&self, inode: u32) -> Option<NodeId> {
        match inode {
            ROOT_INODE => Some(ROOT),
            FIRST_INODE.. => self.nodes.get((inode - FIRST_INODE) as usize).copied(),
            _ => None,
        }
    }

    /// How many directories have their inode in a group.
    pub fn directories(&self, group: u32) -> u16 {
        self.directories_per_group[group as usize]
    }

    /// The blocks that a group has.
    pub fn group_blocks(&self, group: u32) -> u32 {
        (self.geometry.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// How many of all blocks are in use.
    pub fn all_used_blocks(&self) -> u32 {
        self.used - self.free.iter().map(|range| range.end - range.start).sum::<u32>()
    }

    /// How many of a group's blocks are in use.
    pub fn used_blocks(&self, group: u32) -> u32 {
        let free: u32 = self.free_in(group).map(|range| range.end - range.start).sum();
        self.used_up_to(group) - free
    }

    fn used_up_to(&self, group: u32) -> u32 {
        self.used.saturating_sub(group * BLOCKS_PER_GROUP).min(self.group_blocks(group))
    }

    /// The free ranges inside a group, counted from its first block.
    fn free_in(&self, group: u32) -> impl Iterator<Item = Range<u32>> {
        let start = group * BLOCKS_PER_GROUP;
        let end = start + self.group_blocks(group);
        let first = self.free.partition_point(|range| range.end <= start);
        self.free[first..]
            .iter()
            .take_while(move |range| range.start < end)
            .map(move |range| range.start.max(start) - start..range.end.min(end) - start)
    }

    /// How many of a group's inodes are in use.
    pub fn used_inodes(&self, group: u32) -> u32 {
        let per_group = self.geometry.inodes_per_group;
        self.last_inode.saturating_sub(group * per_group).min(per_group)
    }

    /// Which blocks of a group are in use; those behind the end of the file system count as such.
    pub fn block_bitmap(&self, group: u32) -> Vec<u8> {
        let mut bits = bitmap(self.used_up_to(group), self.group_blocks(group));
        for block in self.free_in(group).flatten() {
            bits[(block / 8) as usize] &= !(1 << (block % 8));
        }
        bits
    }

    /// Which inodes of a group are in use; bits that stand for none count as such.
    pub fn inode_bitmap(&self, group: u32) -> Vec<u8> {
        bitmap(self.used_inodes(group), self.geometry.inodes_per_group)
    }
}

/// The smallest file system with so many inodes and so many blocks behind its tables.
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
            // So many inodes that they take more groups than the blocks do: the rest is a hole.
            return Geometry { blocks: groups * BLOCKS_PER_GROUP, ..geometry };
        }
        groups = needed;
    }
}

/// What is free in front of the bitmaps: room for descriptors that was not needed, and what files left.
fn free_ranges(geometry: &Geometry, contents: &Contents) -> Vec<Range<u32>> {
    let unneeded = 1 + geometry.groups.div_ceil(DESCRIPTORS_PER_BLOCK)..CONTENTS_FIRST_BLOCK;
    let mut free = contents.free.clone();
    match free.first_mut() {
        Some(first) if first.start == unneeded.end => first.start = unneeded.start,
        _ => free.insert(0, unneeded),
    }
    free
}

/// One block with the bits `0..used` and `end..` set.
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

/// How much room each inode takes, its number, and the inodes behind the root in the order of their numbers.
fn measure(tree: &Tree) -> (Vec<Extent>, Vec<NodeId>) {
    let mut nodes = Vec::with_capacity(tree.nodes().len());
    let mut place = |(id, node): (NodeId, &Node)| {
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
    let places = tree.nodes().iter().enumerate().map(&mut place).collect();
    (places, nodes)
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
