//! What refusing costs at most: heap, and no crypto. How long it takes is what `make bench-core` shows.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod heap;
mod hostile;
mod scenario;

use chacha20::rand_core::SeedableRng as _;
use heap::peak_of;
use hostile::gateway::{Gateway, Wire};
use hostile::shape::Shape;
use hostile::{To, all, worst_by};
use jwt_reissuer::crypto::Rng;
use jwt_reissuer::http::Route;

/// Most bytes on the heap for one request that is refused, the filter's own copies of it among them; the form, where forms
/// are read, comes on top.
const HEAP: usize = 256 * 1024;
/// Requests that wait: fewer than may, of which each is to take as much.
const WAITING: u32 = 200;

#[test]
fn no_hostile_request_reaches_any_crypto_or_takes_more_heap_than_a_quarter_of_a_mebibyte() {
    let (mut plain, mut crowded) = (Gateway::plain(), Gateway::crowded());
    for hostile in all(&crowded) {
        let gateway = if hostile.to == To::Plain { &mut plain } else { &mut crowded };
        let before = gateway.crypto();
        let (peak, (answer, reason)) = peak_of(|| gateway.answer(&hostile.wire));
        println!("{:>4} KiB  {} {}", peak / 1024, answer.status, hostile.name);
        assert_eq!(reason, Some(hostile.reason), "{}", hostile.name);
        assert_eq!(gateway.crypto(), before, "{}", hostile.name);
        assert!(peak <= HEAP + hostile.wire.body_bytes(), "{}: {peak} bytes", hostile.name);
    }
}

#[test]
fn a_search_for_more_heap_finds_none() {
    let mut crowded = Gateway::crowded();
    let before = crowded.crypto();
    let cost = |wire: &Wire| {
        let (peak, _) = peak_of(|| crowded.answer(wire));
        u64::try_from(peak.saturating_sub(wire.body_bytes())).unwrap()
    };
    let (peak, shape) = worst_by(cost, 600, &mut Rng::from_seed([6; 32]));
    println!("{:>4} KiB  {shape:?}", peak / 1024);
    assert!(peak <= u64::try_from(HEAP).unwrap(), "{peak} bytes: {shape:?}");
    assert_eq!(crowded.crypto(), before, "none was more than refused");
}

#[test]
fn requests_that_wait_hold_little_more_than_their_tokens() {
    let mut cold = Gateway::cold();
    let shape = Shape { query: "a&".into(), ..Shape::of(&["0"]) };
    let query = shape.wire();
    let form = Shape { form: "a&".into(), ..Shape::of(&["0"]) }.wire();
    let headers = Wire::post("/reissue", &header_fields(&shape));
    for wire in [query, form, headers] {
        let (peak, waiting) = peak_of(|| {
            (0..WAITING).for_each(|stream| cold.keep_waiting(stream, &wire));
            cold.waiting()
        });
        println!("{:>4} KiB each of {waiting}", peak / 1024 / waiting);
        assert_eq!(waiting, usize::try_from(WAITING).unwrap());
        assert!(peak / waiting <= 24 * 1024, "{peak} bytes");
        (0..WAITING).for_each(|stream| cold.go(stream));
    }
}

#[test]
fn a_path_of_a_shared_host_is_judged_within_the_bound_beside_the_headers_that_envoy_lets_through() {
    let config = scenario::config(|all| all["shared_host"] = true.into());
    let longest = 60 * 1024;
    let fill = |start: &str, piece: &str, end: &str| {
        let pieces = (longest - start.len() - end.len()) / piece.len();
        format!("{start}{}{end}", piece.repeat(pieces))
    };
    for path in [
        fill("/", "%74", "/%74oken"),
        fill("/A", "tok", ""),
        fill("/", "%25", "74oken"),
        fill("/", "toKen/", "x"),
        fill("/", "%E2%84%AA", "/x"),
        fill("/", "\u{fb01};", "/%74oken"),
        format!("/x/%{}41;y//token", "25".repeat(900)),
    ] {
        let (peak, route) =
            peak_of(|| Route::of(&config.routes, b"POST", scenario::OUR_HOST.as_bytes(), path.as_bytes()));
        println!("{:>4} KiB  {route:?} {path:.40}", peak / 1024);
        // The path itself is among the headers that the filter copies.
        assert!(peak + longest <= HEAP, "{peak} bytes: {path:.40}");
    }
}

/// A bearer, and further headers of as many bytes as there may be.
fn header_fields(shape: &Shape) -> Vec<(&'static str, &'static str)> {
    let bearer: &'static str = format!("Bearer {}", shape.token()).leak();
    let mut fields = vec![("authorization", bearer)];
    fields.extend(["accept", "content-type"].map(|name| (name, "x".repeat(570).leak() as &str)).repeat(44));
    fields
}

#[test]
fn heap_is_counted_at_its_peak_and_crypto_where_there_is_some() {
    let (peak, _) = peak_of(|| {
        drop(vec![0_u8; 1000]);
        vec![0_u8; 500]
    });
    assert_eq!(peak, 1000);
    for mut gateway in [Gateway::plain(), Gateway::plain_p256()] {
        let (before, good) = (gateway.crypto(), gateway.good.clone());
        assert_eq!(gateway.answer(&good).0.status, 200);
        assert_eq!(gateway.crypto(), before + 3, "verified, signed, and verified again");
    }
}
