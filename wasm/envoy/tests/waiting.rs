//! Requests that wait for keys: in order, a slice a callback, and only for as long as their clients do.

mod fake_envoy;
mod kubernetes;

use std::time::{Duration, Instant};

use fake_envoy::{Action, Answer, Envoy, INTERNAL_FAILURE, Request, Stream, answers, with};
use kubernetes::{KEYS, SIGNING_KEYS, cold, configuration, fetch, jwks, signing_key_pem, token, token_number};
use serde_json::json;

/// As many as are answered in one callback, where they cost no signature each
const SLICE: usize = 16;

#[test]
fn five_hundred_cold_requests_cause_one_fetch_a_source_and_are_answered_in_order_sixteen_a_callback() {
    let envoy = cold();
    let request = Request::reissue(&token());
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(envoy.send(&request));
        assert_eq!(with(|state| state.tick_period), Some(1));
        // Envoy ticks when it gets to it: before, between and after them.
        if streams.len() % 200 == 0 {
            envoy.tick();
        }
    }
    assert!(streams.iter().all(|stream| stream.action == Action::Pause));
    assert_eq!(with(|state| state.callouts.len()), 2);
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    assert_eq!(answers(), [], "they wait for the other source");

    envoy.answer(KEYS, Answer::of("200", jwks()));
    for answered in (SLICE..=500).step_by(SLICE) {
        let expected: Vec<(u32, u32)> = streams[..answered].iter().map(|stream| (stream.id, 200)).collect();
        assert_eq!(answers(), expected);
        assert_eq!(with(|state| state.tick_period) == Some(1), answered < 500, "{answered} answered");
        envoy.tick();
    }
    assert_eq!(answers().len(), 500);
    assert_eq!(with(|state| state.callouts.len()), 2);
}

#[test]
fn when_no_keys_come_every_one_that_waits_is_told_so_sixteen_a_callback() {
    let envoy = cold();
    let streams: Vec<Stream> = (0..40).map(|_| envoy.send(&Request::reissue(&token()))).collect();
    envoy.tick();
    envoy.answer(KEYS, Answer::none());
    assert_eq!(answers().len(), SLICE);
    envoy.tick_until_idle();
    assert_eq!(answers(), streams.iter().map(|stream| (stream.id, 503)).collect::<Vec<_>>());
    let retry_after = streams[0].answer().and_then(|answer| answer.header("retry-after").map(str::to_owned));
    assert_eq!(retry_after.as_deref(), Some("1"));
}

#[test]
fn what_waits_for_a_configuration_that_is_replaced_is_answered_all_the_same() {
    let envoy = cold();
    let streams: Vec<Stream> = (0..10).map(|_| envoy.send(&Request::reissue(&token()))).collect();
    envoy.tick();
    assert!(envoy.configure(configuration(|_| {})));
    // Nobody answers what the first one fetched: its requests' time has to come.
    envoy.tick_until(|| answers().len() >= streams.len());
    assert_eq!(answers(), streams.iter().map(|stream| (stream.id, 503)).collect::<Vec<_>>());
}

#[test]
fn a_thousand_wait_and_the_next_is_sent_away_at_once() {
    let envoy = cold();
    for _ in 0..1000 {
        assert_eq!(envoy.send(&Request::discovery()).status(), None);
    }
    let next = envoy.send(&Request::discovery());
    assert_eq!((next.action, next.status()), (Action::Pause, Some(503)));
    envoy.tick();
    fetch(&envoy);
    envoy.tick_until_idle();
    assert_eq!(answers().iter().filter(|(_, status)| *status == 200).count(), 1000);
}

#[test]
fn a_client_that_goes_away_while_it_waits_is_never_answered() {
    let envoy = cold();
    let streams: Vec<Stream> = (0..24).map(|_| envoy.send(&Request::reissue(&token()))).collect();
    // Before the callouts, while they are in flight, and while others are answered
    streams[0].close();
    envoy.tick();
    streams[1].close();
    fetch(&envoy);
    streams[23].close();
    with(|state| state.calls.clear());
    envoy.tick_until_idle();
    let expected: Vec<(u32, u32)> = streams[2..23].iter().map(|stream| (stream.id, 200)).collect();
    assert_eq!(answers(), expected);
    let tried = with(|state| state.calls.iter().filter(|call| **call == "proxy_set_effective_context").count());
    assert_eq!(tried, 5, "who went was forgotten, not tried: sixteen of twenty-one had been answered before");
    streams[2].close();
    assert_eq!(answers(), expected);
}

#[test]
fn a_client_that_envoy_lost_without_telling_gets_nothing_and_the_others_get_their_own() {
    let envoy = cold();
    let streams: Vec<Stream> = (0..3).map(|_| envoy.send(&Request::discovery())).collect();
    envoy.tick();
    streams[1].vanish();
    fetch(&envoy);
    assert_eq!(answers(), [(streams[0].id, 200), (streams[2].id, 200)]);
}

#[test]
fn what_comes_of_a_paused_request_does_not_let_it_pass() {
    let envoy = cold();
    let waiting = envoy.send_with_body(&Request::reissue(&token()));
    assert_eq!(waiting.action, Action::Pause);
    assert_eq!(waiting.body("x", false), Action::Pause);
    assert_eq!(waiting.body("y", true), Action::Pause);
    assert_eq!(waiting.trailers(), Action::Pause);
    envoy.tick();
    fetch(&envoy);
    assert_eq!(waiting.status(), Some(200));
    assert_eq!(waiting.body("z", true), Action::Pause);
    assert_eq!(answers().len(), 1);
}

#[test]
fn a_tick_that_is_due_is_not_put_off_by_those_that_come_before_it() {
    let envoy = cold();
    envoy.tick();
    with(|state| state.calls.clear());
    let asked =
        || with(|state| state.calls.iter().filter(|call| **call == "proxy_set_tick_period_milliseconds").count());
    for _ in 0..100 {
        envoy.send(&Request::reissue(&token()));
    }
    assert_eq!((asked(), with(|state| state.tick_period)), (1, Some(1)), "Envoy would begin to wait anew");
    envoy.tick();
    assert!(with(|state| state.tick_period) > Some(1));
    envoy.send(&Request::reissue(&token()));
    assert_eq!((asked(), with(|state| state.tick_period)), (3, Some(1)));
    // What Envoy does not take is asked for again.
    envoy.tick();
    envoy.fail("proxy_set_tick_period_milliseconds", INTERNAL_FAILURE);
    envoy.send(&Request::reissue(&token()));
    envoy.heal();
    let before = asked();
    envoy.send(&Request::reissue(&token()));
    assert_eq!((asked(), with(|state| state.tick_period)), (before + 1, Some(1)));
}

/// A round takes about 7 ms. In one that took this long the machine stood still, which the budget takes for the cost of a signature.
const HELD_UP: Duration = Duration::from_millis(12);

/// Envoy's ticks are as coarse as the kernel's timers.
#[test]
fn one_that_comes_lets_the_first_that_waits_have_its_turn_and_waits_itself() {
    let until = Instant::now() + Duration::from_secs(60);
    // A run is given up where the machine holds it up.
    let comes_to_its_end = || {
        let envoy = Envoy::with(&configuration(|all| all["limits"] = json!({ "worker_percent": 10 })));
        envoy.tick();
        fetch(&envoy);
        envoy.tick_until_idle();
        let mut number = 0;
        let mut come = || {
            number += 1;
            envoy.send(&Request::reissue(&token_number(number)))
        };
        let mut streams: Vec<Stream> = Vec::new();
        while streams.iter().all(|stream| stream.status().is_some()) {
            let begun = Instant::now();
            streams.push(come());
            if begun.elapsed() > HELD_UP {
                return false;
            }
        }
        let waiting = streams.len() - 1;
        while streams.get(waiting + 2).is_none_or(|stream| stream.status().is_none()) {
            let begun = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            let before = answers().len();
            streams.push(come());
            if begun.elapsed() > HELD_UP {
                return false;
            }
            assert!(answers().len() <= before + 1, "one at a time");
            assert!(Instant::now() < until, "{} of {}", answers().len(), streams.len());
        }
        let expected: Vec<(u32, u32)> = streams.iter().map(|stream| (stream.id, 200)).take(answers().len()).collect();
        assert_eq!(answers(), expected, "in the order they came");
        assert!(streams.len() > answers().len(), "who lets others go first waits");
        // And so does one that has an answer of its own.
        while answers().len() < streams.len() {
            let begun = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            let before = answers();
            let document = envoy.send(&Request::discovery());
            if begun.elapsed() > HELD_UP {
                return false;
            }
            assert_eq!(answers().get(before.len()), Some(&(document.id, 200)), "its own comes first");
            assert!(answers().len() <= before.len() + 2, "one at a time");
            with(|state| state.responses.remove(before.len()));
            assert!(Instant::now() < until, "{} of {}", answers().len(), streams.len());
        }
        assert!(streams.iter().all(|stream| stream.status() == Some(200)));
        true
    };
    while !comes_to_its_end() {
        assert!(Instant::now() < until, "the machine held up every run");
    }
}
