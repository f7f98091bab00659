//! The private keys of a keyring are wiped from the memory that is freed while its document is read and written.
//!
//! The document's code is compiled into this test, beside an allocator that looks at each block before it is freed.
#![allow(
    missing_docs,
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod command;
#[path = "../src/document.rs"]
mod document;
#[path = "../src/failure.rs"]
mod failure;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::slice;

use command::{DAY, START, base64, keyring, parsed, pem, private, rsa_pem};
use document::KeyringDocument;
use jwt_reissuer::timetable::text_of;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// How long a part of a key is that must not be left behind.
const PART: usize = 16;

#[global_allocator]
static WATCHING: Watching = Watching;

struct Watching;

thread_local! {
    /// Parts of keys; none while nothing is watched
    static PARTS: Cell<&'static [[u8; PART]]> = const { Cell::new(&[]) };
    /// Blocks that were freed with a part of a key in them
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does all of it. Each block is written from its beginning to its end before it is given out.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller of this promises
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the block is as long as it was when it was given out, and was written then
        let block = unsafe { slice::from_raw_parts(place, layout.size()) };
        if PARTS.get().iter().any(|part| block.windows(PART).any(|window| window == part)) {
            FOUND.set(FOUND.get() + 1);
        }
        // SAFETY: as the caller of this promises
        unsafe { System.dealloc(place, layout) }
    }
}

/// How many blocks are freed with a part of these keys in them while `act` runs.
fn left_behind(pems: &[String], act: impl FnOnce()) -> usize {
    let body = pems.iter().flat_map(|pem| pem.lines()).filter(|line| !line.starts_with('-'));
    let parts: Vec<[u8; PART]> = body.filter_map(|line| line.as_bytes().first_chunk().copied()).collect();
    FOUND.set(0);
    PARTS.set(parts.leak());
    act();
    PARTS.set(&[]);
    FOUND.get()
}

#[test]
fn no_private_key_is_left_behind_where_a_document_is_read_and_written() {
    let pems = [pem(1), rsa_pem()];
    assert!(left_behind(&pems, || drop(pems[1].clone())) > 0, "the test sees what is not wiped");

    let rsa = json!({ "kid": "second", "private_key": pems[1], "sign_at": text_of(START + DAY) });
    let both = keyring(&[private("first", 1, &[]), rsa]);
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&both).unwrap()).unwrap();
    let in_base64 = keyring(&[json!({ "private_key": base64(&pems[0]) })]);
    for (name, content) in [
        ("JSON", both.clone()),
        ("pretty JSON", pretty),
        ("base64 of JSON", base64(&both)),
        ("a PEM", pems[0].clone()),
        ("base64 of a PEM", base64(&pems[1])),
        ("JSON of base64 of a PEM", in_base64),
    ] {
        let keyring = parsed(&content, START);
        let mut written = Zeroizing::new(Vec::new());
        let count = left_behind(&pems, || {
            let plain = document::without_base64(content.as_bytes()).unwrap();
            let document = KeyringDocument::read(&plain, &keyring).unwrap();
            written = document.to_json(false).unwrap();
        });
        assert_eq!(count, 0, "{name}");
        parsed(std::str::from_utf8(&written).unwrap(), START);
    }
}
