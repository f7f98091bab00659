//! No message has a part of a key, however the keyring is damaged.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod command;

use command::{START, base64, directory, file, keyring, keys, pem, private, rsa_pem};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

/// How long a part of a key is one.
const PART: usize = 16;

/// The lines of a PEM between its labels, as one.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

/// Asserts that no command says a part of one of these keys about this content.
fn says_nothing_of(bodies: &[&str], name: &str, content: &[u8]) {
    let path = file(&directory(name), "signing-keys", content);
    let rotated = keys(START, &["rotate", &path, "-o", "-"]).run();
    let checked = keys(START, &["check", &path]).run();
    let after = keys(START, &["check", "--previous", &path, "-"]).input(pem(9)).run();
    for said in [&rotated.err, &checked.err, &checked.out, &after.err, &after.out] {
        for body in bodies {
            let part = body.as_bytes().windows(PART).find(|part| said.contains(std::str::from_utf8(part).unwrap()));
            assert_eq!(part, None, "{said}");
        }
    }
}

#[test]
fn a_member_or_a_label_that_is_made_of_a_key_is_not_said() {
    let key = pem(1);
    let body = body(&key);
    let unknown = json!({ "keys": [{ "kid": "a", "private_key": key, body.clone(): 1 }] }).to_string();
    let top = json!({ "keys": [], body.clone(): 1 }).to_string();
    let labelled = format!("-----BEGIN {body}-----\nAAAA\n-----END {body}-----\n");
    let algorithm = json!({ "keys": [{ "kid": "a", "private_key": key, "algorithm": body.clone() }] }).to_string();
    let time = json!({ "keys": [{ "kid": "a", "private_key": key, "sign_at": body.clone() }] }).to_string();
    for (place, content) in [unknown, top, labelled, algorithm, time].into_iter().enumerate() {
        let path = file(&directory("made-of-a-key"), "signing-keys", &content);
        assert_eq!(keys(START, &["check", &path]).run().code, Some(1), "{place}");
        says_nothing_of(&[&body], "made-of-a-key", content.as_bytes());
    }
}

/// One change of a text, at a place that is anywhere.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, u8),
    Cut(Index),
    Repeat(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let inserted = prop_oneof![
        Just("\""),
        Just("\",\""),
        Just("\":\""),
        Just("\\"),
        Just("\n"),
        Just("-----"),
        Just("{"),
        Just("="),
        Just("\u{0}")
    ];
    let change = prop_oneof![
        (any::<Index>(), 0x20_u8..0x7f).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), inserted).prop_map(|(at, text)| Change::Insert(at, text)),
        (any::<Index>(), 1_u8..80).prop_map(|(at, length)| Change::Remove(at, length)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1_u8..80).prop_map(|(at, length)| Change::Repeat(at, length)),
    ];
    prop::collection::vec(change, 1..5)
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let length = bytes.len();
        match change {
            Change::Replace(at, byte) => bytes[at.index(length)] = *byte,
            Change::Insert(at, text) => {
                let at = at.index(length);
                bytes.splice(at..at, text.bytes());
            }
            Change::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + usize::from(*count)));
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Repeat(at, count) => {
                let at = at.index(length);
                let again = bytes[at..length.min(at + usize::from(*count))].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_damaged_key_is_said(form in 0_usize..6, changes in changes()) {
        let (elliptic, rsa) = (pem(1), rsa_pem());
        let json = keyring(&[private("a", 1, &[])]);
        let texts = [
            elliptic.clone(),
            rsa.clone(),
            base64(&elliptic),
            json.clone(),
            json!({ "keys": [{ "kid": "a", "private_key": rsa }] }).to_string(),
            json!({ "keys": [{ "kid": "a", "private_key": base64(&elliptic) }] }).to_string(),
        ];
        let content = changed(&texts[form], &changes);
        says_nothing_of(&[&body(&elliptic), &body(&rsa), &base64(&elliptic)], "damaged", &content);
    }
}
