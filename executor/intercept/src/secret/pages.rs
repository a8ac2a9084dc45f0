//! Memory for the value of a secret: of its own pages, in no core dump, and in no swap space where the host allows it.
#![allow(unsafe_code, reason = "pages of memory have no safe interface")]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::ptr::NonNull;
use zeroize::Zeroize;

/// Bytes in pages of their own.
pub struct Pages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the pages belong to this value alone, and are not written to before it is dropped.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Copies bytes into new pages. `None` if the host has no memory, or there are no bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let length = bytes.len();
        if length == 0 {
            return None;
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, flags) }.ok()?;
        let start = NonNull::new(start.cast::<u8>())?;
        let pages = Self { start, length };
        // Best effort: an old kernel, or a limit on locked memory.
        // SAFETY: the advice does not change the contents of the new mapping.
        let _ = unsafe { madvise(pages.address(), length, Advice::LinuxDontDump) };
        // SAFETY: as above.
        let _ = unsafe { mlock(pages.address(), length) };
        // SAFETY: both are `length` bytes long, and the new mapping overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), length) };
        Some(pages)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has `length` bytes, which are initialized and do not change before the drop.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn address(&self) -> *mut c_void {
        self.start.as_ptr().cast()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nothing else refers to the bytes any more.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }.zeroize();
        // SAFETY: it is the whole mapping, and is not used after this.
        let _ = unsafe { munmap(self.address(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping at an address, from `/proc/self/smaps`.
    fn flags(address: *const u8) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_ours = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let numbers =
                range.map(|(first, last)| [first, last].map(|text| usize::from_str_radix(text, 16)));
            if let Some([Ok(first), Ok(last)]) = numbers {
                is_ours = (first..last).contains(&address.addr());
            } else if is_ours && let Some(flags) = line.strip_prefix("VmFlags:") {
                return Some(flags.to_owned());
            }
        }
        None
    }

    #[test]
    fn the_pages_are_in_no_core_dump() {
        let pages = Pages::of(&[7; 10_000]).unwrap();
        assert_eq!(pages.bytes(), [7; 10_000]);
        let known = flags(pages.bytes().as_ptr()).unwrap();
        assert!(known.split(' ').any(|flag| flag == "dd"), "{known}");
        // Other memory is.
        let known = flags([7; 10].as_ptr()).unwrap();
        assert!(!known.split(' ').any(|flag| flag == "dd"), "{known}");
    }

    #[test]
    fn no_bytes_have_no_pages() {
        assert!(Pages::of(&[]).is_none());
    }
}
