//! What refusing costs beside reissuing: `make bench-core`.
//!
//! Times of one machine say little, and a shared one has good and bad moments. So everything is measured in turn, round after
//! round, the refused request and the one that is answered side by side; what counts is the ratio of the medians.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench"
)]

#[path = "../tests/heap/mod.rs"]
mod heap;
#[path = "../tests/hostile/mod.rs"]
mod hostile;
#[path = "../tests/scenario/mod.rs"]
mod scenario;

use std::time::{Duration, Instant};

use chacha20::rand_core::SeedableRng as _;
use heap::peak_of;
use hostile::gateway::{Gateway, Wire};
use hostile::shape::Shape;
use hostile::{To, all, worst_by};
use jwt_reissuer::crypto::Rng;

const ROUNDS: usize = 301;
const SEARCH_STEPS: usize = 2000;
/// A step of the search is timed so often, and the shortest time counts: what disturbs makes it longer only.
const TRIES: usize = 7;
/// What is aimed at, before any crypto.
const GOAL: Duration = Duration::from_millis(1);
const GOAL_HEAP: usize = 256 * 1024;

struct Row {
    name: String,
    gateway: usize,
    wire: Wire,
    reason: Option<&'static str>,
    times: Vec<Duration>,
    peak: usize,
}

fn main() {
    let mut gateways = [Gateway::plain(), Gateway::plain_p256(), Gateway::crowded()];
    let (plain, p256, crowded) = (0, 1, 2);
    let row = |name: &str, gateway, wire: &Wire| Row {
        name: name.into(),
        gateway,
        wire: wire.clone(),
        reason: None,
        times: Vec::new(),
        peak: 0,
    };
    let mut rows = vec![
        row("reissued: RS256 verified, RS256 signed", plain, &gateways[plain].good),
        row("reissued: ES256 verified, ES256 signed", p256, &gateways[p256].good),
    ];
    for hostile in all(&gateways[crowded]) {
        rows.push(row(hostile.name, if hostile.to == To::Plain { plain } else { crowded }, &hostile.wire));
    }
    let (without_form, with_form) = (search(&mut gateways[crowded], false), search(&mut gateways[crowded], true));
    rows.push(row("the worst that was found", crowded, &without_form.wire()));
    rows.push(row("the worst that was found, with a form", crowded, &with_form.wire()));

    for _ in 0..ROUNDS {
        for row in &mut rows {
            let (time, reason) = timed(&mut gateways[row.gateway], &row.wire);
            row.times.push(time);
            row.reason = reason;
        }
    }
    for row in &mut rows {
        row.times.sort_unstable();
        row.peak = peak_of(|| gateways[row.gateway].answer(&row.wire)).0.saturating_sub(row.wire.body_bytes());
    }
    show(&rows);
    println!("\nfound by {SEARCH_STEPS} steps of a search each: {without_form:?}\nwith a form: {with_form:?}");
}

fn timed(gateway: &mut Gateway, wire: &Wire) -> (Duration, Option<&'static str>) {
    let begin = Instant::now();
    let (response, reason) = gateway.answer(wire);
    let time = begin.elapsed();
    assert_eq!(response.status == 200, reason.is_none());
    (time, reason)
}

/// The request that takes longest to refuse.
fn search(gateway: &mut Gateway, form: bool) -> Shape {
    let cost = |wire: &Wire| {
        if !form && wire.body_bytes() > 0 {
            return 0;
        }
        let time = (0..TRIES).map(|_| timed(gateway, wire).0).min().unwrap();
        u64::try_from(time.as_nanos()).unwrap()
    };
    worst_by(cost, SEARCH_STEPS, &mut Rng::from_seed([5; 32])).1
}

fn show(rows: &[Row]) {
    let median = |row: &Row| row.times[row.times.len() / 2];
    let (rsa, p256) = (median(&rows[0]), median(&rows[1]));
    println!("{:>10}  {:>8}  {:>8}  {:>8}", "median", "of RS256", "of ES256", "heap");
    for row in rows {
        let time = median(row);
        println!(
            "{:>7.1} µs  {:>8.3}  {:>8.3}  {:>4} KiB  {} ({})",
            time.as_secs_f64() * 1e6,
            time.as_secs_f64() / rsa.as_secs_f64(),
            time.as_secs_f64() / p256.as_secs_f64(),
            row.peak.div_ceil(1024),
            row.name,
            row.reason.unwrap_or("issued"),
        );
    }
    let refused = &rows[2..];
    let slowest = refused.iter().max_by_key(|row| median(row)).unwrap();
    let largest = refused.iter().max_by_key(|row| row.peak).unwrap();
    let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
    println!(
        "\nslowest refusal: {:?}, {} (goal: {GOAL:?} before any crypto, {})\n\
         most heap: {} KiB, {} (goal: {} KiB, and a form of its own size, {})",
        median(slowest),
        slowest.name,
        verdict(median(slowest) <= GOAL),
        largest.peak.div_ceil(1024),
        largest.name,
        GOAL_HEAP / 1024,
        verdict(largest.peak <= GOAL_HEAP),
    );
}
