//! Every hostcall fails in every way: nothing panics, nothing of ours passes, no token is issued on what could not be
//! read, and afterwards all is as before.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Answer, Envoy, INTERNAL_FAILURE, NOT_FOUND, Request, answers, count, log_lines, with};
use kubernetes::{KEYS, SIGNING_KEYS, cold, configuration, fetch, jwks, signing_key_pem, token, warm};

/// All that the filter calls
const HOSTCALLS: [&str; 15] = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_send_local_response",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
    "proxy_get_property",
    "proxy_http_call",
    "proxy_set_effective_context",
    "proxy_call_foreign_function",
];

/// All of proxy-wasm's WasmResult but Ok, and one that is none of them
const STATUSES: [u32; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99];

fn every_failure() -> impl Iterator<Item = (&'static str, u32)> {
    HOSTCALLS.into_iter().flat_map(|hostcall| STATUSES.map(|status| (hostcall, status)))
}

/// A request without `:authority` is to nobody, and that is what this status says.
fn says_there_is_no_authority(failure: (&str, u32)) -> bool {
    failure == ("proxy_get_header_map_value", NOT_FOUND)
}

#[test]
fn the_list_of_hostcalls_is_all_that_a_life_of_the_filter_calls() {
    let envoy = cold();
    let waiting = envoy.send(&Request::reissue(&token()));
    envoy.tick();
    fetch(&envoy);
    assert_eq!(waiting.status(), Some(200));
    envoy.send_with_body(&Request::form(&token())).body("a=b", true);
    let mut called = with(|state| state.calls.clone());
    let envoy = cold();
    envoy.tick();
    envoy.answer(KEYS, Answer::of("503", "no healthy upstream"));
    called.extend(with(|state| state.calls.clone()));
    assert_eq!(called.iter().find(|call| !HOSTCALLS.contains(call)), None);
    assert_eq!(HOSTCALLS.iter().find(|call| !called.contains(call)), None);
}

#[test]
fn a_failure_while_requests_come_lets_none_pass_and_afterwards_they_are_answered() {
    for failure @ (hostcall, status) in every_failure() {
        let envoy = warm();
        let begun = envoy.send_with_body(&Request::form(&token()));
        envoy.fail(hostcall, status);
        let expected = if says_there_is_no_authority(failure) { Action::Continue } else { Action::Pause };
        for request in [Request::reissue(&token()), Request::discovery(), Request::get("/")] {
            assert_eq!(envoy.send(&request).action, expected, "{failure:?}");
        }
        let form = envoy.send_with_body(&Request::form(&token()));
        assert_eq!((form.action, form.body("a=b", true)), (expected, expected), "{failure:?}");
        assert_eq!(begun.body("a=b", true), Action::Pause, "{failure:?}");
        envoy.tick();
        begun.close();
        envoy.heal();
        let next = envoy.send(&Request::reissue(&token()));
        assert_eq!((next.action, next.status()), (Action::Pause, Some(200)), "{failure:?}");
    }
}

#[test]
fn a_failure_while_keys_are_fetched_lets_no_request_pass_and_afterwards_they_are_fetched() {
    for failure @ (hostcall, status) in every_failure() {
        let mut envoy = cold();
        let waiting = [Request::reissue(&token()), Request::discovery()].map(|request| envoy.send(&request));
        assert_eq!(waiting.map(|stream| stream.action), [Action::Pause; 2]);
        envoy.fail(hostcall, status);
        envoy.tick();
        for callout in with(|state| state.callouts.clone()) {
            let document = if callout.cluster == KEYS { jwks() } else { signing_key_pem() };
            envoy.answer_token(callout.token, Answer::of("200", document));
        }
        envoy.tick();
        assert_eq!(waiting.map(|stream| stream.body("", true)), [Action::Pause; 2], "{failure:?}");
        for stream in waiting {
            stream.close();
        }
        envoy.heal();
        // A fetch that failed is made again after a second; a fresh root context of the same VM makes its own at once.
        assert!(envoy.update(configuration(|_| {})), "{failure:?}");
        envoy.tick();
        fetch(&envoy);
        assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200), "{failure:?}");
    }
}

#[test]
fn a_failure_while_it_is_configured_refuses_the_configuration_only_if_that_cannot_be_read() {
    for failure @ (hostcall, status) in every_failure() {
        let envoy = Envoy::start();
        envoy.fail(hostcall, status);
        let taken = envoy.configure(configuration(|_| {}));
        assert_eq!(taken, hostcall != "proxy_get_buffer_bytes", "{failure:?}");
        if !taken {
            assert_eq!(log_lines(), ["jwt-reissuer: configuration refused: cannot be read"]);
        }
        envoy.tick();
        envoy.heal();
        assert!(envoy.configure(configuration(|_| {})), "{failure:?}");
        envoy.tick();
        fetch(&envoy);
        assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200), "{failure:?}");
    }
}

#[test]
fn what_cannot_be_read_gives_no_token() {
    let cases = [
        ("proxy_get_header_map_value", Request::reissue(&token()), 500),
        ("proxy_get_header_map_pairs", Request::reissue(&token()), 500),
        ("proxy_get_buffer_bytes", Request::form(&token()), 413),
    ];
    for (hostcall, request, answered) in cases {
        for status in STATUSES {
            if says_there_is_no_authority((hostcall, status)) {
                continue;
            }
            let envoy = warm();
            envoy.fail(hostcall, status);
            let stream = envoy.send_with_body(&request);
            stream.body("subject_token=x", true);
            assert_eq!(stream.status(), Some(answered), "{hostcall} {status}");
            assert_eq!(count("jwt_reissuer.issued"), 0, "{hostcall} {status}");
        }
    }
}

#[test]
fn a_form_of_which_envoy_gives_less_than_it_has_gives_no_token() {
    let envoy = warm();
    let stream = envoy.send_with_body(&Request::form(&token()));
    with(|state| state.short_of = 5);
    assert_eq!((stream.body("a=b&access_token=x", true), stream.status()), (Action::Pause, Some(413)));
}

#[test]
fn a_path_that_cannot_be_read_does_not_pass_on_a_shared_host_either() {
    let envoy = Envoy::with(&configuration(|all| all["shared_host"] = true.into()));
    with(|state| state.unreadable = Some(":path"));
    for path in ["/reissue", "/app"] {
        let stream = envoy.send(&Request::reissue(&token()).header(":path", path));
        assert_eq!((stream.action, stream.status()), (Action::Pause, Some(500)), "{path}");
    }
}

#[test]
fn an_answer_that_cannot_be_sent_is_nobody_elses() {
    let envoy = cold();
    let first = envoy.send(&Request::discovery());
    let other = envoy.send(&Request::reissue(&token()));
    envoy.tick();
    envoy.fail("proxy_set_effective_context", INTERNAL_FAILURE);
    fetch(&envoy);
    assert_eq!(answers(), []);
    envoy.heal();
    let next = envoy.send(&Request::discovery());
    envoy.tick_until_idle();
    assert_eq!(answers(), [(next.id, 200)], "{first:?} and {other:?} are Envoy's to end");
}

#[test]
fn a_callout_that_cannot_be_sent_is_a_failed_fetch_and_says_why() {
    for status in STATUSES {
        let envoy = cold();
        let waiting = envoy.send(&Request::discovery());
        envoy.fail("proxy_http_call", status);
        envoy.tick();
        assert_eq!(waiting.status(), Some(503), "{status}");
        let expected = format!("signing keys not loaded: callout to cluster {SIGNING_KEYS} not sent: ");
        assert!(log_lines().iter().any(|line| line.starts_with(&expected)), "{status}: {:?}", log_lines());
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_ignored() {
    let envoy = cold();
    let waiting = envoy.send(&Request::reissue(&token()));
    envoy.tick();
    let first = with(|state| state.callouts[0].token);
    for unknown in [0, u32::MAX, envoy.root] {
        envoy.answer_token(unknown, Answer::of("200", signing_key_pem()));
    }
    assert_eq!(count("jwt_reissuer.keyring.loaded"), 0);
    fetch(&envoy);
    assert_eq!(waiting.status(), Some(200));
    with(|state| state.calls.clear());
    for twice in [Answer::of("200", "x"), Answer::none()] {
        envoy.answer_token(first, twice);
    }
    assert_eq!(with(|state| state.calls.clone()), Vec::<&str>::new(), "it is not even looked at");
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
}

#[test]
fn a_context_that_is_not_there_does_nothing_and_lets_nothing_pass() {
    let envoy = warm();
    with(|state| state.calls.clear());
    let nobodys = Envoy { root: u32::MAX };
    assert!(!nobodys.configure(configuration(|_| {})));
    nobodys.tick();
    nobodys.answer_token(1, Answer::of("200", jwks()));
    for host in ["reissuer.example.com", "shop.example.com"] {
        let stream = nobodys.send_with_body(&Request::reissue(&token()).header(":authority", host));
        assert_eq!(
            (stream.action, stream.body("x", true), stream.trailers()),
            (Action::Pause, Action::Pause, Action::Pause)
        );
        assert_eq!(stream.status(), Some(503));
        stream.close();
    }
    assert_eq!(with(|state| state.calls.clone()), ["proxy_send_local_response"; 2]);
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));

    // Nor does one that is there no more.
    let passing = envoy.send_with_body(&Request::reissue(&token()).header(":authority", "shop.example.com"));
    assert_eq!(passing.trailers(), Action::Continue);
    passing.close();
    assert_eq!(passing.trailers(), Action::Pause);
    envoy.close();
    with(|state| state.calls.clear());
    envoy.tick();
    assert_eq!(with(|state| state.calls.clone()), Vec::<&str>::new());
}
