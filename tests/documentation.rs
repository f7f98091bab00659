//! What the README states: its table of settings against the parser, its commands against the Makefile, its paths against
//! the files.
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

use std::collections::BTreeSet;
use std::path::Path;

use jwt_reissuer::Config;
use jwt_reissuer::config::KeysFrom;
use serde_json::{Value, json};

const README: &str = include_str!("../README.md");
const DOCUMENTS: [(&str, &str); 18] = [
    ("docs/release.md", include_str!("../docs/release.md")),
    ("docs/operations.md", include_str!("../docs/operations.md")),
    ("docs/performance.md", include_str!("../docs/performance.md")),
    ("docs/vectors.md", include_str!("../docs/vectors.md")),
    ("docs/security.md", include_str!("../docs/security.md")),
    ("CHANGELOG.md", include_str!("../CHANGELOG.md")),
    ("SECURITY.md", include_str!("../SECURITY.md")),
    ("docs/clouds.md", include_str!("../docs/clouds.md")),
    ("README.md", README),
    ("CONTRIBUTING.md", include_str!("../CONTRIBUTING.md")),
    ("docs/aws.md", include_str!("../docs/aws.md")),
    ("docs/compatibility.md", include_str!("../docs/compatibility.md")),
    ("docs/older-envoys.md", include_str!("../docs/older-envoys.md")),
    ("docs/moving.md", include_str!("../docs/moving.md")),
    ("docs/istio.md", include_str!("../docs/istio.md")),
    ("docs/envoy.md", include_str!("../docs/envoy.md")),
    ("docs/envoy-gateway.md", include_str!("../docs/envoy-gateway.md")),
    ("docs/keyring-sources.md", include_str!("../docs/keyring-sources.md")),
];

/// Setting and default of each row of the table under "Settings".
fn rows() -> Vec<(String, String)> {
    let section = README.split("## Settings").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_string(), cells[2].to_string())
    });
    rows.collect()
}

fn sample() -> Value {
    let mut sample: Value = serde_json::from_str(include_str!("../envoy/config.json")).unwrap();
    // What the sample writes out although it is the default.
    let top = sample.as_object_mut().unwrap();
    top.retain(|name, _| ["issuer", "audiences", "signing_keys", "trusted_issuers"].contains(&name.as_str()));
    top["trusted_issuers"][0]["jwks"].as_object_mut().unwrap().remove("path");
    sample
}

/// The sample with a setting, named as in the table, set to a value.
fn with(setting: &str, value: Value) -> Value {
    let mut config = sample();
    let mut at = &mut config;
    for name in setting.replace("[]", ".0").split('.') {
        at = match name {
            "0" => &mut at[0],
            name => {
                if at.is_null() {
                    *at = json!({});
                }
                &mut at[name]
            }
        };
    }
    *at = value;
    let from = &mut config["signing_keys"]["from"];
    if setting != "signing_keys.from.envoy_cluster" && setting.starts_with("signing_keys.from.") {
        from.as_object_mut().unwrap().remove("envoy_cluster");
    }
    config
}

fn parse(config: &Value) -> Result<Config, String> {
    Config::from_json(config.to_string().as_bytes(), &scenario::environment).map_err(|error| error.to_string())
}

/// Everything a configuration comes to.
fn facts(config: &Config) -> String {
    // Taken apart without `..`: a new member has to be added here too.
    let Config {
        issuer,
        routes,
        serve,
        audiences,
        ttl,
        max_token_bytes,
        worker_percent,
        allow_plain_http,
        read_forms,
        keys_from,
        sealing,
        documents_max_age,
        publish_ahead,
        trusted_issuers,
        claims,
    } = config;
    let keys_from = match keys_from {
        KeysFrom::EnvoyCluster(cluster) => cluster.as_str(),
        KeysFrom::Environment { variable, .. } => variable,
        KeysFrom::Inline(_) => "inline",
    };
    format!(
        "{issuer:?} {routes:?} {serve:?} {audiences:?} {ttl:?} {max_token_bytes} {worker_percent} {allow_plain_http} {read_forms} {keys_from} {} \
         {documents_max_age:?} {publish_ahead:?} {trusted_issuers:?} {claims:?}",
        sealing.is_some()
    )
}

#[test]
fn every_setting_of_the_table_is_one_of_the_parser_at_that_place() {
    assert!(rows().len() > 20, "the table was not found");
    for (setting, _) in rows() {
        // Free of form, so there is no wrong value for the setting as such.
        let (wrong, place) = match setting.as_str() {
            "claims.set" => (json!({ "iss": 1 }), "claims.set[\"iss\"]".to_string()),
            setting => (json!({ "x": null }), setting.replace("[]", "[0]")),
        };
        let error = match parse(&with(&setting, wrong)) {
            // The keys themselves are parsed later.
            Ok(_) if setting == "signing_keys.from.dangerous_inline" => continue,
            Ok(_) => panic!("{setting}: anything is taken"),
            Err(error) => error,
        };
        assert!(error.starts_with(&place), "{setting}: {error}");
        assert!(!error.contains("is not a setting"), "{setting}: {error}");
    }
}

#[test]
fn every_setting_of_the_parser_is_in_the_table() {
    let source = concat!(include_str!("../src/config.rs"), include_str!("../src/trusted_issuer.rs"));
    let mut known = BTreeSet::new();
    for call in [".required(\"", ".optional(\"", ".duration(\"", ".duration(\n            \""] {
        known.extend(source.split(call).skip(1).map(|rest| rest.split('"').next().unwrap()));
    }
    known.extend(["envoy_cluster", "env", "dangerous_inline"]);
    assert!(known.contains("publish_ahead") && known.contains("stale_limit"), "{known:?}");
    let table: BTreeSet<String> = rows()
        .iter()
        .flat_map(|(setting, _)| setting.replace("[]", "").split('.').map(String::from).collect::<Vec<_>>())
        .collect();
    let missing: Vec<_> = known.iter().filter(|name| !table.contains(**name)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn the_defaults_of_the_table_are_the_ones_of_the_parser() {
    let plain = facts(&parse(&sample()).unwrap());
    let mut compared = 0;
    for (setting, default) in rows() {
        let Some(default) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
            assert!(
                ["required", "required for tokens", "required, or `inline`", "none", "one of these three", ""]
                    .contains(&default.as_str()),
                "{setting}: {default}"
            );
            continue;
        };
        let value = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
        let explicit = parse(&with(&setting, value)).unwrap_or_else(|error| panic!("{setting}: {error}"));
        assert_eq!(facts(&explicit), plain, "{setting}");
        compared += 1;
    }
    assert!(compared >= 12, "{compared}");
}

#[test]
fn a_setting_that_is_called_required_is_missed() {
    for (setting, default) in rows().into_iter().filter(|(_, default)| default.starts_with("required")) {
        let config = with(&setting, Value::Null);
        let mut config = config;
        let (parent, name) = setting.rsplit_once('.').map_or(("", setting.as_str()), |(parent, name)| (parent, name));
        let pointer = format!("/{}", parent.replace("[]", ".0").replace('.', "/"));
        let parent = if parent.is_empty() { &mut config } else { config.pointer_mut(&pointer).unwrap() };
        parent.as_object_mut().unwrap().remove(name);
        let error = parse(&config).err().unwrap_or_else(|| panic!("{setting} ({default}) is not missed"));
        assert!(error.contains(name) && error.contains("is missing"), "{setting}: {error}");
    }
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = include_str!("../Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    for (name, text) in DOCUMENTS {
        // `make -s seal` keeps make's own words out of a pipe.
        let text = text.replace("make -s ", "make ");
        let commands = text.split("make ").skip(1).filter_map(|rest| rest.split(['`', '\n', ' ', ';', ',']).next());
        // Prose has "make" too; a command stands in a code span or an indented line.
        for command in commands
            .filter(|word| text.contains(&format!("`make {word}")) || text.contains(&format!("    make {word}")))
        {
            assert!(targets.contains(command), "{name}: make {command}");
        }
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in DOCUMENTS {
        let words = text
            .split(['`', '(', ')', ' ', '\n'])
            .filter(|word| (word.starts_with("envoy/") || word.ends_with(".md")) && !word.contains("//"));
        for path in words {
            let beside = root.join(name).parent().unwrap().join(path);
            assert!(root.join(path).exists() || beside.exists(), "{name}: {path}");
        }
    }
}
