//! How the allocator treats large pieces of memory.
#![allow(unsafe_code)] // `mallopt` is a function of C.

/// What is at least as large is mapped by itself, in bytes.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 256 * 1024;

/// Has large pieces mapped one by one, and given back to the system as soon as they are freed.
///
/// Left to itself, glibc takes the first such piece that is freed for a sign that there will be many, and keeps them
/// from then on: each connection's buffers would be filled with zeros anew instead of taken as far as they are
/// used, and their memory would never come back.
pub fn map_large_pieces() {
    // SAFETY: it takes two numbers, touches nothing of ours and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}
