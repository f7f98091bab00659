//! Bodies: read only where the configuration says that Envoy gives them, and only to look for a second token.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Envoy, Request, answers, with};
use kubernetes::{cold, configuration, fetch, token, warm};
use serde_json::json;

/// Most bytes that are read
const LIMIT: usize = 64 * 1024;

#[test]
fn a_form_beside_a_bearer_is_read_to_its_end_and_a_second_token_in_it_is_400() {
    let cases = [
        (["grant_type=x&audi", "ence=y"], 200),
        (["grant_type=x", ""], 200),
        (["", ""], 200),
        (["grant_type=x&subj", "ect_token=y"], 400),
        (["access%5Ftoken=y", "&a=b"], 400),
        (["", "subject_token="], 400),
    ];
    for (parts, status) in cases {
        let envoy = warm();
        let stream = envoy.send_with_body(&Request::form(&token()));
        assert_eq!((stream.action, stream.body(parts[0], false)), (Action::Pause, Action::Pause), "{parts:?}");
        assert_eq!(stream.status(), None, "{parts:?}: not before its end");
        assert_eq!(stream.body(parts[1], true), Action::Pause, "{parts:?}");
        assert_eq!(stream.status(), Some(status), "{parts:?}");
        assert_eq!(stream.trailers(), Action::Pause);
        assert_eq!(answers().len(), 1);
    }
}

#[test]
fn trailers_end_a_form_as_well() {
    for (parts, status) in [(vec!["a=b", "&c=d"], 200), (vec!["a=b&subject", "_token=x"], 400), (vec![], 200)] {
        let envoy = warm();
        let stream = envoy.send_with_body(&Request::form(&token()));
        for part in &parts {
            assert_eq!(stream.body(part, false), Action::Pause);
        }
        assert_eq!(stream.status(), None);
        assert_eq!((stream.trailers(), stream.status()), (Action::Pause, Some(status)), "{parts:?}");
    }
}

#[test]
fn a_form_over_the_limit_is_413_as_soon_as_that_is_seen_and_what_follows_is_not_read() {
    let envoy = warm();
    let stream = envoy.send_with_body(&Request::form(&token()));
    assert_eq!(stream.body(vec![b'x'; LIMIT], false), Action::Pause);
    assert_eq!(stream.status(), None);
    assert_eq!(stream.body("x", false), Action::Pause);
    assert_eq!(stream.status(), Some(413));
    with(|state| state.calls.clear());
    assert_eq!(stream.body("subject_token=x", true), Action::Pause);
    assert_eq!((stream.trailers(), with(|state| state.calls.len())), (Action::Pause, 0));
}

#[test]
fn a_form_of_exactly_the_limit_is_read() {
    let envoy = warm();
    for (end, status) in [("&a=b", 200), ("&subject_token=", 400)] {
        let stream = envoy.send_with_body(&Request::form(&token()));
        let mut form = vec![b'x'; LIMIT.checked_sub(end.len()).expect("room")];
        form.extend(end.as_bytes());
        assert_eq!((stream.body(form, true), stream.status()), (Action::Pause, Some(status)), "{end}");
    }
}

#[test]
fn an_announced_length_over_the_limit_is_413_before_anything_is_read() {
    let envoy = warm();
    let stream = envoy.send_with_body(&Request::form(&token()).header("content-length", "65537"));
    assert_eq!((stream.action, stream.status()), (Action::Pause, Some(413)));
}

#[test]
fn a_form_that_was_read_before_the_keys_came_waits_for_them() {
    let envoy = cold();
    let [good, bad] = [(); 2].map(|()| envoy.send_with_body(&Request::form(&token())));
    good.body("a=b", true);
    bad.body("access_token=x", true);
    assert_eq!((good.status(), bad.status()), (None, Some(400)));
    envoy.tick();
    fetch(&envoy);
    assert_eq!(good.status(), Some(200));
}

#[test]
fn where_forms_are_not_read_one_beside_a_bearer_is_400_at_once() {
    let envoy = Envoy::with(&configuration(|all| all["read_forms"] = json!(false)));
    let stream = envoy.send_with_body(&Request::form(&token()));
    assert_eq!((stream.action, stream.status()), (Action::Pause, Some(400)));
    assert_eq!(stream.body("a=b", true), Action::Pause);
    assert_eq!(answers().len(), 1);
}

#[test]
fn a_client_that_goes_away_while_its_form_is_read_is_not_answered() {
    let envoy = warm();
    let stream = envoy.send_with_body(&Request::form(&token()));
    stream.body("a=b", false);
    stream.close();
    envoy.tick();
    assert_eq!(answers(), []);
}
