//! The superblock, the group descriptors and the journal's own superblock.

use super::geometry::{Extent, Layout};
use super::{
    BLOCK_BYTES, BLOCKS_PER_GROUP, FIRST_INODE, INODE_BYTES, JOURNAL_INODE, inode, put_u16, put_u32,
};

/// Where the superblock is in the image.
pub const OFFSET: u64 = 1024;
/// How long it is.
pub const BYTES: usize = 1024;
/// What every ext4 superblock has at byte 56.
pub const MAGIC: u16 = 0xef53;
/// Where the first block of descriptors is named that lies in the groups that it describes.
pub const FIRST_META_GROUP: usize = 260;
/// Where the kernel keeps how much the metadata takes.
pub const OVERHEAD: usize = 584;
/// Where the groups are named that hold copies of the superblock.
pub const BACKUPS: usize = 588;
/// How long a group's descriptor is.
pub const DESCRIPTOR_BYTES: usize = 32;

const COMPATIBLE_HAS_JOURNAL: u32 = 0x4;
const COMPATIBLE_EXTENDED_ATTRIBUTES: u32 = 0x8;
/// Directories that grow large get an index; those written here have none.
const COMPATIBLE_DIRECTORY_INDEX: u32 = 0x20;
/// No copies of the superblock but the listed ones, and none is listed.
pub const COMPATIBLE_SPARSE_SUPERBLOCK_2: u32 = 0x200;
pub const INCOMPATIBLE_FILE_TYPE: u32 = 0x2;
pub const INCOMPATIBLE_EXTENTS: u32 = 0x40;
/// Descriptors may lie in the groups that they describe.
pub const INCOMPATIBLE_META_GROUPS: u32 = 0x10;
/// A group's bitmaps and inodes may be anywhere.
pub const INCOMPATIBLE_FLEXIBLE_GROUPS: u32 = 0x200;
pub const READ_ONLY_SPARSE_SUPERBLOCK: u32 = 0x1;
pub const READ_ONLY_LARGE_FILE: u32 = 0x2;
pub const READ_ONLY_MANY_SUBFOLDERS: u32 = 0x20;
pub const READ_ONLY_EXTRA_INODE_BYTES: u32 = 0x40;

/// The file system's own description.
pub fn superblock(layout: &Layout, uuid: &[u8; 16]) -> Vec<u8> {
    let geometry = &layout.geometry;
    let mut bytes = vec![0; BYTES];
    let inodes = geometry.groups * geometry.inodes_per_group;
    put_u32(&mut bytes, 0, inodes);
    put_u32(&mut bytes, 4, geometry.blocks);
    put_u32(&mut bytes, 12, geometry.blocks - layout.all_used_blocks());
    put_u32(&mut bytes, 16, inodes - layout.last_inode);
    // Blocks and clusters of 4 KiB: 1024 << 2.
    put_u32(&mut bytes, 24, 2);
    put_u32(&mut bytes, 28, 2);
    put_u32(&mut bytes, 32, BLOCKS_PER_GROUP);
    put_u32(&mut bytes, 36, BLOCKS_PER_GROUP);
    put_u32(&mut bytes, 40, geometry.inodes_per_group);
    // No check is ever due by the number of mounts.
    put_u16(&mut bytes, 54, u16::MAX);
    put_u16(&mut bytes, 56, MAGIC);
    // Clean, and on errors: go on.
    put_u16(&mut bytes, 58, 1);
    put_u16(&mut bytes, 60, 1);
    // Revision 1: inodes have a size, features are named.
    put_u32(&mut bytes, 76, 1);
    put_u32(&mut bytes, 84, FIRST_INODE);
    put_u16(&mut bytes, 88, INODE_BYTES as u16);
    let journal = if layout.journal.is_some() { COMPATIBLE_HAS_JOURNAL } else { 0 };
    put_u32(
        &mut bytes,
        92,
        COMPATIBLE_EXTENDED_ATTRIBUTES
            | COMPATIBLE_DIRECTORY_INDEX
            | COMPATIBLE_SPARSE_SUPERBLOCK_2
            | journal,
    );
    put_u32(&mut bytes, 96, INCOMPATIBLE_FILE_TYPE | INCOMPATIBLE_EXTENTS | INCOMPATIBLE_FLEXIBLE_GROUPS);
    put_u32(
        &mut bytes,
        100,
        READ_ONLY_SPARSE_SUPERBLOCK
            | READ_ONLY_LARGE_FILE
            | READ_ONLY_MANY_SUBFOLDERS
            | READ_ONLY_EXTRA_INODE_BYTES,
    );
    bytes[104..120].copy_from_slice(uuid);
    // The seed of the directories' hash, the hash (half MD4), and that it takes bytes as unsigned.
    bytes[236..252].copy_from_slice(uuid);
    bytes[252] = 1;
    put_u32(&mut bytes, 352, 2);
    put_u16(&mut bytes, 348, 32);
    put_u16(&mut bytes, 350, 32);
    // 16 groups are filled as one.
    bytes[372] = 4;
    if let Some(place) = &layout.journal {
        put_u32(&mut bytes, 224, JOURNAL_INODE);
        // A copy of the journal's inode: its map and its size.
        bytes[253] = 1;
        bytes[268..268 + inode::MAP_BYTES].copy_from_slice(&inode::map(place));
        put_u32(&mut bytes, 268 + inode::MAP_BYTES + 4, place.blocks * BLOCK_BYTES as u32);
    }
    bytes
}

/// All groups' descriptors.
pub fn group_descriptors(layout: &Layout) -> Vec<u8> {
    let geometry = &layout.geometry;
    let mut bytes = vec![0; geometry.groups as usize * DESCRIPTOR_BYTES];
    for group in 0..geometry.groups {
        let descriptor = &mut bytes[group as usize * DESCRIPTOR_BYTES..][..DESCRIPTOR_BYTES];
        put_u32(descriptor, 0, geometry.block_bitmaps + group);
        put_u32(descriptor, 4, geometry.inode_bitmaps + group);
        put_u32(descriptor, 8, geometry.inode_table(group));
        put_u16(descriptor, 12, (layout.group_blocks(group) - layout.used_blocks(group)) as u16);
        put_u16(descriptor, 14, (geometry.inodes_per_group - layout.used_inodes(group)) as u16);
        put_u16(descriptor, 16, layout.directories(group));
    }
    bytes
}

/// The first block of an empty journal; its numbers are big-endian.
pub fn journal(place: &Extent, uuid: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0, 0xc03b_3998);
    // A superblock of version 2.
    put(4, 4);
    put(12, BLOCK_BYTES as u32);
    put(16, place.blocks);
    // The first block of the log, the first sequence number, and no log to replay.
    put(20, 1);
    put(24, 1);
    put(28, 0);
    // One user.
    put(64, 1);
    bytes[48..64].copy_from_slice(uuid);
    bytes
}
