//! Counters and log lines.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Answer, Envoy, INTERNAL_FAILURE, Request, count, log_lines, with};
use kubernetes::{KEYS, SIGNING_KEYS, configuration, signing_key_pem, token, token_of, warm};
use serde_json::json;

#[test]
fn a_counter_is_defined_once_and_counted_up_each_time() {
    let envoy = warm();
    for _ in 0..3 {
        envoy.send(&Request::reissue(&token()));
        envoy.send(&Request::reissue("x"));
        envoy.send(&Request::discovery());
    }
    let mut defined: Vec<String> = with(|state| state.defined.values().cloned().collect());
    defined.sort();
    let expected = [
        ("jwt_reissuer.documents_served", 3),
        ("jwt_reissuer.issued", 3),
        ("jwt_reissuer.jwks.kubernetes.fetched", 1),
        ("jwt_reissuer.keyring.loaded", 1),
        ("jwt_reissuer.rejected.malformed", 3),
    ];
    assert_eq!(defined, expected.map(|(name, _)| name));
    assert_eq!(expected.map(|(name, _)| (name, count(name))), expected);
}

#[test]
fn what_cannot_be_counted_is_answered_and_logged_all_the_same_and_counted_when_it_can_be() {
    for hostcall in ["proxy_define_metric", "proxy_increment_metric"] {
        let envoy = warm();
        envoy.fail(hostcall, INTERNAL_FAILURE);
        assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
        assert!(log_lines().last().is_some_and(|line| line.starts_with("issued ")));
        envoy.heal();
        assert_eq!(count("jwt_reissuer.issued"), 0);
        envoy.send(&Request::reissue(&token()));
        assert_eq!(count("jwt_reissuer.issued"), 1, "{hostcall}");
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
        envoy.send(&Request::discovery());
        envoy.send(&Request::reissue(&token()));
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
