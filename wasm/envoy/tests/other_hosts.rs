//! Everybody else's requests pay next to nothing, and are not touched.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Envoy, Request, Stream, answers, log_lines, with};
use kubernetes::{cold, configuration, token, warm};
use serde_json::json;

/// The hostcalls that a request costs from its headers to its end.
fn calls_of(envoy: &Envoy, request: &Request) -> (Stream, Vec<&'static str>) {
    with(|state| state.calls.clear());
    let stream = envoy.send_with_body(request);
    assert_eq!(stream.body("subject_token=x", false), stream.action);
    assert_eq!(stream.body("&y=z", true), stream.action);
    assert_eq!(stream.trailers(), stream.action);
    stream.close();
    (stream, with(|state| std::mem::take(&mut state.calls)))
}

fn eight_of_ours(envoy: &Envoy) {
    for _ in 0..8 {
        envoy.send(&Request::discovery());
    }
}

#[test]
fn a_request_to_another_host_continues_after_a_single_hostcall() {
    for envoy in [cold(), warm()] {
        let before = log_lines();
        for host in ["shop.example.com", "xreissuer.example.com", "reissuer.example.com.evil.example", "", "[::1]:80"] {
            let (stream, calls) = calls_of(&envoy, &Request::reissue(&token()).header(":authority", host));
            assert_eq!(stream.action, Action::Continue, "{host}");
            assert_eq!(calls, ["proxy_get_header_map_value"], "{host}");
        }
        assert_eq!(log_lines(), before);
        assert_eq!(answers(), []);
    }
}

#[test]
fn where_nobody_elses_requests_come_ours_are_read_at_once_and_one_of_others_passes_all_the_same() {
    const AUTHORITY: &str = "proxy_get_header_map_value";
    const ALL: &str = "proxy_get_header_map_pairs";
    let envoy = warm();
    let reads = |request: &Request| {
        let (stream, mut calls) = calls_of(&envoy, request);
        calls.retain(|call| [AUTHORITY, ALL].contains(call));
        (stream.action, calls)
    };
    let others = Request::reissue(&token()).header(":authority", "shop.example.com");
    for _ in 0..2 {
        for _ in 0..8 {
            assert_eq!(reads(&Request::discovery()), (Action::Pause, vec![AUTHORITY, ALL]));
        }
        assert_eq!(reads(&Request::discovery()), (Action::Pause, vec![ALL]));
        // One is read in vain, and no more than one.
        assert_eq!(reads(&others), (Action::Continue, vec![ALL]));
        assert_eq!(reads(&others), (Action::Continue, vec![AUTHORITY]));
    }
    let nobodys = [Request::reissue(&token()).without(":authority"), others];
    for request in nobodys {
        eight_of_ours(&envoy);
        assert_eq!(reads(&request), (Action::Continue, vec![ALL]));
    }
}

#[test]
fn on_a_shared_host_what_is_not_ours_continues_and_no_header_map_is_copied() {
    let envoy = Envoy::with(&configuration(|all| all["shared_host"] = json!(true)));
    let before = log_lines();
    for path in ["/", "/reissue/x", "/api/token", "/.well-known/acme-challenge/x", "/reissuer"] {
        let (stream, calls) = calls_of(&envoy, &Request::reissue(&token()).header(":path", path));
        assert_eq!(stream.action, Action::Continue, "{path}");
        assert_eq!(calls, ["proxy_get_header_map_value"; 2], "{path}: authority, path");
    }
    assert_eq!(log_lines(), before);
    assert_eq!(envoy.send(&Request::reissue(&token())).action, Action::Pause);
    eight_of_ours(&envoy);
    assert_eq!(envoy.send(&Request::get("/reissuer")).action, Action::Continue, "also after many of ours");
}

#[test]
fn on_a_shared_host_another_spelling_of_our_paths_does_not_continue() {
    let envoy = Envoy::with(&configuration(|all| all["shared_host"] = json!(true)));
    for eight in [false, true] {
        for path in ["//reissue", "/%72eissue", "/Token", "/openid/v1/jwks/", "/x/../reissue?audience=x"] {
            if eight {
                eight_of_ours(&envoy);
            }
            let stream = envoy.send(&Request::reissue(&token()).header(":path", path));
            assert_eq!((stream.action, stream.status()), (Action::Pause, Some(404)), "{path}");
        }
    }
}

#[test]
fn a_request_without_an_authority_is_to_no_host_of_ours() {
    let envoy = warm();
    let (stream, calls) = calls_of(&envoy, &Request::reissue(&token()).without(":authority"));
    assert_eq!((stream.action, calls), (Action::Continue, vec!["proxy_get_header_map_value"]));
}

#[test]
fn on_our_host_nothing_continues() {
    let envoy = warm();
    for (path, status) in
        [("/", 404), ("//reissue", 404), ("/reissue/", 404), ("/reissue%2f", 404), ("/reissue?x", 200)]
    {
        let stream = envoy.send(&Request::reissue(&token()).header(":path", path));
        assert_eq!((stream.action, stream.status()), (Action::Pause, Some(status)), "{path}");
    }
}
