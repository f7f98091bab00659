//! The forms of a keyring: which are read, and in which it is written back.
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

use std::fs;
use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use command::{
    OTHER_SEALING_KEY, SEALING_KEY, START, base64, directory, document, file, keyring, keys, parsed, pem, private,
    public, public_pem, read, sealed, secret,
};
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

const THUMBPRINT_LENGTH: usize = 43;

/// The form of a keyring, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    JsonOnOneLine,
    PrettyJson,
    Base64,
    Sealed,
}

fn form(text: &str) -> Form {
    let is_one_line = !text.contains(char::is_whitespace);
    match text.as_bytes()[0] {
        b'{' if text.contains('\n') => Form::PrettyJson,
        b'{' => Form::JsonOnOneLine,
        b's' if is_one_line && text.starts_with("sealed.v1.") => Form::Sealed,
        _ if is_one_line => Form::Base64,
        _ => panic!("{text}"),
    }
}

fn wrapped(text: &str) -> String {
    text.as_bytes().chunks(64).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

#[test]
fn a_rotation_reads_every_form_that_a_gateway_reads_and_keeps_it() {
    let json = keyring(&[private("first", 1, &[])]);
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&json).unwrap()).unwrap();
    let der = secret(1).to_pkcs8_der().unwrap();
    let sec1 = secret(1).to_sec1_pem(Default::default()).unwrap();
    for (name, text, kid_is_given, expected) in [
        ("a PEM", pem(1), false, Form::Base64),
        ("a PEM of SEC 1", sec1.to_string(), false, Form::Base64),
        ("base64 of a PEM", base64(pem(1)), false, Form::Base64),
        ("base64 of a PEM with line breaks", wrapped(&base64(pem(1))), false, Form::Base64),
        ("base64 of DER", base64(der.as_bytes()), false, Form::Base64),
        ("JSON on one line", json.clone(), true, Form::JsonOnOneLine),
        ("JSON on one line and a line break", format!("{json}\n"), true, Form::JsonOnOneLine),
        ("pretty JSON", pretty.clone(), true, Form::PrettyJson),
        ("base64 of JSON", base64(&json), true, Form::Base64),
        ("base64 of pretty JSON", base64(&pretty), true, Form::Base64),
        ("sealed JSON", sealed(&json), true, Form::Sealed),
        ("sealed JSON and a line break", sealed(&json) + "\n", true, Form::Sealed),
        ("a sealed PEM", sealed(&pem(1)), false, Form::Sealed),
        ("sealed base64 of JSON", sealed(&base64(&json)), true, Form::Sealed),
    ] {
        let path = file(&directory("every-form"), "signing-keys", &text);
        let ran = keys(START, &["rotate", &path]).sealing_key(Some(SEALING_KEY)).good();
        let rotated = read(&path);
        assert_eq!(form(&rotated), expected, "{name}");
        assert_eq!(rotated.trim(), rotated, "{name}: an Envoy before 1.40 takes a line break for a part of it");
        let (before, after) = (parsed(text.trim(), START), parsed(&rotated, START));
        let (kid, _) = before.signing(START).unwrap();
        assert_eq!(after.signing(START).unwrap().0, kid, "{name}");
        assert_eq!(kid == "first", kid_is_given, "{name}");
        assert_eq!(document(&rotated)["keys"][0]["kid"], kid, "{name}: it is written down");
        assert_eq!(ran.err.contains("was not sealed"), expected != Form::Sealed, "{name}: {ran:?}");
    }
}

#[test]
fn a_new_keyring_is_sealed_or_base64_or_json() {
    for (sealing_key, options, expected) in
        [(None, &[][..], Form::Base64), (None, &["--json"], Form::PrettyJson), (Some(SEALING_KEY), &[], Form::Sealed)]
    {
        for algorithm in ["RS256", "ES256", "ES384"] {
            let path = directory("new-form").join("signing-keys").to_str().unwrap().to_string();
            let arguments = [&["new", "--algorithm", algorithm, "-o", &path], options].concat();
            let ran = keys(START, &arguments).sealing_key(sealing_key).good();
            let text = read(&path);
            assert_eq!((form(&text), text.trim()), (expected, text.as_str()));
            let made = document(&text);
            let [key] = made["keys"].as_array().unwrap().as_slice() else { panic!("one key: {made}") };
            let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["algorithm", "kid", "private_key"]);
            assert_eq!(key["algorithm"], algorithm);
            assert!(key["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
            let keyring = parsed(&text, 0);
            let (kid, public) = keyring.signing(0).expect("it signs at once");
            assert_eq!((kid, kid.len()), (public.thumbprint().as_str(), THUMBPRINT_LENGTH));
            assert_eq!(ran.err.contains("REISSUER_SEALING_KEY is not set"), expected != Form::Sealed, "{ran:?}");
        }
    }
}

#[test]
fn a_new_key_has_the_kid_that_is_given_and_goes_to_a_pipe() {
    let ran = keys(START, &["new", "--algorithm", "ES256", "--kid", "2026-q4"]).good();
    assert_eq!(parsed(&ran.out, START).signing(START).unwrap().0, "2026-q4");
    assert_eq!(ran.out.trim(), ran.out);
    assert!(ran.err.starts_with("key \"2026-q4\" (ES256) signs at once\n"), "{ran:?}");
}

#[test]
fn a_keyring_is_opened_with_any_sealing_key_and_sealed_with_the_first() {
    let path = file(&directory("two-keys"), "signing-keys", sealed(&pem(1)));
    let both = format!("{OTHER_SEALING_KEY} {SEALING_KEY}");
    keys(START, &["rotate", &path]).sealing_key(Some(&both)).good();
    assert_eq!(keys(START, &["check", &path]).sealing_key(Some(SEALING_KEY)).run().code, Some(1));
    keys(START, &["check", &path]).sealing_key(Some(OTHER_SEALING_KEY)).good();
}

#[test]
fn standard_input_goes_to_standard_output_also_where_nothing_is_to_be_done() {
    let rotated = keys(START, &["rotate", "-"]).input(pem(1)).good();
    assert_eq!(document(&rotated.out)["keys"].as_array().unwrap().len(), 2);
    let again = keys(START, &["rotate", "-"]).input(rotated.out.clone() + "\n").good();
    assert_eq!(again.out, rotated.out);
    assert!(again.err.contains("a rotation is under way"), "{again:?}");
}

#[test]
fn another_file_is_written_and_the_first_left_alone() {
    let directory = directory("elsewhere");
    let path = file(&directory, "signing-keys", pem(1));
    let other = directory.join("rotated").to_str().unwrap().to_string();
    keys(START, &["rotate", &path, "-o", &other]).good();
    assert_eq!(read(&path), pem(1));
    let rotated = read(&other);
    assert_eq!(form(&rotated), Form::Base64);
    // With nothing to do, it is a copy.
    let copy = directory.join("copy").to_str().unwrap().to_string();
    keys(START, &["rotate", &other, "-o", &copy]).good();
    assert_eq!(read(&copy), rotated);
    let shown = keys(START, &["rotate", &path, "-o", "-"]).good();
    assert_eq!(document(&shown.out)["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn a_manifest_holds_the_keyring_that_is_written_without_it() {
    let directory = directory("manifest");
    let keyring = sealed(&keyring(&[private("key-1", 1, &[])]));
    let old = file(&directory, "signing-keys", &keyring);
    let secret = "--kubernetes-secret=istio-ingress/jwt-reissuer-signing-keys/signing-keys";
    let manifest = directory.join("secret.json").to_str().unwrap().to_string();
    // The second run finds a rotation under way, and writes the keyring that is in force.
    for input in [old.clone(), directory.join("rotated").to_str().unwrap().to_string()] {
        keys(START, &["rotate", &input, secret, "-o", &manifest]).sealing_key(Some(SEALING_KEY)).good();
        let written: Value = serde_json::from_str(&read(&manifest)).unwrap();
        let data = written["data"]["signing-keys"].as_str().unwrap();
        let rotated = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "data": { "signing-keys": data },
            "metadata": { "name": "jwt-reissuer-signing-keys", "namespace": "istio-ingress" },
        });
        assert_eq!(written, expected);
        assert_eq!(document(&rotated)["keys"].as_array().unwrap().len(), 2);
        file(&directory, "rotated", rotated);
    }
    assert_eq!(read(&old), keyring, "the keyring in force stays as it is");

    let new = keys(START, &["new", "--kubernetes-secret=a/b/c"]).sealing_key(Some(SEALING_KEY)).good();
    let written: Value = serde_json::from_str(&new.out).unwrap();
    assert!(STANDARD.decode(written["data"]["c"].as_str().unwrap()).unwrap().starts_with(b"sealed.v1."));
}

#[test]
fn a_manifest_carries_the_version_of_the_secret_that_was_read() {
    let directory = directory("resource-version");
    let old = file(&directory, "signing-keys", keyring(&[private("key-1", 1, &[])]));
    let (secret, version) = ("--kubernetes-secret=a/b/c", "--resource-version=18446744073709551615");
    let rotated = directory.join("rotated").to_str().unwrap().to_string();
    keys(START, &["rotate", &old, "-o", &rotated]).good();
    // The second keyring has a rotation under way.
    for input in [&old, &rotated] {
        let ran = keys(START, &["rotate", input, secret, version, "-o", "-"]).good();
        let written: Value = serde_json::from_str(&ran.out).unwrap();
        let expected = json!({ "name": "b", "namespace": "a", "resourceVersion": "18446744073709551615" });
        assert_eq!(written["metadata"], expected);
    }
    for (version, options, why) in [
        ("7", &[][..], "--kubernetes-secret"),
        ("", &[secret], "digits, and not 0"),
        ("0", &[secret], "digits, and not 0"),
        ("+7", &[secret], "digits, and not 0"),
        ("7\"", &[secret], "digits, and not 0"),
        ("18446744073709551616", &[secret], "digits, and not 0"),
    ] {
        let version = format!("--resource-version={version}");
        let ran = keys(START, &[&["rotate", &old, "-o", "-", &version], options].concat()).run();
        assert!(ran.code == Some(2) && ran.err.contains(why) && ran.out.is_empty(), "{version}: {ran:?}");
    }
    let help = keys(START, &["rotate", "--help"]).good().out;
    assert!(help.contains("withdraws a key that is published already"), "{help}");
}

#[test]
fn a_manifest_is_never_written_over_the_keyring() {
    let directory = directory("manifest-in-place");
    let old = file(&directory, "signing-keys", keyring(&[private("key-1", 1, &[])]));
    let before = read(&old);
    for (arguments, why) in [
        (vec!["rotate", &old, "--kubernetes-secret=a/b/c"], "--output"),
        (vec!["rotate", &old, "--kubernetes-secret=a/b/c", "-o", &old], "give another file by -o"),
        (vec!["rotate", &old, "--kubernetes-secret=a/b", "-o", "-"], "must be NAMESPACE/NAME/KEY"),
        (vec!["rotate", &old, "--kubernetes-secret=a/\"b/c", "-o", "-"], "the name of the Secret must be"),
    ] {
        let ran = keys(START, &arguments).run();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
    }
    assert_eq!(read(&old), before);
}

#[test]
fn the_keyring_is_not_replaced_by_a_path_that_leads_to_it() {
    let directory = directory("paths-to-the-keyring");
    let path = file(&directory, "signing-keys", pem(1));
    let at = |name: &str| directory.join(name).to_str().unwrap().to_string();
    symlink(&path, at("symbolic-link")).unwrap();
    symlink("symbolic-link", at("link-to-a-link")).unwrap();
    fs::hard_link(&path, at("hard-link")).unwrap();
    let aliases = [
        at("./signing-keys"),
        at("../paths-to-the-keyring/signing-keys"),
        at("symbolic-link"),
        at("link-to-a-link"),
        at("hard-link"),
    ];
    for alias in &aliases {
        for (input, output) in [(&path, alias), (alias, &path)] {
            for (command, options, message) in [
                ("public", &[][..], "would replace the private keys"),
                ("public", &["--kubernetes-secret=a/b/c"], "would replace the private keys"),
                ("rotate", &["--kubernetes-secret=a/b/c"], "would replace the keyring by a manifest"),
            ] {
                let arguments = [&[command, input, "-o", output], options].concat();
                let ran = keys(START, &arguments).run();
                assert_eq!(read(&path), pem(1), "{arguments:?}");
                assert!(ran.code == Some(2) && ran.err.contains(message), "{arguments:?}: {ran:?}");
            }
        }
    }
    // The shell may open the keyring in place of the command.
    for arguments in [&["public", "-", "-o", &path][..], &["rotate", "-", "-o", &path, "--kubernetes-secret=a/b/c"]] {
        let ran = keys(START, arguments).input_file(&path).run();
        assert_eq!(read(&path), pem(1), "{arguments:?}");
        assert!(ran.code == Some(2) && ran.err.contains("would replace the "), "{arguments:?}: {ran:?}");
    }
    // A rotation to a keyring goes there by any path.
    keys(START, &["rotate", &path, "-o", &at("symbolic-link")]).good();
    assert_eq!(document(&read(&path))["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn the_public_keyring_has_the_ids_and_times_of_the_private_one_and_no_private_key() {
    let directory = directory("public");
    let next = private("key-2", 2, &[("sign_at", START + 30 * 3600)]);
    let private_keyring =
        keyring(&[private("key-1", 1, &[]), next, public("key-0", 3, &[("retire_at", START + 3600)])]);
    let sealed_file = file(&directory, "signing-keys", sealed(&private_keyring));
    let public_file = directory.join("public").to_str().unwrap().to_string();
    keys(START, &["public", &sealed_file, "-o", &public_file]).sealing_key(Some(SEALING_KEY)).good();
    let written = document(&read(&public_file));
    let expected = json!({ "keys": [
        public("key-1", 1, &[]), public("key-2", 2, &[("sign_at", START + 30 * 3600)]), public("key-0", 3, &[("retire_at", START + 3600)]),
    ] });
    assert_eq!(written, expected);
    assert!(!String::from_utf8(STANDARD.decode(read(&public_file)).unwrap()).unwrap().contains("PRIVATE"));
    keys(START, &["check", "--documents-only", &public_file]).good();

    let alone = file(&directory, "alone.pem", pem(1));
    let of_a_pem = keys(START, &["public", &alone]).good();
    assert_eq!(document(&of_a_pem.out)["keys"][0]["public_key"], public_pem(1));
    let refused = keys(START, &["public", &alone, "-o", &alone]).run();
    assert!(refused.code == Some(2) && refused.err.contains("would replace the private keys"), "{refused:?}");
}
