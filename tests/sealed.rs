//! Keyrings that are sealed.
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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jwt_reissuer::config::Sealing;
use jwt_reissuer::event::Event;
use jwt_reissuer::sealed::{NONCE, PREFIX, SealingKeys};
use jwt_reissuer::{Answer, Config, Reissuer, SourceKey};
use scenario::{BEGINNING, config, keys};
use serde_json::{Value, json};

const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
/// `crypto_aead_xchacha20poly1305_ietf_encrypt` of libsodium, by PyNaCl 1.6.2: the text "a keyring", the key of 32 bytes
/// of 1, a nonce of 24 bytes of 7, and our prefix as associated data.
const BY_LIBSODIUM: &str = "sealed.v1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH/AzjjcS4IRptJVat9bgM4UoVELeXbzjrRw==";

fn keys_of(text: &str) -> SealingKeys {
    SealingKeys::parse(text).unwrap()
}

fn sealed(document: &str, key: &str) -> String {
    keys_of(key).seal(document.as_bytes(), [9; NONCE]).unwrap()
}

#[test]
fn what_libsodium_seals_is_opened_and_what_we_seal_is_what_libsodium_seals() {
    assert_eq!(keys_of(OLD).open(BY_LIBSODIUM.as_bytes()).unwrap().as_slice(), b"a keyring");
    assert_eq!(keys_of(OLD).seal(b"a keyring", [7; NONCE]).unwrap(), BY_LIBSODIUM);
}

#[test]
fn a_document_that_is_not_ours_to_open_is_refused_and_says_why() {
    let line = sealed("a keyring", OLD);
    let data = STANDARD.decode(&line[PREFIX.len()..]).unwrap();
    let with = |bytes: &[u8]| format!("{PREFIX}{}", STANDARD.encode(bytes));
    for changed in 0..data.len() {
        let mut other = data.clone();
        other[changed] ^= 1;
        assert_eq!(keys_of(OLD).open(with(&other).as_bytes()), Err("sealed with another key, or changed since"));
    }
    for cut in NONCE..data.len() {
        assert_eq!(
            keys_of(OLD).open(with(&data[..cut]).as_bytes()),
            Err("sealed with another key, or changed since"),
            "{cut}"
        );
    }
    let plain = "not sealed, and with a sealing key nothing else is taken";
    for (document, why) in [
        (String::new(), plain),
        ("a keyring".into(), plain),
        (STANDARD.encode(&line), plain),
        (keys()[0].clone(), plain),
        (line.replace("v1", "v2"), plain),
        (with(&data[..NONCE - 1]), "sealed, but cut"),
        (PREFIX.into(), "sealed, but cut"),
        (format!("{line}\n{line}"), "sealed, but cut or changed: no base64"),
        (line.trim_end_matches('=').into(), "sealed, but cut or changed: no base64"),
    ] {
        assert_eq!(keys_of(OLD).open(document.as_bytes()), Err(why), "{document}");
    }
    assert_eq!(keys_of(NEW).open(line.as_bytes()), Err("sealed with another key, or changed since"));
    assert!(keys_of(OLD).open(format!(" {line}\n").as_bytes()).is_ok());
}

#[test]
fn while_a_sealing_key_is_replaced_both_open() {
    let both = keys_of(&format!("{NEW}\n{OLD}"));
    for key in [OLD, NEW] {
        assert_eq!(both.open(sealed("a keyring", key).as_bytes()).unwrap().as_slice(), b"a keyring");
    }
    assert_eq!(both.seal(b"a keyring", [9; NONCE]).unwrap(), sealed("a keyring", NEW), "by the first");
}

#[test]
fn a_sealing_key_has_thirty_two_bytes_and_there_are_four_at_most() {
    for (text, why) in [
        ("", "is empty"),
        (" \n", "is empty"),
        ("short", "must hold 32 bytes in base64, as `openssl rand -base64 32` makes them"),
        (&OLD[..42], "must hold 32 bytes in base64, as `openssl rand -base64 32` makes them"),
        (&STANDARD.encode([1; 33]), "must hold 32 bytes in base64, as `openssl rand -base64 32` makes them"),
        (&[OLD; 5].join(" "), "holds more than four keys"),
    ] {
        assert_eq!(SealingKeys::parse(text).err(), Some(why), "{text}");
    }
    assert!(SealingKeys::parse(&[OLD; 4].join(" ")).is_ok());
}

fn with_environment(edit: impl FnOnce(&mut Value), value: Option<&str>) -> Result<Config, String> {
    let mut content = json!({
        "issuer": "https://reissuer.example.com",
        "serve": ["documents"],
        "signing_keys": { "from": { "envoy_cluster": "signing_keys" }, "sealing_key": { "env": "SEALING" } },
    });
    edit(&mut content);
    let environment = |name: &str| value.filter(|_| name == "SEALING").map(String::from);
    Config::from_json(content.to_string().as_bytes(), &environment).map_err(|error| error.to_string())
}

#[test]
fn a_sealing_key_is_named_in_the_configuration_and_stands_in_the_environment_alone() {
    assert!(
        with_environment(|_| (), Some(OLD))
            .is_ok_and(|config| config.sealing.is_some_and(|sealing| sealing.keys.is_ok()))
    );
    let error = |edit: fn(&mut Value), value| with_environment(edit, value).err().unwrap();
    let inline: fn(&mut Value) = |all| all["signing_keys"]["sealing_key"] = json!({ "inline": OLD });
    assert_eq!(error(inline, Some(OLD)), "signing_keys.sealing_key.env: is missing");
    let more: fn(&mut Value) = |all| all["signing_keys"]["sealing_key"]["x"] = 1.into();
    assert!(error(more, Some(OLD)).starts_with("signing_keys.sealing_key.x: is not a setting of version"));
}

#[test]
fn a_sealing_key_that_is_missing_or_unusable_is_no_fault_of_the_configuration_and_is_named_when_keys_are_read() {
    for (value, problem) in [
        (None, "signing_keys.sealing_key.env: SEALING is not set in the VM"),
        (Some("x"), "signing_keys.sealing_key.env: SEALING must hold 32 bytes in base64"),
        (Some(""), "signing_keys.sealing_key.env: SEALING is empty"),
    ] {
        let config = with_environment(|_| (), value).unwrap();
        let error = read(config, &sealed(&keys()[1], OLD)).unwrap_err();
        assert!(error.starts_with(problem), "{error}");
    }
}

/// What becomes of a document that is fetched, by a reissuer with this sealing key or with none.
fn fetched(document: &str, sealing_key: Option<&str>) -> Result<(), String> {
    let mut config = config(|all| all["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" }));
    config.sealing = sealing_key.map(|key| Sealing { keys: Ok(keys_of(key)) });
    read(config, document)
}

fn read(config: Config, document: &str) -> Result<(), String> {
    let crypto = Box::new(jwt_reissuer::crypto::SoftwareCrypto);
    let mut reissuer = Reissuer::new(config, crypto, [3; 32], BEGINNING).map_err(|error| error.to_string())?;
    let fetch = reissuer.poll_fetch(BEGINNING).expect("the keyring first");
    assert_eq!(fetch.id.key, SourceKey::Keyring);
    let answer = Answer::Response { status: 200, date: None, body: document.as_bytes() };
    reissuer.handle_fetched(fetch.id, answer, BEGINNING);
    match reissuer.poll_event() {
        Some(Event::KeyringLoaded { .. }) => Ok(()),
        Some(Event::KeyringFailed { problem, .. }) => Err(problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_a_sealing_key_a_sealed_keyring_is_taken_and_a_plain_one_is_not_and_without_one_the_other_way_round() {
    let plain = &keys()[1];
    assert_eq!(fetched(plain, None), Ok(()));
    assert_eq!(fetched(&sealed(plain, OLD), Some(OLD)), Ok(()));
    assert_eq!(fetched(plain, Some(OLD)), Err("not sealed, and with a sealing key nothing else is taken".into()));
    assert_eq!(
        fetched(&sealed(plain, OLD), None),
        Err("sealed, and there is no sealing key: give signing_keys.sealing_key".into())
    );
    assert_eq!(fetched(&sealed(plain, OLD), Some(NEW)), Err("sealed with another key, or changed since".into()));
    // What is wrong with what was sealed is said as it is of a plain one.
    assert_eq!(
        fetched(&sealed("x", OLD), Some(OLD)),
        Err("neither a JSON keyring, nor a PEM, nor base64 of one".into())
    );
}
