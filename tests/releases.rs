//! Versions: one version everywhere, the files of earlier releases, and the table of first versions in
//! docs/release.md. The keys in tests/releases sign nothing but these tests.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jwt_reissuer::Config;
use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::{Keyring, Terms};
use jwt_reissuer::sealed::SealingKeys;
use serde_json::{Value, json};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PAGE: &str = include_str!("../docs/release.md");
/// 2026-10-08T00:00:00Z, when the keyrings of 0.1.0 were written
const WRITTEN: u64 = 1_791_417_600;
const SEALING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Members in these are the operator's, or another standard's.
const FREE: [&str; 3] = ["claims.set", "trusted_issuers[].jwks.inline", "signing_keys.from.dangerous_inline"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Versions that were released before this one, by the directories with their files.
fn releases() -> Vec<(String, PathBuf)> {
    let mut releases: Vec<_> = fs::read_dir(root().join("tests/releases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path))
        .collect();
    releases.sort_by_key(|(version, _)| numbers(version));
    releases
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap()).collect()
}

/// The files of a release whose names begin so.
fn files(release: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(release)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), fs::read(&path).unwrap()))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}: no {prefix}", release.display());
    files
}

fn read_config(text: &[u8]) -> Result<Config, String> {
    let environment = |name: &str| (name == "REISSUER_SEALING_KEY").then(|| SEALING_KEY.to_string());
    Config::from_json(text, &environment).map_err(|error| error.to_string())
}

fn read_keyring(document: &[u8], tokens: bool) -> Result<Keyring, String> {
    let document = document.trim_ascii();
    let opened = match document.starts_with(b"sealed.") {
        true => SealingKeys::parse(SEALING_KEY).unwrap().open(document).unwrap().to_vec(),
        false => document.to_vec(),
    };
    let serve = Serve { documents: true, tokens };
    let terms = Terms { serve, publish_ahead: Duration::from_secs(24 * 3600), now: WRITTEN };
    Keyring::parse(&opened, &terms).map_err(|error| error.to_string())
}

/// The paths of the members of a document, as the tables write them.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members_here) if !FREE.contains(&path) => {
            for (name, value) in members_here {
                members(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        Value::Array(entries) if entries.first().is_some_and(Value::is_object) => {
            entries.iter().for_each(|entry| members(entry, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_string());
        }
    }
}

/// First and second cell of each row of a table under a heading of a page.
fn rows(page: &str, heading: &str) -> Vec<(String, String)> {
    let section = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next()).expect(heading);
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_string(), cells[2].to_string())
    });
    rows.collect()
}

fn table() -> Vec<(String, String)> {
    rows(PAGE, "## Which version knows which setting")
}

#[test]
fn every_place_names_one_version() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let newest = read("CHANGELOG.md").lines().find_map(|line| line.strip_prefix("## ").map(String::from)).unwrap();
    assert_eq!(newest, VERSION, "CHANGELOG.md");
    for path in ["es512/Cargo.toml", "cli/Cargo.toml", "wasm/envoy/Cargo.toml", "Cargo.toml"] {
        assert!(read(path).contains("version.workspace = true"), "{path} has a version of its own");
    }
    let lock = read("Cargo.lock");
    for package in ["jwt-reissuer", "jwt-reissuer-cli", "jwt-reissuer-envoy", "jwt-reissuer-es512"] {
        assert!(lock.contains(&format!("name = \"{package}\"\nversion = \"{VERSION}\"\n")), "{package} in Cargo.lock");
    }
    // Every name of an image has this version.
    for path in [
        "README.md",
        "docs/release.md",
        "docs/istio.md",
        "envoy/istio/filter.yaml",
        "envoy/envoy-gateway/filter.yaml",
        "envoy/kubernetes/gateway.yaml",
    ] {
        for tag in read(path).split("/jwt-reissuer").skip(1).filter_map(|rest| {
            let rest = rest.strip_prefix("-wasm").unwrap_or(rest).strip_prefix(':')?;
            Some(rest.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next().unwrap().to_string())
        }) {
            assert!(tag.is_empty() || tag.trim_end_matches('.') == VERSION, "{path}: {tag}");
        }
    }
}

#[test]
fn files_of_earlier_releases_are_read() {
    for (version, directory) in releases() {
        assert!(numbers(&version) < numbers(VERSION), "{version}");
        for (name, text) in files(&directory, "config") {
            read_config(&text).unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
        }
        for (name, text) in files(&directory, "signing-keys") {
            read_keyring(&text, true).unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
        }
        for (name, text) in files(&directory, "public-keys") {
            read_keyring(&text, false).unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
        }
    }
}

#[test]
fn the_files_of_a_release_hold_every_setting_that_it_knew() {
    for (version, directory) in releases() {
        let mut found = BTreeSet::new();
        for prefix in ["config", "signing-keys.json", "public-keys"] {
            for (_, text) in files(&directory, prefix) {
                members(&serde_json::from_slice(&text).unwrap(), "", &mut found);
            }
        }
        let known: BTreeSet<String> = table()
            .into_iter()
            .filter(|(_, first)| numbers(first) <= numbers(&version))
            .map(|(setting, _)| setting)
            .collect();
        assert_eq!(found, known, "{version}");
    }
}

#[test]
fn the_table_of_first_versions_has_every_setting_once() {
    let table = table();
    let settings: BTreeSet<String> = table.iter().map(|(setting, _)| setting.clone()).collect();
    assert_eq!(settings.len(), table.len(), "a setting is there twice");
    let keyring = include_str!("../src/keyring.rs");
    let mut known: BTreeSet<String> =
        rows(include_str!("../README.md"), "## Settings").into_iter().map(|(setting, _)| setting).collect();
    let entry = keyring.split("fn read_entry").nth(1).and_then(|rest| rest.split("\n}\n").next()).unwrap();
    let names = entry.split(".optional(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let times = entry.split("[\"").nth(1).and_then(|rest| rest.split(']').next()).unwrap().split(", ");
    known.extend(names.chain(times.map(|name| name.trim_matches('"'))).map(|name| format!("keys[].{name}")));
    assert!(known.contains("keys[].retire_at") && known.contains("keys[].algorithm") && known.contains("issuer"));
    assert_eq!(settings, known);
    let versions: BTreeSet<String> = releases().into_iter().map(|(version, _)| version).collect();
    for (setting, first) in table {
        assert!(first == VERSION || versions.contains(&first), "{setting}: {first} was never released");
    }
}

#[test]
fn a_setting_of_a_later_version_is_refused_by_its_path_and_with_this_version() {
    let because = format!("is not a setting of version {VERSION}; a later version may know it");
    let (_, newest) = releases().pop().unwrap();
    let config: Value = serde_json::from_slice(&fs::read(newest.join("config.json")).unwrap()).unwrap();
    for (parent, path) in
        [("", "later"), ("/limits", "limits.later"), ("/trusted_issuers/0/jwks", "trusted_issuers[0].jwks.later")]
    {
        let mut changed = config.clone();
        changed.pointer_mut(parent).unwrap()["later"] = json!({ "anything": 1 });
        let error = read_config(changed.to_string().as_bytes()).err();
        assert_eq!(error, Some(format!("{path}: {because}")));
    }
    let keyring: Value = serde_json::from_slice(&fs::read(newest.join("signing-keys.json")).unwrap()).unwrap();
    for (parent, path) in [("", "later"), ("/keys/1", "keys[1].later")] {
        let mut changed = keyring.clone();
        changed.pointer_mut(parent).unwrap()["later"] = json!(true);
        let error = read_keyring(changed.to_string().as_bytes(), true).err();
        assert_eq!(error, Some(format!("{path}: {because}")));
    }
}
