//! Alarms of a gateway: a change of the keyring that verifiers cannot follow, and a gateway that stays without keys.
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

use jwt_reissuer::crypto::SoftwareCrypto;
use jwt_reissuer::event::{Event, Level};
use jwt_reissuer::succession::Gap;
use jwt_reissuer::{Answer, Now, Outcome, Reissuer, SourceKey};
use scenario::keyrings::{DAY, HOUR, key, keyring};
use scenario::{START, Scenario, config};
use serde_json::{Value, json};

fn fetched(config: &mut Value) {
    config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
}

fn with_keyring(keys: &[Value]) -> Scenario {
    let mut scenario = Scenario::new(fetched);
    scenario.keyring = Some(keyring(keys));
    scenario.fetch_what_is_due();
    scenario.events();
    scenario
}

/// The secret changes, and is read.
fn replaced(scenario: &mut Scenario, keys: &[Value]) {
    scenario.keyring = Some(keyring(keys));
    scenario.pass(10);
    scenario.fetch_what_is_due();
}

fn gaps(events: &[Event]) -> Vec<&Gap> {
    events.iter().filter_map(|event| if let Event::KeyringGap { gap } = event { Some(gap) } else { None }).collect()
}

/// The gauges whose name begins so, without that beginning.
fn gauges(scenario: &Scenario, beginning: &str) -> Vec<(String, u64)> {
    let gauges = scenario.reissuer.gauges(scenario.now);
    let named = gauges.iter().filter_map(|gauge| Some((gauge.name.strip_prefix(beginning)?.to_string(), gauge.value)));
    named.collect()
}

#[test]
fn a_replaced_key_is_obeyed_at_once_and_alarms_with_both_kids() {
    let mut scenario = with_keyring(&[key("old.key", 1, None)]);
    let old = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&old), 200);
    replaced(&mut scenario, &[key("new", 2, None)]);
    let events = scenario.events();
    let until = scenario.now.unix + 12 * HOUR;
    assert_eq!(
        gaps(&events),
        [
            &Gap::Withdrawn { kid: "old.key".into(), until },
            &Gap::SignsUnpublished { kid: "new".into(), published_for: 0 }
        ]
    );
    let told: Vec<(Level, String)> = events.iter().map(|event| (event.level(), event.to_string())).collect();
    assert!(
        told.iter().any(|(level, line)| *level == Level::Error && line.contains("kid=\"old.key\" was withdrawn")),
        "{told:?}"
    );
    let counters: Vec<_> = events.iter().flat_map(Event::counters).collect();
    for counter in ["jwt_reissuer.keyring.withdrawn", "jwt_reissuer.keyring.signs_unpublished"] {
        assert!(counters.iter().any(|name| name == counter), "{counters:?}");
    }
    // Each gauge is the moment, and its name bears the kid, as far as a name may.
    assert_eq!(gauges(&scenario, "jwt_reissuer.keyring.withdrawn_at."), [("old_key".into(), scenario.now.unix)]);
    assert_eq!(gauges(&scenario, "jwt_reissuer.keyring.signs_unpublished_at."), [("new".into(), scenario.now.unix)]);
    let published = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[]));
    assert!(!String::from_utf8_lossy(&published.body).contains("old.key"), "it is withdrawn all the same");
}

#[test]
fn a_planned_rotation_raises_no_alarm_on_the_way() {
    let keys = [key("first", 1, None), key("second", 2, Some(START + 2 * DAY))];
    let mut scenario = with_keyring(&keys[..1]);
    replaced(&mut scenario, &keys);
    for _ in 0..4 * 24 {
        scenario.pass(HOUR);
        scenario.fetch_what_is_due();
        assert_eq!(gaps(&scenario.events()), [] as [&Gap; 0]);
    }
    replaced(&mut scenario, &keys[1..]);
    assert_eq!(gaps(&scenario.events()), [] as [&Gap; 0]);
}

#[test]
fn the_alarm_survives_a_changed_configuration_and_is_raised_across_one() {
    let mut scenario = with_keyring(&[key("old", 1, None)]);
    let reconfigure = |scenario: &mut Scenario| {
        let mut next =
            Reissuer::new(config(fetched), Box::new(SoftwareCrypto), [9; 32], scenario.now).map_err(|_| ()).unwrap();
        next.inherit(&scenario.reissuer, scenario.now);
        scenario.reissuer = next;
    };
    reconfigure(&mut scenario);
    replaced(&mut scenario, &[key("new", 2, None)]);
    assert_eq!(gaps(&scenario.events()).len(), 2);
    reconfigure(&mut scenario);
    scenario.fetch_what_is_due();
    assert_eq!(gaps(&scenario.events()), [] as [&Gap; 0], "told once");
    assert_eq!(gauges(&scenario, "jwt_reissuer.keyring.withdrawn_at."), [("old".into(), START + 10)]);
}

#[test]
fn a_configuration_with_another_key_in_it_is_a_gap_too() {
    let inline = |seed| {
        move |config: &mut Value| {
            config["signing_keys"]["from"] = json!({ "dangerous_inline": keyring(&[key("k", seed, None)]) })
        }
    };
    let mut scenario = Scenario::new(inline(1));
    scenario.events();
    let mut next =
        Reissuer::new(config(inline(2)), Box::new(SoftwareCrypto), [9; 32], scenario.now).map_err(|_| ()).unwrap();
    next.inherit(&scenario.reissuer, scenario.now);
    scenario.reissuer = next;
    assert_eq!(gaps(&scenario.events()).len(), 2);
}

/// The events of a gateway that gets no request and reaches nothing for so long, with the second of each.
fn idle(seconds: u64, mut read_elsewhere: impl FnMut(&mut Reissuer, Now)) -> Vec<(u64, Event)> {
    let mut scenario = Scenario::new(fetched);
    (scenario.keyring, scenario.jwks) = (None, None);
    let mut told = Vec::new();
    for second in 0..seconds {
        read_elsewhere(&mut scenario.reissuer, scenario.now);
        scenario.fetch_what_is_due();
        told.extend(scenario.events().into_iter().map(|event| (second, event)));
        scenario.pass(1);
    }
    told
}

const NOTED: [&str; 2] = ["jwt_reissuer.keyring.missing", "jwt_reissuer.jwks.prod.missing"];

fn first(told: &[(u64, Event)], counter: &str) -> Option<u64> {
    told.iter().find(|(_, event)| event.counters().any(|name| name == counter)).map(|(second, _)| *second)
}

#[test]
fn a_gateway_that_nobody_asks_alarms_after_a_minute_without_keys() {
    let told = idle(180, |_, _| ());
    for counter in NOTED {
        let second = first(&told, counter).unwrap();
        assert!((60..=66).contains(&second), "{counter}: {second}");
    }
    let loud =
        |(second, event): &&(u64, Event)| *second < 60 && event.level() != Level::Info && event.level() != Level::Debug;
    assert_eq!(told.iter().filter(loud).count(), 0, "an Envoy that starts resolves names meanwhile");
    let lines: Vec<String> =
        told.iter().filter(|(_, event)| event.level() == Level::Error).map(|(_, event)| event.to_string()).collect();
    assert!(lines.iter().any(|line| line.starts_with("signing keys not loaded: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("keys of issuer=prod not fetched: ")), "{lines:?}");
    // An alert on the increase within two minutes sees it go on.
    for counter in NOTED {
        let count = told.iter().filter(|(_, event)| event.counters().any(|name| name == counter)).count();
        assert!(count > 20, "{counter}: {count}");
    }
}

#[test]
fn a_vm_that_serves_nobody_is_silent_as_long_as_others_of_its_process_read_the_keys() {
    let told = idle(180, |reissuer, now| {
        for key in [SourceKey::Keyring, SourceKey::Jwks(0)] {
            reissuer.read_elsewhere(key, now.unix - now.unix % 5, now);
        }
    });
    assert!(NOTED.iter().all(|counter| first(&told, counter).is_none()));
    assert!(told.iter().all(|(_, event)| matches!(event.level(), Level::Info | Level::Debug)), "{told:?}");

    // Others have read them once, and do not any more.
    let told = idle(900, |reissuer, now| {
        for key in [SourceKey::Keyring, SourceKey::Jwks(0)] {
            reissuer.read_elsewhere(key, START, now);
        }
    });
    assert!(NOTED.iter().all(|counter| first(&told, counter).is_some_and(|second| second > 60)));
}

#[test]
fn neither_a_configuration_that_ends_nor_a_step_of_the_clock_makes_a_vm_that_serves_nobody_alarm() {
    for (what, step) in [("a gauge that is 0 for a moment", 0), ("a clock that is an hour ahead", 3600)] {
        let told = idle(300, |reissuer, now| {
            let read = now.unix - now.unix % 5;
            let disturbed = (120..123).contains(&(now.unix - START));
            for key in [SourceKey::Keyring, SourceKey::Jwks(0)] {
                // Seen from a VM whose clock has stepped, what others read was read long ago.
                let at = if disturbed && step == 0 { 0 } else { read };
                reissuer.read_elsewhere(key, at, Now { unix: now.unix + step, ..now });
            }
        });
        assert!(NOTED.iter().all(|counter| first(&told, counter).is_none()), "{what}");
    }
}

#[test]
fn a_process_that_was_stopped_for_hours_makes_a_vm_that_serves_nobody_not_alarm() {
    let mut scenario = Scenario::new(fetched);
    (scenario.keyring, scenario.jwks) = (None, None);
    let mut told = Vec::new();
    for second in 0..300_u64 {
        // When it goes on, the others take as long as ever to read again.
        if !(120..126).contains(&second) {
            let now = scenario.now;
            for key in [SourceKey::Keyring, SourceKey::Jwks(0)] {
                scenario.reissuer.read_elsewhere(key, now.unix - now.unix % 5, now);
            }
        }
        scenario.fetch_what_is_due();
        told.extend(scenario.events().into_iter().map(|event| (second, event)));
        scenario.pass(if second == 120 { 6 * HOUR } else { 1 });
    }
    assert!(NOTED.iter().all(|counter| first(&told, counter).is_none()));
}

#[test]
fn a_gateway_that_cannot_sign_with_the_keys_it_has_alarms_though_nobody_asks() {
    let without_randomness: fn(&mut Scenario) =
        |scenario| scenario.reissuer.without_randomness("no random numbers".into());
    let clock_in_the_past: fn(&mut Scenario) = |scenario| scenario.now.unix = START - 3 * DAY;
    for (what, disable) in [("no random numbers", without_randomness), ("no key signs yet", clock_in_the_past)] {
        let mut scenario = with_keyring(&[key("only", 1, Some(START - DAY))]);
        disable(&mut scenario);
        let mut told = Vec::new();
        for second in 0..90_u64 {
            scenario.fetch_what_is_due();
            told.extend(scenario.events().into_iter().map(|event| (second, event)));
            scenario.pass(1);
        }
        let lines: Vec<String> = told.iter().map(|(_, event)| event.to_string()).collect();
        assert!(lines.iter().any(|line| line.contains(what)), "{lines:?}");
        let second = first(&told, NOTED[0]).unwrap();
        assert!((60..=66).contains(&second), "{what}: {second}");
        let token = scenario.token("cluster-key", |_| ());
        assert_eq!(scenario.reissue("/reissue", &token).status, 503, "{what}");
    }
}

#[test]
fn a_secret_that_changes_to_and_fro_keeps_one_gauge_for_each_key_with_the_latest_moment() {
    let mut scenario = with_keyring(&[key("first", 1, None)]);
    replaced(&mut scenario, &[key("third", 3, None)]);
    for _ in 0..12 {
        replaced(&mut scenario, &[key("first", 1, None)]);
        replaced(&mut scenario, &[key("second", 2, None)]);
    }
    let withdrawn = gauges(&scenario, "jwt_reissuer.keyring.withdrawn_at.");
    let kids: Vec<&str> = withdrawn.iter().map(|(kid, _)| kid.as_str()).collect();
    assert_eq!(kids, ["first", "third", "second"]);
    let moments: Vec<u64> = withdrawn.iter().map(|(_, at)| scenario.now.unix - at).collect();
    assert_eq!(moments, [0, 230, 10]);
}

#[test]
fn a_keyring_in_the_configuration_is_not_refused_for_the_gateways_clock() {
    let before = Now { unix: 0, ..scenario::BEGINNING };
    let inline = config(|all| {
        let ring = keyring(&[key("only", 1, Some(START - DAY))]);
        all["signing_keys"]["from"] = json!({ "dangerous_inline": ring });
    });
    let mut scenario = Scenario::new(|_| ());
    scenario.reissuer =
        Reissuer::new(inline, Box::new(SoftwareCrypto), [9; 32], before).map_err(|error| error.to_string()).unwrap();
    scenario.now = before;
    assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).status, 503);
    // The clock is set right.
    scenario.now.unix = START;
    for _ in 0..10 {
        scenario.now.monotonic += std::time::Duration::from_secs(1);
        scenario.fetch_what_is_due();
    }
    assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).status, 200);
    // A fault that no clock mends is refused.
    let broken = config(|all| all["signing_keys"]["from"] = json!({ "dangerous_inline": "x" }));
    assert!(Reissuer::new(broken, Box::new(SoftwareCrypto), [9; 32], before).is_err());
}

#[test]
fn a_vm_that_serves_logs_a_failure_at_once_and_counts_it_as_missing_after_a_minute() {
    let mut scenario = Scenario::new(fetched);
    (scenario.keyring, scenario.jwks) = (None, None);
    let token = scenario.token("cluster-key", |_| ());
    let bearer = format!("Bearer {token}");
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    assert!(matches!(scenario.reissuer.handle(&request, scenario.now), Outcome::Defer(_)));
    scenario.fetch_what_is_due();
    let told = scenario.events();
    assert!(told.iter().any(|event| matches!(event, Event::KeyringFailed { missing: false, .. })), "{told:?}");
    assert!(told.iter().any(|event| matches!(event, Event::IssuerKeysFailed { missing: false, .. })), "{told:?}");
    let mut told = Vec::new();
    for second in 1..90_u64 {
        scenario.pass(1);
        scenario.fetch_what_is_due();
        told.extend(scenario.events().into_iter().map(|event| (second, event)));
    }
    for counter in NOTED {
        assert!(first(&told, counter).is_some_and(|second| (60..=66).contains(&second)), "{counter}");
    }
}

#[test]
fn keys_that_end_by_their_age_alarm_a_minute_later() {
    let mut scenario = Scenario::warm();
    scenario.jwks = None;
    let mut missing = None;
    for minute in 1..=363_u64 {
        scenario.pass(60);
        scenario.fetch_what_is_due();
        if missing.is_none() && scenario.events().iter().flat_map(Event::counters).any(|name| name == NOTED[1]) {
            missing = Some(minute);
        }
    }
    assert_eq!(missing, Some(361));
}

#[test]
fn where_envoy_hides_why_a_connection_failed_the_line_names_the_counters_that_tell() {
    let line = |body: &str| {
        let mut scenario = Scenario::warm();
        scenario.pass(400);
        scenario.events();
        let fetch = scenario.reissuer.poll_fetch(scenario.now).unwrap();
        let answer = Answer::Response { status: 503, date: None, body: body.as_bytes() };
        scenario.reissuer.handle_fetched(fetch.id, answer, scenario.now);
        scenario.reissuer.poll_event().unwrap().to_string()
    };
    let hidden = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    for counter in ["ssl.fail_verify_error", "ssl.fail_verify_san", "ssl.connection_error", "upstream_cx_connect_fail"]
    {
        assert!(line(hidden).contains(&format!("cluster.kubernetes.{counter}")), "{}", line(hidden));
    }
    let told =
        format!("{hidden}, transport failure reason: TLS_error:|268435581:SSL routines:CERTIFICATE_VERIFY_FAILED");
    assert!(line(&told).contains("CERTIFICATE_VERIFY_FAILED") && !line(&told).contains("fail_verify"));
    assert!(!line("no healthy upstream").contains("fail_verify"));
}
