//! Grows an unmounted writable file system: adds groups after the last one.
//!
//! The kernel's `EXT4_IOC_RESIZE_FS` refuses file systems without copies of the superblock, and `resize2fs` would have
//! to be installed. The layout of this module is simple: the last group gets its missing blocks, and each new group
//! starts with its own bitmaps and inode table.
//!
//! ```text
//! | existing blocks … the last group's new blocks | bitmaps, inode table, free blocks | bitmaps, … |
//! ```
//!
//! Descriptors first fill the blocks that the file system was created with. Further ones are at the start of the groups
//! that they describe (`meta_bg`), in three copies as the kernel expects.
//!
//! A guest has written to this disk, so nothing on it is trusted. A file system that msb did not create, or that was not
//! unmounted cleanly, is left unchanged. Writes before the superblock's have no effect without it, and are repeated by
//! the next attempt.

use super::geometry::{DESCRIPTORS_PER_BLOCK, WRITABLE_BYTES_MAX, WRITABLE_INODES_PER_GROUP};
use super::superblock::{self, DESCRIPTOR_BYTES};
use super::{BLOCK_BYTES, BLOCKS_PER_GROUP, INODES_PER_BLOCK, block_offset, put_u16, put_u32};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bitmaps and inode table of a new group, in blocks.
const GROUP_METADATA: u32 = 2 + WRITABLE_INODES_PER_GROUP / INODES_PER_BLOCK;
/// The smallest new last group, in blocks: a smaller one would contain little but its own tables.
const NEW_GROUP_BLOCKS_MIN: u32 = 1024;
/// Incompatible features that do not affect the location of blocks and groups.
const INCOMPATIBLE_KNOWN: u32 = superblock::INCOMPATIBLE | superblock::INCOMPATIBLE_META_GROUPS;

/// The result of growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It fills its disk already, or almost.
    NotNeeded,
    /// It was grown.
    Grown,
    /// It was not unmounted cleanly, or msb did not create it: it is unchanged.
    LeftAlone,
}

/// Grows a file system to the size of its file.
///
/// # Errors
///
/// If the file cannot be read or written.
pub fn grow(file: &File) -> io::Result<Growth> {
    let mut superblock = Superblock::read(file)?;
    let Some(state) = superblock.state() else { return Ok(Growth::LeftAlone) };
    let blocks = blocks_of(file.metadata()?.len());
    if blocks <= state.blocks {
        return Ok(Growth::NotNeeded);
    }
    let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
    let mut table = Table::read(file, &state, groups)?;
    if !fill_last_group(file, &mut table, &state, blocks)? {
        return Ok(Growth::LeftAlone);
    }
    for group in state.groups..groups {
        add_group(file, &mut table, group, blocks)?;
    }
    table.write(file)?;
    file.sync_data()?;
    superblock.set_size(&table, blocks);
    superblock.write(file)?;
    file.sync_data()?;
    Ok(Growth::Grown)
}

/// The number of blocks of a file system for this many bytes.
fn blocks_of(bytes: u64) -> u32 {
    let blocks = (bytes.min(WRITABLE_BYTES_MAX) / BLOCK_BYTES) as u32;
    let last = blocks % BLOCKS_PER_GROUP;
    if last < NEW_GROUP_BLOCKS_MIN && blocks > BLOCKS_PER_GROUP { blocks - last } else { blocks }
}

/// The number of blocks of a group.
fn group_blocks(group: u32, blocks: u32) -> u32 {
    (blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
}

/// The superblock's bytes.
struct Superblock([u8; superblock::BYTES]);

/// The parameters in a valid superblock.
struct State {
    blocks: u32,
    groups: u32,
    /// The first block of descriptors that is in the groups that it describes.
    first_meta_group: u32,
}

impl Superblock {
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; superblock::BYTES];
        file.read_exact_at(&mut bytes, superblock::OFFSET)?;
        Ok(Self(bytes))
    }

    fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.0, superblock::OFFSET)
    }

    fn state(&self) -> Option<State> {
        let bytes = &self.0;
        let (blocks, incompatible) = (get_u32(bytes, 4), get_u32(bytes, 96));
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let is_ours = get_u16(bytes, 56) == superblock::MAGIC
            && get_u32(bytes, 20) == 0
            && get_u32(bytes, 24) == 2
            && get_u32(bytes, 32) == BLOCKS_PER_GROUP
            && get_u32(bytes, 40) == WRITABLE_INODES_PER_GROUP
            && groups > 0
            && get_u32(bytes, 0) == groups.checked_mul(WRITABLE_INODES_PER_GROUP)?
            && incompatible & !INCOMPATIBLE_KNOWN == 0
            && get_u32(bytes, 100) & !superblock::READ_ONLY == 0
            && get_u32(bytes, 92) & superblock::COMPATIBLE_SPARSE_SUPERBLOCK_2 != 0
            && bytes[superblock::BACKUPS..][..8] == [0; 8];
        // Clean, without errors. A journal to replay would be an unknown feature above.
        let is_clean = get_u16(bytes, 58) == 1;
        let first_meta_group = match incompatible & superblock::INCOMPATIBLE_META_GROUPS {
            0 => groups.div_ceil(DESCRIPTORS_PER_BLOCK),
            _ => get_u32(bytes, superblock::FIRST_META_GROUP),
        };
        (is_ours && is_clean).then_some(State { blocks, groups, first_meta_group })
    }

    fn set_size(&mut self, table: &Table, blocks: u32) {
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let free = |at: usize| (0..groups).map(|group| u32::from(get_u16(table.descriptor(group), at))).sum();
        let (free_blocks, free_inodes): (u32, u32) = (free(12), free(14));
        let bytes = &mut self.0;
        put_u32(bytes, 0, groups * WRITABLE_INODES_PER_GROUP);
        put_u32(bytes, 4, blocks);
        put_u32(bytes, 12, free_blocks);
        put_u32(bytes, 16, free_inodes);
        if groups.div_ceil(DESCRIPTORS_PER_BLOCK) > table.first_meta_group {
            let incompatible = get_u32(bytes, 96) | superblock::INCOMPATIBLE_META_GROUPS;
            put_u32(bytes, 96, incompatible);
            put_u32(bytes, superblock::FIRST_META_GROUP, table.first_meta_group);
        }
        // The kernel recomputes it.
        put_u32(bytes, superblock::OVERHEAD, 0);
    }
}

/// The descriptors of all groups, old and new.
struct Table {
    bytes: Vec<u8>,
    groups: u32,
    first_meta_group: u32,
}

impl Table {
    fn read(file: &File, state: &State, groups: u32) -> io::Result<Self> {
        let table_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let bytes = vec![0; table_blocks as usize * BLOCK_BYTES as usize];
        let mut table = Self { bytes, groups, first_meta_group: state.first_meta_group };
        for index in 0..state.groups.div_ceil(DESCRIPTORS_PER_BLOCK) {
            let at = block_offset(table.places(index)[0]);
            file.read_exact_at(table.block_mut(index), at)?;
        }
        Ok(table)
    }

    fn write(&self, file: &File) -> io::Result<()> {
        for index in 0..self.groups.div_ceil(DESCRIPTORS_PER_BLOCK) {
            let from = index as usize * BLOCK_BYTES as usize;
            for extent in self.places(index) {
                file.write_all_at(&self.bytes[from..][..BLOCK_BYTES as usize], block_offset(extent))?;
            }
        }
        Ok(())
    }

    /// The blocks with copies of a descriptor block, the primary one first.
    fn places(&self, index: u32) -> Vec<u32> {
        if index < self.first_meta_group {
            return vec![1 + index];
        }
        let first = index * DESCRIPTORS_PER_BLOCK;
        let groups = [first, first + 1, first + DESCRIPTORS_PER_BLOCK - 1];
        groups
            .into_iter()
            .filter(|group| *group < self.groups)
            .map(|group| group * BLOCKS_PER_GROUP)
            .collect()
    }

    /// Whether a group starts with descriptors.
    fn begins_with_descriptors(&self, group: u32) -> bool {
        self.places(group / DESCRIPTORS_PER_BLOCK).contains(&(group * BLOCKS_PER_GROUP))
    }

    fn block_mut(&mut self, index: u32) -> &mut [u8] {
        &mut self.bytes[index as usize * BLOCK_BYTES as usize..][..BLOCK_BYTES as usize]
    }

    fn descriptor(&self, group: u32) -> &[u8] {
        &self.bytes[group as usize * DESCRIPTOR_BYTES..][..DESCRIPTOR_BYTES]
    }

    fn descriptor_mut(&mut self, group: u32) -> &mut [u8] {
        &mut self.bytes[group as usize * DESCRIPTOR_BYTES..][..DESCRIPTOR_BYTES]
    }
}

/// Extends the last group. Returns false if its bitmap is outside of the file system.
fn fill_last_group(file: &File, table: &mut Table, state: &State, blocks: u32) -> io::Result<bool> {
    let group = state.groups - 1;
    let bitmap_block = get_u32(table.descriptor(group), 0);
    if bitmap_block == 0 || bitmap_block >= state.blocks {
        return Ok(false);
    }
    let mut bitmap = [0; BLOCK_BYTES as usize];
    file.read_exact_at(&mut bitmap, block_offset(bitmap_block))?;
    let (before, now) = (group_blocks(group, state.blocks), group_blocks(group, blocks));
    for bit in before..now {
        bitmap[bit as usize / 8] &= !(1 << (bit % 8));
    }
    file.write_all_at(&bitmap, block_offset(bitmap_block))?;
    let free = (0..now).filter(|bit| bitmap[*bit as usize / 8] & (1 << (bit % 8)) == 0).count();
    put_u16(table.descriptor_mut(group), 12, free as u16);
    Ok(true)
}

/// Writes a new group's bitmaps and describes it. Its inode table need not be zeroed: it is a hole, or is not read
/// before it is written, as the bitmap marks all inodes unused.
fn add_group(file: &File, table: &mut Table, group: u32, blocks: u32) -> io::Result<()> {
    let start = group * BLOCKS_PER_GROUP;
    let first = start + u32::from(table.begins_with_descriptors(group));
    let used = first - start + GROUP_METADATA;
    let size = group_blocks(group, blocks);
    file.write_all_at(&super::geometry::bitmap(used, size), block_offset(first))?;
    file.write_all_at(&super::geometry::bitmap(0, WRITABLE_INODES_PER_GROUP), block_offset(first + 1))?;
    let descriptor = table.descriptor_mut(group);
    descriptor.fill(0);
    put_u32(descriptor, 0, first);
    put_u32(descriptor, 4, first + 1);
    put_u32(descriptor, 8, first + 2);
    put_u16(descriptor, 12, (size - used) as u16);
    put_u16(descriptor, 14, WRITABLE_INODES_PER_GROUP as u16);
    Ok(())
}

fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
