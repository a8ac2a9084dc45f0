//! Settings of the allocator for large allocations.
#![allow(unsafe_code)] // `mallopt` is a function of C.

/// The size from which on allocations are mapped, in bytes.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 256 * 1024;

/// Maps large allocations separately, so that they return to the system when they are freed.
///
/// By default glibc raises this threshold at the first freed large allocation and then keeps such memory: the buffers of
/// each connection would be zeroed completely instead of mapped on demand, and never be returned.
pub fn map_large_pieces() {
    // SAFETY: it takes two numbers, touches nothing of ours and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}
