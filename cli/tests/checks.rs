//! `keys check`: what it says of a keyring, and which keyrings it refuses after another.
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

use command::{DAY, HOUR, SEALING_KEY, START, base64, directory, file, keyring, keys, private, public, sealed};
use jwt_reissuer::timetable::text_of;
use serde_json::Value;

/// Name, keys before and after, and what is said of it.
type Change<'a> = (&'a str, Vec<Value>, Vec<Value>, Vec<String>);

#[test]
fn each_key_is_told_with_its_state_and_its_times() {
    let path = file(
        &directory("states"),
        "signing-keys",
        keyring(&[
            private("gone", 1, &[]),
            private("retired", 2, &[("sign_at", START - 9 * DAY)]),
            private("active", 3, &[("sign_at", START - HOUR)]),
            private("next", 4, &[("sign_at", START + HOUR)]),
            private("upcoming", 5, &[("sign_at", START + 9 * DAY)]),
            public("elsewhere", 6, &[]),
            public("elsewhere-until", 7, &[("publish_at", START - DAY), ("retire_at", START + DAY)]),
        ]),
    );
    let ran = keys(START, &["check", &path]).good();
    let lines = [
        r#"key "gone" (ES256) is gone: it signed until 2026-09-26T00:00:00Z and was published until 2026-09-26T12:05:00Z"#,
        r#"key "retired" (ES256) is retired: it signed from 2026-09-26T00:00:00Z until 2026-10-04T23:00:00Z and stays published until 2026-10-05T11:05:00Z"#,
        r#"key "active" (ES256) is active: it signs from 2026-10-04T23:00:00Z until 2026-10-05T01:00:00Z and stays published until 2026-10-05T13:05:00Z"#,
        r#"key "next" (ES256) is next: it is published, signs from 2026-10-05T01:00:00Z until 2026-10-14T00:00:00Z and stays published until 2026-10-14T12:05:00Z"#,
        r#"key "upcoming" (ES256) is upcoming: it is published from 2026-10-13T00:00:00Z, signs from 2026-10-14T00:00:00Z with no end planned and stays published"#,
        r#"key "elsewhere" (ES256) is retired: it never signs by this keyring and stays published"#,
        r#"key "elsewhere-until" (ES256) is retired: it never signs by this keyring and stays published until 2026-10-06T00:00:00Z"#,
    ];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), lines);
    assert_eq!(ran.err, "");
}

#[test]
fn a_keyring_after_another_is_taken_or_refused_with_key_and_moment() {
    let old = private("old", 1, &[]);
    let next = |at: u64| private("next", 2, &[("sign_at", START + at)]);
    let published = |kid, at: u64| public(kid, 9, &[("retire_at", START + at)]);
    let withdrawn = |kid: &str, until: u64| {
        let (now, until) = (text_of(START), text_of(START + until));
        format!("key {kid:?} would be withdrawn at {now}, and its tokens may be valid until {until}")
    };
    let early = |kid: &str, at: u64, published_for: &str| {
        format!(
            "key {kid:?} would sign from {}, published for {published_for} by then; it needs 24 h",
            text_of(START + at)
        )
    };
    let cases: [Change; 12] = [
        ("nothing changes", vec![old.clone()], vec![old.clone()], vec![]),
        ("a next key in time", vec![old.clone()], vec![old.clone(), next(DAY)], vec![]),
        (
            "a next key that is too soon",
            vec![old.clone()],
            vec![old.clone(), next(DAY - 1)],
            vec![early("next", DAY - 1, "23 h 59 min 59 s")],
        ),
        (
            "the one after next is too soon",
            vec![old.clone(), next(HOUR)],
            vec![old.clone(), next(HOUR), private("third", 3, &[("sign_at", START + 2 * HOUR)])],
            vec![early("third", 2 * HOUR, "2 h")],
        ),
        (
            "another key in its place",
            vec![old.clone()],
            vec![private("new", 2, &[])],
            vec![withdrawn("old", 12 * HOUR), early("new", 0, "0 s")],
        ),
        ("a next key that is given up", vec![old.clone(), next(DAY)], vec![old.clone()], vec![]),
        (
            "a planned turn that comes earlier than it was published for",
            vec![old.clone(), next(23 * HOUR)],
            vec![old.clone(), next(2 * HOUR)],
            vec![early("next", 2 * HOUR, "3 h")],
        ),
        ("a planned turn that comes later", vec![old.clone(), next(HOUR)], vec![old.clone(), next(5 * HOUR)], vec![]),
        (
            "a retired key before its last token has expired",
            vec![old.clone(), private("now", 2, &[("sign_at", START - 11 * HOUR)])],
            vec![private("now", 2, &[])],
            vec![withdrawn("old", HOUR)],
        ),
        (
            "a retired key after its last token has expired",
            vec![old.clone(), private("now", 2, &[("sign_at", START - 12 * HOUR)])],
            vec![private("now", 2, &[])],
            vec![],
        ),
        (
            "a retired key that signs again",
            vec![old.clone(), private("now", 2, &[("sign_at", START - 2 * DAY)])],
            vec![old.clone(), private("third", 3, &[("sign_at", START + DAY)])],
            vec![withdrawn("now", 12 * HOUR), early("old", 0, "0 s")],
        ),
        (
            "a key of another gateway",
            vec![old.clone(), published("other", DAY)],
            vec![old.clone()],
            vec![withdrawn("other", DAY)],
        ),
    ];
    let directory = directory("after");
    for (name, before, after, expected) in cases {
        let before = file(&directory, "old", base64(keyring(&before)));
        let after = file(&directory, "new", sealed(&keyring(&after)));
        let ran = keys(START, &["check", "--previous", &before, &after]).sealing_key(Some(SEALING_KEY)).run();
        assert_eq!(ran.err.lines().collect::<Vec<_>>(), expected, "{name}");
        assert_eq!(ran.code, Some(i32::from(!expected.is_empty())), "{name}");
        assert!(ran.out.starts_with("key "), "{name}: the keys are told all the same");
    }
}

#[test]
fn publish_ahead_is_what_the_option_says() {
    let directory = directory("ahead");
    let before = file(&directory, "old", keyring(&[private("old", 1, &[])]));
    let after = file(
        &directory,
        "new",
        keyring(&[private("old", 1, &[]), private("next", 2, &[("sign_at", START + 2 * HOUR)])]),
    );
    for (ahead, code) in [("1h", 0), ("2h", 0), ("3h", 1), ("24h", 1)] {
        let ran = keys(START, &["check", "--previous", &before, &after, "--publish-ahead", ahead]).run();
        assert_eq!(ran.code, Some(code), "{ahead}: {ran:?}");
    }
}

#[test]
fn a_keyring_that_no_gateway_takes_is_refused_with_the_place_of_the_fault() {
    let directory = directory("faults");
    let good = file(&directory, "good", keyring(&[private("a", 1, &[])]));
    for (content, fault) in [
        (
            keyring(&[private("a", 1, &[]), private("b", 2, &[])]),
            "keys[1].private_key: is a second key that would sign now",
        ),
        (keyring(&[private("a", 1, &[]), private("b", 1, &[])]), "keys[1]: is a key that is there already"),
        (keyring(&[private("a", 1, &[]), public("a", 2, &[])]), "keys[1].kid: is the kid of an earlier key"),
        (r#"{"keys":[{"private":"x"}]}"#.into(), "keys[0]: takes exactly one of private_key, public_key"),
        (r#"{"keys":[]}"#.into(), "keys: must not be empty"),
        ("{".into(), "not a strict JSON keyring"),
    ] {
        let path = file(&directory, "bad", content);
        let ran = keys(START, &["check", &path]).run();
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.starts_with(&format!("{path}: {fault}")), "{ran:?}");
        let ran = keys(START, &["check", "--previous", &path, &good]).run();
        assert!(ran.code == Some(1) && ran.err.starts_with(&path), "the fault is in OLD: {ran:?}");
    }
}

#[test]
fn a_keyring_for_documents_alone_has_public_keys() {
    let directory = directory("documents-only");
    let path = file(&directory, "public", keyring(&[public("a", 1, &[]), public("b", 2, &[("sign_at", START + DAY)])]));
    let ran = keys(START, &["check", "--documents-only", &path]).good();
    assert!(ran.out.contains("key \"b\" (ES256) is next: it is published, signs from"), "{ran:?}");
    assert_eq!(keys(START, &["check", &path]).run().code, Some(1));
    let private = file(&directory, "private", keyring(&[private("a", 1, &[])]));
    let ran = keys(START, &["check", "--documents-only", &private]).run();
    assert!(ran.code == Some(1) && ran.err.contains("keys[0].private_key: has no use"), "{ran:?}");
}

#[test]
fn one_of_both_may_be_standard_input() {
    let directory = directory("input");
    let path = file(&directory, "old", keyring(&[private("a", 1, &[])]));
    keys(START, &["check", "-", "--previous", &path]).input(keyring(&[private("a", 1, &[])])).good();
    let ran = keys(START, &["check", "--previous", "-", &path]).input(keyring(&[private("b", 2, &[])])).run();
    assert_eq!(ran.code, Some(1));
    let ran = keys(START, &["check", "-", "--previous", "-"]).run();
    assert!(ran.code == Some(2) && ran.err.contains("cannot both be standard input"), "{ran:?}");
}

#[test]
fn the_help_of_each_command_says_what_the_exit_codes_mean() {
    for command in ["new", "rotate", "check"] {
        let help = keys(START, &[command, "--help"]).good().out;
        for code in ["  0  done", "  1  the keyring is refused", "  2  an option"] {
            assert!(help.contains(code), "{command}: {help}");
        }
        assert!(!help.contains("--now"), "{command}");
    }
}
