//! Stories of rotations: however often and whenever the command runs, each token is verifiable for its whole life.
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

use std::time::Duration;

use command::{
    BINARY, Call, DAY, HOUR, PUBLISH_AHEAD, SEALING_KEY, START, at_once, base64, directory, document, file, keyring,
    keys, parsed, parsed_with, pem, private, public, read, sealed,
};
use jwt_reissuer::succession::Succession;

const MINUTE: u64 = 60;
/// How often a gateway is looked at.
const STEP: u64 = 10 * MINUTE;
/// The longest life of a token.
const LONGEST_LIFE: u64 = 12 * HOUR;
/// The longest time that a Secret takes on its way.
const DELIVERY: u64 = STEP;

/// A gateway that gets a keyring some time after it was written, and the tokens that it has issued.
struct Gateway {
    now: u64,
    keyring: String,
    succession: Succession,
    publish_ahead: Duration,
    issued: Vec<(u64, String)>,
    signed: Vec<String>,
}

impl Gateway {
    fn new(keyring: String, now: u64) -> Self {
        Self {
            now,
            keyring,
            succession: Succession::default(),
            publish_ahead: PUBLISH_AHEAD,
            issued: Vec::new(),
            signed: Vec::new(),
        }
    }

    /// Lives until that time with the keyring that it has.
    #[track_caller]
    fn live_until(&mut self, until: u64) {
        while self.now < until {
            let now = self.now;
            let keyring = parsed_with(&self.keyring, now, self.publish_ahead);
            assert_eq!(self.succession.observe(&keyring, now, self.publish_ahead), [], "{}", time(now));
            let (signing, _) = keyring.signing(now).unwrap();
            self.issued.push((now, signing.to_string()));
            if self.signed.last().is_none_or(|last| last != signing) {
                self.signed.push(signing.to_string());
            }
            self.issued.retain(|(at, _)| now - at < LONGEST_LIFE);
            let phase = keyring.timetable().at(now).unwrap();
            let published: Vec<&str> = keyring.published(phase).map(|(kid, _)| kid).collect();
            for (at, kid) in &self.issued {
                assert!(published.contains(&kid.as_str()), "at {} a token of {} has no key", time(now), time(*at));
            }
            self.now += STEP;
        }
    }

    /// Gets the keyring that is in the file.
    #[track_caller]
    fn deliver(&mut self, path: &str) {
        self.live_until(self.now + DELIVERY);
        self.keyring = read(path);
    }
}

fn time(unix: u64) -> String {
    jwt_reissuer::timetable::text_of(unix)
}

fn rotate(now: u64, path: &str) -> Call {
    keys(now, &["rotate", path]).sealing_key(Some(SEALING_KEY))
}

/// Every form of a keyring in a file.
fn forms() -> [(&'static str, String); 6] {
    let json = keyring(&[private("first", 1, &[])]);
    [
        ("pem", pem(1)),
        ("base64-of-pem", base64(pem(1))),
        ("json", json.clone()),
        ("base64", base64(&json)),
        ("sealed", sealed(&json)),
        ("sealed-pem", sealed(&pem(1))),
    ]
}

#[test]
fn three_rotations_in_a_row_each_run_twice_leave_no_token_without_its_key() {
    for (form, first) in forms() {
        let path = file(&directory(&format!("three-{form}")), "signing-keys", &first);
        let mut gateway = Gateway::new(first, START);
        gateway.live_until(START + DAY);
        for rotation in 1..=3 {
            let before = read(&path);
            let ran = rotate(gateway.now, &path).good();
            let rotated = read(&path);
            assert_ne!(before, rotated, "{form} {rotation}: {ran:?}");
            assert!(ran.err.contains("takes over at"), "{ran:?}");
            let again = rotate(gateway.now + 1, &path).good();
            assert_eq!(read(&path), rotated, "{form} {rotation}: {again:?}");
            assert!(again.err.contains("a rotation is under way"), "{again:?}");
            gateway.deliver(&path);
            // Once more while the next key is published, and once just before it signs.
            for at in [gateway.now + HOUR, gateway.now + 24 * HOUR - 1] {
                rotate(at, &path).good();
                assert_eq!(read(&path), rotated, "{form} {rotation}");
            }
            gateway.live_until(gateway.now + 2 * DAY);
        }
        assert_eq!(gateway.signed.len(), 4, "{form}: {:?}", gateway.signed);
    }
}

#[test]
fn of_six_rotations_at_once_one_adds_a_key_and_the_others_find_it() {
    for round in 0..10 {
        let directory = directory("six-rotations");
        let path = file(&directory, "signing-keys", keyring(&[private("first", 1, &[])]));
        let other_name = directory.join("link").to_str().unwrap().to_string();
        std::os::unix::fs::symlink("signing-keys", &other_name).unwrap();
        let mut names = [&path, &other_name].into_iter().cycle();
        let ran = at_once(6, || rotate(START, names.next().unwrap()));
        let keys = document(&read(&path))["keys"].clone();
        assert_eq!(keys.as_array().unwrap().len(), 2, "{round}");
        let message = format!("key {} takes over at", keys[1]["kid"]);
        assert!(ran.iter().all(|ran| ran.code == Some(0) && ran.err.starts_with(&message)), "{round}: {ran:#?}");
        let added = ran.iter().filter(|ran| !ran.err.contains("a rotation is under way")).count();
        assert_eq!(added, 1, "{round}: {ran:#?}");
    }
}

#[test]
fn a_run_every_hour_for_twelve_days_rotates_all_the_time_and_breaks_no_token() {
    let path = file(&directory("hourly"), "signing-keys", base64(pem(1)));
    let mut gateway = Gateway::new(read(&path), START);
    for _ in 0..12 * 24 {
        rotate(gateway.now, &path).good();
        gateway.deliver(&path);
        gateway.live_until(gateway.now + HOUR - DELIVERY);
        let keys = document(&read(&path))["keys"].as_array().unwrap().len();
        assert!(keys <= 4, "{keys} keys: retired ones have to go");
    }
    assert!(gateway.signed.len() >= 9, "{:?}", gateway.signed);
}

#[test]
fn a_run_every_hour_with_a_short_publish_ahead_goes_on_and_breaks_no_token() {
    let path = file(&directory("hourly-short"), "signing-keys", base64(pem(1)));
    let publish_ahead = Duration::from_secs(HOUR);
    let mut gateway = Gateway { publish_ahead, ..Gateway::new(read(&path), START) };
    for _ in 0..60 {
        keys(gateway.now, &["rotate", &path, "--publish-ahead", "1h"]).good();
        gateway.deliver(&path);
        gateway.live_until(gateway.now + HOUR - DELIVERY);
    }
    assert!(gateway.signed.len() >= 29, "{:?}", gateway.signed);
}

/// Sixteen private keys; one takes over from the other every so many seconds, the last one at START.
fn sixteen(every: u64) -> String {
    let entry = |place: u8| {
        let times = [("sign_at", START - every * u64::from(15 - place))];
        private(&format!("key-{place}"), place + 1, if place == 0 { &[] } else { &times })
    };
    keyring(&(0..16).map(entry).collect::<Vec<_>>())
}

#[test]
fn the_longest_retired_keys_make_room_for_the_next_one_and_no_other_key_does() {
    let published_after = LONGEST_LIFE + 5 * MINUTE;
    let every = 20 * MINUTE;
    let first_retires = START - 14 * every + published_after;
    let cases = [(0, 1), (every - 1, 1), (every, 1), (3 * every, 1), (DAY - 1, 1), (DAY + 2 * every, 3)];
    for (after, removed) in cases {
        let now = first_retires + after;
        let path = file(&directory("make-room"), "signing-keys", sixteen(every));
        let ran = keys(now, &["rotate", &path]).good();
        let document = document(&read(&path));
        let kids: Vec<&str> =
            document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        let expected: Vec<String> = (removed..16).map(|place| format!("key-{place}")).collect();
        assert_eq!(kids[..kids.len() - 1], expected, "{after}");
        assert_eq!(ran.err.matches("and was removed").count(), removed, "{ran:?}");
    }
}

#[test]
fn a_keyring_full_of_keys_with_valid_tokens_is_refused_until_one_retires() {
    let first_retires = START - 14 * 20 * MINUTE + LONGEST_LIFE + 5 * MINUTE;
    let path = file(&directory("full-keyring"), "signing-keys", sixteen(20 * MINUTE));
    let before = read(&path);
    let ran = keys(first_retires - 1, &["rotate", &path]).run();
    assert_eq!((ran.code, read(&path)), (Some(1), before), "{ran:?}");
    let expected = format!(
        "{path}: the keyring has no room for the next key: it holds 16 keys, a gateway takes no more, and none has retired.\n\
         Key \"key-0\" retires first, at {}. Run the command again then, and less often.\n",
        time(first_retires)
    );
    assert_eq!(ran.err, expected);
}

#[test]
fn the_default_is_publish_ahead_and_ten_minutes_for_the_way_to_the_gateways() {
    let cases: [(&[&str], u64); 4] = [
        (&[], DAY + 10 * MINUTE),
        (&["--publish-ahead", "1h"], HOUR + 10 * MINUTE),
        (&["--publish-ahead", "7d"], 7 * DAY + 10 * MINUTE),
        (&["--sign-at", "2026-10-20T00:00:00Z"], 15 * DAY),
    ];
    for (options, after) in cases {
        let path = file(&directory("default-time"), "signing-keys", pem(1));
        let ran = keys(START, &[&["rotate", &path], options].concat()).good();
        let next = &document(&read(&path))["keys"][1];
        assert_eq!(next["sign_at"], time(START + after), "{options:?}");
        let kid = next["kid"].as_str().unwrap();
        let expected = format!("key {kid:?} takes over at {}; until then it is published only", time(START + after));
        assert_eq!(ran.err.lines().next(), Some(expected.as_str()));
    }
}

#[test]
fn a_key_is_kept_for_a_day_after_it_has_retired_and_then_removed() {
    let turn = START;
    let retired = turn + LONGEST_LIFE + 5 * MINUTE;
    let both = [private("first", 1, &[]), private("second", 2, &[("sign_at", turn)])];
    for (at, kept) in [(retired - 1, true), (retired + DAY - 1, true), (retired + DAY, false)] {
        let path = file(&directory("kept"), "signing-keys", keyring(&both));
        let ran = keys(at, &["rotate", &path]).good();
        let document = document(&read(&path));
        let kids: Vec<&str> =
            document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(kids.contains(&"first"), kept, "{}", time(at));
        assert!(kids.contains(&"second") && kids.len() == if kept { 3 } else { 2 });
        assert_eq!(
            ran.err.contains("key \"first\" retired at 2026-10-05T12:05:00Z, and was removed"),
            !kept,
            "{ran:?}"
        );
    }
}

#[test]
fn what_else_the_keyring_holds_stays_as_it_was_written() {
    let others = [
        private("signs", 1, &[("publish_at", START - 9 * DAY), ("sign_at", START - 2 * DAY)]),
        public("elsewhere", 2, &[]),
        public("until-then", 3, &[("publish_at", START - DAY), ("retire_at", START + 90 * DAY)]),
        serde_json::json!({ "public_key": base64(command::public_pem(4)), "algorithm": "ES256" }),
    ];
    let path = file(&directory("stays"), "signing-keys", keyring(&others));
    keys(START, &["rotate", &path]).good();
    let rotated = document(&read(&path));
    assert_eq!(rotated["keys"].as_array().unwrap()[..4], others);
    assert_eq!(rotated["keys"].as_array().unwrap().len(), 5);
}

#[test]
fn the_next_key_is_of_the_algorithm_that_signs_now_unless_one_is_given() {
    for (first, options, expected) in [
        ("ES256", &[][..], "ES256"),
        ("ES384", &[], "ES384"),
        ("RS256", &[], "RS256"),
        ("ES256", &["--algorithm", "RS256"], "RS256"),
        ("RS256", &["--algorithm", "es384"], "ES384"),
    ] {
        let path = directory("algorithms").join("signing-keys").to_str().unwrap().to_string();
        keys(START, &["new", "--algorithm", first, "-o", &path]).good();
        keys(START, &[&["rotate", &path], options].concat()).good();
        let algorithms: Vec<String> = document(&read(&path))["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["algorithm"].as_str().unwrap().into())
            .collect();
        assert_eq!(algorithms, [first, expected]);
    }
}

#[test]
fn the_real_clock_counts_where_no_time_is_given() {
    let path = file(&directory("clock"), "signing-keys", pem(1));
    let mut command = std::process::Command::new(BINARY);
    assert!(command.args(["keys", "rotate", &path]).status().unwrap().success());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let expected = now + DAY + 10 * MINUTE;
    let keyring = parsed(&read(&path), now);
    let sign_at = keyring.timetable().phases().iter().find(|phase| phase.signing == Some(1)).unwrap().from;
    assert!(sign_at <= expected && sign_at + 60 > expected, "{}", time(sign_at));
}
