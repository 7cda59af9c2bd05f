//! How much memory is in use: an allocator that counts.
//!
//! It counts what was asked for, not what the system gave, so the figures do not depend on the machine.
#![expect(unsafe_code, reason = "an allocator is unsafe to write; this one hands all on to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Mutex, MutexGuard};

#[global_allocator]
static COUNTING: Counting = Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::const_new(());

struct Counting;

impl Counting {
    fn took(bytes: usize) {
        let in_use = IN_USE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(in_use, Ordering::Relaxed);
    }

    fn gave(bytes: usize) {
        IN_USE.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::took(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        Self::gave(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::took(size);
        Self::gave(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// The right to measure: one test at a time has it, from its beginning to its end.
pub(crate) struct Meter {
    _turn: MutexGuard<'static, ()>,
}

impl Meter {
    pub(crate) async fn alone() -> Self {
        Self { _turn: TURN.lock().await }
    }

    /// Does something; returns what came of it, and how many bytes more were in use at the worst moment than before.
    pub(crate) async fn peak<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let done = work.await;
        (done, PEAK.load(Ordering::Relaxed).saturating_sub(before))
    }
}
