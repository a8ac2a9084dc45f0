//! Inodes and their extent trees (kernel documentation, "ext4 Data Structures and Algorithms").

use super::geometry::Extent;
use super::{BLOCK_BYTES, INODE_BYTES, put_u16, put_u32, xattr};
use crate::tree::{Attributes, Device, Kind, Node};

/// The longest symbolic link target that is stored in the inode, in bytes.
pub const INLINE_TARGET_BYTES_MAX: usize = 59;
/// The offset of the field for extents, a device number or a short target.
const MAP_OFFSET: usize = 40;
/// The length of that field, in bytes.
pub const MAP_BYTES: usize = 60;
/// Bytes of an inode after the first 128 that have a fixed meaning.
const EXTRA_BYTES: u16 = 32;
/// The flag of inodes that are mapped by extents.
const FLAG_EXTENTS: u32 = 0x80000;
/// The magic number of an extent tree's node.
const EXTENT_MAGIC: u16 = 0xf30a;
/// The largest extent, in blocks.
const EXTENT_BLOCKS_MAX: u32 = 32768;
/// Extents per inode.
const EXTENTS_PER_INODE: u32 = 4;
/// Extents per leaf.
const EXTENTS_PER_LEAF: u32 = (BLOCK_BYTES as u32 - 12) / 12;
/// The largest number of subdirectories that is counted.
const SUBFOLDERS_MAX: usize = 64_998;

/// The largest file, in bytes: the extents of four leaves.
pub const FILE_BYTES_MAX: u64 =
    EXTENTS_PER_INODE as u64 * EXTENTS_PER_LEAF as u64 * EXTENT_BLOCKS_MAX as u64 * BLOCK_BYTES;
const _: () = assert!(FILE_BYTES_MAX >= crate::tree::BYTES_MAX);

/// The number of leaves that this many blocks of contents need.
pub fn leaves_of(blocks: u32) -> u32 {
    match blocks.div_ceil(EXTENT_BLOCKS_MAX) {
        0..=EXTENTS_PER_INODE => 0,
        extents => extents.div_ceil(EXTENTS_PER_LEAF),
    }
}

/// The on-disk form of an inode.
pub struct InodeRecord(pub [u8; INODE_BYTES]);

impl InodeRecord {
    /// The record of an inode in a tree.
    pub fn of(node: &Node, extent: &Extent, subfolders: usize) -> Self {
        let mut bytes = [0; INODE_BYTES];
        let Attributes { mode, uid, gid, modified_seconds, modified_nanoseconds, extended } =
            &node.attributes;
        let (kind, size, links) = match &node.kind {
            Kind::Directory { .. } => {
                let links = if subfolders > SUBFOLDERS_MAX { 1 } else { 2 + subfolders as u32 };
                (0o040_000, u64::from(extent.blocks) * BLOCK_BYTES, links)
            }
            Kind::File { size } => (0o100_000, *size, node.links),
            Kind::Symlink { target } => (0o120_000, target.len() as u64, node.links),
            Kind::Character(_) => (0o020_000, 0, node.links),
            Kind::Block(_) => (0o060_000, 0, node.links),
            Kind::Fifo => (0o010_000, 0, node.links),
            Kind::Socket => (0o140_000, 0, node.links),
        };
        put_u16(&mut bytes, 0, kind | (mode & 0o7777));
        put_u16(&mut bytes, 2, *uid as u16);
        put_u16(&mut bytes, 24, *gid as u16);
        put_u16(&mut bytes, 120, (uid >> 16) as u16);
        put_u16(&mut bytes, 122, (gid >> 16) as u16);
        put_u16(&mut bytes, 26, links as u16);
        put_times(&mut bytes, *modified_seconds, *modified_nanoseconds);
        put_size(&mut bytes, size, extent);
        match &node.kind {
            Kind::Symlink { target } if extent.blocks == 0 => {
                bytes[MAP_OFFSET..MAP_OFFSET + target.len()].copy_from_slice(target);
            }
            Kind::Directory { .. } | Kind::File { .. } | Kind::Symlink { .. } => put_map(&mut bytes, extent),
            Kind::Character(device) | Kind::Block(device) => put_device(&mut bytes, *device),
            Kind::Fifo | Kind::Socket => {}
        }
        if extent.attribute_block {
            put_u32(&mut bytes, 104, extent.attributes());
        } else if !extended.is_empty() {
            xattr::put_inline(&mut bytes, extended);
        }
        Self(bytes)
    }

    /// The journal's record.
    pub fn journal(extent: &Extent) -> Self {
        let mut bytes = [0; INODE_BYTES];
        put_u16(&mut bytes, 0, 0o100_600);
        put_u16(&mut bytes, 26, 1);
        put_times(&mut bytes, 0, 0);
        put_size(&mut bytes, u64::from(extent.blocks) * BLOCK_BYTES, extent);
        put_map(&mut bytes, extent);
        Self(bytes)
    }
}

fn put_size(bytes: &mut [u8], size: u64, extent: &Extent) {
    put_u32(bytes, 4, size as u32);
    put_u32(bytes, 108, (size >> 32) as u32);
    // In units of 512 bytes. The limit of 64 GiB stays far below 32 bits of them.
    let blocks = extent.blocks + extent.leaves + u32::from(extent.attribute_block);
    put_u32(bytes, 28, blocks * (BLOCK_BYTES as u32 / 512));
    put_u16(bytes, 128, EXTRA_BYTES);
}

/// All timestamps are the time of the last change, with 34 bits of seconds, from 1901 to 2446.
fn put_times(bytes: &mut [u8], seconds: i64, nanoseconds: u32) {
    let seconds = seconds.clamp(i64::from(i32::MIN), (1 << 34) - 1 + i64::from(i32::MIN));
    let low = seconds as i32;
    let epoch = ((seconds - i64::from(low)) >> 32) as u32 & 3;
    let extra = epoch | nanoseconds.min(999_999_999) << 2;
    for (at, extra_at) in [(8, 140), (12, 132), (16, 136), (144, 148)] {
        put_u32(bytes, at, low as u32);
        put_u32(bytes, extra_at, extra);
    }
}

/// Both encodings of device numbers in Linux.
fn put_device(bytes: &mut [u8], Device { major, minor }: Device) {
    if major < 256 && minor < 256 {
        put_u32(bytes, MAP_OFFSET, major << 8 | minor);
    } else {
        put_u32(bytes, MAP_OFFSET + 4, (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12);
    }
}

fn put_map(bytes: &mut [u8], extent: &Extent) {
    put_u32(bytes, 32, FLAG_EXTENTS);
    bytes[MAP_OFFSET..MAP_OFFSET + MAP_BYTES].copy_from_slice(&map(extent));
}

/// The 60 bytes at [`MAP_OFFSET`]: the root of the extent tree.
pub fn map(extent: &Extent) -> [u8; MAP_BYTES] {
    let mut bytes = [0; MAP_BYTES];
    let depth = u16::from(extent.leaves > 0);
    if extent.leaves == 0 {
        put_extents(&mut bytes, extent, 0, EXTENTS_PER_INODE);
    } else {
        put_extent_header(&mut bytes, extent.leaves as u16, EXTENTS_PER_INODE as u16, depth);
        for leaf in 0..extent.leaves {
            let at = 12 + leaf as usize * 12;
            put_u32(&mut bytes, at, leaf * EXTENTS_PER_LEAF * EXTENT_BLOCKS_MAX);
            put_u32(&mut bytes, at + 4, extent.leaf(leaf));
        }
    }
    bytes
}

/// A leaf of an inode's extent tree.
pub fn extent_leaf(extent: &Extent, leaf: u32) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    put_extents(&mut bytes, extent, leaf * EXTENTS_PER_LEAF, EXTENTS_PER_LEAF);
    bytes
}

fn put_extents(bytes: &mut [u8], extent: &Extent, first_extent: u32, room: u32) {
    let all = extent.blocks.div_ceil(EXTENT_BLOCKS_MAX);
    let here = (all - first_extent).min(room);
    put_extent_header(bytes, here as u16, room as u16, 0);
    for index in 0..here {
        let logical = (first_extent + index) * EXTENT_BLOCKS_MAX;
        let at = 12 + index as usize * 12;
        put_u32(bytes, at, logical);
        put_u16(bytes, at + 4, (extent.blocks - logical).min(EXTENT_BLOCKS_MAX) as u16);
        put_u32(bytes, at + 8, extent.first + logical);
    }
}

fn put_extent_header(bytes: &mut [u8], entries: u16, room: u16, depth: u16) {
    put_u16(bytes, 0, EXTENT_MAGIC);
    put_u16(bytes, 2, entries);
    put_u16(bytes, 4, room);
    put_u16(bytes, 6, depth);
}
