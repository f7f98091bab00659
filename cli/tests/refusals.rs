//! Refusals: the exit code, the message, and the file that stays as it was.
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
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use command::{
    BINARY, DAY, HOUR, OTHER_SEALING_KEY, SEALING_KEY, START, at_once, directory, document, file, keyring, keys, pem,
    private, public, read, sealed,
};
use jwt_reissuer::timetable::text_of;

/// Name, content of the file, sealing key, options, exit code and a part of the message.
type Refusal<'a> = (&'a str, String, Option<&'a str>, &'a [&'a str], i32, &'a str);

/// Names of the files in a directory.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_rotation_that_cannot_be_is_refused_and_the_file_is_unchanged() {
    let directory = directory("refused");
    let soon = text_of(START + HOUR);
    let too_soon = text_of(START + DAY - 1);
    let full: Vec<_> = [private("signs", 1, &[])]
        .into_iter()
        .chain((2..17).map(|seed| public(&seed.to_string(), seed, &[])))
        .collect();
    let unpublished =
        keyring(&[private("a", 1, &[]), private("b", 2, &[("publish_at", START), ("sign_at", START + HOUR)])]);
    let cases: [Refusal; 18] = [
        ("a turn in an hour", pem(1), None, &["--sign-at", &soon], 1, "published for 1 h by then; it needs 24 h"),
        (
            "a second too soon",
            pem(1),
            None,
            &["--sign-at", &too_soon],
            1,
            "published for 23 h 59 min 59 s by then; it needs 24 h",
        ),
        ("a turn in the past", pem(1), None, &["--sign-at", "2020-01-01T00:00:00Z"], 1, "is not in the future"),
        ("a turn at no time", pem(1), None, &["--sign-at", "tomorrow"], 2, "must be a time of RFC 3339 in UTC"),
        ("a duration without a unit", pem(1), None, &["--publish-ahead", "24"], 2, "must be a duration such as"),
        ("a duration that no gateway takes", pem(1), None, &["--publish-ahead", "31d"], 2, "must be 30d at most"),
        ("an algorithm that is none", pem(1), None, &["--algorithm", "HS256"], 2, "invalid value 'HS256'"),
        ("no sealing key", sealed(&pem(1)), None, &[], 2, "is sealed, and REISSUER_SEALING_KEY is not set"),
        (
            "another sealing key",
            sealed(&pem(1)),
            Some(OTHER_SEALING_KEY),
            &[],
            1,
            "sealed with another key, or changed since",
        ),
        ("a sealed keyring that was cut", sealed(&pem(1))[..60].into(), Some(SEALING_KEY), &[], 1, "sealed, but cut"),
        (
            "a sealing key that is none",
            pem(1),
            Some("c2hvcnQ="),
            &[],
            2,
            "REISSUER_SEALING_KEY must hold 32 bytes in base64",
        ),
        ("an empty sealing key", pem(1), Some(""), &[], 2, "REISSUER_SEALING_KEY is empty"),
        ("an empty file", String::new(), None, &[], 1, "empty"),
        ("no keyring", "hello".into(), None, &[], 1, "neither a JSON keyring, nor a PEM, nor base64 of one"),
        ("no private key", keyring(&[public("a", 1, &[])]), None, &[], 1, "has no private key"),
        (
            "sixteen keys that stay published",
            keyring(&full),
            None,
            &[],
            1,
            "None of them will: remove a public key that no gateway signs with",
        ),
        (
            "no key that signs",
            keyring(&[private("a", 1, &[("sign_at", START + DAY)])]),
            None,
            &[],
            1,
            "no key signs until",
        ),
        ("one that a gateway refuses", unpublished, None, &[], 1, "keys[1].publish_at: must be"),
    ];
    for (name, content, sealing_key, options, code, message) in cases {
        let path = file(&directory, "signing-keys", &content);
        let ran = keys(START, &[&["rotate", &path], options].concat()).sealing_key(sealing_key).run();
        assert_eq!(ran.code, Some(code), "{name}: {ran:?}");
        assert!(ran.err.contains(message), "{name}: {ran:?}");
        assert_eq!(ran.out, "", "{name}");
        assert_eq!(read(&path), content, "{name}");
        assert_eq!(names(&directory), ["signing-keys"], "{name}");
    }
    // A second later it would have been good.
    let path = file(&directory, "signing-keys", pem(1));
    keys(START, &["rotate", &path, "--sign-at", &text_of(START + DAY)]).good();
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named() {
    let directory = directory("unusable");
    let at = |name: &str| directory.join(name).to_str().unwrap().to_string();
    let (missing, folder) = (at("missing"), directory.to_str().unwrap().to_string());
    let path = file(&directory, "signing-keys", pem(1));
    let nowhere = at("missing/signing-keys");
    for (arguments, place) in [
        (&["rotate", missing.as_str()][..], &missing),
        (&["check", missing.as_str()], &missing),
        (&["rotate", folder.as_str()], &folder),
        (&["rotate", path.as_str(), "-o", folder.as_str()], &folder),
        (&["rotate", path.as_str(), "-o", nowhere.as_str()], &nowhere),
        (&["new", "--algorithm", "ES256", "-o", nowhere.as_str()], &nowhere),
    ] {
        let ran = keys(START, arguments).run();
        assert_eq!((ran.code, ran.err.starts_with(&format!("{place}: "))), (Some(2), true), "{arguments:?}: {ran:?}");
    }
    assert_eq!(names(&directory), ["signing-keys"]);
    assert_eq!(read(&path), pem(1));
}

#[test]
fn a_new_keyring_does_not_take_the_place_of_a_file() {
    let directory = directory("exists");
    let path = file(&directory, "signing-keys", pem(1));
    let ran = keys(START, &["new", "-o", &path]).run();
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("signing-keys exists") && ran.err.contains("use keys rotate"), "{ran:?}");
    assert_eq!(read(&path), pem(1));
    let ran = keys(START, &["new", "--json", "-o", "-"]).sealing_key(Some(SEALING_KEY)).run();
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.err.contains("REISSUER_SEALING_KEY is set"), "{ran:?}");
}

#[test]
fn of_six_new_keyrings_at_once_one_is_written_and_the_others_are_refused() {
    for round in 0..10 {
        let directory = directory("six-new");
        let path = directory.join("signing-keys").to_str().unwrap().to_string();
        let ran = at_once(6, || keys(START, &["new", "--algorithm", "ES256", "-o", &path]));
        let (made, refused): (Vec<_>, Vec<_>) = ran.into_iter().partition(|ran| ran.code == Some(0));
        let [made] = made.as_slice() else { panic!("{round}: {made:?}") };
        let kid = document(&read(&path))["keys"][0]["kid"].to_string();
        assert_eq!(made.err.lines().next(), Some(format!("key {kid} (ES256) signs at once").as_str()), "{round}");
        for ran in refused {
            assert!(ran.code == Some(2) && ran.err.contains("signing-keys exists"), "{round}: {ran:?}");
        }
        assert_eq!(names(&directory), ["signing-keys"], "{round}");
    }
}

/// Root may write everywhere, so a name is too long for a file beside it.
#[test]
fn where_no_file_can_be_written_beside_it_the_old_one_stays() {
    let path = file(&directory("unwritable"), &"k".repeat(250), pem(1));
    let ran = keys(START, &["rotate", &path]).run();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(read(&path), pem(1));
}

/// The kernel ends the command in the middle of its writing, at the first byte beyond the limit.
#[test]
fn a_command_that_is_killed_while_it_writes_leaves_the_old_file() {
    let path = file(&directory("killed"), "signing-keys", pem(1));
    let script = "ulimit -f 1; exec \"$0\" keys rotate \"$1\" --algorithm RS256";
    let status = Command::new("bash").args(["-c", script, BINARY, &path]).status().unwrap();
    assert_eq!(status.code(), None, "it was killed");
    assert_eq!(read(&path), pem(1));
}

/// Each limit of open files makes another step fail; one of them lies after the rename.
#[test]
fn a_command_that_fails_has_changed_no_file_and_one_that_changed_a_file_succeeds() {
    for command in ["rotate", "new --algorithm ES256 -o"] {
        let mut warned = 0;
        // Below 4, the dynamic loader finds no library.
        for limit in 4..9 {
            let directory = directory("open-files");
            let path = directory.join("signing-keys").to_str().unwrap().to_string();
            let before = (command == "rotate").then(|| pem(1));
            if let Some(before) = &before {
                fs::write(&path, before).unwrap();
            }
            let script = format!("ulimit -n {limit}; exec \"$0\" keys {command} \"$1\"");
            let ran = Command::new("bash").args(["-c", &script, BINARY, &path]).output().unwrap();
            let err = String::from_utf8(ran.stderr).unwrap();
            let is_unchanged = fs::read_to_string(&path).ok() == before;
            assert_eq!(ran.status.code(), Some(if is_unchanged { 2 } else { 0 }), "{command}, {limit}: {err}");
            assert_eq!(names(&directory).len(), usize::from(before.is_some() || !is_unchanged), "{command}, {limit}");
            let warning = format!("{path} is written, but a power failure may undo that: ");
            warned += usize::from(err.starts_with(&warning));
        }
        assert_eq!(warned, 1, "{command}");
    }
}

#[test]
fn a_full_standard_output_is_an_error() {
    let path = file(&directory("full"), "signing-keys", pem(1));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Command::new(BINARY).args(["keys", "rotate", &path, "-o", "-"]).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8(ran.stderr).unwrap().starts_with("standard output: "));
}

#[test]
fn a_file_keeps_its_mode_and_a_new_one_is_its_owners_alone() {
    let directory = directory("modes");
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let path = file(&directory, "signing-keys", pem(1));
    for kept in [0o640, 0o600, 0o444] {
        fs::write(&path, pem(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
        keys(START, &["rotate", &path]).good();
        assert_eq!(mode(&path), kept);
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, pem(1)).unwrap();
    for arguments in [&["rotate", path.as_str(), "-o"][..], &["new", "--algorithm", "ES256", "-o"]] {
        let fresh = directory.join(arguments[0]).to_str().unwrap().to_string();
        keys(START, &[arguments, &[&fresh]].concat()).good();
        assert_eq!(mode(&fresh), 0o600);
    }
}

#[test]
fn a_symbolic_link_stays_and_what_it_leads_to_is_replaced() {
    let directory = directory("link");
    let path = file(&directory, "real", pem(1));
    let link = directory.join("signing-keys");
    symlink("real", &link).unwrap();
    keys(START, &["rotate", link.to_str().unwrap()]).good();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_ne!(read(&path), pem(1));
    assert_eq!(names(&directory), ["real", "signing-keys"]);
}

#[test]
fn a_symbolic_link_that_leads_to_no_file_is_refused_and_stays() {
    let directory = directory("dangling-link");
    let path = file(&directory, "signing-keys", pem(1));
    let link = directory.join("link").to_str().unwrap().to_string();
    symlink("missing", &link).unwrap();
    for arguments in [&["rotate", path.as_str(), "-o", link.as_str()][..], &["rotate", &link], &["new", "-o", &link]] {
        let ran = keys(START, arguments).run();
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.err.starts_with(&format!("{link}: is a symbolic link that leads to no file")), "{ran:?}");
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("missing"), "{arguments:?}");
    }
    assert_eq!(names(&directory), ["link", "signing-keys"]);
    assert_eq!(read(&path), pem(1));
}

#[test]
fn a_terminal_gets_no_private_key() {
    let directory = directory("terminal");
    let path = file(&directory, "signing-keys", keyring(&[private("a", 1, &[])]));
    let under_way = keys(START, &["rotate", &path, "-o", "-"]).good().out;
    let under_way = file(&directory, "under-way", under_way);
    for arguments in [
        "keys new".to_string(),
        "keys new --json -o -".into(),
        format!("keys rotate {path} -o -"),
        format!("keys rotate - < {path}"),
        format!("keys rotate {under_way} -o - --now {START}"),
    ] {
        let (code, shown) = on_a_terminal(&format!("{BINARY} {arguments}"));
        assert_eq!(code, Some(2), "{arguments}: {shown}");
        assert!(
            shown.contains("standard output is a terminal") && shown.contains("give -o FILE"),
            "{arguments}: {shown}"
        );
        assert!(!shown.contains("PRIVATE KEY") && !shown.contains("eyJ"), "{arguments}: {shown}");
    }
    // Ciphertext may be shown, and so may what a keyring does when.
    let (code, shown) = on_a_terminal(&format!("REISSUER_SEALING_KEY={SEALING_KEY} {BINARY} keys new"));
    assert!(code == Some(0) && shown.contains("sealed.v1."), "{shown}");
    let (code, shown) = on_a_terminal(&format!("{BINARY} keys check {path}"));
    assert!(code == Some(0) && shown.contains("key \"a\" (ES256) is active"), "{shown}");
}

/// Runs a command of the shell with a terminal for standard input, output and error.
fn on_a_terminal(command: &str) -> (Option<i32>, String) {
    let ran = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .env_remove("REISSUER_SEALING_KEY")
        .output()
        .unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
}
