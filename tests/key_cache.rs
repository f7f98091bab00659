//! How the keys of a trusted issuer are kept: every rule as a story, with a clock moved by hand.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod scenario;

use std::time::Duration;

use jwt_reissuer::event::Event;
use jwt_reissuer::{Answer, Fetch, MAX_WAITING, Now, Outcome, SourceKey};
use scenario::{Scenario, keys, signing_key};
use serde_json::{Value, json};

const MILLISECOND: Duration = Duration::from_millis(1);

/// So much time passes, by both clocks.
fn pass(now: &mut Now, time: Duration) {
    now.monotonic += time;
    now.unix = scenario::START + now.monotonic.as_secs();
}

/// When the next fetch is made, to the tenth of a second.
fn next_fetch(scenario: &mut Scenario) -> (Duration, Fetch) {
    loop {
        if let Some(fetch) = scenario.reissuer.poll_fetch(scenario.now) {
            return (scenario.now.monotonic, fetch);
        }
        pass(&mut scenario.now, 100 * MILLISECOND);
    }
}

/// The API server's document, with these ids for its one key.
fn document(kids: &[&str]) -> String {
    let key = signing_key(&keys()[0]);
    let keys: Vec<Value> = kids.iter().map(|kid| serde_json::to_value(key.public().to_jwk(kid)).unwrap()).collect();
    json!({ "keys": keys }).to_string()
}

fn answer(scenario: &mut Scenario, fetch: &Fetch, status: u16, body: &str) {
    let answer = Answer::Response { status, date: None, body: body.as_bytes() };
    scenario.reissuer.handle_fetched(fetch.id, answer, scenario.now);
}

#[test]
fn keys_live_for_300_seconds_give_or_take_a_tenth_and_are_read_again_30_seconds_before() {
    let mut scenario = Scenario::warm();
    let mut last = scenario.now.monotonic;
    let mut intervals = Vec::new();
    for _ in 0..40 {
        let (at, fetch) = next_fetch(&mut scenario);
        intervals.push(at - last);
        last = at;
        answer(&mut scenario, &fetch, 200, &document(&["cluster-key"]));
    }
    let (least, most) = (intervals.iter().min().unwrap(), intervals.iter().max().unwrap());
    assert!(Duration::from_secs(240) <= *least && *most <= Duration::from_millis(300_100), "{least:?} {most:?}");
    assert!(*most - *least > Duration::from_secs(30), "replicas do not ask in step: {least:?} {most:?}");
}

#[test]
fn nobody_waits_for_keys_that_are_read_again_ahead_of_time() {
    let mut scenario = Scenario::warm();
    for _ in 0..600 {
        scenario.pass(3);
        assert_eq!(scenario.at_once("cluster-key"), Some(200));
        scenario.fetch_what_is_due();
    }
    assert!((6..=8).contains(&scenario.fetches), "{} in half an hour", scenario.fetches);
}

#[test]
fn keys_that_are_not_read_again_are_used_while_the_fetch_is_in_flight() {
    let mut scenario = Scenario::warm();
    let (_, fetch) = next_fetch(&mut scenario);
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    answer(&mut scenario, &fetch, 200, &document(&["cluster-key"]));
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
}

#[test]
fn unknown_kids_cause_at_most_one_fetch_in_ten_seconds_for_each_issuer_and_no_known_one_suffers() {
    let mut scenario = Scenario::new(|config| {
        let mut second = config["trusted_issuers"][0].clone();
        second["name"] = "second".into();
        second["issuer"] = "https://second".into();
        config["trusted_issuers"].as_array_mut().unwrap().push(second);
    });
    scenario.fetch_what_is_due();
    scenario.fetches = 0;
    for tenth in 0..600 {
        pass(&mut scenario.now, 100 * MILLISECOND);
        let own = scenario.token(&format!("unknown-{tenth}"), |_| ());
        let others = scenario.token("unknown", |claims| claims["iss"] = "https://second".into());
        assert_eq!([scenario.status(&own), scenario.status(&others)], [401, 401]);
        assert_eq!(scenario.at_once("cluster-key"), Some(200));
    }
    assert_eq!(scenario.fetches, 12, "six for each issuer in a minute");
}

#[test]
fn no_kid_is_remembered_so_that_one_of_a_lagging_api_server_is_found_later() {
    let mut scenario = Scenario::warm();
    // Asked for again and again, and each fetch is answered by a replica that does not have it yet.
    for _ in 0..300 {
        scenario.pass(1);
        let token = scenario.token("next-key", |_| ());
        assert_eq!(scenario.status(&token), 401);
    }
    scenario.jwks = Some(document(&["cluster-key", "next-key"]));
    scenario.pass(10);
    let token = scenario.token("next-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
}

#[test]
fn a_fetch_that_is_not_answered_has_failed_after_two_seconds_and_what_the_host_loses_does_not_end_fetching() {
    let mut scenario = Scenario::warm();
    let (begun, fetch) = next_fetch(&mut scenario);
    assert_eq!(fetch.timeout, Duration::from_secs(2));
    let (again, second) = next_fetch(&mut scenario);
    assert_ne!(second.id, fetch.id);
    let after = again - begun;
    assert!(
        (Duration::from_millis(2750)..=Duration::from_millis(3400)).contains(&after),
        "with the back-off: {after:?}"
    );
}

#[test]
fn failures_back_off_from_one_second_to_sixty_and_to_five_while_there_is_nothing() {
    for (mut scenario, longest) in [(Scenario::new(|_| ()), 5), (Scenario::warm(), 60)] {
        let (mut last, fetch) = next_fetch(&mut scenario);
        answer(&mut scenario, &fetch, 500, "");
        let mut expected = 1;
        let mut least = Duration::MAX;
        for _ in 0..30 {
            let (at, fetch) = next_fetch(&mut scenario);
            let (wait, whole) = (at - last, Duration::from_secs(expected));
            assert!(whole / 2 <= wait && wait <= whole + 100 * MILLISECOND, "{wait:?} of {whole:?}");
            if expected == longest {
                least = least.min(wait);
            }
            expected = (2 * expected).min(longest);
            last = at;
            answer(&mut scenario, &fetch, 500, "");
        }
        assert!(least < Duration::from_secs(longest) * 3 / 4, "the same for nobody: {least:?}");
    }
}

#[test]
fn one_fetch_is_in_flight_for_each_issuer() {
    let mut scenario = Scenario::new(|config| {
        let mut second = config["trusted_issuers"][0].clone();
        second["name"] = "second".into();
        second["issuer"] = "https://second".into();
        config["trusted_issuers"].as_array_mut().unwrap().push(second);
    });
    let fetches: Vec<SourceKey> =
        std::iter::from_fn(|| scenario.reissuer.poll_fetch(scenario.now)).map(|fetch| fetch.id.key).collect();
    assert_eq!(fetches, [SourceKey::Jwks(0), SourceKey::Jwks(1)]);
    for kid in 0..100 {
        assert_eq!(scenario.at_once(&format!("unknown-{kid}")), None, "waits for the one in flight");
    }
    assert_eq!(scenario.reissuer.poll_fetch(scenario.now), None);
}

#[test]
fn an_answer_that_comes_late_or_twice_is_ignored() {
    let mut scenario = Scenario::warm();
    let (_, late) = next_fetch(&mut scenario);
    let (_, second) = next_fetch(&mut scenario);
    answer(&mut scenario, &late, 200, &document(&["late"]));
    assert_eq!(scenario.at_once("late"), None, "waits for the fetch in flight");
    answer(&mut scenario, &second, 200, &document(&["cluster-key"]));
    answer(&mut scenario, &second, 200, &document(&["twice"]));
    answer(&mut scenario, &second, 500, "");
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    let read = |event: &Event| matches!(event, Event::IssuerKeysFetched { .. } | Event::IssuerKeysFailed { .. });
    let reads = scenario.events().iter().filter(|event| read(event)).count();
    assert_eq!(reads, 2, "the first and the one that came in time; nothing is said of the others");
}

#[test]
fn a_document_is_taken_whole_and_a_key_that_is_gone_from_it_is_gone() {
    let mut scenario = Scenario::warm();
    scenario.jwks = Some(document(&["cluster-key", "next-key"]));
    scenario.pass(330);
    scenario.fetch_what_is_due();
    assert_eq!(["cluster-key", "next-key"].map(|kid| scenario.at_once(kid)), [Some(200), Some(200)]);
    scenario.jwks = Some(document(&["next-key"]));
    for _ in 0..330 {
        scenario.pass(1);
        scenario.fetch_what_is_due();
    }
    assert_eq!(scenario.at_once("next-key"), Some(200));
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 401, "dead within its lifetime and a tenth");
}

#[test]
fn a_broken_document_keeps_the_last_good_one_whole() {
    let mut scenario = Scenario::warm();
    let good = document(&["next-key"]);
    let broken = [
        String::new(),
        "<html>".into(),
        good.replace("keys", "kexs"),
        good[..good.len() - 1].into(),
        good.replace("\"keys\":[", "\"keys\":[],\"keys\":["),
        document(&[]),
        document(&["x"; 65]),
        format!("{good}{}", " ".repeat(256 * 1024)),
    ];
    for body in broken {
        let (_, fetch) = next_fetch(&mut scenario);
        answer(&mut scenario, &fetch, 200, &body);
        assert_eq!(scenario.at_once("cluster-key"), Some(200), "{:.60}", body);
        let told = scenario.events();
        assert!(told.iter().any(|event| matches!(event, Event::IssuerKeysFailed { .. })), "{:.60}", body);
    }
}

#[test]
fn a_key_that_is_no_use_is_left_out_and_the_others_are_taken() {
    let mut scenario = Scenario::new(|_| ());
    let mut keys: Value = serde_json::from_str(&document(&["cluster-key"])).unwrap();
    let mut weak = keys["keys"][0].clone();
    (weak["kid"], weak["e"]) = ("weak".into(), "Aw".into());
    keys["keys"].as_array_mut().unwrap().extend([json!({ "kty": "oct", "kid": "secret", "k": "AAAA" }), weak]);
    scenario.jwks = Some(keys.to_string());
    scenario.fetch_what_is_due();
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    let refused = scenario.events().into_iter().find_map(|event| match event {
        Event::IssuerKeysFetched { refused, .. } => Some(refused),
        _ => None,
    });
    let kids: Vec<Option<String>> = refused.unwrap().into_iter().map(|key| key.kid).collect();
    assert_eq!(kids, [Some("secret".into()), Some("weak".into())]);
}

#[test]
fn a_thousand_wait_in_their_order_and_one_more_is_sent_away() {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("no keys yet") };
    let last = u32::try_from(MAX_WAITING).unwrap();
    for stream in 0..last {
        scenario.reissuer.wait(stream, request.clone(), key, scenario.now).unwrap();
    }
    let sent_away = scenario.reissuer.wait(last, request.clone(), key, scenario.now).unwrap_err();
    assert_eq!((sent_away.status, sent_away.get("retry-after")), (503, Some("1")));
    // Two clients go away.
    assert!(scenario.reissuer.take(0).is_some() && scenario.reissuer.take(500).is_some());
    scenario.jwks = Some("no key set".into());
    scenario.fetch_what_is_due();
    let answered: Vec<u32> =
        std::iter::from_fn(|| scenario.reissuer.poll_waiting(scenario.now)).map(|(stream, _)| stream).collect();
    assert_eq!(answered, (1..last).filter(|stream| *stream != 500).collect::<Vec<_>>());
    assert_eq!(scenario.reissuer.waiting(), 0);
}

#[test]
fn the_api_server_is_down_and_a_warm_cache_still_answers_for_six_hours() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario.jwks = None;
    for _ in 0..359 {
        scenario.pass(60);
        scenario.fetch_what_is_due();
        let token = scenario.token("cluster-key", |_| ());
        assert_eq!(scenario.status(&token), 200);
    }
    scenario.pass(60);
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    let response = scenario.reissue("/reissue", &token);
    assert_eq!(response.status, 503);
    assert!(response.get("retry-after").is_some());
}

#[test]
fn a_cold_start_without_an_api_server_is_503_until_it_comes_up() {
    let mut scenario = Scenario::new(|_| ());
    let jwks = scenario.jwks.take();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 503);
    scenario.jwks = jwks;
    scenario.pass(5);
    assert_eq!(scenario.status(&token), 200);
}

#[test]
fn a_new_key_of_the_cluster_is_found_by_one_fetch_and_unknown_ones_cause_no_more() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    let rotated = scenario.token("next-key", |_| ());
    assert_eq!(scenario.status(&rotated), 200);
    assert_eq!(scenario.fetches, 2);
    for kid in 0..100 {
        let unknown = scenario.token(&format!("no-{kid}"), |_| ());
        assert_eq!(scenario.status(&unknown), 401);
    }
    assert_eq!(scenario.fetches, 2);
    assert_eq!(scenario.status(&token), 401, "the key that was taken out is dead");
}

#[test]
fn a_waiting_request_is_answered_in_time_even_if_the_host_never_reports() {
    let mut scenario = Scenario::new(|_| ());
    let token = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &token)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("no keys yet") };
    assert_eq!(key, SourceKey::Jwks(0).into());
    scenario.reissuer.wait(7, request.clone(), key, scenario.now).unwrap();
    scenario.reissuer.wait(8, request, key, scenario.now).unwrap();
    assert!(scenario.reissuer.take(8).is_some());
    assert!(scenario.reissuer.poll_fetch(scenario.now).is_some());
    scenario.pass(1);
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
    scenario.pass(2);
    let (stream, response) = scenario.reissuer.poll_waiting(scenario.now).unwrap();
    assert_eq!((stream, response.status), (7, 503));
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
}
