//! Bounds the memory that one input may take: a length that is believed before its bytes have come shows here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The most bytes for one input.
static FOR_ONE_INPUT: AtomicUsize = AtomicUsize::new(usize::MAX);

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed on to the system's allocator as it is; refusing one by a null pointer is allowed.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size() > LIMIT.load(Ordering::Relaxed)
        {
            IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
            // The process ends with a message that names the size, which the fuzzer reports as a finding.
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Sets how many bytes one input may take.
pub fn limit(bytes: usize) {
    FOR_ONE_INPUT.store(bytes, Ordering::Relaxed);
}

/// Runs one input within the limit.
pub fn measure(run: impl FnOnce()) {
    let limit = IN_USE.load(Ordering::Relaxed).saturating_add(FOR_ONE_INPUT.load(Ordering::Relaxed));
    LIMIT.store(limit, Ordering::Relaxed);
    run();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}
