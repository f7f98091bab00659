//! Requests at the caps that are refused before any crypto, made to cost as much as they can, and a search for worse ones.
#![allow(dead_code, reason = "each that uses it uses a part of it")]

pub mod gateway;
pub mod shape;

use gateway::{Gateway, Wire};
use jwt_reissuer::crypto::Rng;
use shape::{Held, Shape, nested, token};

/// Which gateway a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// One trusted issuer with one key
    Plain,
    /// A hundred trusted issuers and 64 keys, told apart by the ends of their names alone; forms are read
    Crowded,
}

/// A request that is refused, and why.
pub struct Hostile {
    pub name: &'static str,
    pub to: To,
    pub wire: Wire,
    /// As the counters call it
    pub reason: &'static str,
}

/// As much of an unverified token as fits.
const TOKEN: usize = 8192;

/// All that were thought of.
pub fn all(crowded: &Gateway) -> Vec<Hostile> {
    let mut all = odd_requests();
    all.extend(odd_tokens(crowded));
    // What follows would do but for its kid, which is looked for last.
    for (name, shape) in shapes() {
        all.push(Hostile { name, to: To::Crowded, wire: shape.wire(), reason: "unknown_key" });
    }
    all
}

/// The ways to fill a token, a query and a form that were thought of.
pub fn shapes() -> Vec<(&'static str, Shape)> {
    let values = |values: &[&str]| Shape::of(values);
    let float = "1.7976931348623157e308";
    let everything = Shape { query: "a&".into(), headers: 80, ..values(&[&nested("[", "0", "]", 14)]) };
    vec![
        ("unknown kid among 64, nothing else", values(&[])),
        ("numbers, 0", values(&["0"])),
        ("numbers, as long as floats are", values(&[float])),
        ("one number of thousands of digits", values(&[&format!("{}e-3999", "7".repeat(4000))])),
        ("one fraction of thousands of digits", values(&[&format!("0.{}1", "0".repeat(4000))])),
        ("empty strings", values(&["\"\""])),
        ("strings of escapes", values(&[r#""\u0041\u0041\u0041\u0041""#])),
        ("one string of escapes", values(&[&format!("\"{}\"", r"\u0041".repeat(700))])),
        ("one string of surrogate pairs", values(&[&format!("\"{}\"", r"\ud83d\ude00".repeat(350))])),
        ("empty arrays", values(&["[]"])),
        ("arrays of one", values(&["[0]"])),
        ("arrays of five", values(&["[0,0,0,0,0]"])),
        ("arrays 16 deep", values(&[&nested("[", "0", "]", 14)])),
        ("objects of one", values(&[r#"{"":0}"#])),
        ("objects of five", values(&[r#"{"":0,"a":0,"b":0,"c":0,"d":0}"#])),
        ("objects 16 deep", values(&[&nested(r#"{"":"#, "0", "}", 14)])),
        ("members", Shape { held: Held::Members, ..values(&["0"]) }),
        ("members by escaped names", Shape { held: Held::Escaped, ..values(&["0"]) }),
        ("query of &", Shape { query: "&".into(), ..values(&[]) }),
        ("query of a&", Shape { query: "a&".into(), ..values(&[]) }),
        ("query of %41=%41&", Shape { query: "%41=%41&".into(), ..values(&[]) }),
        ("form of a&", Shape { form: "a&".into(), ..values(&[]) }),
        ("form of %41=%41&", Shape { form: "%41=%41&".into(), ..values(&[]) }),
        ("form of one name", Shape { form: "a".into(), ..values(&[]) }),
        ("80 headers", Shape { headers: 80, ..values(&[]) }),
        ("token, query and headers at once", everything.clone()),
        ("token, query, headers and form at once", Shape { form: "a&".into(), ..everything }),
    ]
}

/// Looks for the shape that costs most by `cost`, from the ones above on, by changing the worst so far a little at a time.
pub fn worst_by(mut cost: impl FnMut(&Wire) -> u64, steps: usize, rng: &mut Rng) -> (u64, Shape) {
    let known = shapes().into_iter().map(|(_, shape)| (cost(&shape.wire()), shape));
    let mut worst = known.max_by_key(|(cost, _)| *cost).expect("there are shapes");
    for _ in 0..steps {
        let shape = worst.1.changed(rng);
        let cost = cost(&shape.wire());
        if cost > worst.0 {
            worst = (cost, shape);
        }
    }
    worst
}

fn odd_requests() -> Vec<Hostile> {
    let bearer = |value: &str| Wire::post("/reissue", &[("authorization", value)]);
    let room = gateway::HEADER_BYTES - 200;
    let hostile = |name, wire, reason| Hostile { name, to: To::Plain, wire, reason };
    let query = |text: String| Wire::post(&format!("/reissue?{text}"), &[("authorization", "Bearer a.b.c")]);
    let many = |name: &'static str| vec![(name, "x"); 90];
    vec![
        hostile("no token", Wire::post("/reissue", &[]), "no_token"),
        hostile("abc", bearer("Bearer abc"), "malformed"),
        hostile("another path", Wire::post(&format!("/{}", "a".repeat(room)), &[]), "not_found"),
        hostile("token one byte too long", bearer(&format!("Bearer {}", "a".repeat(TOKEN + 1))), "token_too_large"),
        hostile(
            "token of all that headers may have",
            bearer(&format!("Bearer {}", "a".repeat(room))),
            "token_too_large",
        ),
        hostile("commas", bearer(&format!("Bearer {}", ",".repeat(room))), "ambiguous"),
        hostile("a comma at the end", bearer(&format!("Bearer {},", "a".repeat(room))), "ambiguous"),
        hostile("spaces", bearer(&format!("Bearer {}", " ".repeat(room))), "malformed"),
        hostile("dots", bearer(&format!("Bearer {}", ".".repeat(TOKEN))), "malformed"),
        hostile("no space after the scheme", bearer(&"b".repeat(room)), "not_bearer"),
        hostile(
            "audience given twice, far behind",
            query(format!("{}audience=a&audience=b", "a&".repeat(room / 2 - 50))),
            "ambiguous",
        ),
        hostile("query of one audience", query(format!("audience={}", "a".repeat(room - 60))), "audience_not_allowed"),
        hostile("Authorization 90 times", Wire::post("/reissue", &many("authorization")), "ambiguous"),
        hostile("Content-Type 90 times", Wire::post("/token", &many("content-type")), "no_token"),
    ]
}

fn odd_tokens(crowded: &Gateway) -> Vec<Hostile> {
    let hostile = |name, to, token: String, reason| Hostile { name, to, wire: Wire::bearer(&token), reason };
    let good = shape::good_claims();
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let full = |claims: String| token(header, &format!("{{{claims}}}"));
    let room = shape::room_for_claims(header) - 2;
    let padding = |used: usize| format!(r#""p":"{}","#, "x".repeat(room - used - 7));
    let members = |count: usize| (0..count).map(|number| format!(r#""{number:x}":0,"#)).collect::<String>();
    let escaped = |length: usize| format!(r#""p":"{}""#, r"\u0041".repeat(length / 6));
    let issuer = |iss: &str| {
        let iss = format!(r#""iss":"{iss}""#);
        format!("{}{iss}", padding(iss.len()))
    };
    let with_jti = |length: usize| {
        let jti = format!(r#",{good},"jti":"{}""#, "j".repeat(length));
        format!("{}{}", members((room - jti.len()) / 8), &jti[1..])
    };
    let key_of_another_algorithm =
        token(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, crowded.last_kid), &format!("{{{good}}}"));
    vec![
        hostile("JSON 17 deep", To::Plain, full(format!(r#""p":{}"#, nested("[", "0", "]", 16))), "malformed"),
        hostile("opened and never closed", To::Plain, full(format!(r#""p":{}"#, "[".repeat(room - 10))), "malformed"),
        hostile(
            "a member twice, at the end",
            To::Plain,
            full(format!("{}{}", members((room - 6) / 8), r#""0":0"#)),
            "malformed",
        ),
        hostile("escapes, and broken at the end", To::Plain, full(escaped(room - 20) + ","), "malformed"),
        hostile("one issuer, and not this", To::Plain, full(issuer(&"x".repeat(5000))), "unknown_issuer"),
        hostile(
            "none of 100 issuers, alike but at the end",
            To::Crowded,
            full(issuer(&gateway::issuer(100))),
            "unknown_issuer",
        ),
        hostile("all is well but the last claim", To::Crowded, full(with_jti(257)), "invalid_claim"),
        hostile("a key of another algorithm", To::Crowded, key_of_another_algorithm, "algorithm_of_another_key"),
        hostile("crit behind 2 KiB of header", To::Plain, crit(), "header_member"),
    ]
}

fn crit() -> String {
    let members = (0..250).map(|number| format!(r#""{number:x}":0,"#)).collect::<String>();
    token(&format!(r#"{{{members}"crit":0}}"#), "{}")
}
