//! Extended attributes: in the inode if they fit, else in a block of their own.

use super::{BLOCK_BYTES, INODE_BYTES, put_u16, put_u32};
use crate::tree::Extended;

const MAGIC: u32 = 0xea02_0000;
/// The offset of an inode's attributes, after its fixed part.
const INLINE_OFFSET: usize = 160;
/// The length of the magic number before them.
const INLINE_HEADER_BYTES: usize = 4;
const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
/// The length of the end marker of an entry list.
const END_BYTES: usize = 4;

/// The kept namespaces, with their numbers in ext4.
const NAMESPACES: [(&[u8], u8); 2] = [(b"user.", 1), (b"security.", 6)];

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    NAMESPACES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)))
}

/// Whether an attribute is kept: user attributes and file capabilities. Others, such as labels of the host's security
/// modules, have no meaning in a guest.
pub fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && name.len() > 5)
}

fn needed_bytes(extended: &Extended) -> usize {
    let entries = extended.iter().map(|(name, value)| {
        let name = split(name).map_or(0, |(_, rest)| rest.len());
        ENTRY_BYTES + name.next_multiple_of(4) + value.len().next_multiple_of(4)
    });
    entries.sum::<usize>() + END_BYTES
}

/// Whether they do not fit into an inode.
pub fn needs_block(extended: &Extended) -> bool {
    !extended.is_empty() && needed_bytes(extended) > INODE_BYTES - INLINE_OFFSET - INLINE_HEADER_BYTES
}

/// Whether they can be stored at all.
pub fn fits(extended: &Extended) -> bool {
    let names = extended.keys().all(|name| split(name).is_some_and(|(_, rest)| rest.len() <= 255));
    names && needed_bytes(extended) <= BLOCK_BYTES as usize - BLOCK_HEADER_BYTES
}

/// Stores them in an inode.
pub fn put_inline(inode: &mut [u8; INODE_BYTES], extended: &Extended) {
    put_u32(inode, INLINE_OFFSET, MAGIC);
    let area = &mut inode[INLINE_OFFSET + INLINE_HEADER_BYTES..];
    put_entries(area, 0, extended);
}

/// The block that contains them.
pub fn block(extended: &Extended) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES as usize];
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, 4, 1);
    put_u32(&mut bytes, 8, 1);
    let hash = put_entries(&mut bytes, BLOCK_HEADER_BYTES, extended);
    put_u32(&mut bytes, 12, hash);
    bytes
}

/// Writes entries upwards from `start` and values downwards from the end; value offsets are relative to `area`. Returns
/// the hash of all entries.
fn put_entries(area: &mut [u8], start: usize, extended: &Extended) -> u32 {
    // The kernel searches a block by namespace, length and name.
    let mut sorted: Vec<_> = extended
        .iter()
        .filter_map(|(name, value)| split(name).map(|(index, rest)| (index, rest, value)))
        .collect();
    sorted.sort_by_key(|(index, rest, _)| (*index, rest.len(), *rest));
    let (mut at, mut end, mut all) = (start, area.len(), 0u32);
    for (index, name, value) in sorted {
        end -= value.len().next_multiple_of(4);
        let hash = entry_hash(name, value);
        area[at] = name.len() as u8;
        area[at + 1] = index;
        put_u16(area, at + 2, end as u16);
        put_u32(area, at + 8, value.len() as u32);
        put_u32(area, at + 12, hash);
        area[at + ENTRY_BYTES..at + ENTRY_BYTES + name.len()].copy_from_slice(name);
        area[end..end + value.len()].copy_from_slice(value);
        at += ENTRY_BYTES + name.len().next_multiple_of(4);
        all = all.rotate_left(16) ^ hash;
    }
    all
}

fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let name = name.iter().fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    value.chunks(4).fold(name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}
