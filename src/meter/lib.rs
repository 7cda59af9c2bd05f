//! How much memory a thread has taken and not given back: an allocator that counts, for tests of what caches charge.
//!
//! A crate's tests name it once:
//!
//! ```ignore
//! #[global_allocator]
//! static COUNTING: meter::Counting = meter::Counting;
//! ```
//!
//! It counts what was asked for, not what the system gave, so the figures do not depend on the machine; and for each
//! thread, so that tests beside each other do not disturb each other.

#![expect(unsafe_code, reason = "an allocator is unsafe to write; this one hands all on to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static IN_USE: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
pub struct Counting;

fn count(bytes: usize, sign: i64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    // A thread that ends has no count any more, and still gives back.
    let _ended = IN_USE.try_with(|in_use| in_use.set(in_use.get() + sign * bytes));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Does something on this thread; returns what came of it, and how many bytes more are in use than before.
pub fn kept<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = IN_USE.get();
    let done = work();
    (done, u64::try_from(IN_USE.get() - before).unwrap_or(0))
}

/// The law that a cache keeps: what it charges is between 0.7 and 1.5 times what is in use.
///
/// # Panics
/// When it is not, or when nothing is in use: then the allocator does not count.
pub fn assert_charged(what: &str, charged: u64, in_use: u64) {
    assert!(in_use > 0, "{what}: nothing is counted");
    let ratio = charged as f64 / in_use as f64;
    assert!((0.7..=1.5).contains(&ratio), "{what}: {charged} bytes charged, {in_use} in use: {ratio:.2}");
}
