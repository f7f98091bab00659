//! Tokens, queries and forms that are filled to the last byte with the same few things again and again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20::rand_core::Rng as _;
use jwt_reissuer::crypto::Rng;
use jwt_reissuer::http::MAX_BODY;
use serde_json::json;

use super::TOKEN;
use super::gateway::{HEADER_BYTES, Wire, audience, issuer, kid};
use crate::scenario::START;

/// What is repeated where until it is full. Every claim that is checked is as it has to be, and comes last.
#[derive(Clone, Debug)]
pub struct Shape {
    /// JSON values, in turn
    pub values: Vec<String>,
    /// How they are held
    pub held: Held,
    /// Of the query, up to what headers may have in all
    pub query: String,
    /// Of a form of 64 KiB
    pub form: String,
    /// More headers of those that are kept
    pub headers: usize,
    /// Bytes of the `kid`
    pub kid: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In one array
    Array,
    /// In members of the claims
    Members,
    /// The same, with names of escapes
    Escaped,
}

impl Shape {
    pub fn of(values: &[&str]) -> Self {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        // The longest id, where a long search is what costs; else the shortest, which leaves room.
        let kid = if values.is_empty() { 1024 } else { 1 };
        Self { values, held: Held::Array, query: String::new(), form: String::new(), headers: 0, kid }
    }

    pub fn wire(&self) -> Wire {
        let bearer = format!("Bearer {}", self.token());
        let mut headers = vec![("authorization", bearer.as_str())];
        // An address that none of these headers decides about, so that none of them is refused for being there twice.
        headers.extend(std::iter::repeat_n(("accept", "x"), self.headers));
        let body = (!self.form.is_empty()).then(|| {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            repeated(&self.form, MAX_BODY).into_bytes()
        });
        let endpoint = if body.is_some() { "/token" } else { "/reissue" };
        let room = HEADER_BYTES - Wire::post(endpoint, &headers).header_bytes();
        let path = match self.query.as_str() {
            "" => endpoint.to_string(),
            "audience" => format!("{endpoint}?audience={}", "a".repeat(room - 10)),
            query => format!("{endpoint}?{}", repeated(query, room - 1)),
        };
        Wire::post(&path, &headers).with_body(body)
    }

    /// The same but for something.
    pub fn changed(&self, rng: &mut Rng) -> Self {
        let mut shape = self.clone();
        let values = shape.values.len();
        match below(rng, 8) {
            0 | 1 if values > 0 => shape.values[below(rng, values)] = value(rng, 3),
            0..=2 if values < 6 => shape.values.insert(below(rng, values + 1), value(rng, 3)),
            3 if values > 1 => drop(shape.values.remove(below(rng, values))),
            4 => shape.held = [Held::Array, Held::Members, Held::Escaped][below(rng, 3)],
            5 => shape.query = pairs(rng),
            6 => shape.form = pairs(rng),
            7 => shape.headers = below(rng, 90),
            _ => shape.kid = [1, 512, 1024][below(rng, 3)],
        }
        shape
    }

    pub fn token(&self) -> String {
        // No id of the set, and as long as they are it is told from them at its end.
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, &kid(9999)[1024 - self.kid..]);
        let good = good_claims();
        let room = room_for_claims(&header) - good.len() - r#"{"p":[0],}"#.len();
        let mut filled = String::new();
        if !self.values.is_empty() {
            for number in 0.. {
                let value = &self.values[number % self.values.len()];
                let name = match self.held {
                    Held::Array => String::new(),
                    Held::Members => format!(r#""{number:x}":"#),
                    Held::Escaped => format!(r#""{}":"#, escaped(number)),
                };
                if filled.len() + name.len() + value.len() + 1 > room {
                    break;
                }
                filled += &format!("{name}{value},");
            }
        }
        let claims = match self.held {
            Held::Array => format!(r#"{{"p":[{filled}0],{good}}}"#),
            Held::Members | Held::Escaped => format!("{{{filled}{good}}}"),
        };
        token(&header, &claims)
    }
}

/// Claims that would do, without braces.
pub fn good_claims() -> String {
    let claims = json!({
        "iss": issuer(99), "sub": "system:serviceaccount:payments:ledger", "aud": [audience(15)],
        "iat": START, "nbf": START, "exp": START + 3600,
        "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
    });
    claims.to_string().trim_start_matches('{').strip_suffix('}').unwrap().to_string()
}

/// A token with a signature that parses, which has to fit.
pub fn token(header: &str, claims: &str) -> String {
    let token = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    assert!(token.len() <= TOKEN, "{} bytes", token.len());
    token
}

/// How many bytes of claims are a token of the longest, with this header.
pub fn room_for_claims(header: &str) -> usize {
    (TOKEN - URL_SAFE_NO_PAD.encode(header).len() - ".".len() - ".AAAA".len()) * 3 / 4
}

/// A value in so many levels.
pub fn nested(open: &str, value: &str, close: &str, levels: usize) -> String {
    format!("{}{value}{}", open.repeat(levels), close.repeat(levels))
}

fn repeated(unit: &str, length: usize) -> String {
    let mut text = unit.repeat(length / unit.len() + 1);
    text.truncate(length);
    text
}

fn escaped(number: usize) -> String {
    format!("{number:x}").bytes().map(|digit| format!("\\u{digit:04x}")).collect()
}

fn below(rng: &mut Rng, limit: usize) -> usize {
    usize::try_from(rng.next_u32()).unwrap() % limit
}

/// Any JSON value of a few elements.
fn value(rng: &mut Rng, levels: usize) -> String {
    const PLAIN: [&str; 12] = [
        "0",
        "true",
        "-0.1",
        "1e5",
        "1.7976931348623157e308",
        "5e-324",
        "18446744073709551615",
        r#""""#,
        r#""aaaaaaaa""#,
        r#""\u0041\u0041""#,
        r#""\ud83d\ude00\n""#,
        "123456789012345678901234567890.12345678901234567890",
    ];
    let inner = |rng: &mut Rng| value(rng, levels.saturating_sub(1));
    match below(rng, if levels == 0 { 1 } else { 5 }) {
        0 => PLAIN[below(rng, PLAIN.len())].to_string(),
        1 => {
            let items: Vec<String> = (0..below(rng, 10)).map(|_| inner(rng)).collect();
            format!("[{}]", items.join(","))
        }
        2 => {
            let members: Vec<String> =
                (0..below(rng, 10)).map(|number| format!(r#""{number}":{}"#, inner(rng))).collect();
            format!("{{{}}}", members.join(","))
        }
        3 => nested("[", PLAIN[below(rng, PLAIN.len())], "]", 1 + below(rng, 14)),
        _ => nested(r#"{"":"#, PLAIN[below(rng, PLAIN.len())], "}", 1 + below(rng, 14)),
    }
}

/// Something to fill a query or a form with; seldom nothing.
fn pairs(rng: &mut Rng) -> String {
    const PARTS: [&str; 8] = ["&", "a", "=", "%41", "%", "+", "aaaaaaaa", "%4"];
    let mut text: String = (0..below(rng, 8)).map(|_| PARTS[below(rng, PARTS.len())]).collect();
    if below(rng, 10) == 0 {
        text = "audience".into();
    }
    text
}
