//! Cases A: what the API server does, and when.

use std::time::Duration;

use jwt_reissuer::http::Response;
use jwt_reissuer::{Answer, Outcome};
use serde_json::{Value, json};

use crate::scenario::{self, Scenario};
use crate::{same, status_now, status_of, unknown};

/// A scenario whose cluster keys have been read.
fn warm() -> Scenario {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario
}

/// Lets a request come on a cold cache, whose fetch is refused after that time or never. How long the request took, and its
/// answer.
fn cold(refused_after: Option<Duration>) -> Result<(Duration, Response), String> {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("cold") };
    scenario.reissuer.wait(1, request, key, scenario.now).unwrap();
    let fetch = scenario.reissuer.poll_fetch(scenario.now).unwrap();
    let begun = scenario.now.monotonic;
    for _ in 0..200 {
        let took = scenario.now.monotonic - begun;
        if refused_after == Some(took) {
            let refusal = Answer::Response { status: 503, date: None, body: b"no healthy upstream" };
            scenario.reissuer.handle_fetched(fetch.id, refusal, scenario.now);
        }
        if let Some((_, response)) = scenario.reissuer.poll_waiting(scenario.now) {
            return Ok((took, response));
        }
        // Nothing comes of the fetches after it either.
        while scenario.reissuer.poll_fetch(scenario.now).is_some() {}
        scenario.now.monotonic += Duration::from_millis(50);
    }
    Err("not answered in ten seconds".into())
}

pub fn cold_and_refused(_: &str, expect: &Value) -> Result<(), String> {
    let limit = Duration::from_secs_f64(expect["within_s"].as_f64().unwrap());
    // Refused at once and after a while, and a server that hangs: it never even refuses.
    for refused_after in [Some(Duration::ZERO), Some(Duration::from_secs(1)), None] {
        let (took, response) = cold(refused_after).map_err(|saw| format!("{refused_after:?}: {saw}"))?;
        status_of(&response, expect)?;
        same("Retry-After", response.get("retry-after").is_some(), expect["retry_after"].as_bool().unwrap())?;
        match refused_after {
            Some(refused) => same("answered when it was refused", took, refused)?,
            None if took <= limit => {}
            None => return Err(format!("a server that hangs: took {took:?}")),
        }
    }
    Ok(())
}

/// The API server goes away, and so much later a good token comes.
fn down_for(seconds: u64) -> u16 {
    let mut scenario = warm();
    scenario.jwks = None;
    for _ in 0..seconds / 10 {
        scenario.pass(10);
        scenario.fetch_what_is_due();
    }
    scenario.pass(seconds % 10);
    status_now(&mut scenario, "cluster-key")
}

pub fn warm_and_down(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "JWKS cached, upstream down 6 h less 1 s")?;
    same("status", json!(down_for(6 * 3600 - 1)), expect["status"].clone())
}

pub fn past_the_limit(_: &str, expect: &Value) -> Result<(), String> {
    same("status", json!(down_for(6 * 3600 + 1)), expect["status"].clone())
}

/// Answers the refresh that comes when the lifetime is over; then an hour goes by with the same answers.
fn refreshed_with(answer: Answer<'_>) -> Result<(), String> {
    let mut scenario = warm();
    let mut refreshes = 0;
    for step in 1..=360 {
        scenario.pass(10);
        while let Some(fetch) = scenario.reissuer.poll_fetch(scenario.now) {
            same(
                "where it asks",
                (fetch.authority.as_str(), fetch.path.as_str()),
                ("kubernetes.default.svc", "/openid/v1/jwks"),
            )?;
            scenario.reissuer.handle_fetched(fetch.id, answer, scenario.now);
            refreshes += 1;
        }
        if step % 90 == 0 {
            let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
            let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
            match scenario.reissuer.handle(&request, scenario.now) {
                Outcome::Respond(response) => same("a known key", response.status, 200)?,
                outcome => return Err(format!("a known key: {outcome:?}")),
            }
        }
    }
    if refreshes >= 10 { Ok(()) } else { Err(format!("{refreshes} refreshes")) }
}

pub fn refresh_answered_otherwise(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "keeps": "last good set", "follows_redirect": false }))?;
    let statuses = given.strip_prefix("refresh answers ").unwrap_or_else(|| unknown(given));
    for status in statuses.split(", ") {
        // With a key set of somebody else's beside it: it is the status that decides.
        let body = Scenario::new(|_| ()).jwks.unwrap().replace("cluster-key", "another");
        let status = status.parse().unwrap();
        refreshed_with(Answer::Response { status, date: None, body: body.as_bytes() })
            .map_err(|saw| format!("{status}: {saw}"))?;
    }
    Ok(())
}

pub fn refresh_with_no_key_set(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "refresh body truncated, gzip, or 1 MiB")?;
    same("expectation", expect, &json!({ "keeps": "last good set" }))?;
    let whole = Scenario::new(|_| ()).jwks.unwrap().replace("cluster-key", "another");
    let truncated = &whole.as_bytes()[..whole.len() - 1];
    // The head of RFC 1952, and what would be in it.
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], whole.as_bytes()].concat();
    let large = format!("{whole}{}", " ".repeat(1024 * 1024));
    for body in [truncated, &gzip, large.as_bytes()] {
        refreshed_with(Answer::Response { status: 200, date: None, body })
            .map_err(|saw| format!("{} bytes: {saw}", body.len()))?;
    }
    Ok(())
}

pub fn flood_of_unknown_kids(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "10 000 unknown-kid requests per s for 60 s")?;
    let mut scenario = warm();
    let before = scenario.fetches;
    // How many come in a second between two fetches changes nothing, and all of them would take minutes here: the first
    // second of each ten, in which a fetch is allowed, has two thousand, the others a hundred.
    let bearers: Vec<String> =
        (0..200).map(|kid| format!("Bearer {}", scenario.token(&format!("unknown-{kid}"), |_| ()))).collect();
    for second in 0..60 {
        for number in 0..if second % 10 == 0 { 2_000 } else { 100 } {
            let request = scenario.request("POST", "/reissue", &[("authorization", &bearers[(second + number) % 200])]);
            same("status", json!(scenario.send(request).status), expect["status"].clone())?;
        }
        scenario.events();
        scenario.pass(1);
    }
    let fetches = scenario.fetches - before;
    let most = usize::try_from(expect["fetches_max"].as_u64().unwrap()).unwrap();
    if (1..=most).contains(&fetches) { Ok(()) } else { Err(format!("{fetches} fetches")) }
}

pub fn rotation(_: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = warm();
    let before = scenario.fetches;
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    same("status", json!(status_now(&mut scenario, "next-key")), expect["status"].clone())?;
    same("fetches", json!(scenario.fetches - before), expect["fetches"].clone())
}

pub fn removal(_: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = warm();
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    let mut waited = 0;
    while status_now(&mut scenario, "cluster-key") != 401 {
        waited += 10;
        scenario.pass(10);
        scenario.fetch_what_is_due();
        if waited > expect["refused_within_s"].as_u64().unwrap() {
            return Err(format!("still taken after {waited} s"));
        }
    }
    Ok(())
}

pub fn client_gone(_: &str, _: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("cold") };
    scenario.reissuer.wait(7, request, key, scenario.now).unwrap();
    let fetch = scenario.reissuer.poll_fetch(scenario.now).unwrap();
    if scenario.reissuer.take(7).is_none() {
        return Err("it did not wait".into());
    }
    let body = scenario.jwks.clone().unwrap();
    scenario.reissuer.handle_fetched(
        fetch.id,
        Answer::Response { status: 200, date: None, body: body.as_bytes() },
        scenario.now,
    );
    same("answer to nobody", scenario.reissuer.poll_waiting(scenario.now), None)?;
    same("waiting", scenario.reissuer.waiting(), 0)
}

pub fn cold_crowd(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "500 concurrent requests on a cold cache")?;
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    for stream in 0..500 {
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("cold") };
        scenario.reissuer.wait(stream, request, key, scenario.now).unwrap();
    }
    scenario.fetch_what_is_due();
    let answered = std::iter::from_fn(|| scenario.reissuer.poll_waiting(scenario.now));
    same("answered with a token", answered.filter(|(_, response)| response.status == 200).count(), 500)?;
    same("fetches", json!(scenario.fetches), expect["fetches"].clone())
}

pub fn clock_steps(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "clock steps -3600 s or +3600 s")?;
    same("expectation", expect["cache_timers"].as_str(), Some("do not stall"))?;
    for step in [-3600_i64, 3600] {
        let mut scenario = warm();
        let of_before = scenario.token("cluster-key", |claims| claims["exp"] = (scenario::START + 600).into());
        scenario.now.unix = scenario.now.unix.checked_add_signed(step).unwrap();
        // By the new clock it is either over or has not begun.
        same("a token outside its window", scenario.status(&of_before), 401)?;
        same("a token of now", status_now(&mut scenario, "cluster-key"), 200)?;
        let before = scenario.fetches;
        for _ in 0..33 {
            scenario.pass(10);
            scenario.fetch_what_is_due();
        }
        same("refreshes in 330 s", scenario.fetches > before, true)?;
    }
    Ok(())
}
