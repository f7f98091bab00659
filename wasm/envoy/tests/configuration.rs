//! What is taken as a configuration, and what a refused one leaves behind.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Answer, CRITICAL, ERROR, Envoy, INFO, Request, count, log_lines, with};
use kubernetes::{KEYS, SIGNING_KEYS, cold, configuration, fetch, jwks, signing_key_pem, token};
use serde_json::{Value, json};

/// The only line beyond information, which must be a critical one that refuses the configuration.
fn refusal() -> String {
    let mut logs = with(|state| std::mem::take(&mut state.logs));
    logs.retain(|(level, _)| *level > INFO);
    let [(CRITICAL, line)] = logs.as_slice() else { panic!("not one critical line: {logs:?}") };
    line.strip_prefix("jwt-reissuer: configuration refused: ").expect("a refusal").to_owned()
}

#[test]
fn the_first_tick_and_not_the_configuration_sends_the_callouts() {
    let envoy = cold();
    assert_eq!(with(|state| state.tick_period), Some(1), "the first tick comes at once");
    assert!(with(|state| state.callouts.is_empty()));
    envoy.tick();
    let callouts = with(|state| state.callouts.clone());
    let sent: Vec<(u32, &str)> = callouts.iter().map(|callout| (callout.context, callout.cluster.as_str())).collect();
    assert_eq!(sent, [(envoy.root, SIGNING_KEYS), (envoy.root, KEYS)]);
    envoy.tick();
    assert_eq!(with(|state| state.callouts.len()), 2, "one fetch is in flight at a time");
}

#[test]
fn a_wrong_configuration_is_refused_with_the_path_of_the_member_in_a_critical_line() {
    let cases: [(&str, Value, &str); 7] = [
        ("/issuer", json!("http://reissuer.example.com"), "issuer: must be an https URL"),
        ("/audiences", json!([]), "audiences: must not be empty"),
        ("/read_forms", json!("yes"), "read_forms: must be true or false"),
        ("/signing_keys/from", json!({}), "signing_keys.from: takes exactly one of"),
        ("/signing_keys/from", json!({ "dangerous_inline": "x" }), "signing_keys.from.dangerous_inline: "),
        ("/trusted_issuers/0/audiences", json!([]), "trusted_issuers[0].audiences: must not be empty"),
        ("/trusted_issuers/0/jwks/authority", json!(1), "trusted_issuers[0].jwks.authority: must be a string"),
    ];
    let envoy = Envoy::start();
    for (member, wrong, refused_with) in cases {
        let wrong = configuration(|all| *all.pointer_mut(member).expect(member) = wrong);
        assert!(!envoy.configure(&wrong), "{member}");
        let line = refusal();
        assert!(line.starts_with(refused_with), "{line}");
    }
    let stream = envoy.send(&Request::discovery());
    assert_eq!((stream.action, stream.status()), (Action::Pause, Some(503)), "without a filter nothing passes");
    envoy.tick();
    assert!(with(|state| state.callouts.is_empty()));
}

#[test]
fn a_changed_configuration_reissues_at_once_with_the_keys_of_the_one_before_though_the_api_server_is_down() {
    let mut envoy = kubernetes::warm();
    assert!(envoy.update(configuration(|all| all["ttl"] = json!("1h"))));
    envoy.tick();
    envoy.answer(KEYS, Answer::of("503", "no healthy upstream"));
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));

    assert!(envoy.update(configuration(|all| all["trusted_issuers"][0]["jwks"]["path"] = json!("/elsewhere"))));
    envoy.tick();
    envoy.answer(KEYS, Answer::of("503", "no healthy upstream"));
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(503), "its keys are others");
}

#[test]
fn what_is_no_json_text_is_refused_and_told_what_it_is() {
    // A Struct with one field, as protobuf has it
    let of_struct = b"\x0a\x0a\x0a\x06issuer\x12\x00";
    let cases: [(&[u8], &str); 5] = [
        (b"", "is empty"),
        (of_struct, "is not JSON: give it as google.protobuf.StringValue, not as Struct"),
        (b"issuer: https://reissuer.example.com", "not a JSON configuration: "),
        (b"{ \"issuer\": \"\xff\" }", "not a JSON configuration: "),
        (b"[]", "must be an object"),
    ];
    let envoy = Envoy::start();
    for (text, refused_with) in cases {
        assert!(!envoy.configure(text), "{refused_with}");
        let line = refusal();
        assert!(line.starts_with(refused_with), "{line}");
    }
}

#[test]
fn empty_lines_around_a_configuration_are_nothing_to_it() {
    for text in ["\n{}", "\n\n  {}", "\r\n{}\n", " {} "] {
        let envoy = Envoy::start();
        assert!(envoy.configure(text.replace("{}", &configuration(|_| {}))), "{text:?}: {:?}", log_lines());
    }
}

#[test]
fn a_refused_update_leaves_the_running_configuration_serving() {
    let mut envoy = cold();
    assert!(!envoy.update(b"{}"));
    assert!(refusal().starts_with("issuer: is missing"));
    envoy.tick();
    fetch(&envoy);
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));

    // The same context, should a host ask it twice
    assert!(!envoy.configure(b"{}"));
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
}

#[test]
fn an_update_serves_beside_the_configuration_before_until_that_is_drained() {
    let mut envoy = cold();
    let before = envoy.root;
    let waiting = envoy.send(&Request::discovery());
    envoy.tick();
    let callout = with(|state| state.callouts[0].token);
    assert!(envoy.update(configuration(|all| all["issuer"] = json!("https://new.example.com"))));
    let ours = Request::discovery().header(":authority", "new.example.com");
    assert_eq!(envoy.send(&ours).action, Action::Pause);
    assert_eq!(envoy.send(&Request::discovery()).action, Action::Continue, "the old host is nobody's");

    let drained = std::mem::replace(&mut envoy.root, before);
    envoy.answer_token(callout, Answer::of("200", signing_key_pem()));
    assert_eq!(waiting.status(), Some(200));
    envoy.root = drained;
}

#[test]
fn an_answer_to_a_callout_of_the_configuration_before_is_not_taken_for_one_of_this() {
    let envoy = cold();
    envoy.tick();
    let old = with(|state| std::mem::take(&mut state.callouts));
    assert!(envoy.configure(configuration(|all| all["trusted_issuers"][0]["issuer"] = json!("https://other"))));
    envoy.tick();
    for callout in old {
        let body = if callout.cluster == KEYS { jwks() } else { signing_key_pem() };
        envoy.answer_token(callout.token, Answer::of("200", body));
    }
    assert_eq!(count("jwt_reissuer.jwks.kubernetes.fetched") + count("jwt_reissuer.keyring.loaded"), 0);
    fetch(&envoy);
    assert_eq!(count("jwt_reissuer.jwks.kubernetes.fetched") + count("jwt_reissuer.keyring.loaded"), 2);
}

#[test]
fn keys_that_come_with_the_configuration_are_there_at_once_and_nothing_is_fetched() {
    let envoy = Envoy::with(&configuration(|all| {
        all["signing_keys"]["from"] = json!({ "dangerous_inline": signing_key_pem() });
        let keys: Value = serde_json::from_str(&jwks()).expect("JSON");
        all["trusted_issuers"][0]["jwks"] = json!({ "inline": keys });
    }));
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
    envoy.tick();
    assert!(with(|state| state.callouts.is_empty()));
    assert!(log_lines().iter().any(|line| line.starts_with("issued ")));
}

/// All lines of at least this level.
fn lines_from(level: u32) -> Vec<String> {
    with(|state| state.logs.iter().filter(|(each, _)| *each >= level).map(|(_, line)| line.clone()).collect())
}

/// A configuration whose text is right, and what is logged of that which it points to.
struct Unusable {
    what: &'static str,
    edit: fn(&mut Value),
    expected: &'static str,
}

const UNUSABLE: [Unusable; 4] = [
    Unusable {
        what: "no variable with the keys",
        edit: |all| all["signing_keys"]["from"] = json!({ "env": "JWT_REISSUER_MISSING" }),
        expected: "signing keys not loaded: signing_keys.from.env: JWT_REISSUER_MISSING is not set in the VM",
    },
    Unusable {
        what: "a variable with something else",
        edit: |all| all["signing_keys"]["from"] = json!({ "env": "PATH" }),
        expected: "signing keys not loaded: neither a JSON keyring, nor a PEM",
    },
    Unusable {
        what: "no sealing key",
        edit: |all| all["signing_keys"]["sealing_key"] = json!({ "env": "JWT_REISSUER_MISSING" }),
        expected: "signing keys not loaded: signing_keys.sealing_key.env: JWT_REISSUER_MISSING is not set in the VM",
    },
    Unusable {
        what: "a sealing key that is none",
        edit: |all| all["signing_keys"]["sealing_key"] = json!({ "env": "PATH" }),
        expected: "signing keys not loaded: signing_keys.sealing_key.env: PATH must hold 32 bytes",
    },
];

#[test]
fn nothing_around_a_configuration_refuses_it_and_other_hosts_do_not_notice() {
    for unusable in UNUSABLE {
        // Each in a VM of its own: a thread is one.
        std::thread::spawn(move || starts_and_reloads(&unusable)).join().expect("the assertion above");
    }
}

fn starts_and_reloads(unusable: &Unusable) {
    let Unusable { what, edit, expected } = *unusable;
    let mut envoy = Envoy::start();
    assert!(envoy.configure(configuration(edit)), "{what}");
    envoy.tick();
    if with(|state| state.callouts.iter().any(|callout| callout.cluster == SIGNING_KEYS)) {
        envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    }
    envoy.tick_until(|| lines_from(ERROR).iter().any(|line| line.starts_with(expected)));
    let stranger = envoy.send(&Request::reissue(&token()).header(":authority", "app.example.com"));
    assert_eq!(stranger.action, Action::Continue, "{what}");
    let waiting = envoy.send(&Request::discovery());
    envoy.tick_until(|| waiting.status().is_some());
    assert_eq!(waiting.status(), Some(503), "{what}");

    // A working configuration comes, and then one like this again: its keys go on.
    assert!(envoy.update(configuration(|_| ())));
    envoy.tick();
    fetch(&envoy);
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200), "{what}");
    assert!(envoy.update(configuration(edit)), "{what}");
    envoy.tick();
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200), "{what}");
}
