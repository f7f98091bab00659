//! Every case of `http_faults_config.json`, by the core alone: requests, faults of the API server, configurations and keys.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod der;
mod faults;
mod keys;
mod requests;
#[path = "../scenario/mod.rs"]
mod scenario;

use std::collections::BTreeMap;

use jwt_reissuer::http::Response;
use scenario::Scenario;
use serde_json::Value;

const CASES: &str = include_str!("../vectors/negative/http_faults_config.json");

/// Checks one thing that a case gives, against what it expects. A wrong one says what it saw.
type Check = fn(&str, &Value) -> Result<(), String>;

fn checks() -> BTreeMap<&'static str, Check> {
    BTreeMap::from([
        ("H03", requests::two_tokens as Check),
        ("H04", requests::token_elsewhere),
        ("H07", requests::query),
        ("H08", requests::large_body),
        ("H09", requests::spoofed_host),
        ("H11", requests::documents),
        ("A01", faults::cold_and_refused),
        ("A02", faults::warm_and_down),
        ("A03", faults::past_the_limit),
        ("A04", faults::refresh_answered_otherwise),
        ("A06", faults::refresh_with_no_key_set),
        ("A07", faults::flood_of_unknown_kids),
        ("A08", faults::rotation),
        ("A09", faults::removal),
        ("A10", faults::client_gone),
        ("A11", faults::cold_crowd),
        ("A12", faults::clock_steps),
        ("X01", keys::no_usable_key),
        ("X03", keys::bad_key),
        ("X04", keys::keys_that_do_not_agree),
        ("X05", keys::bad_configuration),
        ("X06", keys::failing_self_test),
        ("X07", keys::fault_while_signing),
    ])
}

#[test]
fn every_case_of_requests_faults_and_configuration_comes_out_as_it_says() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut checks = checks();
    let (mut requests, mut total, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let check = checks.remove(id).unwrap_or_else(|| panic!("{id} is checked by nothing"));
        let given = match &case["given"] {
            Value::Array(given) => given.iter().map(|given| given.as_str().unwrap()).collect(),
            given => vec![given.as_str().unwrap()],
        };
        for given in given {
            total += 1;
            requests += usize::from(id.starts_with('H'));
            if let Err(saw) = check(given, &case["expect"]) {
                wrong.push(format!("{id} ({given}): {saw}"));
            }
        }
    }
    let wrong_requests = wrong.iter().filter(|line: &&String| line.starts_with('H')).count();
    let others = total - requests;
    println!("vectors: requests: {} of {requests}", requests - wrong_requests);
    println!("vectors: faults, configurations and keys: {} of {others}", others - (wrong.len() - wrong_requests));
    assert!(wrong.is_empty(), "{} of {total} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checks.is_empty(), "no such cases: {:?}", checks.keys());
    assert_eq!((cases.len(), total), (23, 60));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}, and {expected:?} expected")) }
}

fn status_of(response: &Response, expect: &Value) -> Result<(), String> {
    same("status", Value::from(response.status), expect["status"].clone())
}

fn unknown(given: &str) -> ! {
    panic!("the file has a case that nothing checks: {given}")
}

/// The status for a token as good as there can be now.
fn status_now(scenario: &mut Scenario, kid: &str) -> u16 {
    let token = scenario.token(kid, |_| ());
    scenario.status(&token)
}
