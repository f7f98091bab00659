//! Spellings of our paths on a host that is shared: none passes to the application, and nothing else is refused.
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

use jwt_reissuer::error::Rejection;
use jwt_reissuer::http::Route;
use proptest::prelude::*;
use scenario::{OUR_HOST, config};

const OURS: [&str; 4] = ["/reissue", "/token", "/tenant/.well-known/openid-configuration", "/tenant/openid/v1/jwks"];

fn route(path: &[u8]) -> Route {
    let config = config(|all| {
        all["shared_host"] = true.into();
        all["issuer"] = format!("https://{OUR_HOST}/tenant").into();
    });
    Route::of(&config.routes, b"POST", OUR_HOST.as_bytes(), path)
}

fn is_refused(path: &[u8]) -> bool {
    route(path) == Route::Refused(Rejection::NotFound)
}

#[test]
fn the_spellings_that_people_write_are_not_found() {
    for ours in OURS {
        let (start, last) = ours.rsplit_once('/').unwrap();
        let escaped = format!("%{:02x}{}", last.as_bytes()[0], &last[1..]);
        for path in [
            format!("/{ours}"),
            format!("{ours}/"),
            format!("{ours}//"),
            format!("{start}/{escaped}"),
            format!("{start}/./{last}"),
            format!("{start}/x/../{last}"),
            format!("/..{ours}"),
            format!("{ours}%2f"),
            format!("{ours}%2F"),
            format!("{ours}%252f"),
            format!("{start}/%25{}", &escaped[1..]),
            format!("{start}/{}", last.to_uppercase()),
            format!("{ours};x"),
            format!("{ours};jsessionid=1/"),
            format!("/;x{ours}"),
            format!("/x/..;/{}", &ours[1..]),
            format!("{ours}%3Fa=b"),
            format!("{ours}%3fa=b/c"),
            format!("{ours}%23x"),
            format!("{ours}%00"),
            format!("{ours}%00.html"),
            format!("{ours}%20"),
            format!("{ours}%3Bx"),
            format!("{start}\\{last}"),
            format!("{start}%5c{last}"),
            format!("{ours}/."),
            format!("{ours}/x/.."),
            format!("{ours}/%2e"),
            format!("/%2e%2e{ours}"),
            // Dropping a control character makes an escape.
            format!("{start}/%%09{}", &escaped[1..]),
            format!("{start}/%25%0a{}", &escaped[1..]),
            format!("{ours}%C2%A0"),
            format!("{ours}%EF%BB%BF"),
            // Each is one of ours for a server that drops path parameters before it decodes, or after.
            format!("/x;/..%2f..{ours}"),
            format!("/x;%2fa/..{ours}"),
            format!("/x;%2fa/..%2f{}", &ours[1..]),
            format!("{ours};%252f..%252fapp"),
        ] {
            assert!(is_refused(path.as_bytes()), "{path}");
            assert!(is_refused(format!("{path}?a=b").as_bytes()), "{path}?a=b");
        }
    }
}

#[test]
fn letters_whose_capitals_or_small_letters_are_ours_are_not_found() {
    for path in [
        "/to%E2%84%AAen",
        "/to\u{212a}en",
        "/rei%C5%BF%C5%BFue",
        "/rei%C3%9Fue",
        "/tenant/.well-known/openid-con%EF%AC%81guration",
        "/tenant/openid/v1/%4a%57%E2%84%AAs",
    ] {
        assert!(is_refused(path.as_bytes()), "{path}");
    }
}

#[test]
fn paths_of_the_application_pass_however_they_resemble_ours() {
    for path in [
        "/",
        "",
        "*",
        "/app",
        "/tokens",
        "/token/refresh",
        "/reissue/x",
        "/api/token",
        "/oauth/token",
        "/oauth2/token;x",
        "/reissuer",
        "/%74okens",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
        "/tenant/openid/v1",
        "/tenant/openid/v1/jwks.json",
        "/tenant",
        "/x/reissue",
        "/x/./token",
        "/a/../b/token",
        "/token%2frefresh",
        "/a%20b/c;v=1/token.css",
        "/?path=/reissue",
        "/app?next=//reissue",
        "/files/..%2f..%2fetc/passwd",
        "/re/issue",
        "/re;issue",
        "/TOKENS",
        "/%2574oken%2573",
    ] {
        assert_eq!(route(path.as_bytes()), Route::NotOurs, "{path}");
    }
    assert_eq!(route(b"/caf\xc3\xa9/%ff"), Route::NotOurs);
}

#[test]
fn exact_paths_are_ours() {
    assert!(matches!(route(b"/reissue?audience=x"), Route::Ours { .. }));
    assert!(matches!(route(b"/tenant/openid/v1/jwks"), Route::Refused(Rejection::MethodNotAllowed { .. })));
}

#[test]
fn a_path_with_more_readings_than_are_tried_is_not_found() {
    let long = format!("/{}/..//token", "%2541;".repeat(2000));
    let deep = format!("/x/%{}41;y//token", "25".repeat(100));
    for path in [long, deep] {
        assert!(is_refused(path.as_bytes()), "{path:.60}");
    }
    // An ordinary long path of the application is not judged by its length.
    assert_eq!(route(format!("/{}", "a%20".repeat(10_000)).as_bytes()), Route::NotOurs);
    let signed = format!("/insecure/{}/plain/https%3A%2F%2Fcdn%2Fa.png%3FX-Amz-Security-Token%3Dx", "a".repeat(2400));
    assert_eq!(route(signed.as_bytes()), Route::NotOurs);
}

/// One change that some server undoes when it reads a path.
#[derive(Clone, Debug)]
enum Change {
    Escape(usize),
    EscapeEveryThird,
    UpperCase(usize),
    DoubleSlash(usize),
    BackSlash(usize),
    DotSegment(usize),
    ParentSegment(usize, String),
    Parameter(usize, String),
    TrailingSlash,
    Query(String),
    Fragment(String),
    Space,
    Control(usize),
}

impl Change {
    fn apply(&self, path: &str) -> String {
        let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        let slash = |nth: usize| slashes.get(nth % slashes.len().max(1)).copied();
        let place = |nth: usize| nth % path.len();
        let escape = |byte: u8| format!("%{byte:02x}");
        let insert = |at: usize, text: &str| format!("{}{text}{}", &path[..at], &path[at..]);
        match self {
            Self::Escape(nth) => {
                // Not the first slash, without which it is no path.
                let at = place(*nth).max(1);
                format!("{}{}{}", &path[..at], escape(path.as_bytes()[at]), &path[at + 1..])
            }
            Self::EscapeEveryThird => path
                .bytes()
                .enumerate()
                .map(|(at, byte)| if at % 3 == 1 { escape(byte) } else { char::from(byte).to_string() })
                .collect(),
            Self::UpperCase(nth) => {
                let at = place(*nth);
                format!("{}{}{}", &path[..at], path[at..=at].to_uppercase(), &path[at + 1..])
            }
            Self::DoubleSlash(nth) => slash(*nth).map_or_else(|| path.into(), |at| insert(at, "/")),
            Self::BackSlash(nth) => match slash(*nth) {
                Some(at) if at > 0 => format!("{}\\{}", &path[..at], &path[at + 1..]),
                _ => path.into(),
            },
            Self::DotSegment(nth) => slash(*nth).map_or_else(|| path.into(), |at| insert(at, "/.")),
            Self::ParentSegment(nth, name) => {
                slash(*nth).map_or_else(|| path.into(), |at| insert(at, &format!("/{name}/..")))
            }
            Self::Parameter(nth, name) => {
                // Before a slash, or at the end.
                let at = slash(*nth).filter(|at| *at > 0).unwrap_or(path.len());
                insert(at, &format!(";{name}"))
            }
            Self::TrailingSlash => format!("{path}/"),
            Self::Query(text) => format!("{path}%3f{text}"),
            Self::Fragment(text) => format!("{path}%23{text}"),
            Self::Space => format!("{path}%20"),
            Self::Control(nth) => insert(place(*nth).max(1), ["%09", "%0d", "%7f"][nth % 3]),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0..64_usize;
    prop_oneof![
        place.clone().prop_map(Change::Escape),
        Just(Change::EscapeEveryThird),
        place.clone().prop_map(Change::UpperCase),
        place.clone().prop_map(Change::DoubleSlash),
        place.clone().prop_map(Change::BackSlash),
        place.clone().prop_map(Change::DotSegment),
        (place.clone(), "[a-z]{1,4}").prop_map(|(place, name)| Change::ParentSegment(place, name)),
        (place, "[a-z=]{0,6}").prop_map(|(place, name)| Change::Parameter(place, name)),
        Just(Change::TrailingSlash),
        "[a-z=&]{0,6}".prop_map(Change::Query),
        "[a-z]{0,6}".prop_map(Change::Fragment),
        Just(Change::Space),
        (0..64_usize).prop_map(Change::Control),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_spelling_of_a_path_of_ours_passes(ours in prop::sample::select(&OURS[..]), changes in prop::collection::vec(change(), 1..6)) {
        let path = changes.iter().fold(ours.to_string(), |path, change| change.apply(&path));
        prop_assert_ne!(route(path.as_bytes()), Route::NotOurs, "{} by {:?}", path, changes);
    }

    #[test]
    fn any_bytes_are_judged(path in prop::collection::vec(any::<u8>(), 0..200)) {
        route(&path);
    }
}
