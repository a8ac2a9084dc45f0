//! The superblock, the group descriptors and the journal's superblock.

use super::geometry::{Extent, Layout};
use super::{
    BLOCK_BYTES, BLOCKS_PER_GROUP, FIRST_INODE, INODE_BYTES, JOURNAL_INODE, inode, put_u16, put_u32,
};

/// The superblock's offset in the image.
pub const OFFSET: u64 = 1024;
/// The superblock's length, in bytes.
pub const BYTES: usize = 1024;
/// The magic number of ext4 at byte 56.
pub const MAGIC: u16 = 0xef53;
/// The offset of `s_first_meta_bg`.
pub const FIRST_META_GROUP: usize = 260;
/// The offset of `s_overhead_blocks`.
pub const OVERHEAD: usize = 584;
/// The offset of `s_backup_bgs`.
pub const BACKUPS: usize = 588;
/// The length of a group descriptor, in bytes.
pub const DESCRIPTOR_BYTES: usize = 32;

const COMPATIBLE_HAS_JOURNAL: u32 = 0x4;
const COMPATIBLE_EXTENDED_ATTRIBUTES: u32 = 0x8;
/// `dir_index`: large directories get an index; those written here have none.
const COMPATIBLE_DIRECTORY_INDEX: u32 = 0x20;
/// `sparse_super2`: only the listed groups have copies of the superblock, and none is listed.
pub const COMPATIBLE_SPARSE_SUPERBLOCK_2: u32 = 0x200;
const COMPATIBLE: u32 =
    COMPATIBLE_EXTENDED_ATTRIBUTES | COMPATIBLE_DIRECTORY_INDEX | COMPATIBLE_SPARSE_SUPERBLOCK_2;
/// `meta_bg`: descriptors may be in the groups that they describe.
pub const INCOMPATIBLE_META_GROUPS: u32 = 0x10;
/// `filetype`, `extent`, and `flex_bg`: a group's bitmaps and inodes may be anywhere.
pub const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// `sparse_super`, `large_file`, `dir_nlink` and `extra_isize`.
pub const READ_ONLY: u32 = 0x1 | 0x2 | 0x20 | 0x40;

/// The superblock.
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
    // No check by mount count.
    put_u16(&mut bytes, 54, u16::MAX);
    put_u16(&mut bytes, 56, MAGIC);
    // Clean; continue on errors.
    put_u16(&mut bytes, 58, 1);
    put_u16(&mut bytes, 60, 1);
    // Revision 1: variable inode size, features.
    put_u32(&mut bytes, 76, 1);
    put_u32(&mut bytes, 84, FIRST_INODE);
    put_u16(&mut bytes, 88, INODE_BYTES as u16);
    let journal = if layout.journal.is_some() { COMPATIBLE_HAS_JOURNAL } else { 0 };
    put_u32(&mut bytes, 92, COMPATIBLE | journal);
    put_u32(&mut bytes, 96, INCOMPATIBLE);
    put_u32(&mut bytes, 100, READ_ONLY);
    bytes[104..120].copy_from_slice(uuid);
    // Hash seed, half-MD4, unsigned.
    bytes[236..252].copy_from_slice(uuid);
    bytes[252] = 1;
    put_u32(&mut bytes, 352, 2);
    put_u16(&mut bytes, 348, 32);
    put_u16(&mut bytes, 350, 32);
    // 16 groups per flex group.
    bytes[372] = 4;
    if let Some(extent) = &layout.journal {
        put_u32(&mut bytes, 224, JOURNAL_INODE);
        // A backup of the journal inode's map and size.
        bytes[253] = 1;
        bytes[268..268 + inode::MAP_BYTES].copy_from_slice(&inode::map(extent));
        put_u32(&mut bytes, 268 + inode::MAP_BYTES + 4, extent.blocks * BLOCK_BYTES as u32);
    }
    bytes
}

/// The descriptors of all groups.
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

/// The first block of an empty journal, in big-endian.
pub fn journal(extent: &Extent, uuid: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0, 0xc03b_3998);
    // A superblock of version 2.
    put(4, 4);
    put(12, BLOCK_BYTES as u32);
    put(16, extent.blocks);
    // First block, first sequence number, no log to replay.
    put(20, 1);
    put(24, 1);
    put(28, 0);
    // One user.
    put(64, 1);
    bytes[48..64].copy_from_slice(uuid);
    bytes
}
