//! Gaps between keyrings: which changes of a keyring leave verifiers with tokens that they refuse.
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

use std::slice::from_ref;
use std::time::Duration;

use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::{Keyring, Terms};
use jwt_reissuer::succession::{Gap, Succession};
use p256::pkcs8::EncodePublicKey as _;
use scenario::keyrings::{DAY, HOUR, key, keyring, time};
use scenario::{START, terms};
use serde_json::{Value, json};

const SEEN_AFTER: Duration = Duration::from_secs(300);
const LONGEST_LIFE: u64 = 12 * HOUR;

fn public(kid: &str, seed: u8, retire_at: Option<u64>) -> Value {
    let public = p256::SecretKey::from_slice(&[seed; 32]).unwrap().public_key();
    let mut key = json!({ "kid": kid, "public_key": public.to_public_key_pem(Default::default()).unwrap() });
    if let Some(retire_at) = retire_at {
        key["retire_at"] = time(retire_at).into();
    }
    key
}

/// Observes these keyrings, each at its time, and returns each gap with the time at which it was found.
fn gaps(keyrings: &[(u64, &[Value])]) -> Vec<(u64, Gap)> {
    let mut succession = Succession::default();
    let mut found = Vec::new();
    for (at, keys) in keyrings {
        let terms = Terms { now: *at, ..terms(Serve { documents: true, tokens: true }) };
        let keyring = Keyring::parse(keyring(keys).as_bytes(), &terms).map_err(|error| error.to_string()).unwrap();
        found.extend(succession.observe(&keyring, *at, SEEN_AFTER).into_iter().map(|gap| (*at, gap)));
    }
    found
}

fn withdrawn(kid: &str, until: u64) -> Gap {
    Gap::Withdrawn { kid: kid.into(), until }
}

fn unpublished(kid: &str, published_for: u64) -> Gap {
    Gap::SignsUnpublished { kid: kid.into(), published_for }
}

#[test]
fn one_key_in_place_of_another_is_a_gap_on_both_sides() {
    let found = gaps(&[(START, &[key("old", 1, None)]), (START + 10, &[key("new", 2, None)])]);
    assert_eq!(found, [(START + 10, withdrawn("old", START + 10 + LONGEST_LIFE)), (START + 10, unpublished("new", 0))]);
}

#[test]
fn a_key_that_has_signed_for_days_is_missed_too() {
    let at = START + 9 * DAY;
    let found = gaps(&[(START, from_ref(&key("old", 1, None))), (at, from_ref(&key("new", 2, None)))]);
    assert_eq!(found, [(at, withdrawn("old", at + LONGEST_LIFE)), (at, unpublished("new", 0))]);
}

#[test]
fn a_gap_is_told_once() {
    let [old, new] = [key("old", 1, None), key("new", 2, None)];
    let found = gaps(&[(START, from_ref(&old)), (START + 10, from_ref(&new)), (START + 20, from_ref(&new))]);
    assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [START + 10, START + 10]);
}

#[test]
fn a_planned_rotation_has_no_gap_and_neither_has_the_one_after_it() {
    let old = key("old", 1, None);
    let second = key("second", 2, Some(START + DAY));
    let third = key("third", 3, Some(START + 3 * DAY));
    let found = gaps(&[
        (START, from_ref(&old)),
        (START + HOUR, &[old.clone(), second.clone()]),
        (START + DAY, &[old.clone(), second.clone()]),
        // The first has left by its timetable, and then it is taken out.
        (START + DAY + LONGEST_LIFE + 300, &[old.clone(), second.clone()]),
        (START + 2 * DAY, &[second.clone(), third.clone()]),
        (START + 3 * DAY, &[second.clone(), third.clone()]),
        (START + 4 * DAY, &[second.clone(), third.clone()]),
        (START + 5 * DAY, from_ref(&third)),
    ]);
    assert_eq!(found, []);
}

#[test]
fn a_retired_key_that_signs_again_unpublished_is_a_gap() {
    let [first, second] = [key("first", 1, None), key("second", 2, Some(START + DAY))];
    let third = key("third", 3, Some(START + 4 * DAY));
    let found = gaps(&[
        (START, &[first.clone(), second.clone()]),
        (START + DAY, &[first.clone(), second.clone()]),
        (START + 2 * DAY, &[first.clone(), second]),
        // The recipe is run again with the file of the first key.
        (START + 2 * DAY + 60, &[first, third]),
    ]);
    let at = START + 2 * DAY + 60;
    assert_eq!(found, [(at, withdrawn("second", at + LONGEST_LIFE)), (at, unpublished("first", 0))]);
}

#[test]
fn a_key_that_has_not_signed_may_be_withdrawn() {
    let old = key("old", 1, None);
    let found = gaps(&[
        (START, &[old.clone(), key("next", 2, Some(START + DAY))]),
        (START + HOUR, &[old.clone(), key("other", 3, Some(START + 2 * DAY))]),
        (START + 2 * HOUR, from_ref(&old)),
    ]);
    assert_eq!(found, []);
}

#[test]
fn a_key_that_no_longer_signs_is_missed_until_its_last_token_has_expired() {
    let [old, new] = [key("old", 1, None), key("new", 2, Some(START + DAY))];
    let last = START + DAY + LONGEST_LIFE;
    for (at, expected) in [(last - 1, vec![(last - 1, withdrawn("old", last))]), (last, vec![])] {
        let found = gaps(&[
            (START, &[old.clone(), new.clone()]),
            (START + DAY, &[old.clone(), new.clone()]),
            (at, from_ref(&new)),
        ]);
        assert_eq!(found, expected);
    }
}

#[test]
fn a_public_half_keeps_a_key_published_and_a_plan_that_is_too_short_is_a_gap_when_it_comes() {
    let new = key("new", 2, Some(START + DAY));
    let beside = |retire_at| [public("old", 1, retire_at), new.clone()];
    let old = [key("old", 1, None), new.clone()];
    let turned = START + DAY + 10;
    let begin: [(u64, &[Value]); 2] = [(START, &old), (turned, &old)];
    let until = START + DAY + LONGEST_LIFE;
    for (retire_at, expected) in
        [(None, vec![]), (Some(until), vec![]), (Some(turned + HOUR), vec![(turned + HOUR, withdrawn("old", until))])]
    {
        let later = beside(retire_at);
        let rest: [(u64, &[Value]); 3] = [(turned + 60, &later), (turned + HOUR, &later), (until, &later)];
        assert_eq!(gaps(&[&begin[..], &rest].concat()), expected, "{retire_at:?}");
    }
}

#[test]
fn a_key_of_another_gateway_is_missed_before_its_planned_end_and_not_after_it() {
    let own = key("own", 1, None);
    let others = |retire_at| [own.clone(), public("other", 2, retire_at)];
    let (planned, unplanned, alone) = (others(Some(START + DAY)), others(None), [own.clone()]);
    assert_eq!(gaps(&[(START, &planned), (START + DAY, &planned), (START + DAY + 1, &alone)]), []);
    assert_eq!(gaps(&[(START, &planned), (START + 1, &alone)]), [(START + 1, withdrawn("other", START + DAY))]);
    assert_eq!(gaps(&[(START, &unplanned), (START + 1, &alone)]), [(START + 1, withdrawn("other", u64::MAX))]);
}

#[test]
fn the_same_key_under_another_kid_and_another_key_under_the_same_kid_are_gaps() {
    for changed in [key("new", 1, None), key("old", 2, None)] {
        let found = gaps(&[(START, &[key("old", 1, None)]), (START + 10, from_ref(&changed))]);
        let kid = changed["kid"].as_str().unwrap();
        assert_eq!(
            found.iter().map(|(_, gap)| gap.clone()).collect::<Vec<_>>(),
            [withdrawn("old", START + 10 + LONGEST_LIFE), unpublished(kid, 0)]
        );
    }
}

#[test]
fn a_key_that_signs_before_verifiers_have_read_it_is_a_gap() {
    let old = key("old", 1, None);
    for (seconds, expected) in [(299, vec![(START + 299, unpublished("new", 299))]), (300, vec![])] {
        let found = gaps(&[
            (START - 10, from_ref(&old)),
            (START, &[old.clone(), key("new", 2, Some(START + seconds))]),
            (START + seconds, &[old.clone(), key("new", 2, Some(START + seconds))]),
        ]);
        assert_eq!(found, expected);
    }
}

#[test]
fn five_minutes_are_waited_for_at_least_whatever_the_documents_say_of_caching() {
    let mut succession = Succession::default();
    let mut observed = |keys: &[Value], at: u64| {
        let terms = Terms { now: at, ..terms(Serve { documents: true, tokens: true }) };
        let keyring = Keyring::parse(keyring(keys).as_bytes(), &terms).map_err(|error| error.to_string()).unwrap();
        succession.observe(&keyring, at, Duration::ZERO)
    };
    assert_eq!(observed(&[key("old", 1, None)], START), []);
    assert!(observed(&[key("new", 2, None)], START + 10).contains(&unpublished("new", 0)));
}

#[test]
fn a_clock_that_was_ahead_and_is_set_right_raises_no_alarm() {
    let keys = [key("old", 1, None), key("new", 2, Some(START + 2 * DAY))];
    let times = [START + 3 * DAY, START, START + 60, START + DAY, START + 2 * DAY];
    let found = gaps(&times.map(|at| (at, &keys[..])));
    assert_eq!(found, []);
}

#[test]
fn a_clock_that_is_set_back_raises_no_alarm() {
    let [old, new] = [key("old", 1, None), key("new", 2, Some(START + DAY))];
    let keys = [old.clone(), new];
    let found = gaps(&[
        (START, from_ref(&old)),
        (START + HOUR, &keys),
        (START + DAY, &keys),
        (START, &keys),
        (START + 60, &keys),
        (START + DAY, &keys),
    ]);
    assert_eq!(found, []);
}
