//! Counters and log lines.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Answer, Envoy, INTERNAL_FAILURE, Request, count, gauge, log_lines, with};
use kubernetes::{
    KEYS, SIGNING_KEYS, cold, configuration, fetch, jwks, signing_key_pem, token, token_number, token_of, warm,
};
use serde_json::json;

#[test]
fn a_counter_is_defined_once_and_counted_up_each_time() {
    let envoy = warm();
    // One token: another second would make another one.
    let token = token();
    for _ in 0..3 {
        envoy.send(&Request::reissue(&token));
        envoy.send(&Request::reissue("x"));
        envoy.send(&Request::discovery());
    }
    envoy.tick();
    let expected = [
        ("jwt_reissuer.documents_served", 3),
        ("jwt_reissuer.issued", 3),
        ("jwt_reissuer.issued_again", 2),
        ("jwt_reissuer.jwks.kubernetes.failed", 0),
        ("jwt_reissuer.jwks.kubernetes.failed.no_usable_key", 0),
        ("jwt_reissuer.jwks.kubernetes.fetched", 1),
        ("jwt_reissuer.jwks.kubernetes.missing", 0),
        ("jwt_reissuer.keyring.failed", 0),
        ("jwt_reissuer.keyring.loaded", 1),
        ("jwt_reissuer.keyring.missing", 0),
        ("jwt_reissuer.keyring.signs_unpublished", 0),
        ("jwt_reissuer.keyring.withdrawn", 0),
        ("jwt_reissuer.rejected.ambiguous_issuer", 0),
        ("jwt_reissuer.rejected.issuer_keys_unavailable", 0),
        ("jwt_reissuer.rejected.malformed", 3),
        ("jwt_reissuer.rejected.over_budget", 0),
        ("jwt_reissuer.rejected.plain_http", 0),
        ("jwt_reissuer.rejected.signing_failed", 0),
        ("jwt_reissuer.rejected.signing_keys_unavailable", 0),
        ("jwt_reissuer.rejected.subject_over_budget", 0),
        ("jwt_reissuer.rejected.too_many_waiting", 0),
        ("jwt_reissuer.signing_latched", 0),
    ];
    let (counters, defined) = with(|state| (state.counters.clone(), state.defined.len() - state.gauges.len()));
    let counters: Vec<(&str, i64)> = counters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(counters, expected);
    assert_eq!(defined, expected.len());
}

#[test]
fn counters_follow_at_once_where_little_happens_and_within_a_twentieth_of_a_second_where_much_does() {
    let envoy = warm();
    let sent = |requests: usize| {
        with(|state| state.calls.clear());
        for _ in 0..requests {
            envoy.send(&Request::discovery());
        }
        with(|state| state.calls.iter().filter(|call| **call == "proxy_increment_metric").count())
    };
    assert_eq!((sent(3), count("jwt_reissuer.documents_served")), (3, 3));
    std::thread::sleep(std::time::Duration::from_millis(51));
    let calls = sent(1000);
    // A twentieth of a second may have ended meanwhile, once or several times.
    assert!((8..500).contains(&calls), "{calls}");
    assert_eq!(with(|state| state.tick_period), Some(50), "the rest is told on a tick that comes soon");
    envoy.tick();
    assert_eq!(count("jwt_reissuer.documents_served"), 1003);
    std::thread::sleep(std::time::Duration::from_millis(51));
    assert_eq!((sent(1), count("jwt_reissuer.documents_served")), (1, 1004));
}

#[test]
fn counters_do_not_wait_for_a_request_that_waits() {
    let envoy = Envoy::with(&configuration(|all| all["read_forms"] = json!(true)));
    envoy.tick();
    fetch(&envoy);
    let form = envoy.send_with_body(&Request::form("x").header("authorization", format!("Bearer {}", token())));
    assert_eq!((form.action, form.status()), (Action::Pause, None), "its body is to come");
    envoy.tick_until_idle();
    for _ in 0..100 {
        envoy.send(&Request::discovery());
    }
    assert_eq!(with(|state| state.tick_period), Some(50));
}

#[test]
fn counters_put_off_nobody_who_waits_and_what_a_configuration_counts_at_its_end_is_counted() {
    let envoy = cold();
    let waiting: Vec<_> = (0..3).map(|_| envoy.send(&Request::reissue(&token()))).collect();
    envoy.tick();
    assert!(envoy.configure(configuration(|_| {})));
    let before = with(|state| state.tick_period);
    assert_eq!(before, Some(1));
    for _ in 0..100 {
        envoy.send(&Request::reissue("x"));
    }
    assert_eq!(with(|state| state.tick_period), before, "a later one would be too late");
    envoy.tick_until(|| waiting.iter().all(|stream| stream.status().is_some()));
    envoy.tick();
    let refused = log_lines().iter().filter(|line| line.contains(" reason=issuer_keys_unavailable ")).count();
    let unsigned = log_lines().iter().filter(|line| line.contains(" reason=signing_keys_unavailable ")).count();
    assert_eq!(refused + unsigned, waiting.len());
}

#[test]
fn what_was_counted_is_told_before_a_configuration_goes() {
    let envoy = warm();
    for _ in 0..100 {
        envoy.send(&Request::discovery());
    }
    envoy.close();
    assert_eq!(count("jwt_reissuer.documents_served"), 100);
}

#[test]
fn what_an_alert_watches_is_there_before_anything_has_happened() {
    let _envoy = cold();
    let counters: Vec<String> = with(|state| state.counters.keys().cloned().collect());
    let watched = ["jwks.kubernetes.failed", "keyring.failed", "signing_latched"];
    assert!(watched.iter().all(|name| counters.contains(&format!("jwt_reissuer.{name}"))), "{counters:?}");
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(0));
    assert_eq!(gauge("jwt_reissuer.jwks.kubernetes.last_success"), None, "never");
}

#[test]
fn gauges_say_when_keys_were_read_and_what_they_are() {
    let before = unix();
    let envoy = cold();
    envoy.tick();
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    envoy.answer(KEYS, Answer::of("200", jwks()).header("date", date));
    let gauge = |name: &str| gauge(&format!("jwt_reissuer.{name}")).expect(name);
    for name in ["jwks.kubernetes.last_success", "keyring.last_success"] {
        assert!((before..=unix()).contains(&gauge(name)), "{name}");
    }
    assert_eq!(gauge("jwks.kubernetes.keys"), 1);
    assert_eq!(gauge("jwks.kubernetes.last_success") - gauge("jwks.kubernetes.clock_ahead_seconds"), 1_767_225_600);
    assert_eq!(gauge("jwks.kubernetes.clock_behind_seconds"), 0);
    let states = ["upcoming", "next", "active", "retired"].map(|state| gauge(&format!("keyring.keys.{state}")));
    assert_eq!((states, gauge("keyring.next_change")), ([0, 0, 1, 0], 0));
    assert_ne!(gauge("keyring.published_hash"), 0);
}

#[test]
fn a_server_that_does_not_say_its_time_has_no_clock_to_compare() {
    for date in [None, Some("yesterday"), Some("")] {
        let envoy = cold();
        envoy.tick();
        let answer = Answer::of("200", jwks());
        envoy.answer(KEYS, date.map_or(answer.clone(), |date| answer.header("date", date)));
        assert!(gauge("jwt_reissuer.jwks.kubernetes.last_success").is_some());
        assert_eq!(gauge("jwt_reissuer.jwks.kubernetes.clock_ahead_seconds"), None, "{date:?}");
    }
}

#[test]
fn requests_that_wait_are_counted_over_all_vms_and_the_count_goes_back_to_nothing() {
    let envoy = cold();
    let waiting = [(); 3].map(|()| envoy.send(&Request::reissue(&token())));
    envoy.tick();
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(3));
    waiting[0].close();
    envoy.tick();
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(2));
    fetch(&envoy);
    envoy.tick_until_idle();
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(0));
    envoy.send(&Request::reissue(&token_of("rotated")));
    envoy.tick();
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(1));
    envoy.close();
    assert_eq!(gauge("jwt_reissuer.waiting"), Some(0), "nobody waits for a configuration that is gone");
}

#[test]
fn a_configuration_that_is_gone_leaves_no_gauge_that_says_what_was() {
    let mut envoy = warm();
    let old = Envoy { root: envoy.root };
    assert!(envoy.update(configuration(|all| all["trusted_issuers"][0]["name"] = "other".into())));
    assert_ne!(gauge("jwt_reissuer.jwks.kubernetes.last_success"), Some(0));
    old.close();
    assert_eq!(gauge("jwt_reissuer.jwks.kubernetes.last_success"), Some(0));
}

fn unix() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

#[test]
fn what_cannot_be_counted_is_answered_and_logged_all_the_same_and_counted_when_it_can_be() {
    for hostcall in ["proxy_define_metric", "proxy_increment_metric", "proxy_record_metric"] {
        let envoy = warm();
        envoy.fail(hostcall, INTERNAL_FAILURE);
        assert_eq!(envoy.send(&Request::reissue("x")).status(), Some(401));
        assert!(log_lines().last().is_some_and(|line| line.starts_with("rejected ")));
        envoy.heal();
        assert_eq!(
            count("jwt_reissuer.rejected.malformed"),
            i64::from(hostcall == "proxy_record_metric"),
            "{hostcall}"
        );
        envoy.send(&Request::reissue("x"));
        // What has no counter is lost; what could not be added to one is added later.
        let lost = i64::from(hostcall == "proxy_define_metric");
        assert_eq!(count("jwt_reissuer.rejected.malformed"), 2 - lost, "{hostcall}");
    }
}

#[test]
fn a_line_is_written_only_where_envoy_writes_its_level() {
    let envoy = warm();
    for (log_level, lines) in [(0, 2), (1, 2), (2, 1), (3, 0)] {
        with(|state| {
            state.log_level = log_level;
            state.logs.clear();
        });
        // Envoy's level is looked up on ticks.
        envoy.tick();
        envoy.send(&Request::discovery());
        envoy.send(&Request::reissue(&token_number(log_level as usize)));
        assert_eq!(log_lines().len(), lines, "{log_level}");
    }
}

#[test]
fn no_token_and_no_key_is_in_any_log_line() {
    let token = token();
    let pem = signing_key_pem();
    let private: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut lines = Vec::new();

    // Configurations that are refused, with the key in a place of them
    let envoy = Envoy::start();
    for from in [json!({ "dangerous_inline": pem.replace("PRIVATE", "NO") }), json!({ "env": pem }), json!(pem)] {
        assert!(!envoy.configure(configuration(|all| all["signing_keys"]["from"] = from)));
    }
    lines.extend(log_lines());

    // By default this Envoy writes lines of every level.
    // Keys and tokens where they belong, and where they do not
    let broken_keyring = json!({ "keys": [{ "private_key": pem, "public_key": pem }] }).to_string();
    for (keyring, keys) in [(&pem, &pem), (&broken_keyring, &token), (&token, &broken_keyring)] {
        let envoy = Envoy::with(&configuration(|_| {}));
        let waiting = envoy.send(&Request::reissue(&token));
        envoy.tick();
        envoy.answer(SIGNING_KEYS, Answer::of("200", keyring));
        envoy.answer(KEYS, Answer::of("200", keys));
        assert!(matches!(waiting.status(), Some(401 | 503)), "{waiting:?}");
        lines.extend(log_lines());
    }
    let envoy = warm();
    let issued = envoy.send(&Request::reissue(&token)).answer().expect("an answer").body;
    let wrong = [
        Request::reissue(&format!("{token}x")),
        Request::reissue(&format!("{token},{token}")),
        Request::reissue(&token_of("rotated")),
        Request::reissue("").header("authorization", format!("Basic {token}")),
        Request::reissue("").header(":path", format!("/reissue?audience={token}")).header("authorization", &token),
        Request::reissue(&token).header(":path", format!("/reissue?audience={token}")),
        Request::reissue(&token).header(":path", format!("/{token}")),
        Request::reissue(&token).header(":method", &token),
    ];
    for request in wrong {
        envoy.send(&request);
    }
    let form = envoy.send_with_body(&Request::form(&token));
    form.body(format!("subject_token={token}"), true);
    envoy.tick();
    envoy.answer(KEYS, Answer::of(&token, &pem));
    lines.extend(log_lines());

    let signature = |token: &str| token.rsplit('.').next().map(str::to_owned).expect("a signature");
    let mut secrets = vec![token.clone(), signature(&token), issued.clone(), signature(&issued)];
    secrets.extend(private.iter().map(|line| (*line).to_owned()));
    assert!(lines.len() > 15, "{lines:#?}");
    for secret in secrets {
        let told = lines.iter().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret}");
    }
}

#[test]
fn a_token_that_is_given_again_and_again_has_a_line_a_second_and_hides_no_other() {
    let envoy = warm();
    let (often, once) = (token_number(1), token_number(2));
    envoy.send(&Request::reissue(&once));
    for _ in 0..300 {
        assert_eq!(envoy.send(&Request::reissue(&often)).status(), Some(200));
    }
    envoy.send(&Request::reissue(&once));
    let lines = || log_lines().iter().filter(|line| line.starts_with("issued again issuer=")).count();
    // A second may have ended meanwhile.
    assert!((2..=3).contains(&lines()), "{}", lines());
    envoy.tick();
    assert_eq!((count("jwt_reissuer.issued"), count("jwt_reissuer.issued_again")), (302, 300));
    assert_eq!(silent("issued again "), 0, "what has no line is said when the second is over");
    std::thread::sleep(std::time::Duration::from_millis(1010));
    envoy.tick();
    assert_eq!(silent("issued again ") + lines(), 300);
}

#[test]
fn a_flood_of_refusals_has_twenty_lines_a_second_for_each_reason_and_each_is_counted() {
    let envoy = warm();
    let lines = |reason: &str| log_lines().iter().filter(|line| line.contains(&format!(" reason={reason} ("))).count();
    for _ in 0..500 {
        envoy.send(&Request::reissue("x"));
    }
    let first = lines("malformed");
    assert!(first == 20 || first == 40, "{first}");
    envoy.tick();
    assert_eq!(count("jwt_reissuer.rejected.malformed"), 500);
    // Nothing else is hidden by it.
    assert_eq!(envoy.send(&Request::reissue(&token_of("a key of nobody"))).action, Action::Pause);
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
    assert!(log_lines().last().is_some_and(|line| line.starts_with("issued ")), "what is issued always has its line");
    envoy.send(&Request::reissue("x").without("authorization"));
    assert!(log_lines().last().is_some_and(|line| line.contains("reason=no_token")));
    std::thread::sleep(std::time::Duration::from_millis(1010));
    envoy.tick();
    assert_eq!(silent("rejected reason=malformed ") + first, 500);
    envoy.send(&Request::reissue("x"));
    assert_eq!(lines("malformed"), first + 1);
}

/// How many are said to have had no line.
fn silent(what: &str) -> usize {
    let lines = log_lines();
    let counts = lines.iter().filter_map(|line| {
        line.strip_prefix(what)?
            .strip_suffix(" more times within a second, each of them counted")?
            .parse::<usize>()
            .ok()
    });
    counts.sum()
}
