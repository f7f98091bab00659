//! How much heap something takes at its peak, and how often it asks for some: an allocator that counts, for each thread by
//! itself.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does all of it, and what is counted lies outside of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller of this promises
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.set(NOW.get() - layout.size().cast_signed());
        // SAFETY: as the caller of this promises
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // An allocator may have to move it: then both are there at a time.
        taken(size);
        NOW.set(NOW.get() - layout.size().cast_signed());
        // SAFETY: as the caller of this promises
        unsafe { System.realloc(place, layout, size) }
    }
}

fn taken(size: usize) {
    TIMES.set(TIMES.get() + 1);
    let now = NOW.get() + size.cast_signed();
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

/// The most bytes that `act` has on the heap at a time, beside what was there before, and what it gives.
pub fn peak_of<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = NOW.replace(0);
    PEAK.set(0);
    let result = act();
    let peak = PEAK.get().unsigned_abs();
    NOW.set(before + NOW.get());
    (peak, result)
}

/// How often `act` asks for heap, or for more of what it has, and what it gives.
pub fn allocations_of<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = TIMES.replace(0);
    let result = act();
    let times = TIMES.replace(before);
    (times, result)
}

/// The bytes that are still on the heap after `act` of what it took.
pub fn kept_of(act: impl FnOnce()) -> usize {
    let before = NOW.get();
    act();
    usize::try_from(NOW.get() - before).unwrap_or_default()
}
