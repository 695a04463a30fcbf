//! A lookup takes nothing from the heap, whatever the client sends as its name.

#![expect(
    unsafe_code,
    reason = "only a global allocator sees every allocation, and its trait is unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::paper::{Authority, Folder};

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches no heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_lookup_by_name_does_not_allocate() {
    let authority = Authority::new();
    let folder = Folder::new();
    folder.put_pair("a", &authority.issue(&["a.example", "*.a.example"]));
    let store = folder.open();
    let long = "X".repeat(300);
    // The first look at the swap cell registers this thread there.
    assert!(store.covers(Some("a.example"), "a.example"));
    let before = TAKEN.with(Cell::get);
    for (sni, host, covered) in [
        ("a.example", "b.a.example", true),
        ("B.A.Example", "C.A.EXAMPLE", true),
        ("unknown.example", "a.example", false),
        (long.as_str(), long.as_str(), false),
    ] {
        assert_eq!(store.covers(Some(sni), host), covered);
    }
    assert_eq!(TAKEN.with(Cell::get), before);
}
