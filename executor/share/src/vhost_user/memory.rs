//! The guest's memory: mapped from the files that the VMM passes.

use rustix::fs::{SealFlags, fcntl_get_seals};
use std::fs::File;
use std::io;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vhost::vhost_user::{Error, Result};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

/// A region in the VMM's address space, in which it names the guest's queues.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    vmm_address: u64,
    guest_address: u64,
    bytes: u64,
}

/// The regions of the VMM's address space that are guest memory.
#[derive(Debug, Default)]
pub(super) struct Mappings(Vec<Mapping>);

impl Mappings {
    /// Converts an address of the VMM to one of the guest.
    pub(super) fn guest_address(&self, vmm_address: u64) -> Result<u64> {
        let find = |mapping: &Mapping| {
            let offset = vmm_address.checked_sub(mapping.vmm_address)?;
            (offset < mapping.bytes).then(|| mapping.guest_address.checked_add(offset)).flatten()
        };
        self.0.iter().find_map(find).ok_or(Error::InvalidParam)
    }
}

/// Maps the guest's memory.
///
/// # Errors
///
/// If a file is smaller than its region or could become so, or regions overlap.
pub(super) fn map(
    regions: &[VhostUserMemoryRegion],
    files: Vec<File>,
) -> Result<(GuestMemoryMmap, Mappings)> {
    let mut mapped = Vec::new();
    let mut mappings = Vec::new();
    for (region, file) in regions.iter().zip(files) {
        let (vmm_address, guest_address, bytes) =
            (region.user_addr, region.guest_phys_addr, region.memory_size);
        let end = region.mmap_offset.checked_add(bytes).ok_or(Error::InvalidParam)?;
        check_file(&file, end).map_err(Error::ReqHandlerError)?;
        let memory = GuestRegionMmap::new(region.mmap_region::<()>(file)?, GuestAddress(guest_address));
        mapped.push(memory.ok_or(Error::InvalidParam)?);
        mappings.push(Mapping { vmm_address, guest_address, bytes });
    }
    mapped.sort_by_key(GuestMemoryRegion::start_addr);
    let memory = GuestMemoryMmap::from_regions(mapped)
        .map_err(|error| Error::ReqHandlerError(io::Error::other(error)))?;
    Ok((memory, Mappings(mappings)))
}

/// Requires that a file has this many bytes and cannot shrink: an access after its end would be a bus error.
fn check_file(file: &File, end: u64) -> io::Result<()> {
    let invalid = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    // Fails for files that are not in memory.
    if !fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
        return invalid("the guest's memory can shrink");
    }
    if file.metadata()?.len() < end {
        return invalid("the guest's memory is larger than its file");
    }
    Ok(())
}
