//! A request of any method, authority, path and headers. Input: a byte that chooses the configuration and the body, then
//! method, authority and path on a line each, then headers, `name: value`.
#![no_main]

use std::sync::OnceLock;

use jwt_reissuer::Config;
use jwt_reissuer::http::{Asked, Body, Connection, Endpoint, Field, MAX_BODY, Method, Request, Route};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const HOSTS: [&str; 2] = ["reissuer.example.com", "reissuer.infra.svc.cluster.local"];

fuzz_target!(|data: &[u8]| {
    let Some((choices, rest)) = data.split_first() else { return };
    let which = usize::from(choices & 7);
    let config = &configurations()[which];
    let mut lines = rest.split(|byte| *byte == b'\n');
    let [method, authority, path] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let route = Route::of(&config.routes, method, authority, path);
    check_route(&route, config, which, method, authority, path);

    let headers: Vec<(Vec<u8>, Vec<u8>)> = lines
        .map(|line| {
            let mut halves = line.splitn(2, |byte| *byte == b':');
            let name = halves.next().unwrap_or_default().to_vec();
            (name, halves.next().unwrap_or_default().trim_ascii().to_vec())
        })
        .collect();
    let body = match choices >> 6 {
        0 => Body::None,
        1 => Body::Unread,
        2 => Body::TooLarge,
        _ => Body::Read(b"a=b&audience=c".to_vec()),
    };
    check_request(&Request::new(route, Connection::TLS, headers.clone(), body.clone()), &headers, &body);
});

fn check_route(route: &Route, config: &Config, which: usize, method: &[u8], authority: &[u8], path: &[u8]) {
    // A port is whatever follows the last colon, but for an address in brackets: as Envoy has it.
    let colon = authority.iter().rposition(|byte| *byte == b':').filter(|_| !authority.ends_with(b"]"));
    let colon = colon.unwrap_or(authority.len());
    let host = authority[..colon].strip_suffix(b".").unwrap_or(&authority[..colon]);
    let ours = HOSTS.iter().any(|ours| host.eq_ignore_ascii_case(ours.as_bytes()));
    assert!(ours || *route == Route::NotOurs, "{route:?} on a host that is not ours");

    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let prefix = if which & 4 == 0 { "" } else { "/tenant" };
    let exact = |wanted: &str| path[..end] == *wanted.as_bytes();
    let endpoint = if exact("/reissue") {
        Some(Endpoint::Reissue)
    } else if exact("/token") {
        Some(Endpoint::Token)
    } else if exact(&format!("{prefix}/.well-known/openid-configuration")) {
        Some(Endpoint::Discovery)
    } else if exact(&format!("{prefix}/openid/v1/jwks")) {
        Some(Endpoint::Jwks)
    } else {
        None
    };
    let shared_host = which & 1 != 0;
    match route {
        Route::NotOurs => assert!(!ours || (endpoint.is_none() && shared_host)),
        Route::Refused(rejection) => assert!([404, 405].contains(&rejection.status()), "{rejection:?}"),
        Route::Ours { endpoint: found, method: found_method, asked } => {
            assert_eq!(Some(*found), endpoint, "a path that is not exactly ours");
            assert!(if found.is_token() { config.serve.tokens } else { config.serve.documents });
            let name = match found_method {
                Method::Get => "GET",
                Method::Head => "HEAD",
                Method::Options => "OPTIONS",
                Method::Post => "POST",
            };
            assert_eq!(method, name.as_bytes());
            assert_eq!(found.is_token(), *found_method == Method::Post);
            if let Asked::For(audience) = asked {
                assert!(found.is_token() && !audience.is_empty());
                assert!(audience.len() < path.len() - end, "more than the query holds");
            }
        }
    }
}

fn check_request(request: &Request, headers: &[(Vec<u8>, Vec<u8>)], body: &Body) {
    for name in Request::HEADERS {
        let given: Vec<&Vec<u8>> = headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
            .collect();
        match request.field(name) {
            Field::Absent => assert!(given.is_empty()),
            Field::One(value) => assert!(given.len() == 1 && given[0].starts_with(value)),
            Field::Several => assert!(given.len() > 1),
        }
    }
    if let Ok(bearer) = request.bearer() {
        let Field::One(value) = request.field("authorization") else { panic!("a token of no one header") };
        assert!(
            value.ends_with(bearer) && !bearer.contains(&b',') && !bearer.first().is_some_and(u8::is_ascii_whitespace)
        );
        assert!(value.len() >= 6 && value[..6].eq_ignore_ascii_case(b"bearer"));
    }
    if let Ok(Some(audience)) = request.audience() {
        let Route::Ours { asked: Asked::For(asked), .. } = &request.route else {
            panic!("an audience that nobody asked for")
        };
        assert_eq!(audience, asked);
    }
    for endpoint in [Endpoint::Reissue, Endpoint::Token] {
        if request.check_body(endpoint).is_ok() {
            assert!(*body != Body::TooLarge);
            match request.field("content-length") {
                Field::One(length) => {
                    let length: usize = std::str::from_utf8(length).unwrap().parse().expect("a length that was taken");
                    assert!(length <= MAX_BODY);
                }
                field => assert_eq!(field, Field::Absent),
            }
        }
    }
    if request.has_form() {
        assert!(*body != Body::None);
    }
    if request.wants_json() {
        let Field::One(accept) = request.field("accept") else { panic!("JSON is wanted by nobody") };
        assert!(accept.to_ascii_lowercase().windows(16).any(|window| window == b"application/json"));
    }
    let shown = format!("{request:?}");
    let Field::One(value) = request.field("authorization") else { return };
    if value.len() > 12 && value.iter().all(u8::is_ascii_alphanumeric) {
        let in_path = format!("{:?}", request.route).contains(std::str::from_utf8(value).unwrap());
        assert!(in_path || !shown.contains(std::str::from_utf8(value).unwrap()), "a header is shown");
    }
}

/// Bit 0: a shared host; bit 1: documents alone; bit 2: an issuer with a path.
fn configurations() -> &'static [Config; 8] {
    static CONFIGURATIONS: OnceLock<[Config; 8]> = OnceLock::new();
    CONFIGURATIONS.get_or_init(|| {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|which| {
            let mut config = json!({
                "issuer": if which & 4 == 0 { "https://reissuer.example.com" } else { "https://reissuer.example.com/tenant" },
                "extra_hosts": [HOSTS[1]],
                "shared_host": which & 1 != 0,
                "audiences": ["sts.amazonaws.com"],
                "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
                "trusted_issuers": [{
                    "name": "prod", "issuer": "https://kubernetes.default.svc", "audiences": ["jwt-reissuer"],
                    "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" },
                }],
            });
            if which & 2 != 0 {
                config["serve"] = json!(["documents"]);
            }
            Config::from_json(config.to_string().as_bytes(), &|_| None).expect("a good configuration")
        })
    })
}
